"""Walking, running and jumping."""

from typing import NamedTuple

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
    bell,
    collars_and_wrists,
    keep_off_chest,
    knee_poles,
    periodic_curve,
    place_legs,
    pose_arms,
    shoulders_to_world,
    torso_and_head,
    wander,
    xyz,
)
from tokenhmr_jax.mannequin.movement.kinematics import Figure, to_matrix


class Gait(NamedTuple):
    """A cycle of steps."""

    period: float  # seconds
    stride: float  # metres, of one foot on the ground
    lift: float  # metres, of the swinging foot
    duty: float  # share of the period that a foot spends on the ground
    push_off: float  # radians by which the heel rises behind


def _feet(gait, phase, direction, width, yaw):
    """Ankles (N, 2, 3) seen from the ground under the pelvis; pitch and yaw (N, 2) of the feet."""
    on_ground = phase < gait.duty
    u = np.clip((phase - gait.duty) / (1 - gait.duty), 0, 1)
    slope = -(1 - gait.duty) / gait.duty  # the swing starts and ends at the ground's speed
    swing = -0.5 + u * u * (3 - 2 * u) + slope * u * (1 - u) * (1 - 2 * u)
    along = gait.stride * np.where(on_ground, 0.5 - phase / gait.duty, swing)
    lift = gait.lift * np.sin(np.pi * u**0.8) ** 2
    pitch = gait.push_off * bell(phase, gait.duty + 0.03, 0.11)
    pitch -= min(0.35, 0.4 * gait.stride) * bell(phase, 0.98, 0.07)
    height = ANKLE_HEIGHT + lift + 0.13 * np.sin(np.maximum(pitch, 0))
    x = np.array([width, -width]) + along * np.sin(direction)
    ankles = xyz(x, height, along * np.cos(direction))
    return ankles, pitch, yaw + np.zeros_like(phase)


def walking(rng: Generator, t: Times) -> Clip:
    """Slow to brisk, forwards, backwards and sideways, marching, sneaking, high steps."""
    stride = rng.uniform(0.15, 0.85)
    style = rng.choice(['plain', 'march', 'sneak'], p=[0.7, 0.15, 0.15])
    gait = Gait(
        period=rng.uniform(0.95, 1.5), stride=stride, duty=rng.uniform(0.58, 0.68),
        lift={'plain': rng.uniform(0.05, 0.14), 'march': rng.uniform(0.2, 0.42)}.get(style, 0.15),
        push_off=rng.uniform(0.2, 0.4) + 0.4 * stride,
    )  # fmt: skip
    bend = rng.uniform(0.78, 0.92) if style == 'sneak' else rng.uniform(0.975, 1.02)
    lean = rng.uniform(0.2, 0.7) if style == 'sneak' else rng.normal(0.06, 0.08)
    direction = rng.choice([0, np.pi, np.pi / 2, -np.pi / 2], p=[0.82, 0.08, 0.05, 0.05])
    return _step(rng, t, gait, bend, lean, direction, running=False)


def running(rng: Generator, t: Times) -> Clip:
    """Jogging to sprinting."""
    stride = rng.uniform(0.5, 1.1)
    gait = Gait(
        period=rng.uniform(0.6, 0.8), stride=stride, duty=rng.uniform(0.3, 0.42),
        lift=rng.uniform(0.15, 0.25) + 0.25 * stride, push_off=rng.uniform(0.5, 0.9),
    )  # fmt: skip
    return _step(rng, t, gait, rng.uniform(0.93, 0.99), rng.uniform(0.05, 0.35), 0.0, running=True)


def _step(rng, t, gait, bend, lean, direction, running):
    """Walks or runs: legs by `_feet`, the trunk and the arms against them."""
    left = (t / gait.period + rng.uniform()) % 1
    phase = np.stack([left, (left + 0.5) % 1], -1)
    cycle = np.cos(2 * np.pi * left)  # 1 when the left heel strikes
    bounce = np.cos(4 * np.pi * (left - gait.duty / 2)) * (-0.04 if running else 0.022)
    ankles, pitch, yaw = _feet(
        gait, phase, direction, rng.uniform(0.03, 0.12), rng.normal(0.1, 0.1)
    )
    height = np.sqrt((bend * LEG) ** 2 - (0.28 * gait.stride) ** 2)
    pelvis = xyz(
        0.03 * np.sin(2 * np.pi * (left - gait.duty / 2 + 0.25)),
        height + ANKLE_HEIGHT + HIP_DROP + bounce, -0.05 * np.sin(lean),
    ) + wander(rng, t, (3,), 0.008)  # fmt: skip
    sway = rng.uniform(0.5, 1.5) * gait.stride * np.cos(direction)
    hips = xyz(0.3 * lean, -0.14 * sway * cycle, 0.05 * np.sin(2 * np.pi * left))
    figure = Figure(to_matrix(hips + wander(rng, t, (3,), 0.03)), pelvis)
    twist = (0.14 + rng.uniform(0.1, 0.3)) * sway * cycle
    torso_and_head(rng, t, figure, lean + wander(rng, t, (), 0.04), rng.normal(0, 0.05), twist)
    if rng.random() < 0.6:
        _swing_arms(rng, t, figure, cycle, 1.2 * gait.stride, 1 if running else rng.beta(0.6, 2))
    else:
        pose_arms(rng, t, figure, (*STILL_ARMS, 'forward', 'wide'), free=0.15, pause=3.0)
    place_legs(rng, t, figure, ankles, knee_poles(yaw), yaw, pitch)
    return figure, np.maximum(figure.clearance(), 0) if running else np.zeros_like(t)


def _swing_arms(rng, t, figure, cycle, swing, bent):
    """Arms against the legs; `bent` from 0 (straight) to 1 (elbows at a right angle)."""
    forward = np.stack([-cycle, cycle], -1) * swing * rng.uniform(0.5, 1.2)
    forward = forward * (1 + rng.normal(0, 0.15, 2)) + wander(rng, t, (2,), 0.05)
    out = rng.uniform(0.03, 0.14) + wander(rng, t, (2,), 0.02)
    straight = xyz(out, -0.46 + 0.35 * forward**2, 0.05 + 0.35 * forward)
    angled = xyz(
        0.5 * out - 0.1 * np.maximum(forward, 0), -0.26 + 0.2 * forward, 0.2 + 0.25 * forward
    )
    goals = straight + bent * (angled - straight)
    poles = xyz(0.4 + 0 * forward, -0.4 * bent + 0 * forward, -1 + 0 * forward)
    collars_and_wrists(rng, t, figure)
    goals, poles = keep_off_chest(goals * PAIR), poles * PAIR
    figure.place_wrists(*shoulders_to_world(figure, goals, poles, np.ones((len(t), 2))))


def jumping(rng: Generator, t: Times) -> Clip:
    """Crouches, takes off, lands; arms swing up."""
    period = rng.uniform(1.1, 1.8)
    u = (t / period + rng.uniform()) % 1
    depth, tuck = rng.uniform(0.15, 0.45), rng.uniform(0.0, 0.5)
    length = periodic_curve(u, (0, 0.98), (0.28, 0.96 - depth), (0.45, 1.01), (0.52, 0.99),
                   (0.62, 1 - tuck), (0.74, 0.97), (0.84, 0.95 - 0.8 * depth))  # fmt: skip
    tiptoe = periodic_curve(u, (0, 0.0), (0.3, 0.0), (0.45, 0.8), (0.74, 0.5), (0.8, 0.0))
    fall = np.maximum(4.9 * period**2 * (0.14**2 - (u - 0.61) ** 2), 0)
    # The pelvis falls freely; feet that are drawn up fly higher.
    flight = np.where(fall > 0, fall + LEG * np.maximum(0.965 - length, 0), 0)
    lean = 0.1 + 1.6 * (1 - length) * rng.uniform(0.3, 1)
    yaw = np.tile(np.abs(rng.normal(0.1, 0.1, 2)), (len(t), 1))
    spread = rng.uniform(0.08, 0.2) + rng.choice([0, 0.3]) * rng.random() * fall[:, None]
    stagger = rng.normal(0, 0.07) + rng.choice([0, 0.8]) * rng.normal(0, 1) * fall[:, None]
    sides = np.array([1, -1])
    ground = ANKLE_HEIGHT + 0.1 * np.sin(tiptoe)
    ankles = xyz(spread * sides, ground[:, None], stagger * sides - 0.03)
    ankles += wander(rng, t, (2, 3), 0.01)
    pelvis = xyz(0, length * LEG + ground + HIP_DROP, -0.12 * np.sin(lean))
    figure = Figure(to_matrix(xyz(0.5 * lean, 0, 0) + wander(rng, t, (3,), 0.03)), pelvis)
    torso_and_head(rng, t, figure, 0.6 * lean, wander(rng, t, (), 0.05), wander(rng, t, (), 0.1))
    if rng.random() < 0.6:
        swing = periodic_curve(u, (0, 0.2), (0.28, -0.9), (0.5, 1.0), (0.7, 0.7), (0.85, 0.3))
        swing = rng.uniform(0.8, 1.7) * swing[:, None] + wander(rng, t, (2,), 0.1)
        goals = 0.46 * xyz(0.25 + 0 * swing, -np.cos(swing), np.sin(swing))
        poles = xyz(1.0 + 0 * swing, -np.sin(swing), -np.cos(swing))
        collars_and_wrists(rng, t, figure, 0.4 * np.clip(goals[..., 1] / 0.5, 0, 1))
        goals, poles = keep_off_chest(goals * PAIR), poles * PAIR
        figure.place_wrists(*shoulders_to_world(figure, goals, poles, np.zeros((len(t), 2))))
    else:
        pose_arms(rng, t, figure, ALL_ARMS, free=0.3)
    place_legs(rng, t, figure, ankles, knee_poles(yaw), yaw, tiptoe[:, None] + np.zeros((1, 2)))
    return figure, flight
