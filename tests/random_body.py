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


def smplh_arrays():
    """SMPL-H's counts: 52 joints, 459 correctives, the hands' mean poses."""
    rng = np.random.default_rng(0)
    hands = [20, 22, 23, 20, 25, 26, 20, 28, 29, 20, 31, 32, 20, 34, 35]
    parents = [
        2**32 - 1,
        *skeleton.PARENTS[1:22],
        *hands,
        *(21 if p == 20 else p + 15 for p in hands),
    ]
    weights = rng.random((6890, 52)) ** 8
    small = random_smpl(1)
    return small | {
        'posedirs': rng.normal(0, 0.002, (6890, 3, 459)),
        'weights': weights / weights.sum(1, keepdims=True),
        'J_regressor': np.concatenate(
            [small['J_regressor'], small['J_regressor'], small['J_regressor'][:4]]
        ),
        'kintree_table': np.array([parents, range(52)], np.uint32),
        'hands_meanl': rng.normal(size=45),
        'hands_meanr': rng.normal(size=45),
    }
