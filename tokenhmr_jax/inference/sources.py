"""What to predict on: an image, a folder, a glob or a video, as a stream of frames."""

import collections
import glob
import pathlib
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any, NamedTuple

import cv2
import numpy as np

from tokenhmr_jax.inference import picture_files

VIDEO_SUFFIXES = ('.mp4', '.mov', '.avi', '.mkv', '.webm', '.m4v')
_END = object()


class Frame(NamedTuple):
    """name: what its files are called. index: its place in the source.

    image: (H, W, 3) uint8, RGB; None if it was skipped, or cannot be read: then `error` says why.
    focal_length: pixels, as the file tells it, or None.
    """

    name: str
    index: int
    image: np.ndarray | None
    focal_length: float | None = None
    error: str | None = None


class Images:
    """Picture files, in the order of their names. A file that cannot be read is a frame too.

    Raises:
      ValueError: if no names tell them apart.
    """

    fps = None

    def __init__(self, paths: list[pathlib.Path]):
        self._paths = paths
        self._names = _names(paths)
        self._known: dict[str, list[int]] = {}
        for i, path in enumerate(paths):
            for spelling in {path.name, path.stem, _number(path.stem)}:
                self._known.setdefault(spelling, []).append(i)

    def __len__(self) -> int:
        return len(self._paths)

    def frames(self, skip: Callable[[str], bool]) -> Iterator[Frame]:
        """All frames; those whose name is to be skipped are not decoded."""
        for index, (name, path) in enumerate(zip(self._names, self._paths, strict=True)):
            if skip(name):
                yield Frame(name, index, None)
                continue
            try:
                picture = picture_files.read_picture(path)
            except (FileNotFoundError, ValueError) as error:
                yield Frame(name, index, None, error=str(error))
            else:
                yield Frame(name, index, picture.image, picture.focal_length)

    def called(self, name: str) -> list[str]:
        """The names of the frames that someone may mean by `name`: one, if it is clear.

        It is a file's name, with or without the suffix, or its number without leading zeros. Any
        number of the folders it lies in stand before it.
        """
        wanted = pathlib.PurePath(name)
        for spelling in _spellings(wanted.name):
            found = self._known.get(spelling, ())
            found = [i for i in found if _lies_in(self._paths[i], wanted.parent)]
            if found:
                return [self._names[i] for i in found]
        return []


class Video:
    """A video's frames; `fps` of them in a second.

    Raises:
      ValueError: if it cannot be opened.
    """

    def __init__(self, path: pathlib.Path):
        self._path = path
        capture = self._open()
        self.fps = capture.get(cv2.CAP_PROP_FPS) or 30.0
        self._count = max(int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), 0)
        capture.release()

    def __len__(self) -> int:
        """As the file tells it: a video that breaks off has fewer."""
        return self._count

    def frames(self, skip: Callable[[str], bool]) -> Iterator[Frame]:
        """All frames; those whose name is to be skipped are not converted.

        A video that breaks off ends with a frame that says so.
        """
        capture, index = self._open(), 0
        while capture.grab():
            name = f'{index:06d}'
            if skip(name):
                yield Frame(name, index, None)
            else:
                readable, image = capture.retrieve()
                if not readable:
                    break
                yield Frame(name, index, cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
            index += 1
        capture.release()
        if index < self._count:
            error = f'{self._path}: ends after {index} of {self._count} frames'
            yield Frame('end', index, None, error=error)

    def called(self, name: str) -> list[str]:
        """As of `Images`; a frame is called by its number, with leading zeros and suffix or not."""
        number = _spellings(pathlib.PurePath(name).name)[-1]
        return [f'{int(number):06d}'] if number.isdecimal() else []

    def _open(self) -> cv2.VideoCapture:
        capture = cv2.VideoCapture(str(self._path))
        if not capture.isOpened():
            raise ValueError(f'{self._path}: cannot be opened as a video')
        return capture


def _names(paths: list[pathlib.Path]) -> list[str]:
    """What frames are called: files' names without the suffix.

    Of equal ones the suffix stays, and as many folders as tell them apart.
    """
    names = [path.stem for path in paths]
    parts = [path.absolute().parts[1:] for path in paths]
    for depth in range(1, max(map(len, parts)) + 1):
        counts = collections.Counter(names)
        if len(counts) == len(names):
            return names
        names = [
            name if counts[name] == 1 else '_'.join(part[-depth:])
            for name, part in zip(names, parts, strict=True)
        ]
    [(name, count)] = collections.Counter(names).most_common(1)
    if count > 1:
        raise ValueError(f'{count} pictures would be called {name}: expected different names')
    return names


def _spellings(name: str) -> tuple[str, str, str]:
    """000139.jpg as 000139.jpg, 000139 and 139."""
    suffix = pathlib.PurePath(name).suffix
    stem = name.removesuffix(suffix) if suffix.lower() in picture_files.SUFFIXES else name
    return name, stem, _number(stem)


def _number(stem: str) -> str:
    return str(int(stem)) if stem.isdecimal() else stem


def _lies_in(path: pathlib.Path, folder: pathlib.PurePath) -> bool:
    """Whether a folder, given by its path or the last parts of it, is that of a file."""
    count = len(folder.parts)
    return not count or path.absolute().parent.parts[-count:] == folder.parts


def open_source(path: str) -> Images | Video:
    """Open an image, a folder of images, a glob of them, or a video.

    Raises:
      FileNotFoundError: if there is nothing.
      ValueError: if it is neither, or a video that cannot be opened.
    """
    place = pathlib.Path(path)
    if place.is_dir():
        found = sorted(p for p in place.iterdir() if p.suffix.lower() in picture_files.SUFFIXES)
        if not found:
            raise FileNotFoundError(
                f'{path}: no images; expected {", ".join(picture_files.SUFFIXES)}'
            )
        return Images(found)
    if place.is_file():
        if place.suffix.lower() in VIDEO_SUFFIXES:
            return Video(place)
        return Images([place])
    found = sorted(pathlib.Path(p) for p in glob.glob(path, recursive=True))
    if not found:
        raise FileNotFoundError(f'{path}: no such image, folder, video, or files of that pattern')
    return Images(found)


def ahead(items: Iterator[Any], count: int = 4) -> Iterator[Any]:
    """The same items, made in a thread, up to `count` of them before they are asked for."""
    with futures.ThreadPoolExecutor(1) as pool:
        waiting = collections.deque(pool.submit(next, items, _END) for _ in range(count))
        while (item := waiting.popleft().result()) is not _END:
            waiting.append(pool.submit(next, items, _END))
            yield item
