"""Poses to draw people in: of motion files, or procedural ones. All in a z-up world."""

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from tokenhmr_jax import safe_pickle
from tokenhmr_jax.data import amass, motion

UPRIGHT = np.array([np.pi / 2, 0.0, 0.0], np.float32)  # y up, facing +z, to z up, facing -y
_CLIP_FRAMES, _CLIP_FPS = 8, 0.5  # of procedural motion: far apart in time


class Pose(NamedTuple):
    """One person. global_orient (3,), body_pose (21, 3): axis-angle, float32."""

    key: str
    global_orient: np.ndarray
    body_pose: np.ndarray


def procedural(
    seed: Sequence[int], count: int, kinds: Sequence[str] = tuple(motion.KINDS)
) -> Iterator[Pose]:
    """`count` poses of procedural motion, of each of `kinds` as many.

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
    """`count` of recorded frames, in random order, each as often as any other."""
    order = np.random.default_rng(seed).permutation(len(frames))
    for n in range(count):
        yield frames[order[n % len(frames)]]


def read_frames(clips: Sequence[amass.Clip], stride: int) -> tuple[list[Pose], list[str]]:
    """Every stride-th frame of motion files, and what is wrong with the files that cannot be read.

    Preprocessed files have no root: their people stand upright.
    """
    frames, skipped = [], []
    for clip in clips:
        try:
            body_pose = amass.read_body_pose(clip)
            global_orient = _read_root(clip, len(body_pose))
        except amass.BadClip as error:
            skipped.append(str(error))
            continue
        for i in range(0, len(body_pose), stride):
            # Copies: a view would keep all frames of the clip in memory.
            frames.append(Pose(f'{clip.name}:{i}', global_orient[i].copy(), body_pose[i].copy()))
    return frames, skipped


def _read_root(clip, count):
    """(N, 3) of a clip whose body poses could be read."""
    if clip.kind == 'preprocessed':
        return np.tile(UPRIGHT, (count, 1))
    if clip.path.suffix == '.pkl':
        root = np.asarray(safe_pickle.load(clip.path).get('global_orient', np.zeros((0, 3))))
    else:
        with np.load(clip.path, allow_pickle=False) as file:
            names = {'root_orient', 'poses'} & set(file.files)
            root = file['root_orient' if 'root_orient' in names else 'poses'] if names else None
            root = np.zeros((0, 3)) if root is None else root[:, :3]
    if root.shape != (count, 3) or not np.isfinite(root).all():
        raise amass.BadClip(
            f'{clip.path}: root orientation of shape {root.shape}, expected {(count, 3)}, finite'
        )
    return root.astype(np.float32)
