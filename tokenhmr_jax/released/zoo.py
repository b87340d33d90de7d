"""The released checkpoints of TokenHMR: files, published errors, and the steps to evaluate them.

docs/released_weights.md has the commands of the steps.
"""

import dataclasses
import importlib.util
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence

from tokenhmr_jax.readers import hmr_eval
from tokenhmr_jax.readers.official_files import REGRESSOR, Finding, source_of, usable_kinds
from tokenhmr_jax.released import from_pytorch
from tokenhmr_jax.released.torch_files import read_checkpoint

PAGE = 'https://tokenhmr.is.tue.mpg.de'
TOKENIZER, PYTORCH = 'tokenizer.pth', 'PyTorch'


@dataclasses.dataclass(frozen=True)
class Released:
    """A released checkpoint.

    file: its name. download: the file that has it, on the page; perhaps an archive.
    variant: of configs/regressor.py, that it was trained by.
    errors: published PVE, MPJPE and PA-MPJPE in mm, by benchmark.
    """

    file: str
    download: str
    variant: str
    errors: Mapping[str, tuple[float, float, float]]


ZOO = {
    'paper': Released(
        'tokenhmr_paper.ckpt',
        'tokenhmr_paper.ckpt',
        'paper_config',
        {'3DPW': (84.3, 70.9, 44.8), 'EMDB': (108.5, 89.5, 55.6)},
    ),
    'release': Released(
        'tokenhmr_model.ckpt',
        'tokenhmr_model.zip',
        'release',
        {'3DPW': (84.8, 72.0, 45.5), 'EMDB': (110.0, 91.9, 56.4)},
    ),
    'demo': Released(
        'tokenhmr_model_latest.ckpt',
        'tokenhmr_model_latest.zip',
        'demo',
        {'3DPW': (85.0, 72.8, 47.1), 'EMDB': (112.2, 93.7, 58.9)},
    ),
    'bedlam': Released(
        'tokenhmr_bedlam_only.ckpt',
        'tokenhmr_bedlam_only.ckpt',
        'bedlam',
        {'3DPW': (85.7, 71.6, 44.0), 'EMDB': (106.2, 89.6, 49.8)},
    ),
}
# Files of metadata by name; the benchmark's own page has the pictures.
_METADATA = {'3dpw_test.npz': '3DPW', 'emdb.npz': 'EMDB', 'emdb_for_hmr2.npz': 'EMDB'}
_PICTURES = {
    '3DPW': 'https://virtualhumans.mpi-inf.mpg.de/3DPW, imageFiles.zip',
    'EMDB': 'https://eth-ait.github.io/emdb, all P*.zip',
}
_WEIGHTS = {TOKENIZER: 'tokenizer'} | {each.file: 'regressor' for each in ZOO.values()}
# The file of the page that has a missing one.
_DOWNLOADS = {TOKENIZER: 'data.zip'} | {each.file: each.download for each in ZOO.values()}
_DOWNLOADS |= {f'{name} metadata': 'test.tar.gz' for name in _PICTURES}


def check_released(folders: Sequence[str | os.PathLike]) -> list[Finding]:
    """Reads and checks released weights, and metadata of benchmarks with their pictures.

    Looks in folders and their subfolders. Archives that are not unpacked are named.
    """
    walked = [part for folder in folders for part in os.walk(folder)]
    places = sorted((pathlib.Path(root), names) for root, _, names in walked)
    found = []
    for root, names in places:
        for name in sorted(names):
            if name in _WEIGHTS:
                found.append(_check_weights(root / name))
            elif name in _METADATA:
                found += _check_benchmark(root / name, [place for place, _ in places])
            elif name in _DOWNLOADS.values():
                found.append(Finding(root / name, name, '', 'an archive, to be unpacked'))
    return found


def _check_weights(path: pathlib.Path) -> Finding:
    expected = _WEIGHTS[path.name]
    try:
        file = read_checkpoint(path)
        kind = from_pytorch.network_kind(file)
        if kind != expected:
            raise ValueError(f'holds a {kind}, expected a {expected}')
    except ImportError as error:
        return Finding(path, path.name, '', f'not read: {error}')
    except (ValueError, OSError) as error:
        return Finding(path, path.name, str(error).removeprefix(f'{path}: '), '')
    return Finding(path, path.name, '', f'a {kind}, {len(file.tensors)} tensors')


def _check_benchmark(path: pathlib.Path, places: Sequence[pathlib.Path]) -> Iterator[Finding]:
    """The metadata, and the folder below which its pictures lie, if one of `places` is that."""
    benchmark = _METADATA[path.name]
    try:
        rows = [hmr_eval.text(name) for name in hmr_eval.load_metadata(path)['imgname']]
        if not rows:
            raise ValueError('no rows, expected one for each person')
    except (ValueError, OSError) as error:
        problem = str(error).removeprefix(f'{path}: ')
        yield Finding(path, f'{benchmark} metadata', problem, '')
        return
    yield Finding(path, f'{benchmark} metadata', '', f'{len(rows)} persons')
    names = sorted(set(rows))
    ends = names[0], names[-1]
    folder = next((p for p in places if any((p / name).is_file() for name in ends)), None)
    if folder is None:
        return
    missing = [name for name in names if not (folder / name).is_file()]
    problem = f'{len(missing)} of {len(names)} are missing, such as {missing[0]}' if missing else ''
    yield Finding(folder, f'{benchmark} pictures', problem, f'{len(names)} pictures')


def _steps() -> dict[str, tuple[str, ...]]:
    """The needs of each step: kinds of files, or other steps."""
    steps = {f'prepare {name}': (f'{name} metadata', f'{name} pictures') for name in _PICTURES}
    for name, released in ZOO.items():
        files = released.file, TOKENIZER, 'SMPL neutral', REGRESSOR, PYTORCH
        steps[f'convert {name}'] = files
        for benchmark in released.errors:
            before = f'convert {name}', f'prepare {benchmark}'
            steps[f'evaluate {name} on {benchmark}'] = (*before, 'SMPL male', 'SMPL female')
    return steps


def missing_for_steps(found: Sequence[Finding]) -> dict[str, list[str]]:
    """The lacks of each step: files by kind, and steps that cannot be done themselves.

    `found` has body files, as of `official_files.check_files`, and those of `check_released`.
    """
    there = usable_kinds(found)
    if importlib.util.find_spec('torch'):
        there.add(PYTORCH)
    missing = {}
    for step, needs in _steps().items():  # in order: the steps that it needs come before it
        missing[step] = [need for need in needs if missing.get(need, need not in there)]
    return missing


def describe_released(bodies: Sequence[Finding], released: Sequence[Finding]) -> str:
    """The files of the release, the steps with what they lack, and where that is, as text."""
    if not released:
        return 'released weights: none (docs/released_weights.md)'
    lines = ['released files:']
    for finding in released:
        verdict = f'NOT USABLE: {finding.problem}' if finding.problem else f'ok ({finding.note})'
        lines.append(f'  {finding.claim:26}  {finding.path}  {verdict}')
    steps = missing_for_steps([*bodies, *released])
    lines.append('steps with the released weights (docs/released_weights.md has the commands):')
    for step, needs in steps.items():
        verdict = f'not yet  {step}: needs {", ".join(needs)}' if needs else f'ready    {step}'
        lines.append(f'  {verdict}{_expectation(step)}')
    kinds = dict.fromkeys(need for needs in steps.values() for need in needs if need not in steps)
    archives = {finding.claim: finding.path for finding in released}
    lines += ['missing:'] if kinds else []
    lines += [f'  {kind} ({_source(kind, archives)})' for kind in kinds]
    return '\n'.join(lines)


def _expectation(step: str) -> str:
    """Published errors, for a step that measures them."""
    verb, name, *rest = step.split()
    if verb != 'evaluate':
        return ''
    vertices, joints, aligned = ZOO[name].errors[rest[-1]]
    return f'; expect MPJPE {joints}, PA-MPJPE {aligned}, PVE {vertices} mm'


def _source(kind: str, archives: Mapping[str, pathlib.Path]) -> str:
    """The source of a kind of file. `archives`: downloads that are there, by name."""
    if kind == PYTORCH:
        return 'pip install "tokenhmr_jax[convert]"'
    if kind in _DOWNLOADS:
        download = _DOWNLOADS[kind]
        there = download != kind and download in archives
        return f'unpack {archives[download]}' if there else f'{download} of {PAGE}'
    benchmark, *rest = kind.split()
    return _PICTURES[benchmark] if rest == ['pictures'] else source_of(kind)
