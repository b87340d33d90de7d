"""Bodies drawn over their picture, and beside it each from the side and from above."""

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Float, Int, UInt8

from tokenhmr_jax.drawing import draw, render
from tokenhmr_jax.drawing.samples import draw_samples
from tokenhmr_jax.inference.outputs import gltf

_LONGEST = 960  # pixels of the drawn picture
_SHORTEST = 2  # pixels: two views stand beside it, one over the other
_OPACITY = 0.75
MOST_BESIDE = 4  # bodies with views of their own
_REACH = (0.45, 0.87, 0.45)  # metres from a body's middle that its views show, at the least
# RGB of one person after the other.
COLORS = (
    (0.55, 0.75, 0.95), (0.95, 0.65, 0.45), (0.60, 0.85, 0.55), (0.90, 0.60, 0.80),
    (0.95, 0.85, 0.45), (0.65, 0.60, 0.90),
)  # fmt: skip


def drawn_size(image_size: Sequence[int] | Int[np.ndarray, '2']) -> tuple[int, int]:
    """Width and height of a picture in its sheet, pixels; the other views stand right of it."""
    scale = min(_LONGEST / max(image_size), 1.0)
    width, height = (max(round(scale * side), _SHORTEST) for side in image_size)
    return width, height


def overlay_sheet(
    image: UInt8[np.ndarray, 'H W 3'],
    vertices: Float[np.ndarray, 'N V 3'],
    faces: Int[np.ndarray, 'F 3'],
    track_ids: Sequence[int] | Int[np.ndarray, ' N'],
    focal_length: float,
    principal_point: Float[np.ndarray, ' 2'],
    beside: Sequence[int] | None = None,
    samples: Float[np.ndarray, 'N S 24 3'] | None = None,
) -> UInt8[np.ndarray, 'h w 3']:
    """The RGB picture with the bodies; beside it each body from its left side and from above.

    Args:
      vertices: metres, in the image's camera; N may be 0.
      faces: counter-clockwise seen from outside.
      track_ids: of the N bodies; they choose the colours.
      focal_length, principal_point: of the image's camera, pixels.
      beside: track ids, at most `MOST_BESIDE`, that have a row beside the picture, whether they
        are in it or not; else the nearest bodies.
      samples: joints of other answers for each body, metres, in the image's camera.
    """
    scale = min(_LONGEST / max(image.shape[:2]), 1.0)
    width, height = drawn_size(image.shape[1::-1])
    image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    side = np.full((height, height // 2, 3), 255, np.uint8)
    if len(vertices):
        colors = [COLORS[track % len(COLORS)] for track in track_ids]
        # The renderer's origin is the first pixel's centre.
        x, y = (scale * principal_point - 0.5).tolist()
        lens = (scale * focal_length, scale * focal_length, x, y)
        image = _draw_over(image, vertices, faces, lens, colors)
        for joints in () if samples is None else samples:
            image = draw_samples(image, joints, lens)
        ids = np.asarray(track_ids)
        if beside is None:
            nearest = np.argsort(vertices[..., 2].mean(axis=1), kind='stable')
            beside = sorted(ids[nearest[:MOST_BESIDE]].tolist())
        for row, track in enumerate(beside):
            for body in np.flatnonzero(ids == track):
                drawn = None if samples is None else samples[body]
                place = row, len(beside)
                _draw_beside(side, *place, vertices[body], faces, colors[body], drawn)
    return draw.side_by_side([image, side])


def _draw_over(image, vertices, faces, lens, colors) -> UInt8[np.ndarray, 'h w 3']:
    count = vertices.shape[1]
    faces = np.concatenate([faces + i * count for i in range(len(vertices))])
    points, colors = vertices.reshape(-1, 3), np.repeat(colors, count, axis=0)
    drawn, _ = render.render(points, faces, lens, image.shape[:2], colors, image)
    return cv2.addWeighted(image, 1 - _OPACITY, drawn, _OPACITY, 0)


def _draw_beside(side: np.ndarray, row: int, rows: int, vertices, faces, color, samples) -> None:
    """Draws a body into its row: from its left side and from above, side by side.

    A single row has the one view over the other. All bodies have the same scale, but large ones.
    Pictures of few pixels have no room for many rows.
    """
    height, width = side.shape[:2]
    size = (height // 2, width) if rows == 1 else (height // rows, width // 2)
    if not min(size):
        return
    upright = vertices @ gltf.TO_Y_UP
    low, high = upright.min(axis=0), upright.max(axis=0)
    reach = np.maximum((high - low) / 2, _REACH)
    focus = (low + high) / 2 + np.array([-reach, reach])
    for number, view in enumerate(('left', 'top')):
        x, y = (0, number * size[0]) if rows == 1 else (number * size[1], row * size[0])
        drawn = render.render_view(upright, faces, view, size, focus=focus, colors=color)
        if samples is not None:
            rotation, translation, lens = render.view_camera(view, focus, size)
            seen = samples @ gltf.TO_Y_UP @ rotation.T + translation
            drawn = draw_samples(drawn, seen, lens, circles=False)
        side[y : y + size[0], x : x + size[1]] = drawn
