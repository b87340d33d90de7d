"""Density of joint rotations in prepared motion capture.

    python -m tokenhmr_jax.studies.pose_density --data_dir=DATA --split=amass/CMU \\
        --split=amass/KIT --out=pose_density.npy

The filter of `datasets/pseudo_gt` reads the result.
"""

import pathlib
import shlex
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float

from tokenhmr_jax import cli
from tokenhmr_jax.data import pipeline
from tokenhmr_jax.readers.pose_density import count_poses, smooth_density

_CHUNK = 20_000  # poses


def _read_poses(data_dir: str, splits: list[str]) -> Iterator[Float[np.ndarray, 'N 21 3']]:
    """Poses of prepared splits, in chunks."""
    opened = [pipeline.open_split(data_dir, name) for name in splits]
    with cli.Progress('counting', 'pose', sum(map(len, opened))) as bar:
        for records in opened:
            for start in range(0, len(records), _CHUNK):
                chunk = records.read(range(start, min(start + _CHUNK, len(records))))
                bar.update(len(chunk))
                yield np.stack([record['body_pose'] for record in chunk])


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line; `arguments` are the process's own by default."""
    flags = cli.Flags(__doc__, arguments)
    data_dir = flags.path('data_dir', None, 'Prepared data.', required=True)
    split = flags.strings('split', None, "Such as 'amass/CMU'; repeatable.", required=True)
    out = flags.path('out', 'pose_density.npy', 'File to write, 84 MB.')

    def command():
        path = pathlib.Path(out.value)
        if path.suffix != '.npy':
            raise ValueError(f'--out={path}: expected a name that ends in .npy')
        path.parent.mkdir(parents=True, exist_ok=True)  # fails before the work
        counts = count_poses(_read_poses(data_dir.value, split.value))
        with cli.whole_file(path) as partial, partial.open('wb') as file:
            np.save(file, smooth_density(counts))
        number = int(counts[0].sum())
        print(f'{number} poses of {", ".join(split.value)}')
        use = f'a builder of datasets/pseudo_gt with --pose_density={shlex.quote(out.value)}'
        return cli.Done(path, use, {'poses': number})

    cli.run(flags, command)


if __name__ == '__main__':
    main()
