"""Tracks of persons through a video, from the overlap of boxes in consecutive frames.

Source: SORT (Bewley et al., 2016). Each track moves on at its own velocity, so that persons who
cross keep their identity; the Hungarian method matches tracks and boxes by their overlap.
Roboflow's `trackers` leaves boxes without identity, and its OpenCV overwrites the headless one.
"""

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment

_LEAST_OVERLAP = 0.1
_VELOCITY_GAIN = 0.3  # share of a new velocity in a track's
_SMALLEST = 2.0  # pixels, of an expected box's side


class Tracker:
    """Assigns track ids to the boxes of one frame after the other.

    A track ends after `patience` frames without a box.
    """

    def __init__(self, patience: int = 30):
        self._patience, self._next = patience, 0
        self.end_all()

    def end_all(self) -> None:
        """Ends all tracks, as a cut does."""
        self._boxes, self._velocity = np.zeros((2, 0, 4))  # centre and size
        self._ids, self._missed = np.zeros((2, 0), int)

    def update(self, boxes: Float[np.ndarray, 'N 4']) -> Int[np.ndarray, ' N']:
        """The track ids of the next frame's boxes (left, top, right, bottom)."""
        seen = _centre_and_size(np.asarray(boxes, float))
        expected = self._boxes + self._velocity
        expected[:, 2:] = np.maximum(expected[:, 2:], _SMALLEST)
        overlap = _overlaps(expected, seen)
        tracks, found = linear_sum_assignment(-overlap)
        good = overlap[tracks, found] > _LEAST_OVERLAP
        tracks, found = tracks[good], found[good]
        # Error of the expected place, per frame since the box was last seen.
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


def _centre_and_size(boxes):
    return np.concatenate([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], axis=1)


def _overlaps(a, b):
    """Intersection over union (N, M) of boxes as centre and size."""
    a, b = a[:, None], b[None]
    low = np.maximum(a[..., :2] - a[..., 2:] / 2, b[..., :2] - b[..., 2:] / 2)
    high = np.minimum(a[..., :2] + a[..., 2:] / 2, b[..., :2] + b[..., 2:] / 2)
    common = np.prod(np.maximum(high - low, 0), axis=-1)
    return common / (np.prod(a[..., 2:], axis=-1) + np.prod(b[..., 2:], axis=-1) - common)
