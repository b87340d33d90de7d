"""Places of arrays on a mesh, and equal results wherever they lie."""

import collections

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import tiny_config
from jax.sharding import PartitionSpec

from tokenhmr_jax.checkpoints.store import Checkpoints
from tokenhmr_jax.models import vit
from tokenhmr_jax.studies import collectives
from tokenhmr_jax.tasks import make_task
from tokenhmr_jax.training import optimizer, sharding
from tokenhmr_jax.training.step import abstract_state, initial_state, make_step
from tokenhmr_jax.types import TrainState


def placed(devices, fsdp, **overrides):
    """The task, the optimizer and the mesh of a tiny tokenizer."""
    config = tiny_config('/nowhere', **overrides)
    task = make_task(config)
    mesh = sharding.make_mesh(jax.devices()[:devices], fsdp)
    return task, optimizer.make_optimizer(config.optimizer, config.num_steps), mesh


def test_devices_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match=r'mesh\.fsdp=3 does not divide 8 devices'):
        sharding.make_mesh(fsdp=3)
    mesh = sharding.make_mesh(fsdp=2)
    assert dict(mesh.shape) == {'data': 4, 'fsdp': 2}
    with pytest.raises(ValueError, match=r'batch_size=24 in 2 parts .* over 8 devices'):
        sharding.check_batch_size(24, mesh, 'batch_size', 2)


def test_rules_split_kernels_and_their_moments_and_nothing_else():
    mesh = sharding.make_mesh(fsdp=4)
    kernel, bias, odd = (jax.ShapeDtypeStruct(s, np.float32) for s in ((2, 6, 8), (8,), (8, 6)))
    params = {
        'backbone': {'blocks': {'mlp': {'in': {'kernel': kernel, 'bias': bias}}}},
        'encoder': {'conv_in': {'kernel': odd}},
        'head': {'decoder': {'embed': {'kernel': kernel}}},
    }
    frozen = {'decoder': {'conv_in': {'kernel': kernel}}}
    state = TrainState(jax.ShapeDtypeStruct((), np.int32), params, frozen, {'mu': params})
    places = jax.tree.map(lambda place: place.spec, sharding.by_rules(state, mesh))
    split, whole = PartitionSpec(None, None, 'fsdp'), PartitionSpec()
    expected = {
        'backbone': {'blocks': {'mlp': {'in': {'kernel': split, 'bias': whole}}}},
        'encoder': {'conv_in': {'kernel': whole}},  # 6 columns do not divide by 4
        'head': {'decoder': {'embed': {'kernel': whole}}},
    }
    assert places.params == places.opt_state['mu'] == expected
    assert places.state == {'decoder': {'conv_in': {'kernel': whole}}}
    assert places.step == whole


def test_rows_of_a_split_batch_stay_on_their_devices():
    mesh = sharding.make_mesh(fsdp=2)
    rows = sharding.put_batch(np.arange(32.0), mesh)
    split = jax.jit(lambda x: sharding.split_batch(x, mesh, 2)).lower(rows).compile()
    assert sorted(np.asarray(split(rows)).ravel()) == list(range(32))
    assert not any(name in split.as_text() for name in ('all-', 'collective', 'scatter'))


@pytest.mark.slow
@pytest.mark.fault(9, 'restored to the bit, 8 devices by fours, 2, 8')
def test_a_checkpoint_goes_on_on_other_devices_to_the_bit(tmp_path):
    """From eight devices that share parameters by fours to two that do not, and back."""
    task, tx, eight = placed(8, 4)
    first = initial_state(task, tx, eight, 0)
    kernel = first.params['encoder']['conv_in']['kernel']
    assert kernel.addressable_shards[0].data.size * 4 == kernel.size
    state = first
    for step, (devices, fsdp) in enumerate([(2, 1), (8, 4)], start=1):
        state = state.replace(step=np.int32(step))
        workdir = tmp_path / str(step)
        with Checkpoints(str(workdir), 'mpjpe_mm') as saved:
            saved.save(state, {'next': step}, {}, None)
        _, _, mesh = placed(devices, fsdp)
        like = initial_state(task, tx, mesh, 1)
        with Checkpoints(str(workdir), create=False) as saved:
            state, position = saved.restore(step, like)
        assert position == {'next': step}
        for old, new, there in zip(*map(jax.tree.leaves, (first, state, like)), strict=True):
            assert new.sharding == there.sharding
            if old.ndim:
                np.testing.assert_array_equal(old, new)


@pytest.mark.slow
@pytest.mark.parametrize('fsdp', [1, 4])
def test_a_step_sends_what_its_sharding_needs_and_no_more(fsdp):
    """Sums of gradients and of the codebook's statistics; of parameters that devices share, each
    kernel once for the forward and once for the backward pass. Nothing goes to the host."""
    task, tx, mesh = placed(8, fsdp, **{'optimizer.muon_learning_rate': None})
    config = tiny_config('/nowhere')
    state = abstract_state(task, tx, mesh)
    batch = make_task(config).batch_shapes()
    step = make_step(task, tx, mesh)
    text = step.lower(state, jax.eval_shape(task.frozen), batch, 0).compile().as_text()
    sent = collections.defaultdict(list)
    for kind, size, times in collectives.find_collectives(text):
        sent[kind] += times * [size]
    split = [x for x in jax.tree.leaves(state.params) if any(x.sharding.spec)]
    kernels = [4 * x.size for x in split]
    assert sent.keys() == ({'all-reduce', 'all-gather'} if fsdp > 1 else {'all-reduce'})
    assert set(sent['all-gather']) <= set(kernels)
    assert sum(sent['all-gather']) <= 2 * sum(kernels)
    summed = sum(4 * x.size for x in jax.tree.leaves((state.params, state.state)))
    # Gradients of shared kernels are summed within groups, and their shares across groups.
    across = sum(kernels) / fsdp if fsdp > 1 else 0
    assert 0.95 * summed < sum(sent['all-reduce']) - across < 1.05 * summed
    for word in ('infeed', 'outfeed', 'callback', 'is_host_transfer'):
        assert word not in text


def test_a_backbone_gathers_kernels_and_leaves_examples_where_they_are():
    """The examples are the larger ones here, as they are in training."""
    mesh = sharding.make_mesh(fsdp=8)
    network = vit.ViT(width=32, depth=2, heads=2, patch_size=8, scan=True)
    shapes = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 32, 24, 3)))
    params = sharding.place_by_rules({'backbone': shapes['params']}, mesh)
    image = jax.ShapeDtypeStruct(
        (64, 32, 24, 3), jnp.float32, sharding=sharding.batch_sharding(mesh)
    )

    def loss(params, image):
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
            return jnp.sum(jnp.square(network.apply({'params': params['backbone']}, image)))

    text = jax.jit(jax.grad(loss)).lower(params, image).compile().as_text()
    found = collectives.find_collectives(text)
    assert {each.kind for each in found} <= {'all-gather', 'all-reduce', 'reduce-scatter'}
    largest = max(4 * x.size for x in jax.tree.leaves(params) if any(x.sharding.spec))
    gathered = [each.size for each in found if each.kind == 'all-gather']
    assert gathered and max(gathered) <= largest


def test_what_a_device_sends_does_not_grow_with_their_number():
    """Four examples each: the gradients are summed, as many bytes for any number of devices."""
    network = vit.ViT(width=32, depth=1, heads=2, patch_size=8)
    shapes = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 32, 24, 3)))['params']
    loss = lambda params, image: jnp.mean(network.apply({'params': params}, image) ** 3)  # noqa: E731
    sent = {}
    for count in (1, 2, 8):
        mesh = sharding.make_mesh(jax.devices()[:count])
        params = sharding.place_by_rules({'backbone': shapes}, mesh)['backbone']
        place = sharding.batch_sharding(mesh)
        image = jax.ShapeDtypeStruct((4 * count, 32, 24, 3), jnp.float32, sharding=place)
        step = jax.jit(jax.grad(loss), out_shardings=sharding.replicated(mesh))
        found = collectives.find_collectives(step.lower(params, image).compile().as_text())
        sent[count] = {kind: size for kind, (_, size) in collectives.totals(found).items()}
    assert sent[1] == {} and sent[2] == sent[8]
    assert set(sent[8]) == {'all-reduce'}
    size = 4 * sum(x.size for x in jax.tree.leaves(shapes))
    assert sent[8]['all-reduce'] == pytest.approx(size, rel=0.01)
