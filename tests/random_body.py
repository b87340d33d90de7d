"""A body model of random numbers in SMPL's shape: what the reference numbers were computed with."""

import numpy as np

from tokenhmr_jax.body import skeleton

NUM_VERTICES = skeleton.NUM_VERTICES


def random_smpl(seed: int) -> dict[str, np.ndarray]:
    """SMPL's own key names; the order of draws is part of the reference."""
    rng = np.random.default_rng(seed)
    template = rng.normal(0, 1, (NUM_VERTICES, 3)) * [0.25, 0.5, 0.15]
    weights = rng.random((NUM_VERTICES, 24)) ** 8
    regressor = _random_regressor(rng, 24)
    extra = _random_regressor(rng, 19)
    faces = [rng.choice(NUM_VERTICES, 3, replace=False) for _ in range(200)]
    parents = [2**32 - 1, *skeleton.PARENTS[1:]]
    return {
        'v_template': template,
        'shapedirs': rng.normal(0, 0.01, (NUM_VERTICES, 3, 10)),
        'posedirs': rng.normal(0, 0.002, (NUM_VERTICES, 3, 207)),
        'weights': weights / weights.sum(axis=1, keepdims=True),
        'J_regressor': regressor,
        'f': np.stack(faces).astype(np.uint32),
        'kintree_table': np.array([parents, range(24)], np.uint32),
        'joint_regressor_extra': extra,
    }


def _random_regressor(rng: np.random.Generator, rows: int) -> np.ndarray:
    regressor = np.zeros((rows, NUM_VERTICES))
    for row in regressor:
        chosen = rng.choice(NUM_VERTICES, 20, replace=False)
        row[chosen] = rng.random(20)
    return regressor / regressor.sum(axis=1, keepdims=True)
