"""The mannequin's topology: a cage of quads for half the body, and its subdivision.

Only integers decide the connectivity: it is the same on every machine. The cage covers x >= 0, the
body's left. Its 861 quads, subdivided once and mirrored, give 6888 quads. The surface is closed and
of genus 0, so it has 6888 + 2 = 6890 vertices.
"""

import itertools
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from tokenhmr_jax.mannequin.anatomy import form, rings


class QuadMesh(NamedTuple):
    """Quads, counter-clockwise seen from outside."""

    points: Float[np.ndarray, 'N 3']  # metres
    quads: Int[np.ndarray, 'Q 4']
    parts: Int[np.ndarray, ' N']  # indices into `form.PARTS`
    names: dict[str, int]  # vertex indices of landmarks


class Cage:
    """A mesh that grows by tubes of quads from loops of vertices."""

    def __init__(self):
        self.points, self.parts, self.quads, self.tips = [], [], [], {}

    def loop(self, points: Float[np.ndarray, 'N 3'], part: str) -> list[int]:
        """Adds vertices; returns their indices."""
        first = len(self.points)
        self.points.extend(np.asarray(points, float))
        self.parts.extend([form.PARTS.index(part)] * len(points))
        return list(range(first, len(self.points)))

    def strip(self, start, end, closed=True, skip=()):
        """Quads between two loops; loops turn left-handedly about the direction of growth."""
        n = len(start)
        for i in range(n if closed else n - 1):
            if i not in skip:
                j = (i + 1) % n
                self.quads.append((end[i], end[j], start[j], start[i]))

    def tube(self, start, through, part, closed=True):
        """Strips from the loop `start` through rings of points; returns the last loop."""
        for ring in through:
            end = self.loop(ring, part)
            self.strip(start, end, closed)
            start = end
        return start

    def cap(self, loop, name=None):
        """Closes a loop of 2n vertices with n - 1 quads; `name` marks their middle."""
        n = len(loop) // 2
        for i in range(n - 1):
            self.quads.append((loop[i + 1], loop[i], loop[-1 - i], loop[-2 - i]))
        if name:
            middle = (loop[n // 2], loop[-1 - n // 2])
            self.tips[name] = ('quad', len(self.quads) - 1) if n == 2 else ('edge', middle)


# fmt: off
TORSO_ROWS = (0.915, 0.980, 1.045, 1.110, 1.175, 1.240, 1.295, 1.325, 1.353, 1.380)
ARM_ROW = 7  # the arm leaves the torso's side column at rows 7 to 11
NECK_ROWS = (1.435, 1.465)
HEAD_ROWS = (1.482, 1.499, 1.517, 1.535, 1.555, 1.575, 1.597, 1.625, 1.660, 1.688)
EAR_ROW = 4  # the ear leaves the head's side column at rows 4 to 6
LEG_ROWS = (0.790, 0.735, 0.680, 0.625, 0.575, 0.530, 0.485, 0.440, 0.395, 0.345, 0.295, 0.245,
            0.190, 0.140, 0.095)
ARM_ROWS = (0.182, 0.212, 0.248, 0.290, 0.340, 0.380, 0.410, 0.430, 0.450, 0.485, 0.530, 0.580,
            0.630, 0.665)
PALM_ROWS = (0.690, 0.710, 0.732, 0.755, 0.782)
FOOT_ROWS = (0.020, 0.045, 0.070, 0.092, 0.110)
# fmt: on


def half_body() -> Cage:
    """The cage of the left half of the body, x >= 0."""
    cage = Cage()
    rows = _torso(cage)
    _head(cage, rows[-1])
    _leg(cage, rows[0])
    front = [row[6] for row in rows[ARM_ROW : ARM_ROW + 5]]
    back = [row[7] for row in rows[ARM_ROW : ARM_ROW + 5]]
    _hand(cage, _arm(cage, front + back[::-1]))
    return cage


def _torso(cage):
    """Rows of 14 vertices from the front midline over the left side to the back midline."""
    even = np.arange(14) * 180.0 / 13.0
    apart = np.concatenate([np.linspace(0.0, 56.0, 7), np.linspace(124.0, 180.0, 7)])
    widen = np.clip((np.arange(len(TORSO_ROWS)) - ARM_ROW + 4) / 3, 0.0, 1.0)  # room for the arm
    turns = even + widen[:, None] * (apart - even)
    middle = [form.TORSO.ring(y, turn) for y, turn in zip(TORSO_ROWS, turns, strict=True)]
    points = [rings.crotch_row(even), *middle, rings.shoulder_row()]
    rows = [cage.loop(row, 'torso') for row in points]
    for r, (lower, upper) in enumerate(itertools.pairwise(rows)):
        hole = (6,) if ARM_ROW <= r < ARM_ROW + 4 else ()
        cage.strip(upper, lower, closed=False, skip=hole)
    bottom, top = rows[0], rows[-1]
    cage.quads.append((bottom[1], bottom[0], bottom[13], bottom[12]))  # crotch
    for i in (4, 5):  # top of the shoulder
        cage.quads.append((top[i], top[i + 1], top[12 - i], top[13 - i]))
    return rows


def _head(cage, top):
    """Neck and head: rows of 10 vertices, denser on the face; the ear grows from the side."""
    turn = np.array([0.0, 12.0, 27.0, 50.0, 84.0, 108.0, 126.0, 144.0, 162.0, 180.0])
    loop = top[:5] + top[9:]
    for y in NECK_ROWS:
        end = cage.loop(rings.tilted_ring(form.NECK, y, turn, 0.35, 0.03), 'neck')
        cage.strip(end, loop, closed=False)
        loop = end
    tilts = np.maximum(0.32 - 0.05 * np.arange(len(HEAD_ROWS)), 0.0)
    rows = [
        cage.loop(rings.tilted_ring(form.HEAD, y, turn, tilt, 0.08), 'head')
        for y, tilt in zip(HEAD_ROWS, tilts, strict=True)
    ]
    cage.strip(rows[0], loop, closed=False)
    for r, (lower, upper) in enumerate(itertools.pairwise(rows)):
        cage.strip(upper, lower, closed=False, skip=(4,) if EAR_ROW <= r < EAR_ROW + 2 else ())
    crown = rows[-1]
    for i in range(4):
        cage.quads.append((crown[i], crown[i + 1], crown[8 - i], crown[9 - i]))
    side = rows[EAR_ROW : EAR_ROW + 3]
    hole = [row[4] for row in side] + [row[5] for row in side[::-1]]
    cage.cap(cage.tube(hole, rings.ear_rings(), 'ear'), 'left_ear')


def _leg(cage, bottom):
    """Rings of 12 vertices, front from inside to outside, then back; heel, foot and toes."""
    turn = np.arange(12) * 30.0 - 75.0
    ankle = cage.tube(bottom[1:13], [form.LEG.ring(y, turn) for y in LEG_ROWS], 'leg')
    sole = cage.loop(rings.heel_ring(turn), 'foot')
    cage.strip(ankle, sole, skip=range(5))
    for i in range(5):
        cage.quads.append((sole[i + 1], sole[i], sole[11 - i], sole[10 - i]))
        if i == 2:
            cage.tips['left_heel'] = ('edge', (sole[8], sole[9]))
    opening = ankle[:6] + sole[5::-1]
    ball = cage.tube(opening, [rings.foot_ring(z) for z in FOOT_ROWS], 'foot')
    for i, toe in enumerate(form.TOES):
        root = [ball[i], ball[i + 1], ball[10 - i], ball[11 - i]]
        cage.cap(cage.tube(root, rings.digit_rings(toe), toe), f'left_{toe}')


def _arm(cage, hole):
    """Rings of 10 vertices that turn by 18 degrees towards the hand: front, top, back, bottom."""
    turn = np.arange(10) * 36.0 - 72.0
    twist = np.linspace(2.0, 18.0, len(ARM_ROWS))
    arm = [form.ARM.ring(x, turn + t) for x, t in zip(ARM_ROWS, twist, strict=True)]
    return cage.tube(hole, arm, 'arm')


def _hand(cage, wrist):
    """Palm, whose thin front edge grows the thumb, and four fingers from its end."""
    top = np.array([152.0, 118.0, 90.0, 62.0, 28.0])[::-1]
    turn = np.roll(np.concatenate([top, top + 180.0]), 2)
    rows = [cage.loop(form.ARM.ring(x, turn), 'palm') for x in PALM_ROWS]
    cage.strip(wrist, rows[0])
    for r, (start, end) in enumerate(itertools.pairwise(rows)):
        cage.strip(start, end, skip=(1,) if r < 2 else ())
    root = [row[2] for row in rows[:3]] + [row[1] for row in rows[2::-1]]
    cage.cap(cage.tube(root, rings.digit_rings('thumb'), 'thumb'), 'left_thumb')
    end = rows[-1]
    for i, finger in enumerate(form.FINGERS):
        root = [end[2 + i], end[3 + i], end[-i % 10], end[1 - i]]
        cage.cap(cage.tube(root, rings.digit_rings(finger), finger), f'left_{finger}')


def quad_edges(
    quads: Int[np.ndarray, 'Q 4'],
) -> tuple[Int[np.ndarray, 'E 2'], Int[np.ndarray, 'Q 4'], Int[np.ndarray, ' E']]:
    """Unique edges, the edge that starts at each corner, and the number of an edge's quads."""
    sides = np.stack([quads, np.roll(quads, -1, axis=1)], axis=2).reshape(-1, 2)
    edges, index, uses = np.unique(
        np.sort(sides, axis=1), axis=0, return_inverse=True, return_counts=True
    )
    return edges, index.reshape(-1, 4), uses


def subdivide(cage: Cage) -> QuadMesh:
    """One Catmull-Clark step of the half cage; the border (x = 0) is smoothed along itself."""
    points, quads = np.array(cage.points), np.array(cage.quads)
    n = len(points)
    edges, edge_of, uses = quad_edges(quads)
    centres, middles = points[quads].mean(axis=1), points[edges].mean(axis=1)
    wing = np.zeros_like(middles)
    np.add.at(wing, edge_of, centres[:, None])
    border = uses == 1
    edge_points = np.where(border[:, None], middles, (2 * middles + wing) / 4)
    valence = np.bincount(edges.ravel(), minlength=n)[:, None]
    ring_mean, face_mean = np.zeros_like(points), np.zeros_like(points)
    np.add.at(ring_mean, edges, middles[:, None])
    np.add.at(face_mean, quads, centres[:, None])
    moved = (2 * ring_mean + face_mean) / valence**2 + (valence - 3) / valence * points
    on_border = np.unique(edges[border])
    along = np.zeros_like(points)
    np.add.at(along, edges[border], middles[border][:, None])
    moved[on_border] = (points[on_border] + along[on_border] / 2) / 2
    e, f = n + edge_of, n + len(edges) + np.arange(len(quads))
    fine = np.stack([np.stack([quads[:, i], e[:, i], f, e[:, i - 1]], axis=1) for i in range(4)], 1)
    parts = np.asarray(cage.parts)
    all_parts = np.concatenate([parts, parts[edges].max(axis=1), parts[quads].max(axis=1)])
    index = {tuple(edge): n + i for i, edge in enumerate(edges.tolist())}
    names = {
        name: (n + len(edges) + where if kind == 'quad' else index[tuple(sorted(where))])
        for name, (kind, where) in cage.tips.items()
    }
    result = np.concatenate([moved, edge_points, centres])
    result[np.concatenate([on_border, n + np.flatnonzero(border)]), 0] = 0.0
    return QuadMesh(result, fine.reshape(-1, 4), all_parts, names)


def mirror_index(half: QuadMesh) -> tuple[Int[np.ndarray, ' V'], Int[np.ndarray, ' V']]:
    """The half body's vertex that each vertex of the whole is or mirrors, and its mirror image.

    The half's own vertices come first; one on the border is its own mirror image.
    """
    n = len(half.points)
    edges, _, uses = quad_edges(half.quads)
    off = np.setdiff1d(np.arange(n), edges[uses == 1])
    source = np.concatenate([np.arange(n), off])
    partner = np.arange(len(source))
    partner[off], partner[n:] = n + np.arange(len(off)), off
    return source, partner
