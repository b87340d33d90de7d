"""Least squares of one body on its 2D keypoints: the problem, its errors and Gauss-Newton's step.

The unknowns of a body are 79: shift, depth, rotations and betas, in standard deviations of an
answer's errors. The answer is where all are 0. Keypoints that disagree with the body lose their
weight (Geman-McClure).
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from tokenhmr_jax.body import keypoint_body, rotations, skeleton
from tokenhmr_jax.body.keypoint_body import KeypointBody
from tokenhmr_jax.body.keypoint_jacobian import keypoint_jacobian
from tokenhmr_jax.types import Array, SmplParams

_EXACT = jax.lax.Precision.HIGHEST
_LENGTHS = (1.0, 0.5, 0.2)  # of a step; the best is taken, or none
_FITTING_TOLERANCE = 3.0  # of the translation's fit
_NEAREST = 0.05  # metres before the camera

# Standard deviations of the errors, degrees, over all three axes: the bundled network's, root mean
# squares over held-out procedural motion with 14 to 17 of COCO's keypoints seen.
_ORIENTATION = 17.0
_JOINT_ERRORS = {
    'spine': 8.5, 'hip': 25.0, 'knee': 23.0, 'ankle': 20.0, 'foot': 11.0, 'neck': 13.0,
    'head': 13.0, 'collar': 8.5, 'shoulder': 40.0, 'elbow': 27.0, 'wrist': 18.0,
}  # fmt: skip
_BETA_ERROR = 1.0
_DEPTH_ERROR = 0.2  # of the depth
_SHIFT_ERROR = 0.5  # of the box's side
_KEPT_DEPTH_ERROR = 1e-3  # with so few keypoints that their scale says nothing

# Standard deviation of keypoints, of the box's side; people and SMPL disagree about some of them.
_KEYPOINT_ERROR = 0.02
_KEYPOINT_FACTORS = {'Hip': 2.0, 'Ear': 1.5, 'Head Top': 2.0, 'Toe': 1.3, 'Heel': 1.3}

# Limits of the hinges. SMPL's knee bends by a positive turn about x, its left elbow by a negative
# one about y, its right elbow by a positive one; ranges from the tables of the American Academy of
# Orthopaedic Surgeons (1965). A bend's sine is an entry of the rotation.
_HINGES = np.array([
    skeleton.BODY_JOINTS.index(name)
    for name in ('left_knee', 'right_knee', 'left_elbow', 'right_elbow')
])  # fmt: skip
_OVEREXTENDED, _OVERBENT = math.sin(math.radians(3)), math.cos(math.radians(150))
_LIMIT_ERROR = math.radians(2)


class Problem(NamedTuple):
    """One person: the answer, and keypoints as tangents of their rays, x / z and y / z."""

    params: SmplParams
    translation: Float[Array, '3']
    seen: Float[Array, '44 2']
    sigma: Float[Array, '44']  # of `seen`; infinite for absent keypoints
    side: Float[Array, '']  # of the box, as a tangent
    depth_error: Float[Array, '']


def _joint_errors() -> np.ndarray:
    """Degrees, of the 21 joints."""
    parts = [name.removeprefix('left_').removeprefix('right_') for name in skeleton.BODY_JOINTS]
    return np.array([_JOINT_ERRORS[part.rstrip('123')] for part in parts])


def _keypoint_factors() -> np.ndarray:
    named = lambda name: [f for part, f in _KEYPOINT_FACTORS.items() if part in name]  # noqa: E731
    return np.array([max([1.0, *named(name)]) for name in skeleton.KEYPOINTS])


_DEGREES = np.concatenate([np.full(3, _ORIENTATION), np.repeat(_joint_errors(), 3)])
_ERRORS = np.radians(_DEGREES / math.sqrt(3)).astype(np.float32)  # about each axis
_FACTORS = _keypoint_factors().astype(np.float32)


def make_problem(
    params: SmplParams,
    translation: Float[Array, '3'],
    keypoints2d: Float[Array, '44 3'],
    focal_length: Float[Array, ''],
    principal_point: Float[Array, '2'],
    side: Float[Array, ''],
) -> Problem:
    """The problem of one person; arguments as those of `refinement.refine`."""
    points, confidence = keypoints2d[:, :2], keypoints2d[:, 2]
    known = jnp.isfinite(keypoints2d).all(-1) & (confidence > 0)
    seen = jnp.where(known[:, None], (points - principal_point) / focal_length, 0.0)
    confidence = jnp.where(known, jnp.clip(confidence, 1e-3, 1), 1)
    side = side / focal_length
    sigma = jnp.where(known, _KEYPOINT_ERROR * side * _FACTORS / confidence, jnp.inf)
    depth_error = jnp.where(known.sum() > 2, _DEPTH_ERROR, _KEPT_DEPTH_ERROR)
    return Problem(params, translation, seen, sigma, side, depth_error)


def start(reduced: KeypointBody, problem: Problem) -> Float[Array, ' unknowns']:
    """The answer's pose, where its keypoints fit best."""
    count = 3 + len(_ERRORS) + problem.params.betas.shape[-1]
    return jnp.zeros(count).at[:3].set(_fit_translation(reduced, problem))


def _fit_translation(reduced, problem):
    """The first three unknowns for the answer's pose, in closed form.

    A point on its ray, x + tx = u (z + tz), is linear in the translation.
    """
    origin = problem.translation
    points = keypoint_body.keypoints(reduced, problem.params) + origin
    depth = jnp.maximum(points[:, 2], _NEAREST)
    # The pose is wrong, too: by more than the keypoints.
    sigma = 4 * problem.sigma * depth
    off = points[:, :2] - problem.seen * points[:, 2:]
    weights = 1 / sigma**2
    move = jnp.zeros(3)
    for _ in range(3):
        total = jnp.maximum(weights.sum(), 1e-12)
        middle = weights @ problem.seen / total
        spread = problem.seen - middle
        offset = weights @ off / total
        pull = jnp.sum(weights[:, None] * spread * (off - offset))
        hold = 1 / (problem.depth_error * origin[2]) ** 2
        forward = pull / (jnp.sum(weights[:, None] * spread**2) + hold)
        move = jnp.append(middle * forward - offset, forward)
        left = off + move[:2] - problem.seen * move[2]
        weights = robust_weights(jnp.sum(left**2, -1) / sigma**2, _FITTING_TOLERANCE) / sigma**2
    place = origin + move
    deeper = jnp.log(jnp.maximum(place[2], _NEAREST) / origin[2]) / problem.depth_error
    shift = (place[:2] / place[2] - origin[:2] / origin[2]) / (_SHIFT_ERROR * problem.side)
    return jnp.append(shift, deeper)


def robust_weights(squared, tolerance):
    """Geman-McClure's weights of squared errors."""
    return (tolerance**2 / (tolerance**2 + squared)) ** 2


def _turns(x):
    """Rotation vectors of the 22 joints."""
    return (x[3 : 3 + len(_ERRORS)] * _ERRORS).reshape(-1, 3)


def move_body(problem, x):
    """The body and its translation for unknowns: shift, depth, rotations, betas."""
    origin, old = problem.translation, problem.params
    depth = origin[2] * jnp.exp(x[2] * problem.depth_error)
    tangent = origin[:2] / origin[2] + x[:2] * _SHIFT_ERROR * problem.side
    count = len(_ERRORS)
    turns = rotations.axis_angle_to_matrix(_turns(x))
    body_pose = jnp.concatenate(
        [rotations.compose(old.body_pose[:21], turns[1:]), old.body_pose[21:]]
    )
    new = SmplParams(
        global_orient=rotations.compose(old.global_orient, turns[0]),
        body_pose=body_pose,
        betas=old.betas + _BETA_ERROR * x[3 + count :],
    )
    return new, jnp.append(tangent * depth, depth)


def residuals(reduced, problem, x):
    """Errors of keypoints (44, 2), and of everything else, in standard deviations."""
    params, translation = move_body(problem, x)
    return _errors(problem, keypoint_body.keypoints(reduced, params) + translation, x)


def _errors(problem, points, x):
    off = project(points) - problem.seen
    beyond = _beyond_limits(problem.params.body_pose[_HINGES], _turns(x)[1 + _HINGES])
    return off / problem.sigma[:, None], jnp.concatenate([x, beyond])


def project(points):
    """Tangents of the points' rays."""
    return points[..., :2] / jnp.maximum(points[..., 2:], _NEAREST)


def _beyond_limits(answer, turns):
    """Hinges beyond their range, in standard deviations; 0 within. `answer`: (4, 3, 3)."""
    rotation = rotations.compose(answer, rotations.axis_angle_to_matrix(turns))
    sine = jnp.concatenate([rotation[:2, 2, 1], rotation[2:, 2, 0] * jnp.array([1.0, -1.0])])
    cosine = jnp.concatenate([rotation[:2, 1, 1], rotation[2:, 0, 0]])
    beyond = jnp.concatenate([-_OVEREXTENDED - sine, _OVERBENT - cosine])
    return jax.nn.relu(beyond) / _LIMIT_ERROR


def objective(points, others, tolerance):
    squared = jnp.sum(points**2, -1)
    robust = tolerance**2 * squared / (tolerance**2 + squared)
    return jnp.sum(robust, -1) + jnp.sum(others**2, -1)


def gauss_newton(reduced, problem, x, tolerance) -> Float[Array, ' unknowns']:
    """The unknowns after one step, as long as it helps."""
    fit = linearised_fit(reduced, problem, x, tolerance)
    move = -jax.scipy.linalg.cho_solve(jax.scipy.linalg.cho_factor(fit.normal), fit.gradient)
    candidates = x + jnp.array(_LENGTHS)[:, None] * move
    found = jax.vmap(functools.partial(residuals, reduced, problem))(candidates)
    values = jnp.append(objective(*found, tolerance), fit.value)
    best = jnp.argmin(jnp.where(jnp.isfinite(values), values, jnp.inf))
    return jnp.concatenate([candidates, x[None]])[best]


class Fit(NamedTuple):
    """The objective of a problem, twice its negative log probability, around some unknowns."""

    value: Float[Array, '']
    gradient: Float[Array, ' unknowns']  # half
    normal: Float[Array, 'unknowns unknowns']  # half the second derivatives


def linearised_fit(reduced, problem, x, tolerance) -> Fit:
    """The fit whose errors are linear in the unknowns, with the keypoints' weights at `x`."""
    points, others, of_points, of_others = linearise(reduced, problem, x)
    root = jnp.sqrt(robust_weights(jnp.sum(points**2, -1), tolerance))[:, None]
    jacobian = jnp.concatenate([(root[..., None] * of_points).reshape(-1, len(x)), of_others])
    errors = jnp.concatenate([(root * points).ravel(), others])
    normal = jnp.matmul(jacobian.T, jacobian, precision=_EXACT)
    gradient = jnp.matmul(jacobian.T, errors, precision=_EXACT)
    return Fit(objective(points, others, tolerance), gradient, normal)


def linearise(reduced, problem, x):
    """`residuals` and their derivatives, (44, 2, unknowns) and (others, unknowns)."""
    params, translation = move_body(problem, x)
    jacobian = keypoint_jacobian(reduced, params)
    points = jacobian.points + translation
    # A rotation vector v grows by d: the joint turns by (I - [v] / 2 + [v]^2 / 6 - ...) d.
    turns = _turns(x)
    skew = jnp.cross(turns[:, None], jnp.eye(3)).swapaxes(-1, -2)
    inner = jnp.eye(3) - skew / 2 + rotations.compose(skew, skew) / 6
    by_turns = jnp.einsum('kcji,jil->kcjl', jacobian.turns[:, :, :22], inner, precision=_EXACT)
    depth = translation[2]
    by_shift = _SHIFT_ERROR * problem.side * depth * jnp.eye(3)[:, :2]
    by_depth = problem.depth_error * translation[:, None]
    of_place = jnp.concatenate([by_shift, by_depth], axis=-1)
    moved = jnp.concatenate(
        [
            jnp.broadcast_to(of_place, (len(points), 3, 3)),
            by_turns.reshape(len(points), 3, -1) * _ERRORS,
            _BETA_ERROR * jacobian.betas,
        ],
        axis=-1,
    )
    near, seen = jnp.maximum(points[:, 2], _NEAREST), project(points)
    of_points = moved[:, :2] - seen[..., None] * moved[:, 2:]
    of_points /= (near * problem.sigma)[:, None, None]
    limits = functools.partial(_beyond_limits, problem.params.body_pose[_HINGES])
    of_limits = jax.jacfwd(limits)(turns[1 + _HINGES])
    of_turns = jnp.zeros((len(of_limits), 22, 3)).at[:, 1 + _HINGES].set(of_limits)
    of_limits = jnp.pad(of_turns.reshape(len(of_limits), -1) * _ERRORS, ((0, 0), (3, 10)))
    of_others = jnp.concatenate([jnp.eye(len(x)), of_limits])
    return *_errors(problem, points, x), of_points, of_others
