"""Speed of preparing records on one core, and memory for more and more pictures.

python benchmarks/preparing.py
"""

import argparse
import pathlib
import resource
import tempfile
import time

import cv2
import frames

from tokenhmr_jax.data import records
from tokenhmr_jax.readers import filters, humans4d, shards


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--pictures', type=int, default=100, help='of the smaller tar')
    parser.add_argument('--persons', type=int, default=3, help='in each')
    options = parser.parse_args()
    cv2.setNumThreads(1)
    print(f'pictures of {frames.WIDTH} x {frames.HEIGHT} px, {options.persons} persons in each')
    with tempfile.TemporaryDirectory() as folder:
        for times in (1, 1, 2, 4):
            measure(pathlib.Path(folder), times * options.pictures, options.persons)


def measure(folder: pathlib.Path, pictures: int, persons: int) -> None:
    path = folder / 'made/000000.tar'
    frames.write_tar(path, pictures, persons)
    unit = shards.Unit('made', 'made', lambda: humans4d.read_persons(path, filters.Filters(), {}))
    job = shards.ShardJob(str(folder / 'shard'), [unit], {}, records.features())
    start = time.process_time()
    report = shards.write_shard(job)
    seconds = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    print(
        f'{report["records"]} persons: {report["records"] / seconds:.0f} a second of work, '
        f'{report["bytes"] / report["records"] / 1000:.0f} KB each; peak memory {peak:.0f} MB'
    )


if __name__ == '__main__':
    main()
