"""A file of SHA-256 sums beside the files of a checkpoint: what is read is what was written.

A flipped byte in an array's file would otherwise be restored as a wrong number, silently.
"""

import hashlib
import json
from collections.abc import Iterator
from concurrent import futures

from etils import epath

NAME = 'checksums.json'
# Orbax writes these last, after the sums; of the first a key, the second a line that says so.
_METADATA, _COMMITTED = '_CHECKPOINT_METADATA', 'commit_success.txt'


def write_checksums(folder: epath.Path) -> None:
    """Sum up all files below a folder that is about to become a checkpoint."""
    (folder / NAME).write_text(json.dumps(_sums(folder, ('',)), indent=1, sort_keys=True) + '\n')


def check_checksums(folder: epath.Path, parts: tuple[str, ...] = ('',)) -> None:
    """Compare a checkpoint's files, or those whose names begin as `parts` do, with their sums.

    Raises:
      ValueError: naming the first file that is missing, new or different.
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
        if path.is_dir():
            yield from _files(path)
        else:
            yield path


def _sum(path: epath.Path) -> str:
    if path.name == _METADATA:
        return _sum_of_metadata(path)
    with path.open('rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()


def _sum_of_metadata(path: epath.Path) -> str:
    """Of all but the moment of the commit, which is not yet known when sums are written."""
    content = path.read_bytes()
    try:
        known = json.loads(content)
        known.pop('commit_timestamp_nsecs', None)
        content = json.dumps(known, sort_keys=True).encode()
    except (ValueError, AttributeError):
        pass  # not what Orbax writes: the sum will differ
    return hashlib.sha256(content).hexdigest()
