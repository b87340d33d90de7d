"""Errors of fields of view that are estimated from people.

    python -m tokenhmr_jax.studies.field_of_view

Mannequins in poses of procedural motion stand before random cameras (data/virtual_people.py) of 30
to 90 degrees across the diagonal. What the picture does not show of them is not given.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from tokenhmr_jax import cli
from tokenhmr_jax.body import keypoint_conventions
from tokenhmr_jax.data import detections, virtual_people
from tokenhmr_jax.drawing.markdown import markdown_table, rows_by_name
from tokenhmr_jax.inference.fitting import field_of_view
from tokenhmr_jax.inference.model import Model, load
from tokenhmr_jax.mannequin import motion

DISTANCES = (1.5, 2.0, 3.0, 4.0, 6.0, 10.0)
_DEGREES = 30.0, 90.0
_CAMERAS = 8  # fields of view at each distance
_GROUPS = (1, 3)  # people before one camera
_SIZE = 1600, 1200  # pixels; pictures are of any proportion, with this diagonal
_FRAMES, _FPS = 8, 2.0  # of a clip, of which one is taken
_DETECTOR = detections.DetectorSettings(conventions=('coco',))


def _all_true(keys, keypoints2d: Float[np.ndarray, 'N 44 3']) -> np.ndarray:
    return keypoints2d


def _coco_true(keys, keypoints2d: Float[np.ndarray, 'N 44 3']) -> np.ndarray:
    return keypoints2d * keypoint_conventions.GIVEN['coco'][:, None]


def _detected(keys, keypoints2d: Float[np.ndarray, 'N 44 3']) -> np.ndarray:
    size = virtual_people.person_size(keypoints2d[..., :2], keypoints2d[..., 2])
    disturb = functools.partial(detections.disturb, settings=_DETECTOR)
    return np.asarray(jax.vmap(disturb)(keys, jnp.asarray(keypoints2d), size))


CONDITIONS = {
    'all 44, without errors': _all_true,
    "COCO's 17, without errors": _coco_true,
    "COCO's 17, with a detector's errors": _detected,
}


class Estimates(NamedTuple):
    """Estimates of groups of people.

    errors: of the field of view, relative.
    deviations: that the estimates tell, likewise.
    levels: the truth's place in the posterior, 0 to 1.
    """

    errors: Float[np.ndarray, ' groups']
    deviations: Float[np.ndarray, ' groups']
    levels: Float[np.ndarray, ' groups']

    def row(self) -> list[str]:
        """Cells of the table."""
        off, centred = 100 * np.abs(self.errors), np.abs(self.levels - 0.5)
        inside = [100 * np.mean(centred <= share / 2) for share in (0.68, 0.95)]
        numbers = (np.median(off), np.percentile(off, 90), 100 * np.median(self.deviations))
        return [str(len(off)), *(f'{x:.1f}' for x in numbers), *(f'{x:.0f}' for x in inside)]


HEADER = [
    'keypoints', 'distance, m', 'people', 'groups', 'median error, %', '90% below',
    'told deviation, %', '68% interval covers, %', '95% interval covers, %',
]  # fmt: skip


def measure(model: Model, condition: str, distance: float, people: int) -> dict[int, Estimates]:
    """Estimates by the number of people before a camera; `people` before each of eight cameras."""
    low, high = np.log(np.tan(np.radians(_DEGREES) / 2))
    places = low + (high - low) * (np.arange(_CAMERAS) + 0.5) / _CAMERAS
    found = {count: [] for count in _GROUPS}
    for number, place in enumerate(places):
        seed = number + _CAMERAS * round(100 * distance)
        keypoints2d = _draw(model, condition, distance, place, people, seed)
        image = np.zeros((*_SIZE[::-1], 3), np.uint8)
        evidence = field_of_view.people_evidence(model, [image] * people, keypoints2d)
        for count in _GROUPS:
            groups = [evidence[i : i + count] for i in range(0, people - count + 1, count)]
            found[count] += [_compare(group, place) for group in groups]
    return {count: Estimates(*np.transpose(rows)) for count, rows in found.items()}


def _compare(evidence, place: float) -> tuple[float, float, float]:
    """The fields of `Estimates` of one group."""
    estimate = field_of_view.posterior(evidence)
    truth = 2 * np.degrees(np.arctan(np.exp(place)))
    below = field_of_view.probability_below(evidence, place)
    deviation = estimate.deviation_degrees / estimate.degrees
    return estimate.degrees / truth - 1, deviation, below


def _draw(
    model: Model, condition: str, distance: float, place: float, people: int, seed: int
) -> Float[np.ndarray, 'N 44 3']:
    """Keypoints, pixels, of people before cameras of one field of view."""
    degrees = 2 * np.degrees(np.arctan(np.exp(place)))
    settings = virtual_people.PeopleSettings((distance, distance), (degrees, degrees))
    rng, found = np.random.default_rng(seed), np.zeros((0, 44, 3), np.float32)
    focal = np.hypot(*_SIZE) / 2 / np.exp(place)
    while len(found) < people:
        clips = [
            motion.generate(rng, motion.sample_kind(rng), _FRAMES, _FPS) for _ in range(people)
        ]
        rows = rng.integers(_FRAMES, size=people)
        orient, pose = (np.stack([clip[i][row] for clip, row in zip(clips, rows, strict=True)])
                        for i in (0, 1))  # fmt: skip
        keys, of_detector = jax.random.split(jax.random.key(int(rng.integers(2**31))), (2, people))
        drawn = virtual_people.draw_people(keys, model.keypoint_body, orient, pose, settings)
        pixels = focal * np.asarray(drawn.keypoints2d) + np.array(_SIZE, np.float32) / 2
        seen = np.asarray(drawn.in_picture, np.float32)[..., None]
        keypoints2d = CONDITIONS[condition](of_detector, np.concatenate([pixels, seen], axis=-1))
        keypoints2d = np.where(keypoints2d[..., 2:] > 0, keypoints2d, 0).astype(np.float32)
        readable = (keypoints2d[..., 2] > 0).sum(1) >= field_of_view.LEAST_KEYPOINTS
        found = np.concatenate([found, keypoints2d[readable]])
    return found[:people]


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line; `arguments` are the process's own by default."""
    flags = cli.Flags(__doc__, arguments)
    checkpoint = flags.path('checkpoint', 'bundled', 'A workdir of a network of 2D keypoints.')
    people = flags.integer('people', 12, 'Before each of the eight cameras of a row.')

    def command():
        cli.keep_compiled()
        model, lines = load(checkpoint.value), []
        if model.reads_image or not model.reads_prompts:
            raise ValueError(f'{checkpoint.value}: expected a network of 2D keypoints alone')
        if people.value < max(_GROUPS):
            raise ValueError(f'--people={people.value}: expected at least {max(_GROUPS)}')
        for condition in CONDITIONS:
            for distance in DISTANCES:
                for count, found in measure(model, condition, distance, people.value).items():
                    lines.append([condition, f'{distance:g}', str(count), *found.row()])
        print(markdown_table(HEADER, lines))
        predict = 'predict', '--input=PHOTOS', '--out=RESULT', '--camera_guess=people'
        return cli.Done(next=cli.command_line(*predict), result=rows_by_name(HEADER, lines))

    cli.run(flags, command)


if __name__ == '__main__':
    main()
