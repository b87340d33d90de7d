"""Training batches of noise."""

import ml_collections
import numpy as np

from tokenhmr_jax.types import ImageBatch


def image_batch(config: ml_collections.ConfigDict, num_sources: int) -> ImageBatch:
    """Images of noise, and labels, some untrusted, of bodies near the mean body."""
    rng = np.random.default_rng(0)
    count, side = config.batch_size, config.data.crop_size
    normal = lambda scale, *shape: rng.normal(0, scale, (count, *shape)).astype(np.float32)  # noqa: E731
    uniform = lambda *shape: rng.random((count, *shape), np.float32)  # noqa: E731
    upright = np.array([np.pi, 0, 0], np.float32)
    return ImageBatch(
        image=rng.integers(0, 256, (count, side, side, 3), np.uint8),
        color=0.8 + 0.4 * uniform(3),
        keypoints2d=np.concatenate([normal(0.2, 44, 2), uniform(44, 1)], axis=-1),
        keypoints3d=np.concatenate([normal(0.3, 44, 3), uniform(44, 1)], axis=-1),
        global_orient=upright + normal(0.2, 3),
        body_pose=normal(0.2, 23, 3),
        betas=normal(1, 10),
        gender=np.zeros(count, np.float32),
        has_pose=(uniform() > 0.3).astype(np.float32),
        has_betas=(uniform() > 0.3).astype(np.float32),
        source=rng.integers(0, num_sources, count, np.int32),
    )
