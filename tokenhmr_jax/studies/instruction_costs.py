"""Operations and memory traffic of the instructions of a compiled program, read from its text."""

import itertools
import math
import re
from typing import NamedTuple

from tokenhmr_jax.studies import collectives
from tokenhmr_jax.studies.program_text import Computations, Instruction, executed, parse_program

_CONTROL = ('while', 'conditional', 'call')
# They move nothing, or their start has counted.
_FREE = {
    *_CONTROL, 'parameter', 'constant', 'tuple', 'get-tuple-element', 'bitcast', 'copy-done',
    'slice-done', 'async-done', 'after-all', 'opt-barrier', 'iota', 'partition-id', 'custom-call',
}  # fmt: skip
_ARRAY = re.compile(r'([a-z]+)(\d*)\w*\[([\d,]*)\](?:\{([\d,]*)(?::([^}]*))?\})?')
_WINDOW = re.compile(r'window=\{([^}]*)\}')
_LABELS = re.compile(r'dim_labels=(\w+)_(\w+)->(\w+)')
_CONTRACTED = re.compile(r'lhs_contracting_dims=\{([\d,]*)\}')
_SOURCE = re.compile(r'op_name="([^"]*)"')
_OFTEN = re.compile(r'(jit|while|body|closed_call|checkpoint|branch_\w+|train_step)(\(|$)')


class Cost(NamedTuple):
    """One instruction, such as a fusion, in all of its runs.

    source: the function that it comes from, by the names of JAX.
    times: executions per run of the program.
    operations: of matrix products and convolutions.
    moved: bytes read from and written to the device's memory, padded as they lie there.
    """

    name: str
    source: str
    times: int
    operations: float
    moved: float

    def seconds(self, peak: float, bandwidth: float) -> float:
        """Least time on a device of so many operations and bytes per second."""
        return max(self.operations / peak, self.moved / bandwidth)


def find_costs(text: str) -> list[Cost]:
    """Costs of the instructions of `compiled.as_text()`, but for collectives.

    Arrays that the compiler keeps in the memory of the core itself are not moved.
    """
    computations, entry = parse_program(text)
    whole, found = ('fusion', 'reduce', 'sort', 'scatter', 'map', 'reduce-window'), []
    for place, each, times in executed(computations, entry, whole):
        if each.kind in _FREE or collectives.KINDS.match(each.kind):
            continue
        operations = times * _operations(computations, place, each)
        moved = times * _moved(computations, place, each)
        found.append(Cost(each.name, _source(each), times, operations, moved))
    return found


def _source(each: Instruction) -> str:
    """The last names of the path of an instruction, without those of loops."""
    found = _SOURCE.search(each.text)
    parts = [part for part in found[1].split('/') if not _OFTEN.match(part)] if found else []
    return '/'.join(parts[-4:]) or each.kind


def _operations(computations: Computations, place: str, each: Instruction) -> float:
    if each.kind == 'fusion':
        return sum(
            _operations(computations, name, inner)
            for name in each.called
            for inner in computations[name].values()
        )
    if each.kind not in ('convolution', 'dot'):
        return 0.0
    (out,) = _arrays(each.shapes)
    left, right = (_arrays(computations[place][name].shapes)[0] for name in each.operands)
    if each.kind == 'dot':
        axes = _CONTRACTED.search(each.text)
        contracted = [left.shape[int(axis)] for axis in axes[1].split(',') if axis] if axes else []
        return 2.0 * math.prod(out.shape) * math.prod(contracted)
    labels = _LABELS.search(each.text)
    # Spatial axes bear digits: of the batches of a product, of which most of a window is padding.
    products = math.prod(_pairs(each, labels, left.shape, right.shape, out.shape))
    inputs = right.shape[labels[2].index('i')]
    batch, features = (out.shape[labels[3].index(axis)] for axis in 'bf')
    return 2.0 * batch * features * inputs * products


def _pairs(each: Instruction, labels: re.Match, left, right, out) -> list[int]:
    """Pairs of a position of the output and one of the window that meet an input, by axis."""
    window = _WINDOW.search(each.text)
    options = dict(part.split('=') for part in window[1].split()) if window else {}

    def option(name: str, axis: int, default: str) -> list[int]:
        value = options[name].split('x')[axis] if name in options else default
        return [int(number) for number in value.split('_')]

    found = []
    for axis in range(len(labels[1]) - 2):
        count, size, outs = (
            shape[side.index(str(axis))]
            for shape, side in zip((left, right, out), labels.groups(), strict=True)
        )
        (stride,), (dilated,) = option('stride', axis, '1'), option('lhs_dilate', axis, '1')
        (spread,), (low, _) = option('rhs_dilate', axis, '1'), option('pad', axis, '0_0')
        places = (
            o * stride + k * spread - low for o, k in itertools.product(range(outs), range(size))
        )
        last = (count - 1) * dilated
        found.append(sum(0 <= place <= last and place % dilated == 0 for place in places))
    return found


class _Array(NamedTuple):
    shape: tuple[int, ...]
    size: int  # bytes in the device's memory; 0 in the core's own


def _arrays(shapes: str) -> list[_Array]:
    return [_array(*found.groups()) for found in _ARRAY.finditer(shapes)]


def _array(kind: str, bits: str | None, dims: str, order: str | None, layout: str | None) -> _Array:
    shape = tuple(int(n) for n in dims.split(',') if n)
    layout, padded = layout or '', list(shape)
    if found := re.search(r'T\(([\d,]+)\)', layout):
        tile = [int(n) for n in found[1].split(',')]
        for axis, length in zip(order.split(','), reversed(tile), strict=False):
            if axis:
                padded[int(axis)] = math.ceil(shape[int(axis)] / length) * length
    inside = re.search(r'S\([1-9]\)', layout)
    return _Array(shape, 0 if inside else math.prod(padded) * int(bits or 8) // 8)


def _size(shapes: str) -> int:
    return sum(array.size for array in _arrays(shapes))


def _moved(computations: Computations, place: str, each: Instruction) -> float:
    """Bytes of its operands and results, or of the parts that it uses."""
    if each.kind in ('copy-start', 'slice-start'):
        # From or to the core's own memory: once through the device's.
        target = _arrays(each.shapes)[0 if each.kind == 'copy-start' else -2]
        source = _arrays(each.shapes)[1 if each.kind == 'copy-start' else 0]
        share = math.prod(target.shape) / max(1, math.prod(source.shape))
        return target.size + (source.size * share)
    around = computations[place]
    if each.kind != 'fusion':
        read = [_used(each, i, around[name].shapes) for i, name in enumerate(each.operands)]
        return sum(read) + _written(each, around)
    inner = computations[each.called[0]]
    parameters = {int(x.text.split(')')[0]): x for x in inner.values() if x.kind == 'parameter'}
    read = sum(_read(computations, inner, x) for x in parameters.values())
    roots = [x for x in inner.values() if x.is_root]
    if roots[0].kind == 'tuple':
        roots = [inner[name] for name in roots[0].operands]
    return read + sum(_written(_origin(x, inner), inner) for x in roots)


def _origin(each: Instruction, inner: dict[str, Instruction]) -> Instruction:
    while each.kind == 'bitcast':
        each = inner[each.operands[0]]
    return each


def _read(computations: Computations, inner: dict[str, Instruction], array: Instruction) -> float:
    """Bytes that the instructions of a fusion use of an array, at most all of it."""
    size, used = _size(array.shapes), 0.0
    for each in inner.values():
        for i, name in enumerate(each.operands if each.kind != 'parameter' else ()):
            if name != array.name:
                continue
            if each.kind == 'bitcast':
                used += _read(computations, inner, each)
            elif each.kind == 'fusion':
                called = computations[each.called[0]]
                parameter = next(
                    x
                    for x in called.values()
                    if x.kind == 'parameter' and x.text.startswith(f'{i})')
                )
                # Within a fusion shapes tell nothing of where an array lies.
                used += _read(computations, called, parameter) if size else 0
            else:
                used += _used(each, i, array.shapes)
    return min(size, used)


def _used(each: Instruction, operand: int, shapes: str) -> float:
    """Bytes that an instruction reads of an operand of these shapes."""
    (array, *_), (result, *_) = _arrays(shapes) or [_Array((), 0)], _arrays(each.shapes)
    if not operand and each.kind in ('dynamic-slice', 'slice', 'gather'):
        return array.size * math.prod(result.shape) / max(1, math.prod(array.shape))
    if not operand and each.kind in ('dynamic-update-slice', 'scatter'):
        return 0.0  # stays where it is
    return _size(shapes)


def _written(each: Instruction, around: dict[str, Instruction]) -> float:
    """Bytes of the result, or of the part of it that changes."""
    size = _size(each.shapes)
    if each.kind not in ('dynamic-update-slice', 'scatter'):
        return size
    update = _arrays(around[each.operands[1 if each.kind == 'dynamic-update-slice' else 2]].shapes)
    (whole, *_) = _arrays(each.shapes)
    return size * math.prod(update[0].shape) / max(1, math.prod(whole.shape))
