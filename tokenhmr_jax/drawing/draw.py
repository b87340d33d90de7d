"""Keypoints and meshes drawn over pictures, all RGB."""

from collections.abc import Sequence

import cv2
import numpy as np
from etils import epath
from jaxtyping import Float, Integer, UInt8

from tokenhmr_jax.body import skeleton
from tokenhmr_jax.cli import whole_file
from tokenhmr_jax.drawing import render
from tokenhmr_jax.types import Array

LEFT, RIGHT, MIDDLE = (60, 140, 255), (255, 90, 60), (250, 220, 80)
MESH = (0.55, 0.75, 0.95)

_CENTRE = (
    ('Nose', 'Neck'), ('Neck', 'MidHip'), ('Nose', 'REye'), ('Nose', 'LEye'), ('REye', 'REar'),
    ('LEye', 'LEar'), ('Neck', 'RShoulder'), ('Neck', 'LShoulder'), ('MidHip', 'RHip'),
    ('MidHip', 'LHip'),
)  # fmt: skip
_LIMBS = (
    ('Shoulder', 'Elbow'), ('Elbow', 'Wrist'), ('Hip', 'Knee'), ('Knee', 'Ankle'),
    ('Ankle', 'Heel'), ('Ankle', 'BigToe'), ('BigToe', 'SmallToe'),
)  # fmt: skip
_NAMES = (*_CENTRE, *((side + a, side + b) for side in 'RL' for a, b in _LIMBS))
BONES = tuple(tuple(skeleton.KEYPOINTS.index(f'OP {name}') for name in bone) for bone in _NAMES)


def write_image(path: epath.PathLike, image: UInt8[np.ndarray, 'H W 3']) -> None:
    """Writes a picture in its suffix's format; raises OSError if it cannot be written whole."""
    with whole_file(path) as partial:
        partial.write_bytes(cv2.imencode(partial.suffix, image[..., ::-1])[1].tobytes())


def draw_keypoints(
    image: UInt8[np.ndarray, 'H W 3'], points: Float[Array, '44 3']
) -> UInt8[np.ndarray, 'H W 3']:
    """The image with keypoints (px, confidence > 0) as dots and the OpenPose skeleton between."""
    image = np.array(image)
    thickness = max(round(max(image.shape) / 256), 1)
    seen = points[:, 2] > 0
    for a, b in BONES:
        if seen[a] and seen[b]:
            cv2.line(image, _pixel(points[a]), _pixel(points[b]), _color(b), thickness, cv2.LINE_AA)
    for i in np.flatnonzero(seen):
        cv2.circle(image, _pixel(points[i]), thickness + 1, _color(i), -1, cv2.LINE_AA)
    return image


def draw_mesh(
    image: UInt8[np.ndarray, 'H W 3'],
    vertices: Float[Array, 'V 3'],
    faces: Integer[Array, 'F 3'],
    intrinsics: render.ArrayLike,
    opacity: float = 0.7,
) -> UInt8[np.ndarray, 'H W 3']:
    """The image with a body over it; `vertices` and `intrinsics` as `render.render` takes them."""
    size = image.shape[:2]
    drawn, _ = render.render(vertices, faces, intrinsics, size, MESH, image, supersample=2)
    return cv2.addWeighted(image, 1 - opacity, drawn, opacity, 0)


def side_by_side(images: Sequence[UInt8[np.ndarray, 'H _ 3']]) -> UInt8[np.ndarray, 'H _ 3']:
    """Images of one height in a row."""
    return np.concatenate(images, axis=1)


def under_title(image: UInt8[np.ndarray, 'H W 3'], text: str) -> UInt8[np.ndarray, '_ W 3']:
    """The picture under a line of text, as large as it has room for, up to 0.6 of OpenCV's size."""
    font, margin = cv2.FONT_HERSHEY_SIMPLEX, 8
    (width, _), _ = cv2.getTextSize(text, font, 1.0, 1)
    size = min(0.6, (image.shape[1] - 2 * margin) / width)
    header = np.full((40, image.shape[1], 3), 255, np.uint8)
    cv2.putText(header, text, (margin, 26), font, size, (30, 30, 30), 1, cv2.LINE_AA)
    return np.concatenate([header, image])


def enlarge(image: UInt8[np.ndarray, 'H W 3'], zoom: int) -> UInt8[np.ndarray, '_ _ 3']:
    """Repeats each pixel zoom x zoom times; p's centre goes to zoom * p + (zoom - 1) / 2."""
    return np.repeat(np.repeat(image, zoom, axis=0), zoom, axis=1)


def _pixel(point):
    # Clipped: OpenCV overflows on points far outside.
    return tuple(int(v) for v in np.clip(np.rint(point[:2]), -(2**14), 2**14))


def _color(keypoint):
    part = skeleton.KEYPOINTS[keypoint].split(' ', 1)[1]
    if skeleton.KEYPOINT_TWINS[keypoint] == keypoint:
        return MIDDLE
    return LEFT if part.startswith('L') else RIGHT
