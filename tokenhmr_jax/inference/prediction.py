"""Prediction from pictures and videos to the files of a result."""

import collections
import contextlib
import dataclasses
import os
import pathlib
import time
from collections.abc import Callable, Iterator
from concurrent import futures

import numpy as np
from numpy.typing import ArrayLike

from tokenhmr_jax import cli
from tokenhmr_jax.drawing import draw
from tokenhmr_jax.inference import motion_gif, summary
from tokenhmr_jax.inference.batching import FrameJob, predict_batches
from tokenhmr_jax.inference.cameras import Camera
from tokenhmr_jax.inference.fitting.camera_choice import CameraChoice
from tokenhmr_jax.inference.inputs import sources
from tokenhmr_jax.inference.model import Model, load
from tokenhmr_jax.inference.network_inputs import LookedAt
from tokenhmr_jax.inference.outputs import gltf, joint_files, meshes, overlays, results, scene
from tokenhmr_jax.inference.overlay_video import write_overlay_video
from tokenhmr_jax.inference.people import finders
from tokenhmr_jax.inference.people.persons import Finder, Listed, Persons
from tokenhmr_jax.inference.people.tracks import Tracker
from tokenhmr_jax.inference.predict_settings import PredictSettings
from tokenhmr_jax.inference.resuming import OpenResult, Origin
from tokenhmr_jax.inference.samples import SampleSettings
from tokenhmr_jax.inference.video import finish_tracks
from tokenhmr_jax.training import malloc, workdir

_WAITING_WRITES = 8


def predict_with_checkpoint(
    checkpoint: str,
    step: str,
    path: str,
    out: str,
    settings: PredictSettings,
    prior: str | None = None,
    prior_steps: int = 1,
) -> dict:
    """Predicts with what `load` loads, and prints a report; returns as `predict`.

    A wrong source or setting raises its error before the checkpoint is read, as does an `out` that
    another run writes to. Raises ValueError if no frame could be read.
    """
    settings.check()
    _check_gif(settings, sources.open_source(path, settings.recursive))
    if os.path.exists(out):
        with workdir.lock_workdir(out):
            pass
    with malloc.large_arrays_given_back():
        model = load(checkpoint, step, prior, prior_steps)
    found = predict(model, path, out, settings)
    summary.report(found, out)
    if not found['frames']:
        reasons = '; '.join(list(found['failed'].values())[:3])
        raise ValueError(f'{path}: nothing could be read{": " if reasons else ""}{reasons}')
    return found


def predict(
    model: Model, path: str | os.PathLike, out: str | os.PathLike, settings: PredictSettings
) -> dict:
    """Predicts on an image, folder, glob or video; returns the content of its result.json.

    Unreadable frames are reported, and the others written. A result begun in `out` with the same
    arguments is continued: frames stay whose picture, persons and network are the same, and the
    others are predicted again. Raises FileNotFoundError, ImportError or ValueError for a wrong
    source or setting, or an `out` that holds another result, or in which another run writes.
    """
    settings.check()
    start, folder = time.perf_counter(), pathlib.Path(out)
    source = sources.open_source(path, settings.recursive)
    _check_gif(settings, source)
    find, description = finders.make_finder(
        settings.boxes, settings.keypoints, source, settings.detector_weights
    )
    _check_readable(model, settings)
    samples = settings.sampling()
    model.check_samples(samples)
    given = settings.focal_length, settings.fov, settings.camera_guess
    camera = CameraChoice(*given, source, model, find)
    notes = *source.notes, description, *camera.notes
    print(*map(cli.one_line, notes), sep='\n', flush=True)
    request = {'input': os.path.normpath(path), 'model': model.name} | settings._asdict()
    request['meshes'] = list(settings.meshes)
    # Speed alone, and files that can be made of a finished result.
    del request['batch_size'], request['format'], request['gif']
    if not settings.samples:
        for name in ('samples', 'seed', 'temperature'):
            del request[name]
    persons = finders.persons_digest(find, description, settings.detector_weights)
    origin = lambda name: Origin(  # noqa: E731
        source.digest(name), persons(name), model.digest, camera.digest(name)
    )
    with workdir.lock_workdir(folder):
        result = OpenResult(folder, request, origin)
        run = _Run(model, source, find, camera, settings, samples, result)
        _predict_frames(run)
        _tidy_up(run)
        run.result.describe_changes()
        found = _summary(run)
        if source.fps:
            found = _with_tracks(run, found)
        if run.result.finished is None or joint_files.lacks(folder, settings.format):
            joint_files.write_joints(folder, bool(source.fps), settings.format)
        if settings.gif and not (folder / motion_gif.NAME).exists():
            _write_gif(run)
        run.clock.seconds['all'] = time.perf_counter() - start
        return run.result.finish(found, run.clock.seconds)


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


@dataclasses.dataclass
class _Run:
    """Parts of a running prediction, and its counts so far."""

    model: Model
    source: sources.Images | sources.Video
    find: Finder
    camera: CameraChoice
    settings: PredictSettings
    samples: SampleSettings
    result: OpenResult
    clock: Clock = dataclasses.field(default_factory=Clock)
    failed: dict[str, str] = dataclasses.field(default_factory=dict)
    totals: summary.Totals = dataclasses.field(default_factory=summary.Totals)


def _summary(run: _Run) -> dict:
    """The content of result.json, but for the tracks of a video."""
    totals, fps = run.totals, run.source.fps
    done = {path.stem for path in results.frame_paths(run.result.folder)}
    unused = run.find.unused(done | run.failed.keys()) if isinstance(run.find, Listed) else 0
    return {
        'frames': totals.frames,
        'persons': len(totals.ids) if fps else totals.detections,
        'detections': totals.detections,
        'boxes_of_no_frame': unused,
        'failed': run.failed,
        'notes': totals.notes,
        'input_notes': list(run.source.notes),
        'persons_without_keypoints': totals.unread,
        'cameras': dict(totals.cameras),
        'refinement': totals.refinement(),
        'fps': fps,
    }


def _with_tracks(run: _Run, found: dict) -> dict:
    """The summary with a video's tracks, which are made anew if a frame has changed."""
    if run.result.finished is not None:
        return run.result.finished | found
    folder, settings = run.result.clear_tracks(), run.settings
    smooth, source, model = settings.smoothing != 'none', run.source, run.model
    with run.clock('tracks'):
        tracks, report = finish_tracks(source, folder, model, smooth, settings.shortest_track)
    if settings.overlays:
        with run.clock('overlay'):
            write_overlay_video(source, folder / 'overlay.webm', model, tracks)
    return found | report


def _tidy_up(run: _Run) -> None:
    """Keeps frames of pictures that are gone, and removes those beyond a video's end."""
    others = run.result.others()
    if run.source.fps:
        for name in others:
            run.result.remove(name)
    elif others:
        for name in others:
            run.totals.add(name, results.read_arrays(run.result.path(name)))
        print(f'kept of pictures that are no longer there: {summary.listed(others)}')


def _check_gif(settings: PredictSettings, source: sources.Images | sources.Video) -> None:
    """Raises ValueError for pictures, which have no motion."""
    if settings.gif and not source.fps:
        raise ValueError('--gif: the input is no video: expected one, or no --gif')


def _write_gif(run: _Run) -> None:
    with run.clock('gif'):
        written = motion_gif.write_motion_gif(run.source, run.result.folder, run.model)
    if not written:
        print(f'no track of {run.settings.shortest_track} frames: no {motion_gif.NAME}')


def _check_readable(model: Model, settings: PredictSettings) -> None:
    """Raises ValueError for a network that reads keypoints, and boxes without any."""
    known = settings.keypoints is not None or settings.boxes in finders.DETECT
    if not known and not model.reads_image:
        raise ValueError(
            f'--boxes={settings.boxes}: {model.name} reads 2D keypoints, no pictures: expected '
            '--keypoints, or a detector'
        )


def _predict_frames(run: _Run) -> None:
    """Writes the frames that remain.

    Decoding, finding and cropping, the network, and writing run beside each other.
    """
    writes, clock, settings = collections.deque(), run.clock, run.settings
    refine = run.model.reads_prompts if settings.refine is None else settings.refine
    bar = cli.Progress('predicting', 'frame', len(run.source))
    with futures.ThreadPoolExecutor(2) as pool, bar:
        jobs = clock.timed(sources.ahead(_jobs(run, bar)), 'wait')
        jobs = predict_batches(run.model, jobs, settings.batch_size, refine, run.samples)
        for job in clock.timed(jobs, 'network'):
            bar.update()
            if job.kept is not None:
                run.totals.add(job.frame.name, job.kept)
                continue
            arrays = _arrays(run, job)
            run.totals.add(job.frame.name, arrays)
            run.result.begin_change()
            writes.append(pool.submit(_write, run, job, arrays))
            if len(writes) > _WAITING_WRITES:
                writes.popleft().result()
        for write in writes:
            write.result()
    clock.seconds['network'] -= clock.seconds.pop('wait')


def _jobs(run: _Run, bar: cli.Progress) -> Iterator[FrameJob]:
    """All frames that can be read, with their persons found and tracked; kept ones as they are."""
    tracker, shot = Tracker(), 0
    given_ids = isinstance(run.find, Listed) and run.find.tracked

    def track_ids(frame, boxes, ids):
        nonlocal shot
        if given_ids:
            return ids
        if frame.shot != shot:
            tracker.end_all()
            shot = frame.shot
        # The tracker sees all frames, kept ones as well.
        new = tracker.update(boxes) if run.source.fps else np.arange(len(boxes))
        return new.astype(np.int32)

    for frame in run.clock.timed(run.source.frames(run.result.holds), 'decode'):
        if frame.error:
            bar.update(0 if run.source.fps else 1)  # of a video, it is the end
            bar.say(f'left out: {cli.one_line(frame.error)}')
            run.failed[frame.name] = frame.error
            run.result.remove(frame.name)
        elif frame.image is None:
            yield _kept_job(run, frame, track_ids)
        else:
            with run.clock('detect'):
                found, unread = _readable(run.model, run.find(frame))
            found = found._replace(track_ids=track_ids(frame, found.boxes, found.track_ids))
            with run.clock('camera'):
                camera = run.camera(frame, found)
            yield FrameJob(
                frame, found, camera, _looked_at(run, frame, found, camera), unread=unread
            )


def _looked_at(run: _Run, frame: sources.Frame, found: Persons, camera: Camera) -> LookedAt | None:
    """The persons of a frame as the network is given them; None for nobody."""
    if not len(found.boxes):
        return None
    with run.clock('crop'):
        return run.model.look(frame.image, found.boxes, camera.focal_length, found.keypoints2d)


def _kept_job(run: _Run, frame: sources.Frame, track_ids: Callable) -> FrameJob:
    """The job of a frame that an earlier run has written; its place and tracks may be others."""
    kept = run.result.take(frame.name)
    ids = track_ids(frame, kept['boxes'], kept['track_ids'])
    kept = run.result.amend(frame.name, kept, {'track_ids': ids, 'index': frame.index})
    found = Persons(kept['boxes'], kept['scores'], ids, kept['given_keypoints2d'])
    return FrameJob(frame, found, camera=None, kept=kept)


def _readable(model: Model, found: Persons) -> tuple[Persons, int]:
    """The persons of whom the network can read something, and the number of the others."""
    if model.reads_image:
        return found, 0
    seen = (found.keypoints2d[..., 2] > 0).any(axis=1)
    return Persons(*(field[seen] for field in found)), int((~seen).sum())


def _arrays(run: _Run, job: FrameJob) -> dict[str, ArrayLike]:
    """The arrays of a frame's file."""
    frame, prediction = job.frame, job.prediction
    all_probs = run.settings.all_probs
    arrays = {} if prediction is None else results.person_arrays(prediction, all_probs)
    if job.refinement is not None:
        arrays |= {f'refinement_{k}': v for k, v in job.refinement._asdict().items()}
    found = job.found._asdict()
    found['given_keypoints2d'] = found.pop('keypoints2d')
    height, width = frame.image.shape[:2]
    found |= {
        'persons_without_keypoints': job.unread,
        'camera_source': job.camera.source,
        'image_size': (width, height),
        'note': frame.note or '',
        'index': frame.index,
        'time': np.nan if frame.time is None else frame.time,
        'shot': frame.shot,
        'made_of': run.result.origin(frame.name),
    }
    return arrays | found


def _write(run: _Run, job: FrameJob, arrays: dict[str, ArrayLike]) -> None:
    """Writes a frame's files. Its arrays come last: they mark it as done."""
    with run.clock('write'):
        name = job.frame.name
        if not run.source.fps:
            run.result.clear(name)
            _write_bodies(job, run.result.folder, run.model, run.settings)
        results.write_arrays(run.result.path(name), arrays)


def _write_bodies(job: FrameJob, folder: pathlib.Path, model: Model, settings) -> None:
    """Writes meshes, scene and overlay of an image."""
    prediction, vertices, samples = job.prediction, np.zeros((0, 0, 3)), None
    frame, ids = job.frame, job.found.track_ids
    if prediction is not None:
        vertices = prediction.vertices + prediction.translation[:, None]
        samples = prediction.camera_samples
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
        view = ids, focal, middle
        sheet = overlays.overlay_sheet(frame.image, vertices, model.faces, *view, samples=samples)
        draw.write_image(folder / 'overlays' / f'{frame.name}.jpg', sheet)
