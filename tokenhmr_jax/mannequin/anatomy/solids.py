"""Solids of the mannequin's form: lofts and capsules, and reliefs on their surface."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.interpolate import PchipInterpolator

AXES = {'x': (0, 1, 2), 'y': (1, 0, 2), 'z': (2, 0, 1)}  # along, u, v
SAMPLES = 512


class Loft:
    """A tube along a coordinate axis with superelliptic sections.

    A row is (t, centre u, centre v, radius -u, +u, -v, +v, exponent): each quadrant of the section
    has its own radii. Squared radii are interpolated, so ends close roundly. `skew` (slope, pivot,
    length) slants sections: t runs back by slope * (u - pivot), in full from t = length on, not at
    all where t < 0.
    """

    def __init__(self, axis: str, rows, skew=(0.0, 0.0, 1.0)):
        self.axis, self.skew = AXES[axis], skew
        rows = np.asarray(rows, float)
        self.low, self.high = rows[0, 0], rows[-1, 0]
        values = np.concatenate([rows[:, 1:3], rows[:, 3:7] ** 2, rows[:, 7:]], axis=1)
        table = PchipInterpolator(rows[:, 0], values)(np.linspace(self.low, self.high, SAMPLES))
        table[:, 2:6] = np.sqrt(np.maximum(table[:, 2:6], 1e-6))
        self.table = table

    def section(
        self, t: Float[np.ndarray, ' N']
    ) -> tuple[Float[np.ndarray, 'N 7'], Float[np.ndarray, ' N']]:
        """Interpolated columns of the rows at t, and the distance of t beyond the ends."""
        inside = np.clip(t, self.low, self.high)
        position = (inside - self.low) * ((SAMPLES - 1) / (self.high - self.low))
        i = np.minimum(position.astype(int), SAMPLES - 2)
        fraction = (position - i)[:, None]
        return self.table[i] * (1 - fraction) + self.table[i + 1] * fraction, np.abs(t - inside)

    def distance(self, points: Float[np.ndarray, 'N 3']) -> Float[np.ndarray, ' N']:
        """Roughly the signed distance, negative inside."""
        along, u, v = self.axis
        s, beyond = self.section(points[:, along] + self._slant(points[:, along], points[:, u]))
        du, dv = points[:, u] - s[:, 0], points[:, v] - s[:, 1]
        ru = np.where(du < 0, s[:, 2], s[:, 3])
        rv = np.where(dv < 0, s[:, 4], s[:, 5])
        n = s[:, 6]
        radial = ((np.abs(du) / ru) ** n + (np.abs(dv) / rv) ** n + 1e-12) ** (1 / n)
        return (radial - 1) * np.sqrt(ru * rv) + beyond

    def ring(
        self, t: float | Float[np.ndarray, ' K'], degrees: Float[np.ndarray, ' K']
    ) -> Float[np.ndarray, 'K 3']:
        """Points on the section at t; angles run from +v towards +u."""
        along, u, v = self.axis
        s = self.section(np.broadcast_to(np.asarray(t, float), np.shape(degrees)))[0]
        sin, cos = np.sin(np.deg2rad(degrees)), np.cos(np.deg2rad(degrees))
        ru, rv = np.where(sin < 0, s[:, 2], s[:, 3]), np.where(cos < 0, s[:, 4], s[:, 5])
        n = s[:, 6]
        scale = (np.abs(sin) ** n + np.abs(cos) ** n) ** (-1 / n)
        points = np.empty((len(degrees), 3))
        points[:, u], points[:, v] = s[:, 0] + ru * sin * scale, s[:, 1] + rv * cos * scale
        points[:, along] = t - self._slant(t, points[:, u])
        return points

    def _slant(self, t, u):
        slope, pivot, length = self.skew
        return slope * np.clip(t / length, 0.0, 1.0) * (u - pivot)


@dataclass(frozen=True)
class Capsule:
    """A tapered capsule from a to b; its section is scaled by `flat` along the unit vector `up`."""

    a: tuple[float, float, float]
    b: tuple[float, float, float]
    ra: float
    rb: float
    up: tuple[float, float, float] = (0.0, 1.0, 0.0)
    flat: float = 1.0

    def distance(self, points: Float[np.ndarray, 'N 3']) -> Float[np.ndarray, ' N']:
        """Roughly the signed distance, negative inside."""
        a, b, up = (np.asarray(x, float) for x in (self.a, self.b, self.up))
        along = b - a
        t = np.clip((points - a) @ along / max(along @ along, 1e-12), 0.0, 1.0)
        away = points - a - t[:, None] * along
        lift = away @ up
        squared = np.einsum('ij,ij->i', away, away) + lift**2 * (self.flat**-2 - 1.0)
        return np.sqrt(squared + 1e-12) - (self.ra + t * (self.rb - self.ra))


class Relief(NamedTuple):
    """A Gaussian bump (or dent, if negative) of the surface: centre, sigmas and height, metres."""

    centre: tuple[float, float, float]
    sigma: tuple[float, float, float]
    height: float
