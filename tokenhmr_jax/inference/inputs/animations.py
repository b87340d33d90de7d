"""Animated pictures (GIF, PNG, WebP, AVIF) as RGB frames, each with its time."""

import os
from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import Image

from tokenhmr_jax import cli

SUFFIXES = ('.gif', '.png', '.apng', '.webp', '.avif')  # suffixes of pictures that may move
_FORMATS = ('GIF', 'PNG', 'WEBP', 'AVIF')  # Pillow's formats whose pictures are a motion
_LEAST_DELAY, _BROWSERS_DELAY = 0.02, 0.1  # seconds; browsers show pictures of less for that long


def is_animation(path: str | os.PathLike) -> bool:
    """Whether a file of a suffix of animated pictures holds more than one."""
    try:
        with Image.open(path) as picture:
            return is_motion(picture)
    except Exception:  # each of Pillow's plugins has its own errors
        return False


def is_motion(picture: Image.Image) -> bool:
    """Whether an open picture holds more than one, as a motion."""
    return picture.format in _FORMATS and getattr(picture, 'n_frames', 1) > 1


class Animation:
    """An animated picture. Fields, methods and errors as those of `video_files.VideoFile`."""

    def __init__(self, path: str | os.PathLike):
        self._path = path
        with Image.open(path) as file:
            # The first picture of a PNG may be for programs that show no motion.
            self._first = int(bool(file.info.get('default_image')))
            self.count = file.n_frames - self._first
            file.seek(self._first)
            self.fps = 1 / _delay(file)

    def decode(self) -> Iterator['_Drawn']:
        """As `VideoFile.decode`."""
        time = 0.0
        with Image.open(self._path) as file:
            for index in range(self.count):
                try:
                    file.seek(self._first + index)
                    image = over_white(np.asarray(file.convert('RGBA')))
                except Exception as error:  # each of Pillow's plugins has its own errors
                    known = f'{index} of {cli.counted(self.count, "frame")}'
                    raise ValueError(
                        f'{self._path}: ends after {known}: damaged, or its end is missing'
                    ) from error
                yield _Drawn(time, image)
                time += _delay(file)


def _delay(picture: Image.Image) -> float:
    """Seconds that a picture stays."""
    seconds = picture.info.get('duration', 0) / 1000
    return seconds if seconds >= _LEAST_DELAY else _BROWSERS_DELAY


class _Drawn(NamedTuple):
    """A picture of an animation."""

    time: float
    image: np.ndarray

    def rgb(self) -> np.ndarray:
        return self.image

    def small(self, width: int, height: int) -> np.ndarray:
        return cv2.resize(self.image, (width, height), interpolation=cv2.INTER_AREA)


def over_white(image: UInt8[np.ndarray, 'H W 4']) -> UInt8[np.ndarray, 'H W 3']:
    """The RGB picture of an RGBA one laid over white."""
    share = image[..., 3:].astype(np.float32) / 255
    return np.rint(image[..., :3] * share + 255 * (1 - share)).astype(np.uint8)
