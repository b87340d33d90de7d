"""Start of the page of `view` in a headless Chromium: its file's size, and the time to a picture.

    python benchmarks/page_start.py

The page is of a video, in which mannequins move. Its picture, as wide as those of overlays, has so
much detail that it is encoded anew: no page's video is larger. The time is from the navigation to
the frame after the first that has the bodies. Processor time until then, which other programs on
the machine distort less, is that of the page's main thread, and of all processes of Chromium,
its start included; it is read as Linux shows it.
"""

import argparse
import http.server
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from tokenhmr_jax.inference import video
from tokenhmr_jax.inference.inputs import sources
from tokenhmr_jax.inference.model import Model
from tokenhmr_jax.inference.outputs import page, results, webm
from tokenhmr_jax.mannequin import motion, people

_PROGRAMS = ('chromium-headless-shell', 'chromium', 'google-chrome')
_OPTIONS = (
    '--headless=new', '--no-sandbox', '--use-angle=swiftshader', '--enable-unsafe-swiftshader',
    '--no-first-run', '--disable-dev-shm-usage', '--window-size=1400,900',
)  # fmt: skip
_SIZE, _FOCAL, _FPS = (640, 360), 600.0, 25.0
_LEVEL = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])  # from a z-up world to the camera's axes
_LONGEST = 120  # seconds until a page has started
# Tells a server when the page has drawn.
_TELL = """<script type="module">
const tell = () => { new Image().src = `http://127.0.0.1:PORT/${performance.now()}`; };
const wait = () => document.documentElement.dataset.ready
  ? requestAnimationFrame(() => requestAnimationFrame(tell)) : setTimeout(wait, 5);
wait();
</script></body>"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--frames', type=int, default=800)
    parser.add_argument('--persons', type=int, default=5, help='in each frame')
    parser.add_argument('--turns', type=int, default=5)
    options = parser.parse_args()
    program = next(filter(None, map(shutil.which, _PROGRAMS)), None)
    if program is None:
        sys.exit(f'no Chromium: expected one of {", ".join(_PROGRAMS)} on the PATH')
    with tempfile.TemporaryDirectory() as place:
        path = _make_page(pathlib.Path(place, 'result'), options.frames, options.persons)
        size = path.stat().st_size / 1e6
        turns = [_start(program, path, pathlib.Path(place, str(i))) for i in range(options.turns)]
    print(f'{options.frames} frames, {options.persons} people in each: {size:.1f} MB')
    names = 'first picture', "main thread's processor time", "Chromium's processor time"
    for name, seconds in zip(names, zip(*turns, strict=True), strict=True):
        middle, low, high = statistics.median(seconds), min(seconds), max(seconds)
        print(f'{name}: {middle:.2f} s ({low:.2f} to {high:.2f})')


def _make_page(folder: pathlib.Path, frames: int, persons: int) -> pathlib.Path:
    """The page of a result."""
    for name in ('frames', 'tracks', 'amass'):
        (folder / name).mkdir(parents=True)
    film = folder / 'overlay.webm'
    webm.write_webm(film, _pictures(frames), _FPS)
    columns = [_columns(person, persons, frames) for person in range(persons)]
    for row in range(frames):
        arrays = {name: np.stack([each[name][row] for each in columns]) for name in columns[0]}
        arrays |= {'camera_source': 'given', 'image_size': _SIZE}
        arrays |= {'index': row, 'time': row / _FPS, 'shot': 0}
        results.write_arrays(folder / 'frames' / f'{row:06d}.npz', arrays)
    model = object.__new__(Model)  # its body alone is used
    model.body = people.studio().body
    _, report = video.finish_tracks(sources.open_source(film), folder, model, False, 5)
    results.write_json(folder / 'result.json', {'request': {}, 'fps': _FPS, **report})
    return page.write_page(folder)


def _pictures(frames: int) -> Iterator[tuple[float, np.ndarray]]:
    """Noise that moves by a pixel a frame, with room for the views beside the bodies."""
    width, height = _SIZE[0] + _SIZE[1] // 2, _SIZE[1]
    noise = np.random.default_rng(0).integers(0, 256, (height // 4, width // 2, 3), np.uint8)
    wide = cv2.resize(noise, (2 * width, height), interpolation=cv2.INTER_CUBIC)
    for t in range(frames):
        left = t % width
        yield t / _FPS, wide[:, left : left + width]


def _columns(person: int, persons: int, frames: int) -> dict[str, np.ndarray]:
    """One person's arrays, a row for each frame."""
    clip = motion.generate(np.random.default_rng(person), 'dancing', frames, round(_FPS))
    pose = np.tile(np.eye(3), (frames, 23, 1, 1))
    turns = Rotation.from_rotvec(clip.body_pose.reshape(-1, 3)).as_matrix()
    pose[:, :21] = turns.reshape(frames, 21, 3, 3)
    place = (1.2 * (person - (persons - 1) / 2), 0.2, 6.0)
    rows = {
        'boxes': (0, 0, 100, 300),
        'scores': 1,
        'track_ids': person,
        'betas': np.zeros(10),
        'translation': place,
        'focal_length': _FOCAL,
        'principal_point': np.array(_SIZE) / 2,
    }
    orient = _LEVEL @ Rotation.from_rotvec(clip.global_orient).as_matrix()
    arrays = {name: np.stack([np.float32(value)] * frames) for name, value in rows.items()}
    arrays['track_ids'] = arrays['track_ids'].astype(np.int32)
    return arrays | {'body_pose': np.float32(pose), 'global_orient': np.float32(orient)}


def _start(program: str, path: pathlib.Path, profile: pathlib.Path) -> tuple[float, float, float]:
    """Seconds from the navigation to the first picture, and the processor times until then."""
    told = []

    class Listener(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            told.append((float(self.path[1:]) / 1000, *_processor_times(browser.pid)))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(('127.0.0.1', 0), Listener) as server:
        server.timeout = _LONGEST
        told_page = path.with_name('told.html')
        tell = _TELL.replace('PORT', str(server.server_port))
        told_page.write_text(path.read_text().replace('</body>', tell))
        line = [program, *_OPTIONS, f'--user-data-dir={profile}', told_page.as_uri()]
        quiet = {'stderr': subprocess.DEVNULL, 'start_new_session': True}
        with subprocess.Popen(line, **quiet) as browser:
            server.handle_request()
            browser.terminate()
    if not told:
        sys.exit(f'the page drew nothing within {_LONGEST} s')
    return told[0]


def _processor_times(session: int) -> tuple[float, float]:
    """Seconds of a browser's busiest page, its main thread alone, and of all its processes."""
    pages, everything = [0.0], 0.0
    for process in pathlib.Path('/proc').glob('[0-9]*'):
        try:
            line = (process / 'cmdline').read_bytes()
            whole = _spent(process / 'stat', session)
            main = _spent(process / 'task' / process.name / 'stat', session)
        except OSError:  # ended meanwhile
            continue
        everything += whole
        if b'--type=renderer' in line:
            pages.append(main)
    return max(pages), everything


def _spent(stat: pathlib.Path, session: int) -> float:
    """Seconds of a process or thread, by its file in /proc; 0 of another session."""
    numbers = stat.read_text().rpartition(')')[2].split()  # after the name
    ours = int(numbers[3]) == session
    return ours * sum(map(int, numbers[11:13])) / os.sysconf('SC_CLK_TCK')


if __name__ == '__main__':
    main()
