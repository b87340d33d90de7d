"""Start of the worker processes: time to the first batch of crops, and resident memory.

    python benchmarks/worker_start.py

The first batch is made by worker processes, from their start on, and by this process itself, which
has imported everything: a training waits for the difference.
"""

import argparse
import pathlib
import subprocess
import tempfile
import time

import image_pipeline

from tokenhmr_jax.data.workers import Workers

_MORE = 20  # batches, after which memory no longer grows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--pictures', type=int, default=40, help='how many')
    parser.add_argument('--workers', type=int, default=2)
    parser.add_argument('--batch_size', type=int, default=64)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        image_pipeline.prepare(folder, options.pictures, 3, 1)
        for _ in range(2):  # the first time reads the files from disk
            begun = time.perf_counter()
            next(image_pipeline.batches(folder, options.batch_size, None))
            alone = time.perf_counter() - begun
        begun = time.perf_counter()
        with Workers(options.workers) as workers:
            made = image_pipeline.batches(folder, options.batch_size, workers)
            next(made)
            print(
                f'first batch: {time.perf_counter() - begun:.1f} s by {options.workers} workers '
                f'from their start on, {alone:.1f} s by this process'
            )
            for _ in range(_MORE):
                next(made)
            for pid in workers.pids:
                megabytes, seconds = usage(pid)
                print(f'worker: {megabytes:.0f} MB resident, {seconds} of processor time')


def usage(pid: int) -> tuple[float, str]:
    """Resident memory of a process, MB, and its processor time."""
    command = ['ps', '-o', 'rss=,time=', '-p', str(pid)]
    kilobytes, seconds = subprocess.run(
        command, check=True, capture_output=True, text=True
    ).stdout.split()
    return int(kilobytes) / 1000, seconds


if __name__ == '__main__':
    main()
