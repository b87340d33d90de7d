"""Official body files: search by name, check of their content, and tasks that lack some."""

import dataclasses
import hashlib
import os
import pathlib
import re
from collections.abc import Sequence

import numpy as np

from tokenhmr_jax.body import skeleton
from tokenhmr_jax.models.regressor import load_mean
from tokenhmr_jax.readers import labels, listing, pickles, smpl_files

REGRESSOR, MEAN = 'J19 regressor', 'mean parameters'
TOGETHER = 'SMPL_MALE, SMPL_FEMALE in one folder, SMPL_to_J19 there or above'
_GENDERS = {'n': 'neutral', 'm': 'male', 'f': 'female'}
_GENDER = '(neutral|male|female)'
# The kind of file by its path, in lower case.
_NAMES = {
    rf'.*/smpl_{_GENDER}\.(pkl|npz)': 'SMPL',
    r'.*/basicmodel_(neutral|m|f)_lbs_10_207_0_v1\.\d\.0\.pkl': 'SMPL',
    rf'.*/smplh_{_GENDER}\.(pkl|npz)': 'SMPL-H',
    rf'.*/{_GENDER}/model\.npz': 'SMPL-H',
    r'.*/smpl_to_j19\.(pkl|npy)': REGRESSOR,
    r'.*/smpl_mean_params\.npz': MEAN,
}
_JOINTS = {'SMPL': 24, 'SMPL-H': 52}
_SOURCES = {
    'SMPL': 'https://smpl.is.tue.mpg.de',
    'SMPL-H': 'https://mano.is.tue.mpg.de, "extended SMPL+H model"; see docs/train_tokenizer.md',
    REGRESSOR: "SMPL_to_J19.pkl, with the PyTorch release's data",
    MEAN: "smpl_mean_params.npz, with the PyTorch release's data",
    TOGETHER: 'official files under these names, for --smpl_dir of datasets/hmr_eval',
}
TASKS = {
    'everything on the mannequin (variant=quickstart)': (),
    'the tokenizer (configs/tokenizer.py)': ('SMPL-H neutral',),
    'the regressor (configs/regressor.py), converting and predicting': ('SMPL neutral', REGRESSOR),
    'the regressor from scratch, as published (config.model.body_mean)': (
        'SMPL neutral', REGRESSOR, MEAN,
    ),
    'evaluation on 3DPW and EMDB': (
        'SMPL neutral', 'SMPL male', 'SMPL female', REGRESSOR, TOGETHER,
    ),
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Finding:
    """A body file. claim: its kind by its name, such as 'SMPL male'. note: its content, in words.

    problem: why it is not of that kind, or ''.
    """

    path: pathlib.Path
    claim: str
    problem: str
    note: str


def check_files(folders: Sequence[str | os.PathLike]) -> list[Finding]:
    """Reads and checks every body file in folders and their subfolders.

    Raises FileNotFoundError if a folder is missing.
    """
    found, seen = [], {}
    for folder in map(pathlib.Path, folders):
        if not folder.is_dir():
            raise FileNotFoundError(f'{folder}: no such folder')
        for path in listing.find_files(folder, '**/*'):
            if path.is_file() and (claim := _claim(path)):
                found.append(_check(path, claim, seen))
    return found


def missing_files(found: Sequence[Finding]) -> dict[str, list[str]]:
    """Files that each of `TASKS` still needs."""
    there = usable_kinds(found)
    if _in_one_folder(found):
        there.add(TOGETHER)
    return {task: [need for need in needs if need not in there] for task, needs in TASKS.items()}


def usable_kinds(found: Sequence[Finding]) -> set[str]:
    """Kinds of the files that can be used; a neutral body may bring the regressor."""
    there = {finding.claim for finding in found if not finding.problem}
    brought = any(f.claim == 'SMPL neutral' and REGRESSOR in f.note for f in found)
    return there | {REGRESSOR} if brought else there


def source_of(kind: str) -> str:
    """The place that a kind of body file comes from."""
    return _SOURCES[kind if kind in _SOURCES else kind.split()[0]]


def describe_findings(found: Sequence[Finding]) -> str:
    """The files, and the tasks with their missing files, as text."""
    lines = ['files:']
    for finding in found:
        verdict = f'NOT USABLE: {finding.problem}' if finding.problem else f'ok ({finding.note})'
        lines.append(f'  {finding.claim:15}  {finding.path}  {verdict}')
    lines += ['tasks:'] if found else ['  none', 'tasks:']
    for task, needs in missing_files(found).items():
        lines.append(f'  {"ready" if not needs else "not yet":7}  {task}')
        for need in needs:
            lines.append(f'           missing: {need} ({source_of(need)})')
    return '\n'.join(lines)


def _in_one_folder(found: Sequence[Finding]) -> bool:
    """Whether a folder has all files that dataset builders read from their --smpl_dir."""
    good = {finding.path.resolve(): finding for finding in found if not finding.problem}
    for folder in {path.parent for path in good}:
        try:
            files = [labels.body_files(str(folder), gender) for gender in ('male', 'female')]
        except FileNotFoundError:
            continue
        if all(
            body in good and (extra in good if extra else REGRESSOR in good[body].note)
            for body, extra in files
        ):
            return True
    return False


def _claim(path: pathlib.Path) -> str | None:
    name = path.absolute().as_posix().lower()
    for pattern, kind in _NAMES.items():
        if match := re.fullmatch(pattern, name):
            return f'{kind} {_GENDERS[match[1][0]]}' if kind in _JOINTS else kind
    return None


def _check(path: pathlib.Path, claim: str, seen: dict[str, pathlib.Path]) -> Finding:
    """Reads a file. `seen` maps digests of the bodies so far to their files."""
    try:
        if claim == REGRESSOR:
            note = _describe_regressor(path)
        elif claim == MEAN:
            load_mean(path)
            note = '24 joints in 6D, 10 betas, camera'
        else:
            note = _describe_body(path, claim, seen)
    except Exception as error:  # a broken file fails in any way, and must not hide the others
        problem = str(error).removeprefix(f'{path}: ') or type(error).__name__
        return Finding(path, claim, problem, '')
    return Finding(path, claim, '', note)


def _describe_regressor(path: pathlib.Path) -> str:
    content = (
        np.load(path, allow_pickle=False) if path.suffix == '.npy' else pickles.load_pickle(path)
    )
    content = content.toarray() if hasattr(content, 'toarray') else np.asarray(content)
    shape = (len(skeleton.EXTRA), skeleton.NUM_VERTICES)
    if content.shape != shape or not np.isfinite(content).all():
        raise ValueError(f'{content.shape}, expected {shape} finite numbers')
    return f'{shape[0]} keypoints from {shape[1]} vertices'


def _describe_body(path: pathlib.Path, claim: str, seen: dict[str, pathlib.Path]) -> str:
    body = smpl_files.load_body_file(path)
    kind = claim.split()[0]
    if body.num_joints != _JOINTS[kind]:
        raise ValueError(f'{body.num_joints} joints, expected the {_JOINTS[kind]} of {kind}')
    digest = hashlib.sha256(np.asarray(body.template)).hexdigest()
    other = seen.setdefault(digest, path)
    if other != path and _claim(other) != claim:
        raise ValueError(f'the same body as {other}, which claims to be {_claim(other)}')
    parts = [f'{body.num_joints} joints', f'{len(body.shape_dirs)} shapes']
    parts += [REGRESSOR] if body.extra_regressor is not None else []
    if kind == 'SMPL-H':
        parts += ['mean hands' if body.hand_mean is not None else "without MANO's mean hands"]
    return ', '.join(parts)
