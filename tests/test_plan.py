"""Cost of a step before it runs: operations, collectives, and the plan's table."""

import functools
import re

import jax
import jax.numpy as jnp
import pytest
from conftest import TINY, command, tiny_config
from jax.sharding import NamedSharding, PartitionSpec

from tokenhmr_jax.studies import collectives, flops, step_plan
from tokenhmr_jax.training import sharding


def test_operations_of_products_loops_branches_and_gradients():
    x, w = jnp.ones((8, 32)), jnp.ones((32, 32))
    assert flops.count_flops(jnp.dot, x, w) == 2 * 8 * 32 * 32
    loop = lambda x: jax.lax.scan(lambda x, _: (x @ w, None), x, None, length=5)[0]  # noqa: E731
    assert flops.count_flops(jax.jit(loop), x) == 5 * 2 * 8 * 32 * 32
    branch = lambda x: jax.lax.cond(x[0, 0] > 0, lambda: x @ w, lambda: x)  # noqa: E731
    assert flops.count_flops(branch, x) == 2 * 8 * 32 * 32
    # Two products forward; three backward, for nothing asks for the gradient of x.
    loss = lambda w: jnp.sum(jnp.sin(jnp.sin(x @ w) @ w))  # noqa: E731
    assert flops.count_flops(jax.grad(loss), w) == 5 * 2 * 8 * 32 * 32
    kernel = jnp.ones((3, 6, 10))
    convolve = functools.partial(
        jax.lax.conv_general_dilated,
        window_strides=(1,),
        padding='SAME',
        dimension_numbers=('NWC', 'WIO', 'NWC'),
    )
    assert flops.count_flops(convolve, jnp.ones((2, 7, 6)), kernel) == 2 * (2 * 7 * 10) * 3 * 6


def test_collectives_and_their_bytes_in_a_loop():
    """Each turn of a loop gathers a kernel of 32 x 32 and adds up over the devices."""
    mesh = sharding.make_mesh(fsdp=8)
    rows, columns = (NamedSharding(mesh, PartitionSpec(*s)) for s in ((None, 'fsdp'), ('fsdp',)))

    def loop(x, kernels):
        def turn(x, kernel):
            kernel = jax.lax.with_sharding_constraint(kernel, NamedSharding(mesh, PartitionSpec()))
            return jnp.tanh(x @ kernel), None

        return jnp.sum(jax.lax.scan(turn, x, kernels)[0])

    kernels = jax.device_put(
        jnp.ones((6, 32, 32)), NamedSharding(mesh, PartitionSpec(None, *rows.spec))
    )
    x = jax.device_put(jnp.ones((16, 32)), columns)
    text = jax.jit(loop).lower(x, kernels).compile().as_text()
    # Compilers for TPUs do not tell how often, and leave the condition as it was.
    untold = re.sub(r'"known_trip_count":\{[^}]*\},?', '', text)
    condition = re.search(r'condition=(%?[\w.-]+)', text)[1]
    asked = f'{condition} (p: s32[]) -> pred[] {{\n  %n = s32[] constant(6)\n'
    asked += '  ROOT %lt = pred[] compare(%i, %n), direction=LT\n}\n'
    for program in (text, untold + asked):
        found = collectives.totals(collectives.find_collectives(program))
        assert found['all-reduce'] == (1, 4)
        assert found['all-gather'][1] == 6 * 32 * 32 * 4


@pytest.mark.slow
def test_a_plan_is_of_the_step_that_training_takes():
    config = tiny_config('/nowhere', **{'optimizer.muon_learning_rate': None})
    found = step_plan.make_plan(config, jax.devices())
    assert (found.batch, found.problem) == (16, None)
    assert found.operations > 0
    # AdamW keeps two numbers for each parameter.
    assert 1.9 < found.optimizer / found.parameters < 2.1
    assert set(found.sent) == {'all-reduce'}


@pytest.mark.slow
def test_weak_scaling_is_of_a_fixed_batch_per_device():
    settings = [f'--config.{name}={value}' for name, value in TINY.items()]
    table = command(
        'benchmarks/weak_scaling.py', '--config=configs/tokenizer.py:variant=quickstart',
        '--devices=1,2,4', *settings,
    )  # fmt: skip
    rows = [line.strip('| ').split(' | ') for line in table.splitlines() if line.startswith('|')]
    one, two, four = rows[2:]
    assert one[:3] == ['1', '16', 'none'] and float(one[5]) == 0
    assert two[:3] == ['2', '32', 'all-reduce'] and four[:3] == ['4', '64', 'all-reduce']
    assert two[4] == four[4]
    assert float(four[5]) == pytest.approx(1.5 * float(two[5]), rel=0.1)
