"""Collective operations of a compiled program, read from its text."""

import math
import re
from typing import NamedTuple

from tokenhmr_jax.studies.program_text import executed, parse_program

# An asynchronous pair counts at its start.
KINDS = re.compile(
    '(all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute|collective-broadcast)'
    '(-start)?$'
)
_ARRAY = re.compile(r'\b[a-z]+(\d*)\[([\d,]*)\]')


class Collective(NamedTuple):
    """One collective operation."""

    kind: str  # such as 'all-gather'
    size: int  # bytes of the result on one device
    times: int  # executions per run of the program


def find_collectives(text: str) -> list[Collective]:
    """The collectives of a program, from `compiled.as_text()`; '' has none."""
    found = []
    for _, each, times in executed(*parse_program(text)):
        if kind := KINDS.match(each.kind):
            paired = bool(kind[2]) and kind[1] in ('all-gather', 'collective-permute')
            found.append(Collective(kind[1], _bytes(each.shapes, paired), times))
    return found


def totals(found: list[Collective]) -> dict[str, tuple[int, int]]:
    """Number of collectives, and bytes of all their results, by kind."""
    table = {}
    for kind, size, times in found:
        number, total = table.get(kind, (0, 0))
        table[kind] = number + times, total + times * size
    return table


def _bytes(shapes: str, paired: bool) -> int:
    """Bytes of arrays such as 'bf16[8,128]{1,0}'; of the second half if operands come first."""
    sizes = [
        math.prod(int(n) for n in dims.split(',') if n) * max(1, int(bits or 8) // 8)
        for bits, dims in _ARRAY.findall(shapes)
        if dims or not paired
    ]
    return sum(sizes[len(sizes) // 2 :] if paired else sizes)
