"""Lunging, swinging a bat or arm, boxing, stooping, stepping up and dancing."""

import numpy as np
from numpy.random import Generator

from tokenhmr_jax.mannequin.movement.choreography import (
    ALL_ARMS,
    ANKLE_HEIGHT,
    HIP_DROP,
    LEG,
    PAIR,
    Clip,
    Times,
    arm_goals,
    bell,
    knee_poles,
    place_legs,
    pose_arms,
    random_path,
    stance,
    torso_and_head,
    wander,
    xyz,
)
from tokenhmr_jax.mannequin.movement.kinematics import Figure, to_matrix

_STANDING = LEG + ANKLE_HEIGHT + HIP_DROP


def lunging(rng: Generator, t: Times) -> Clip:
    """Wide stances with bent knees: warrior, surfing, skiing, lunges with a bar."""
    style = rng.choice(['warrior', 'surf', 'ski', 'bar'], p=[0.35, 0.25, 0.2, 0.2])
    sink, width, stagger, arms = {
        'warrior': (rng.uniform(0.15, 0.42), rng.uniform(0.7, 1.35), 0.05, ('wide', 'side', 'up')),
        'surf': (rng.uniform(0.15, 0.45), rng.uniform(0.5, 0.95), 0.05, ('wide', 'side', 'low')),
        'ski': (rng.uniform(0.05, 0.35), rng.uniform(0.15, 0.4), 0.08, ('poles', 'carry')),
        'bar': (rng.uniform(0.1, 0.4), rng.uniform(0.15, 0.4), 0.4, ('bar', 'up', 'hip')),
    }[style]
    ankles, yaw = stance(rng, t, (width, width), stagger)
    shift = 0.0
    if style in ('warrior', 'surf'):  # the left knee bends to the side, and the foot points there
        yaw[:, 0] = rng.uniform(0.9, 1.5)
        shift = rng.uniform(0.0, 0.35) * width
    lean = {'surf': rng.uniform(0.1, 0.9), 'ski': rng.uniform(0.2, 0.9)}.get(
        style, rng.normal(0.03, 0.12)
    )
    moving = wander(rng, t, (3,), 0.025)
    pelvis = xyz(shift, _STANDING - sink - 0.05 * width, -0.2 * np.sin(lean)) + moving
    hips = xyz(0.5 * lean, rng.normal(0.2, 0.25), 0.0) + wander(rng, t, (3,), 0.04)
    figure = Figure(to_matrix(hips), pelvis)
    turn = rng.normal(0.1, 0.3) + wander(rng, t, (), 0.08)
    torso_and_head(rng, t, figure, 0.5 * lean, rng.normal(0, 0.12), turn)
    pose_arms(rng, t, figure, arms, free=0.12, pause=3.0)
    rise = 0.9 * (style == 'bar') * (ankles[..., 2] < -0.15)
    place_legs(rng, t, figure, ankles, knee_poles(yaw), yaw * (rise == 0), rise)
    return figure, np.zeros_like(t)


def swinging(rng: Generator, t: Times) -> Clip:
    """Batting, golf, throwing and serving: the trunk winds up and unwinds with the hands."""
    wind = random_path(rng, t, lambda k: rng.uniform(-1, 1, (k, 1)), 1.0)[:, 0]
    sink, lean = rng.uniform(0.0, 0.2), rng.uniform(-0.1, 0.6)
    ankles, yaw = stance(rng, t, (0.3, 0.95), stagger=0.15)
    pelvis = xyz(-0.1 * wind, _STANDING - sink - 0.2 * ankles[0, 0, 0], -0.15 * np.sin(lean))
    hips = xyz(0.5 * lean, 0.5 * wind, 0 * wind) + wander(rng, t, (3,), 0.03)
    figure = Figure(to_matrix(hips), pelvis)
    torso_and_head(rng, t, figure, 0.5 * lean, rng.normal(0, 0.15), 0.6 * wind)
    names = ('forward', 'side', 'low', 'guard', 'wide')
    goals, poles = arm_goals(rng, t, figure, names, free=0.3)
    angle = rng.uniform(0.7, 1.5) * wind + rng.normal(0, 0.15)
    up = rng.uniform(-0.45, 0.35) + rng.uniform(-0.3, 0.45) * wind**2
    chest, centre = figure.chest()
    hand = xyz(0.45 * np.sin(angle), 0.1 + up, 0.12 + 0.33 * np.cos(angle))
    hand = centre + (chest @ hand[..., None])[..., 0]
    if rng.random() < 0.6:  # both hands hold
        goals = hand[:, None] + PAIR * (0.03, 0.02, 0)
        poles = PAIR * (0.6, -0.7, -0.2) + np.zeros_like(goals)
    else:
        out = xyz(-0.25 - 0.2 * wind, 0.15 + 0.25 * rng.random(), 0.25 * wind)
        goals[:, 1] = figure.shoulders()[1][:, 1] + (chest @ out[..., None])[..., 0]
        poles[:, 1] = (-0.6, -0.7, -0.2)
    figure.place_wrists(goals, poles)
    pitch = np.stack([0 * wind, 0.7 * np.clip(wind, 0, 1)], -1)
    place_legs(rng, t, figure, ankles, knee_poles(yaw), yaw, pitch)
    return figure, np.zeros_like(t)


def boxing(rng: Generator, t: Times) -> Clip:
    """On guard with bent knees; either fist punches, straight, low or as a hook; ducks."""
    u = (t / rng.uniform(0.9, 1.6) + rng.uniform()) % 1
    punch = np.stack([bell(u, 0.25, 0.1), bell(u, 0.75, 0.1)], -1) * rng.uniform(0.3, 1, 2)
    ankles, yaw = stance(rng, t, (0.2, 0.6), stagger=0.2)
    duck = rng.choice([0.05, 0.3]) * rng.random() + 0.03
    lean = rng.uniform(0.05, 0.45) + duck
    twist = 0.6 * (punch[:, 1] - punch[:, 0]) + rng.normal(0, 0.2)
    pelvis = xyz(0, _STANDING - 0.04 - duck, -0.1 * np.sin(lean)) + wander(rng, t, (3,), 0.02)
    hips = xyz(0.4 * lean, 0.4 * twist, 0 * twist) + wander(rng, t, (3,), 0.03)
    figure = Figure(to_matrix(hips), pelvis)
    torso_and_head(rng, t, figure, 0.6 * lean, rng.normal(0, 0.1), 0.6 * twist)
    goals, poles = arm_goals(rng, t, figure, ('guard', 'guard', 'chest'), free=0.08)
    chest, _ = figure.chest()
    reach = xyz(-0.08, rng.normal(-0.02, 0.12, 2), 0.47) * PAIR
    target = figure.shoulders()[1] + reach @ np.swapaxes(chest, -1, -2)
    goals = goals + punch[..., None] * (target - goals)
    figure.place_wrists(goals, poles)
    place_legs(rng, t, figure, ankles, knee_poles(yaw), yaw, np.zeros_like(yaw))
    return figure, np.zeros_like(t)


def stooping(rng: Generator, t: Times) -> Clip:
    """Bent forward: hands on the knees, on the shins, on the ground or lifting from it."""
    ankles, yaw = stance(rng, t, (0.2, 0.8), stagger=0.06)
    low = random_path(rng, t, lambda k: rng.uniform(0, 1, (k, 1)), 2.0)[:, 0]
    squat = rng.uniform(0, 1) ** 1.5
    lean = (1.0 + 0.9 * rng.random()) * (0.5 + 0.5 * low) * (1 - 0.35 * squat)
    height = _STANDING - 0.03 - (0.08 + 0.45 * squat) * (0.3 + 0.7 * low)
    pelvis = xyz(0, height, -0.25 * np.sin(lean) * (1 - 0.5 * squat))
    figure = Figure(to_matrix(xyz(0.6 * lean, 0, 0) + wander(rng, t, (3,), 0.03)), pelvis)
    torso_and_head(
        rng, t, figure, 0.45 * lean, rng.normal(0, 0.1), rng.normal(0, 0.15), level=rng.random()
    )
    heels = rng.choice([0, 0.6]) * squat * low[:, None] + np.zeros((1, 2))
    place_legs(rng, t, figure, ankles, knee_poles(yaw), yaw, heels)
    goals, poles = arm_goals(rng, t, figure, ('hang', 'low', 'carry', 'forward'), free=0.15)
    style = rng.choice(['knees', 'ground', 'free'], p=[0.45, 0.3, 0.25])
    if style == 'knees':
        joints = figure.joints()
        down = rng.uniform(-0.25, 0.4)
        goals = joints[:, [4, 5]] + down * (joints[:, [7, 8]] - joints[:, [4, 5]])
        goals = goals + PAIR * (0.03, 0.06, 0.05)
    elif style == 'ground':
        place = (rng.uniform(0.05, 0.3), 0.1 + 0.3 * rng.random() * (1 - low), 0.25)
        goals = PAIR * np.moveaxis(np.stack(np.broadcast_arrays(*place, low)[:3]), 0, -1)[:, None]
    if style != 'free':
        poles = PAIR * (1.0, 0, -0.3) + np.zeros_like(goals)
        goals = goals + wander(rng, t, (2, 3), 0.01)
    figure.place_wrists(goals, poles)
    return figure, np.zeros_like(t)


def stepping(rng: Generator, t: Times) -> Clip:
    """One foot on a step, ledge or hold: stairs, climbing, a foot on a bench."""
    height = rng.uniform(0.12, 0.65)
    ankles, yaw = stance(rng, t, (0.12, 0.45), stagger=0.05)
    ankles[:, 0] += (0.25 * (rng.random() < 0.3), height, rng.uniform(0.15, 0.5))
    up = random_path(rng, t, lambda k: rng.uniform(0, 1, (k, 1)), 1.5)[:, 0]
    lean = rng.uniform(0.0, 0.5) + 0.3 * up * height
    forward = ankles[:, 0, 2] * (0.2 + 0.4 * up)
    pelvis = xyz(0.05, _STANDING - 0.06 + 0.35 * height * up, forward - 0.1 * np.sin(lean))
    ankles[:, 1, 1] += 0.3 * height * up
    figure = Figure(to_matrix(xyz(0.4 * lean, 0, 0) + wander(rng, t, (3,), 0.04)), pelvis)
    torso_and_head(rng, t, figure, 0.6 * lean, rng.normal(0, 0.1), rng.normal(0, 0.2))
    climbing = ('up', 'forward', 'wave', 'wide')
    names = climbing if rng.random() < 0.4 else ('hang', 'hip', 'low', 'carry', 'forward')
    pose_arms(rng, t, figure, names, free=0.2)
    pitch = np.stack([0 * up, 0.2 + 0.6 * up], -1)
    place_legs(rng, t, figure, ankles, knee_poles(yaw), yaw, pitch)
    return figure, np.zeros_like(t)


def dancing(rng: Generator, t: Times) -> Clip:
    """Spins, arabesques, high legs and wide arms, the trunk bent and twisted."""
    bend = random_path(rng, t, lambda k: rng.normal(0, 1, (k, 3)) * (0.3, 0.25, 0.35), 1.2)
    raised = random_path(rng, t, lambda k: rng.uniform(0, 1, (k, 1)) ** 2, 1.2)[:, 0]
    aim = rng.choice([rng.normal(0, 0.5), np.pi + rng.normal(0, 0.4), np.pi / 2])
    back = np.clip(-np.cos(aim), 0, 1) * raised
    tilt = 0.25 * bend[:, 0] + back * rng.uniform(0.3, 1.1)
    sink = rng.uniform(0, 0.15) + np.abs(wander(rng, t, (), 0.05))
    spin = rng.choice([0.0, 1.0]) * rng.normal(0, 2.5) * t
    pelvis = xyz(-0.04, _STANDING - sink, -0.15 * np.sin(tilt))
    sway = to_matrix(xyz(tilt, 0.3 * bend[:, 2], 0.2 * bend[:, 1]))
    figure = Figure(sway, pelvis)
    torso_and_head(rng, t, figure, bend[:, 0] - 0.4 * back, bend[:, 1], bend[:, 2], level=0.3)
    pose_arms(rng, t, figure, (*ALL_ARMS, 'up', 'side', 'wide'), free=0.4, pause=1.2)
    ankles, yaw = stance(rng, t, (0.06, 0.35), stagger=0.05, splay=0.5)
    reach = rng.uniform(0.4, 0.8) * xyz(0.5 * abs(np.sin(aim)), 0, np.cos(aim))
    lifted = reach + xyz(0.12, ANKLE_HEIGHT + rng.uniform(0.2, 1.1), 0)
    ankles[:, 0] += raised[:, None] * (lifted - ankles[:, 0])
    pitch = np.stack([1.0 * raised, rng.choice([0, 0.6]) * raised], -1)
    place_legs(rng, t, figure, ankles, knee_poles(yaw), yaw, pitch)
    turn = to_matrix(xyz(0, spin, 0))
    figure.root, figure.pelvis = turn @ figure.root, (turn @ figure.pelvis[..., None])[..., 0]
    return figure, np.zeros_like(t)
