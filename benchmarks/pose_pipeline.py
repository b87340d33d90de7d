"""Batches of poses for stage 1: our worker processes against TFDS in the process itself.

    python benchmarks/pose_pipeline.py

Poses are those of the procedural motion generator. TFDS reads the same records in random order,
which it parses field by field. Printed are poses per second, and how busy the main process is: its
CPU time, an upper bound of the time that it holds Python's lock.
"""

import argparse
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

import numpy as np
import tensorflow_datasets as tfds

from tokenhmr_jax.data import pipeline
from tokenhmr_jax.data.workers import Workers, num_cores

ROOT = pathlib.Path(__file__).parent.parent
SPLIT = 'amass/procedural'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--poses', type=int, default=20_000, help='how many')
    parser.add_argument('--batch_size', type=int, default=256)
    parser.add_argument('--seconds', type=float, default=5, help='of timing for each side')
    options = parser.parse_args()
    cores = num_cores()
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable, 'datasets/amass/amass_dataset_builder.py', f'--data_dir={folder}',
            f'--num_procedural={options.poses}',
        ]  # fmt: skip
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
        print(f'{options.poses} poses, batches of {options.batch_size}, {cores} cores')
        rates = {
            'one worker': measure('one worker', ours(folder, options.batch_size, 1), options),
            'workers': measure(
                f'{cores} workers', ours(folder, options.batch_size, cores), options
            ),
            'TFDS': measure('TFDS', theirs(folder, options.batch_size), options),
        }
    print(f'ratio {rates["one worker"] / rates["TFDS"]:.2f}x, one worker')
    print(f'ratio {rates["workers"] / rates["TFDS"]:.2f}x, all workers')


def ours(folder: str, batch_size: int, count: int) -> Iterator[np.ndarray]:
    with Workers(count) as workers:
        options = {'batch_size': batch_size, 'seed': 0, 'num_threads': 1, 'workers': workers}
        for columns in pipeline.train_batches(folder, {SPLIT: 1.0}, **options):
            yield columns['body_pose']


def theirs(folder: str, batch_size: int) -> Iterator[np.ndarray]:
    dataset, split = SPLIT.split('/')
    [version] = (pathlib.Path(folder) / dataset).iterdir()
    source = tfds.builder_from_directory(version).as_data_source(split)
    rng = np.random.default_rng(0)
    while True:
        records = source.__getitems__(rng.integers(len(source), size=batch_size).tolist())
        yield np.stack([record['body_pose'] for record in records])


def measure(side: str, batches: Iterator[np.ndarray], options) -> float:
    """Prints and returns poses per second, without the first batches, while workers start."""
    for _ in range(10):
        next(batches)
    begun, busy, count = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - begun < options.seconds:
        count += len(next(batches))
    seconds, busy = time.perf_counter() - begun, time.process_time() - busy
    rate = count / seconds
    print(f'{side}: {rate:.0f} poses/s; main process busy {busy / seconds:.1%} of the time')
    return rate


if __name__ == '__main__':
    main()
