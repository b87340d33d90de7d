"""Video files as the RGB frames that players show, each with its time."""

import contextlib
import fractions
import itertools
import math
import os
import pathlib
from collections.abc import Iterator
from typing import Protocol

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from jaxtyping import UInt8
from PIL import Image, UnidentifiedImageError

from tokenhmr_jax import cli
from tokenhmr_jax.inference.inputs import animations, picture_files
from tokenhmr_jax.inference.inputs.animations import Animation, over_white

SUFFIXES = (
    '.mp4', '.mov', '.avi', '.mkv', '.webm', '.m4v', '.mts', '.m2ts', '.ts', '.3gp', '.3g2', '.wmv',
    '.asf', '.mpg', '.mpeg', '.ogv', '.flv', '.mxf', '.vob',
)  # fmt: skip
_NO_PICTURES = ('MPEG', 'FLI')  # videos that Pillow knows, but does not decode
_NO_VIDEOS = ('image2', 'tty')  # FFmpeg's formats of pictures and of text; so are all `_pipe`
_USUAL_RATE = 30.0  # frames per second
_SAME_RATE = 0.1  # share by which clocks of thousandths may differ from a rate
_PROBED = 300  # packets
_ROUNDED = fractions.Fraction(1, 500)  # seconds; clocks up to this coarse round to their ticks
_JUMP = 1.0  # seconds; frames in the wrong order are closer
_BROADCAST, _LEAP = ('mpegts', 'mpeg'), 10.0  # formats whose clocks leap by more than these seconds
_TS_PACKETS = 188, 192  # bytes; MPEG-TS, and with times before its packets, as cameras write it
_MOST_ERRORS = 100  # in a row, of a file's reader


class Decoded(Protocol):
    """A frame that is not yet converted. `time`: seconds from the first frame."""

    time: float

    def rgb(self) -> UInt8[np.ndarray, 'H W 3']:
        """The frame as players show it: upright, in its proportions, over white."""

    def small(self, width: int, height: int) -> UInt8[np.ndarray, 'h w 3']:
        """The frame in RGB at a small size, neither turned nor in its proportions."""


def is_video(path: str | os.PathLike) -> bool:
    """Whether a file holds a moving picture, by its suffix, else by its content.

    Raises ValueError for content that is neither a video nor a picture.
    """
    place = pathlib.Path(path)
    if place.suffix.lower() in SUFFIXES:
        return True
    try:
        with Image.open(place) as picture:
            if picture.format not in _NO_PICTURES:
                return animations.is_motion(picture)
    except UnidentifiedImageError:
        pass
    except Exception:  # a picture that its reader can say more about
        return False
    if _moves(place):
        return True
    if place.suffix.lower() in picture_files.SUFFIXES:
        return False
    raise ValueError(f'{path}: neither a picture nor a video that can be read')


def _moves(path: pathlib.Path) -> bool:
    """Whether FFmpeg finds more than one picture."""
    try:
        with av.open(str(path.absolute())) as container:
            name = container.format.name
            if name in _NO_VIDEOS or name.endswith('_pipe') or not container.streams.video:
                return False
            frames = container.decode(container.streams.best('video'))
            return sum(1 for _ in zip(range(2), frames, strict=False)) == 2
    except av.FFmpegError:
        return False


def open_video(path: str | os.PathLike) -> 'VideoFile | Animation':
    """A file for which `is_video` holds. Raises ValueError for one that cannot be read."""
    if pathlib.Path(path).suffix.lower() not in SUFFIXES:
        with contextlib.suppress(UnidentifiedImageError), Image.open(path) as picture:
            if animations.is_motion(picture):
                return Animation(path)
    return VideoFile(path)


class VideoFile:
    """A video.

    `fps` is its nominal rate; `count` an estimate of its frames, from its header, or 0.
    Raises ValueError for a file without a video that can be decoded.
    """

    def __init__(self, path: str | os.PathLike):
        self._path = pathlib.Path(path)
        with self._open() as (container, stream):
            self.fps = _nominal_rate(container, stream)
            seconds = (container.duration or 0) / av.time_base
            self._told = stream.frames  # 0 of many containers
            self.count = self._told or round(seconds * self.fps)

    def decode(self) -> Iterator[Decoded]:
        """All frames that can be decoded, in order. Raises ValueError at their end for others.

        Decoders of several threads drop whole frames after a damaged one: one thread then goes on.
        """
        given = 0
        for threads in ('AUTO', 'SLICE'):
            index, damaged = 0, []
            with self._open(threads) as (container, stream):
                for frame in _decode(container, stream, self.fps, threads == 'AUTO'):
                    if frame is None or frame.damaged:
                        damaged.append(index)
                    if frame is not None:
                        index += 1
                        if index > given:
                            given = index
                            yield frame
                    elif threads == 'AUTO':
                        break
                else:
                    break
        with self._open() as (_, stream):
            self._check_whole(stream, given, damaged)

    def _check_whole(self, stream, given: int, damaged: list[int]) -> None:
        """Raises ValueError if frames after the given ones, or in between, are lost."""
        known = cli.counted(given, 'frame')
        if self._told > given:
            known = f'{given} of {cli.counted(self._told, "frame")}'
        entries = list(stream.index_entries)
        at_end = bool(damaged) and not entries and damaged[-1] >= given - 1
        if at_end or _misses_its_end(self._path, entries, self._told > given):
            raise ValueError(f'{self._path}: ends after {known}: its end is missing')
        if damaged or not given:
            at = f' from frame {damaged[0]} on' if damaged else ''
            raise ValueError(f'{self._path}: damaged{at}; {known} could be decoded')

    @contextlib.contextmanager
    def _open(self, threads: str = 'AUTO') -> Iterator[tuple]:
        try:
            container = av.open(str(self._path.absolute()))  # else a:b.mp4 looks like a protocol
        except av.FFmpegError as error:
            raise ValueError(
                f'{self._path}: cannot be opened as a video: it is none, or its end is missing'
            ) from error
        with container:
            stream = container.streams.best('video')
            if stream is None or stream.codec_context is None:
                raise ValueError(f'{self._path}: has no video, or none of a known codec')
            stream.thread_type = threads
            yield container, stream


def _decode(container, stream, fps: float, threaded: bool) -> Iterator['_Shown | None']:
    """The frames of a stream, and None where some are lost."""
    clock, ratio = _Clock(container, stream, fps), stream.sample_aspect_ratio or 1
    reformatters = VideoReformatter(), VideoReformatter()  # one for each size is faster
    joined = container.format.name == 'mpegts'  # calls packets corrupt where recordings are joined
    packets, expected, shown, lost = 0, 0, 0, False
    read = itertools.chain(_packets(container, stream), [None])
    for packet, following in itertools.pairwise(read):
        last = following is None or not following.size
        if lost and last and packet is not None and not packet.size:
            break  # Frames that the decoder still holds back wait for others, which are lost.
        corrupt = packet is not None and packet.is_corrupt
        cut_off = corrupt and last
        lost = packet is None or cut_off or (corrupt and not joined)
        if packet is not None:
            packets += bool(packet.size)
            expected += bool(packet.size) and not packet.is_discard
        if packet is not None and not cut_off:  # of a cut-off frame the rest would be noise
            try:
                frames = packet.decode()
            except av.FFmpegError:
                lost, frames = True, []
            shown += len(frames)
            yield from (_Shown(frame, clock.time(frame), ratio, reformatters) for frame in frames)
        if lost:
            yield None
    # Not each packet has a frame; but of several threads' errors at the end there is no word.
    skipped = packets < sum(entry.size > 0 for entry in stream.index_entries)
    if skipped or (threaded and shown < expected):
        yield None


def _packets(container, stream) -> Iterator[av.Packet | None]:
    """The packets of a stream, and None where reading fails."""
    errors = 0
    while errors < _MOST_ERRORS:
        try:
            for packet in container.demux(stream):
                errors = 0
                yield packet
            return
        except av.FFmpegError:
            errors += 1
            yield None


def _misses_its_end(path: pathlib.Path, entries: list, has_fewer: bool) -> bool:
    """Whether a file is shorter than its own index or header says.

    `has_fewer`: it has fewer frames than its header says.
    """
    size = path.stat().st_size
    if any(entry.pos + entry.size > size for entry in entries):
        return True
    with path.open('rb') as file:
        head = file.read(4096)
    for packet in _TS_PACKETS:  # of MPEG-TS, whole ones
        if all(head[packet - 188 + i * packet :].startswith(b'G') for i in range(4)):
            return size % packet != 0
    if head.startswith(b'RIFF'):  # AVI; the sizes of some writers are wrong
        return has_fewer and 8 + int.from_bytes(head[4:8], 'little') > size
    segment = head.find(b'\x18\x53\x80\x67')
    if head.startswith(b'\x1a\x45\xdf\xa3') and segment >= 0:  # Matroska and WebM
        length = head[segment + 4 : segment + 12]
        width = 9 - length[0].bit_length()
        value = int.from_bytes(length[:width], 'big') & ((1 << 7 * width) - 1)
        unknown = (1 << 7 * width) - 1
        return value != unknown and segment + 4 + width + value > size
    return False


def _nominal_rate(container, stream) -> float:
    """Frames per second where they are dense, as the header has it if it does.

    Headers tell an average over pauses, or a rate that has all times, of 120 and more.
    """
    packets = (p for p in itertools.islice(_packets(container, stream), _PROBED) if p is not None)
    stamps = (packet.dts if packet.pts is None else packet.pts for packet in packets)
    steps = np.diff(sorted({stamp for stamp in stamps if stamp is not None}))
    told = [float(rate) for rate in (stream.guessed_rate, stream.average_rate) if rate]
    if not len(steps):
        return told[-1] if told else _USUAL_RATE
    dense = 1 / float(np.quantile(steps, 0.25) * stream.time_base)
    return next((rate for rate in told if abs(rate / dense - 1) < _SAME_RATE), dense)


class _Clock:
    """Times of frames, in seconds from the first, always increasing."""

    def __init__(self, container, stream, fps: float):
        name = container.format.name
        self._in_order = name == 'avi'  # which tells no times of presentation
        self._longest = _LEAP if name in _BROADCAST else math.inf
        self._base, self._step = stream.time_base, 1 / fps
        self._first = self._offset = 0.0
        self._last = None

    def time(self, frame: av.VideoFrame) -> float:
        stamp = frame.dts if self._in_order or frame.pts is None else frame.pts
        if self._last is None:
            self._first = 0 if stamp is None else stamp
            self._last = -self._step
        expected = self._last + self._step
        time = expected
        if stamp is not None:
            time = self._offset + float((stamp - self._first) * self._base)
            time = self._unrounded(time)
            leaps = not self._last - _JUMP <= time <= self._last + self._longest
            if leaps:  # joined recordings: the clock begins anew
                self._offset += expected - time
            if leaps or time <= self._last:
                time = expected
        self._last = time
        return time

    def _unrounded(self, time: float) -> float:
        """The time of a constant rate, where the clock is coarse and rounds to it."""
        even = round(time / self._step) * self._step
        rounds = self._base <= _ROUNDED and abs(even - time) <= 0.51 * self._base
        return even if rounds else time


class _Shown:
    """A decoded frame of a video whose pixels have a ratio of width to height."""

    def __init__(self, frame, time: float, ratio: fractions.Fraction, reformatters):
        self._frame, self.time, self._ratio = frame, time, ratio
        self._full_size, self._small_size = reformatters
        self.damaged = frame.is_corrupt

    def rgb(self) -> np.ndarray:
        frame, ratio = self._frame, self._ratio
        size = round(frame.width * max(ratio, 1)), round(frame.height / min(ratio, 1))
        if any(component.is_alpha for component in frame.format.components):
            image = over_white(self._full_size.reformat(frame, *size, 'rgba').to_ndarray())
        else:
            image = self._full_size.reformat(frame, *size, 'rgb24').to_ndarray()
        return upright(image, frame.side_data.get('DISPLAYMATRIX'))

    def small(self, width: int, height: int) -> np.ndarray:
        size = width, height
        small = self._small_size.reformat(self._frame, *size, 'rgb24', interpolation='AREA')
        return small.to_ndarray()


def upright(image: np.ndarray, matrix) -> np.ndarray:
    """A frame turned and mirrored by its display matrix, to the nearest quarter of a turn.

    The matrix, 3 x 3 fixed-point numbers by rows, takes (x, y, 1) of the frame, as a row, to the
    screen.
    """
    if matrix is None:
        return image
    (a, b, _), (c, d, _), _ = np.frombuffer(bytes(matrix), '<i4').reshape(3, 3).tolist()
    if abs(a) + abs(d) < abs(b) + abs(c):  # x becomes y
        image, a, d = image.swapaxes(0, 1), c, b
    image = image[:, ::-1] if a < 0 else image
    return np.ascontiguousarray(image[::-1] if d < 0 else image)
