"""Timing of our code and its counterpart in PyTorch by turns, in one process."""

import argparse
import dataclasses
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import torch

from tokenhmr_jax.data.workers import num_cores

# Seconds that a turn lasts at least. Short calls are repeated.
TURN = 0.1
# Seconds before a turn. The other side's threads spin for some milliseconds after their last call.
PAUSE = 0.02


@dataclasses.dataclass(frozen=True)
class Times:
    """Seconds per call of each turn. `ours[i]` and `theirs[i]` are neighbours in time."""

    ours: list[float]
    theirs: list[float]

    def line(self, label: str) -> str:
        """Median times; median, least and largest ratio of neighbouring turns."""
        ratios = [b / a for a, b in zip(self.ours, self.theirs, strict=True)]
        ours, theirs = (1000 * statistics.median(t) for t in (self.ours, self.theirs))
        return (
            f'{label}: ours {ours:.2f} ms, PyTorch {theirs:.2f} ms, ratio '
            f'{statistics.median(ratios):.2f}x ({min(ratios):.2f} to {max(ratios):.2f})'
        )

    def rates(self, images: int) -> str:
        """Images per second of each side by the median time, for calls of so many images."""
        ours, theirs = (images / statistics.median(t) for t in (self.ours, self.theirs))
        return f'ours {ours:.1f} images/s, PyTorch {theirs:.1f} images/s'


def torch_device() -> torch.device:
    """CUDA where JAX computes on a GPU too, else the CPU."""
    both = jax.default_backend() == 'gpu' and torch.cuda.is_available()
    return torch.device('cuda' if both else 'cpu')


def add_network_options(parser: argparse.ArgumentParser) -> None:
    """Adds flags of the networks' type, and of the compilation of PyTorch's."""
    parser.add_argument('--dtype', default='float32', choices=('float32', 'bfloat16'))
    parser.add_argument('--compile', action='store_true', help="PyTorch's network, torch.compile")


def start(compiled: bool = False, tf32: bool = False) -> str:
    """Gives both sides the same number of threads; describes the machine, each side and its device.

    XLA has one thread per core that this process may use, and PyTorch gets as many.

    Args:
      compiled: whether PyTorch's network is compiled.
      tf32: whether PyTorch rounds factors of float32 products to TF32 on GPUs, as XLA does.
    """
    cores = num_cores()
    torch.set_num_threads(cores)
    torch.backends.cuda.matmul.fp32_precision = 'tf32' if tf32 else 'ieee'
    theirs = torch.cuda.get_device_name() if torch_device().type == 'cuda' else 'cpu'
    return (
        f'{cores} cores ({platform.machine()}), as many threads for each side\n'
        f'ours: jax {jax.__version__} on {jax.devices()[0].device_kind}\n'
        f'PyTorch: torch {torch.__version__} on {theirs}, '
        f'{"compiled" if compiled else "eager"}\n'
        'ratio: PyTorch time / our time, above 1 where ours is faster; median (least to largest)'
    )


def tolerance(dtype: str) -> float:
    """Largest difference of two networks that compute in `dtype`, for `check`.

    On GPUs both sides round the factors of a float32 product to TF32.
    """
    if dtype == 'bfloat16':
        return 5e-2
    return 1e-4 if jax.default_backend() == 'cpu' else 2e-2


def check(name: str, ours: Any, theirs: Any, tolerance: float) -> None:
    """Prints the largest difference of two arrays.

    Raises:
      ValueError: if the difference is above `tolerance` times the largest value.
    """
    ours, theirs = np.asarray(ours, np.float32), theirs.detach().float().cpu().numpy()
    difference, limit = np.abs(ours - theirs).max(), tolerance * np.abs(theirs).max()
    if not difference <= limit:
        raise ValueError(f'{name}: the two sides differ by {difference:.2g}, above {limit:.2g}')
    print(f'{name}: the two sides agree to {difference:.2g}; largest {np.abs(ours).max():.2g}')


def measure(label: str, ours: Callable[[], Any], theirs: Callable[[], Any], turns: int) -> Times:
    """Times two functions by turns, so that other work slows both alike; prints the result.

    Both functions must have been called before, so that nothing is compiled here.

    Args:
      label: name of the work.
      ours: returns JAX arrays, which are waited for.
      theirs: PyTorch's side; on CUDA it is waited for.
      turns: number of turns of each side.
    """
    times = Times([], [])
    for _ in range(turns):
        times.ours.append(_turn(lambda: jax.block_until_ready(ours())))
        times.theirs.append(_turn(lambda: _finish(theirs())))
    print(times.line(label), flush=True)
    return times


def _turn(call: Callable[[], Any]) -> float:
    """Seconds per call, over the calls that fill a turn."""
    time.sleep(PAUSE)
    start, calls = time.perf_counter(), 0
    while not calls or time.perf_counter() - start < TURN:
        call()
        calls += 1
    return (time.perf_counter() - start) / calls


def _finish(result: Any) -> Any:
    if torch_device().type == 'cuda':
        torch.cuda.synchronize()
    return result
