"""Persons of pictures as the network is given them: the host's part of a prediction."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from numpy.typing import ArrayLike

from tokenhmr_jax.body import camera
from tokenhmr_jax.data import crops
from tokenhmr_jax.inference import cameras
from tokenhmr_jax.tasks import prompting
from tokenhmr_jax.types import Prompts


class LookedAt(NamedTuple):
    """N persons, ready for the network.

    crops: the square that it sees of each; None for a network that reads no picture.
    prompts: None for a network that reads none.
    center, side: of these squares, pixels of the picture.
    focal_length, principal_point: pixels, the picture's camera.
    """

    crops: UInt8[np.ndarray, 'N S S 3'] | None
    prompts: Prompts | None
    center: Float[np.ndarray, 'N 2']
    side: Float[np.ndarray, ' N']
    focal_length: Float[np.ndarray, ' N']
    principal_point: Float[np.ndarray, 'N 2']


def look_at(
    images: np.ndarray | Sequence[np.ndarray],
    boxes: ArrayLike | None,
    focal_length: float | Sequence[float] | str | None,
    keypoints2d: Float[np.ndarray, 'N 44 3'] | None,
    crop_size: int,
    aspect: Sequence[float] | None,
    *,
    image: bool,
    prompts: bool,
) -> LookedAt:
    """Cuts persons out of pictures. Arguments and errors as of `Model.predict_boxes`, and:

    Args:
      crop_size: pixels.
      aspect: boxes are grown to this proportion, width : height; None for as they are.
      image, prompts: whether the network reads these.
    """
    boxes = _check_boxes(boxes)
    images = _one_per_box(images, len(boxes))
    center, side = _squares(boxes, aspect)
    image_size = np.array([image.shape[1::-1] for image in images], np.float32)
    focal = focal_lengths(focal_length, image_size)
    middle = image_size / 2
    given = None
    if prompts:
        place = np.concatenate([center - middle, side[:, None]], axis=1) / focal[:, None]
        given = _prompts(keypoints2d, center, side, place)
    seen = _cut(images, center, side, crop_size) if image else None
    return LookedAt(seen, given, center, side, focal, middle)


def _cut(images, center, side, size: int) -> UInt8[np.ndarray, 'N S S 3']:
    squares = zip(images, center, side, strict=True)
    return np.stack(
        [crops.warp(image, crops.crop_matrix(c, s, size), size) for image, c, s in squares]
    )


def _prompts(keypoints2d, center, side, place) -> Prompts:
    ones = np.ones(len(side), np.float32)
    points = np.zeros((len(side), 44, 3), np.float32)
    if keypoints2d is not None:
        points = keypoints2d.copy()
        points[..., :2] = (points[..., :2] - center[:, None]) / side[:, None, None]
        near = np.abs(points[..., :2]).max(axis=-1, keepdims=True) < prompting.FARTHEST
        points = np.where((points[..., 2:] > 0) & near, points, 0)
    return Prompts(points, place.astype(np.float32), has_camera=ones, has_image=ones)


def _squares(
    boxes: Float[np.ndarray, 'N 4'], aspect: Sequence[float] | None
) -> tuple[Float[np.ndarray, 'N 2'], Float[np.ndarray, ' N']]:
    """Centres and sides of the squares that the network sees, pixels."""
    sides = [max(crops.grow_box(size, aspect)) for size in boxes[:, 2:] - boxes[:, :2]]
    return (boxes[:, :2] + boxes[:, 2:]) / 2, np.array(sides, np.float32)


def _check_boxes(boxes) -> np.ndarray:
    boxes = np.asarray(boxes, np.float32)
    if boxes.ndim != 2 or boxes.shape[1] != 4 or not len(boxes):
        raise ValueError(f'boxes of shape {boxes.shape}: expected (N, 4), N at least 1')
    wrong = ~np.isfinite(boxes).all(axis=1) | (boxes[:, 2:] <= boxes[:, :2]).any(axis=1)
    if wrong.any():
        raise ValueError(
            f'boxes {boxes[wrong].tolist()}: expected left, top, right, bottom, finite, left < '
            'right and top < bottom'
        )
    return boxes


def focal_lengths(given: ArrayLike | str | None, image_size: np.ndarray) -> np.ndarray:
    """Pixels, one per box, of what `Model.predict` is given."""
    if given is None or isinstance(given, str):
        guess = 'diagonal' if given is None else given
        cameras.check_camera(None, None, guess, camera.GUESSES)
        return np.asarray(camera.GUESSES[guess](image_size), np.float32)
    found = np.asarray(given, np.float32)
    if found.shape not in ((), (len(image_size),)):
        raise ValueError(
            f'focal_length of shape {found.shape}: expected one number, or {len(image_size)}'
        )
    if not (np.isfinite(found) & (found > 0)).all():
        raise ValueError(f'focal_length={found.tolist()}: expected pixels, above 0')
    return np.broadcast_to(found, len(image_size))


def _one_per_box(images, count: int) -> list[np.ndarray]:
    if isinstance(images, np.ndarray) and images.ndim == 3:
        images = [images] * count
    if len(images) != count:
        raise ValueError(f'{len(images)} images for {count} boxes: expected one, or one per box')
    for image in images:
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 3:
            found = f'an image of {image.dtype} {image.shape}'
            raise ValueError(f'{found}: expected uint8 (H, W, 3), RGB')
    return list(images)
