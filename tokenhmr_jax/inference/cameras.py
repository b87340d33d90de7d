"""The camera of an image: its focal length, and the source of it."""

import math
from typing import NamedTuple

from tokenhmr_jax.body import camera
from tokenhmr_jax.inference.sources import Frame


class Camera(NamedTuple):
    """A focal length in pixels, and its source in words."""

    focal_length: float
    source: str


def frame_camera(frame: Frame, focal_length: float | None, fov: float | None) -> Camera:
    """The camera that the user gives, else that of EXIF, else TokenHMR's default.

    `focal_length` is in pixels; `fov` is the field of view across the image's width, degrees.
    """
    height, width = frame.image.shape[:2]
    if focal_length is not None:
        return Camera(focal_length, 'given focal length')
    if fov is not None:
        return Camera(width / 2 / math.tan(math.radians(fov) / 2), 'given field of view')
    if frame.focal_length is not None:
        return Camera(frame.focal_length, 'EXIF')
    guess = camera.CROP_FOCAL_LENGTH / camera.CROP_SIZE * max(width, height)
    return Camera(guess, "default, 5000/256 of the larger side: distances are not the world's")


def check_camera(focal_length: float | None, fov: float | None) -> None:
    """Raises ValueError for two values, or an impossible one. Units as in `frame_camera`."""
    if focal_length is not None and fov is not None:
        raise ValueError(f'focal_length={focal_length} and fov={fov}: expected one of them')
    if focal_length is not None and not 0 < focal_length < math.inf:
        raise ValueError(f'focal_length={focal_length}: expected pixels, above 0')
    if fov is not None and not 0 < fov < 180:
        raise ValueError(f'fov={fov}: expected degrees, between 0 and 180')
