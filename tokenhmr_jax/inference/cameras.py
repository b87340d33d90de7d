"""The camera of an image: its focal length, and the source of it."""

import math
from collections.abc import Collection
from typing import NamedTuple

import numpy as np

from tokenhmr_jax.body import camera
from tokenhmr_jax.inference.inputs.sources import Frame


class Camera(NamedTuple):
    """A focal length in pixels, and its source in words."""

    focal_length: float
    source: str


_GUESS_SOURCES = {
    'diagonal': 'guessed: 55 degrees across the diagonal',
    'original': "guessed: 5000/256 of the larger side; distances are not the world's",
}


def told_camera(frame: Frame, focal_length: float | None, fov: float | None) -> Camera | None:
    """The camera that the user gives, else that of EXIF, else None.

    `focal_length` is in pixels; `fov` is the field of view across the image's width, degrees.
    """
    if focal_length is not None:
        return Camera(focal_length, 'given focal length')
    if fov is not None:
        width = frame.image.shape[1]
        return Camera(width / 2 / math.tan(math.radians(fov) / 2), 'given field of view')
    if frame.focal_length is not None:
        return Camera(frame.focal_length, with_note('EXIF', frame.focal_note))
    return None


def guessed_camera(frame: Frame, guess: str = 'diagonal', note: str | None = None) -> Camera:
    """The camera of a frame that tells none; `guess` is one of `camera.GUESSES`."""
    height, width = frame.image.shape[:2]
    guessed = camera.GUESSES[guess](np.array([width, height]))
    notes = '; '.join(filter(None, (frame.focal_note, note)))
    return Camera(float(guessed), with_note(_GUESS_SOURCES[guess], notes))


def with_note(source: str, note: str | None) -> str:
    """The source, with a note in brackets if there is one."""
    return f'{source} ({note})' if note else source


def check_camera(
    focal_length: float | None, fov: float | str | None, guess: str, guesses: Collection[str]
) -> None:
    """Raises ValueError for two values, an impossible one, or a guess not among `guesses`.

    Other arguments are as in `told_camera`; a `fov` in words is a file's path, not read here.
    """
    if guess not in guesses:
        raise ValueError(f'camera_guess={guess!r}: expected one of {list(guesses)}')
    if focal_length is not None and fov is not None:
        raise ValueError(f'focal_length={focal_length} and fov={fov}: expected one of them')
    if focal_length is not None and not 0 < focal_length < math.inf:
        raise ValueError(f'focal_length={focal_length}: expected pixels, above 0')
    if isinstance(fov, float | int) and not 0 < fov < 180:
        raise ValueError(f'fov={fov}: expected degrees, between 0 and 180')
