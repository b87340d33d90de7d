"""Prediction from pictures and videos to the files of a result."""

import collections
import contextlib
import os
import pathlib
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import NamedTuple

import numpy as np
import tqdm

from tokenhmr_jax import cli
from tokenhmr_jax.config import config_differences
from tokenhmr_jax.drawing import draw
from tokenhmr_jax.inference import (
    batching,
    boxes,
    cameras,
    meshes,
    overlays,
    results,
    smoothing,
    sources,
    tracks,
    video,
)
from tokenhmr_jax.inference.model import Model, load

_WAITING_WRITES = 8


class PredictSettings(NamedTuple):
    """Settings of a prediction; the command's flags explain each."""

    boxes: str = 'detect'
    detector_weights: str | None = None
    focal_length: float | None = None
    fov: float | None = None
    batch_size: int = 16
    meshes: tuple[str, ...] = ('glb',)
    overlays: bool = True
    all_probs: bool = False
    smoothing: str = 'zero_lag'

    def check(self) -> None:
        """Raises an error for settings that cannot be served.

        Raises:
          FileNotFoundError, ImportError, ValueError: also as in `boxes.check_boxes`.
        """
        boxes.check_boxes(self.boxes)
        cameras.check_camera(self.focal_length, self.fov)
        if self.batch_size < 1 or self.batch_size & (self.batch_size - 1):
            raise ValueError(f'batch_size={self.batch_size}: expected a power of two')
        unknown = set(self.meshes) - set(meshes.FORMATS)
        if unknown:
            raise ValueError(f'meshes={sorted(unknown)}: expected some of {meshes.FORMATS}')
        if self.smoothing not in smoothing.FILTERS:
            raise ValueError(f'smoothing={self.smoothing!r}: expected one of {smoothing.FILTERS}')


def predict_with_checkpoint(
    checkpoint: str, step: str, path: str, out: str, settings: PredictSettings
) -> None:
    """Predicts with a checkpoint as in `predict`, and prints a report.

    A wrong source or setting raises its error before the checkpoint is read.
    """
    settings.check()
    sources.open_source(path)
    _report(predict(load(checkpoint, step), path, out, settings), out)


def predict(
    model: Model, path: str | os.PathLike, out: str | os.PathLike, settings: PredictSettings
) -> dict:
    """Predicts on all frames of a source, and writes the result.

    Unreadable frames are reported, and the others written.

    Args:
      model: of `tokenhmr_jax.load`.
      path: image, folder, glob or video.
      out: folder of the result; one begun with the same arguments is continued.
      settings: of the prediction.

    Returns:
      the content of result.json.

    Raises:
      FileNotFoundError, ImportError, ValueError: for a wrong source or setting, or an `out` that
        holds another result.
    """
    settings.check()
    source, folder, start = sources.open_source(path), pathlib.Path(out), time.perf_counter()
    find, description = boxes.make_finder(settings.boxes, source, settings.detector_weights)
    print(description, flush=True)
    request = {'input': str(path), 'model': model.name} | settings._asdict()
    request['meshes'] = list(settings.meshes)
    _begin(folder, request)
    clock, failed = Clock(), {}
    persons, cameras_used = _predict_frames(model, source, find, folder, settings, clock, failed)
    summary = {
        'request': request,
        'frames': len(results.frame_paths(folder)),
        'persons_in_this_run': persons,
        'boxes_of_no_frame': _unused(find, folder, failed),
        'failed': failed,
        'cameras': cameras_used,
        'fps': source.fps,
    }
    if source.fps:
        with clock('tracks'):
            smooth = settings.smoothing != 'none'
            summary['tracks'] = video.finish_video(source, folder, model, smooth, settings.overlays)
    summary['seconds'] = {'all': time.perf_counter() - start} | dict(clock.seconds)
    results.write_json(folder / 'result.json', summary)
    return summary


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
        there = results.read_json(place)['request']
        changed = config_differences(there, request)
        if changed:
            raise ValueError(f'{folder} holds another result: {"; ".join(changed)}')
    elif folder.exists() and any(folder.iterdir()):
        raise ValueError(f'{folder} is not empty, and holds no result: expected another --out')
    folder.mkdir(parents=True, exist_ok=True)
    results.write_json(place, {'request': request})
    for name in ('frames', 'meshes', 'overlays', 'tracks'):
        (folder / name).mkdir(exist_ok=True)


def _predict_frames(model, source, find, folder, settings, clock, failed) -> tuple[int, dict]:
    """Writes the frames that remain; returns the counts of persons, and of frames by camera.

    Decoding and finding, the network, and writing run beside each other.
    """
    persons, cameras_used, writes = 0, collections.Counter(), collections.deque()
    with (
        futures.ThreadPoolExecutor(2) as pool,
        tqdm.tqdm(total=len(source), unit='frame', disable=None) as bar,
    ):
        jobs = _jobs(source, find, folder, settings, clock, bar, failed)
        jobs = clock.timed(sources.ahead(jobs), 'wait')
        jobs = batching.predict_batches(model, jobs, settings.batch_size)
        for job in clock.timed(jobs, 'network'):
            cameras_used[job.camera.source] += 1
            persons += len(job.persons)
            writes.append(pool.submit(_write, job, folder, model, settings, source.fps, clock))
            if len(writes) > _WAITING_WRITES:
                writes.popleft().result()
            bar.update()
        for write in writes:
            write.result()
    clock.seconds['network'] -= clock.seconds.pop('wait')
    return persons, dict(cameras_used)


def _jobs(source, find, folder, settings, clock, bar, failed) -> Iterator[batching.FrameJob]:
    """The frames that remain, with their persons found and tracked."""
    path_of = lambda name: folder / 'frames' / f'{name}.npz'  # noqa: E731
    tracker = tracks.Tracker()
    for frame in clock.timed(source.frames(lambda name: path_of(name).exists()), 'decode'):
        if frame.error:
            failed[frame.name] = frame.error
            bar.write(f'left out: {frame.error}')
            bar.update()
            continue
        if frame.image is None:
            bar.update()
            # The tracker must have seen all frames before the next one.
            if source.fps:
                tracker.update(results.read_arrays(path_of(frame.name))['boxes'])
            continue
        with clock('detect'):
            found = find(frame)
        if (found.track_ids < 0).any():
            ids = tracker.update(found.boxes) if source.fps else np.arange(len(found.boxes))
            found = found._replace(track_ids=ids.astype(np.int32))
        camera = cameras.frame_camera(frame, settings.focal_length, settings.fov)
        yield batching.FrameJob(frame, found, camera)


def _unused(find: Callable, folder: pathlib.Path, failed: dict) -> int:
    """The number of a file's boxes that belong to no frame, written or failed."""
    if not isinstance(find, boxes.Listed):
        return 0
    return find.unused({path.stem for path in results.frame_paths(folder)} | failed.keys())


def _write(job, folder, model, settings, fps, clock) -> None:
    """Writes a frame's files. Its arrays come last: they mark it as done."""
    with clock('write'):
        frame, prediction = job.frame, job.prediction
        arrays = {} if prediction is None else results.person_arrays(prediction, settings.all_probs)
        if not fps:
            _draw_frame(job, prediction, folder, model, settings)
        height, width = frame.image.shape[:2]
        arrays |= job.boxes._asdict() | {
            'camera_source': job.camera.source,
            'image_size': (width, height),
            'index': frame.index,
            'time': frame.index / fps if fps else np.nan,
        }
        results.write_arrays(folder / 'frames' / f'{frame.name}.npz', arrays)


def _draw_frame(job, prediction, folder, model, settings) -> None:
    """Writes meshes and overlay of an image."""
    frame, ids = job.frame, job.boxes.track_ids
    vertices = np.zeros((0, 0, 3))
    principal_point = np.array(frame.image.shape[1::-1]) / 2
    if prediction is not None:
        vertices = prediction.vertices + prediction.translation[:, None]
    for row, body in enumerate(vertices):
        for suffix in settings.meshes:
            meshes.write_mesh(folder / 'meshes' / f'{frame.name}_{row}.{suffix}', body, model.faces)
    if settings.overlays:
        sheet = overlays.overlay_sheet(
            frame.image, vertices, model.faces, ids, job.camera.focal_length, principal_point
        )
        with cli.whole_file(folder / 'overlays' / f'{frame.name}.jpg') as partial:
            draw.write_image(partial, sheet)


def _report(summary: dict, out: str) -> None:
    """Prints cameras, persons, tracks and seconds."""
    for source, count in summary['cameras'].items():
        print(f'camera of {count} frames: {source}')
    print(f'persons found in this run: {summary["persons_in_this_run"]}')
    if summary['boxes_of_no_frame']:
        print(f'boxes without an image or frame: {summary["boxes_of_no_frame"]}')
    for track_id, track in summary.get('tracks', {}).items():
        before, after = track['acceleration_before'], track['acceleration_after']
        jitter = (
            '' if before is None else f', acceleration {before:.0f} mm/s^2, smoothed {after:.0f}'
        )
        print(f'track {track_id}: {track["frames"]} frames{jitter}')
    seconds = summary['seconds']
    shares = ', '.join(f'{k} {v:.1f} s' for k, v in seconds.items() if k != 'all')
    print(
        f'{out}: {summary["frames"]} frames, {len(summary["failed"])} left out; '
        f'{seconds["all"]:.1f} s: {shares} (they overlap)'
    )
