"""Prediction from pictures and videos to the files of a result."""

import collections
import contextlib
import dataclasses
import os
import pathlib
import time
from collections.abc import Iterator
from concurrent import futures
from typing import NamedTuple

import numpy as np
import tqdm

from tokenhmr_jax import cli
from tokenhmr_jax.config import config_differences
from tokenhmr_jax.drawing import draw
from tokenhmr_jax.inference import (
    cameras,
    finders,
    gltf,
    meshes,
    overlays,
    results,
    scene,
    smoothing,
    sources,
)
from tokenhmr_jax.inference.batching import FrameJob, predict_batches
from tokenhmr_jax.inference.model import Model, load
from tokenhmr_jax.inference.persons import Listed, Persons
from tokenhmr_jax.inference.refinement import RefinementReport
from tokenhmr_jax.inference.tracks import Tracker
from tokenhmr_jax.inference.video import finish_video

_WAITING_WRITES = 8


class PredictSettings(NamedTuple):
    """Settings of a prediction; the command's flags explain each."""

    boxes: str = 'detect'
    keypoints: str | None = None
    detector_weights: str | None = None
    focal_length: float | None = None
    fov: float | None = None
    camera_guess: str = 'diagonal'
    batch_size: int = 16
    meshes: tuple[str, ...] = ('glb',)
    overlays: bool = True
    all_probs: bool = False
    smoothing: str = 'zero_lag'
    shortest_track: int = 5
    refine: bool | None = None

    def check(self) -> None:
        """Raises ValueError for settings that cannot be served; also as `check_finder`."""
        finders.check_finder(self.boxes, self.keypoints)
        cameras.check_camera(self.focal_length, self.fov, self.camera_guess)
        if self.batch_size < 1 or self.batch_size & (self.batch_size - 1):
            raise ValueError(f'batch_size={self.batch_size}: expected a power of two')
        unknown = set(self.meshes) - set(meshes.FORMATS)
        if unknown:
            raise ValueError(f'meshes={sorted(unknown)}: expected some of {meshes.FORMATS}')
        if self.smoothing not in smoothing.FILTERS:
            raise ValueError(f'smoothing={self.smoothing!r}: expected one of {smoothing.FILTERS}')
        if self.shortest_track < 1:
            raise ValueError(f'shortest_track={self.shortest_track}: expected frames, at least 1')


def predict_with_checkpoint(
    checkpoint: str, step: str, path: str, out: str, settings: PredictSettings
) -> None:
    """Predicts with a checkpoint as in `predict`, and prints a report.

    A wrong source or setting raises its error before the checkpoint is read.
    """
    settings.check()
    sources.open_source(path)
    with cli.large_arrays_given_back():
        model = load(checkpoint, step)
    _report(predict(model, path, out, settings), out)


def predict(
    model: Model, path: str | os.PathLike, out: str | os.PathLike, settings: PredictSettings
) -> dict:
    """Predicts on an image, folder, glob or video; returns the content of its result.json.

    Unreadable frames are reported, and the others written. A result begun in `out` with the same
    arguments is continued. Raises FileNotFoundError, ImportError or ValueError for a wrong source
    or setting, or an `out` that holds another result.
    """
    settings.check()
    source, folder, start = sources.open_source(path), pathlib.Path(out), time.perf_counter()
    find, description = finders.make_finder(
        settings.boxes, settings.keypoints, source, settings.detector_weights
    )
    _check_readable(model, settings)
    print(description, flush=True)
    request = {'input': str(path), 'model': model.name} | settings._asdict()
    request['meshes'] = list(settings.meshes)
    _begin(folder, request)
    clock, failed, totals = Clock(), {}, _Totals()
    _predict_frames(model, source, find, folder, settings, clock, failed, totals)
    done = {path.stem for path in results.frame_paths(folder)}
    listed = isinstance(find, Listed)
    summary = {
        'request': request,
        'frames': len(done),
        'persons_in_this_run': totals.persons,
        'boxes_of_no_frame': find.unused(done | failed.keys()) if listed else 0,
        'failed': failed,
        'persons_without_keypoints': totals.unread,
        'cameras': dict(totals.cameras),
        'refinement': totals.refinement(),
        'fps': source.fps,
    }
    if source.fps:
        with clock('tracks'):
            smooth = settings.smoothing != 'none'
            summary |= finish_video(
                source, folder, model, smooth, settings.overlays, settings.shortest_track
            )
    summary['seconds'] = {'all': time.perf_counter() - start} | dict(clock.seconds)
    results.write_json(folder / 'result.json', summary)
    return summary


@dataclasses.dataclass
class _Totals:
    """Counts over all frames of this run, and refinements."""

    persons: int = 0
    unread: int = 0
    cameras: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    moves: list[RefinementReport] = dataclasses.field(default_factory=list)

    def add(self, job: FrameJob) -> None:
        self.persons += len(job.persons)
        self.cameras[job.camera.source] += 1
        self.moves += job.moves

    def refinement(self) -> dict[str, float] | None:
        """Medians over persons; None without refinement."""
        if not self.moves:
            return None
        columns = zip(RefinementReport._fields, zip(*self.moves, strict=True), strict=True)
        medians = {name: float(np.nanmedian(values)) for name, values in columns}
        return medians | {'changed': float(np.mean([move.changed for move in self.moves]))}


def _check_readable(model: Model, settings: PredictSettings) -> None:
    """Raises ValueError for a network that reads keypoints, and boxes without any."""
    known = settings.keypoints is not None or settings.boxes in finders.DETECT
    if not known and not model.reads_image:
        raise ValueError(
            f'--boxes={settings.boxes}: {model.name} reads 2D keypoints, no pictures: expected '
            '--keypoints, or a detector'
        )


class Clock:
    """Seconds spent in each stage, over all threads."""

    def __init__(self):
        self.seconds = collections.Counter()

    @contextlib.contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] += time.perf_counter() - start

    def timed(self, items: Iterator, stage: str) -> Iterator:
        """The same items; waiting for them is the stage's time."""
        while True:
            with self(stage):
                item = next(items, None)
            if item is None:
                return
            yield item


def _begin(folder: pathlib.Path, request: dict) -> None:
    """Makes the result's folders; refuses a folder of another request."""
    place = folder / 'result.json'
    if place.exists():
        if changed := config_differences(results.read_json(place)['request'], request):
            raise ValueError(f'{folder} holds another result: {"; ".join(changed)}')
    elif folder.exists() and any(folder.iterdir()):
        raise ValueError(f'{folder} is not empty, and holds no result: expected another --out')
    folder.mkdir(parents=True, exist_ok=True)
    results.write_json(place, {'request': request})
    for name in ('frames', 'meshes', 'scenes', 'overlays', 'tracks'):
        (folder / name).mkdir(exist_ok=True)


def _predict_frames(model, source, find, folder, settings, clock, failed, totals) -> None:
    """Writes the frames that remain.

    Decoding and finding, the network, and writing run beside each other.
    """
    writes = collections.deque()
    refine = model.reads_prompts if settings.refine is None else settings.refine
    bar = tqdm.tqdm(total=len(source), unit='frame', disable=None)
    with futures.ThreadPoolExecutor(2) as pool, bar:
        jobs = _jobs(source, find, folder, settings, clock, bar, failed)
        jobs = (_readable(model, job, totals) for job in jobs)
        jobs = clock.timed(sources.ahead(jobs), 'wait')
        jobs = predict_batches(model, jobs, settings.batch_size, refine)
        for job in clock.timed(jobs, 'network'):
            totals.add(job)
            writes.append(pool.submit(_write, job, folder, model, settings, source.fps, clock))
            if len(writes) > _WAITING_WRITES:
                writes.popleft().result()
            bar.update()
        for write in writes:
            write.result()
    clock.seconds['network'] -= clock.seconds.pop('wait')


def _readable(model: Model, job: FrameJob, totals: _Totals) -> FrameJob:
    """The job without persons of whom the network can read nothing."""
    if not model.reads_image:
        seen = (job.found.keypoints2d[..., 2] > 0).any(axis=1)
        totals.unread += int((~seen).sum())
        job.found = Persons(*(field[seen] for field in job.found))
    return job


def _jobs(source, find, folder, settings, clock, bar, failed) -> Iterator[FrameJob]:
    """The frames that remain, with their persons found and tracked."""
    path_of = lambda name: folder / 'frames' / f'{name}.npz'  # noqa: E731
    tracker = Tracker()
    for frame in clock.timed(source.frames(lambda name: path_of(name).exists()), 'decode'):
        if frame.image is None:
            bar.update()
            if frame.error:
                failed[frame.name] = frame.error
                bar.write(f'left out: {frame.error}')
            elif source.fps:  # the tracker must have seen all frames before the next one
                tracker.update(results.read_arrays(path_of(frame.name))['boxes'])
            continue
        with clock('detect'):
            found = find(frame)
        if (found.track_ids < 0).any():
            ids = tracker.update(found.boxes) if source.fps else np.arange(len(found.boxes))
            found = found._replace(track_ids=ids.astype(np.int32))
        camera = cameras.frame_camera(
            frame, settings.focal_length, settings.fov, settings.camera_guess
        )
        yield FrameJob(frame, found, camera)


def _write(job, folder, model, settings, fps, clock) -> None:
    """Writes a frame's files. Its arrays come last: they mark it as done."""
    with clock('write'):
        frame, prediction = job.frame, job.prediction
        arrays = {} if prediction is None else results.person_arrays(prediction, settings.all_probs)
        if job.refinement is not None:
            arrays |= {f'refinement_{k}': v for k, v in job.refinement._asdict().items()}
        if not fps:
            _write_bodies(job, prediction, folder, model, settings)
        height, width = frame.image.shape[:2]
        found = job.found._asdict()
        found['given_keypoints2d'] = found.pop('keypoints2d')
        arrays |= found | {
            'camera_source': job.camera.source,
            'image_size': (width, height),
            'index': frame.index,
            'time': frame.index / fps if fps else np.nan,
        }
        results.write_arrays(folder / 'frames' / f'{frame.name}.npz', arrays)


def _write_bodies(job, prediction, folder, model, settings) -> None:
    """Writes meshes, scene and overlay of an image."""
    frame, ids, vertices = job.frame, job.found.track_ids, np.zeros((0, 0, 3))
    if prediction is not None:
        vertices = prediction.vertices + prediction.translation[:, None]
    for row, body in enumerate(vertices):
        for suffix in settings.meshes:
            meshes.write_mesh(folder / 'meshes' / f'{frame.name}_{row}.{suffix}', body, model.faces)
    focal, size = job.camera.focal_length, frame.image.shape[1::-1]
    middle = np.array(size) / 2
    if len(vertices) and 'glb' in settings.meshes:
        lens = gltf.Lens(focal, middle, size)
        path = folder / 'scenes' / f'{frame.name}.glb'
        scene.write_picture_scene(path, vertices, model.faces, ids, lens)
    if settings.overlays:
        sheet = overlays.overlay_sheet(frame.image, vertices, model.faces, ids, focal, middle)
        draw.write_image(folder / 'overlays' / f'{frame.name}.jpg', sheet)


def _report(summary: dict, out: str) -> None:
    """Prints cameras, persons, tracks and seconds."""
    for source, count in summary['cameras'].items():
        print(f'camera of {count} frames: {source}')
    print(f'persons found in this run: {summary["persons_in_this_run"]}')
    if summary['persons_without_keypoints']:
        print(f'persons without keypoints, left out: {summary["persons_without_keypoints"]}')
    if moved := summary['refinement']:
        print(
            f'refined: joints moved by {moved["moved_mm"]:.0f} mm, off their keypoints by '
            f'{moved["error_before"]:.1f}% of the box before, {moved["error_after"]:.1f}% after '
            '(medians)'
        )
    if summary['boxes_of_no_frame']:
        print(f'boxes without an image or frame: {summary["boxes_of_no_frame"]}')
    for track_id, track in summary.get('tracks', {}).items():
        line = f'track {track_id}: {track["frames"]} frames'
        if track['acceleration_before'] is not None:
            line += f', acceleration {track["acceleration_before"]:.0f} mm/s^2'
            line += f', smoothed {track["acceleration_after"]:.0f}'
        print(line)
    if short := summary.get('short_tracks'):
        least = summary['request']['shortest_track']
        print(f'tracks of fewer than {least} frames, without files of their own: {short}')
    seconds = summary['seconds']
    shares = ', '.join(f'{k} {v:.1f} s' for k, v in seconds.items() if k != 'all')
    print(
        f'{out}: {summary["frames"]} frames, {len(summary["failed"])} left out; '
        f'{seconds["all"]:.1f} s: {shares} (they overlap)'
    )
