"""Collective operations of a compiled program, read from its text."""

import math
import re
from collections.abc import Iterator
from typing import NamedTuple

_KINDS = 'all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute|collective-broadcast'
_COMPUTATION = re.compile(r'^(ENTRY )?%?([\w.-]+) .*\{$')
# `%name = shapes kind(operands), attributes`; an asynchronous pair counts at its start.
_COLLECTIVE = re.compile(rf'^\s+(?:ROOT )?%?[\w.-]+ = (.+?) ({_KINDS})(-start)?\(')
_CALLED = re.compile(r'(?:body|calls|to_apply|true_computation|false_computation)=%?([\w.-]+)')
_BRANCHES = re.compile(r'branch_computations=\{([^}]*)\}')
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')
_CONDITION = re.compile(r' while\(.*condition=%?([\w.-]+)')
_CONSTANT = re.compile(r' constant\((\d+)\)')
_ARRAY = re.compile(r'\b[a-z]+(\d*)\[([\d,]*)\]')


class Collective(NamedTuple):
    """One collective operation."""

    kind: str  # such as 'all-gather'
    size: int  # bytes of the result on one device
    times: int  # executions per run of the program


def find_collectives(text: str) -> list[Collective]:
    """The collectives of a program, from `compiled.as_text()`; '' has none.

    A loop's number of turns is the compiler's, else the bound in its condition, else 1.
    """
    computations, entry = _computations(text)
    return list(_walk(computations, entry, 1))


def totals(found: list[Collective]) -> dict[str, tuple[int, int]]:
    """Number of collectives, and bytes of all their results, by kind."""
    table = {}
    for kind, size, times in found:
        number, total = table.get(kind, (0, 0))
        table[kind] = number + times, total + times * size
    return table


def _computations(text: str) -> tuple[dict[str, list[str]], str]:
    """Lines of each computation, and the name of the entry computation."""
    computations, entry, lines = {'': []}, '', []
    for line in text.splitlines():
        if head := _COMPUTATION.match(line):
            lines = computations[head[2]] = []
            entry = head[2] if head[1] else entry
        else:
            lines.append(line)
    return computations, entry


def _walk(computations: dict[str, list[str]], name: str, times: int) -> Iterator[Collective]:
    for line in computations[name]:
        if found := _COLLECTIVE.match(line):
            shapes, kind, start = found.groups()
            paired = bool(start) and kind in ('all-gather', 'collective-permute')
            yield Collective(kind, _bytes(shapes, paired), times)
            continue
        inner = times * _trips(computations, line)
        called = _CALLED.findall(line)
        if branches := _BRANCHES.search(line):
            called += re.findall(r'[\w.-]+', branches[1])
        for each in called:
            yield from _walk(computations, each, inner)


def _trips(computations: dict[str, list[str]], line: str) -> int:
    """Number of turns of a loop; 1 outside loops."""
    condition = _CONDITION.search(line)
    if not condition:
        return 1
    if known := _TRIPS.search(line):
        return int(known[1])
    compared = '\n'.join(computations[condition[1]])
    limits = _CONSTANT.findall(compared)
    return int(limits[0]) if len(limits) == 1 and 'direction=LT' in compared else 1


def _bytes(shapes: str, paired: bool) -> int:
    """Bytes of arrays such as 'bf16[8,128]{1,0}'; of the second half if operands come first."""
    sizes = [
        math.prod(int(n) for n in dims.split(',') if n) * max(1, int(bits or 8) // 8)
        for bits, dims in _ARRAY.findall(shapes)
        if dims or not paired
    ]
    return sum(sizes[len(sizes) // 2 :] if paired else sizes)
