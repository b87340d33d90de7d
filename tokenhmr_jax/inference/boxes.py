"""Where the persons are: boxes (left, top, right, bottom), pixels, from a file or a detector.

A *finder* is a function of a `sources.Frame` that returns its `Boxes`.
"""

import csv
import importlib.util
import json
import pathlib
from collections.abc import Callable, Collection
from typing import NamedTuple

import cv2
import numpy as np

from tokenhmr_jax.inference.sources import Frame, Images, Video

_PERSON = 1  # COCO's category
_LEAST_SCORE = 0.5
_LONGEST = 800  # pixels of the longer side that OpenCV's detector looks at
_OVERLAP = 0.4  # of two boxes of one person
_WINDOW_MARGIN = 0.1  # of its window, which OpenCV's detector leaves free on each side


class Boxes(NamedTuple):
    """boxes: (N, 4) float32 pixels. scores: (N,), 1 where none was told. track_ids: (N,) int32,
    -1 where none was told."""

    boxes: np.ndarray
    scores: np.ndarray
    track_ids: np.ndarray


Finder = Callable[[Frame], Boxes]


def make_boxes(boxes, scores=None, track_ids=None) -> Boxes:
    """`Boxes` with defaults for what is not known."""
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    scores = np.ones(len(boxes)) if scores is None else scores
    track_ids = np.full(len(boxes), -1) if track_ids is None else track_ids
    return Boxes(boxes, np.asarray(scores, np.float32), np.asarray(track_ids, np.int32))


def make_finder(
    name: str, source: Images | Video, weights: str | None = None
) -> tuple[Finder, str]:
    """A finder and a line that says what it is.

    Args:
      name: 'detect' for the best detector that is installed, 'image' for one box, the whole image,
        or a file of boxes: .json (COCO results), .csv or .npz, as `read_boxes` says.
      source: whose frames a file is of.
      weights: of torchvision's detector, a file; None for torchvision's own download.

    Raises:
      FileNotFoundError, ValueError: for a file that cannot be read.
    """
    if name == 'image':
        return whole_image, 'persons: one in each image, which it fills'
    if name == 'detect':
        if importlib.util.find_spec('torchvision'):
            return torchvision_detector(weights), "persons: torchvision's Faster R-CNN"
        return opencv_people, (
            "persons: OpenCV's people detector, which misses many: pip install "
            "'tokenhmr_jax[predict]' for a better one, or give --boxes"
        )
    return Listed(name, source), f'persons: boxes of {name}'


class Listed:
    """The boxes of a file, as `read_boxes` reads it, by the frames of a source.

    Raises:
      ValueError: for a name that may be of several frames, and two names of one.
    """

    def __init__(self, path: str, source: Images | Video):
        self._boxes: dict[str, Boxes] = {}
        self._nowhere = 0
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
        """How many boxes are of none of the frames of these names."""
        left = (found for name, found in self._boxes.items() if name not in frames)
        return self._nowhere + sum(len(found.boxes) for found in left)


def whole_image(frame: Frame) -> Boxes:
    """One box, the image's."""
    height, width = frame.image.shape[:2]
    return make_boxes([[0, 0, width, height]])


def opencv_people(frame: Frame) -> Boxes:
    """Upright persons by histograms of oriented gradients (Dalal and Triggs, 2005)."""
    detector = cv2.HOGDescriptor()
    detector.setSVMDetector(cv2.HOGDescriptor.getDefaultPeopleDetector())
    scale = min(_LONGEST / max(frame.image.shape[:2]), 1.0)
    small = cv2.resize(frame.image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    if min(small.shape[0] / 128, small.shape[1] / 64) < 1:  # smaller than its window
        return make_boxes([])
    rectangles, scores = detector.detectMultiScale(
        cv2.cvtColor(small, cv2.COLOR_RGB2BGR), winStride=(8, 8), scale=1.05
    )
    scores = np.ravel(scores)
    kept = [
        i
        for i in cv2.dnn.NMSBoxes(np.array(rectangles).tolist(), scores.tolist(), 0.0, _OVERLAP)
        if scores[i] > _LEAST_SCORE
    ]
    if not kept:
        return make_boxes([])
    x, y, width, height = np.array(rectangles, np.float32)[kept].T / scale
    x, y = x + _WINDOW_MARGIN * width, y + _WINDOW_MARGIN * height
    width, height = (1 - 2 * _WINDOW_MARGIN) * width, (1 - 2 * _WINDOW_MARGIN) * height
    return make_boxes(np.stack([x, y, x + width, y + height], axis=1), scores[kept])


def torchvision_detector(weights: str | None = None) -> Finder:
    """torchvision's Faster R-CNN (BSD), trained on COCO; its weights by path or its download.

    Raises:
      FileNotFoundError, ValueError: for a file that is not there, or not of its weights.
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
        except Exception as error:  # a broken archive or pickle can fail in any way
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
    """A file of boxes, by the image's name as the file has it.

    .json: COCO results, a list of {image_id, category_id, bbox: [left, top, width, height], score};
      other categories than 1, person, are left out.
    .csv: with a header: image, left, top, right, bottom, and optionally score and track_id.
    .npz: arrays `image` (N,), `boxes` (N, 4), and optionally `scores` and `track_ids` (N,).

    An image is named by its file's name, with or without the suffix and folders, or by its number,
    which is the file's name too (COCO), or in a video the frame's, from 0. Track ids are given for
    all boxes or for none.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: if it is of another kind, or lacks something.
    """
    readers = {'.json': _read_coco, '.csv': _read_csv, '.npz': _read_npz}
    place = pathlib.Path(path)
    if place.suffix not in readers:
        raise ValueError(
            f"--boxes={path}: expected 'detect', 'image', or a file {', '.join(readers)}"
        )
    if not place.is_file():
        raise FileNotFoundError(f'{path}: no such file of boxes')
    try:
        names, *fields = readers[place.suffix](place)
        names, found = [str(name) for name in names], make_boxes(*fields)
    except Exception as error:
        what = f'{type(error).__name__}: {error}'
        raise ValueError(f'{path}: not boxes as expected ({what})') from error
    if not len(names) == len(found.boxes) == len(found.scores) == len(found.track_ids):
        raise ValueError(f'{path}: {len(names)} names for {len(found.boxes)} boxes')
    right, bottom = found.boxes[:, 2:].T
    good = (right > found.boxes[:, 0]) & (bottom > found.boxes[:, 1])
    good &= np.isfinite(found.boxes).all(axis=1)
    if not good.all():
        first = int(np.argmin(good))
        raise ValueError(
            f'{path}: box {first}, of {names[first]}, is {found.boxes[first].tolist()}: expected '
            'finite left, top, right, bottom with left < right and top < bottom'
        )
    rows = {}
    for i, name in enumerate(names):
        rows.setdefault(name, []).append(i)
    by_name = {name: Boxes(*(field[i] for field in found)) for name, i in rows.items()}
    _check_ids(by_name, path)
    return by_name


def _check_ids(found: dict[str, Boxes], path: str) -> None:
    """Raise ValueError unless all boxes have track ids, in an image each its own, or none has."""
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
