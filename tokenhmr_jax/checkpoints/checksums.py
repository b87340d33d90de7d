"""SHA-256 sums of a checkpoint's files, so that no flipped byte is read as a wrong number."""

import contextlib
import hashlib
import json
from collections.abc import Iterator
from concurrent import futures

from etils import epath

NAME = 'checksums.json'
# Orbax writes a key of the first and a line of the second after the sums.
_METADATA, _COMMITTED = '_CHECKPOINT_METADATA', 'commit_success.txt'


def write_checksums(folder: epath.Path) -> None:
    """Writes the sums of all files below a folder that is about to become a checkpoint."""
    (folder / NAME).write_text(json.dumps(_sums(folder, ('',)), indent=1, sort_keys=True) + '\n')


def check_checksums(folder: epath.Path, parts: tuple[str, ...] = ('',)) -> None:
    """Compares a checkpoint's files, or those whose names begin with `parts`, with their sums.

    Raises ValueError, naming the first file that is missing, new or different.
    """
    try:
        written = json.loads((folder / NAME).read_text())
        expected = {name: each for name, each in written.items() if name.startswith(parts)}
    except (OSError, ValueError, AttributeError) as error:
        raise ValueError(f'{folder / NAME}: no sums of the files can be read') from error
    found = _sums(folder, parts)
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            what = 'is missing' if name not in found else 'is not what was written'
            raise ValueError(f'{folder / name} {what}: its SHA-256 differs from that in {NAME}')
    committed = folder / _COMMITTED
    if not committed.exists() or b'successful' not in committed.read_bytes():
        raise ValueError(f'{committed} does not say that the checkpoint is complete')


def _sums(folder: epath.Path, parts: tuple[str, ...]) -> dict[str, str]:
    names = [path.relative_to(folder).as_posix() for path in _files(folder)]
    names = [name for name in names if name.startswith(parts) and name not in (NAME, _COMMITTED)]
    files = [folder / name for name in names]
    with futures.ThreadPoolExecutor() as pool:
        return dict(zip(names, pool.map(_sum, files), strict=True))


def _files(folder: epath.Path) -> Iterator[epath.Path]:
    for path in folder.iterdir():
        yield from _files(path) if path.is_dir() else (path,)


def _sum(path: epath.Path) -> str:
    if path.name == _METADATA:
        return _sum_of_metadata(path)
    with path.open('rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()


def _sum_of_metadata(path: epath.Path) -> str:
    """The sum without the time of the commit, which is not known when sums are written."""
    content = path.read_bytes()
    with contextlib.suppress(ValueError, AttributeError):  # for a broken file the sum differs
        known = json.loads(content)
        known.pop('commit_timestamp_nsecs', None)
        content = json.dumps(known, sort_keys=True).encode()
    return hashlib.sha256(content).hexdigest()
