"""RTMPose of rtmlib (Apache-2.0) on ONNX Runtime: Halpe's 26 points, feet among them."""

import contextlib
import io
import os
import sys

import numpy as np
from jaxtyping import Float

from tokenhmr_jax.body import keypoint_conventions
from tokenhmr_jax.inference.inputs.sources import Frame
from tokenhmr_jax.inference.people.persons import (
    LEAST_CONFIDENCE,
    Finder,
    Persons,
    known_points,
    make_persons,
)

_CONVENTION, _LEAST_POINTS = 'halpe', 3


def rtmpose() -> Finder:
    """The detector; rtmlib downloads its networks once.

    Raises ConnectionError for a failed download.
    """
    import rtmlib

    try:
        hidden, bar = io.StringIO(), contextlib.nullcontext()
        if not sys.stderr.isatty():
            bar = contextlib.redirect_stderr(hidden)  # of a download
        with contextlib.redirect_stdout(hidden), bar:
            network = rtmlib.BodyWithFeet(mode='balanced', backend='onnxruntime', device='cpu')
    except OSError as error:  # urllib's errors are OSErrors
        networks = rtmlib.BodyWithFeet.MODE['balanced']
        base = os.environ.get('XDG_CACHE_HOME', os.path.expanduser('~/.cache'))
        folder = os.path.join(os.environ.get('TORCH_HOME', f'{base}/rtmlib'), 'hub/checkpoints')
        raise ConnectionError(
            f"rtmlib's networks cannot be downloaded ({error}): download {networks['det']} and "
            f'{networks["pose"]} elsewhere, and put both .zip files into {folder}'
        ) from error

    def find(frame: Frame) -> Persons:
        # The detector was trained on BGR, RTMPose on RGB: rtmlib converts neither.
        boxes = np.reshape(network.det_model(np.ascontiguousarray(frame.image[..., ::-1])), (-1, 4))
        if not len(boxes):  # RTMPose would take the whole image for a person
            return make_persons()
        points, confidence = network.pose_model(frame.image, bboxes=boxes)
        return persons_of_output(boxes, np.asarray(points), np.asarray(confidence))

    return find


def persons_of_output(
    boxes: Float[np.ndarray, 'N 4'],
    points: Float[np.ndarray, 'N 26 2'],
    confidence: Float[np.ndarray, 'N 26'],
) -> Persons:
    """The persons of rtmlib's output: those with some known points.

    Its detector tells no scores: a person's is the mean confidence of the known points.
    """
    points = np.concatenate([points, confidence[..., None]], axis=-1).astype(np.float32)
    points = known_points(keypoint_conventions.to_44(points, _CONVENTION))
    known = points[..., 2] >= LEAST_CONFIDENCE
    scores = points[..., 2].sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    kept = known.sum(axis=1) >= _LEAST_POINTS
    return make_persons(boxes[kept], scores[kept], keypoints2d=points[kept])
