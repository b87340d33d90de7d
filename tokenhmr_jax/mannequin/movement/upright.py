"""Standing, reaching, kicking and stretching."""

import numpy as np
from numpy.random import Generator

from tokenhmr_jax.mannequin.movement.choreography import (
    ALL_ARMS,
    ANKLE_HEIGHT,
    HIP_DROP,
    LEG,
    PAIR,
    STILL_ARMS,
    Clip,
    Times,
    arm_goals,
    knee_poles,
    periodic_curve,
    place_legs,
    pose_arms,
    random_path,
    stance,
    torso_and_head,
    wander,
    xyz,
)
from tokenhmr_jax.mannequin.movement.kinematics import Figure, to_matrix, turn_along, unit


def standing(rng: Generator, t: Times) -> Clip:
    """On both feet, shifting weight, leaning, talking with the hands."""
    ankles, yaw = stance(rng, t, (0.08, 0.55))
    shift = random_path(rng, t, lambda k: rng.normal(0, 1, (k, 3)) * (0.05, 0.008, 0.02), 2.5)
    height = rng.uniform(0.96, 1.03) * LEG + ANKLE_HEIGHT + HIP_DROP - 0.15 * ankles[0, 0, 0] ** 2
    lean = rng.normal(0.08, 0.12) if rng.random() < 0.8 else rng.uniform(0.2, 0.7)
    lean = lean + wander(rng, t, (), 0.05)
    pelvis = shift + xyz(0, height, -0.15 * np.sin(lean))
    hips = wander(rng, t, (3,), 0.05) + rng.normal(0, 1, 3) * (0.06, 0.12, 0.05)
    figure = Figure(to_matrix(hips + xyz(0.3 * lean, 0, 0)), pelvis)
    twist = random_path(rng, t, lambda k: rng.normal(0, 0.3, (k, 1)))[:, 0]
    torso_and_head(rng, t, figure, lean, wander(rng, t, (), 0.08) + rng.normal(0, 0.08), twist)
    pose_arms(rng, t, figure, (*STILL_ARMS, 'up', 'wide', 'point', 'forward'), free=0.2)
    place_legs(rng, t, figure, ankles, knee_poles(yaw), yaw, np.zeros_like(yaw))
    return figure, np.zeros_like(t)


def reaching(rng: Generator, t: Times) -> Clip:
    """One hand or both follow goals anywhere around the body; trunk, hips and knees help."""
    ankles, yaw = stance(rng, t, (0.12, 0.7), stagger=0.12)
    both = rng.random() < 0.4

    def draw(count):
        azimuth, height = rng.normal(0, 0.7, count), rng.uniform(0.05, 1.95, count)
        distance = rng.uniform(0.3, 0.75, count) * np.where(height < 0.5, 0.7, 1)
        return xyz(np.sin(azimuth) * distance, height, np.cos(azimuth) * distance)

    goal = random_path(rng, t, draw, 1.3)
    low = np.clip((1.05 - goal[:, 1]) / 1.0, 0, 1)
    squat = rng.uniform(0.1, 0.9)
    lean = 0.1 + low * (1.5 - 0.7 * squat) - 0.15 * np.clip(goal[:, 1] - 1.5, 0, 1)
    height = LEG * 1.01 - 0.45 * squat * low - 0.25 * ankles[0, 0, 0] ** 2
    turn = np.arctan2(goal[:, 0], np.maximum(goal[:, 2], 0.15))
    back = -0.22 * np.sin(lean) * (1 - squat / 2)
    pelvis = xyz(0.12 * goal[:, 0], height + ANKLE_HEIGHT + HIP_DROP, back)
    hips = xyz(0.45 * lean, 0.25 * turn, 0 * turn) + wander(rng, t, (3,), 0.03)
    figure = Figure(to_matrix(hips), pelvis)
    torso_and_head(rng, t, figure, 0.55 * lean, 0.1 * turn, 0.5 * turn, level=0.1)
    _reach(rng, t, figure, goal, both)
    heels_up = 0.25 * squat * low[:, None] + np.zeros((1, 2))
    place_legs(rng, t, figure, ankles, knee_poles(yaw), yaw, heels_up)
    return figure, np.zeros_like(t)


def _reach(rng, t, figure, goal, both):
    """The right hand, or both, at `goal` (N, 3) in the world; a free left arm gestures."""
    goals, poles = arm_goals(rng, t, figure, ('hang', 'hip', 'carry', 'low', 'side'), free=0.3)
    reaching = slice(0, 2) if both else slice(1, 2)
    apart = PAIR * (rng.uniform(0.03, 0.25) if both else 0.0, 0, 0) + wander(rng, t, (2, 3), 0.02)
    elbows = rng.uniform((0.2, -1, -0.6), (1, 0, 0), (2, 3)) * PAIR
    goals[:, reaching] = (goal[:, None] + apart)[:, reaching]
    poles[:, reaching] = elbows[reaching]
    figure.place_wrists(goals, poles)


def kicking(rng: Generator, t: Times) -> Clip:
    """Stands on one leg and kicks with the other, to the front or the side, arms on guard."""
    u = (t / rng.uniform(1.5, 2.6) + rng.uniform()) % 1
    aim, height = rng.normal(0.1, 0.5), rng.uniform(0.25, 1.2)
    reach = periodic_curve(u, (0, 0.0), (0.3, 0.15), (0.5, 1.0), (0.62, 1.0), (0.8, 0.1))
    chamber = periodic_curve(u, (0, 0.0), (0.3, 1.0), (0.5, 0.2), (0.62, 0.2), (0.75, 1.0))
    lean = -0.35 * reach * height + 0.1
    pelvis = xyz(-0.08 * (reach + chamber).clip(0, 1), LEG * 0.99 + ANKLE_HEIGHT + HIP_DROP, -0.03)
    hips = xyz(0.5 * lean, 0.5 * aim * reach, 0.1 * reach) + wander(rng, t, (3,), 0.03)
    figure = Figure(to_matrix(hips), pelvis + np.zeros((len(t), 3)))
    torso_and_head(rng, t, figure, lean + 0.15, 0.1 * reach, -0.4 * aim * reach)
    names = ('guard', 'hang', 'side', 'low', 'hip')
    pose_arms(rng, t, figure, names, [0.5, 0.15, 0.15, 0.1, 0.1])
    ankles, yaw = stance(rng, t, (0.15, 0.3))
    kick = xyz(0.85 * np.sin(aim), height, 0.85 * np.cos(aim))
    raised = np.array([0.1, 0.5 + 0.2 * rng.random(), 0.12])
    ground = ankles[:, 0].copy()
    ankles[:, 0] += chamber[:, None] * (raised - ground) + reach[:, None] * (kick - ground)
    pitch = np.stack([rng.uniform(-0.3, 0.9) * reach + 0.5 * chamber, 0 * u], -1)
    poles = knee_poles(yaw)
    poles[:, 0] = _knee(figure, ankles[:, 0], xyz(aim, 0, 1))
    place_legs(rng, t, figure, ankles, poles, yaw, pitch)
    return figure, np.zeros_like(t)


def stretching(rng: Generator, t: Times) -> Clip:
    """Large slow poses, as in gymnastics: wide stances, one leg raised, the trunk bent."""
    ankles, yaw = stance(rng, t, (0.15, 1.1), stagger=0.2, splay=0.5)
    bend = random_path(rng, t, lambda k: rng.normal(0, 1, (k, 3)) * (0.45, 0.35, 0.4), 2.5)
    bend += xyz(0.25, 0, 0)
    hinge = np.clip(bend[:, 0], -0.3, 1.2)
    width = np.linalg.norm(ankles[0, 0, [0, 2]])
    height = np.sqrt((0.97 * LEG) ** 2 - min(width, 0.6) ** 2) - 0.1 * rng.random()
    raise_leg = rng.random() < 0.45
    shift = -0.5 * ankles[0, 0, 0] if raise_leg else 0.0
    pelvis = xyz(shift, height + ANKLE_HEIGHT + HIP_DROP, -0.25 * np.sin(hinge))
    hips = xyz(hinge, 0.3 * bend[:, 2], 0.2 * bend[:, 1]) + wander(rng, t, (3,), 0.05)
    figure = Figure(to_matrix(hips), pelvis)
    torso_and_head(rng, t, figure, 0.8 * bend[:, 0], bend[:, 1], bend[:, 2], level=0.2)
    pose_arms(rng, t, figure, ALL_ARMS, free=0.5, pause=2.5)
    pitch, poles = np.zeros_like(yaw), knee_poles(yaw)
    if raise_leg:

        def draw(count):
            direction = unit(rng.normal(0, 1, (count, 3)) + xyz(0.3, -0.6, 0.1))
            return direction * rng.uniform(0.4, 0.8, (count, 1)) + xyz(0.1, height, 0)

        ankles[:, 0] = np.maximum(random_path(rng, t, draw, 2.5), (-0.2, 0.12, -1))
        pitch[:, 0] = rng.uniform(0, 1.2)
        poles[:, 0] = _knee(figure, ankles[:, 0], xyz(0.6, 0, 1))
    place_legs(rng, t, figure, ankles, poles, yaw, pitch)
    return figure, np.zeros_like(t)


def _knee(figure, ankle, pole):
    """The pole (N, 3) of a raised left leg: that of a hanging leg, turned with the leg."""
    hip = figure.pelvis + xyz(0.088, -HIP_DROP, 0)
    return turn_along(xyz(0, -1.0, 0), unit(ankle - hip), pole)
