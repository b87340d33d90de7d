"""Files of fields of view by the frames of a source; images are named as in files of boxes."""

import pathlib

from tokenhmr_jax.inference.inputs.sources import Images, Video
from tokenhmr_jax.inference.people import boxes
from tokenhmr_jax.inference.people.persons import frames_called
from tokenhmr_jax.readers import fov_tables


class FovFile:
    """Fields of view, degrees across the width, by the frames of a source.

    nowhere: names in the file of no frame. Raises FileNotFoundError for a missing file, ValueError
    for another kind of file, wrong content, a name of several frames, or two of one frame.
    """

    def __init__(self, path: str, source: Images | Video):
        check_file(path)
        self._path, self._degrees, self.nowhere = path, {}, []
        for name, degrees, place in fov_tables.read_table(path):
            frames = frames_called(path, name, source)
            if not frames:
                self.nowhere.append(name)
            elif frames[0] in self._degrees:
                raise ValueError(f'{path}: {place}: {frames[0]} has a field of view before: '
                                 'expected one')  # fmt: skip
            else:
                self._degrees[frames[0]] = degrees

    def get(self, frame: str) -> float | None:
        """The field of view of a frame; None if the file does not name it."""
        return self._degrees.get(frame)

    def describe(self, count: int) -> str:
        """One line on the file, for `count` frames."""
        line = f'fields of view: {len(self._degrees)} of {count} in {self._path}'
        return f'{line}; of no picture or frame: {len(self.nowhere)}' if self.nowhere else line


def check_file(path: str) -> None:
    """Raises ValueError for another kind of file, FileNotFoundError for a missing one."""
    if pathlib.PurePath(path).suffix.lower() not in fov_tables.SUFFIXES:
        kinds = ', '.join(fov_tables.SUFFIXES)
        raise ValueError(f'--fov={path}: expected degrees, or a file {kinds}')
    boxes.check_file(path, 'fov', fov_tables.SUFFIXES)
