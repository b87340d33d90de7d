"""The web page of a result, which needs no network and no other file."""

import base64
import html
import itertools
import json
import os
import pathlib
import re
from collections.abc import Iterator

import cv2
import numpy as np

from tokenhmr_jax import cli
from tokenhmr_jax.inference import overlays, results
from tokenhmr_jax.inference.video_files import VideoFile

_TEMPLATE = pathlib.Path(__file__).parent / 'page.html'
_LONGEST = 720  # pixels of a picture in the page
_MOST_FRAMES, _MOST_PEOPLE = 1000, 300  # the page must still open


def write_page(result: str | os.PathLike) -> pathlib.Path:
    """Writes view.html into a result's folder; returns its path. Raises as `page`."""
    text, path = page(result), pathlib.Path(result).resolve() / 'view.html'
    with cli.whole_file(path) as partial:
        partial.write_text(text)
    print(f'wrote {path}, {len(text) / 1e6:.1f} MB')
    return path


def page(result: str | os.PathLike) -> str:
    """The HTML of a result: pictures with bodies, bodies in 3D, a timeline, switches of persons.

    Raises FileNotFoundError for a folder without a result, overlays or GLB files, and ValueError
    for a result.json of something else.
    """
    folder = pathlib.Path(result)
    if not (folder / 'result.json').exists():
        raise FileNotFoundError(f'{result}: no result.json; expected a result of predict')
    summary = results.read_json(folder / 'result.json')
    fps = summary.get('fps')
    frames = _first(_MOST_FRAMES, 'frames', _video_frames(folder) if fps else _image_frames(folder))
    if not frames:
        raise FileNotFoundError(f'{result}: no overlays; expected a finished run with --overlays')
    people = _video_people(folder, len(frames)) if fps else _image_people(folder, frames)
    people = _first(_MOST_PEOPLE, 'persons', people)
    content = json.dumps({'fps': fps, 'frames': frames, 'people': people})
    # No name may end the script that holds the data, or begin another.
    parts = {
        'TITLE': html.escape(cli.one_line(folder.resolve().name)),
        'DATA': content.replace('<', r'\u003c'),
    }
    return re.sub('TITLE|DATA', lambda found: parts[found[0]], _TEMPLATE.read_text())


def _first(most: int, what: str, items: Iterator[dict]) -> list[dict]:
    """The first items, and a printed line if there are more."""
    kept = list(itertools.islice(items, most))
    if next(items, None) is not None:
        print(f'the page shows the first {most} {what} and leaves out the others')
    return kept


def _image_frames(folder: pathlib.Path) -> Iterator[dict]:
    overlays_of = folder / 'overlays'
    for path in sorted(set(overlays_of.glob('*.jpg')) - set(overlays_of.glob('.*.partial.jpg'))):
        image = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
        yield {'name': path.stem, 'image': _jpeg(image)}


def _image_people(folder: pathlib.Path, frames: list[dict]) -> Iterator[dict]:
    for first, frame in enumerate(frames):
        count = len(results.read_arrays(folder / 'frames' / f'{frame["name"]}.npz')['boxes'])
        for row in range(count):
            glb = folder / 'meshes' / f'{frame["name"]}_{row}.glb'
            yield _person(glb, f'{frame["name"]} {row}', row, first, 1)


def _video_frames(folder: pathlib.Path) -> Iterator[dict]:
    if (folder / 'overlay.webm').exists():
        for index, frame in enumerate(VideoFile(folder / 'overlay.webm').decode()):
            image = _jpeg(frame.rgb()[..., ::-1])
            yield {'name': f'frame {index}', 'image': image, 'time': frame.time}


def _video_people(folder: pathlib.Path, frames: int) -> Iterator[dict]:
    """Persons of the first frames."""
    for path in results.track_paths(folder):
        index, track = results.read_arrays(path)['index'], int(path.stem)
        count = int(index[-1] - index[0] + 1)
        if index[0] < frames:
            yield _person(path.with_suffix('.glb'), f'person {track}', track, int(index[0]), count)


def _person(glb: pathlib.Path, label: str, number: int, first: int, count: int) -> dict:
    if not glb.exists():
        raise FileNotFoundError(f'{glb} is missing: expected a result with --meshes=glb')
    return {
        'label': label,
        'color': overlays.COLORS[number % len(overlays.COLORS)],
        'first': first,
        'count': count,
        'glb': base64.b64encode(glb.read_bytes()).decode(),
    }


def _jpeg(image: np.ndarray) -> str:
    scale = min(_LONGEST / max(image.shape[:2]), 1.0)
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    _, data = cv2.imencode('.jpg', small, [cv2.IMWRITE_JPEG_QUALITY, 80])
    return 'data:image/jpeg;base64,' + base64.b64encode(data).decode()
