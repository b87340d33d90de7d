"""Speed of the regressor's training and inference, and its share of the device's matrix rate.

    python benchmarks/train_step.py --config=configs/regressor.py --config.batch_size=256

The config sets size, batch and sharding; `--backbone=B/16` sets a backbone's sizes. One process
times products of square matrices, the fastest of which is the device's matrix rate; the training
step of `train`; and predictions with meshes. On one device, if torch and smplx are installed, it
times both in PyTorch: `scaled_dot_product_attention`, autocast, compiled on GPUs. Data and weights
are noise, on the device.
"""

import functools
import importlib.util
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import ml_collections
import noise
from absl import app, flags, logging
from ml_collections import config_flags

from tokenhmr_jax.models import vit
from tokenhmr_jax.studies import flops
from tokenhmr_jax.tasks.regressor import RegressorTask
from tokenhmr_jax.training import optimizer, sharding
from tokenhmr_jax.training.step import initial_state, make_step

_CONFIG = config_flags.DEFINE_config_file('config', None, "The regressor's.", lock_config=True)
_BACKBONE = flags.DEFINE_string('backbone', None, "Sizes such as 'B/16', if not the config's.")
_TURNS = flags.DEFINE_integer('turns', 5, 'Number of timings of each; the median counts.')
_SECONDS = flags.DEFINE_float('seconds', 0.5, 'Least duration of a turn.')
_TORCH = flags.DEFINE_bool('torch', True, 'Whether to time PyTorch too, where it is installed.')


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f'unknown arguments: {argv[1:]}')
    logging.set_verbosity(logging.WARNING)  # JAX reports each platform that is not there
    # Leaves memory of the GPU to PyTorch.
    os.environ.setdefault('XLA_PYTHON_CLIENT_PREALLOCATE', 'false')
    config = _CONFIG.value
    config.update(body='mannequin', body_male='', body_female='')
    if _BACKBONE.value:
        config.model.backbone.update(vit.decode_variant(_BACKBONE.value))
    mesh, size = sharding.make_mesh(fsdp=config.mesh.fsdp), config.model.backbone
    print(f'{mesh.devices.size} x {jax.devices()[0].device_kind}, jax {jax.__version__}')
    print(f'batch {config.batch_size} in {config.accumulation_steps}, fsdp {config.mesh.fsdp}')
    print(f'backbone {dict(size)}', flush=True)
    fastest = matmul_rate(size.dtype) * mesh.devices.size
    print(f'products of {size.dtype} matrices: {fastest / 1e12:.4g} TFLOP/s', flush=True)
    operations = model_operations(config)
    for label, call in ours(config, mesh).items():
        report(label, seconds_of(call), operations[label], config.batch_size, fastest)
    there = all(importlib.util.find_spec(name) for name in ('torch', 'smplx'))
    if _TORCH.value and there and mesh.devices.size == 1:
        import torch

        for label, call in theirs(config).items():
            name = f'PyTorch, {label}'
            try:
                report(name, seconds_of(call), operations[label], config.batch_size, fastest)
            except torch.OutOfMemoryError as error:
                print(f'{name}: {str(error).splitlines()[0]}', flush=True)


def report(label: str, seconds: float, operations: float, batch: int, fastest: float) -> None:
    """Prints times and rates; `operations` count once what rematerialisation computes twice."""
    rate = operations / seconds
    print(
        f'{label}: {1000 * seconds:.2f} ms, {batch / seconds:.1f} images/s, '
        f'{rate / 1e12:.4g} TFLOP/s, {rate / fastest:.1%} of the rate of products',
        flush=True,
    )


def seconds_of(call: Callable[[], Any]) -> float:
    """Median seconds of a call, after one to compile; a turn waits only for its last call."""
    call_and_wait = lambda: jax.block_until_ready(call())  # noqa: E731
    call_and_wait()
    start = time.perf_counter()
    call_and_wait()
    number = max(1, round(_SECONDS.value / (time.perf_counter() - start)))
    times = []
    for _ in range(_TURNS.value):
        start = time.perf_counter()
        for _ in range(number - 1):
            call()
        call_and_wait()
        times.append((time.perf_counter() - start) / number)
    return statistics.median(times)


def matmul_rate(dtype: str) -> float:
    """Operations per second of one device in products of square matrices of the fastest size.

    Sizes double until a chain of products takes longer than a turn.
    """
    fastest, size, seconds = 0.0, 256, 0.0
    while seconds <= _SECONDS.value and size < 2**15:
        size *= 2
        x = jax.random.normal(jax.random.key(0), (size, size), dtype) / size**0.5
        # Each product depends on the one before, so that none can be left out.
        chain = jax.jit(lambda x: jax.lax.fori_loop(0, 8, lambda _, y: y @ x, x))
        seconds = seconds_of(functools.partial(chain, x))
        fastest = max(fastest, 8 * 2 * size**3 / seconds)
    return fastest


def ours(config: ml_collections.ConfigDict, mesh) -> dict[str, Callable]:
    """Our training step and prediction."""
    task = RegressorTask.from_config(config)
    tx = optimizer.make_optimizer(config.optimizer, config.num_steps)
    frozen = jax.device_put(task.frozen(), sharding.replicated(mesh))
    batch = noise.image_batch(config, len(frozen.is_ground_truth))
    batch = sharding.put_batch(batch, mesh)
    state = initial_state(task, tx, mesh, config.seed)
    step = make_step(task, tx, mesh, config.accumulation_steps)
    predict = jax.jit(task.predict, out_shardings=sharding.batch_sharding(mesh))

    def train():
        nonlocal state
        state, logs = step(state, frozen, batch, config.seed)
        return logs

    return {
        'training': train,
        'inference': lambda: predict(state.params, state.state, frozen, batch),
    }


def model_operations(config: ml_collections.ConfigDict) -> dict[str, float]:
    """Operations of a batch without rematerialisation."""
    config = ml_collections.ConfigDict(config.to_dict())
    config.model.backbone.remat = ''
    task = RegressorTask.from_config(config)
    shapes = *jax.eval_shape(task.init, jax.random.key(0)), task.batch_shapes()
    frozen = task.frozen()

    def loss(params, state, batch):
        return task.loss(params, state, frozen, batch, jax.random.key(0), 0)

    def predict(params, state, batch):
        return task.predict(params, state, frozen, batch)

    return {
        'training': flops.count_flops(jax.grad(loss, has_aux=True), *shapes),
        'inference': flops.count_flops(predict, *shapes),
    }


def theirs(config: ml_collections.ConfigDict) -> dict[str, Callable]:
    """PyTorch's step and prediction, each waited for."""
    import numpy as np
    import optax
    import side_by_side
    import torch
    import torch_regressor
    from regressor_step import random_state
    from smpl_forward import torch_body

    from tokenhmr_jax.mannequin.body import mannequin_arrays

    config = ml_collections.ConfigDict(config.to_dict())
    config.model.backbone.scan = False  # PyTorch's blocks are separate
    print(side_by_side.start(tf32=True).splitlines()[2])
    device = side_by_side.torch_device()
    task = RegressorTask.from_config(config)
    frozen = task.frozen()
    state = random_state(task, optax.identity())
    with torch.device('meta'):
        network = torch_regressor.Network(config)
    network = torch_regressor.load(network, state.params)
    batch = torch_regressor.tensors(noise.image_batch(config, len(frozen.is_ground_truth)), device)
    batch = batch.replace(image=batch.image.movedim(-1, 1).contiguous())
    compiled = torch.compile(network) if device.type == 'cuda' else network
    body = torch_body(mannequin_arrays())
    step = torch_regressor.Step(config, compiled, state.state, frozen, body)

    def wait(call):
        def run():
            call()
            if device.type == 'cuda':
                torch.cuda.synchronize()
            return np.zeros(())

        return run

    return {
        'training': wait(lambda: step(batch)),
        'inference': wait(lambda: step.predict(batch)),
    }


if __name__ == '__main__':
    flags.mark_flag_as_required('config')
    app.run(main)
