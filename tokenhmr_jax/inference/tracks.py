"""Who is who in a video: boxes of consecutive frames joined to tracks.

As SORT does it (Bewley et al., 2016): each track is moved on at its own velocity, so that two who
cross keep their ways; the best one-to-one match of overlaps is found by the Hungarian method.

No library: Roboflow's `trackers` leaves some boxes without identity, and installs the OpenCV that
overwrites the headless one. Ids of any other tracker can be given with the boxes.
"""

import numpy as np
from scipy.optimize import linear_sum_assignment

_LEAST_OVERLAP = 0.1
_VELOCITY_GAIN = 0.3  # how fast a track believes a new velocity
_SMALLEST = 2.0  # pixels: a side that is moved on never shrinks below


class Tracker:
    """Gives the boxes of frame after frame their track ids.

    Args:
      patience: frames that a track outlives without a box.
    """

    def __init__(self, patience: int = 30):
        self._patience = patience
        self._boxes = np.zeros((0, 4))  # centre and size, where the tracks are expected
        self._velocity = np.zeros((0, 4))
        self._ids = np.zeros(0, int)
        self._missed = np.zeros(0, int)
        self._next = 0

    def update(self, boxes: np.ndarray) -> np.ndarray:
        """The track ids (N,) int32 of the next frame's boxes (N, 4)."""
        seen = _centre_and_size(np.asarray(boxes, float))
        expected = self._boxes + self._velocity
        expected[:, 2:] = np.maximum(expected[:, 2:], _SMALLEST)
        overlap = _overlaps(expected, seen)
        tracks, found = linear_sum_assignment(-overlap)
        good = overlap[tracks, found] > _LEAST_OVERLAP
        tracks, found = tracks[good], found[good]
        # The velocity is what the box did since it was last seen, per frame.
        off = (seen[found] - expected[tracks]) / (self._missed[tracks, None] + 1)
        self._velocity[tracks] += _VELOCITY_GAIN * off
        self._missed += 1
        self._missed[tracks] = 0
        expected[tracks] = seen[found]
        ids = np.full(len(seen), -1, np.int32)
        ids[found] = self._ids[tracks]
        new = np.flatnonzero(ids < 0)
        ids[new] = self._next + np.arange(len(new))
        self._next += len(new)
        kept = self._missed <= self._patience
        self._boxes = np.concatenate([expected[kept], seen[new]])
        self._velocity = np.concatenate([self._velocity[kept], np.zeros((len(new), 4))])
        self._ids = np.concatenate([self._ids[kept], ids[new]])
        self._missed = np.concatenate([self._missed[kept], np.zeros(len(new), int)])
        return ids


def _centre_and_size(boxes: np.ndarray) -> np.ndarray:
    boxes = boxes.reshape(-1, 4)
    return np.concatenate([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], axis=1)


def _overlaps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union (N, M) of boxes given as centre and size."""
    a, b = a[:, None], b[None]
    low = np.maximum(a[..., :2] - a[..., 2:] / 2, b[..., :2] - b[..., 2:] / 2)
    high = np.minimum(a[..., :2] + a[..., 2:] / 2, b[..., :2] + b[..., 2:] / 2)
    common = np.prod(np.maximum(high - low, 0), axis=-1)
    return common / (np.prod(a[..., 2:], axis=-1) + np.prod(b[..., 2:], axis=-1) - common)
