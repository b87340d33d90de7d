"""Sampled bodies over a picture: their skeletons, and the spread of each joint."""

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from tokenhmr_jax.body import skeleton
from tokenhmr_jax.body.joint_spread import joint_spread

_DARK, _OPACITY = (20, 20, 20), 0.75  # of skeletons, where all samples agree
# Colour of a joint's circle by its spread, metres: green below the first, red above the last.
_SPREADS = (0.05, 0.15, 0.30)
_COLORS = ((60, 190, 90), (245, 190, 40), (230, 50, 40))
# The circles' joints: ends of limbs, and the head. More would hide the body.
_CIRCLED = tuple(
    skeleton.JOINTS.index(name)
    for name in ('head', *(s + j for s in ('left_', 'right_') for j in
                           ('elbow', 'wrist', 'knee', 'ankle')))
)  # fmt: skip
_SHIFT = 4  # binary digits of pixels' fractions


def draw_samples(
    image: UInt8[np.ndarray, 'H W 3'],
    joints: Float[np.ndarray, 'S 24 3'],
    intrinsics: Sequence[float],
    circles: bool = True,
) -> UInt8[np.ndarray, 'H W 3']:
    """The picture with the samples' skeletons, darker where more of them agree, and with circles.

    A circle lies around the mean of a joint's samples; its radius and colour are their spread.
    Samples behind the camera are left out.

    Args:
      joints: metres, in the picture's camera.
      intrinsics: (fx, fy, cx, cy), pixels, from the first one's centre.
      circles: whether to draw them.
    """
    joints = joints[(joints[..., 2] > 0.05).all(axis=-1)]
    if not len(joints):
        return image
    fx, fy, cx, cy = intrinsics
    points = joints[..., :2] / joints[..., 2:] * (fx, fy) + (cx, cy)
    thickness = max(round(max(image.shape) / 640), 1)
    # The square root keeps a lone sample visible.
    opacity = _OPACITY * np.sqrt(_shares(points, image.shape[:2], thickness))[..., None]
    drawn = ((1 - opacity) * image + opacity * np.array(_DARK)).astype(np.uint8)
    middle = joints.mean(axis=0)
    spread = np.asarray(joint_spread(joints))
    for joint in _CIRCLED if circles else ():
        centre = middle[joint, :2] / middle[joint, 2] * (fx, fy) + (cx, cy)
        radius = max(spread[joint] / middle[joint, 2] * fx, 1.5)
        color = spread_color(float(spread[joint]))
        _circle(drawn, centre, radius, color, thickness)
    return drawn


def spread_color(spread: float) -> tuple[int, int, int]:
    """RGB from green over yellow to red, by a spread in metres."""
    channels = zip(*_COLORS, strict=True)
    red, green, blue = (round(float(np.interp(spread, _SPREADS, c))) for c in channels)
    return red, green, blue


def _shares(points: Float[np.ndarray, 'S 24 2'], size, thickness: int) -> np.ndarray:
    """Share of the samples whose skeleton covers a pixel, (H, W)."""
    total = np.zeros(size, np.float32)
    for sample in points:
        layer = np.zeros(size, np.uint8)
        for joint, parent in enumerate(skeleton.PARENTS):
            if parent >= 0:
                ends = _fixed(sample[parent]), _fixed(sample[joint])
                cv2.line(layer, *ends, 255, thickness, cv2.LINE_AA, _SHIFT)
        total += layer
    return total / (255 * len(points))


def _circle(image, centre, radius, color, thickness) -> None:
    size = min(round(radius * 2**_SHIFT), 2**18)
    cv2.circle(image, _fixed(centre), size, color, thickness, cv2.LINE_AA, _SHIFT)


def _fixed(point) -> tuple[int, int]:
    # Clipped: OpenCV overflows on points far outside.
    x, y = (int(v) for v in np.clip(np.rint(point * 2**_SHIFT), -(2**18), 2**18))
    return x, y
