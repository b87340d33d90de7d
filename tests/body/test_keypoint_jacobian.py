"""Derivatives of keypoints beside those of automatic differentiation."""

import jax
import jax.numpy as jnp
import numpy as np

from tokenhmr_jax.body import keypoint_body, rotations
from tokenhmr_jax.body.keypoint_jacobian import keypoint_jacobian
from tokenhmr_jax.types import SmplParams


def test_derivatives_are_those_of_the_body(mannequin, rng):
    """Without pose correctives they are exact; with them, right to a few hundredths."""
    vectors = rng.normal(0, 0.5, (24, 3)).astype(np.float32)
    rotation = rotations.axis_angle_to_matrix(jnp.asarray(vectors))
    betas = jnp.asarray(rng.normal(0, 1, 10), jnp.float32)
    reduced = keypoint_body.reduce_body(mannequin)
    rigid = reduced.replace(
        body=reduced.body.replace(pose_dirs=jnp.zeros_like(reduced.body.pose_dirs))
    )

    def points(body, turns, betas):
        pose = rotations.compose(rotation, rotations.axis_angle_to_matrix(turns))
        return keypoint_body.keypoints(body, SmplParams(pose[0], pose[1:], betas))

    params = SmplParams(rotation[0], rotation[1:], betas)
    for body, tolerance in ((rigid, 1e-4), (reduced, 0.05)):
        expected = jax.jit(jax.jacfwd(points, (1, 2)))(body, jnp.zeros((24, 3)), betas)
        found = jax.jit(keypoint_jacobian)(body, params)
        at_rest = points(body, jnp.zeros((24, 3)), betas)
        np.testing.assert_allclose(found.points, at_rest, atol=1e-5)
        for ours, theirs in zip(found[1:], expected, strict=True):
            assert np.abs(theirs).max() > 0.01
            np.testing.assert_allclose(ours, theirs, atol=tolerance * float(np.abs(theirs).max()))
