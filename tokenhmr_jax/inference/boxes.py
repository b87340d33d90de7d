"""Boxes (left, top, right, bottom) of persons, in pixels, from a file or a detector.

A *finder* is a function of a `sources.Frame` that returns its `Boxes`.
"""

import csv
import importlib.util
import json
import pathlib
from collections.abc import Callable, Collection
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import ArrayLike

from tokenhmr_jax.inference.sources import Frame, Images, Video

_PERSON = 1  # COCO's category
_LEAST_SCORE = 0.5


class Boxes(NamedTuple):
    """The boxes of a frame, pixels; scores default to 1, track ids to -1."""

    boxes: Float[np.ndarray, 'N 4']
    scores: Float[np.ndarray, ' N']
    track_ids: Int[np.ndarray, ' N']


Finder = Callable[[Frame], Boxes]


def make_boxes(
    boxes: ArrayLike, scores: ArrayLike | None = None, track_ids: ArrayLike | None = None
) -> Boxes:
    """`Boxes` with defaults."""
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    scores = np.ones(len(boxes)) if scores is None else scores
    track_ids = np.full(len(boxes), -1) if track_ids is None else track_ids
    return Boxes(boxes, np.asarray(scores, np.float32), np.asarray(track_ids, np.int32))


def make_finder(
    name: str, source: Images | Video, weights: str | None = None
) -> tuple[Finder, str]:
    """A finder and its description. Raises as `check_boxes`, `Listed` and `torchvision_detector`.

    Args:
      name: 'detect', 'image' for the whole image, or a file of boxes.
      source: the frames to which a file's names belong.
      weights: of `torchvision_detector`.
    """
    check_boxes(name)
    if name == 'image':
        return whole_image, 'persons: one in each image, which it fills'
    if name == 'detect':
        return torchvision_detector(weights), "persons: torchvision's Faster R-CNN"
    return Listed(name, source), f'persons: boxes of {name}'


def check_boxes(name: str) -> None:
    """Checks a name for `make_finder`.

    Raises FileNotFoundError for a missing file, ImportError for 'detect' without torchvision, and
    ValueError for another kind of file.
    """
    if name == 'detect' and not importlib.util.find_spec('torchvision'):
        raise ImportError(
            '--boxes=detect: torchvision, which detects persons, is not installed: pip install -e '
            '.[predict], or give boxes by --boxes=image or a file'
        )
    if name in ('detect', 'image'):
        return
    if pathlib.PurePath(name).suffix not in _READERS:
        kinds = ', '.join(_READERS)
        raise ValueError(f"--boxes={name}: expected 'detect', 'image', or a file {kinds}")
    if not pathlib.Path(name).is_file():
        raise FileNotFoundError(f'{name}: no such file of boxes')


class Listed:
    """The boxes of a file, by the frames of a source.

    Raises as `read_boxes`, and ValueError for a name of several frames, or two names of one frame.
    """

    def __init__(self, path: str, source: Images | Video):
        self._boxes, self._nowhere = {}, 0
        for name, found in read_boxes(path).items():
            frames = source.called(name)
            if len(frames) > 1:
                raise ValueError(
                    f'{path}: {name} may be any of {", ".join(frames[:4])}: expected its name with '
                    'the suffix, or the folder before it'
                )
            if not frames:
                self._nowhere += len(found.boxes)
            elif frames[0] in self._boxes:
                raise ValueError(f'{path}: {name} has another name in it: expected one')
            else:
                self._boxes[frames[0]] = found

    def __call__(self, frame: Frame) -> Boxes:
        return self._boxes.get(frame.name, make_boxes([]))

    def unused(self, frames: Collection[str]) -> int:
        """The number of boxes that belong to none of these frames."""
        left = (found for name, found in self._boxes.items() if name not in frames)
        return self._nowhere + sum(len(found.boxes) for found in left)


def whole_image(frame: Frame) -> Boxes:
    """One box around the whole image."""
    height, width = frame.image.shape[:2]
    return make_boxes([[0, 0, width, height]])


def torchvision_detector(weights: str | None = None) -> Finder:
    """torchvision's Faster R-CNN (BSD), trained on COCO.

    `weights` is a file of its state dict; by default torchvision downloads it. Raises
    FileNotFoundError for a missing file, ValueError for a file of something else.
    """
    import torch
    from torchvision.models import detection

    kind = detection.FasterRCNN_ResNet50_FPN_V2_Weights.DEFAULT
    build = detection.fasterrcnn_resnet50_fpn_v2
    if weights is None:
        network = build(weights=kind)
    else:
        try:
            state = torch.load(weights, map_location='cpu', weights_only=True)
            network = build(weights=None, weights_backbone=None)
            network.load_state_dict(state)
        except OSError:
            raise
        except Exception as error:  # broken archives and pickles fail in any way
            raise ValueError(
                f'{weights}: not weights of the detector ({type(error).__name__}): expected a '
                "state dict of torchvision's fasterrcnn_resnet50_fpn_v2"
            ) from error
    network.eval()

    def find(frame: Frame) -> Boxes:
        with torch.inference_mode():
            image = torch.from_numpy(frame.image).movedim(-1, 0).float() / 255
            found = {name: value.numpy() for name, value in network([image])[0].items()}
        kept = (found['labels'] == _PERSON) & (found['scores'] > _LEAST_SCORE)
        return make_boxes(found['boxes'][kept], found['scores'][kept])

    return find


def read_boxes(path: str) -> dict[str, Boxes]:
    """The boxes of a file, by image names as written there.

    .json: COCO results, a list of {image_id, category_id, bbox: [left, top, width, height], score};
      categories other than 1, person, are left out.
    .csv: with a header: image, left, top, right, bottom, and optionally score and track_id.
    .npz: arrays `image` (N,), `boxes` (N, 4), and optionally `scores` and `track_ids` (N,).

    An image is named by its file's name, with or without suffix and folders, or by the number that
    is its file's name (COCO); a frame of a video by its number, from 0. All boxes have track ids,
    or none has. Raises FileNotFoundError for a missing file, ValueError for another kind of file or
    wrong content.
    """
    check_boxes(path)
    place = pathlib.Path(path)
    try:
        names, *fields = _READERS[place.suffix](place)
        names, found = [str(name) for name in names], make_boxes(*fields)
    except Exception as error:
        what = f'{type(error).__name__}: {error}'
        raise ValueError(f'{path}: not boxes as expected ({what})') from error
    if not len(names) == len(found.boxes) == len(found.scores) == len(found.track_ids):
        raise ValueError(f'{path}: {len(names)} names for {len(found.boxes)} boxes')
    _check_areas(found.boxes, names, path)
    rows = {}
    for i, name in enumerate(names):
        rows.setdefault(name, []).append(i)
    by_name = {name: Boxes(*(field[i] for field in found)) for name, i in rows.items()}
    _check_ids(by_name, path)
    return by_name


def _check_areas(boxes: np.ndarray, names: list[str], path: str) -> None:
    good = np.isfinite(boxes).all(axis=1) & (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    if not good.all():
        first = int(np.argmin(good))
        raise ValueError(
            f'{path}: box {first}, of {names[first]}, is {boxes[first].tolist()}: expected '
            'finite left, top, right, bottom with left < right and top < bottom'
        )


def _check_ids(found: dict[str, Boxes], path: str) -> None:
    """Raises ValueError unless no box has a track id, or all, each its own within an image."""
    some = any((boxes.track_ids >= 0).any() for boxes in found.values())
    for name, boxes in found.items():
        ids = boxes.track_ids
        if some and (ids < 0).any():
            raise ValueError(f'{path}: a box of {name} has no track id: expected all to have one')
        if some and len(set(ids.tolist())) < len(ids):
            raise ValueError(f'{path}: track ids {ids.tolist()} of {name}: expected each once')


def _read_coco(path):
    people = [row for row in json.loads(path.read_text()) if row['category_id'] == _PERSON]
    boxes = np.array([row['bbox'] for row in people], np.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return [row['image_id'] for row in people], boxes, [row['score'] for row in people], None


def _read_csv(path):
    with path.open(newline='') as file:
        rows = list(csv.DictReader(file))
    boxes = [[float(row[side]) for side in ('left', 'top', 'right', 'bottom')] for row in rows]
    scores = [float(row.get('score') or 1) for row in rows]
    track_ids = [int(row.get('track_id') or -1) for row in rows]
    return [row['image'] for row in rows], boxes, scores, track_ids


def _read_npz(path):
    with np.load(path, allow_pickle=False) as content:
        given = [content.get(name) for name in ('scores', 'track_ids')]
        return content['image'], content['boxes'], *given


_READERS = {'.json': _read_coco, '.csv': _read_csv, '.npz': _read_npz}
