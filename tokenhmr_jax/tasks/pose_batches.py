"""Batches of the tasks that learn from poses alone."""

import jax
import ml_collections
import numpy as np

from tokenhmr_jax.body import skeleton
from tokenhmr_jax.types import PoseBatch


class PoseBatches:
    """The part of a `Task` that makes its batches of records of poses."""

    config: ml_collections.FrozenConfigDict

    @property
    def train_transform(self) -> None:
        """None: records are taken as they are."""

    @property
    def eval_transform(self) -> None:
        """None: records are taken as they are."""

    def batch(self, columns: dict[str, np.ndarray]) -> PoseBatch:
        """The part of a batch of records that goes to the devices."""
        return PoseBatch(body_pose=columns['body_pose'])

    def batch_shapes(self) -> PoseBatch:
        """A training batch as `jax.ShapeDtypeStruct`s."""
        shape = (self.config.batch_size, skeleton.NUM_BODY_JOINTS, 3)
        return PoseBatch(body_pose=jax.ShapeDtypeStruct(shape, np.float32))
