"""Improbable poses, by a likelihood that is known."""

import numpy as np
import pytest

from tokenhmr_jax.body import rotations
from tokenhmr_jax.studies.plausibility import Poses, improbable_share


def test_improbable_poses_by_hand():
    """Likelihood is minus the first joint's turn: 1% of the labels turn by more than 99."""
    turned = lambda degrees: np.asarray(  # noqa: E731
        rotations.axis_angle_to_matrix(
            np.radians(degrees)[:, None, None] * np.eye(21, 3, dtype=np.float32)[None]
        )
    )
    true = turned(np.arange(101, dtype=np.float32))
    predicted = turned(np.float32([0, 50, 98, 120]))

    def judge(poses):
        return -np.degrees(np.arccos(np.clip((np.trace(poses[:, 0].T) - 1) / 2, -1, 1)))

    share, nats = improbable_share(judge, Poses(predicted, true))
    assert share == 25 and nats == pytest.approx(-(50 + 98 + 120) / 4, abs=0.01)
