"""Costs of the instructions of a compiled program."""

import jax
import jax.numpy as jnp
import ml_collections
import pytest

from tokenhmr_jax.studies import flops, instruction_costs, step_plan

# A loop of four turns as compilers for TPUs write it: a product with one of four kernels, whose
# columns are padded to 256, and whose result is put into an array of eight.
PROGRAM = """
%sliced (a: bf16[4,64,192], b: s32[], c: bf16[32,64]) -> bf16[32,192] {
  %a = bf16[4,64,192]{2,1,0:T(8,128)(2,1)} parameter(0)
  %b = s32[]{:T(128)S(6)} parameter(1)
  %one = bf16[1,64,192]{2,1,0:T(8,128)(2,1)} dynamic-slice(%a, %b), dynamic_slice_sizes={1,64,192}
  %kernel = bf16[64,192]{1,0:T(8,128)(2,1)} bitcast(%one)
  %c = bf16[32,64]{1,0:T(8,128)(2,1)S(1)} parameter(2)
  ROOT %product = bf16[32,192]{1,0:T(8,128)(2,1)} convolution(%c, %kernel), dim_labels=bf_io->bf
}
%kept (d: bf16[8,32,192], e: bf16[32,192], f: s32[]) -> bf16[8,32,192] {
  %d = bf16[8,32,192]{2,1,0:T(8,128)(2,1)} parameter(0)
  %e = bf16[32,192]{1,0:T(8,128)(2,1)} parameter(1)
  %f = s32[]{:T(128)S(6)} parameter(2)
  %row = bf16[1,32,192]{2,1,0:T(8,128)(2,1)} bitcast(%e)
  ROOT %put = bf16[8,32,192]{2,1,0:T(8,128)(2,1)} dynamic-update-slice(%d, %row, %f)
}
%body (g: (bf16[4,64,192], bf16[32,64], bf16[8,32,192], s32[])) -> bf16[32,192] {
  %g = (bf16[4,64,192]{2,1,0:T(8,128)(2,1)}, s32[]) parameter(0)
  %h = bf16[4,64,192]{2,1,0:T(8,128)(2,1)} get-tuple-element(%g), index=0
  %out = bf16[32,192]{1,0:T(8,128)(2,1)} fusion(%h, %n, %x), kind=kOutput, calls=%sliced, \
metadata={op_name="jit(train_step)/jvp(ViT)/while/body/blocks/mlp/in/dot_general"}
  ROOT %all = bf16[8,32,192]{2,1,0:T(8,128)(2,1)} fusion(%y, %out, %n), kind=kLoop, calls=%kept
}
%condition (i: s32[]) -> pred[] {
  ROOT %always = pred[] parameter(0)
}
ENTRY %main (x: bf16[32,64]) -> bf16[32,192] {
  %x = bf16[32,64]{1,0:T(8,128)(2,1)} parameter(0)
  ROOT %loop = bf16[32,192]{1,0} while(%x), condition=%condition, body=%body, \
backend_config={"known_trip_count":{"n":"4"}}
}
"""


def test_padding_loops_slices_and_the_memory_of_the_core():
    product, kept = instruction_costs.find_costs(PROGRAM)
    assert (product.name, product.times) == ('out', 4)
    assert product.source == 'blocks/mlp/in/dot_general'
    assert product.operations == 4 * 2 * 32 * 64 * 192
    # A kernel of the four, read, and a result, written; the other factor lies in the core.
    assert product.moved == 4 * (64 * 256 + 32 * 256) * 2
    assert (kept.operations, kept.moved) == (0, 4 * 2 * (32 * 256 * 2))


def test_batches_of_products_are_windows_of_padding():
    """As of attention, 32 examples and 8 heads: a window meets each of them once."""
    text = """
ENTRY %main (q: f32[32,8,192,64], k: f32[32,8,192,64]) -> f32[32,8,192,192] {
  %q = f32[32,8,192,64]{3,2,1,0} parameter(0)
  %k = f32[32,8,192,64]{3,2,1,0} parameter(1)
  ROOT %logits = f32[32,8,192,192]{3,2,1,0} convolution(%q, %k), \
window={size=32x8 stride=31x7 lhs_dilate=32x8}, dim_labels=01bf_01oi->01bf
}
"""
    (found,) = instruction_costs.find_costs(text)
    assert found.operations == 2 * 32 * 8 * 192 * 192 * 64
    assert found.moved == 4 * 32 * 8 * 192 * (64 + 64 + 192)


def test_operations_are_those_of_the_function():
    """As counted on its jaxpr: a product in a loop, and a convolution at borders and all."""
    kernel, x = jnp.ones((3, 6, 10)), jnp.ones((2, 7, 6))

    def run(x, w):
        y = jax.lax.fori_loop(0, 5, lambda _, y: jnp.sin(y @ w), x)
        dimensions = ('NWC', 'WIO', 'NWC')
        return jax.lax.conv_general_dilated(y, kernel, (1,), 'VALID', dimension_numbers=dimensions)

    arguments = x, jnp.ones((6, 6))
    text = jax.jit(run).lower(*arguments).compile().as_text()
    found = sum(cost.operations for cost in instruction_costs.find_costs(text))
    assert found == flops.count_flops(run, *arguments)


def test_the_table_tells_what_bounds_an_instruction():
    chip = step_plan.CHIPS['v5e']
    costs = [
        instruction_costs.Cost('a', 'block/add', 2, 0, 819e6),
        instruction_costs.Cost('b', 'block/dot', 1, 197e10, 819e4),
        instruction_costs.Cost('c', 'block/small', 1, 1, 1),
    ]
    lines = step_plan.costliest(costs, chip, 2).splitlines()[2:]
    assert lines == [
        '| all |  | 11.0 |  | 1970 | 789 |',
        '| block/dot | 1 | 10.0 | operations | 1970 | 8 |',
        '| block/add | 2 | 1.0 | memory | 0 | 781 |',
    ]
    with pytest.raises(ValueError, match=r'--costliest=3: expected a slice of TPUs, got .cpu:8'):
        step_plan.report_step(ml_collections.ConfigDict(), 'cpu:8', False, 3)
