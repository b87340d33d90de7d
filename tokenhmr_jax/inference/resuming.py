"""Results that go on: frames of a folder that still hold, and those that are made again.

The file of each frame has digests of what made it, `made_of`; it holds as long as they stay the
same. result.json has its summary while the files are as it says, and loses it before the first of
them changes: a run that ends in between is seen by the next one.
"""

import collections
import itertools
import json
import pathlib
import re
import shutil
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from tokenhmr_jax.config import config_differences
from tokenhmr_jax.inference.outputs import meshes, results
from tokenhmr_jax.inference.summary import listed
from tokenhmr_jax.training import workdir

VERSION = 2  # of a result's files
_FOLDERS = ('frames', 'meshes', 'scenes', 'overlays', 'tracks', 'amass')
_PARTIAL = re.compile(r'\..*\.[0-9a-f]{8}\.partial(\..*)?')  # as `cli.whole_file` names them
_WHAT = {
    'picture': 'the file has changed', 'persons': 'its persons have changed',
    'model': 'the network has changed', 'camera': 'its field of view in --fov has changed',
    'files': 'files of its bodies were removed',
}  # fmt: skip


class Origin(NamedTuple):
    """Digests of what makes a frame: picture or video, source of its persons, model and camera.

    camera: what a file says of it; empty without a file.
    """

    picture: str
    persons: str
    model: str
    camera: str


class OpenResult:
    """A result's folder during a run, which alone writes there.

    `origin` tells what makes a frame, by its name; it may raise OSError. Raises ValueError for a
    folder of something else, of another request or of another version.

    finished: the content of result.json, if the result is finished and no file has changed.
    again: names of frames that no longer hold, by what changed: fields of `Origin`, or `files`.
    """

    def __init__(self, folder: pathlib.Path, request: dict, origin: Callable[[str], Origin]):
        self.again: dict[str, list[str]] = collections.defaultdict(list)
        self.folder, self._place = folder, folder / 'result.json'
        self._find_origin, self._origins = origin, {}
        self._begun = {'version': VERSION, 'request': request}
        self.finished = self._open()
        self._held: dict[str, dict[str, np.ndarray]] = {}
        self._seen: set[str] = set()
        _remove_partial(folder)
        for name in _FOLDERS:
            (folder / name).mkdir(exist_ok=True)

    def _open(self) -> dict | None:
        """The content of result.json, None if the result is not finished."""
        folder = self.folder
        if not self._place.exists():
            names = (path.name for path in folder.iterdir())
            if any(name != workdir.LOCK and not _PARTIAL.fullmatch(name) for name in names):
                raise ValueError(
                    f'{folder} is not empty, and holds no result: expected another --out'
                )
            results.write_json(self._place, self._begun)
            return None
        found = results.read_json(self._place)
        if found.get('version') != VERSION:
            raise ValueError(
                f'{folder} holds a result of another version of this program: expected another '
                '--out'
            )
        if changed := config_differences(found['request'], self._begun['request']):
            raise ValueError(
                f'{folder} holds another result: {"; ".join(changed)}: expected another --out'
            )
        whole = found.keys() > self._begun.keys()
        return found if whole and _all_there(self._files_of_tracks(found)) else None

    def path(self, name: str) -> pathlib.Path:
        """The file of a frame."""
        return self.folder / 'frames' / f'{name}.npz'

    def origin(self, name: str) -> Origin:
        """The origin of a frame at the time when `holds` was asked."""
        return self._origins[name]

    def holds(self, name: str) -> bool:
        """Whether a frame's files are what this run would make; `take` gives its arrays."""
        self._seen.add(name)
        try:
            self._origins[name] = now = self._find_origin(name)
            found = results.read_arrays(self.path(name))
            before = Origin(*found['made_of'].tolist())
        except (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile):
            return False  # no file of it or a broken one, or a picture that cannot be read
        changed = [what for what in Origin._fields if getattr(now, what) != getattr(before, what)]
        if not changed and not _all_there(self._drawn(name, found)):
            changed = ['files']
        for what in changed:
            self.again[what].append(name)
        if not changed:
            self._held[name] = found
        return not changed

    def _drawn(self, name: str, arrays: Mapping[str, np.ndarray]) -> Iterator[pathlib.Path]:
        """The files of a picture beside its arrays; a video's frame has none."""
        if np.isfinite(arrays['time']):
            return
        request, count = self._begun['request'], len(arrays['boxes'])
        for suffix in request['meshes']:
            yield from (self.folder / 'meshes' / f'{name}_{row}.{suffix}' for row in range(count))
        if count and 'glb' in request['meshes']:
            yield self.folder / 'scenes' / f'{name}.glb'
        if request['overlays']:
            yield self.folder / 'overlays' / f'{name}.jpg'

    def _files_of_tracks(self, summary: dict) -> Iterator[pathlib.Path]:
        """The files of a video's tracks, and of all of them."""
        tracks = summary.get('tracks', {})
        for number in tracks:
            for suffix in ('npz', 'glb', 'bvh'):
                yield self.folder / 'tracks' / f'{number}.{suffix}'
            yield self.folder / 'amass' / f'{number}_poses.npz'
        if tracks:
            yield self.folder / 'scene.glb'
        if summary['fps'] and summary['frames'] and self._begun['request']['overlays']:
            yield self.folder / 'overlay.webm'

    def take(self, name: str) -> dict[str, np.ndarray]:
        """The arrays of a frame that holds, once."""
        return self._held.pop(name)

    def amend(
        self, name: str, arrays: dict[str, np.ndarray], changes: Mapping[str, ArrayLike]
    ) -> dict[str, np.ndarray]:
        """The arrays of a frame with some of them changed, in its file as well."""
        if all(np.array_equal(arrays[key], value) for key, value in changes.items()):
            return arrays
        arrays = arrays | {key: np.asarray(value) for key, value in changes.items()}
        self.begin_change()
        results.write_arrays(self.path(name), arrays)
        return arrays

    def describe_changes(self) -> None:
        """Prints which frames are predicted again, and why, or that none is."""
        if self.finished is not None:
            print('all is there already: nothing has changed')
        for what, names in self.again.items():
            print(f'predicted again, as {_WHAT[what]} since: {listed(names)}')

    def begin_change(self) -> None:
        """Marks the result as unfinished; to be called before any of its files changes."""
        if self.finished is not None:
            results.write_json(self._place, self._begun)
        self.finished = None

    def remove(self, name: str) -> None:
        """Removes the files of a frame, if there are any."""
        if self.path(name).exists():
            self.begin_change()
            self.path(name).unlink()  # first: without it the frame is not done
            self.clear(name)

    def clear(self, name: str) -> None:
        """Removes what is drawn of a picture's persons, who may be fewer than before."""
        (self.folder / 'overlays' / f'{name}.jpg').unlink(missing_ok=True)
        (self.folder / 'scenes' / f'{name}.glb').unlink(missing_ok=True)
        for row in itertools.count():
            stem = f'{name}_{row}'
            paths = [self.folder / 'meshes' / f'{stem}.{suffix}' for suffix in meshes.FORMATS]
            found = [path for path in paths if path.exists()]
            if not found:
                return
            for path in found:
                path.unlink()

    def others(self) -> list[str]:
        """Names of frames that this run has not met: of pictures or video frames that are gone."""
        return [p.stem for p in results.frame_paths(self.folder) if p.stem not in self._seen]

    def clear_tracks(self) -> pathlib.Path:
        """The folder of a result whose tracks are to be made anew; old ones are removed."""
        self.begin_change()
        for name in ('tracks', 'amass'):
            shutil.rmtree(self.folder / name)
            (self.folder / name).mkdir()
        for name in ('scene.glb', 'overlay.webm', 'motion.gif'):
            (self.folder / name).unlink(missing_ok=True)
        return self.folder

    def finish(self, summary: dict, seconds: Mapping[str, float]) -> dict:
        """Writes result.json, unless it says the same already; returns its content."""
        summary = json.loads(json.dumps(self._begun | _without_seconds(summary)))
        if self.finished is None or _without_seconds(self.finished) != summary:
            results.write_json(self._place, summary | {'seconds': dict(seconds)})
        return results.read_json(self._place)


def _all_there(paths: Iterable[pathlib.Path]) -> bool:
    return all(path.exists() for path in paths)


def _without_seconds(content: dict) -> dict:
    return {key: value for key, value in content.items() if key != 'seconds'}


def _remove_partial(folder: pathlib.Path) -> None:
    """Removes files that a killed run left half-written."""
    for place in (folder, *(folder / name for name in _FOLDERS)):
        for path in place.glob('.*.partial*'):
            if _PARTIAL.fullmatch(path.name):
                path.unlink()
