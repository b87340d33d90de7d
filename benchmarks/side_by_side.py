"""Timing our code and its counterpart in PyTorch by turns, in one process."""

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
import tqdm

from tokenhmr_jax.readers import processes

# Seconds that a turn lasts at least: short calls are repeated.
TURN = 0.1
# Seconds before a turn: the other side's threads spin for a few milliseconds after their last call.
PAUSE = 0.02


@dataclasses.dataclass(frozen=True)
class Times:
    """Seconds per call, one per turn; `ours[i]` and `theirs[i]` were taken one after the other."""

    ours: list[float]
    theirs: list[float]

    def line(self, label: str) -> str:
        """Median times, and the median, least and largest ratio of neighbouring turns."""
        ratios = [b / a for a, b in zip(self.ours, self.theirs, strict=True)]
        ours, theirs = (1000 * statistics.median(t) for t in (self.ours, self.theirs))
        return (
            f'{label}: ours {ours:.2f} ms, PyTorch {theirs:.2f} ms, ratio '
            f'{statistics.median(ratios):.2f}x ({min(ratios):.2f} to {max(ratios):.2f})'
        )

    def rates(self, images: int) -> str:
        """Images per second of each side, if a call takes so many; by the median time."""
        ours, theirs = (images / statistics.median(t) for t in (self.ours, self.theirs))
        return f'ours {ours:.1f} images/s, PyTorch {theirs:.1f} images/s'


def torch_device() -> torch.device:
    """CUDA where JAX computes on a GPU too, else the CPU."""
    both = jax.default_backend() == 'gpu' and torch.cuda.is_available()
    return torch.device('cuda' if both else 'cpu')


def add_network_options(parser: argparse.ArgumentParser) -> None:
    """What the two networks compute in, and whether PyTorch's is compiled."""
    parser.add_argument('--dtype', default='float32', choices=('float32', 'bfloat16'))
    parser.add_argument('--compile', action='store_true', help="PyTorch's network, torch.compile")


def start(compiled: bool = False, tf32: bool = False) -> str:
    """Give both sides the same number of threads; describe the machine, each side and its device.

    XLA takes one thread per core that this process may use; so shall PyTorch. `compiled` says
    whether PyTorch's network is. `tf32`: on GPUs it rounds the factors of float32 products to TF32,
    as XLA does unless told otherwise.
    """
    cores = processes.num_cores()
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
    """How far two networks that compute in `dtype` may differ, for `check`.

    On GPUs both sides round the factors of a float32 product to TF32.
    """
    if dtype == 'bfloat16':
        return 5e-2
    return 1e-4 if jax.default_backend() == 'cpu' else 2e-2


def check(name: str, ours: Any, theirs: Any, tolerance: float) -> None:
    """Print the largest difference of two arrays.

    Raises:
      ValueError: if it is above `tolerance` times the largest value: they compute different things.
    """
    ours, theirs = np.asarray(ours, np.float32), theirs.detach().float().cpu().numpy()
    difference, limit = np.abs(ours - theirs).max(), tolerance * np.abs(theirs).max()
    if not difference <= limit:
        raise ValueError(f'{name}: the two sides differ by {difference:.2g}, above {limit:.2g}')
    print(f'{name}: the two sides agree to {difference:.2g}; largest {np.abs(ours).max():.2g}')


def measure(label: str, ours: Callable[[], Any], theirs: Callable[[], Any], turns: int) -> Times:
    """Time two functions by turns, so that whatever else the machine does meets both; print it.

    Args:
      label: what they do.
      ours: returns JAX arrays, which are waited for.
      theirs: PyTorch's side; on CUDA it is waited for.
      turns: how many of each.

    Both have been called before: nothing is compiled here.
    """
    times = Times([], [])
    for _ in tqdm.trange(turns, desc=label, leave=False):
        times.ours.append(_turn(lambda: jax.block_until_ready(ours())))
        times.theirs.append(_turn(lambda: _finish(theirs())))
    print(times.line(label), flush=True)
    return times


def _turn(call: Callable[[], Any]) -> float:
    """Seconds per call, over as many as fill a turn."""
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
