"""Samples of WebDataset tars, read without extracting, with checks of every member.

A sample is a run of members that share their name up to the first dot: `a/b.jpg` and `a/b.data.pyd`
are the parts `jpg` and `data.pyd` of the sample `a/b`. Dot files, which macOS packs beside others,
are not read.
"""

import os
import tarfile
from collections.abc import Collection, Iterator, Mapping
from pathlib import PurePosixPath

from tokenhmr_jax.readers.listing import is_hidden
from tokenhmr_jax.readers.pickles import parse_pickle

# Largest part: a picture, or the labels of all persons in it.
MAX_BYTES = 64 * 2**20
# Parts of a sample of 4D-Humans' and TokenHMR's tars.
PARTS = ('jpg', 'jpeg', 'png', 'data.pyd')


def samples(
    path: str | os.PathLike, parts: Collection[str]
) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Reads an uncompressed tar, one sample in memory at a time: its name, and the parts asked for.

    Raises FileNotFoundError if there is no such file, and ValueError if it is no tar, is truncated
    or broken, or a member has a path out of the archive, is no plain file, or has more than
    `MAX_BYTES`; the samples before it have been yielded.
    """
    current, found = None, {}
    try:
        # 'r:' is a tar without compression: what it holds is no larger than itself.
        with tarfile.open(path, 'r:') as tar:
            for member in tar:
                if member.isdir() or is_hidden(member.name):
                    continue
                sample, part = _split_name(member)
                if sample != current:
                    if found:
                        yield current, found
                    current, found = sample, {}
                if part in parts:
                    found[part] = _read(tar, member)
            if found:
                yield current, found
            _check_end(tar)
    except (ValueError, tarfile.TarError, EOFError) as error:
        raise ValueError(f'{path}: {error}') from error


def _split_name(member: tarfile.TarInfo) -> tuple[str, str]:
    path = PurePosixPath(member.name)
    if path.is_absolute() or '..' in path.parts:
        raise ValueError(f'refused: the member {member.name!r} leads out of the archive')
    if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
        raise ValueError(f'refused: the member {member.name!r} is no plain file')
    stem, _, part = path.name.partition('.')
    return str(path.with_name(stem)), part


def _read(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    if member.size > MAX_BYTES:
        given = f'the member {member.name!r} has {member.size} bytes'
        raise ValueError(f'refused: {given}, at most {MAX_BYTES}')
    return tar.extractfile(member).read()


def _check_end(tar: tarfile.TarFile) -> None:
    """Checks for the final empty blocks: tarfile takes a broken header for the end of the tar."""
    tar.fileobj.seek(tar.offset)
    if tar.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise ValueError(f'truncated or broken at byte {tar.offset}')


def split_sample(name: str, parts: Mapping[str, bytes]) -> tuple[bytes, list[dict]]:
    """The encoded picture of a sample, and its persons.

    Raises ValueError if a part is missing, or the persons are not dictionaries.
    """
    picture = next((parts[p] for p in ('jpg', 'jpeg', 'png') if p in parts), None)
    if picture is None or 'data.pyd' not in parts:
        raise ValueError(f'{name}: has {sorted(parts)}, expected a picture and data.pyd')
    persons = parse_pickle(parts['data.pyd'], f'{name}.data.pyd')
    if not isinstance(persons, list) or not all(isinstance(p, dict) for p in persons):
        raise ValueError(f'{name}.data.pyd: expected a list of dictionaries, one for each person')
    return picture, persons
