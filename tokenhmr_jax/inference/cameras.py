"""The camera of an image: its focal length, and the source of it."""

import math
from typing import NamedTuple

import numpy as np

from tokenhmr_jax.body import camera
from tokenhmr_jax.inference.sources import Frame


class Camera(NamedTuple):
    """A focal length in pixels, and its source in words."""

    focal_length: float
    source: str


_GUESS_SOURCES = {
    'diagonal': 'guessed: 55 degrees across the diagonal',
    'original': "guessed: 5000/256 of the larger side; distances are not the world's",
}


def frame_camera(
    frame: Frame, focal_length: float | None, fov: float | None, guess: str = 'diagonal'
) -> Camera:
    """The camera that the user gives, else that of EXIF, else a guess.

    `focal_length` is in pixels; `fov` is the field of view across the image's width, degrees;
    `guess` is one of `camera.GUESSES`.
    """
    height, width = frame.image.shape[:2]
    if focal_length is not None:
        return Camera(focal_length, 'given focal length')
    if fov is not None:
        return Camera(width / 2 / math.tan(math.radians(fov) / 2), 'given field of view')
    if frame.focal_length is not None:
        return Camera(frame.focal_length, _with_note('EXIF', frame.focal_note))
    guessed = camera.GUESSES[guess](np.array([width, height]))
    return Camera(float(guessed), _with_note(_GUESS_SOURCES[guess], frame.focal_note))


def _with_note(source: str, note: str | None) -> str:
    return f'{source} ({note})' if note else source


def check_camera(focal_length: float | None, fov: float | None, guess: str = 'diagonal') -> None:
    """Raises ValueError for two values, or an impossible one. Arguments as in `frame_camera`."""
    if guess not in camera.GUESSES:
        raise ValueError(f'camera_guess={guess!r}: expected one of {list(camera.GUESSES)}')
    if focal_length is not None and fov is not None:
        raise ValueError(f'focal_length={focal_length} and fov={fov}: expected one of them')
    if focal_length is not None and not 0 < focal_length < math.inf:
        raise ValueError(f'focal_length={focal_length}: expected pixels, above 0')
    if fov is not None and not 0 < fov < 180:
        raise ValueError(f'fov={fov}: expected degrees, between 0 and 180')
