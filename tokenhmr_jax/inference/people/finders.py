"""Finders of persons, by the values of `--boxes` and `--keypoints`."""

import pathlib
from collections.abc import Callable

from tokenhmr_jax.inference.inputs import digests
from tokenhmr_jax.inference.inputs.sources import Frame, Images, Video
from tokenhmr_jax.inference.people import boxes, keypoint_files
from tokenhmr_jax.inference.people.detectors.choice import DETECTORS, check_detector, make_detector
from tokenhmr_jax.inference.people.persons import Finder, Listed, Persons, make_persons

DETECT = ('detect', *DETECTORS)


def make_finder(
    name: str, keypoints: str | None, source: Images | Video, weights: str | None = None
) -> tuple[Finder, str]:
    """A finder and its description. Raises as `check_finder`, `Listed` and `make_detector`.

    Args:
      name: 'detect', a detector, 'image' for the whole image, or a file of boxes.
      keypoints: a file of keypoints, or a folder of OpenPose, in place of `name`.
      source: the frames to which a file's names belong.
      weights: of `make_detector`.
    """
    check_finder(name, keypoints)
    if keypoints is not None:
        find = Listed(keypoint_files.read_keypoints(keypoints), source)
        return find, find.describe()
    if name in DETECT:
        return make_detector(name, weights)
    if name == 'image':
        return whole_image, 'persons: one in each image, which it fills'
    find = Listed(boxes.read_boxes(name), source)
    return find, find.describe()


def check_finder(name: str, keypoints: str | None = None) -> None:
    """Checks the arguments of `make_finder`.

    Raises FileNotFoundError for a missing file, ImportError for a detector that is not installed,
    and ValueError for another kind of file, or for both boxes and keypoints.
    """
    if keypoints is not None:
        if name != 'detect':
            raise ValueError(f'--boxes={name} --keypoints={keypoints}: expected one of them')
        keypoint_files.check_keypoints(keypoints)
    elif name in DETECT:
        check_detector(name)
    elif name != 'image':
        if pathlib.PurePath(name).suffix.lower() not in boxes.SUFFIXES:
            words = ', '.join((*DETECT, 'image'))
            raise ValueError(
                f'--boxes={name}: expected {words}, or a file {", ".join(boxes.SUFFIXES)}'
            )
        boxes.check_file(name, 'boxes', boxes.SUFFIXES)


def persons_digest(
    find: Finder, description: str, weights: str | None = None
) -> Callable[[str], str]:
    """The digest of what a finder of `make_finder` finds its persons by, by the frame's name."""
    if isinstance(find, Listed):
        return find.digest
    known = description if weights is None else f'{description} {digests.file_digest(weights)}'
    return lambda name: digests.array_digest((), known)


def whole_image(frame: Frame) -> Persons:
    """One box around the whole image."""
    height, width = frame.image.shape[:2]
    return make_persons([[0, 0, width, height]])
