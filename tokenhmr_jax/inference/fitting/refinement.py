"""Bodies moved onto their 2D keypoints, and held at the network's answer.

The answer is a prior, the keypoints are measurements. Both have standard deviations, so the refined
body is the most probable one: a nonlinear least-squares problem of 79 unknowns, which Gauss-Newton
solves in a few steps. Unknowns are in units of the prior's standard deviations: where no keypoint
speaks, the answer stays. Keypoints that disagree with the body lose their weight (Geman-McClure).

A prior of pose tokens, if there is one, knows which joints' turns go together, as the standard
deviations do not: the refined pose is made a probable one and takes the answer's place, and the
body is refined again.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Bool, Float

from tokenhmr_jax.body import rotations, skeleton, smpl
from tokenhmr_jax.body.keypoint_body import KeypointBody
from tokenhmr_jax.inference.fitting import keypoint_fit
from tokenhmr_jax.inference.pose_prior import PosePrior
from tokenhmr_jax.types import Array, ImagePrediction, SmplParams

_STEPS = 8
# Errors, in standard deviations, at which a keypoint loses most of its weight. The network may be
# far off: a low value from the start would take its own errors for the keypoints'.
_TOLERANCE = np.geomspace(10, 3, _STEPS)
_CHUNK = 8  # persons at once
_NOISE = 10.0  # degrees, of a refined pose's joints, for the prior
_BODY = slice(skeleton.NUM_BODY_JOINTS)


@struct.dataclass
class Refined:
    """Refined bodies of N persons.

    translation: metres, the body's origin in the image's camera.
    moved_mm: mean movement of the joints, seen from the pelvis.
    turned_degrees: of the orientation.
    error_before, error_after: mean distance of keypoints to the given ones, % of the box's side;
      NaN without keypoints.
    changed: False where the answer was kept.
    """

    params: SmplParams
    translation: Float[Array, '*N 3']
    moved_mm: Float[Array, '*N']
    turned_degrees: Float[Array, '*N']
    error_before: Float[Array, '*N']
    error_after: Float[Array, '*N']
    changed: Bool[Array, '*N']


class RefinementReport(NamedTuple):
    """Movement and errors of persons, as in `Refined`."""

    moved_mm: Float[np.ndarray, ' N']
    turned_degrees: Float[np.ndarray, ' N']
    error_before: Float[np.ndarray, ' N']
    error_after: Float[np.ndarray, ' N']
    changed: Bool[np.ndarray, ' N']


@jax.jit
def refine(
    reduced: KeypointBody,
    params: SmplParams,
    translation: Float[Array, 'N 3'],
    keypoints2d: Float[Array, 'N 44 3'],
    focal_length: Float[Array, ' N'],
    principal_point: Float[Array, 'N 2'],
    side: Float[Array, ' N'],
) -> Refined:
    """Moves bodies onto their keypoints.

    A person without keypoints, or whom refinement does not bring nearer, keeps the answer.

    Args:
      reduced: the body model, reduced to keypoints.
      params: the answer, in the axes of the image's camera; 23 joints and betas.
      translation: metres, the body's origin in the image's camera; its depth is trusted to a fifth.
      keypoints2d: pixels and confidence; absent ones have confidence 0, or are not finite.
      focal_length, principal_point: pixels, the image's camera.
      side: of the person's box, pixels: the keypoints' errors follow it.
    """
    one = functools.partial(_refine_one, reduced)
    return jax.vmap(one)(params, translation, keypoints2d, focal_length, principal_point, side)


def refine_with_prior(
    reduced: KeypointBody, prior: PosePrior, params: SmplParams, *given: Float[Array, 'N ...']
) -> Refined:
    """As `refine`, of which `given` are the other arguments, with a prior of pose tokens."""
    first = refine(reduced, params, *given)
    body_pose = np.array(first.params.body_pose)
    body_pose[:, _BODY] = prior.recover(body_pose[:, _BODY], _NOISE)
    probable = first.params.replace(body_pose=body_pose)
    second = refine(reduced, probable, first.translation, *given[1:])
    return _joined(reduced, params, first, second)


@jax.jit
def _joined(reduced, answer, first: Refined, second: Refined) -> Refined:
    """The second refinement where the first changed the answer, compared with the answer."""

    def one(answer, first, second):
        params = jax.tree.map(
            lambda new, old: jnp.where(first.changed, new, old), second.params, answer
        )
        place = jnp.where(first.changed, second.translation, first.translation)
        after = jnp.where(first.changed, second.error_after, first.error_after)
        errors = jnp.stack([first.error_before, after])
        return _compare(reduced, answer, params, place, errors, first.changed)

    return jax.vmap(one)(answer, first, second)


def refine_prediction(
    reduced: KeypointBody,
    body: smpl.BodyModel,
    prediction: ImagePrediction,
    keypoints2d: Float[np.ndarray, 'N 44 3'],
    prior: PosePrior | None = None,
) -> tuple[ImagePrediction, RefinementReport]:
    """Moves predicted bodies onto keypoints (pixels, confidence), as `refine` does.

    With a prior as `refine_with_prior`. The crop's own camera stays the network's. Any number of
    persons is compiled once.
    """
    parts = (prediction.params, prediction.translation, keypoints2d, prediction.focal_length)
    parts = (*parts, prediction.principal_point, prediction.crop_side)
    count, chunks = len(keypoints2d), []
    for start in range(0, count, _CHUNK):
        rows = np.minimum(np.arange(start, start + _CHUNK), count - 1)
        chunk = jax.tree.map(lambda x, rows=rows: np.asarray(x, np.float32)[rows], parts)
        if prior is None:
            refined = refine(reduced, *chunk)
        else:
            refined = refine_with_prior(reduced, prior, *chunk)
        posed = _pose(body, refined.params, refined.translation, *chunk[3:5])
        chunks.append((refined, posed))
    chunks = jax.device_get(chunks)
    refined, posed = jax.tree.map(lambda *values: np.concatenate(values)[:count], *chunks)
    vertices, joints, keypoints3d, projected = posed
    prediction = prediction.replace(
        params=refined.params,
        vertices=vertices,
        joints=joints,
        keypoints3d=keypoints3d,
        keypoints2d=np.where(refined.changed[:, None, None], projected, prediction.keypoints2d),
        translation=refined.translation,
    )
    report = RefinementReport(*(getattr(refined, name) for name in RefinementReport._fields))
    return prediction, report


@jax.jit
def _pose(body, params, translation, focal_length, principal_point):
    """Vertices, joints, keypoints, and these in pixels."""
    output = smpl.forward(body, params)
    points = smpl.keypoints(body, output)
    seen = keypoint_fit.project(points + translation[:, None])
    pixels = seen * focal_length[:, None, None] + principal_point[:, None]
    return output.vertices, output.joints, points, pixels


def _refine_one(reduced, params, translation, keypoints2d, focal_length, principal_point, side):
    seen = keypoints2d, focal_length, principal_point, side
    problem = keypoint_fit.make_problem(params, translation, *seen)
    fitted = keypoint_fit.start(reduced, problem)

    def step(x, tolerance):
        return keypoint_fit.gauss_newton(reduced, problem, x, tolerance), None

    found, _ = jax.lax.scan(step, fitted, jnp.asarray(_TOLERANCE, jnp.float32))
    residuals = functools.partial(keypoint_fit.residuals, reduced, problem)
    both = jax.vmap(residuals)(jnp.stack([jnp.zeros_like(found), found]))
    before, after = keypoint_fit.objective(*both, _TOLERANCE[-1])
    known = jnp.isfinite(problem.sigma)
    refined = keypoint_fit.move_body(problem, found)
    finite = [jnp.isfinite(value).all() for value in jax.tree.leaves(refined)]
    better = (after < before) & known.any() & jnp.stack(finite).all()
    answer = (params, translation)
    refined = jax.tree.map(lambda new, old: jnp.where(better, new, old), refined, answer)
    off = jnp.linalg.norm(both[0], axis=-1) * jnp.where(known, problem.sigma, 0)
    errors = 100 * off.sum(-1) / known.sum() / problem.side
    return _compare(reduced, params, *refined, errors, better)


def _compare(reduced, answer, params, translation, errors, better):
    """The refined body and its distance to the answer."""
    both = jax.tree.map(lambda *values: jnp.stack(values), answer, params)
    joints = smpl.forward(reduced.body, both).joints
    joints -= joints[:, :1]
    turned = rotations.geodesic_angle(params.global_orient, answer.global_orient)
    return Refined(
        params=params,
        translation=translation,
        moved_mm=1000 * jnp.linalg.norm(joints[1] - joints[0], axis=-1).mean(),
        turned_degrees=jnp.degrees(turned),
        error_before=errors[0],
        error_after=jnp.where(better, errors[1], errors[0]),
        changed=better,
    )
