"""Random views of a posed body by a real camera: perspective, pitch, roll, focal length.

Frames: the world is z up; the camera is OpenCV's (x right, y down, z forward), metres.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.random import Generator
from scipy.spatial.transform import Rotation

# From the world to a level camera that looks along the world's y.
_LEVEL = Rotation.from_matrix([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
_NEAREST = 0.35  # metres: no part of a body comes closer to the camera
_WIDEST = 0.5  # least focal length in heights of the image: 90 degrees from top to bottom
_BOX_MARGIN = 1.2  # of the outline
_CENTRING_STEPS = 4
MAX_BETA = 2.5


class Views(NamedTuple):
    """Range of the cameras of a split."""

    distance: tuple[float, float]  # metres from camera to pelvis, uniform in the logarithm
    pitch: tuple[float, float]  # degrees by which the camera looks down, uniform
    roll: float = 4.0  # standard deviation, degrees
    fill: tuple[float, float] = (0.45, 0.9)  # share of the image's height, or width


EVERYWHERE = Views(distance=(1.2, 8.0), pitch=(-10.0, 30.0))
# Perspective is strong: a distant camera is wrong here.
CLOSE = Views(distance=(1.2, 3.0), pitch=(10.0, 35.0))


class View(NamedTuple):
    """One camera."""

    rotation: Float[np.ndarray, '3 3']  # from the z-up world to the camera
    distance: float  # metres
    fill: float  # share of the image
    offset: Float[np.ndarray, '2']  # -1 to 1: the outline's place in the free width and height


class Placement(NamedTuple):
    """A body before a camera, in px."""

    transl: Float[np.ndarray, '3']  # metres, camera frame, added to the body's points
    focal_length: float
    principal_point: Float[np.ndarray, '2']
    box_center: Float[np.ndarray, '2']
    box_size: Float[np.ndarray, '2']


def sample_view(rng: Generator, views: Views) -> View:
    """Draws a random camera, which sees the person from any side."""
    turn = Rotation.from_rotvec([0, 0, rng.uniform(-np.pi, np.pi)])
    pitch = Rotation.from_rotvec([np.deg2rad(rng.uniform(*views.pitch)), 0, 0])
    roll = Rotation.from_rotvec([0, 0, np.deg2rad(views.roll) * rng.normal()])
    rotation = roll * pitch * _LEVEL * turn
    distance = np.exp(rng.uniform(*np.log(views.distance)))
    return View(rotation.as_matrix(), distance, rng.uniform(*views.fill), rng.uniform(-1, 1, 2))


def sample_betas(rng: Generator) -> Float[np.ndarray, '10']:
    """Random shape coefficients, float32: standard normal, within `MAX_BETA`."""
    return np.clip(rng.normal(0, 1, 10), -MAX_BETA, MAX_BETA).astype(np.float32)


def orient_in_camera(view: View, global_orient: Float[np.ndarray, '3']) -> Float[np.ndarray, '3']:
    """Turns a root's axis-angle from the z-up world to the camera, float32."""
    turned = Rotation.from_matrix(view.rotation) * Rotation.from_rotvec(global_orient)
    return turned.as_rotvec().astype(np.float32)


def place_body(
    vertices: Float[np.ndarray, 'V 3'],
    pelvis: Float[np.ndarray, '3'],
    view: View,
    image_size: tuple[int, int],
) -> Placement:
    """Sets a body (metres, the camera's axes) before the camera; chooses the focal length.

    The pelvis gets the view's depth, or more if a limb would touch the camera. The outline gets the
    view's share of the image, (width, height) px, and place in it; at the widest angle, up to the
    whole image. The box holds every vertex.
    """
    size = np.asarray(image_size, float)
    transl = np.array([0.0, 0.0, view.distance]) - pelvis
    transl[2] += max(0.0, _NEAREST - np.min(vertices[:, 2]) - transl[2])
    for _ in range(_CENTRING_STEPS):
        transl[:2] -= _off_centre(vertices + transl)
    low, high = _extent(vertices + transl)
    focal = max(np.min(view.fill * size / (high - low)), _WIDEST * size[1])
    room = np.maximum(size - focal * (high - low), 0) / 2
    # The nearest vertex moves farthest: by no more than the room.
    nearest = np.min(vertices[:, 2]) + transl[2]
    transl[:2] += 0.9 * view.offset * room / focal * nearest
    low, high = _extent(vertices + transl)
    principal_point = (size - 1) / 2
    center = focal * (low + high) / 2 + principal_point
    return Placement(transl, focal, principal_point, center, _BOX_MARGIN * focal * (high - low))


def _off_centre(points):
    """Metres (2,) by which points are off the place that centres their outline.

    A Newton step: near a camera, the outline's two ends move at different speeds.
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


def project_body(
    points: Float[np.ndarray, 'N 3'], placement: Placement
) -> Float[np.ndarray, 'N 2']:
    """Projects points of the body, before `transl`, to full-image pixels."""
    seen = points + placement.transl
    return placement.focal_length * seen[:, :2] / seen[:, 2:] + placement.principal_point
