"""Choice of a detector: the one that was named, or the best that is installed."""

import importlib.util
from typing import NamedTuple

from tokenhmr_jax.inference.people.persons import Finder


class Detector(NamedTuple):
    """A detector's library, the command that installs it, and its description."""

    module: str
    install: str
    description: str


# The best first: RTMPose knows feet, neck and hips, and is made for groups; Keypoint R-CNN finds
# groups, without feet; BlazePose is small and quick to install, and misses people in crowds.
DETECTORS = {
    'rtmlib': Detector(
        'rtmlib',
        'pip install --no-deps rtmlib && pip install onnxruntime',
        'RTMPose of rtmlib, 26 keypoints',
    ),
    'torchvision': Detector(
        'torchvision',
        'pip install "tokenhmr_jax[predict]"',
        "torchvision's Keypoint R-CNN, 17 keypoints",
    ),
    'blazepose': Detector(
        'ai_edge_litert',
        'pip install "tokenhmr_jax[photos]"',
        'BlazePose of MediaPipe, 33 keypoints',
    ),
}


def check_detector(name: str) -> str:
    """The detector's own name, for 'detect' that of the first that is installed.

    Raises ImportError if it, or for 'detect' any, is not installed.
    """
    if name == 'detect':
        for known, detector in DETECTORS.items():
            if importlib.util.find_spec(detector.module):
                return known
        raise ImportError(
            f'--boxes=detect: no detector of persons is installed: '
            f'{DETECTORS["blazepose"].install}, or give --keypoints=FILE, --boxes=FILE or '
            '--boxes=image'
        )
    detector = DETECTORS[name]
    if not importlib.util.find_spec(detector.module):
        raise ImportError(f'--boxes={name}: not installed: {detector.install}')
    return name


def make_detector(name: str, weights: str | None = None) -> tuple[Finder, str]:
    """A detector and its description. `weights` is a file for `keypoint_rcnn`, else None.

    Raises as `check_detector` and the detector, and ValueError for weights that it does not take.
    """
    name = check_detector(name)
    if weights is not None and name != 'torchvision':
        raise ValueError(
            f'--detector_weights={weights}: of torchvision only, not {name}: add '
            '--boxes=torchvision'
        )
    return _make(name, weights), f'persons: {DETECTORS[name].description}'


def _make(name: str, weights: str | None) -> Finder:
    if name == 'rtmlib':
        from tokenhmr_jax.inference.people.detectors.rtmpose import rtmpose

        return rtmpose()
    if name == 'torchvision':
        from tokenhmr_jax.inference.people.detectors.keypoint_rcnn import keypoint_rcnn

        return keypoint_rcnn(weights)
    from tokenhmr_jax.inference.people.detectors.blazepose import blazepose

    return blazepose()
