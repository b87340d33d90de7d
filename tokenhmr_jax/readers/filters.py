"""Filters of pseudo-ground-truth, of HMR2.0 and TokenHMR; they act on the fields of a record."""

import dataclasses
import functools
from typing import Any

import numpy as np

from tokenhmr_jax.body import skeleton
from tokenhmr_jax.readers.pose_density import is_probable, load_density

# Actions, as they are counted.
FEW_KEYPOINTS = 'dropped: few keypoints'
REPROJECTION = 'dropped: reprojection loss'
BETAS = 'not trusted: betas'
POSE = 'not trusted: improbable pose'
PROBABLE = 'trusted: probable pose'  # if a density is asked
TOGETHER = 'not trusted: pose without betas, or betas without pose'

load_once = functools.cache(load_density)


@dataclasses.dataclass(frozen=True)
class Filters:
    """Thresholds; None turns a filter off.

    min_confidence: 2D keypoints below it get confidence 0.
    max_beta: betas with a larger absolute value are not trusted.
    pose_density: file for `load_density`; improbable poses are not trusted.
    together: pose and betas are trusted together or not at all.
    min_keypoints: persons without more keypoints of confidence above 0 are dropped.
    max_reprojection_loss: persons whose fit is known and not below it are dropped.
    """

    min_confidence: float | None = 0.3
    max_beta: float | None = 3.0
    pose_density: str | None = None
    together: bool = True
    min_keypoints: int | None = 4
    max_reprojection_loss: float | None = 31_000.0

    def __call__(
        self, labels: dict[str, Any], reprojection_loss: float | None
    ) -> tuple[dict[str, Any] | None, list[str]]:
        """Filters a person's labels; None drops the person. Also returns what is counted."""
        acted = []
        keypoints2d = labels['keypoints2d'].copy()
        if self.min_confidence is not None:
            keypoints2d[keypoints2d[:, 2] < self.min_confidence, 2] = 0
        has_pose, has_betas = labels['has_pose'], labels['has_betas']
        if has_betas and not self._plausible(labels['betas']):
            has_betas = 0
            acted.append(BETAS)
        if has_pose and self.pose_density is not None:
            body_pose = labels['body_pose'][: skeleton.NUM_BODY_JOINTS]
            has_pose = float(is_probable(load_once(self.pose_density), body_pose))
            acted.append(PROBABLE if has_pose else POSE)
        if self.together and has_pose != has_betas:
            has_pose = has_betas = 0
            acted.append(TOGETHER)
        if self.min_keypoints is not None and (keypoints2d[:, 2] > 0).sum() <= self.min_keypoints:
            return None, [FEW_KEYPOINTS]
        if reprojection_loss is not None and not self._fitted(reprojection_loss):
            return None, [REPROJECTION]
        kept = {'keypoints2d': keypoints2d, 'has_pose': has_pose, 'has_betas': has_betas}
        return labels | kept, acted

    def _plausible(self, betas):
        return self.max_beta is None or np.abs(betas).max() <= self.max_beta

    def _fitted(self, reprojection_loss):
        return self.max_reprojection_loss is None or reprojection_loss < self.max_reprojection_loss
