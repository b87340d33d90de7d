"""The summary of a result, over all its frames, and its report in words."""

import collections
import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from tokenhmr_jax import cli
from tokenhmr_jax.inference.fitting.refinement import RefinementReport
from tokenhmr_jax.inference.people import finders

_NAMED = 20  # names in a line


@dataclasses.dataclass
class Totals:
    """Counts over the frames of a result, and medians of the refinements."""

    frames: int = 0
    detections: int = 0
    unread: int = 0
    cameras: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    moves: list[np.ndarray] = dataclasses.field(default_factory=list)
    ids: set[int] = dataclasses.field(default_factory=set)
    notes: dict[str, str] = dataclasses.field(default_factory=dict)

    def add(self, name: str, arrays: Mapping[str, np.ndarray]) -> None:
        """Takes the arrays of a frame's file."""
        self.frames += 1
        self.detections += len(arrays['boxes'])
        self.unread += int(arrays['persons_without_keypoints'])
        self.cameras[str(arrays['camera_source'])] += 1
        self.ids |= set(np.asarray(arrays['track_ids']).tolist())
        if note := str(arrays['note']):
            self.notes[name] = note
        if 'refinement_changed' in arrays:
            columns = [arrays[f'refinement_{name}'] for name in RefinementReport._fields]
            self.moves += list(np.stack(columns, axis=1).astype(float))

    def refinement(self) -> dict[str, float | None] | None:
        """Medians over persons, None for a number that nobody has; None without refinement."""
        if not self.moves:
            return None
        found = {}
        for name, values in zip(RefinementReport._fields, np.transpose(self.moves), strict=True):
            known = values[~np.isnan(values)]
            found[name] = float(np.median(known)) if len(known) else None
        return found | {'changed': float(np.mean(np.array(self.moves)[:, -1]))}


def listed(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    more = f' and {len(names) - _NAMED} more' if len(names) > _NAMED else ''
    return ', '.join(map(cli.one_line, names[:_NAMED])) + more


def report(summary: dict, out: str) -> None:
    """Prints cameras, persons, tracks and seconds; at last what is missing."""
    frame = 'frame' if summary['fps'] else 'picture'
    for source, count in _by_kind(summary['cameras']).items():
        print(f'camera of {cli.counted(count, frame)}: {source}')
    for note, names in _by_note(summary['notes']).items():
        print(f'{cli.counted(len(names), frame)}: {note}: {listed(names)}')
    if unread := summary['persons_without_keypoints']:
        print(f'{cli.counted(unread, "person")} without keypoints left out')
    if moved := summary['refinement']:
        _report_refinement(moved)
    if count := summary['boxes_of_no_frame']:
        print(f'{cli.counted(count, "box", "boxes")} without a {frame}')
    for track_id, track in summary.get('tracks', {}).items():
        print(f'track {track_id}: {_track_in_words(track)}')
    if any(track['bvh_resampled'] for track in summary.get('tracks', {}).values()):
        print(f'frames come at changing times: BVH and AMASS are resampled to {summary["fps"]:g}/s')
    if impossible := summary.get('impossible_tracks'):
        print(f'without a possible body, left out: tracks {listed([str(i) for i in impossible])}')
    if short := summary.get('short_tracks'):
        least = summary['request']['shortest_track']
        print(f'{cli.counted(short, "track")} of fewer than {least} frames, without own files')
    persons, detections = cli.counted(summary['persons'], 'person'), summary['detections']
    if summary['fps']:
        persons = f'{cli.counted(detections, "detection")} of {persons}'
    print(f'{persons} in {cli.counted(summary["frames"], frame)}')
    seconds, failed = summary['seconds'], summary['failed']
    shares = ', '.join(f'{k} {v:.1f} s' for k, v in seconds.items() if k != 'all')
    print(
        f'{out}: {cli.counted(summary["frames"], frame)}, {len(failed)} left out; '
        f'{seconds["all"]:.1f} s: {shares} (they overlap)'
    )
    if failed:
        print(f'left out: {listed(list(failed))}')
    if summary['frames'] and not detections:
        print(f'NO PERSON in {cli.counted(summary["frames"], frame)}: {_advice(summary)}')


def _by_kind(sources: Mapping[str, int]) -> Mapping[str, int]:
    """Frames by the source of their camera; those of different estimates in one line."""
    estimates = {source: n for source, n in sources.items() if source.startswith('estimated')}
    if len(estimates) < 2:
        return sources
    others = {source: n for source, n in sources.items() if source not in estimates}
    return others | {'estimated from people': sum(estimates.values())}


def _by_note(notes: Mapping[str, str]) -> dict[str, list[str]]:
    """The names of frames, by what is to know of them."""
    names = collections.defaultdict(list)
    for name, note in notes.items():
        names[note].append(name)
    return names


def _report_refinement(moved: dict[str, float | None]) -> None:
    before, after = moved['error_before'], moved['error_after']
    off = (
        ''
        if before is None
        else (f', off their keypoints by {before:.1f}% of the box before, {after:.1f}% after')
    )
    print(f'refined: joints moved by {moved["moved_mm"]:.0f} mm{off} (medians)')


def _track_in_words(track: dict) -> str:
    words = cli.counted(track['frames'], 'frame')
    if track['acceleration_before'] is not None:
        words += f', acceleration {track["acceleration_before"]:.1f} m/s^2'
        words += f', smoothed {track["acceleration_after"]:.1f}'
    if count := len(track['interpolated']):
        words += f'; {cli.counted(count, "frame")} without a possible body interpolated'
    return words


def _advice(summary: dict) -> str:
    """Advice where nobody was found."""
    request = summary['request']
    given = request['keypoints'] or request['boxes']
    if summary['boxes_of_no_frame']:
        return f'the names in {given} are of none of them; expected their file names or numbers'
    if summary['persons_without_keypoints']:
        return 'this network reads 2D keypoints; try --keypoints=FILE, or a --checkpoint of pixels'
    if given in finders.DETECT:
        return 'try another detector, --boxes=FILE or --keypoints=FILE'
    return f'{given} lists none'
