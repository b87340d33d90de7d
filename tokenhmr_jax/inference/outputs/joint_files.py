"""Files of all persons' joints, in all conventions: joints.npz, joints.json, joints.csv.

`results.py` documents them. They are made of a result's other files.
"""

import csv
import json
import math
import pathlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple, TextIO

import numpy as np
from jaxtyping import Float, Int, Shaped

from tokenhmr_jax import cli
from tokenhmr_jax.body import joint_conventions
from tokenhmr_jax.body.joint_conventions import CONVENTIONS
from tokenhmr_jax.inference.outputs import results

FORMATS = ('json', 'csv')  # beside .npz
_UNITS = {
    'xyz': "metres, in the image's camera: x right, y down, z forward",
    'px': 'pixels of the image, the projection of xyz; null behind the camera',
    'time': 'seconds; null for images',
}
_COLUMNS = ('frame', 'time', 'person', 'convention', 'joint', 'x', 'y', 'z', 'px', 'py')
_PLACES, _PIXEL_PLACES = 5, 2  # decimals in text


class PersonRows(NamedTuple):
    """R persons in frames. Joints and keypoints are metres, in the image's camera."""

    frame: Shaped[np.ndarray, ' R']
    time: Float[np.ndarray, ' R']
    person: Int[np.ndarray, ' R']
    joints: Float[np.ndarray, 'R 24 3']
    keypoints: Float[np.ndarray, 'R 44 3']
    focal_length: Float[np.ndarray, ' R']
    principal_point: Float[np.ndarray, 'R 2']


_NOBODY = PersonRows(
    np.zeros(0, 'U1'), np.zeros(0), np.zeros(0, int), np.zeros((0, 24, 3)), np.zeros((0, 44, 3)),
    np.zeros(0), np.zeros((0, 2)),
)  # fmt: skip


def lacks(folder: pathlib.Path, formats: Sequence[str]) -> bool:
    """Whether a result lacks joints.npz or a file of one of the formats."""
    return not all((folder / f'joints.{suffix}').exists() for suffix in ('npz', *formats))


def write_joints(folder: pathlib.Path, video: bool, formats: Sequence[str]) -> None:
    """Writes joints.npz of a result, and joints.SUFFIX of formats asked for or already there.

    The persons of a video are those of its tracks, which are written before.
    """
    arrays = _arrays(_of_tracks(folder) if video else _of_images(folder))
    results.write_arrays(folder / 'joints.npz', arrays)
    for suffix, write in (('json', _write_json), ('csv', _write_csv)):
        path = folder / f'joints.{suffix}'
        if suffix in formats or path.exists():
            with cli.whole_file(path) as partial, partial.open('w', encoding='utf-8') as file:
                write(file, arrays)


def _arrays(persons: Iterator[PersonRows]) -> dict[str, np.ndarray]:
    """The arrays of joints.npz, in order of frames."""
    rows = PersonRows(*map(np.concatenate, zip(_NOBODY, *persons, strict=True)))
    order = np.lexsort((rows.person, rows.frame))
    rows = PersonRows(*(column[order] for column in rows))
    arrays = {'frame': rows.frame, 'time': rows.time, 'person': rows.person}
    for name, convention in CONVENTIONS.items():
        points = joint_conventions.select(name, rows.joints, rows.keypoints)
        arrays[name] = points.astype(np.float32)
        seen = _pixels(points, rows.focal_length, rows.principal_point)
        arrays[f'{name}_px'] = seen.astype(np.float32)
        arrays[f'{name}_names'] = np.array(convention.names)
    return arrays


def _of_images(folder: pathlib.Path) -> Iterator[PersonRows]:
    """The persons of images, by frame."""
    for path in results.frame_paths(folder):
        frame = results.read_arrays(path)
        if count := len(frame['boxes']):
            place = frame['translation'][:, None]
            yield PersonRows(
                np.full(count, path.stem), np.full(count, np.nan), frame['track_ids'],
                frame['joints'] + place, frame['keypoints3d'] + place, frame['focal_length'],
                frame['principal_point'],
            )  # fmt: skip


def _of_tracks(folder: pathlib.Path) -> Iterator[PersonRows]:
    """The persons of a video, by track."""
    for path in results.track_paths(folder):
        track = results.read_arrays(path)
        yield PersonRows(
            np.array([f'{index:06d}' for index in track['index']]), track['time'],
            np.full(len(track['time']), int(path.stem)), track['camera_joints'],
            track['camera_keypoints'], track['focal_length'], track['principal_point'],
        )  # fmt: skip


def _pixels(
    points: Float[np.ndarray, 'R K 3'],
    focal_length: Float[np.ndarray, ' R'],
    principal_point: Float[np.ndarray, 'R 2'],
) -> Float[np.ndarray, 'R K 2']:
    """The pixels of points in the image's camera; NaN behind it."""
    depth = np.where(points[..., 2:] > 0, points[..., 2:], np.nan)
    return focal_length[:, None, None] * points[..., :2] / depth + principal_point[:, None]


def _write_json(file: TextIO, arrays: dict[str, np.ndarray]) -> None:
    """A line for each person in a frame."""
    names = {name: convention.names for name, convention in CONVENTIONS.items()}
    head = json.dumps({'units': _UNITS, 'names': names}, indent=1).removesuffix('\n}')
    file.write(f'{head},\n "persons": [')
    for row, person in enumerate(_persons(arrays)):
        # No number of JSON is NaN.
        text = json.dumps(_without_nan(person))
        file.write(f'{"," if row else ""}\n  {text}')
    file.write('\n ]\n}\n')


def _write_csv(file: TextIO, arrays: dict[str, np.ndarray]) -> None:
    """A line for each joint of each convention of a person in a frame."""
    writer = csv.writer(file, lineterminator='\n')
    writer.writerow(_COLUMNS)
    for person in _persons(arrays):
        # Names of files need not be text.
        image = person['frame'].encode('utf-8', 'backslashreplace').decode()
        who = image, _cell(person['time']), person['person']
        for name, convention in CONVENTIONS.items():
            points = person['joints'][name]
            for joint, xyz, px in zip(convention.names, points['xyz'], points['px'], strict=True):
                writer.writerow([*who, name, joint, *map(_cell, xyz), *map(_cell, px)])


def _persons(arrays: dict[str, np.ndarray]) -> Iterator[dict]:
    """The content of JSON for each person in a frame, with NaN."""
    points = {
        name: (_rounded(arrays[name], _PLACES), _rounded(arrays[f'{name}_px'], _PIXEL_PLACES))
        for name in CONVENTIONS
    }
    for row, (frame, time, person) in enumerate(
        zip(arrays['frame'], arrays['time'], arrays['person'], strict=True)
    ):
        joints = {
            name: {'xyz': xyz[row].tolist(), 'px': px[row].tolist()}
            for name, (xyz, px) in points.items()
        }
        time = round(float(time), _PLACES)
        yield {'frame': str(frame), 'time': time, 'person': int(person), 'joints': joints}


def _rounded(values: np.ndarray, places: int) -> np.ndarray:
    return values.astype(float).round(places)


def _cell(value: float) -> float | str:
    return '' if math.isnan(value) else value


def _without_nan(content):
    """The same content of JSON with None for NaN."""
    if isinstance(content, dict):
        return {key: _without_nan(value) for key, value in content.items()}
    if isinstance(content, list):
        return [_without_nan(value) for value in content]
    return None if isinstance(content, float) and math.isnan(content) else content
