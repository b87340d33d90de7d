"""Shots of a video: hard cuts, found by what a picture shares with those before and after.

Two pictures are compared by the normalised cross-correlation of small, high-passed versions, at
the best shift between them (Lewis, "Fast Normalized Cross-Correlation", 1995): it stays high where
the camera turns and where the light changes. A cut is where three pictures on one side share less
with three on the other than neighbours share on either side. So a flash or a picture that is
covered for a moment is no cut, nor is a pan too fast for the search. Black and white bars at the
border, which stay through cuts, do not count. Comparing with the motion
around, not with a constant, is as in PySceneDetect's adaptive detector.
"""

import collections
import itertools
from collections.abc import Iterable, Iterator

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

SIZE = 64, 36  # width and height of the pictures that are compared
_PATCH = 43, 24  # two thirds of them: shifts of up to a third of the picture are found
_DETAIL = 6.0  # pixels; coarser structure, as sky over ground, is in most pictures
_LEAST_CONTRAST = 0.7  # grey levels of that detail; less is black, white or fog
_BAR, _FLAT = 24, 6  # grey levels: bars are black or white, up to here; and differ by less
_REACH = 3  # pictures on each side
_ALIKE = 0.6


def number_shots(pictures: Iterable[UInt8[np.ndarray, '36 64 3']]) -> Iterator[int]:
    """The number of each picture's shot, from 0. Reads up to two pictures ahead."""
    details = map(_detail, pictures)
    ahead = collections.deque(itertools.islice(details, _REACH))
    before: collections.deque = collections.deque(maxlen=_REACH)
    shot = 0
    while ahead:
        if ahead[0] is not None:
            after = [detail for detail in ahead if detail is not None]
            if before and _is_cut(list(before), after):
                shot += 1
                before.clear()
            before.append(ahead[0])
        yield shot
        ahead.popleft()
        ahead.extend(itertools.islice(details, 1))


def _is_cut(before: list, after: list) -> bool:
    if _shared(before[-1], after[0], _PLACES[:1]) > _ALIKE:  # of nearly all pictures
        return False
    across = max(_shared(a, b) for a in before for b in after)
    sides = [_shared(*before[-2:])] if len(before) > 1 else []
    if len(after) > 1:  # a shot may be of one picture
        sides.append(max(_shared(*pair) for pair in itertools.pairwise(after)))
    return across < _ALIKE * min(sides, default=1.0)


def _detail(picture: UInt8[np.ndarray, '36 64 3']) -> Float[np.ndarray, '36 64 3'] | None:
    """The fine structure of a picture inside its bars, or None without any."""
    picture = picture.astype(np.float32)
    inside = np.outer(_inside(picture), _inside(picture.swapaxes(0, 1))).astype(np.float32)
    if not inside.any():
        return None
    smooth = lambda values: cv2.GaussianBlur(values, (0, 0), _DETAIL)  # noqa: E731
    around = smooth(picture * inside[..., None]) / np.maximum(smooth(inside), 1e-3)[..., None]
    detail = (picture - around) * inside[..., None]
    return detail if detail.std() > _LEAST_CONTRAST else None


def _inside(lines: Float[np.ndarray, 'L M 3']) -> Bool[np.ndarray, ' L']:
    """Which lines of a picture are no black or white bar at its border, nor touch one."""
    low, high = lines.min(axis=(1, 2)), lines.max(axis=(1, 2))
    flat = (high - low <= _FLAT) & ((high <= _BAR) | (low >= 255 - _BAR))
    full = np.flatnonzero(~flat)
    inside = np.zeros(len(lines), bool)
    if len(full):
        first, last = full[[0, -1]]
        touches = int(first > 0), int(last < len(lines) - 1)
        inside[first + touches[0] : last + 1 - touches[1]] = True
    return inside


_PLACES = [
    ((SIZE[0] - _PATCH[0]) * left // 2, (SIZE[1] - _PATCH[1]) * top // 2)
    for left in (1, 0, 2)
    for top in (1, 0, 2)
]


def _shared(
    a: Float[np.ndarray, '36 64 3'], b: Float[np.ndarray, '36 64 3'], places=_PLACES
) -> float:
    """Correlation of the best match, -1 to 1, between patches of one and places in the other."""
    best = -1.0
    for left, top in places:
        for one, other in ((a, b), (b, a)):
            patch = np.ascontiguousarray(one[top : top + _PATCH[1], left : left + _PATCH[0]])
            if patch.std() > _LEAST_CONTRAST:
                best = max(best, float(cv2.matchTemplate(other, patch, cv2.TM_CCOEFF_NORMED).max()))
    return best
