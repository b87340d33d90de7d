"""A checkpoint to give away: weights and config alone, in half precision.

    python -m tokenhmr_jax.pack --checkpoint=runs/regressor --out=packed

The result loads as a run does. It holds no optimizer and no position in the data.
"""

import os
from collections.abc import Sequence

import jax
import numpy as np

from tokenhmr_jax import cli
from tokenhmr_jax.checkpoints.store import Checkpoints
from tokenhmr_jax.training.kept_files import copy_kept_files
from tokenhmr_jax.training.trained_run import next_command

_HALF = np.float16


def pack(workdir: str | os.PathLike, out: str | os.PathLike, step: str = 'best') -> int:
    """Writes a checkpoint without optimizer, float32 as float16; returns the bytes of its arrays.

    Raises FileNotFoundError or ValueError for a checkpoint that is not there, an array beyond
    float16's range, or an `out` that holds a checkpoint already.
    """
    with Checkpoints(workdir, create=False) as saved:
        number = saved.find(step)
        description = saved.read_config(number)
        model = jax.tree.map(_half, saved.read_model(number))
    with Checkpoints(out) as packed:
        if packed.newest_good() is not None:
            raise ValueError(f'{out} holds a checkpoint already: expected another --out')
        packed.save_converted(number, model['params'], model['state'], description)
    copy_kept_files(workdir, out)
    return sum(array.nbytes for array in jax.tree.leaves(model))


def _half(array: np.ndarray) -> np.ndarray:
    if array.dtype != np.float32:
        return array
    half = array.astype(_HALF)
    if not np.isfinite(half).all():
        raise ValueError(
            f'an array of shape {array.shape} reaches {np.abs(array).max():g}: more '
            'than float16 holds'
        )
    return half


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line; `arguments` are the process's own by default."""
    flags = cli.Flags(__doc__, arguments)
    checkpoint = flags.path('checkpoint', None, "A run's workdir.", required=True)
    out = flags.path('out', None, 'Folder to write to.', required=True)
    step = flags.string('step', 'best', "Which step: 'best', 'last', or its number.")

    def command():
        size = pack(checkpoint.value, out.value, step.value)
        print(f'{size / 1e6:.1f} MB of arrays; they load as a run does')
        return cli.Done(out.value, next_command(out.value), {'bytes': size})

    cli.run(flags, command)


if __name__ == '__main__':
    main()
