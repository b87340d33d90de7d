"""Pictures of a folder or a glob, and words on all that is left out."""

import os
import pathlib
from collections.abc import Iterable, Iterator

from tokenhmr_jax import cli
from tokenhmr_jax.inference import picture_files, video_files
from tokenhmr_jax.readers import listing

# Files that lie beside pictures, and are none of them.
_SIDECARS = (
    '.aae', '.csv', '.db', '.html', '.ini', '.json', '.log', '.md', '.npy', '.npz', '.pkl', '.thm',
    '.tsv', '.txt', '.xml', '.xmp', '.yaml', '.yml',
)  # fmt: skip
_SYSTEMS_OWN = ('__MACOSX', '@eaDir')  # folders of copies and small versions
_NAMED = 4  # names in a line


def files_of(folder: str | os.PathLike, recursive: bool) -> tuple[list[pathlib.Path], list[str]]:
    """Files of a folder, or of all folders in it; and a line on folders that are not read.

    Hidden ones are left out, and folders of results.
    """
    files, folders = [], []
    for at in _folders(pathlib.Path(folder), set()) if recursive else [pathlib.Path(folder)]:
        inside = listing.find_files(at, '*')
        files += [path for path in inside if path.is_file()]
        folders += [path for path in inside if _is_entered(path)]
    if recursive or not folders:
        return files, []
    return files, [f'{_counted(folders, "folder")} not read: expected --recursive']


def pictures_of(files: Iterable[pathlib.Path]) -> tuple[list[pathlib.Path], list[str]]:
    """The pictures among files, by suffix or content; and lines on the others, by what they are."""
    pictures, others = [], {}
    for path in files:
        suffix = path.suffix.lower()
        if reason := picture_files.not_readable(path):
            others.setdefault(('picture', reason), []).append(path)
        elif suffix in picture_files.SUFFIXES:
            pictures.append(path)
        elif suffix in video_files.SUFFIXES:
            others.setdefault(('video', 'expected each as an input of its own'), []).append(path)
        elif suffix in _SIDECARS:
            continue
        elif picture_files.is_picture(path):
            pictures.append(path)
        else:
            others.setdefault(('file', 'no pictures'), []).append(path)
    lines = [f'{_counted(paths, kind)} left out: {why}' for (kind, why), paths in others.items()]
    return pictures, lines


def _folders(folder: pathlib.Path, seen: set[pathlib.Path]) -> Iterator[pathlib.Path]:
    """A folder and all in it, each once: links may lead back."""
    if (real := folder.resolve()) not in seen:
        seen.add(real)
        yield folder
        for path in listing.find_files(folder, '*'):
            if _is_entered(path):
                yield from _folders(path, seen)


def _is_entered(path: pathlib.Path) -> bool:
    """Whether a path is a folder that may hold pictures of the user's."""
    is_result = (path / 'result.json').exists() and (path / 'frames').exists()
    return path.is_dir() and path.name not in _SYSTEMS_OWN and not is_result


def _counted(paths: list[pathlib.Path], kind: str) -> str:
    """For example '2 videos (a.mp4, b.mov)'."""
    names = ', '.join(cli.one_line(path.name) for path in paths[:_NAMED])
    more = ', ...' if len(paths) > _NAMED else ''
    return f'{len(paths)} {kind}{"s" if len(paths) > 1 else ""} ({names}{more})'
