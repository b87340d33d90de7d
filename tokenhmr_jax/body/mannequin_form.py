"""The mannequin's form: an implicit surface made of lofts, capsules and reliefs.

Lengths are metres for a height of 1.70 m; y is measured from the floor here. Segment lengths
follow Drillis and Contini's fractions of the height (Winter, Biomechanics and Motor Control of
Human Movement, ch. 4), girths are those of an average adult.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.interpolate import PchipInterpolator

FINGERS = ('index', 'middle', 'ring', 'pinky')
TOES = ('big_toe', 'second_toe', 'third_toe', 'fourth_toe', 'small_toe')
PARTS = ('torso', 'neck', 'head', 'ear', 'leg', 'foot', *TOES, 'arm', 'palm', 'thumb', *FINGERS)
AXES = {'x': (0, 1, 2), 'y': (1, 0, 2), 'z': (2, 0, 1)}  # along, u, v
SAMPLES = 512


class Loft:
    """A tube along a coordinate axis whose cross-section has a radius each way.

    Rows are (t, centre u, centre v, radius -u, +u, -v, +v, exponent): the section is a
    superellipse, quadrant by quadrant. Squared radii are interpolated, so ends close roundly.
    `skew` (slope, pivot, length) slants sections: t runs back by slope * (u - pivot), in full
    from t = length on, not at all where t < 0.
    """

    def __init__(self, axis: str, rows, skew=(0.0, 0.0, 1.0)):
        self.axis, self.skew = AXES[axis], skew
        rows = np.asarray(rows, float)
        self.low, self.high = rows[0, 0], rows[-1, 0]
        values = np.concatenate([rows[:, 1:3], rows[:, 3:7] ** 2, rows[:, 7:]], axis=1)
        table = PchipInterpolator(rows[:, 0], values)(np.linspace(self.low, self.high, SAMPLES))
        table[:, 2:6] = np.sqrt(np.maximum(table[:, 2:6], 1e-6))
        self.table = table

    def section(self, t):
        """Interpolated columns (N, 7) at t (N,), and how far t lies beyond the ends (N,)."""
        inside = np.clip(t, self.low, self.high)
        position = (inside - self.low) * ((SAMPLES - 1) / (self.high - self.low))
        i = np.minimum(position.astype(int), SAMPLES - 2)
        fraction = (position - i)[:, None]
        return self.table[i] * (1 - fraction) + self.table[i + 1] * fraction, np.abs(t - inside)

    def distance(self, points):
        """Roughly the signed distance (N,), negative inside."""
        along, u, v = self.axis
        s, beyond = self.section(points[:, along] + self._slant(points[:, along], points[:, u]))
        du, dv = points[:, u] - s[:, 0], points[:, v] - s[:, 1]
        ru = np.where(du < 0, s[:, 2], s[:, 3])
        rv = np.where(dv < 0, s[:, 4], s[:, 5])
        n = s[:, 6]
        radial = ((np.abs(du) / ru) ** n + (np.abs(dv) / rv) ** n + 1e-12) ** (1 / n)
        return (radial - 1) * np.sqrt(ru * rv) + beyond

    def ring(self, t, degrees):
        """Points (K, 3) on the section at t (one or K); angles (K,) run from +v towards +u."""
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
    """A tapered capsule from a to b, its section scaled by `flat` along the unit vector `up`."""

    a: tuple[float, float, float]
    b: tuple[float, float, float]
    ra: float
    rb: float
    up: tuple[float, float, float] = (0.0, 1.0, 0.0)
    flat: float = 1.0

    def distance(self, points):
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


def _symmetric(rows, n):
    """Rows (t, half width, front, back) of a loft along y, centred on x = 0 = z."""
    return [(t, 0, 0, w, w, b, f, n) for t, w, f, b in rows]


TORSO = Loft('y', _symmetric([
    (0.785, 0.030, 0.020, 0.020), (0.805, 0.080, 0.060, 0.070), (0.835, 0.138, 0.089, 0.104),
    (0.880, 0.167, 0.099, 0.121), (0.920, 0.172, 0.106, 0.121), (0.970, 0.164, 0.108, 0.108),
    (1.020, 0.150, 0.106, 0.093), (1.070, 0.141, 0.103, 0.083), (1.120, 0.140, 0.104, 0.085),
    (1.180, 0.147, 0.111, 0.096), (1.240, 0.156, 0.118, 0.107), (1.290, 0.163, 0.116, 0.114),
    (1.330, 0.165, 0.103, 0.114), (1.370, 0.150, 0.078, 0.100), (1.400, 0.120, 0.058, 0.080),
    (1.425, 0.080, 0.040, 0.064), (1.450, 0.045, 0.022, 0.045)], 2.3))

NECK = Loft('y', [(y, 0, z, w, w, b, f, 2.0) for y, z, w, f, b in [
    (1.350, -0.030, 0.060, 0.045, 0.055), (1.400, -0.025, 0.062, 0.050, 0.060),
    (1.430, -0.018, 0.057, 0.051, 0.058), (1.470, -0.010, 0.054, 0.053, 0.056),
    (1.530, 0.000, 0.054, 0.050, 0.056)]])

HEAD = Loft('y', [(y, 0, z, w, w, b, f, 2.1) for y, z, w, f, b in [
    (1.470, 0.070, 0.008, 0.012, 0.015), (1.475, 0.064, 0.020, 0.026, 0.026),
    (1.485, 0.052, 0.036, 0.042, 0.044), (1.500, 0.036, 0.047, 0.058, 0.056),
    (1.520, 0.022, 0.056, 0.072, 0.070), (1.540, 0.012, 0.062, 0.081, 0.086),
    (1.565, 0.005, 0.068, 0.088, 0.100), (1.600, 0.000, 0.073, 0.093, 0.105),
    (1.635, 0.000, 0.075, 0.091, 0.102), (1.660, 0.000, 0.070, 0.081, 0.091),
    (1.680, 0.000, 0.057, 0.063, 0.071), (1.694, 0.000, 0.034, 0.038, 0.042),
    (1.700, 0.000, 0.001, 0.001, 0.001)]])

LEG = Loft('y', [(y, x, z, i, o, b, f, 2.0) for y, x, z, o, i, f, b in [
    (0.085, 0.1180, -0.036, 0.031, 0.031, 0.034, 0.034), (0.110, 0.1175, -0.034, 0.029, 0.029, 0.033, 0.034),
    (0.150, 0.1170, -0.030, 0.030, 0.029, 0.033, 0.034), (0.200, 0.1160, -0.026, 0.035, 0.034, 0.036, 0.041),
    (0.270, 0.1140, -0.021, 0.045, 0.043, 0.043, 0.056), (0.340, 0.1120, -0.015, 0.052, 0.049, 0.047, 0.066),
    (0.400, 0.1100, -0.010, 0.052, 0.050, 0.050, 0.062), (0.450, 0.1080, -0.004, 0.051, 0.051, 0.055, 0.054),
    (0.485, 0.1070, -0.001, 0.052, 0.053, 0.059, 0.051), (0.520, 0.1060, 0.000, 0.054, 0.054, 0.061, 0.053),
    (0.580, 0.1040, 0.000, 0.060, 0.058, 0.068, 0.060), (0.650, 0.1020, 0.000, 0.068, 0.064, 0.076, 0.068),
    (0.720, 0.0975, -0.001, 0.076, 0.074, 0.081, 0.076), (0.790, 0.0935, -0.004, 0.081, 0.080, 0.083, 0.084),
    (0.850, 0.0920, -0.006, 0.079, 0.072, 0.080, 0.084), (0.910, 0.0900, -0.006, 0.070, 0.055, 0.070, 0.074),
    (0.960, 0.0860, -0.006, 0.050, 0.030, 0.050, 0.050), (0.980, 0.0850, -0.006, 0.010, 0.010, 0.010, 0.010)]])

FOOT = Loft('z', [(z, x, y, i, o, d, u, n) for z, x, y, i, o, d, u, n in [
    (-0.092, 0.118, 0.034, 0.001, 0.001, 0.001, 0.001, 2.2), (-0.088, 0.118, 0.034, 0.014, 0.014, 0.016, 0.014, 2.2),
    (-0.074, 0.118, 0.034, 0.026, 0.026, 0.029, 0.028, 2.3), (-0.045, 0.118, 0.034, 0.032, 0.032, 0.034, 0.040, 2.5),
    (-0.010, 0.120, 0.034, 0.033, 0.035, 0.034, 0.046, 2.4), (0.020, 0.122, 0.030, 0.035, 0.038, 0.030, 0.043, 2.3),
    (0.050, 0.124, 0.025, 0.039, 0.041, 0.025, 0.034, 2.3), (0.080, 0.126, 0.020, 0.044, 0.044, 0.020, 0.026, 2.3),
    (0.100, 0.127, 0.016, 0.046, 0.046, 0.016, 0.019, 2.4), (0.112, 0.127, 0.014, 0.045, 0.045, 0.013, 0.014, 2.4),
    (0.120, 0.127, 0.013, 0.036, 0.036, 0.005, 0.005, 2.2)]], skew=(0.42, 0.1, 0.1))

ARM = Loft('x', [(x, y, z, d, u, b, f, n) for x, y, z, u, d, f, b, n in [
    (0.090, 1.365, -0.025, 0.020, 0.030, 0.030, 0.030, 2.0), (0.120, 1.365, -0.025, 0.042, 0.060, 0.060, 0.058, 2.0),
    (0.160, 1.375, -0.026, 0.050, 0.066, 0.062, 0.060, 2.0), (0.200, 1.383, -0.028, 0.050, 0.058, 0.056, 0.056, 2.0),
    (0.240, 1.386, -0.031, 0.047, 0.050, 0.050, 0.050, 2.0), (0.300, 1.387, -0.035, 0.043, 0.045, 0.046, 0.043, 2.0),
    (0.360, 1.387, -0.038, 0.040, 0.042, 0.043, 0.040, 2.0), (0.410, 1.386, -0.040, 0.036, 0.037, 0.038, 0.037, 2.0),
    (0.440, 1.386, -0.040, 0.035, 0.036, 0.038, 0.037, 2.0), (0.480, 1.386, -0.039, 0.036, 0.037, 0.041, 0.040, 2.0),
    (0.530, 1.386, -0.038, 0.034, 0.034, 0.039, 0.037, 2.0), (0.600, 1.386, -0.037, 0.027, 0.027, 0.033, 0.031, 2.1),
    (0.650, 1.386, -0.036, 0.021, 0.021, 0.028, 0.027, 2.2), (0.680, 1.386, -0.036, 0.019, 0.019, 0.028, 0.027, 2.3),
    (0.705, 1.386, -0.036, 0.018, 0.019, 0.033, 0.032, 2.4), (0.735, 1.386, -0.036, 0.016, 0.018, 0.040, 0.039, 2.6),
    (0.765, 1.386, -0.036, 0.014, 0.016, 0.042, 0.041, 2.7), (0.785, 1.386, -0.036, 0.012, 0.013, 0.041, 0.040, 2.7),
    (0.792, 1.386, -0.036, 0.005, 0.005, 0.030, 0.030, 2.5)]])


class Digit(NamedTuple):
    """A finger or toe: its axis `path` (K, 3), radius at its ends, the unit `side` vector (the
    first column of its cells lies that way), `flat` (height / width), rings, cells across the root
    and where along it the first ring is."""

    path: tuple
    radii: tuple[float, float]
    side: tuple[float, float, float]
    flat: float
    segments: int
    cells: int = 1
    start: float = 0.25


DIGITS = {
    'thumb': Digit(((0.704, 1.381, -0.014), (0.732, 1.374, 0.018), (0.757, 1.369, 0.038),
                    (0.779, 1.365, 0.050)), (0.0135, 0.0088), (-0.7, 0.0, 0.7), 1.0, 4, 2, 0.42),
    'index': Digit(((0.776, 1.386, -0.006), (0.818, 1.385, -0.003), (0.855, 1.380, -0.001)),
                   (0.0092, 0.0074), (0, 0, 1), 1.0, 5),
    'middle': Digit(((0.778, 1.386, -0.026), (0.824, 1.385, -0.025), (0.866, 1.380, -0.025)),
                    (0.0094, 0.0076), (0, 0, 1), 1.0, 5),
    'ring': Digit(((0.776, 1.386, -0.046), (0.819, 1.385, -0.047), (0.859, 1.380, -0.048)),
                  (0.0090, 0.0072), (0, 0, 1), 1.0, 5),
    'pinky': Digit(((0.771, 1.386, -0.065), (0.806, 1.385, -0.069), (0.837, 1.380, -0.072)),
                   (0.0080, 0.0064), (0, 0, 1), 1.0, 5),
    'big_toe': Digit(((0.0955, 0.015, 0.105), (0.0955, 0.014, 0.135), (0.098, 0.0135, 0.162)),
                     (0.0130, 0.0120), (-1, 0, 0), 0.95, 2, 1, 0.32),
    'second_toe': Digit(((0.119, 0.013, 0.102), (0.1195, 0.012, 0.130), (0.121, 0.0095, 0.161)),
                        (0.0080, 0.0081), (-1, 0, 0), 1.0, 2, 1, 0.32),
    'third_toe': Digit(((0.1365, 0.012, 0.096), (0.1375, 0.011, 0.124), (0.139, 0.009, 0.152)),
                       (0.0075, 0.0077), (-1, 0, 0), 1.0, 2, 1, 0.32),
    'fourth_toe': Digit(((0.1525, 0.0115, 0.089), (0.154, 0.0105, 0.116), (0.1555, 0.0085, 0.141)),
                        (0.0070, 0.0072), (-1, 0, 0), 1.0, 2, 1, 0.32),
    'small_toe': Digit(((0.1665, 0.011, 0.082), (0.169, 0.0095, 0.106), (0.171, 0.008, 0.129)),
                       (0.0068, 0.0069), (-1, 0, 0), 1.0, 2, 1, 0.32),
}


def digit_rings(name: str):
    """Cage rings along a digit, beyond its root: the upper row of vertices, then the lower."""
    digit = DIGITS[name]
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


def tilted_ring(loft, y, turn, slope, pivot):
    """A ring of a loft along y that rises by `slope` behind z = `pivot`."""
    t = np.full(len(turn), float(y))
    for _ in range(8):  # the section changes with the height: a fixed point
        t = y + slope * (pivot - loft.ring(t, turn)[:, 2])
    return loft.ring(t, turn)


def foot_ring(z):
    """A ring of the foot: the upper row from inside to outside, then the sole's row back; towards
    the toes, columns meet the gaps between them."""
    even = np.array([-62.0, -40.0, -14.0, 14.0, 40.0, 62.0])
    gaps = np.array([-70.0, -23.0, 1.0, 22.0, 43.0, 68.0])
    across = even + np.clip(z / 0.1, 0.0, 1.0) * (gaps - even)
    return FOOT.ring(z, np.concatenate([across, 180.0 - across[::-1]]))


def ear_rings():
    """Cage rings of the ear: front column from low to high, then back from high to low."""
    for x, grow in ((0.079, 0.9), (0.092, 1.15)):
        y = np.array([-0.026, 0.0, 0.026, 0.028, 0.002, -0.024]) * grow + 1.578
        z = np.array([0.006, 0.008, 0.004, -0.020, -0.022, -0.012]) * grow - 0.006
        yield np.stack([np.full(6, x), y, z - 0.8 * (x - 0.079)], axis=1)


def crotch_row(turn):
    """The torso's lowest row, whose ends dip between the legs."""
    row = TORSO.ring(0.85, turn)
    dip = np.exp(-((row[:, 0] / 0.045) ** 2))
    row[:, 1] -= 0.045 * dip
    row[:, 2] *= 1.0 - 0.35 * dip
    return row


def shoulder_row():
    """The torso's highest row: around the neck's base, then along the shoulder."""
    x = np.array([0.0, 0.023, 0.045, 0.063, 0.080, 0.110, 0.140])
    front = np.array([0.046, 0.045, 0.040, 0.030, 0.012, 0.002, -0.002])
    back = np.array([-0.088, -0.087, -0.084, -0.079, -0.071, -0.064, -0.058])
    low = np.array([1.402, 1.404, 1.408, 1.414, 1.420, 1.422, 1.424])
    high = np.array([1.435, 1.435, 1.434, 1.431, 1.426, 1.424, 1.424])
    return np.concatenate([np.stack([x, low, front], axis=1),
                           np.stack([x, high, back], axis=1)[::-1]])


def heel_ring(turn):
    """The ring around the sole under the heel."""
    sin, cos = np.sin(np.deg2rad(turn)), np.cos(np.deg2rad(turn))
    return np.stack([0.118 + 0.026 * sin, np.full(len(turn), 0.006), -0.045 + 0.034 * cos], axis=1)


def _chain(digit: Digit):
    """Tapered capsules along a digit's path."""
    path = np.asarray(digit.path, float)
    steps = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
    radius = digit.radii[0] + steps / steps[-1] * (digit.radii[1] - digit.radii[0])
    return [Capsule(tuple(a), tuple(b), ra, rb, flat=digit.flat)
            for a, b, ra, rb in zip(path, path[1:], radius, radius[1:], strict=False)]


SOLIDS = {
    'torso': [TORSO,
              Capsule((0.072, 0.865, -0.055), (0.070, 0.90, -0.050), 0.068, 0.060),  # buttock
              Capsule((0.060, 1.285, 0.070), (0.090, 1.300, 0.055), 0.042, 0.040)],  # chest
    'neck': [NECK, Capsule((0.0, 1.455, -0.048), (0.150, 1.392, -0.036), 0.026, 0.030,
                           (0, 0, 1), 1.5)],  # trapezius
    'head': [HEAD],
    'ear': [Capsule((0.078, 1.562, -0.006), (0.086, 1.592, -0.016), 0.010, 0.017, (0.96, 0, 0.28),
                    0.45)],
    'leg': [LEG],
    'foot': [FOOT, Capsule((0.118, 0.09, -0.036), (0.118, 0.04, -0.04), 0.032, 0.034)],
    'arm': [ARM],
    'palm': [],
} | {name: _chain(digit) for name, digit in DIGITS.items()}

NEAR = {  # the solids that shape a part's surface
    'torso': ('torso', 'neck', 'leg', 'arm'), 'neck': ('torso', 'neck', 'head', 'arm'),
    'head': ('neck', 'head', 'ear'), 'ear': ('head', 'ear'), 'leg': ('torso', 'leg', 'foot'),
    'foot': ('leg', 'foot', *TOES), 'arm': ('torso', 'neck', 'arm'),
    'palm': ('arm', 'thumb', *FINGERS), 'thumb': ('arm', 'thumb'),
} | {finger: ('arm', finger) for finger in FINGERS} | {toe: ('foot', toe) for toe in TOES}

BLEND = {'torso': 0.014, 'neck': 0.012, 'head': 0.007, 'ear': 0.004, 'leg': 0.012, 'foot': 0.005,
         'arm': 0.012, 'palm': 0.005, 'thumb': 0.005,
         } | dict.fromkeys(FINGERS, 0.003) | dict.fromkeys(TOES, 0.002)

NOSE = (0.0, 1.549, 0.120)  # the tip, and the left eye
EYE = (0.032, 1.588, 0.085)

RELIEFS = (
    Relief((0.0, 1.548, 0.095), (0.009, 0.009, 0.040), 0.019),  # nose: tip, back, bridge
    Relief((0.0, 1.563, 0.095), (0.008, 0.011, 0.040), 0.012),
    Relief((0.0, 1.583, 0.095), (0.008, 0.013, 0.040), 0.006),
    Relief((0.013, 1.544, 0.090), (0.006, 0.007, 0.030), 0.004),  # nostril's wing
    Relief((0.031, 1.587, 0.085), (0.013, 0.009, 0.030), -0.012),  # eye socket
    Relief((0.031, 1.587, 0.085), (0.009, 0.006, 0.030), 0.007),  # eye
    Relief((0.030, 1.607, 0.088), (0.020, 0.006, 0.030), 0.003),  # brow
    Relief((0.056, 1.556, 0.062), (0.016, 0.012, 0.030), 0.004),  # cheekbone
    Relief((0.0, 1.516, 0.090), (0.018, 0.005, 0.030), 0.004),  # upper lip
    Relief((0.0, 1.502, 0.090), (0.016, 0.005, 0.030), 0.004),  # lower lip
    Relief((0.0, 1.482, 0.085), (0.018, 0.009, 0.030), 0.007),  # chin
    Relief((0.070, 1.408, 0.060), (0.050, 0.009, 0.030), 0.004),  # collar bone
    Relief((0.0, 1.395, 0.060), (0.012, 0.014, 0.040), -0.005),  # between the collar bones
    Relief((0.0, 1.290, 0.110), (0.014, 0.050, 0.040), -0.005),  # breast bone
    Relief((0.0, 1.030, 0.100), (0.012, 0.014, 0.040), -0.006),  # navel
    Relief((0.0, 1.160, -0.090), (0.016, 0.140, 0.040), -0.007),  # spine
    Relief((0.085, 1.310, -0.120), (0.035, 0.045, 0.040), 0.006),  # shoulder blade
    Relief((0.0, 0.880, -0.120), (0.014, 0.050, 0.050), -0.012),  # cleft of the buttocks
    Relief((0.107, 0.490, 0.055), (0.022, 0.026, 0.030), 0.006),  # kneecap
    Relief((0.107, 0.440, 0.050), (0.018, 0.015, 0.030), 0.003),
    Relief((0.107, 0.490, -0.050), (0.018, 0.030, 0.030), -0.004),  # hollow of the knee
    Relief((0.088, 0.350, -0.060), (0.025, 0.050, 0.050), 0.004),  # calf, inner and outer
    Relief((0.135, 0.370, -0.055), (0.025, 0.050, 0.050), 0.004),
    Relief((0.088, 0.090, -0.030), (0.012, 0.011, 0.012), 0.006),  # ankle bones
    Relief((0.150, 0.080, -0.036), (0.012, 0.011, 0.012), 0.006),
    Relief((0.118, 0.110, -0.068), (0.014, 0.030, 0.014), 0.002),  # Achilles tendon
    Relief((0.435, 1.386, -0.080), (0.020, 0.016, 0.015), 0.004),  # point of the elbow
)


def field(points, part, blend):
    """The body's implicit surface, negative inside, for half-body points (N, 3).

    `part` (N,) indexes PARTS and selects the solids in play; `blend` (N,) metres is how widely
    solids melt into each other: -k log sum exp(-distance / k).
    """
    value = np.empty(len(points))
    for i in np.unique(part):
        rows = np.flatnonzero(part == i)
        p, k = points[rows], blend[rows]
        solids = [solid for name in NEAR[PARTS[i]] for solid in SOLIDS[name]]
        distances = np.stack([solid.distance(p) for solid in solids])
        least = distances.min(axis=0)
        value[rows] = least - k * np.log(np.exp((least - distances) / k).sum(axis=0))
    return value


def relief(points):
    """How far (N,) the reliefs lift the half body's surface at points (N, 3), metres."""
    height = np.zeros(len(points))
    for item in RELIEFS:
        q = (points - np.asarray(item.centre)) / np.asarray(item.sigma)
        height += item.height * np.exp(-0.5 * np.einsum('ij,ij->i', q, q))
    return height
