"""The camera of each frame of a prediction: given, of a file, of EXIF, estimated or guessed."""

import functools
import itertools
import math

from tokenhmr_jax import cli
from tokenhmr_jax.body import camera
from tokenhmr_jax.inference import cameras
from tokenhmr_jax.inference.cameras import Camera
from tokenhmr_jax.inference.fitting import field_of_view, fov_files
from tokenhmr_jax.inference.fitting.field_of_view import FieldOfView
from tokenhmr_jax.inference.inputs.sources import Frame, Images, Video
from tokenhmr_jax.inference.model import Model
from tokenhmr_jax.inference.people.persons import Finder, Persons

GUESSES = (*camera.GUESSES, 'people')
_SAMPLE = 8  # frames of a video


def check_cameras(focal_length: float | None, fov: float | str | None, guess: str) -> None:
    """Checks the first arguments of `CameraChoice`. Raises as `check_camera` and `check_file`."""
    cameras.check_camera(focal_length, fov, guess, GUESSES)
    if isinstance(fov, str):
        fov_files.check_file(fov)


def number_or_file(fov: str | None) -> float | str | None:
    """The value of `--fov`: degrees, or a file's path."""
    try:
        return None if fov is None else float(fov)
    except ValueError:
        return fov


class CameraChoice:
    """Cameras of the frames of a source.

    Raises as `FovFile`, and ValueError for the guess 'people' where the network reads no keypoints.

    Args:
      focal_length: pixels, given for all frames.
      fov: degrees across the width, given for all frames; or a file of `fov_files`.
      guess: one of `GUESSES`, for frames that nothing tells the camera of.
      source, model, find: of the prediction.
    """

    def __init__(
        self,
        focal_length: float | None,
        fov: float | str | None,
        guess: str,
        source: Images | Video,
        model: Model,
        find: Finder,
    ):
        self._focal_length, self._fov, self._guess = focal_length, fov, guess
        self._source, self._model, self._find = source, model, find
        self._file = fov_files.FovFile(fov, source) if isinstance(fov, str) else None
        if guess == 'people' and not model.reads_prompts:
            raise ValueError(
                f'--camera_guess=people: {model.name} reads no 2D keypoints: expected a network '
                'that does'
            )

    @property
    def notes(self) -> list[str]:
        """Lines on a file of fields of view."""
        return [] if self._file is None else [self._file.describe(len(self._source))]

    def digest(self, frame: str) -> str:
        """The field of view that a file gives for a frame, in words; empty without one."""
        return '' if self._file is None else str(self._file.get(frame))

    def __call__(self, frame: Frame, found: Persons) -> Camera:
        """The camera of a frame, and of the persons found in it."""
        fov = self._fov if self._file is None else self._file.get(frame.name)
        if told := cameras.told_camera(frame, self._focal_length, fov):
            return told
        if self._guess != 'people':
            return cameras.guessed_camera(frame, self._guess)
        estimate = self._of_video if self._source.fps else self._estimate([(frame, found)])
        return estimated_camera(frame, estimate)

    @functools.cached_property
    def _of_video(self) -> FieldOfView:
        """One estimate for all frames, from some that are spread evenly."""
        step = max(len(self._source) // _SAMPLE, 1)
        wanted = {f'{step // 2 + i * step:06d}' for i in range(_SAMPLE)}
        frames = self._source.frames(lambda name: name not in wanted)
        seen = itertools.islice((frame for frame in frames if frame.image is not None), _SAMPLE)
        return self._estimate([(frame, self._find(frame)) for frame in seen])

    def _estimate(self, seen: list[tuple[Frame, Persons]]) -> FieldOfView:
        images = [frame.image for frame, _ in seen]
        points = [found.keypoints2d for _, found in seen]
        return field_of_view.estimate_from_people(self._model, images, points)


def estimated_camera(frame: Frame, estimate: FieldOfView) -> Camera:
    """The camera of a frame by its people; the guess if they do not tell."""
    people = cli.counted(estimate.people, 'person', 'people')
    if estimate.pictures > 1:
        people += f' in {estimate.pictures} frames'
    if not estimate.is_telling:
        note = f'{people} do not tell it' if estimate.people else None
        return cameras.guessed_camera(frame, note=note)
    found = f'{estimate.degrees:.0f} +- {max(estimate.deviation_degrees, 1):.0f} degrees'
    source = f'estimated from {people}: {found} across the diagonal'
    diagonal = math.hypot(*frame.image.shape[:2])
    return Camera(estimate.focal_length(diagonal), cameras.with_note(source, frame.focal_note))
