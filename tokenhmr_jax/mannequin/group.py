"""A picture of several clothed mannequins on a floor, and the truth about them.

The world is z up, the floor z = 0; the camera is OpenCV's (x right, y down, z forward), metres.
"""

from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, Int, UInt8
from scipy.spatial.transform import Rotation

from tokenhmr_jax.drawing import render
from tokenhmr_jax.mannequin import clothes, motion, people

_EYE, _TARGET = (0.0, -5.2, 1.55), (0.0, 0.0, 0.8)
_FOCAL_LENGTH = 1.6  # of the picture's height
_SUN = np.array([-0.45, -0.55, 1.0])  # from the scene to the light
_LIGHTS_INTENSITY, _AMBIENT = (0.55, 0.16), 0.42
_WALL_AT = 1.9  # metres behind the people
_WALL, _FLOOR = (214, 209, 198), (150, 128, 104)
_SHADOW = 0.45  # of the light is kept
_SHADOW_SOFTNESS = 5.0  # pixels


class Member(NamedTuple):
    """One person: a kind of motion, the seed of pose and clothes, and a place on the floor.

    heading: degrees; at 0 the person faces the camera, at 90 the picture's right.
    """

    kind: str
    seed: int
    heading: float
    place: tuple[float, float]  # metres: to the right, away from the camera


MEMBERS = (
    Member('running', 12, 25.0, (-1.75, 0.1)),
    Member('sitting', 17, -20.0, (-0.8, -0.3)),
    Member('reaching', 16, 25.0, (0.2, 0.2)),
    Member('kicking', 10, 10.0, (1.5, 0.1)),
)


class Group(NamedTuple):
    """A picture, and the people in it."""

    image: UInt8[np.ndarray, 'H W 3']
    keypoints2d: Float[np.ndarray, 'N 44 2']  # pixels
    vertices: Float[np.ndarray, 'N V 3']  # metres, in the camera
    focal_length: float  # pixels


def draw_group(
    members: tuple[Member, ...] = MEMBERS, image_size: tuple[int, int] = (960, 640)
) -> Group:
    """The picture of a group; image_size is (width, height) px. The same members look the same."""
    width, height = image_size
    made, (rotation, translation) = people.studio(), render.look_at(_EYE, _TARGET, (0.0, 0.0, 1.0))
    vertices, points = _on_the_floor(members)
    count = vertices.shape[1]
    faces = np.concatenate([made.faces + i * count for i in range(len(members))])
    focal = _FOCAL_LENGTH * height
    lens = (focal, focal, (width - 1) / 2, (height - 1) / 2)
    colors = [
        clothes.clothes_colors(np.random.default_rng(member.seed), made.skin) for member in members
    ]
    directions = (rotation @ _SUN, (0.5, -0.2, -1.0))
    lights = [
        render.Light(tuple(map(float, direction)), intensity)
        for direction, intensity in zip(directions, _LIGHTS_INTENSITY, strict=True)
    ]
    scene = _scene(vertices.reshape(-1, 3), faces, lens, (height, width))
    seen = vertices @ rotation.T + translation
    image, _ = render.render(
        seen.reshape(-1, 3),
        faces,
        lens,
        (height, width),
        np.concatenate(colors),
        scene,
        lights,
        _AMBIENT,
        supersample=2,
    )
    image = clothes.add_blur_and_noise(np.random.default_rng(0), image)
    points = points @ rotation.T + translation
    pixels = focal * points[..., :2] / points[..., 2:] + np.array(lens[2:])
    return Group(image, pixels, seen, focal)


def _on_the_floor(members) -> tuple[np.ndarray, np.ndarray]:
    """Vertices and keypoints in the world, the lowest of each person on the floor."""
    poses = [_pose(member) for member in members]
    betas = [
        np.random.default_rng(member.seed).normal(0, 0.6, 10).astype(np.float32)
        for member in members
    ]
    orient, body_pose = (np.stack(column) for column in zip(*poses, strict=True))
    vertices, _, points = map(
        np.array, people.pose_bodies(people.studio().body, orient, body_pose, np.stack(betas))
    )
    for i, member in enumerate(members):
        middle = (vertices[i].min(axis=0) + vertices[i].max(axis=0)) / 2
        moved = np.array([*(member.place - middle[:2]), -vertices[i, :, 2].min()])
        vertices[i] += moved
        points[i] += moved
    return vertices, points


def _pose(member: Member) -> tuple[np.ndarray, np.ndarray]:
    """Root and body pose (axis-angle), turned to the member's heading."""
    clip = motion.generate(np.random.default_rng(member.seed), member.kind, 1)
    orient = Rotation.from_rotvec(clip.global_orient[0])
    x, y, _ = orient.apply([0, 0, 1])  # where the person faces
    turn = np.deg2rad(member.heading) - np.arctan2(x, -y)
    orient = Rotation.from_rotvec([0, 0, turn]) * orient
    pose = np.pad(clip.body_pose[0], ((0, 2), (0, 0)))  # hands at rest
    return orient.as_rotvec().astype(np.float32), pose


def _scene(
    vertices: Float[np.ndarray, 'V 3'],
    faces: Int[np.ndarray, 'F 3'],
    lens: tuple[float, float, float, float],
    size: tuple[int, int],
) -> UInt8[np.ndarray, 'H W 3']:
    """Wall and floor, and the people's shadows on the floor."""
    rotation, translation = render.look_at(_EYE, _TARGET, (0.0, 0.0, 1.0))
    focal, _, x, y = lens
    columns, rows = np.meshgrid(np.arange(size[1]) - x, np.arange(size[0]) - y)
    rays = np.stack([columns / focal, rows / focal, np.ones_like(rows)], axis=-1) @ rotation
    to_wall = (_WALL_AT - _EYE[1]) / rays[..., 1]
    on_floor = _EYE[2] + to_wall * rays[..., 2] < 0
    # Both grow darker to the sides, as lit rooms do.
    side = 1 - 0.3 * (columns / size[1]) ** 2
    color = np.where(on_floor[..., None], _FLOOR, _WALL) * side[..., None]
    shadow = np.zeros(size, np.float32)
    flat = (vertices - vertices[:, 2:] / _SUN[2] * _SUN) @ rotation.T + translation
    _, depth = render.render(flat, faces, lens, size)
    shadow[np.isfinite(depth) & on_floor] = 1.0
    shadow = cv2.GaussianBlur(shadow, (0, 0), _SHADOW_SOFTNESS)
    return (color * (1 - (1 - _SHADOW) * shadow[..., None])).astype(np.uint8)
