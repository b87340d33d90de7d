"""torchvision's Keypoint R-CNN (BSD), trained on COCO: boxes and COCO's 17 points."""

import sys

import numpy as np

from tokenhmr_jax.body import keypoint_conventions
from tokenhmr_jax.inference.inputs.sources import Frame
from tokenhmr_jax.inference.people.persons import Finder, Persons, make_persons

_PERSON = 1  # COCO's category
_LEAST_SCORE = 0.5
# The peak of the heatmap at which a point counts as seen as likely as not: an assumption.
_EVEN_PEAK = 2.0


def keypoint_rcnn(weights: str | None = None) -> Finder:
    """The detector. `weights` is a file of its state dict; by default torchvision downloads it.

    Raises FileNotFoundError for a missing file, ValueError for a file of something else,
    ConnectionError for a failed download.
    """
    import torch

    network = _network(weights).eval()

    def find(frame: Frame) -> Persons:
        with torch.inference_mode():
            image = torch.from_numpy(frame.image).movedim(-1, 0).float() / 255
            found = {name: value.numpy() for name, value in network([image])[0].items()}
        return persons_of_output(found)

    return find


def persons_of_output(found: dict[str, np.ndarray]) -> Persons:
    """The persons of the network's output for one image.

    A point's confidence comes from its heatmap's peak, `keypoints_scores`: the third number of
    `keypoints` is 1 for every point.
    """
    kept = (found['labels'] == _PERSON) & (found['scores'] > _LEAST_SCORE)
    points = np.array(found['keypoints'][kept], np.float32).reshape(-1, 17, 3)
    peaks = np.reshape(found['keypoints_scores'][kept], (-1, 17)) - _EVEN_PEAK
    points[..., 2] = 1 / (1 + np.exp(-np.clip(peaks, -50, 50)))
    points = keypoint_conventions.to_44(points, 'coco')
    return make_persons(found['boxes'][kept], found['scores'][kept], keypoints2d=points)


def _network(weights: str | None):
    import torch
    from torchvision.models import detection

    kind = detection.KeypointRCNN_ResNet50_FPN_Weights.DEFAULT
    if weights is None:
        try:
            progress = sys.stderr.isatty()
            return detection.keypointrcnn_resnet50_fpn(weights=kind, progress=progress)
        except OSError as error:  # urllib's errors are OSErrors
            raise ConnectionError(
                f"torchvision's detector cannot be downloaded ({error}): download {kind.url} "
                'elsewhere, and give it by --detector_weights=FILE'
            ) from error
    try:
        state = torch.load(weights, map_location='cpu', weights_only=True)
        network = detection.keypointrcnn_resnet50_fpn(weights=None, weights_backbone=None)
        network.load_state_dict(state)
    except OSError:
        raise
    except Exception as error:  # broken archives and pickles fail in any way
        raise ValueError(
            f'{weights}: not weights of the detector ({type(error).__name__}): expected a state '
            f"dict of torchvision's keypointrcnn_resnet50_fpn, as of {kind.url}"
        ) from error
    return network
