"""Building blocks of procedural motion: smooth random curves, and body parts that follow them.

Times `t` are seconds. A `Figure` is posed from the root outwards.
"""

import itertools
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float, Num
from numpy.random import Generator

from tokenhmr_jax.mannequin.movement import kinematics
from tokenhmr_jax.mannequin.movement.kinematics import PAIR, BothSides, Figure, rotated, turn_along

LEG = 0.81  # hip to ankle, metres
ANKLE_HEIGHT = 0.085
HIP_DROP = 0.055  # of the hips below the pelvis joint

Times = Float[np.ndarray, ' N']
Numbers = int | float | Num[np.ndarray, '...']
# A posed figure, and its height above the ground in flight, metres.
Clip = tuple[Figure, Float[np.ndarray, ' N']]

# Place of the left wrist, seen from its shoulder in the chest's frame (metres); direction of its
# elbow; and whether "down" is the ground's (1: a hanging arm) or the chest's (0).
ARM_POSTURES = {
    'hang': ((0.05, -0.505, 0.04), (0.4, 0.0, -1.0), 1),
    'hip': ((0.02, -0.38, 0.04), (1.0, 0.2, -0.5), 0),
    'chest': ((-0.20, -0.22, 0.22), (0.9, -0.8, 0.1), 0),
    'face': ((-0.12, 0.06, 0.22), (0.6, -1.0, 0.1), 0),
    'head': ((-0.08, 0.26, 0.02), (1.0, -0.1, 0.4), 0),
    'back': ((-0.10, -0.40, -0.17), (1.0, 0.2, -0.6), 0),
    'carry': ((-0.05, -0.26, 0.32), (0.5, -1.0, -0.3), 0),
    'forward': ((-0.02, -0.02, 0.49), (0.6, -1.0, 0.0), 0),
    'side': ((0.48, 0.0, 0.08), (0.2, -0.8, -1.0), 0),
    'up': ((0.04, 0.48, 0.06), (1.0, 0.2, 0.5), 0),
    'low': ((-0.05, -0.40, 0.26), (0.8, -0.2, -0.6), 1),
    'wave': ((0.16, 0.20, 0.16), (0.7, -1.0, 0.0), 0),
    'guard': ((-0.10, 0.00, 0.26), (0.5, -1.0, 0.2), 0),
    'wide': ((0.49, 0.04, -0.02), (0.1, -0.6, -1.0), 0),
    'point': ((0.20, 0.30, 0.32), (0.8, -0.8, 0.0), 0),
    'phone': ((-0.02, 0.12, 0.10), (0.7, -1.0, 0.3), 0),
    'folded': ((-0.25, -0.20, 0.15), (0.7, -1.0, 0.1), 0),
    'pocket': ((0.06, -0.43, 0.05), (0.7, 0.0, -1.0), 0),
    'neck': ((-0.09, 0.17, -0.07), (1.0, 0.3, 0.2), 0),
    'bar': ((0.20, 0.06, -0.03), (0.3, -1.0, -0.1), 0),
    'poles': ((0.12, -0.26, 0.28), (0.8, -0.6, -0.6), 1),
}
STILL_ARMS = ('hang', 'hip', 'chest', 'face', 'back', 'carry', 'wave', 'head', 'low',
              'phone', 'folded', 'pocket', 'neck')  # fmt: skip
ALL_ARMS = tuple(ARM_POSTURES)


# Smooth random functions of time.


def wander(
    rng: Generator, t: Times, shape: tuple[int, ...], scale: float, rate: float = 0.4
) -> Float[np.ndarray, 'N ...']:
    """Smooth noise (N, *shape) of standard deviation `scale`, with frequencies up to `rate` Hz."""
    total = 0.0
    t = t.reshape(-1, *(1,) * len(shape))
    for _ in range(2):
        frequency, phase = rng.uniform(0.2, 1, shape) * rate, rng.uniform(0, 1, shape)
        wave = np.sin((2 * np.pi * (t * frequency + phase)).astype(np.float32))
        total = total + wave * rng.normal(0, scale, shape)
    return total


def ease(u: Float[np.ndarray, '*N']) -> Float[np.ndarray, '*N']:
    """From 0 to 1 with zero speed and acceleration at both ends (minimum jerk)."""
    u = np.clip(u, 0, 1)
    return u * u * u * (10 + u * (6 * u - 15))


def random_path(
    rng: Generator, t: Times, draw: Callable[[int], np.ndarray], pause: float = 1.6
) -> Float[np.ndarray, 'N D']:
    """Moves through random keys draw(count) -> (count, D), each held for about `pause` seconds."""
    count = int((t[-1] - t[0]) / (0.6 * pause)) + 2
    keys = draw(count)
    start = np.cumsum(rng.uniform(0.6, 1.4, count - 1) * pause) - rng.uniform(0, 1.4) * pause
    blend = ease((t[:, None] - start) / rng.uniform(0.5, 1.0))
    return keys[0] + blend @ np.diff(keys, axis=0)


def periodic_curve(
    u: Float[np.ndarray, ' N'], *points: tuple[float, float]
) -> Float[np.ndarray, ' N']:
    """Smooth curve of period 1 through points (u, value), the first at u = 0."""
    points = [*points, (1.0, points[0][1])]
    value = np.full_like(u, points[0][1])
    for (u0, v0), (u1, v1) in itertools.pairwise(points):
        value = value + (v1 - v0) * ease((u - u0) / (u1 - u0))
    return value


def bell(phase: Float[np.ndarray, '*N'], centre: float, width: float) -> Float[np.ndarray, '*N']:
    """A bump of height 1 around `centre`, periodic in phase."""
    distance = (phase - centre + 0.5) % 1 - 0.5
    return np.exp(-((distance / width) ** 2))


def xyz(x: Numbers, y: Numbers, z: Numbers) -> Num[np.ndarray, '... 3']:
    """Vectors of three coordinates, which broadcast."""
    return np.stack(np.broadcast_arrays(x, y, z), -1)


# Parts of the body. Angles and positions of the left limb; `PAIR` mirrors them for the right one.


def torso_and_head(
    rng: Generator,
    t: Times,
    figure: Figure,
    flex: Numbers = 0.0,
    side: Numbers = 0.0,
    twist: Numbers = 0.0,
    level: float = 0.5,
) -> None:
    """Bends the spine (totals, radians); the head looks around, undoing a share `level` of it."""
    total = xyz(flex, twist, -np.asarray(side)) + np.zeros((len(t), 3))
    noise = wander(rng, t, (5, 3), 0.05) + rng.normal(0, 0.04, (5, 3))
    share = np.array([0.4, 0.35, 0.25])[:, None]
    figure.bend('spine', total[:, None] * share + noise[:, :3])
    look = random_path(rng, t, lambda count: rng.normal(0, 1, (count, 3)) * (0.25, 0.45, 0.12))
    look -= total * (level, 0.5 * level, 0)
    neck = rng.uniform(0.35, 0.65)
    figure.bend('neck', look[:, None] * np.array([neck, 1 - neck])[:, None] + noise[:, 3:])


def collars_and_wrists(
    rng: Generator, t: Times, figure: Figure, lift: float | Float[np.ndarray, 'N 2'] = 0.0
) -> None:
    """Lets shoulder girdle and wrists wander; `lift` raises the collars, in radians."""
    noise = wander(rng, t, (4, 3), 0.5) + rng.normal(0, 0.7, (4, 3))
    collars = noise[:, :2] * (0.04, 0.10, 0.08)
    collars[..., 2] += lift
    figure.bend('collar', collars)
    figure.bend('wrist', noise[:, 2:] * (0.12, 0.15, 0.30))


def shoulders_to_world(
    figure: Figure,
    goals: BothSides,
    poles: BothSides,
    gravity: Float[np.ndarray, 'N 2'],
    floor: float | None = None,
) -> tuple[BothSides, BothSides]:
    """Takes wrists and poles from the shoulders' frame to the world, above a floor's height.

    The frame is the chest's or, where gravity is 1, upright with the chest's heading.
    """
    chest, _ = figure.chest()
    upright = kinematics.rotation_about_y(np.arctan2(chest[:, 0, 2], chest[:, 2, 2]))
    weight = gravity[..., None]
    goals, poles = (
        rotated(upright[:, None], v) * weight + rotated(chest[:, None], v) * (1 - weight)
        for v in (goals, poles)
    )
    goals = goals + figure.shoulders()[1]
    if floor is not None:
        goals[..., 1] = np.maximum(goals[..., 1], floor + 0.06)
        poles[..., 1] = np.maximum(poles[..., 1], 0.0)  # elbows point away from the floor
    return goals, poles


def keep_off_chest(goals: BothSides) -> BothSides:
    """Pushes wrists, seen from the shoulders, out of the trunk: an ellipse from above."""
    shoulder = np.array([0.17, 0.145, -0.01]) * PAIR
    seen = goals + shoulder
    radius = np.hypot(seen[..., 0] / 0.18, seen[..., 2] / 0.15)
    push = np.maximum(1 / np.maximum(radius, 0.2) - 1, 0)
    push = 1 + push * ease((0.3 - seen[..., 1]) / 0.1)  # not above the shoulders
    seen[..., [0, 2]] *= push[..., None]
    return seen - shoulder


def _to_path(goal, pole, gravity):
    """A posture as coordinates whose interpolation keeps the wrist away from its shoulder.

    The wrist's distance, swing (y, z) from the T-pose, elbow's angle about it (0: back), gravity.
    """
    distance = np.linalg.norm(goal)
    x, y, z = np.array(goal) / distance
    swing = np.arccos(x) * np.array([-z, y]) / np.hypot(y, z)
    _, up, front = turn_along(np.array([x, y, z]), xyz(1.0, 0, 0), np.array(pole))
    return [distance, *swing, np.arctan2(up, -front), gravity]


def _from_path(path):
    """Left-hand goals and poles (N, 2, 3) of paths (N, 2, 5) of `_to_path`."""
    distance, y, z, swivel = np.moveaxis(path[..., :4], -1, 0)
    angle = np.hypot(y, z)
    sinc = kinematics.sinc(angle)
    direction = xyz(np.cos(angle), z * sinc, -y * sinc)
    poles = turn_along(xyz(1.0, 0, 0), direction, xyz(0, np.sin(swivel), -np.cos(swivel)))
    return distance[..., None] * direction, poles


def pose_arms(rng: Generator, t: Times, figure: Figure, *args, **options) -> None:
    """Poses arms that move among the named postures; arguments as of `arm_goals`."""
    figure.place_wrists(*arm_goals(rng, t, figure, *args, **options))


def arm_goals(
    rng: Generator,
    t: Times,
    figure: Figure,
    names: Sequence[str],
    weights: Sequence[float] | None = None,
    free: float = 0.25,
    pause: float = 1.6,
    floor: float | None = None,
) -> tuple[BothSides, BothSides]:
    """Wrists and poles, in the world, of arms that move among the named postures.

    They move alike or not; a share `free` of their goals is drawn freely. Also poses the collars.
    """
    table = np.array([_to_path(*ARM_POSTURES[name]) for name in names])
    alike = rng.random() < 0.4

    def draw(count):
        picks = rng.choice(len(names), (count, 2), p=weights)
        picks[:, 1] = picks[:, 0] if alike else picks[:, 1]
        rows = table[picks] + rng.normal(0, 1, (count, 2, 5)) * (0.03, 0.15, 0.15, 0.3, 0)
        loose = rng.random((count, 2)) < free
        low, high = (0.2, -1.9, -1.3, -1.2, 0), (0.52, 0.3, 1.3, 0.3, 0)
        rows[loose] = rng.uniform(low, high, (loose.sum(), 5))
        return rows.reshape(count, 10)

    path = random_path(rng, t, draw, pause).reshape(-1, 2, 5)
    gravity = path[..., 4] if floor is None else np.zeros((len(t), 2))
    goals, poles = _from_path(path)
    goals = goals + wander(rng, t, (2, 3), 0.025, 0.8)
    collars_and_wrists(rng, t, figure, 0.5 * np.clip(goals[..., 1] / 0.5, 0, 1))
    return shoulders_to_world(figure, keep_off_chest(goals * PAIR), poles * PAIR, gravity, floor)


def place_legs(
    rng: Generator,
    t: Times,
    figure: Figure,
    ankles: BothSides,
    poles: BothSides,
    yaw: Float[np.ndarray, 'N 2'],
    pitch: Float[np.ndarray, 'N 2'],
) -> None:
    """Brings ankles to positions, knees along poles; feet turn out by yaw, on tiptoe by pitch."""
    feet = kinematics.rotation_about_y(yaw * (1, -1)) @ kinematics.to_matrix(xyz(pitch, 0, 0))
    figure.place_legs(ankles, poles, feet)
    toes = wander(rng, t, (2,), 0.05) + rng.normal(0, 0.05, 2)
    figure.bend('foot', xyz(toes - 0.7 * np.maximum(pitch, 0), 0, 0))


def knee_poles(
    yaw: Float[np.ndarray, 'N 2'], up: float | Float[np.ndarray, '2'] = 0.0
) -> BothSides:
    """Poles of knees that point as the feet do, outwards by yaw."""
    return xyz(np.sin(yaw), np.zeros_like(yaw) + up, np.cos(yaw)) * PAIR


def stance(
    rng: Generator, t: Times, width: tuple[float, float], stagger: float = 0.08, splay: float = 0.3
) -> tuple[BothSides, Float[np.ndarray, 'N 2']]:
    """A stance that stays: ankles on the ground, and outward yaw of the feet."""
    x, z = rng.uniform(*width) / 2, rng.normal(0, stagger)
    ankles = np.array([[x, ANKLE_HEIGHT, z], [-x, ANKLE_HEIGHT, -z]])
    yaw = np.clip(rng.normal(splay, 0.2, 2), -0.2, 0.9)
    return np.tile(ankles, (len(t), 1, 1)), np.tile(yaw, (len(t), 1))
