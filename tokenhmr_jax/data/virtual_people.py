"""People without pictures, drawn on the device: poses, bodies and cameras for 2D keypoints.

Frames: poses stand in a z-up world. Cameras are OpenCV's (x right, y down, z forward), metres. The
picture is in focal lengths from its principal point.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Bool, Float

from tokenhmr_jax.body import keypoint_body, rotations, skeleton
from tokenhmr_jax.data.draws import Draws
from tokenhmr_jax.types import Array, SmplParams

# From the world to a level camera that looks along the world's y.
_LEVEL = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]], np.float32)
_ASPECTS = np.array([3 / 4, 4 / 3, 2 / 3, 3 / 2, 9 / 16, 16 / 9, 1.0], np.float32)
_DRAWS = 20  # random numbers of each kind
# The point that the camera's distance is of, and how often.
_AIMS = np.array([skeleton.KEYPOINTS.index(n) for n in ('MPII Pelvis', 'OP Neck', 'OP Nose')])
_AIM_SHARES = np.array([0.65, 0.85], np.float32)  # cumulative
_NEAREST = 0.3  # metres: no keypoint comes closer to the camera
_LEAST_VIEW = 0.7  # metres across the picture's diagonal at the person
_PLACE = 0.75  # of the half picture: how far off its middle a person may be
_MOST_BETA = 3.0
# Degrees by which cameras look down: mostly level ones, and any.
_PITCH, _ANY_PITCH, _ANY_PITCH_SHARE = (5.0, 12.0), (-50.0, 70.0), 0.25
_ROLL, _LARGE_ROLL, _LARGE_ROLL_SHARE = 4.0, 20.0, 0.15
_BOX_MARGIN = 1.2  # of a detected person's box, as in `inference.people.persons`
_BOX_SCALE, _BOX_SHIFT = 0.1, 0.04  # deviations of a detector's box, in its sides


@dataclasses.dataclass(frozen=True)
class PeopleSettings:
    """Ranges of what is drawn. Raises ValueError for a value outside its range.

    distance: metres to the person, uniform in the logarithm.
    field_of_view: degrees across the picture's diagonal, uniform in the logarithm.
    tilted: share of people turned any way, as in handstands and falls.
    betas: standard deviation of the shape coefficients.
    children: share of people who are younger than adults.
    child_betas: shape of a child of six, relative to an adult; all zero for a body without.
    """

    distance: tuple[float, float] = (1.0, 15.0)
    field_of_view: tuple[float, float] = (20.0, 100.0)
    tilted: float = 0.12
    betas: float = 1.0
    children: float = 0.0
    child_betas: tuple[float, ...] = (0.0,) * 10

    def __post_init__(self):
        near, far = self.distance
        narrow, wide = self.field_of_view
        if not 0 < near <= far:
            raise ValueError(f'people.distance={self.distance}: expected metres, near and far')
        if not 0 < narrow <= wide < 170:
            raise ValueError(f'people.field_of_view={self.field_of_view}: expected degrees')
        for name in ('tilted', 'children'):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f'people.{name}={getattr(self, name)}: expected from 0 to 1')
        if self.betas < 0 or len(self.child_betas) != 10:
            raise ValueError(f'people.betas={self.betas}, child_betas={self.child_betas}')


@struct.dataclass
class People:
    """People before cameras.

    params: global_orient in the camera.
    keypoints3d: metres, the camera's axes, from the body's origin.
    keypoints2d: focal lengths, from the principal point.
    in_picture: whether the picture shows them.
    """

    params: SmplParams
    keypoints3d: Float[Array, 'B 44 3']
    keypoints2d: Float[Array, 'B 44 2']
    in_picture: Bool[Array, 'B 44']


@struct.dataclass
class _Scene:
    """Random numbers of one person."""

    rotation: Float[Array, '*B 3 3']  # from the body's world to the camera
    betas: Float[Array, '*B 10']
    distance: Float[Array, '*B']
    half_picture: Float[Array, '*B 2']  # focal lengths
    place: Float[Array, '*B 2']  # of the aim, focal lengths
    aim: Float[Array, '*B 44']  # one-hot


def draw_people(
    keys: jax.Array,
    body: keypoint_body.KeypointBody,
    global_orient: Float[Array, 'B 3'],
    body_pose: Float[Array, 'B 21 3'],
    settings: PeopleSettings,
) -> People:
    """People in given poses (axis-angle, a z-up world) before random cameras, one key each."""
    drawn = jax.vmap(lambda key: _draw(key, settings))(keys)
    orient = rotations.axis_angle_to_matrix(global_orient)
    pose = rotations.axis_angle_to_matrix(jnp.pad(body_pose, ((0, 0), (0, 2), (0, 0))))
    params = SmplParams(rotations.compose(drawn.rotation, orient), pose, drawn.betas)
    points = keypoint_body.keypoints(body, params)
    aim = jnp.einsum('bk,bkc->bc', drawn.aim, points)
    direction = jnp.pad(drawn.place, ((0, 0), (0, 1)), constant_values=1.0)
    seen = points + (drawn.distance[:, None] * direction - aim)[:, None]
    too_near = jnp.maximum(_NEAREST - jnp.min(seen[..., 2], axis=-1), 0)
    seen = seen + too_near[:, None, None] * direction[:, None]
    flat = seen[..., :2] / seen[..., 2:]
    inside = jnp.all(jnp.abs(flat) < drawn.half_picture[:, None], axis=-1)
    return People(params, points, flat, inside)


def _draw(key: jax.Array, settings: PeopleSettings) -> _Scene:
    draws, radians = Draws(key, _DRAWS), np.pi / 180
    about = lambda axis, angle: rotations.axis_angle_to_matrix(  # noqa: E731
        angle * np.eye(3, dtype=np.float32)[axis]
    )
    mean, deviation = _PITCH
    any_pitch = draws.chance(_ANY_PITCH_SHARE)
    usual = mean + deviation * draws.normal()
    pitch = jnp.where(any_pitch, draws.between(*_ANY_PITCH), usual)
    roll = draws.normal() * jnp.where(draws.chance(_LARGE_ROLL_SHARE), _LARGE_ROLL, _ROLL)
    level = about(2, radians * roll) @ about(0, radians * pitch) @ _LEVEL
    turn = about(2, draws.between(-np.pi, np.pi))
    quaternion = draws.normal((4,))
    any_way = rotations.axis_angle_to_matrix(
        rotations.quaternion_to_axis_angle(quaternion / jnp.linalg.norm(quaternion))
    )
    rotation = level @ jnp.where(draws.chance(settings.tilted), any_way, turn)

    youth = jnp.where(draws.chance(settings.children), draws.between(0.0, 1.0), 0.0)
    betas = jnp.clip(settings.betas * draws.normal((10,)), -_MOST_BETA, _MOST_BETA)
    betas = betas + youth * np.asarray(settings.child_betas, np.float32)

    wide = jnp.exp(draws.between(*np.log(settings.field_of_view)))
    diagonal = jnp.tan(radians * wide / 2)
    aspect = jnp.asarray(_ASPECTS)[draws.index(len(_ASPECTS))]
    half = diagonal * jnp.stack([aspect, 1.0]) / jnp.hypot(aspect, 1.0)
    distance = jnp.exp(draws.between(*np.log(settings.distance)))
    distance = jnp.maximum(distance, _LEAST_VIEW / 2 / diagonal)
    aim = jnp.asarray(_AIMS)[jnp.searchsorted(_AIM_SHARES, draws.between(0.0, 1.0))]
    return _Scene(
        rotation=rotation,
        betas=betas,
        distance=distance,
        half_picture=half,
        place=half * draws.between(-_PLACE, _PLACE, (2,)),
        aim=jax.nn.one_hot(aim, len(skeleton.KEYPOINTS)),
    )


def person_size(
    keypoints2d: Float[Array, 'B 44 2'], counts: Float[Array, 'B 44'] | Bool[Array, 'B 44']
) -> Float[Array, ' B']:
    """The larger side of the box of the keypoints that count."""
    low, high = _box(keypoints2d, counts)
    return jnp.max(high - low, axis=-1)


def draw_crops(
    keys: jax.Array,
    keypoints2d: Float[Array, 'B 44 3'],
    aspect: tuple[float, float],
) -> tuple[Float[Array, 'B 2'], Float[Array, ' B']]:
    """Centres and sides of square crops around detected keypoints, one key each.

    The box of proportion width : height of `aspect` around the keypoints, somewhat off.
    """
    low, high = _box(keypoints2d[..., :2], keypoints2d[..., 2])
    ratio = aspect[0] / aspect[1]
    factor = np.array([1 / min(ratio, 1.0), max(ratio, 1.0)], np.float32)
    side = _BOX_MARGIN * jnp.max((high - low) * factor, axis=-1)
    noise = jax.vmap(lambda key: jax.random.normal(key, (3,)))(keys)
    centre = (low + high) / 2 + _BOX_SHIFT * side[:, None] * noise[:, :2]
    return centre, side * jnp.exp(_BOX_SCALE * noise[:, 2])


def _box(points, counts) -> tuple[Float[Array, 'B 2'], Float[Array, 'B 2']]:
    """Corners of the box of points; of all, if none counts. A box of one point has some size."""
    counts = jnp.where(jnp.any(counts > 0, axis=-1, keepdims=True), counts > 0, True)[..., None]
    low = jnp.min(jnp.where(counts, points, jnp.inf), axis=-2)
    high = jnp.max(jnp.where(counts, points, -jnp.inf), axis=-2)
    least = 1e-3
    return low - least, high + least
