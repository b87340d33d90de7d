"""Pictures of a folder or a glob, and words on all that is left out."""

import pathlib
from collections.abc import Iterable, Iterator

from tokenhmr_jax import cli
from tokenhmr_jax.inference.inputs import animations, picture_files, video_files
from tokenhmr_jax.readers import listing

# Files that lie beside pictures, and are none of them.
_SIDECARS = (
    '.aae', '.csv', '.db', '.html', '.ini', '.json', '.log', '.md', '.npy', '.npz', '.pkl', '.thm',
    '.tsv', '.txt', '.xml', '.xmp', '.yaml', '.yml',
)  # fmt: skip
_SYSTEMS_OWN = ('__MACOSX', '@eaDir')  # folders of copies and small versions
_NAMED = 20  # names in a line


def files_of(
    paths: Iterable[pathlib.Path], recursive: bool
) -> tuple[list[pathlib.Path], list[str]]:
    """The files among paths, or also those of all folders among them.

    Also returns lines on folders that are not read, and on broken links. Folders of results are
    passed over.
    """
    paths = list(paths)
    if recursive:
        return list(_walk(paths, {path.parent.resolve() for path in paths})), _on_links(paths)
    folders = [path for path in paths if _is_entered(path)]
    lines = [f'{_counted(folders, "folder")} not read: expected --recursive'] if folders else []
    return [path for path in paths if path.is_file()], lines + _on_links(paths)


def pictures_of(files: Iterable[pathlib.Path]) -> tuple[list[pathlib.Path], list[str]]:
    """The pictures among files, by suffix or content; and lines on the others, by what they are."""
    pictures, others = [], {}
    for path in files:
        suffix = path.suffix.lower()
        if reason := picture_files.not_readable(path):
            others.setdefault(('picture', reason), []).append(path)
        elif suffix in video_files.SUFFIXES or (
            suffix in animations.SUFFIXES and animations.is_animation(path)
        ):
            others.setdefault(('video', 'expected each as an input of its own'), []).append(path)
        elif suffix in picture_files.SUFFIXES:
            pictures.append(path)
        elif suffix in _SIDECARS:
            continue
        elif picture_files.is_picture(path):
            pictures.append(path)
        else:
            others.setdefault(('file', 'no pictures'), []).append(path)
    lines = [f'{_counted(paths, kind)} left out: {why}' for (kind, why), paths in others.items()]
    return pictures, lines


def _on_links(paths: list[pathlib.Path]) -> list[str]:
    """A line on links that lead nowhere, or none."""
    broken = [path for path in paths if not path.exists()]
    return [f'{_counted(broken, "link")} left out: nothing is there'] if broken else []


def _walk(paths: list[pathlib.Path], seen: set[pathlib.Path]) -> Iterator[pathlib.Path]:
    """The files, then those of folders, each folder once: links may lead back."""
    yield from (path for path in paths if path.is_file())
    for path in filter(_is_entered, paths):
        if (real := path.resolve()) not in seen:
            seen.add(real)
            yield from _walk(listing.find_files(path, '*'), seen)


def _is_entered(path: pathlib.Path) -> bool:
    """Whether a path is a folder that may hold pictures of the user's."""
    is_result = (path / 'result.json').exists() and (path / 'frames').exists()
    return path.is_dir() and path.name not in _SYSTEMS_OWN and not is_result


def _counted(paths: list[pathlib.Path], kind: str) -> str:
    """For example '2 videos (a.mp4, b.mov)'."""
    names = ', '.join(cli.one_line(path.name) for path in paths[:_NAMED])
    more = ', ...' if len(paths) > _NAMED else ''
    return f'{cli.counted(len(paths), kind)} ({names}{more})'
