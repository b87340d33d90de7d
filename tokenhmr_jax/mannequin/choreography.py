"""Building blocks of procedural motion: smooth random curves, and body parts that follow them.

`motion` puts them together. Times `t` are (N,) seconds; a `Figure` is posed from the root outwards.
"""

import itertools

import numpy as np

from tokenhmr_jax.mannequin.kinematics import carry, rotated, sinc, to_matrix, turn_y

LEG = 0.81  # hip to ankle, metres
ANKLE_HEIGHT = 0.085
HIP_DROP = 0.055  # the hips lie this much below the pelvis joint
PAIR = np.array([[1.0, 1.0, 1.0], [-1.0, 1.0, 1.0]])  # left, right

# Where the left wrist is, seen from its shoulder in the chest's frame (metres), where its elbow
# points, and whether "down" is the ground's (1: a hanging arm) or the chest's (0).
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
}
STILL_ARMS = ('hang', 'hip', 'chest', 'face', 'back', 'carry', 'wave', 'head', 'low')
ALL_ARMS = tuple(ARM_POSTURES)


# Smooth random functions of time.


def wander(rng, t, shape, scale, rate=0.4):
    """Smooth noise (N, *shape) of standard deviation `scale`, with frequencies up to `rate` Hz."""
    total = 0.0
    t = t.reshape(-1, *(1,) * len(shape))
    for _ in range(2):
        frequency, phase = rng.uniform(0.2, 1, shape) * rate, rng.uniform(0, 1, shape)
        wave = np.sin((2 * np.pi * (t * frequency + phase)).astype(np.float32))
        total = total + wave * rng.normal(0, scale, shape)
    return total


def ease(u):
    """From 0 to 1 with zero speed and acceleration at both ends (minimum jerk)."""
    u = np.clip(u, 0, 1)
    return u * u * u * (10 + u * (6 * u - 15))


def through(rng, t, draw, pause=1.6):
    """Moves through random keys: draw(count) -> (count, D); (N, D), each key held for a while."""
    count = int((t[-1] - t[0]) / (0.6 * pause)) + 2
    keys = draw(count)
    start = np.cumsum(rng.uniform(0.6, 1.4, count - 1) * pause) - rng.uniform(0, 1.4) * pause
    blend = ease((t[:, None] - start) / rng.uniform(0.5, 1.0))
    return keys[0] + blend @ np.diff(keys, axis=0)


def knots(u, *points):
    """Periodic smooth curve: u (N,) in [0, 1) through (u, value) points, the first at 0."""
    points = [*points, (1.0, points[0][1])]
    value = np.full_like(u, points[0][1])
    for (u0, v0), (u1, v1) in itertools.pairwise(points):
        value = value + (v1 - v0) * ease((u - u0) / (u1 - u0))
    return value


def bell(phase, centre, width):
    """A bump of height 1 around `centre`, periodic in phase."""
    distance = (phase - centre + 0.5) % 1 - 0.5
    return np.exp(-((distance / width) ** 2))


def xyz(x, y, z):
    """Scalars or (N,) arrays to vectors (3,) or (N, 3)."""
    return np.stack(np.broadcast_arrays(x, y, z), -1)


# Parts of the body. Angles and positions of the left limb; `PAIR` mirrors them for the right one.


def torso_and_head(rng, t, figure, flex=0.0, side=0.0, twist=0.0, level=0.5):
    """Bends the spine (totals in radians, scalars or (N,)) and lets the head look around.

    level: how much of the bend the head undoes to keep looking ahead.
    """
    total = xyz(flex, twist, -np.asarray(side)) + np.zeros((len(t), 3))
    noise = wander(rng, t, (5, 3), 0.05) + rng.normal(0, 0.04, (5, 3))
    share = np.array([0.4, 0.35, 0.25])[:, None]
    figure.bend('spine', total[:, None] * share + noise[:, :3])
    look = through(rng, t, lambda count: rng.normal(0, 1, (count, 3)) * (0.25, 0.45, 0.12))
    look -= total * (level, 0.5 * level, 0)
    neck = rng.uniform(0.35, 0.65)
    figure.bend('neck', look[:, None] * np.array([neck, 1 - neck])[:, None] + noise[:, 3:])


def collars_and_wrists(rng, t, figure, lift=0.0):
    """Shoulder girdle and wrists wander; `lift` (N, 2) raises the collars, in radians."""
    noise = wander(rng, t, (4, 3), 0.5) + rng.normal(0, 0.7, (4, 3))
    collars = noise[:, :2] * (0.04, 0.10, 0.08)
    collars[..., 2] += lift
    figure.bend('collar', collars)
    figure.bend('wrist', noise[:, 2:] * (0.12, 0.15, 0.30))


def from_shoulders(figure, goals, poles, gravity, floor=None):
    """Wrists and poles (N, 2, 3) seen from the shoulders to the world.

    They are in the chest's frame, or, where gravity (N, 2) is 1, in one that only turns with it.
    With a floor (a height) the wrists stay above it and the elbows point away from it.
    """
    chest, _ = figure.chest()
    upright = turn_y(np.arctan2(chest[:, 0, 2], chest[:, 2, 2]))
    weight = gravity[..., None]
    goals, poles = (
        rotated(upright[:, None], v) * weight + rotated(chest[:, None], v) * (1 - weight)
        for v in (goals, poles)
    )
    goals = goals + figure.shoulders()[1]
    if floor is not None:
        goals[..., 1] = np.maximum(goals[..., 1], floor + 0.06)
        poles[..., 1] = np.maximum(poles[..., 1], 0.0)
    return goals, poles


def keep_off_chest(goals):
    """Pushes wrists (N, 2, 3), seen from the shoulders, out of the trunk: an ellipse from above."""
    shoulder = np.array([0.17, 0.145, -0.01]) * PAIR
    seen = goals + shoulder
    radius = np.hypot(seen[..., 0] / 0.18, seen[..., 2] / 0.15)
    push = np.maximum(1 / np.maximum(radius, 0.2) - 1, 0)
    push = 1 + push * ease((0.3 - seen[..., 1]) / 0.1)  # not above the shoulders
    seen[..., [0, 2]] *= push[..., None]
    return seen - shoulder


def _to_path(goal, pole, gravity):
    """A posture as numbers between which an arm can move without passing through its shoulder.

    Distance of the wrist; its direction, as the swing (y, z) that brings the arm there from the
    T-pose; where the elbow points, as an angle about that direction (0 is back); and gravity.
    """
    distance = np.linalg.norm(goal)
    x, y, z = np.array(goal) / distance
    swing = np.arccos(x) * np.array([-z, y]) / np.hypot(y, z)
    _, up, front = carry(np.array([x, y, z]), xyz(1.0, 0, 0), np.array(pole))
    return [distance, *swing, np.arctan2(up, -front), gravity]


def _from_path(path):
    """Left-hand goals and poles (N, 2, 3) of paths (N, 2, 5); see `_to_path`."""
    distance, y, z, swivel = np.moveaxis(path[..., :4], -1, 0)
    angle = np.hypot(y, z)
    direction = xyz(np.cos(angle), z * sinc(angle), -y * sinc(angle))
    poles = carry(xyz(1.0, 0, 0), direction, xyz(0, np.sin(swivel), -np.cos(swivel)))
    return distance[..., None] * direction, poles


def gesture(rng, t, figure, names, weights=None, **options):
    """Poses arms that move among the named postures; see `arm_goals`."""
    figure.place_wrists(*arm_goals(rng, t, figure, names, weights, **options))


def arm_goals(rng, t, figure, names, weights=None, free=0.25, pause=1.6, floor=None):
    """Wrists and poles (N, 2, 3) in the world of arms that move among the named postures.

    Both arms do alike or each its own; a share `free` of their goals is drawn freely. `floor`: see
    `from_shoulders`. Poses collars and wrists on the way.
    """
    table = np.array([_to_path(*ARM_POSTURES[name]) for name in names])
    alike = rng.random() < 0.4

    def draw(count):
        picks = rng.choice(len(names), (count, 2), p=weights)
        picks[:, 1] = picks[:, 0] if alike else picks[:, 1]
        rows = table[picks] + rng.normal(0, 1, (count, 2, 5)) * (0.03, 0.15, 0.15, 0.3, 0)
        loose = rng.random((count, 2)) < free
        rows[loose] = rng.uniform(
            (0.2, -1.9, -1.3, -1.2, 0), (0.52, 0.3, 1.3, 0.3, 0), (loose.sum(), 5)
        )
        return rows.reshape(count, 10)

    path = through(rng, t, draw, pause).reshape(-1, 2, 5)
    gravity = path[..., 4] if floor is None else np.zeros((len(t), 2))
    goals, poles = _from_path(path)
    goals = goals + wander(rng, t, (2, 3), 0.025, 0.8)
    collars_and_wrists(rng, t, figure, 0.5 * np.clip(goals[..., 1] / 0.5, 0, 1))
    return from_shoulders(figure, keep_off_chest(goals * PAIR), poles * PAIR, gravity, floor)


def place_legs(rng, t, figure, ankles, poles, yaw, pitch):
    """Brings ankles to (N, 2, 3), knees along poles (N, 2, 3), all in the world.

    The feet turn outwards by yaw (N, 2) and stand on tiptoe by pitch (N, 2), on heels if negative.
    """
    tilt = to_matrix(xyz(pitch, 0, 0))
    figure.place_legs(ankles, poles, turn_y(yaw * (1, -1)) @ tilt)
    toes = wander(rng, t, (2,), 0.05) + rng.normal(0, 0.05, 2)
    figure.bend('foot', xyz(toes - 0.7 * np.maximum(pitch, 0), 0, 0))


def pointing(yaw, up=0.0):
    """Poles (N, 2, 3) of knees that point where the feet point, outwards by yaw (N, 2)."""
    return xyz(np.sin(yaw), np.zeros_like(yaw) + up, np.cos(yaw)) * PAIR


def feet_apart(rng, t, width, stagger=0.08, turnout=0.3):
    """Ankles (N, 2, 3) on the ground and outward yaw (N, 2) of the feet: a stance that stays."""
    x, z = rng.uniform(*width) / 2, rng.normal(0, stagger)
    ankles = np.array([[x, ANKLE_HEIGHT, z], [-x, ANKLE_HEIGHT, -z]])
    yaw = np.clip(rng.normal(turnout, 0.2, 2), -0.2, 0.9)
    return np.tile(ankles, (len(t), 1, 1)), np.tile(yaw, (len(t), 1))
