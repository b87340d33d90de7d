"""Pseudo-ground-truth: bodies fitted to a person's 2D keypoints under a camera that is wrong.

Labels as SMPLify makes them (Bogo et al., "Keep it SMPL", ECCV 2016), where the truth is known.
Their errors: `docs/pseudo_ground_truth.md`. The fit of one person:

- camera: the published one. The crop, a square with the side of the person's box, is seen in 256 px
  with f = 5000 px, the optical axis through its centre, the body at t = (tx, ty, 2 f / (256 s)),
  about 40 m away. The true camera is a few metres away;
- unknowns: the camera's (s, tx, ty), global_orient, the axis-angles of SMPL's joints 1 to 21 (hands
  at rest) and 10 betas;
- objective, a sum of squares: each keypoint's distance, true against projected, times confidence,
  over `pixels` (px of the 256); each axis-angle coordinate's distance from `MEAN_POSE` over its
  `POSE_STD`; each beta over `betas_std`; and, as in SMPLify, exp(angle) over `bend_scale` of elbows
  and knees, where the angle is positive for bending the wrong way;
- start: mean pose, mean shape, the camera that best places them, and the *true* global orientation:
  published labels are seldom wrong about which way a person faces;
- method: Levenberg-Marquardt, `coarse_steps` with keypoints trusted `coarse` times less, then
  `steps` as stated; a step is taken where it lowers the objective.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Float

from tokenhmr_jax.body import camera as cameras
from tokenhmr_jax.body import keypoint_body, rotations
from tokenhmr_jax.body.skeleton import BODY_JOINTS, JOINTS, PELVIS
from tokenhmr_jax.objectives import metrics
from tokenhmr_jax.types import Array, SmplParams

_BODY = 3 * len(BODY_JOINTS)
_START_DAMPING = 1e-2


def _mean_pose() -> np.ndarray:
    """Axis-angles (21, 3) of standing at ease: arms down, elbows and knees slightly bent."""
    pose = np.zeros((len(BODY_JOINTS), 3), np.float32)
    for name, angles in {
        'left_shoulder': (0, 0, -1.1), 'right_shoulder': (0, 0, 1.1),
        'left_elbow': (0, -0.3, 0), 'right_elbow': (0, 0.3, 0),
        'left_knee': (0.2, 0, 0), 'right_knee': (0.2, 0, 0),
    }.items():  # fmt: skip
        pose[BODY_JOINTS.index(name)] = angles
    return pose


MEAN_POSE = _mean_pose()
# Standard deviation (radians) of a joint's axis-angle coordinates from the mean pose.
_STD = {
    'hip': 0.45, 'knee': 0.5, 'ankle': 0.22, 'foot': 0.11, 'spine1': 0.19, 'spine2': 0.15,
    'spine3': 0.11, 'neck': 0.22, 'head': 0.22, 'collar': 0.15, 'shoulder': 0.6, 'elbow': 0.6,
    'wrist': 0.22,
}  # fmt: skip
POSE_STD = np.array([[_STD[name.split('_')[-1]]] * 3 for name in BODY_JOINTS], np.float32)
# Coordinates that bend an elbow or a knee, and the sign of bending the wrong way.
_HINGES = (('left_elbow', 1), ('right_elbow', 1), ('left_knee', 0), ('right_knee', 0))
_BENDS = np.array([3 * BODY_JOINTS.index(name) + axis for name, axis in _HINGES])
_WRONG_WAY = np.array([1.0, -1.0, -1.0, -1.0], np.float32)


class Prior(NamedTuple):
    """Standard deviations and steps of the fit; see the module's text."""

    pixels: float = 2.0
    betas_std: float = 1.0
    bend_scale: float = 0.3
    coarse: float = 10.0
    coarse_steps: int = 8
    steps: int = 16


PRIOR = Prior()


@struct.dataclass
class Fit:
    """Fitted bodies; rotations are axis-angle."""

    global_orient: Float[Array, 'B 3']  # in the crop's camera
    body_pose: Float[Array, 'B 23 3']
    betas: Float[Array, 'B 10']
    camera: Float[Array, 'B 3']  # weak-perspective (s, tx, ty) of the crop
    keypoints3d: Float[Array, 'B 44 3']  # metres, axes of the camera, no translation
    keypoints2d: Float[Array, 'B 44 2']  # projected, fractions of the crop's side from its centre

    @property
    def transl(self) -> Float[Array, 'B 3']:
        """Metres, in the crop's camera."""
        return cameras.crop_translation(self.camera)


def levenberg_marquardt(
    residuals: Callable[[jax.Array], jax.Array], start: Float[Array, ' D'], steps: int
) -> Float[Array, ' D']:
    """Minimises the sum of squares of the vector residuals(x) in `steps` steps from `start`."""

    def step(carry, _):
        x, cost, damping = carry
        value, jacobian = residuals(x), jax.jacfwd(residuals)(x)
        normal = jnp.matmul(jacobian.T, jacobian, precision=jax.lax.Precision.HIGHEST)
        gradient = jnp.matmul(jacobian.T, value, precision=jax.lax.Precision.HIGHEST)
        scaled = normal + damping * jnp.diag(jnp.diag(normal) + 1e-6)
        moved = x - jax.scipy.linalg.solve(scaled, gradient, assume_a='pos')
        moved_cost = jnp.sum(residuals(moved) ** 2)
        better = moved_cost < cost
        x, cost = jnp.where(better, moved, x), jnp.where(better, moved_cost, cost)
        damping = jnp.clip(jnp.where(better, damping * 0.3, damping * 5), 1e-6, 1e4)
        return (x, cost, damping), None

    cost = jnp.sum(residuals(start) ** 2)
    (x, _, _), _ = jax.lax.scan(step, (start, cost, _START_DAMPING), length=steps)
    return x


class _Unknowns(NamedTuple):
    """One person's unknowns, in the order of their vector: camera 3, turn 3, pose 63, betas 10."""

    camera: jax.Array
    turn: jax.Array
    pose: jax.Array
    betas: jax.Array

    @classmethod
    def split(cls, x):
        return cls(*jnp.split(x, [3, 6, 6 + _BODY]))


def _params(x, first_orient):
    """Rotations of the unknowns; `turn` comes on top of the start's orientation."""
    turn = rotations.axis_angle_to_matrix(x.turn)
    orient = rotations.compose(turn, first_orient)
    pose = rotations.axis_angle_to_matrix(x.pose.reshape(-1, 3))
    return SmplParams(global_orient=orient, body_pose=pose, betas=x.betas)


def _project(points, camera):
    return cameras.project_crop(points, cameras.crop_translation(camera))


def _fit_one(body, target, confidence, first_orient, prior):
    root = jnp.sqrt(confidence)[:, None]
    mean_pose = jnp.asarray(MEAN_POSE).ravel()

    def residuals(vector, pixels):
        x = _Unknowns.split(vector)
        points = keypoint_body.keypoints(body, _params(x, first_orient))
        error = cameras.CROP_SIZE / pixels * root * (_project(points, x.camera) - target)
        bend = jnp.exp(_WRONG_WAY * x.pose[_BENDS]) / prior.bend_scale
        pose = (x.pose - mean_pose) / POSE_STD.ravel()
        return jnp.concatenate([error.ravel(), pose, x.betas / prior.betas_std, bend])

    rest = _Unknowns(None, jnp.zeros(3), mean_pose, jnp.zeros(10))
    points = keypoint_body.keypoints(body, _params(rest, first_orient))
    first_camera = cameras.crop_camera(cameras.fit_crop_translation(points, target, confidence))
    x = jnp.concatenate(rest._replace(camera=first_camera))
    coarse = prior.pixels * prior.coarse
    x = levenberg_marquardt(lambda v: residuals(v, coarse), x, prior.coarse_steps)
    x = levenberg_marquardt(lambda v: residuals(v, prior.pixels), x, prior.steps)
    x = _Unknowns.split(x)
    params = _params(x, first_orient)
    points = keypoint_body.keypoints(body, params)
    orient = rotations.matrix_to_axis_angle(params.global_orient)
    pose = jnp.concatenate([x.pose.reshape(-1, 3), jnp.zeros((2, 3))])
    return Fit(orient, pose, x.betas, x.camera, points, _project(points, x.camera))


@partial(jax.jit, static_argnames='prior')
def fit_bodies(
    body: keypoint_body.KeypointBody,
    keypoints2d: Float[Array, 'B 44 3'],
    global_orient: Float[Array, 'B 3'],
    prior: Prior = PRIOR,
) -> Fit:
    """Fits bodies to 2D keypoints under the wrong camera; see the module's text.

    Keypoints are fractions of the crop's side from its centre, and confidence. `global_orient` is
    the start's, axis-angle.
    """
    first = rotations.axis_angle_to_matrix(global_orient)
    return jax.vmap(lambda k, o: _fit_one(body, k[:, :2], k[:, 2], o, prior))(keypoints2d, first)


@jax.jit
def label_errors(
    fit: Fit, keypoints2d: Float[Array, 'B 44 3'], truth: Mapping[str, Array]
) -> dict[str, Float[Array, 'B ...']]:
    """Errors of fits to keypoints; `truth` has a record's global_orient, body_pose, keypoints3d.

    'mpjpe_mm', 'pa_mpjpe_mm' (B,): of the 14 joints of LSP, centred on the pelvis keypoint;
    'angle_deg' (B, 24): between rotations; 'l1_2d' (B,): mean |dx| + |dy| in crop units.
    """
    points, points_gt = (
        k[..., metrics.LSP14, :3] - k[..., PELVIS, None, :3]
        for k in (fit.keypoints3d, truth['keypoints3d'])
    )
    true_pose = truth['global_orient'], truth['body_pose']
    pose, pose_gt = (
        rotations.axis_angle_to_matrix(jnp.concatenate([orient[:, None], body], axis=1))
        for orient, body in ((fit.global_orient, fit.body_pose), true_pose)
    )
    offset = jnp.abs(fit.keypoints2d - keypoints2d[..., :2])
    return {
        'mpjpe_mm': metrics.mean_distance_mm(points, points_gt),
        'pa_mpjpe_mm': metrics.mean_distance_mm(metrics.procrustes(points, points_gt), points_gt),
        'angle_deg': jnp.rad2deg(rotations.geodesic_angle(pose, pose_gt)),
        'l1_2d': jnp.mean(jnp.sum(offset, axis=-1), axis=-1),
    }


def mean_errors(errors: Sequence[Mapping[str, np.ndarray]]) -> dict:
    """Means of `label_errors` over all bodies of several batches, as numbers and lists."""
    stacked = {name: np.concatenate([e[name] for e in errors]) for name in errors[0]}
    return {name: np.mean(value, axis=0).round(4).tolist() for name, value in stacked.items()}


def describe_fit(errors: Mapping) -> str:
    """Lines of text with the errors of `mean_errors`."""
    angles = [f'{name} {a:.0f}' for name, a in zip(JOINTS, errors['angle_deg'], strict=True)]
    mpjpe, pa_mpjpe = errors['mpjpe_mm'], errors['pa_mpjpe_mm']
    return (
        f'  3D: MPJPE {mpjpe:.1f} mm, PA-MPJPE {pa_mpjpe:.1f} mm (14 joints)\n'
        f'  2D: L1 {errors["l1_2d"]:.4f} of the crop, under the camera of the fit\n'
        f'  angles, degrees: {", ".join(angles)}'
    )
