"""Shots of a video: hard cuts, found by what a picture shares with those before and after.

Two pictures are compared by the normalised cross-correlation of small, high-passed versions, at
the best shift between them (Lewis, "Fast Normalized Cross-Correlation", 1995): it stays high where
the camera turns and where the light changes. A cut is where three pictures on one side share less
with three on the other than neighbours share on either side. So a flash or a picture that is
covered for a moment is no cut, nor is a pan too fast for the search. Comparing with the motion
around, not with a constant, is as in PySceneDetect's adaptive detector.
"""

import collections
import itertools
from collections.abc import Iterable, Iterator

import cv2
import numpy as np
from jaxtyping import Float, UInt8

SIZE = 64, 36  # width and height of the pictures that are compared
_PATCH = 43, 24  # two thirds of them: shifts of up to a third of the picture are found
_DETAIL = 6.0  # pixels; coarser structure, as sky over ground, is in most pictures
_LEAST_CONTRAST = 0.7  # grey levels of that detail; less is black, white or fog
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
    sides = [_shared(*pair) for pair in (before[-2:], after[:2]) if len(pair) == 2]
    return across < _ALIKE * min(sides, default=1.0)


def _detail(picture: UInt8[np.ndarray, '36 64 3']) -> Float[np.ndarray, '36 64 3'] | None:
    """The fine structure of a picture, or None without any."""
    picture = picture.astype(np.float32)
    detail = picture - cv2.GaussianBlur(picture, (0, 0), _DETAIL)
    return detail if detail.std() > _LEAST_CONTRAST else None


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
