"""Looks of drawn people: a suit with a colour for each limb, or random clothes.

A look sets the vertices' colours, the background and what stands in front of the person. Colours
are RGB in [0, 1]; image sizes are (width, height) px.
"""

import colorsys
from collections.abc import Mapping
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, Int, UInt8
from numpy.random import Generator

from tokenhmr_jax.body.skeleton import JOINTS
from tokenhmr_jax.drawing import render


class RestSkin(NamedTuple):
    """A body's skin at rest."""

    points: Float[np.ndarray, 'V 3']  # metres from the pelvis
    joint: Int[np.ndarray, ' V']  # of each vertex's largest skinning weight
    suit: Float[np.ndarray, 'V 3']  # `suit_colors`


class Stage(NamedTuple):
    """Colours of the vertices, background, and lights as `render.render` takes them."""

    colors: Float[np.ndarray, 'V 3']
    background: UInt8[np.ndarray, 'H W 3']
    lights: tuple[render.Light, ...]
    ambient: float


def rest_skin(arrays: Mapping[str, np.ndarray]) -> RestSkin:
    """The skin of a body model's arrays, under SMPL's keys."""
    pelvis = arrays['J_regressor'][0] @ arrays['v_template']
    points, joint = arrays['v_template'] - pelvis, np.argmax(arrays['weights'], axis=1)
    return RestSkin(points, joint, suit_colors(points, joint))


def _joints(*names) -> list[int]:
    """Indices of joints; a name without a side stands for both."""
    return [i for i, j in enumerate(JOINTS) if j in names or j.split('_', 1)[-1] in names]


# Hue (turns) of each limb's segments: warm on the left, cold on the right.
_SUIT_HUES = {
    'left_shoulder': 0.00, 'left_elbow': 0.06, 'left_wrist': 0.12, 'left_hip': 0.92,
    'left_knee': 0.83, 'left_ankle': 0.15,
    'right_shoulder': 0.66, 'right_elbow': 0.56, 'right_wrist': 0.48, 'right_hip': 0.72,
    'right_knee': 0.40, 'right_ankle': 0.33,
}  # fmt: skip
_SUIT_PARENT = {'hand': 'wrist', 'foot': 'ankle'}
_FRONT, _BACK = (0.95, 0.95, 0.95), (0.25, 0.25, 0.28)
_FACE, _BACK_OF_HEAD = (1.0, 0.80, 0.62), (0.35, 0.20, 0.08)


def suit_colors(
    points: Float[np.ndarray, 'V 3'], joint: Int[np.ndarray, ' V']
) -> Float[np.ndarray, 'V 3']:
    """Colours of the suit: left limbs warm, right ones cold, trunk and head by front and back."""
    colors = np.where(points[:, 2:] > -0.01, _FRONT, _BACK)
    head = np.isin(joint, _joints('head', 'neck'))
    face = np.where(points[:, 2:] > 0.01, _FACE, _BACK_OF_HEAD)
    colors = np.where(head[:, None], face, colors)
    for i, name in enumerate(JOINTS):
        side, _, part = name.partition('_')
        hue = _SUIT_HUES.get(f'{side}_{_SUIT_PARENT.get(part, part)}')
        if hue is not None:
            colors[joint == i] = colorsys.hsv_to_rgb(hue, 0.9, 0.95)
    return colors


def suit_stage(rng: Generator, skin: RestSkin, image_size: tuple[int, int]) -> Stage:
    """The suit before a plain background, a gradient between two colours."""
    return Stage(skin.suit, _gradient(rng, image_size), _lights(rng), 0.45)


def _gradient(rng, image_size):
    width, height = image_size
    angle = rng.uniform(0, 2 * np.pi)
    x, y = np.cos(angle) * np.array([-1, 1]), np.sin(angle) * np.array([[-1], [1]])
    ends = rng.uniform(40, 215, (2, 1, 1, 3)).astype(np.float32)
    corners = ends[0] + (0.5 + 0.35 * (x + y))[..., None] * (ends[1] - ends[0])
    corners = np.clip(corners, 0, 255).astype(np.uint8)
    return cv2.resize(corners, (width, height), interpolation=cv2.INTER_LINEAR_EXACT)


def _lights(rng):
    """A key light from above on the camera's side, and a weak one from anywhere in front."""
    key = (rng.uniform(-1, 1), rng.uniform(-1, 0.2), rng.uniform(-1, -0.2))
    fill = (rng.uniform(-1, 1), rng.uniform(-1, 1), -0.5)
    return render.Light(key, rng.uniform(0.4, 0.7)), render.Light(fill, rng.uniform(0.05, 0.25))


_SKIN_TONES = np.array([(0.96, 0.80, 0.69), (0.87, 0.67, 0.52), (0.65, 0.45, 0.32),
                        (0.42, 0.28, 0.20)])  # fmt: skip
_HAIR = np.array([(0.08, 0.06, 0.05), (0.30, 0.18, 0.09), (0.70, 0.55, 0.30), (0.55, 0.55, 0.55)])


def clothed_stage(rng: Generator, skin: RestSkin, image_size: tuple[int, int]) -> Stage:
    """Random clothes, skin and hair before a random, textured background."""
    background = texture(rng, image_size)
    for _ in range(rng.integers(2, 9)):
        _draw_shape(rng, background)
    return Stage(clothes_colors(rng, skin), background, _lights(rng), rng.uniform(0.2, 0.5))


def clothes_colors(rng: Generator, skin: RestSkin) -> Float[np.ndarray, 'V 3']:
    """Colours of a top with some sleeves, trousers of some length, shoes, skin and hair."""
    points, joint = skin.points, skin.joint
    tone = _SKIN_TONES[rng.integers(len(_SKIN_TONES))] * rng.uniform(0.9, 1.05)
    colors = np.tile(tone, (len(points), 1))
    sleeve = rng.uniform(0.25, 0.72)  # metres from the middle
    hem = rng.choice([rng.uniform(-0.45, -0.15), rng.uniform(-0.87, -0.75)])  # from the pelvis
    waist = rng.uniform(-0.08, 0.12)
    arms = _joints('collar', 'shoulder', 'elbow', 'wrist', 'hand')
    trunk = _joints('pelvis', 'spine1', 'spine2', 'spine3', 'hip') + arms
    low = np.isin(joint, _joints('pelvis', 'hip', 'knee', 'ankle', 'spine1', 'spine2'))
    bottom = low & (points[:, 1] <= waist) & (points[:, 1] > hem)
    top = np.isin(joint, trunk) & (points[:, 1] > waist) & (np.abs(points[:, 0]) < sleeve)
    for garment in (bottom, top):
        colors[garment] = _pattern(rng, points[garment])
    if rng.random() < 0.85:
        colors[points[:, 1] < -0.83 + rng.uniform(0, 0.06)] = rng.uniform(0.05, 0.95, 3)
    head = np.isin(joint, _joints('head'))
    hair_line = rng.uniform(0.66, 0.72) - rng.uniform(0.2, 1.6) * np.maximum(-points[:, 2], 0)
    hair = head & (points[:, 1] + 0.5 * np.minimum(-points[:, 2], 0) > hair_line)
    colors[hair] = _HAIR[rng.integers(len(_HAIR))] * rng.uniform(0.8, 1.2)
    return np.clip(colors, 0, 1)


def _pattern(rng, points):
    """Colours (N, 3) of a cloth: plain, striped either way, chequered or blotched."""
    base, other = rng.uniform(0.05, 0.95, (2, 3))
    pitch = rng.uniform(0.05, 0.14)  # metres
    x, y = np.sin(2 * np.pi * points[:, :2].T / pitch)
    blotches = np.sin(points @ rng.normal(0, 25, (3, 3)) + rng.uniform(0, 6, 3)).sum(axis=1)
    masks = (np.zeros(len(points)), y > 0, x > 0.3, x * y > 0, blotches > 0.6)
    mask = masks[rng.choice(len(masks), p=(0.4, 0.2, 0.1, 0.15, 0.15))]
    return np.where(np.asarray(mask, bool)[:, None], other, base)


def texture(rng: Generator, image_size: tuple[int, int]) -> UInt8[np.ndarray, 'H W 3']:
    """A picture of coloured noise at all scales around a random colour."""
    width, height = image_size
    mean = rng.uniform(60, 190) + rng.normal(0, 25, 3)
    image = np.tile(mean.astype(np.float32), (height, width, 1))
    strength = rng.uniform(10, 60)
    for cells in (2, 4, 9, 20, 45):
        grid = rng.normal(0, strength, (cells, cells, 3)).astype(np.float32)
        grid = 0.3 * grid + 0.7 * grid[..., :1]  # light varies more than hue
        image += cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
        strength *= rng.uniform(0.4, 0.8)
    return np.clip(image, 0, 255).astype(np.uint8)


def _draw_shape(rng, image):
    """Draws a box, disc or bar of any colour somewhere onto the image."""
    height, width = image.shape[:2]
    color = tuple(int(c) for c in rng.integers(0, 256, 3))
    at = (rng.uniform(0, 1, 2) * (width, height)).astype(int)
    size = (rng.uniform(0.03, 0.35, 2) * height).astype(int)
    kind = rng.integers(3)
    if kind == 0:
        corners = cv2.boxPoints((at.tolist(), size.tolist(), rng.uniform(0, 90)))
        cv2.fillConvexPoly(image, corners.astype(np.int32), color, cv2.LINE_AA)
    elif kind == 1:
        angle = rng.uniform(0, 180)
        cv2.ellipse(image, at.tolist(), size.tolist(), angle, 0, 360, color, -1, cv2.LINE_AA)
    else:
        end = (rng.uniform(0, 1, 2) * (width, height)).astype(int)
        thickness = max(1, int(size[0] / 6))
        cv2.line(image, at.tolist(), end.tolist(), color, thickness, cv2.LINE_AA)


def occlude(
    rng: Generator,
    image: UInt8[np.ndarray, 'H W 3'],
    center: Float[np.ndarray, '2'],
    size: Float[np.ndarray, '2'],
) -> UInt8[np.ndarray, 'H W 3']:
    """Hides up to a third of a box (px) behind a textured table, pole or disc, half of the time."""
    if rng.random() < 0.5:
        return image
    height, width = image.shape[:2]
    mask = np.zeros((height, width), np.uint8)
    low, high = center - size / 2, center + size / 2
    kind = rng.integers(3)
    if kind == 0:  # from below
        edge = high[1] - rng.uniform(0.1, 0.35) * size[1]
        left = rng.uniform(-0.5, 0.5) * size[0] + low[0]
        cv2.rectangle(mask, (int(left), int(edge)), (int(left + 1.5 * size[0]), height), 255, -1)
    elif kind == 1:  # from top to bottom
        x, half = rng.uniform(low[0], high[0]), rng.uniform(0.03, 0.1) * size[0]
        cv2.rectangle(mask, (int(x - half), 0), (int(x + half), height), 255, -1)
    else:
        at, radius = rng.uniform(low, high), rng.uniform(0.06, 0.2, 2) * max(size)
        angle = rng.uniform(0, 180)
        at, radius = at.astype(int).tolist(), radius.astype(int).tolist()
        cv2.ellipse(mask, at, radius, angle, 0, 360, 255, -1)
    return np.where(mask[..., None] > 0, texture(rng, (width, height)), image)


def add_blur_and_noise(
    rng: Generator, image: UInt8[np.ndarray, 'H W 3']
) -> UInt8[np.ndarray, 'H W 3']:
    """The image, a little soft and noisy as from a camera."""
    image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 0.9))
    noise = rng.standard_normal((*image.shape[:2], 1), np.float32) * np.float32(rng.uniform(0, 6))
    return np.clip(image + noise, 0, 255).astype(np.uint8)
