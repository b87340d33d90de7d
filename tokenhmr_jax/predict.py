"""Bodies in pictures and videos.

    python -m tokenhmr_jax.predict --checkpoint=WORKDIR --input=PHOTOS --out=RESULT

PHOTOS is an image, a folder, a glob or a video. predicting/results.py documents the result. Run
again with the same --out, it goes on where it stopped.
"""

import collections
import contextlib
import pathlib
import time
from collections.abc import Iterator, Sequence
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
    """How to predict; the command's flags explain each."""

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
        """Raise ValueError for values that cannot be."""
        cameras.check_camera(self.focal_length, self.fov)
        if self.batch_size < 1 or self.batch_size & (self.batch_size - 1):
            raise ValueError(f'batch_size={self.batch_size}: expected a power of two')
        unknown = set(self.meshes) - set(meshes.FORMATS)
        if unknown:
            raise ValueError(f'meshes={sorted(unknown)}: expected some of {meshes.FORMATS}')
        if self.smoothing not in (*smoothing.FILTERS, 'none'):
            names = (*smoothing.FILTERS, 'none')
            raise ValueError(f'smoothing={self.smoothing!r}: expected one of {names}')


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


def predict(model: Model, path: str, out: str, settings: PredictSettings) -> dict:
    """Predict on all frames of a source, and write the result.

    A frame that cannot be read is reported, and the others are written.

    Args:
      model: of `tokenhmr_jax.load`.
      path: image, folder, glob or video.
      out: folder of the result; one that was begun with the same arguments is continued.
      settings: how.

    Returns:
      what result.json holds.

    Raises:
      FileNotFoundError, ValueError: for a source, boxes or settings that cannot be, or if `out`
        holds another result.
    """
    settings.check()
    source, folder = sources.open_source(path), pathlib.Path(out)
    find, said = boxes.make_finder(settings.boxes, source, settings.detector_weights)
    print(said, flush=True)
    request = {'input': str(path), 'model': model.name} | settings._asdict()
    request['meshes'] = list(settings.meshes)
    _begin(folder, request)
    clock, failed, cameras_used, writes = Clock(), {}, collections.Counter(), collections.deque()
    persons, start = 0, time.perf_counter()
    with (
        futures.ThreadPoolExecutor(2) as pool,
        tqdm.tqdm(total=len(source), unit='frame', disable=None) as bar,
    ):
        jobs = _jobs(source, find, folder, settings, clock, bar, failed)
        jobs = _timed(sources.ahead(jobs), clock, 'wait')
        jobs = _timed(batching.predict_batches(model, jobs, settings.batch_size), clock, 'network')
        for job in jobs:
            cameras_used[job.camera.source] += 1
            persons += len(job.persons)
            writes.append(pool.submit(_write, job, folder, model, settings, source.fps, clock))
            if len(writes) > _WAITING_WRITES:
                writes.popleft().result()
            bar.update()
        for write in writes:
            write.result()
    summary = {
        'request': request,
        'frames': len(list((folder / 'frames').glob('*.npz'))),
        'persons_in_this_run': persons,
        'boxes_of_no_frame': _unused(find, folder, failed),
        'failed': failed,
        'cameras': dict(cameras_used),
        'fps': source.fps,
    }
    if source.fps:
        with clock('tracks'):
            overlay, filtered = settings.overlays, settings.smoothing
            summary['tracks'] = video.finish_video(source, folder, model, filtered, overlay)
    clock.seconds['network'] -= clock.seconds.pop('wait')
    summary['seconds'] = {'all': time.perf_counter() - start} | dict(clock.seconds)
    results.write_json(folder / 'result.json', summary)
    return summary


def _begin(folder: pathlib.Path, request: dict) -> None:
    """Make the result's folders, or see that what is there was asked for in the same way."""
    place = folder / 'result.json'
    if place.exists():
        there = results.read_json(place)['request']
        changed = config_differences(there, request)
        if changed:
            raise ValueError(f'{folder} holds another result: {"; ".join(changed)}')
    elif folder.exists() and any(folder.iterdir()):
        raise ValueError(f'{folder} is not empty, and holds no result: expected another --out')
    for name in ('frames', 'meshes', 'overlays', 'tracks'):
        (folder / name).mkdir(parents=True, exist_ok=True)
    results.write_json(place, {'request': request})


def _jobs(source, find, folder, settings, clock, bar, failed) -> Iterator[batching.FrameJob]:
    """Frames that are still to do, with their persons found and tracked."""
    done = lambda name: (folder / 'frames' / f'{name}.npz').exists()  # noqa: E731
    tracker = tracks.Tracker()
    frames = source.frames(done)
    while True:
        with clock('decode'):
            frame = next(frames, None)
        if frame is None:
            return
        if frame.error:
            failed[frame.name] = frame.error
            bar.write(f'left out: {frame.error}')
            bar.update()
            continue
        if frame.image is None:
            bar.update()
            # The tracker must have seen all frames before the next one.
            if source.fps:
                tracker.update(
                    results.read_arrays(folder / 'frames' / f'{frame.name}.npz')['boxes']
                )
            continue
        with clock('detect'):
            found = find(frame)
        if (found.track_ids < 0).any():
            ids = tracker.update(found.boxes) if source.fps else np.arange(len(found.boxes))
            found = found._replace(track_ids=ids.astype(np.int32))
        camera = cameras.frame_camera(frame, settings.focal_length, settings.fov)
        yield batching.FrameJob(frame, found, camera)


def _unused(find, folder, failed) -> int:
    """How many boxes of a file are of no frame, be it written or left out."""
    if not isinstance(find, boxes.Listed):
        return 0
    return find.unused({path.stem for path in (folder / 'frames').glob('*.npz')} | failed.keys())


def _timed(items: Iterator, clock: Clock, stage: str) -> Iterator:
    """The same items; the time that it takes to get them is the stage's."""
    while True:
        with clock(stage):
            item = next(items, None)
        if item is None:
            return
        yield item


def _write(job, folder, model, settings, fps, clock) -> None:
    """A frame's files; the arrays come last, and say that it is done."""
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
    """Meshes and overlay of an image."""
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
        draw.write_image(folder / 'overlays' / f'{frame.name}.jpg', sheet)


def _report(summary: dict, out: str) -> None:
    """What a run has to say at its end."""
    for source, count in summary['cameras'].items():
        print(f'camera of {count} frames: {source}')
    print(f'persons found in this run: {summary["persons_in_this_run"]}')
    if summary['boxes_of_no_frame']:
        print(f'boxes whose image or frame is not there: {summary["boxes_of_no_frame"]}')
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


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line; `arguments` are the process's own by default."""
    default = PredictSettings()
    flags = cli.Flags(__doc__, arguments)
    checkpoint = flags.string('checkpoint', None, "A regressor's workdir.", required=True)
    step = flags.string('step', 'best', "Which step: 'best', 'last', or its number.")
    path = flags.string('input', None, 'Image, folder, glob or video.', required=True)
    out = flags.string('out', None, 'Folder of the result.', required=True)
    settings = PredictSettings(
        boxes=flags.string(
            'boxes', default.boxes, "'detect', 'image' (all of it), or a .json, .csv or .npz file."
        ),
        detector_weights=flags.string(
            'detector_weights', None, "Of torchvision's detector; else downloaded."
        ),
        focal_length=flags.number('focal_length', None, "Of the image's camera, pixels."),
        fov=flags.number('fov', None, "Field of view across the image's width, degrees."),
        batch_size=flags.integer(
            'batch_size', default.batch_size, 'Persons in a batch, a power of two.'
        ),
        meshes=flags.words('meshes', list(default.meshes), f'Of images, among {meshes.FORMATS}.'),
        overlays=flags.boolean('overlays', default.overlays, 'Draw the bodies over the pictures.'),
        all_probs=flags.boolean(
            'all_probs', default.all_probs, 'Write the probabilities of all codes.'
        ),
        smoothing=flags.choice(
            'smoothing', default.smoothing, [*smoothing.FILTERS, 'none'], 'Of videos.'
        ),
    )
    cache = flags.string('compilation_cache', cli.COMPILED, "Folder, or '' for none.")

    def command():
        given = PredictSettings(*(flag.value for flag in settings))
        given = given._replace(meshes=tuple(given.meshes))
        given.check()
        sources.open_source(path.value)
        cli.keep_compiled(cache.value)
        model = load(checkpoint.value, step.value)
        _report(predict(model, path.value, out.value, given), out.value)

    cli.run(flags, command, on_interrupt='interrupted; run the same command again to go on')


if __name__ == '__main__':
    main()
