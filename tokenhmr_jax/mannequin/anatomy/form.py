"""The mannequin's form: an implicit surface of lofts, capsules and reliefs.

Lengths are metres (millimetres in the tables of lofts) for a height of 1.70 m; y is
measured from the floor here. Segment lengths follow Drillis and Contini's fractions of the height
(Winter, Biomechanics and Motor Control of Human Movement, ch. 4); girths are an average adult's.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from tokenhmr_jax.mannequin.anatomy.solids import Capsule, Loft, Relief

FINGERS = ('index', 'middle', 'ring', 'pinky')
TOES = ('big_toe', 'second_toe', 'third_toe', 'fourth_toe', 'small_toe')
PARTS = ('torso', 'neck', 'head', 'ear', 'leg', 'foot', *TOES, 'arm', 'palm', 'thumb', *FINGERS)


def _loft(axis, rows, **skew):
    """A loft of rows in millimetres; the last column is the exponent."""
    return Loft(axis, np.divide(rows, [1000] * 7 + [1]), **skew)


# fmt: off
TORSO = _loft('y', [(y, 0, 0, w, w, b, f, 2.3) for y, w, f, b in [
    (785, 30, 20, 20), (805, 80, 60, 70), (835, 138, 89, 104), (880, 167, 99, 121),
    (920, 172, 106, 121), (970, 164, 108, 108), (1020, 150, 106, 93), (1070, 141, 103, 83),
    (1120, 140, 104, 85), (1180, 147, 111, 96), (1240, 156, 118, 107), (1290, 163, 116, 114),
    (1330, 165, 103, 114), (1370, 150, 78, 100), (1400, 120, 58, 80), (1425, 80, 40, 64),
    (1450, 45, 22, 45)]])

NECK = _loft('y', [(y, 0, z, w, w, b, f, 2.0) for y, z, w, f, b in [
    (1350, -30, 60, 45, 55), (1400, -25, 62, 50, 60), (1430, -18, 57, 51, 58),
    (1470, -10, 54, 53, 56), (1530, 0, 54, 50, 56)]])

HEAD = _loft('y', [(y, 0, z, w, w, b, f, 2.1) for y, z, w, f, b in [
    (1470, 70, 8, 12, 15), (1475, 64, 20, 26, 26), (1485, 52, 36, 42, 44), (1500, 36, 47, 58, 56),
    (1520, 22, 56, 72, 70), (1540, 12, 62, 81, 86), (1565, 5, 68, 88, 100), (1600, 0, 73, 93, 105),
    (1635, 0, 75, 91, 102), (1660, 0, 70, 81, 91), (1680, 0, 57, 63, 71), (1694, 0, 34, 38, 42),
    (1700, 0, 1, 1, 1)]])

LEG = _loft('y', [(y, x, z, i, o, b, f, 2.0) for y, x, z, o, i, f, b in [
    (85, 118, -36, 31, 31, 34, 34), (110, 117.5, -34, 29, 29, 33, 34),
    (150, 117, -30, 30, 29, 33, 34), (200, 116, -26, 35, 34, 36, 41),
    (270, 114, -21, 45, 43, 43, 56), (340, 112, -15, 52, 49, 47, 66),
    (400, 110, -10, 52, 50, 50, 62), (450, 108, -4, 51, 51, 55, 54),
    (485, 107, -1, 52, 53, 59, 51), (520, 106, 0, 54, 54, 61, 53), (580, 104, 0, 60, 58, 68, 60),
    (650, 102, 0, 68, 64, 76, 68), (720, 97.5, -1, 76, 74, 81, 76),
    (790, 93.5, -4, 81, 80, 83, 84), (850, 92, -6, 79, 72, 80, 84), (910, 90, -6, 70, 55, 70, 74),
    (960, 86, -6, 50, 30, 50, 50), (980, 85, -6, 10, 10, 10, 10)]])

FOOT = _loft('z', [(z, x, y, i, o, d, u, n) for z, x, y, i, o, d, u, n in [
    (-92, 118, 34, 1, 1, 1, 1, 2.2), (-88, 118, 34, 14, 14, 16, 14, 2.2),
    (-74, 118, 34, 26, 26, 29, 28, 2.3), (-45, 118, 34, 32, 32, 34, 40, 2.5),
    (-10, 120, 34, 33, 35, 34, 46, 2.4), (20, 122, 30, 35, 38, 30, 43, 2.3),
    (50, 124, 25, 39, 41, 25, 34, 2.3), (80, 126, 20, 44, 44, 20, 26, 2.3),
    (100, 127, 16, 46, 46, 16, 19, 2.4), (112, 127, 14, 45, 45, 13, 14, 2.4),
    (120, 127, 13, 36, 36, 5, 5, 2.2)]], skew=(0.42, 0.1, 0.1))

ARM = _loft('x', [(x, y, z, d, u, b, f, n) for x, y, z, u, d, f, b, n in [
    (90, 1365, -25, 20, 30, 30, 30, 2), (120, 1365, -25, 42, 60, 60, 58, 2),
    (160, 1375, -26, 50, 66, 62, 60, 2), (200, 1383, -28, 50, 58, 56, 56, 2),
    (240, 1386, -31, 47, 50, 50, 50, 2), (300, 1387, -35, 43, 45, 46, 43, 2),
    (360, 1387, -38, 40, 42, 43, 40, 2), (410, 1386, -40, 36, 37, 38, 37, 2),
    (440, 1386, -40, 35, 36, 38, 37, 2), (480, 1386, -39, 36, 37, 41, 40, 2),
    (530, 1386, -38, 34, 34, 39, 37, 2), (600, 1386, -37, 27, 27, 33, 31, 2.1),
    (650, 1386, -36, 21, 21, 28, 27, 2.2), (680, 1386, -36, 19, 19, 28, 27, 2.3),
    (705, 1386, -36, 18, 19, 33, 32, 2.4), (735, 1386, -36, 16, 18, 40, 39, 2.6),
    (765, 1386, -36, 14, 16, 42, 41, 2.7), (785, 1386, -36, 12, 13, 41, 40, 2.7),
    (792, 1386, -36, 5, 5, 30, 30, 2.5)]])


class Digit(NamedTuple):
    """A finger or toe."""

    path: tuple  # points of its axis
    radii: tuple[float, float]  # at root and tip
    side: tuple[float, float, float]  # direction of its cells' first column
    flat: float  # height / width
    segments: int  # rings
    cells: int = 1  # across the root
    start: float = 0.25  # the first ring's place along the axis, 0 to 1


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
    Relief((0.0, 1.548, 0.095), (0.011, 0.009, 0.040), 0.019),  # nose: tip, back, bridge
    Relief((0.0, 1.563, 0.095), (0.009, 0.011, 0.040), 0.012),
    Relief((0.0, 1.583, 0.095), (0.008, 0.013, 0.040), 0.006),
    Relief((0.013, 1.544, 0.090), (0.006, 0.007, 0.030), 0.004),  # nostril's wing
    Relief((0.031, 1.587, 0.085), (0.014, 0.010, 0.030), -0.016),  # eye socket
    Relief((0.031, 1.587, 0.085), (0.010, 0.006, 0.030), 0.012),  # eye
    Relief((0.028, 1.606, 0.088), (0.020, 0.006, 0.030), 0.004),  # brow
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

# fmt: on


def signed_distance(
    points: Float[np.ndarray, 'N 3'], part: Int[np.ndarray, ' N'], blend: Float[np.ndarray, ' N']
) -> Float[np.ndarray, ' N']:
    """Distance of half-body points to the surface of their part (in PARTS), negative inside.

    Solids melt together over `blend`, the k of -k log sum exp(-distance / k). All is in metres.
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


def relief_height(points: Float[np.ndarray, 'N 3']) -> Float[np.ndarray, ' N']:
    """Metres by which the reliefs lift the half body's surface."""
    height = np.zeros(len(points))
    for item in RELIEFS:
        q = (points - np.asarray(item.centre)) / np.asarray(item.sigma)
        height += item.height * np.exp(-0.5 * np.einsum('ij,ij->i', q, q))
    return height
