"""Bodies drawn over their picture, and beside it from the side and from above."""

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Float, Int, UInt8

from tokenhmr_jax.drawing import draw, render
from tokenhmr_jax.inference import gltf

_LONGEST = 960  # pixels of the drawn picture
_SHORTEST = 2  # pixels: two views stand beside it, one over the other
_OPACITY = 0.75
_MARGIN = 0.25  # metres around the bodies in the other views
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
    around: Float[np.ndarray, 'M 3'] | None = None,
) -> UInt8[np.ndarray, 'h w 3']:
    """The RGB picture with the bodies; beside it the bodies from their left side and from above.

    Args:
      vertices: metres, in the image's camera; N may be 0.
      faces: counter-clockwise seen from outside.
      track_ids: of the N bodies; they choose the colours.
      focal_length, principal_point: of the image's camera, pixels.
      around: points that the other views frame, metres, in the image's camera; else the bodies.
    """
    scale = min(_LONGEST / max(image.shape[:2]), 1.0)
    width, height = drawn_size(image.shape[1::-1])
    image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    views = np.full((2, height // 2, height // 2, 3), 255, np.uint8)
    if len(vertices):
        count = vertices.shape[1]
        colors = np.repeat([COLORS[t % len(COLORS)] for t in track_ids], count, axis=0)
        faces = np.concatenate([faces + i * count for i in range(len(vertices))])
        points = vertices.reshape(-1, 3)
        normals = render.vertex_normals(points, faces)
        # The renderer's origin is the first pixel's centre.
        x, y = scale * principal_point - 0.5
        focal = scale * focal_length
        lens = (focal, focal, x, y)
        size = image.shape[:2]
        drawn, _ = render.render(points, faces, lens, size, colors, image, normals=normals)
        image = cv2.addWeighted(image, 1 - _OPACITY, drawn, _OPACITY, 0)
        upright = points @ gltf.TO_Y_UP
        middle = upright if around is None else around @ gltf.TO_Y_UP
        focus = np.concatenate([middle - _MARGIN, middle + _MARGIN])
        views = [
            render.render_view(
                upright,
                faces,
                view,
                views[0].shape[:2],
                focus=focus,
                normals=normals @ gltf.TO_Y_UP,
                colors=colors,
                supersample=1,
            )
            for view in ('left', 'top')
        ]
    side = np.full((height, height // 2, 3), 255, np.uint8)
    side[: 2 * (height // 2)] = np.concatenate(list(views))
    return draw.side_by_side([image, side])
