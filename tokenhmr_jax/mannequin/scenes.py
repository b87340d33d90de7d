"""Random views of a posed body by a real camera: perspective, pitch, roll, focal length.

Frames: the world is z up; the camera is OpenCV's (x right, y down, z forward), metres.
"""

from typing import NamedTuple

import numpy as np
from scipy.spatial.transform import Rotation

# The world's axes as a level camera that looks along the world's y has them.
_LEVEL = Rotation.from_matrix([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
_NEAREST = 0.35  # metres: no part of a body comes closer to the camera
_WIDEST = 0.5  # least focal length in heights of the image: 90 degrees from top to bottom
_BOX_MARGIN = 1.2  # of the outline
_CENTRING_STEPS = 4
MAX_BETA = 2.5


class Views(NamedTuple):
    """What the cameras of a split have in common.

    distance: (nearest, farthest) metres from camera to pelvis, uniform in the logarithm.
    pitch: (lowest, highest) degrees by which the camera looks down, uniform.
    roll: standard deviation, degrees.
    fill: (least, most) share of the image's height, or width, that the person takes.
    """

    distance: tuple[float, float]
    pitch: tuple[float, float]
    roll: float = 4.0
    fill: tuple[float, float] = (0.45, 0.9)


EVERYWHERE = Views(distance=(1.2, 8.0), pitch=(-10.0, 30.0))
# Where the perspective is strong, and a camera far away is wrong.
CLOSE = Views(distance=(1.2, 3.0), pitch=(10.0, 35.0))


class View(NamedTuple):
    """One camera. rotation (3, 3): from the z-up world to the camera. distance: metres.
    fill: share of the image. offset (2,): in [-1, 1], where in the room left and right of them,
    above and below, the person is."""

    rotation: np.ndarray
    distance: float
    fill: float
    offset: np.ndarray


class Placement(NamedTuple):
    """transl (3,): metres, added to the body's points, in the camera. focal_length: px.
    principal_point (2,), box_center (2,), box_size (2,): px."""

    transl: np.ndarray
    focal_length: float
    principal_point: np.ndarray
    box_center: np.ndarray
    box_size: np.ndarray


def draw_view(rng: np.random.Generator, views: Views) -> View:
    """Draws a camera; it sees the person from any side."""
    yaw = rng.uniform(-np.pi, np.pi)
    pitch = np.deg2rad(rng.uniform(*views.pitch))
    roll = np.deg2rad(views.roll) * rng.normal()
    rotation = (
        Rotation.from_rotvec([0, 0, roll])
        * Rotation.from_rotvec([pitch, 0, 0])
        * _LEVEL
        * Rotation.from_rotvec([0, 0, yaw])
    )
    distance = np.exp(rng.uniform(*np.log(views.distance)))
    return View(rotation.as_matrix(), distance, rng.uniform(*views.fill), rng.uniform(-1, 1, 2))


def draw_betas(rng: np.random.Generator) -> np.ndarray:
    """Shape coefficients (10,) float32: standard normal, within `MAX_BETA`."""
    return np.clip(rng.normal(0, 1, 10), -MAX_BETA, MAX_BETA).astype(np.float32)


def in_camera(view: View, global_orient: np.ndarray) -> np.ndarray:
    """A root's orientation in the z-up world, (3,) axis-angle, as the camera sees it."""
    turned = Rotation.from_matrix(view.rotation) * Rotation.from_rotvec(global_orient)
    return turned.as_rotvec().astype(np.float32)


def place_body(
    vertices: np.ndarray, pelvis: np.ndarray, view: View, image_size: tuple[int, int]
) -> Placement:
    """Sets a body before the camera and chooses the focal length that frames it.

    The pelvis gets the view's depth (more, if a limb would touch the camera), the body's outline
    the view's share of the image and its place in it; at the widest angle, up to the whole image.

    Args:
      vertices: (V, 3) metres, turned into the camera's axes.
      pelvis: (3,) of the same body.
      view: the camera.
      image_size: (width, height) px.

    Returns:
      the placement; its box holds every vertex.
    """
    size = np.asarray(image_size, float)
    transl = np.array([0.0, 0.0, view.distance]) - pelvis
    transl[2] += max(0.0, _NEAREST - np.min(vertices[:, 2]) - transl[2])
    for _ in range(_CENTRING_STEPS):
        transl[:2] -= _off_centre(vertices + transl)
    low, high = _extent(vertices + transl)
    focal = max(np.min(view.fill * size / (high - low)), _WIDEST * size[1])
    room = np.maximum(size - focal * (high - low), 0) / 2
    # What is nearest moves farthest: by no more than the room.
    nearest = np.min(vertices[:, 2]) + transl[2]
    transl[:2] += 0.9 * view.offset * room / focal * nearest
    low, high = _extent(vertices + transl)
    principal_point = (size - 1) / 2
    return Placement(
        transl=transl,
        focal_length=focal,
        principal_point=principal_point,
        box_center=focal * (low + high) / 2 + principal_point,
        box_size=_BOX_MARGIN * focal * (high - low),
    )


def _off_centre(points):
    """By how much (2,), metres, points are beside the place that centres their outline.

    A step of Newton's: near a camera, the outline's two ends move at different speeds.
    """
    x, y, z = points.T
    offset = []
    for ratio in (x / z, y / z):
        ends = [np.argmin(ratio), np.argmax(ratio)]
        offset.append(ratio[ends].sum() / (1 / z[ends]).sum())
    return np.array(offset)


def _extent(points):
    """Least and greatest x / z and y / z."""
    x, y, z = points.T
    x, y = x / z, y / z  # apart: NumPy is ten times slower along an axis of two
    return np.array([x.min(), y.min()]), np.array([x.max(), y.max()])


def project_body(points: np.ndarray, placement: Placement) -> np.ndarray:
    """Points (N, 3) of the placed body, before `transl`, in full-image pixels (N, 2)."""
    seen = points + placement.transl
    return placement.focal_length * seen[:, :2] / seen[:, 2:] + placement.principal_point
