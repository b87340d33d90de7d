"""Batches of crops: our pipeline of prepared records against the original's approach in PyTorch.

    python benchmarks/image_pipeline.py

The original's approach: worker processes of PyTorch's DataLoader decode whole pictures of tars, and
crop, colour and normalise each person as float32. Ours: worker processes read, decode and crop
prepared records; the uint8 crops are coloured and normalised on the device. Both draw the same
augmentations and use all cores. Pictures are of BEDLAM's size.

Also printed: the rate of one worker of ours, and the share of as many times that rate as there are
cores which all reach together; how busy the main process is: its CPU time, an upper bound of the
time that it holds Python's lock.
"""

import argparse
import functools
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

import cv2
import frames
import numpy as np
import torch

from tokenhmr_jax.data import augment, crops, pictures, pipeline
from tokenhmr_jax.data import workers as data_workers
from tokenhmr_jax.readers import humans4d, labels, tars

SIZE, WIDTH = 256, 192  # of a crop, px, and the middle columns that the network sees
MEAN = 255 * np.array([0.485, 0.456, 0.406], np.float32)
STD = 255 * np.array([0.229, 0.224, 0.225], np.float32)
ROOT = pathlib.Path(__file__).parent.parent
SETTINGS = augment.AugmentSettings()
_WARM_UP = 10  # batches


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--pictures', type=int, default=400, help='how many')
    parser.add_argument('--persons', type=int, default=3, help='in each')
    parser.add_argument('--batch_size', type=int, default=64)
    parser.add_argument('--seconds', type=float, default=10, help='of timing for each side')
    parser.add_argument(
        '--side', choices=('ours alone', 'ours', 'theirs'), help='only this one, for its memory'
    )
    options = parser.parse_args()
    cores = data_workers.num_cores()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        prepare(folder, options.pictures, options.persons, cores)
        check(folder)
        print(
            f'{options.pictures} pictures of {frames.WIDTH} x {frames.HEIGHT} px with '
            f'{options.persons} people; {options.batch_size} crops of {SIZE} px; {cores} cores'
        )
        rates = {}
        for side, start, workers in (
            ('ours alone', ours, 1),
            ('ours', ours, cores),
            ('theirs', theirs, cores),
        ):
            if options.side in (None, side):
                rates[side] = measure(side, folder, start, workers, options)
        if len(rates) == 3:
            share = rates['ours'] / rates['ours alone'] / cores
            print(f'{share:.0%} of {cores} times the rate of one worker')
            print(f'ratio {rates["ours"] / rates["theirs"]:.2f}x')


def prepare(folder: pathlib.Path, count: int, persons: int, cores: int) -> None:
    """Writes a tar for each worker, and prepares our dataset from them."""
    for worker in range(cores):
        share = count * (worker + 1) // cores - count * worker // cores
        frames.write_tar(folder / f'mpii-train/{worker:06d}.tar', share, persons, worker)
    command = [
        sys.executable, 'datasets/pseudo_gt/pseudo_gt_dataset_builder.py', '--set=mpii',
        f'--data_dir={folder / "data"}', f'--manual_dir={folder}', '--pose_density=none',
    ]  # fmt: skip
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)


def check(folder: pathlib.Path) -> None:
    """Raises ValueError if the crops of both sides differ by more than compression does."""
    split = pipeline.open_split(str(folder / 'data'), 'pseudo_gt/mpii/train')
    name, sample = next(tars.samples(folder / 'mpii-train/000000.tar', tars.PARTS))
    image, people = decode(name, sample)
    theirs_crop = crop(image, people[0], augment.Augmentation())
    theirs_crop = theirs_crop.transpose(1, 2, 0) * STD + MEAN
    ours_crop = augment.augment_crop(split[0], augment.Augmentation(), SIZE)['image']
    inside = ours_crop.max(axis=-1) > 0
    difference = np.abs(ours_crop[inside] - theirs_crop[inside]).mean()
    if not difference < 6:
        raise ValueError(f'the two sides differ by {difference:.1f} of 255 on average')
    print(f'the two sides agree to {difference:.1f} of 255 on average')


def ours(folder: pathlib.Path, batch_size: int, count: int) -> Iterator[dict]:
    with data_workers.Workers(count) as started:
        yield from batches(folder, batch_size, started)


def batches(
    folder: pathlib.Path, batch_size: int, workers: data_workers.Workers | None
) -> pipeline.Batches:
    """Batches of our prepared records, by workers or by this process."""
    transform = functools.partial(
        augment.random_crop, settings=SETTINGS, crop_size=SIZE, width=WIDTH
    )
    return pipeline.train_batches(
        str(folder / 'data'),
        {'pseudo_gt/mpii/train': 1.0},
        batch_size=batch_size,
        seed=0,
        num_threads=1,
        workers=workers,
        transform=transform,
    )


class Persons(torch.utils.data.IterableDataset):
    """Persons of tars. Each worker reads its own tars."""

    def __init__(self, folder: pathlib.Path):
        self._paths = sorted(folder.glob('mpii-train/*.tar'))

    def __iter__(self):
        cv2.setNumThreads(1)
        worker = torch.utils.data.get_worker_info()
        rng = np.random.default_rng(worker.id)
        while True:
            for path in self._paths[worker.id :: worker.num_workers]:
                for name, sample in tars.samples(path, tars.PARTS):
                    image, people = decode(name, sample)
                    for person in people:
                        yield self._item(rng, image, person)

    def _item(self, rng, image, person):
        keypoints = person['keypoints_2d']
        drawn = augment.draw_augmentation(rng, SETTINGS, keypoints, 200 * person['scale'])
        found = humans4d.humans4d_labels(person)
        box = {'box_center': person['center'], 'box_size': 200 * person['scale']}
        keypoints = found['keypoints2d'].copy()
        matrix = augment.augmentation_matrix(box | found, drawn, SIZE)
        keypoints[:, :2] = crops.transform(matrix, keypoints[:, :2]) / SIZE - 0.5
        return found | {'keypoints2d': keypoints, 'image': crop(image, person, drawn)}


def decode(name: str, sample: dict[str, bytes]) -> tuple[np.ndarray, list[dict]]:
    """The whole picture of a sample, RGB, and its persons."""
    picture, people = tars.split_sample(name, sample)
    return pictures.decode_picture(picture, name), people


def crop(image: np.ndarray, person: dict, drawn: augment.Augmentation) -> np.ndarray:
    """A person's crop (3, S, S) float32, coloured and normalised."""
    box = {
        'box_center': person['center'],
        'box_size': labels.PIXELS_PER_SCALE * person['scale'],
        'keypoints2d': person['keypoints_2d'],
    }
    matrix = augment.augmentation_matrix(box, drawn, SIZE)
    patch = cv2.warpAffine(image, matrix, (SIZE, SIZE), flags=cv2.INTER_LINEAR)
    patch = np.clip(patch.astype(np.float32) * np.asarray(drawn.color, np.float32), 0, 255)
    return np.ascontiguousarray(((patch - MEAN) / STD).transpose(2, 0, 1))


def theirs(folder: pathlib.Path, batch_size: int, workers: int) -> Iterator[dict]:
    return iter(torch.utils.data.DataLoader(Persons(folder), batch_size, num_workers=workers))


def measure(side, folder, start, workers, options) -> float:
    """Prints and returns images per second, without the first batches, while workers start."""
    before = os.times()
    batches = start(folder, options.batch_size, workers)
    for _ in range(_WARM_UP):
        next(batches)
    begun, busy, count = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - begun < options.seconds:
        next(batches)
        count += options.batch_size
    seconds, busy = time.perf_counter() - begun, time.process_time() - busy
    rate = count / seconds
    del batches  # ends the workers, so that their time counts
    work = sum(os.times()[:4]) - sum(before[:4])
    total = count + _WARM_UP * options.batch_size
    print(
        f'{side}: {rate:.0f} images/s, {workers} workers, {total / work:.0f} per second of work; '
        f'main process busy {busy / seconds:.1%} of the time; peak memory so far {memory():.2f} GB',
        flush=True,
    )
    return rate


def memory() -> float:
    """Peak memory of this process plus that of its largest child, GB."""
    kinds = resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN
    return sum(resource.getrusage(kind).ru_maxrss for kind in kinds) / 2**20


if __name__ == '__main__':
    main()
