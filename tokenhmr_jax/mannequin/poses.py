"""Poses of drawn people, from motion files or procedural motion, in a z-up world."""

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from tokenhmr_jax.mannequin import motion

UPRIGHT = np.array([np.pi / 2, 0.0, 0.0], np.float32)  # y up, facing +z, to z up, facing -y
_CLIP_FRAMES, _CLIP_FPS = 8, 0.5  # of procedural motion: far apart in time


class Pose(NamedTuple):
    """One person's pose: axis-angle, float32."""

    key: str
    global_orient: Float[np.ndarray, '3']
    body_pose: Float[np.ndarray, '21 3']


def procedural(
    seed: Sequence[int], count: int, kinds: Sequence[str] = tuple(motion.KINDS)
) -> Iterator[Pose]:
    """Yields `count` poses of procedural motion, equally many of each kind.

    Another `seed` gives other clips, a larger `count` more of them.
    """
    for n in itertools.count():
        kind = kinds[n % len(kinds)]
        clip = motion.generate(np.random.default_rng((*seed, n)), kind, _CLIP_FRAMES, _CLIP_FPS)
        for frame in range(min(_CLIP_FRAMES, count - n * _CLIP_FRAMES)):
            key = f'procedural/{kind}/{"-".join(map(str, seed))}-{n:06d}:{frame}'
            yield Pose(key, clip.global_orient[frame], clip.body_pose[frame])
        if (n + 1) * _CLIP_FRAMES >= count:
            return


def recorded(frames: Sequence[Pose], seed: Sequence[int], count: int) -> Iterator[Pose]:
    """Yields `count` recorded frames in random order, each equally often."""
    order = np.random.default_rng(seed).permutation(len(frames))
    for n in range(count):
        yield frames[order[n % len(frames)]]
