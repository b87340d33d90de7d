"""The text of a compiled program: its instructions, and how often each of them runs."""

import re
from collections.abc import Iterator
from typing import NamedTuple

_COMPUTATION = re.compile(r'^(ENTRY )?%?([\w.-]+) .*\{$')
# `%name = shapes kind(operands), attributes`
_INSTRUCTION = re.compile(r'^\s+(ROOT )?%?([\w.-]+) = (.+?) ([a-z][\w-]*)\((.*)$')
_CALLED = re.compile(r'(?:body|calls|to_apply|true_computation|false_computation)=%?([\w.-]+)')
_BRANCHES = re.compile(r'branch_computations=\{([^}]*)\}')
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')
_CONDITION = re.compile(r'condition=%?([\w.-]+)')


class Instruction(NamedTuple):
    """One instruction. text: operands and attributes; is_root: its result is its computation's."""

    name: str
    shapes: str  # such as 'bf16[8,128]{1,0}'; of a tuple in brackets
    kind: str  # such as 'fusion'
    text: str
    is_root: bool

    @property
    def called(self) -> list[str]:
        """Names of the computations that it runs, those of a branch included."""
        branches = _BRANCHES.search(self.text)
        found = re.findall(r'[\w.-]+', branches[1]) if branches else []
        return _CALLED.findall(self.text) + found

    @property
    def operands(self) -> list[str]:
        """Names of the instructions whose results it reads."""
        return re.findall(r'%([\w.-]+)', self.text[: self.text.find(')')])


Computations = dict[str, dict[str, Instruction]]


def parse_program(text: str) -> tuple[Computations, str]:
    """The instructions of each computation by name, and the entry computation's name.

    `text` is `compiled.as_text()`; '' has one computation without instructions.
    """
    computations, entry, current = {'': {}}, '', {}
    for line in text.splitlines():
        if head := _COMPUTATION.match(line):
            current = computations[head[2]] = {}
            entry = head[2] if head[1] else entry
        elif found := _INSTRUCTION.match(line):
            root, name, shapes, kind, rest = found.groups()
            current[name] = Instruction(name, shapes, kind, rest, bool(root))
    return computations, entry


def executed(
    computations: Computations, name: str, whole: tuple[str, ...] = (), times: int = 1
) -> Iterator[tuple[str, Instruction, int]]:
    """Instructions that run in a computation and those it calls, and how often.

    Each with the name of its own computation. `whole`: kinds that are not looked into. A loop's
    number of turns is the compiler's, else the bound in its condition, else 1.
    """
    for each in computations[name].values():
        yield name, each, times
        if each.kind not in whole:
            turns = times * _trips(computations, each)
            for called in each.called:
                yield from executed(computations, called, whole, turns)


def _trips(computations: Computations, loop: Instruction) -> int:
    """Number of turns of a loop; 1 outside loops."""
    if loop.kind != 'while':
        return 1
    if known := _TRIPS.search(loop.text):
        return int(known[1])
    condition = computations[_CONDITION.search(loop.text)[1]].values()
    limits = [each.text for each in condition if each.kind == 'constant']
    limits = [int(found[1]) for text in limits if (found := re.match(r'(\d+)\)', text))]
    below = any('direction=LT' in each.text for each in condition)
    return limits[0] if len(limits) == 1 and below else 1
