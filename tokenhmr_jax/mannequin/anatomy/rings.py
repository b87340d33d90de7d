"""Rings of the mannequin's cage: points near its form, in the cage's order."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float

from tokenhmr_jax.mannequin.anatomy import form
from tokenhmr_jax.mannequin.anatomy.solids import Loft


def digit_rings(name: str) -> Iterator[Float[np.ndarray, 'K 3']]:
    """Rings along a digit, beyond its root: the upper row of vertices, then the lower."""
    digit = form.DIGITS[name]
    path = np.asarray(digit.path, float)
    steps = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
    side = np.asarray(digit.side, float) / np.linalg.norm(digit.side)
    across = np.linspace(1.0, -1.0, digit.cells + 1)
    ends = np.linspace(digit.start, 1.0, digit.segments)
    for t in ends:
        tip = t == ends[-1]  # the last ring and its cap round off the end
        centre = np.array([np.interp(t * steps[-1], steps, path[:, i]) for i in range(3)])
        direction = path[-1] - path[-2] if t > 0.5 else path[1] - path[0]
        direction = direction / np.linalg.norm(direction)
        out = side - (side @ direction) * direction
        out /= np.linalg.norm(out)
        up = np.cross(direction, out)
        up *= np.sign(up[1])
        r = digit.radii[0] + t * (digit.radii[1] - digit.radii[0])
        centre += 1.1 * r * tip * direction
        row = np.concatenate([across, across[::-1]])[:, None] * out
        lift = np.repeat([1.0, -1.0], digit.cells + 1)[:, None] * up * digit.flat
        yield centre + (0.8 if tip else 0.85) * r * (row + lift)


def tilted_ring(
    loft: Loft, y: float, turn: Float[np.ndarray, ' K'], slope: float, pivot: float
) -> Float[np.ndarray, 'K 3']:
    """A ring of a loft along y that rises by `slope` behind z = `pivot`."""
    t = np.full(len(turn), float(y))
    for _ in range(8):  # the section changes with the height: a fixed point
        t = y + slope * (pivot - loft.ring(t, turn)[:, 2])
    return loft.ring(t, turn)


def foot_ring(z: float) -> Float[np.ndarray, '12 3']:
    """A ring of the foot: upper row outwards, sole back; at the toes, columns meet their gaps."""
    even = np.array([-62.0, -40.0, -14.0, 14.0, 40.0, 62.0])
    gaps = np.array([-70.0, -23.0, 1.0, 22.0, 43.0, 68.0])
    across = even + np.clip(z / 0.1, 0.0, 1.0) * (gaps - even)
    return form.FOOT.ring(z, np.concatenate([across, 180.0 - across[::-1]]))


def ear_rings() -> Iterator[Float[np.ndarray, '6 3']]:
    """Rings of the ear: front column from low to high, then back from high to low."""
    for x, grow in ((0.079, 1.05), (0.092, 1.35)):
        y = np.array([-0.026, 0.0, 0.026, 0.028, 0.002, -0.024]) * grow + 1.578
        z = np.array([0.006, 0.008, 0.004, -0.020, -0.022, -0.012]) * grow - 0.006
        yield np.stack([np.full(6, x), y, z - 0.8 * (x - 0.079)], axis=1)


def crotch_row(turn: Float[np.ndarray, ' K']) -> Float[np.ndarray, 'K 3']:
    """The torso's lowest row, whose ends dip between the legs."""
    row = form.TORSO.ring(0.85, turn)
    dip = np.exp(-((row[:, 0] / 0.045) ** 2))
    row[:, 1] -= 0.045 * dip
    row[:, 2] *= 1.0 - 0.35 * dip
    return row


def shoulder_row() -> Float[np.ndarray, '14 3']:
    """The torso's highest row: around the neck's base, then along the shoulder."""
    x = np.array([0.0, 0.023, 0.045, 0.063, 0.080, 0.110, 0.140])
    front = np.array([0.046, 0.045, 0.040, 0.030, 0.012, 0.002, -0.002])
    back = np.array([-0.088, -0.087, -0.084, -0.079, -0.071, -0.064, -0.058])
    low = np.array([1.402, 1.404, 1.408, 1.414, 1.420, 1.422, 1.424])
    high = np.array([1.435, 1.435, 1.434, 1.431, 1.426, 1.424, 1.424])
    return np.concatenate([np.stack([x, low, front], 1), np.stack([x, high, back], 1)[::-1]])


def heel_ring(turn: Float[np.ndarray, ' K']) -> Float[np.ndarray, 'K 3']:
    """The ring around the sole under the heel."""
    sin, cos = np.sin(np.deg2rad(turn)), np.cos(np.deg2rad(turn))
    return np.stack([0.118 + 0.026 * sin, np.full(len(turn), 0.012), -0.045 + 0.036 * cos], axis=1)
