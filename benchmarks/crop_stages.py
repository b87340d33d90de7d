"""Processor time of a training crop by stage, and how much of it holds Python's lock.

    python benchmarks/crop_stages.py

One thread; each time is the best of some turns. All but OpenCV's decoding, blur and warp counts as
holding the lock: crops are made again with the results of these given. NumPy frees the lock in
large loops, so this is an upper bound. Parsing is compared with TFDS' own, and checked against it.
"""

import argparse
import functools
import itertools
import pathlib
import tempfile
import time
from collections.abc import Callable
from unittest import mock

import cv2
import image_pipeline
import jax
import numpy as np
import tensorflow_datasets as tfds

from tokenhmr_jax.data import augment, crop_batches, pipeline
from tokenhmr_jax.data.examples import parser_of

_SPLIT = 'pseudo_gt/mpii/train'
_WITHOUT_LOCK = ('imdecode', 'GaussianBlur', 'warpAffine')
_BATCH = 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--pictures', type=int, default=50, help='how many')
    parser.add_argument('--persons', type=int, default=3, help='in each')
    parser.add_argument('--turns', type=int, default=10, help='of each measurement')
    options = parser.parse_args()
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        image_pipeline.prepare(pathlib.Path(folder), options.pictures, options.persons, 1)
        data_dir = str(pathlib.Path(folder) / 'data')
        compare_parsing(data_dir, options.turns)
        measure_stages(data_dir, options.turns)


def compare_parsing(data_dir: str, turns: int) -> None:
    """Prints the times of our parser and TFDS'; ValueError if their records differ."""
    builder = tfds.builder_from_directory(next(pathlib.Path(data_dir).glob('pseudo_gt/mpii/*.*.*')))
    raw = tfds.decode.DeserializeMethod.RAW_BYTES
    examples = list(builder.as_data_source('train', deserialize_method=raw))
    split = pipeline.open_split(data_dir, _SPLIT)
    theirs_of = builder.info.features.deserialize_example_np
    for ours, theirs in zip(split.read(range(len(split))), map(theirs_of, examples), strict=True):
        if not all(np.array_equal(ours[name], theirs[name]) for name in ours | theirs):
            raise ValueError(f'{theirs["key"].decode()}: the two sides differ')
    ours, theirs = (
        best_time(lambda parse=parse: run(map(parse, examples)), turns) / len(examples)
        for parse in (parser_of(builder.info.features), theirs_of)
    )
    print(f'parse: ours {ours:.1f} us, TFDS {theirs:.1f} us, ratio {theirs / ours:.1f}x')


def measure_stages(data_dir: str, turns: int) -> None:
    """Prints the processor time of each stage, and of what holds the lock."""
    split = pipeline.open_split(data_dir, _SPLIT)
    count = len(split)
    chunks = [range(i, min(i + _BATCH, count)) for i in range(0, count, _BATCH)]
    records = split.read(range(count))
    rngs = functools.partial(map, lambda i: np.random.default_rng((0, i)), range(count))
    crop = functools.partial(
        augment.random_crop,
        settings=image_pipeline.SETTINGS,
        crop_size=image_pipeline.SIZE,
        width=image_pipeline.WIDTH,
    )
    draw = lambda record, rng: augment.draw_augmentation(  # noqa: E731
        rng, image_pipeline.SETTINGS, record['keypoints2d'], record['box_size']
    )
    made = list(itertools.islice(map(crop, records, rngs()), _BATCH))
    stack = lambda: {name: np.stack([each[name] for each in made]) for name in made[0]}  # noqa: E731
    batch = crop_batches.crop_batch(stack(), np.zeros(len(made), np.int32))
    labels = jax.jit(lambda batch: crop_batches.image_batch(batch).replace(image=None))
    times = {
        'read and parse': best_time(lambda: run(map(split.read, chunks)), turns) / count,
        'draw': best_time(lambda: run(map(draw, records, rngs())), turns) / count,
    }
    whole = best_time(lambda: run(map(crop, records, rngs())), turns) / count
    with given_results(lambda: run(map(crop, records, rngs()))):
        held = best_time(lambda: run(map(crop, records, rngs())), turns) / count
    times |= {
        'place, cut, decode, warp': whole - times['draw'],
        'stack': best_time(stack, turns) / len(made),
    }
    for name, value in times.items():
        print(f'{name}: {value:.0f} us')
    total = sum(times.values())
    held += times['read and parse'] + times['stack']
    print(f'together: {total:.0f} us; {held:.0f} us hold the lock, {held / total:.0%}: at most '
          f'{1e6 / held:.0f} crops/s in one process')  # fmt: skip
    on_device = best_time(lambda: jax.block_until_ready(labels(batch)), turns, time.process_time)
    print(f'labels, {jax.devices()[0].platform}: {on_device / len(made):.1f} us')


def run(items) -> None:
    for _ in items:
        pass


def best_time(call: Callable, turns: int, clock: Callable = time.thread_time) -> float:
    """Smallest time of some calls, microseconds."""
    times = []
    for _ in range(turns):
        start = clock()
        call()
        times.append(clock() - start)
    return 1e6 * min(times)


def given_results(call: Callable) -> mock._patch:
    """A context in which what runs without the lock takes no time: results are those of `call`."""
    results = []

    def keep(function):
        def kept(*arguments, **options):
            results.append(function(*arguments, **options))
            return results[-1]

        return kept

    with mock.patch.multiple(cv2, **{name: keep(getattr(cv2, name)) for name in _WITHOUT_LOCK}):
        call()
    given = itertools.cycle(results)
    return mock.patch.multiple(
        cv2, **dict.fromkeys(_WITHOUT_LOCK, lambda *arguments, **options: next(given))
    )


if __name__ == '__main__':
    main()
