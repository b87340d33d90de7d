"""The mannequin's form: an implicit surface of lofts, capsules and reliefs.

Lengths are metres for a height of 1.70 m; y is measured from the floor here. Segment lengths
follow Drillis and Contini's fractions of the height (Winter, Biomechanics and Motor Control of
Human Movement, ch. 4); girths are an average adult's.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from tokenhmr_jax.mannequin.anatomy.solids import Capsule, Loft, Relief

FINGERS = ('index', 'middle', 'ring', 'pinky')
TOES = ('big_toe', 'second_toe', 'third_toe', 'fourth_toe', 'small_toe')
PARTS = ('torso', 'neck', 'head', 'ear', 'leg', 'foot', *TOES, 'arm', 'palm', 'thumb', *FINGERS)


def _symmetric(rows, n):
    """Rows (t, half width, front, back) of a loft along y, centred on x = 0 = z."""
    return [(t, 0, 0, w, w, b, f, n) for t, w, f, b in rows]


# fmt: off
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
    (0.085, 0.1180, -0.036, 0.031, 0.031, 0.034, 0.034),
    (0.110, 0.1175, -0.034, 0.029, 0.029, 0.033, 0.034),
    (0.150, 0.1170, -0.030, 0.030, 0.029, 0.033, 0.034),
    (0.200, 0.1160, -0.026, 0.035, 0.034, 0.036, 0.041),
    (0.270, 0.1140, -0.021, 0.045, 0.043, 0.043, 0.056),
    (0.340, 0.1120, -0.015, 0.052, 0.049, 0.047, 0.066),
    (0.400, 0.1100, -0.010, 0.052, 0.050, 0.050, 0.062),
    (0.450, 0.1080, -0.004, 0.051, 0.051, 0.055, 0.054),
    (0.485, 0.1070, -0.001, 0.052, 0.053, 0.059, 0.051),
    (0.520, 0.1060, 0.000, 0.054, 0.054, 0.061, 0.053),
    (0.580, 0.1040, 0.000, 0.060, 0.058, 0.068, 0.060),
    (0.650, 0.1020, 0.000, 0.068, 0.064, 0.076, 0.068),
    (0.720, 0.0975, -0.001, 0.076, 0.074, 0.081, 0.076),
    (0.790, 0.0935, -0.004, 0.081, 0.080, 0.083, 0.084),
    (0.850, 0.0920, -0.006, 0.079, 0.072, 0.080, 0.084),
    (0.910, 0.0900, -0.006, 0.070, 0.055, 0.070, 0.074),
    (0.960, 0.0860, -0.006, 0.050, 0.030, 0.050, 0.050),
    (0.980, 0.0850, -0.006, 0.010, 0.010, 0.010, 0.010)]])

FOOT = Loft('z', [(z, x, y, i, o, d, u, n) for z, x, y, i, o, d, u, n in [
    (-0.092, 0.118, 0.034, 0.001, 0.001, 0.001, 0.001, 2.2),
    (-0.088, 0.118, 0.034, 0.014, 0.014, 0.016, 0.014, 2.2),
    (-0.074, 0.118, 0.034, 0.026, 0.026, 0.029, 0.028, 2.3),
    (-0.045, 0.118, 0.034, 0.032, 0.032, 0.034, 0.040, 2.5),
    (-0.010, 0.120, 0.034, 0.033, 0.035, 0.034, 0.046, 2.4),
    (0.020, 0.122, 0.030, 0.035, 0.038, 0.030, 0.043, 2.3),
    (0.050, 0.124, 0.025, 0.039, 0.041, 0.025, 0.034, 2.3),
    (0.080, 0.126, 0.020, 0.044, 0.044, 0.020, 0.026, 2.3),
    (0.100, 0.127, 0.016, 0.046, 0.046, 0.016, 0.019, 2.4),
    (0.112, 0.127, 0.014, 0.045, 0.045, 0.013, 0.014, 2.4),
    (0.120, 0.127, 0.013, 0.036, 0.036, 0.005, 0.005, 2.2)]], skew=(0.42, 0.1, 0.1))

ARM = Loft('x', [(x, y, z, d, u, b, f, n) for x, y, z, u, d, f, b, n in [
    (0.090, 1.365, -0.025, 0.020, 0.030, 0.030, 0.030, 2.0),
    (0.120, 1.365, -0.025, 0.042, 0.060, 0.060, 0.058, 2.0),
    (0.160, 1.375, -0.026, 0.050, 0.066, 0.062, 0.060, 2.0),
    (0.200, 1.383, -0.028, 0.050, 0.058, 0.056, 0.056, 2.0),
    (0.240, 1.386, -0.031, 0.047, 0.050, 0.050, 0.050, 2.0),
    (0.300, 1.387, -0.035, 0.043, 0.045, 0.046, 0.043, 2.0),
    (0.360, 1.387, -0.038, 0.040, 0.042, 0.043, 0.040, 2.0),
    (0.410, 1.386, -0.040, 0.036, 0.037, 0.038, 0.037, 2.0),
    (0.440, 1.386, -0.040, 0.035, 0.036, 0.038, 0.037, 2.0),
    (0.480, 1.386, -0.039, 0.036, 0.037, 0.041, 0.040, 2.0),
    (0.530, 1.386, -0.038, 0.034, 0.034, 0.039, 0.037, 2.0),
    (0.600, 1.386, -0.037, 0.027, 0.027, 0.033, 0.031, 2.1),
    (0.650, 1.386, -0.036, 0.021, 0.021, 0.028, 0.027, 2.2),
    (0.680, 1.386, -0.036, 0.019, 0.019, 0.028, 0.027, 2.3),
    (0.705, 1.386, -0.036, 0.018, 0.019, 0.033, 0.032, 2.4),
    (0.735, 1.386, -0.036, 0.016, 0.018, 0.040, 0.039, 2.6),
    (0.765, 1.386, -0.036, 0.014, 0.016, 0.042, 0.041, 2.7),
    (0.785, 1.386, -0.036, 0.012, 0.013, 0.041, 0.040, 2.7),
    (0.792, 1.386, -0.036, 0.005, 0.005, 0.030, 0.030, 2.5)]])


class Digit(NamedTuple):
    """A finger or toe.

    path: points of its axis. radii: at root and tip. side: direction of its cells' first column.
    flat: height / width. segments: rings. cells: across the root. start: the first ring's place
    along the axis, 0 to 1.
    """

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
    """Distance of half-body points to the body's surface, metres, negative inside.

    Args:
        points: metres.
        part: index into PARTS; a part's surface is shaped by its solids in NEAR alone.
        blend: metres over which solids melt together, the k of -k log sum exp(-distance / k).
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
