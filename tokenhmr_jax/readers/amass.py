"""Motion files for stage 1: AMASS, MOYO, and the original release's preprocessed files.

A *source* is a motion capture collection (CMU, KIT, ...), by its name in TokenHMR's supplement. A
*clip* is one of its files.
"""

import collections
import hashlib
import math
import os
import re
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from tokenhmr_jax.mannequin import poses
from tokenhmr_jax.readers import listing, pickles

# The published division (supplement).
TRAIN = (
    'CMU', 'KIT', 'BMLrub', 'DanceDB', 'BMLmovi', 'EyesJapan', 'BMLhandball', 'TotalCapture',
    'EKUT', 'ACCAD', 'TCDHands', 'MPI_Limits', 'MOYO',
)  # fmt: skip
VALIDATION = ('HumanEva', 'HDM05', 'SFU', 'MPI_Mosh')
TEST = ('Transitions', 'SSM')
# Other spellings of folders and files. Case and punctuation do not count.
SPELLINGS = {
    'BioMotionLab_NTroje': 'BMLrub', 'Eyes_Japan_Dataset': 'EyesJapan', 'MPI_HDM05': 'HDM05',
    'PosePrior': 'MPI_Limits', 'MoSh': 'MPI_Mosh', 'SSM_synced': 'SSM', 'TCD_handMocap': 'TCDHands',
    'Transitions_mocap': 'Transitions',
}  # fmt: skip

_POSE_WIDTHS = (72, 156, 165)  # SMPL, SMPL-H, SMPL-X: the root, then the body's 21 joints
_PREPROCESSED = re.compile(r'(train|val|test)_(.+)\.npz')
# Endings of motion files. Of the files of a sequence, that of the first ending is taken. They are
# MOYO's SMPL fits, which the original trains on; AMASS's SMPL-H and SMPL-X; MOYO's SMPL-X fits.
_ENDINGS = ('_stageii_smpl.pkl', '_poses.npz', '_stageii.npz', '_stageii.pkl', '.pkl')


def _plain(name):
    return re.sub(r'[^a-z0-9]', '', name.lower())


_CANONICAL = {_plain(name): name for name in TRAIN + VALIDATION + TEST}
_CANONICAL |= {_plain(other): name for other, name in SPELLINGS.items()}


class BadClip(ValueError):
    """A motion file that cannot be read; the message names it and the reason."""


class Clip(NamedTuple):
    """One file. kind: 'amass', 'moyo' or 'preprocessed'; part: '', 'train', 'val' or 'test'.

    Files of AMASS have no part: a subject's folder may have any name.
    """

    source: str
    name: str
    path: Path
    kind: str
    part: str


def canonical_name(folder: str) -> str:
    """The source's name for a folder's name; unknown folders keep theirs, as a valid split name."""
    return _CANONICAL.get(_plain(folder)) or re.sub(r'[^\w-]+', '_', folder)


def find_clips(root: str | os.PathLike) -> dict[str, list[Clip]]:
    """All motion files below a folder, by source, sorted by name.

    Each folder in `root` is a source. Files directly in `root` are a source named after it, and a
    `root` with the name of a known source is that source. Of several files of a sequence (SMPL,
    SMPL-H and SMPL-X variants), one is taken. Raises FileNotFoundError if there is no such folder,
    or no motion file in it.
    """
    root = Path(root).expanduser().resolve()
    if not root.is_dir():
        raise FileNotFoundError(f'{root}: no such folder')
    clips = {}
    for path in listing.find_files(root, '**/*'):
        clip = _clip(root, path)
        if clip is not None:
            clips.setdefault(_sequence(clip), []).append(clip)
    if not clips:
        raise FileNotFoundError(
            f'{root}: no motion files: expected <dataset>/<subject>/<sequence>_poses.npz or '
            '*_stageii.npz (AMASS), MOYO/*.pkl, or {train,val,test}_<NAME>.npz'
        )
    by_source = {}
    for variants in clips.values():
        clip = min(variants, key=_preference)
        by_source.setdefault(clip.source, []).append(clip)
    return dict(sorted(by_source.items()))


def _clip(root: Path, path: Path) -> Clip | None:
    """The clip in a file, or None if the file is no motion."""
    parts = path.relative_to(root).parts
    if _plain(root.name) in _CANONICAL or len(parts) == 1:
        source = canonical_name(root.name)
    else:
        source, parts = canonical_name(parts[0]), parts[1:]
    if path.name.startswith('neutral_') or path.name.endswith('_stagei.npz'):
        return None
    ending = _ending(path)
    if ending and (path.suffix == '.npz' or source == 'MOYO'):
        kind, part = 'amass', ''
        if source == 'MOYO':
            kind, part = 'moyo', 'val' if 'val' in parts[:-1] else 'train'
        name = '/'.join([source, *parts[:-1], path.name.removesuffix(ending)])
        return Clip(source, name, path, kind, part)
    if match := _PREPROCESSED.fullmatch(path.name):
        source = canonical_name(match[2])
        return Clip(source, f'{source}/{match[1]}', path, 'preprocessed', match[1])
    return None


def _ending(path: Path) -> str:
    return next((ending for ending in _ENDINGS if path.name.endswith(ending)), '')


def _preference(clip: Clip) -> int:
    """Place among the files of a sequence, 0 for the one to take."""
    ending = _ending(clip.path)
    return _ENDINGS.index(ending) if ending else 0


def _sequence(clip: Clip) -> tuple[str, ...]:
    """The identity of a sequence. MOYO keeps its variants in folders of their own."""
    if clip.kind == 'moyo':
        return clip.source, clip.part, clip.name.rsplit('/', 1)[-1]
    return (clip.name,)


def read_body_pose(clip: Clip) -> Float[np.ndarray, 'N 21 3']:
    """Reads the axis-angle rotations of SMPL joints 1 to 21, float32, N > 0.

    Raises BadClip if the file is truncated, or its poses are missing, of a wrong width or not
    finite.
    """
    try:
        pose = _read_moyo(clip.path) if clip.path.suffix == '.pkl' else _read_npz(clip.path)
    except BadClip:
        raise
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        reason = str(error).removeprefix(f'{clip.path}: ')
        raise BadClip(f'{clip.path}: not readable ({reason})') from error
    if not len(pose):
        raise BadClip(f'{clip.path}: no frames')
    pose = pose.astype(np.float32)
    if not np.isfinite(pose).all():
        raise BadClip(f'{clip.path}: {np.sum(~np.isfinite(pose))} values are not finite')
    return pose.reshape(-1, 21, 3)


def _read_npz(path):
    with np.load(path, allow_pickle=False) as file:
        if 'pose_body' in file:
            return _columns(path, 'pose_body', file['pose_body'], (63,), 0)
        if 'poses' in file:
            return _columns(path, 'poses', file['poses'], _POSE_WIDTHS, 3)
        raise BadClip(f'{path}: neither `poses` nor `pose_body` among its keys {sorted(file)}')


def _read_moyo(path):
    content = pickles.load_pickle(path)
    if isinstance(content, dict) and 'body_pose' in content:
        pose = np.asarray(content['body_pose'])
        widths = range(63, pose.shape[-1] + 1) if pose.ndim else ()
        return _columns(path, 'body_pose', pose, widths, 0)
    if isinstance(content, dict) and 'fullpose' in content:
        return _columns(path, 'fullpose', np.asarray(content['fullpose']), _POSE_WIDTHS, 3)
    raise BadClip(f'{path}: neither `body_pose` nor `fullpose`')


def _columns(path, key, pose, widths, start):
    if pose.ndim != 2 or pose.shape[1] not in widths or pose.dtype.kind != 'f':
        expected = ' or '.join(map(str, widths)) or 'at least 63'
        raise BadClip(
            f'{path}: `{key}` is {pose.dtype} {pose.shape}, expected float (N, {expected})'
        )
    return pose[:, start : start + 63]


def middle_frames(count: int, stride: int, middle: float) -> range:
    """Every `stride`-th frame of the middle share of `count` frames."""
    start = round(count * (1 - middle) / 2)
    return range(start, count - start, stride)


def family(name: str) -> str:
    """The name of a clip's performance, without take and side.

    Copies (`walk_mirror`), takes (`walk02`) and twins (`turn_left`, `turn_right`) share a family.
    """
    words = re.split(r'[^a-z]+', name.rsplit('/', 1)[-1].lower())
    return '_'.join(w for w in words if w and w not in ('mirror', 'mirrored', 'left', 'right'))


def hold_out(clips: Sequence[Clip], pattern: str, fraction: float) -> set[str]:
    """Names of the clips of one source to hold out: those that match a regular expression.

    Without a pattern, a fraction of the families is held out, chosen by hashes of their names. A
    family with more than this fraction of the source's bytes stays.
    """
    if pattern:
        return {clip.name for clip in clips if re.search(pattern, clip.name)}
    sizes = collections.Counter()
    for clip in clips:
        sizes[family(clip.name)] += clip.path.stat().st_size
    small = [name for name in sizes if sizes[name] <= fraction * sizes.total()]
    small.sort(key=lambda name: hashlib.sha256(name.encode()).digest())
    chosen = small[: math.ceil(fraction * len(sizes))]
    return {clip.name for clip in clips if family(clip.name) in chosen}


def read_frames(clips: Sequence[Clip], stride: int) -> tuple[list[poses.Pose], list[str]]:
    """Every stride-th frame of motion files, and errors of the files that cannot be read.

    Preprocessed files have no root orientation: their people stand upright.
    """
    frames, skipped = [], []
    for clip in clips:
        try:
            body_pose = read_body_pose(clip)
            global_orient = read_root(clip, len(body_pose))
        except BadClip as error:
            skipped.append(str(error))
            continue
        for i in range(0, len(body_pose), stride):
            # A view would keep all frames of the clip in memory.
            pose = global_orient[i].copy(), body_pose[i].copy()
            frames.append(poses.Pose(f'{clip.name}:{i}', *pose))
    return frames, skipped


def read_root(clip: Clip, count: int) -> Float[np.ndarray, 'N 3']:
    """Reads the root orientations of a clip of `count` frames: axis-angle, a z-up world, float32.

    Files without any stand upright. Raises BadClip for another shape, or values not finite.
    """
    root = None
    if clip.path.suffix == '.pkl':
        content = pickles.load_pickle(clip.path)
        root = content.get('global_orient')
        if root is None and 'fullpose' in content:
            root = np.asarray(content['fullpose'])[:, :3]
    elif clip.kind != 'preprocessed':
        with np.load(clip.path, allow_pickle=False) as file:
            names = [name for name in ('root_orient', 'poses') if name in file]
            root = file[names[0]][:, :3] if names else None
    if root is None:
        return np.tile(poses.UPRIGHT, (count, 1))
    root = np.asarray(root)
    if root.shape != (count, 3) or not np.isfinite(root).all():
        raise BadClip(
            f'{clip.path}: root orientation of shape {root.shape}, expected {(count, 3)}, finite'
        )
    return root.astype(np.float32)
