"""Bodies over the picture they were seen in, and beside it from the side and from above."""

import cv2
import numpy as np

from tokenhmr_jax.drawing import draw, render
from tokenhmr_jax.inference import gltf

_LONGEST = 960  # pixels of the drawn picture
_OPACITY = 0.75
_MARGIN = 0.25  # metres around the bodies in the other views
# Of persons, one after the other, RGB.
COLORS = (
    (0.55, 0.75, 0.95), (0.95, 0.65, 0.45), (0.60, 0.85, 0.55), (0.90, 0.60, 0.80),
    (0.95, 0.85, 0.45), (0.65, 0.60, 0.90),
)  # fmt: skip


def overlay_sheet(
    image: np.ndarray,
    vertices: np.ndarray,
    faces: np.ndarray,
    track_ids: np.ndarray,
    focal_length: float,
    principal_point: np.ndarray,
    around: np.ndarray | None = None,
) -> np.ndarray:
    """The picture with the bodies; on its right they are seen from their left side and from above.

    Args:
      image: (H, W, 3) uint8, RGB.
      vertices: (N, V, 3) metres, in the image's camera; N may be 0.
      faces: (F, 3).
      track_ids: (N,) that choose the colours.
      focal_length, principal_point: of the image's camera, px.
      around: (M, 3) metres, in the image's camera: what the other views frame; else the bodies.
    """
    scale = min(_LONGEST / max(image.shape[:2]), 1.0)
    image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    height = image.shape[0]
    views = np.full((2, height // 2, height // 2, 3), 255, np.uint8)
    if len(vertices):
        count = vertices.shape[1]
        colors = np.repeat([COLORS[t % len(COLORS)] for t in track_ids], count, axis=0)
        faces = np.concatenate([faces + i * count for i in range(len(vertices))])
        points = vertices.reshape(-1, 3)
        # Where pictures are drawn, the first pixel's middle is at 0.
        x, y = scale * principal_point - 0.5
        focal = scale * focal_length
        drawn, _ = render.render(
            points, faces, (focal, focal, x, y), image.shape[:2], colors, background=image
        )
        image = cv2.addWeighted(image, 1 - _OPACITY, drawn, _OPACITY, 0)
        upright = points @ gltf.TO_Y_UP
        middle = upright if around is None else around @ gltf.TO_Y_UP
        focus = np.concatenate([middle - _MARGIN, middle + _MARGIN])
        views = [
            render.render_view(
                upright, faces, view, views[0].shape[:2], focus=focus, colors=colors, supersample=1
            )
            for view in ('left', 'top')
        ]
    side = np.full((height, height // 2, 3), 255, np.uint8)
    side[: 2 * (height // 2)] = np.concatenate(list(views))
    return draw.side_by_side([image, side])
