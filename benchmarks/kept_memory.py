"""Time of a training step on CPUs, with and without the memory of large arrays kept between steps.

    python benchmarks/kept_memory.py

Steps of the bundled network's training. Each turn is a process, as the setting lasts to its end.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import time

import jax
import jax.numpy as jnp

from tokenhmr_jax import cli
from tokenhmr_jax.config import import_beside
from tokenhmr_jax.tasks import make_task
from tokenhmr_jax.tasks.prompting import Poses
from tokenhmr_jax.training import malloc, optimizer, sharding
from tokenhmr_jax.training.step import initial_state, make_step

_CONFIGS = pathlib.Path(__file__).parents[1] / 'configs/regressor.py'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--turns', type=int, default=3)
    parser.add_argument('--steps', type=int, default=50)
    parser.add_argument('--batch_size', type=int, default=256)
    parser.add_argument('--one', choices=['kept', 'given back'], help='One turn, in this process.')
    options = parser.parse_args()
    if options.one:
        print(json.dumps(step_times(options)))
        return
    times = {'kept': [], 'given back': []}
    for _ in range(options.turns):
        for way, found in times.items():
            arguments = [f'--{name}={value}' for name, value in vars(options).items() if value]
            command = [sys.executable, __file__, f'--one={way}', *arguments]
            out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            found.append(statistics.median(json.loads(out.splitlines()[-1])))
    for way, found in times.items():
        print(f'memory {way}: {1e3 * statistics.median(found):.1f} ms a step')
    ratios = sorted(b / a for a, b in zip(*times.values(), strict=True))
    print(f'ratio {statistics.median(ratios):.2f}x ({ratios[0]:.2f} to {ratios[-1]:.2f})')


def step_times(options: argparse.Namespace) -> list[float]:
    """Seconds of each step."""
    cli.keep_compiled()
    if options.one == 'kept':
        malloc.keep_large_arrays()
    config = import_beside(str(_CONFIGS), 'regressor').get_config('variant=bundled')
    config.people.batch_size = options.batch_size
    config.tokenizer.checkpoint = ''
    task, mesh = make_task(config), sharding.make_mesh(jax.devices('cpu')[:1])
    tx = optimizer.make_optimizer(config.optimizer, config.num_steps)
    frozen = task.frozen().replace(poses=Poses(jnp.zeros((1, 3)), jnp.zeros((1, 21, 3))))
    state, step, times = initial_state(task, tx, mesh, 0), make_step(task, tx, mesh), []
    for _ in range(options.steps + 1):
        start = time.perf_counter()
        state, _ = jax.block_until_ready(step(state, frozen, None, 0))
        times.append(time.perf_counter() - start)
    return times[1:]  # the first compiles


if __name__ == '__main__':
    main()
