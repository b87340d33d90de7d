"""Streams of frames from an image, a folder, a glob or a video."""

import collections
import functools
import glob
import hashlib
import itertools
import os
import pathlib
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

from tokenhmr_jax.inference.inputs import digests, folders, picture_files, shots, video_files
from tokenhmr_jax.readers import listing

_END = object()
_DECODING = 4  # pictures at once, each whole in memory
_LONGEST_NAME = 200  # bytes; files of a result add theirs to a name, and systems allow 255


class Frame(NamedTuple):
    """One image of a source, and the name of its files in a result.

    image: RGB; None if it was skipped, or cannot be read: then `error` says why.
    focal_length: of the file's EXIF data, pixels, or None.
    focal_note, note: as in `Picture`.
    time: seconds from the video's first frame; None for pictures.
    shot: the number of the video's shot, from 0: shots are between hard cuts.
    """

    name: str
    index: int
    image: UInt8[np.ndarray, 'H W 3'] | None
    focal_length: float | None = None
    error: str | None = None
    focal_note: str | None = None
    note: str | None = None
    time: float | None = None
    shot: int = 0


class Images:
    """Picture files, in the order given. Unreadable files are frames with an error.

    notes: lines on files that are no frames, and on names that had to be cut.
    Raises ValueError for files that no name tells apart.
    """

    fps = None

    def __init__(self, paths: list[pathlib.Path], notes: Sequence[str] = ()):
        self._paths, names, self._known = paths, _names(paths), {}
        self.names = [_cut(name) for name in names]
        cut = [new for new, old in zip(self.names, names, strict=True) if new != old]
        self.notes = [*notes, *(f'a long name is cut: its files are called {new}' for new in cut)]
        self._places = dict(zip(self.names, paths, strict=True))
        for i, path in enumerate(paths):
            for spelling in {path.name, path.stem, _number(path.stem)}:
                self._known.setdefault(spelling, []).append(i)

    def __len__(self) -> int:
        return len(self._paths)

    def frames(self, skip: Callable[[str], bool]) -> Iterator[Frame]:
        """All frames; those whose name is skipped are not decoded. Some are decoded at once."""
        places = enumerate(zip(self.names, self._paths, strict=True))
        calls = (
            functools.partial(Frame, name, index, None)
            if skip(name)
            else functools.partial(_read_frame, name, index, path)
            for index, (name, path) in places
        )
        yield from _in_threads(calls, _DECODING)

    def digest(self, name: str) -> str:
        """The digest of a frame's file. Raises OSError for one that cannot be read."""
        return digests.file_digest(self._places[name])

    def called(self, name: str) -> list[str]:
        """The names of the frames that `name` may stand for: one, unless it is ambiguous.

        `name` is a file's name, with or without its suffix, or its number without leading zeros.
        Any of the file's folders may precede it.
        """
        wanted = pathlib.PurePath(name)
        for spelling in _spellings(wanted.name):
            found = self._known.get(spelling, ())
            if found := [i for i in found if _lies_in(self._paths[i], wanted.parent)]:
                return [self.names[i] for i in found]
        return []


class Video:
    """The frames of a video, or of an animated picture.

    fps: the nominal rate. Frames have times of their own.
    Raises ValueError for a file of something else.
    """

    notes = ()

    def __init__(self, path: str | os.PathLike):
        self._path, self._file = path, video_files.open_video(path)
        self.fps = self._file.fps

    def __len__(self) -> int:
        """An estimate, from the file's header."""
        return self._file.count

    def frames(self, skip: Callable[[str], bool]) -> Iterator[Frame]:
        """All frames; those whose name is skipped are not converted.

        A damaged or truncated video ends with a frame that holds the error.
        """
        index, errors = -1, []
        found, ahead = itertools.tee(_until_error(self._file.decode(), errors))
        numbers = shots.number_shots(frame.small(*shots.SIZE) for frame in ahead)
        for index, (frame, shot) in enumerate(zip(found, numbers, strict=False)):
            name = f'{index:06d}'
            image = None if skip(name) else frame.rgb()
            yield Frame(name, index, image, time=frame.time, shot=shot)
        if errors:
            yield Frame('end', index + 1, None, error=errors[0])

    def digest(self, name: str) -> str:
        """The digest of the whole video, of which each frame is made."""
        return self._digest

    @functools.cached_property
    def _digest(self) -> str:
        return digests.file_digest(self._path)

    def called(self, name: str) -> list[str]:
        """As in `Images`; `name` is the frame's number, leading zeros and suffix optional.

        The video's own name and `_` may precede it, as OpenPose names its files.
        """
        name = pathlib.PurePath(name).name.removeprefix(f'{pathlib.PurePath(self._path).stem}_')
        number = _spellings(name)[-1]
        return [f'{int(number):06d}'] if number.isdecimal() else []


def _until_error(items: Iterator[Any], errors: list[str]) -> Iterator[Any]:
    """The same items; a ValueError ends them, and is added to the errors."""
    try:
        yield from items
    except ValueError as error:
        errors.append(str(error))


def _names(paths: list[pathlib.Path]) -> list[str]:
    """Files' names without suffix; equal ones keep it, and the folders that tell them apart."""
    names = [path.stem for path in paths]
    parts = [path.absolute().parts[1:] for path in paths]
    for depth in range(1, max(map(len, parts)) + 1):
        counts = collections.Counter(names)
        if len(counts) == len(names):
            return names
        pairs = zip(names, parts, strict=True)
        names = [n if counts[n] == 1 else '_'.join(part[-depth:]) for n, part in pairs]
    [(name, count)] = collections.Counter(names).most_common(1)
    if count > 1:
        raise ValueError(f'{count} pictures would be called {name}: expected different names')
    return names


def _cut(name: str) -> str:
    """A name that fits with what files add to it; cut ones end in a digest of the whole."""
    whole = os.fsencode(name)
    if len(whole) <= _LONGEST_NAME:
        return name
    digest = hashlib.sha256(whole).hexdigest()[:8]
    return f'{whole[: _LONGEST_NAME - 9].decode("utf-8", "ignore")}_{digest}'


def _spellings(name: str) -> tuple[str, str, str]:
    """For example 000139.jpg, 000139 and 139. Spreadsheets write a number as 139.0."""
    suffix = pathlib.PurePath(name).suffix
    stem = name.removesuffix(suffix) if suffix.lower() in picture_files.SUFFIXES else name
    return name, stem, _number(re.sub(r'^(\d+)\.0+$', r'\1', stem))


def _number(stem: str) -> str:
    return str(int(stem)) if stem.isdecimal() else stem


def _lies_in(path: pathlib.Path, folder: pathlib.PurePath) -> bool:
    """Whether a file's folder ends in the parts of `folder`."""
    count = len(folder.parts)
    return not count or path.absolute().parent.parts[-count:] == folder.parts


def open_source(path: str | os.PathLike, recursive: bool = False) -> Images | Video:
    """Opens an image, a folder of images, also with those in it, a glob of images, or a video.

    Raises FileNotFoundError if there are no images, ValueError for a video that cannot be opened.
    """
    place = pathlib.Path(path)
    if place.is_file():
        return Video(place) if video_files.is_video(place) else Images([place])
    if place.is_dir():
        found = listing.find_files(place, '*')
    else:
        found = sorted(pathlib.Path(p) for p in glob.glob(str(path), recursive=True))
        if not found:
            raise FileNotFoundError(
                f'{path}: no such image, folder, video, or files of that pattern'
            )
        if len(found) == 1:
            return open_source(found[0], recursive)
    files, lines = folders.files_of(found, recursive)
    pictures, others = folders.pictures_of(files)
    if not pictures:
        raise FileNotFoundError(
            f'{path}: no pictures in it; {"; ".join(others + lines) or "empty"}'
        )
    return Images(pictures, [f'{path}: {line}' for line in others + lines])


def ahead(items: Iterator[Any], count: int = 4) -> Iterator[Any]:
    """The same items, computed up to `count` ahead in a thread."""
    calls = itertools.repeat(functools.partial(next, items, _END))
    yield from itertools.takewhile(lambda item: item is not _END, _in_threads(calls, 1, count))


def _in_threads(
    calls: Iterator[Callable[[], Any]], threads: int, count: int | None = None
) -> Iterator[Any]:
    """Results of the calls, in order, made up to `count` ahead; by default one per thread."""
    pool = futures.ThreadPoolExecutor(threads)
    try:
        waiting = collections.deque(map(pool.submit, itertools.islice(calls, count or threads)))
        while waiting:
            result = waiting.popleft().result()
            waiting.extend(map(pool.submit, itertools.islice(calls, 1)))
            yield result
    finally:
        pool.shutdown(cancel_futures=True)


def _read_frame(name: str, index: int, path: pathlib.Path) -> Frame:
    try:
        picture = picture_files.read_picture(path)
    except (FileNotFoundError, ValueError) as error:
        return Frame(name, index, None, error=str(error))
    focal = {'focal_length': picture.focal_length, 'focal_note': picture.focal_note}
    return Frame(name, index, picture.image, **focal, note=picture.note)
