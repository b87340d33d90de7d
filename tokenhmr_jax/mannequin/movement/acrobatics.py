"""Crawling, supports on the hands, handstands, slides and rests on the floor."""

import numpy as np
from numpy.random import Generator

from tokenhmr_jax.mannequin.movement.choreography import (
    PAIR,
    Clip,
    Times,
    arm_goals,
    pose_arms,
    random_path,
    torso_and_head,
    wander,
    xyz,
)
from tokenhmr_jax.mannequin.movement.kinematics import FLESH, Figure, to_matrix

_LEGS = [1, 2, 4, 5, 7, 8, 10, 11]


def _legs(rng, t, figure, hip, knee, pointed=0.5):
    """Legs by their joints' angles (N, 2, 3) and (N, 2); feet stretched by `pointed`."""
    figure.bend('hip', hip + wander(rng, t, (2, 3), 0.03))
    figure.bend('knee', xyz(knee, 0, 0) + wander(rng, t, (2, 1), 0.03) * (1, 0, 0))
    figure.bend('ankle', xyz(pointed, 0, 0) + wander(rng, t, (2, 3), 0.06))
    figure.bend('foot', wander(rng, t, (2, 3), 0.05))


def _hands_on_ground(rng, t, figure, hands, apart, forward=0.0):
    """Sets the named hands (slice) on the ground that the rest of the body touches."""
    joints = figure.joints()
    ground = np.min((joints[..., 1] - FLESH)[:, [0, *_LEGS]], axis=1)
    goals, poles = arm_goals(rng, t, figure, ('side', 'forward', 'low', 'wave', 'up'), free=0.2)
    _, shoulders = figure.shoulders()
    down = shoulders + PAIR * (apart, 0, forward) + rng.normal(0, 0.04, (2, 3)) * (1, 0, 1)
    down = down + wander(rng, t, (2, 3), 0.015)
    down[..., 1] = ground[:, None] + 0.1
    goals[:, hands] = down[:, hands]
    poles[:, hands] = (PAIR * (0.6, 0, -1.0) + np.zeros_like(goals))[:, hands]
    figure.place_wrists(goals, poles)


def crawling(rng: Generator, t: Times) -> Clip:
    """On hands and knees, arms and legs in turn; also on hands and feet."""
    cycle = np.sin(2 * np.pi * (t / rng.uniform(1.2, 2.4) + rng.random()))
    stride = np.stack([cycle, -cycle], -1) * rng.uniform(0.05, 0.4)
    bear = rng.random() < 0.3
    pitch = rng.uniform(1.55, 1.85) if bear else rng.uniform(1.25, 1.6)
    hips = xyz(pitch, 0, 0) + wander(rng, t, (3,), 0.05)
    figure = Figure(to_matrix(hips), np.zeros((len(t), 3)))
    flex = rng.normal(0.4 if bear else 0.1, 0.2)
    torso_and_head(rng, t, figure, flex, 0.15 * cycle, rng.normal(0, 0.12), level=rng.uniform(0, 1))
    figure.bend('neck', xyz(-rng.uniform(-0.1, 0.5, (2,)), 0, 0) + wander(rng, t, (2, 3), 0.08))
    out = rng.uniform(0.02, 0.3, 2)
    if bear:
        _legs(rng, t, figure, xyz(-2.1 + stride, 0.15, out), 1.3 + 0.5 * stride, -0.2)
    else:
        _legs(rng, t, figure, xyz(-pitch - 0.05 + stride, 0.0, out), 1.6 - stride, 0.6)
    forward = rng.uniform(-0.05, 0.25)
    _hands_on_ground(rng, t, figure, slice(0, 2), rng.uniform(-0.02, 0.1), forward)
    return figure, np.zeros_like(t)


def planking(rng: Generator, t: Times) -> Clip:
    """Planks, push-ups, side planks, the dog and the crab."""
    style = rng.choice(['plank', 'side', 'dog', 'crab'], p=[0.45, 0.15, 0.2, 0.2])
    low = random_path(rng, t, lambda k: rng.uniform(0, 1, (k, 1)), 1.2)[:, 0]
    pitch, roll, flex, knee = {
        'plank': (1.25 + 0.25 * low, 0.0, rng.normal(-0.05, 0.08), 0.03),
        'side': (0.35 + 0 * low, 1.25, 0.0, 0.03),
        'dog': (2.1 + 0.25 * low, 0.0, rng.uniform(-1.7, -1.0), 0.1 + 0.3 * low),
        'crab': (-1.0 - 0.2 * low, 0.0, rng.uniform(-1.2, -0.9), rng.uniform(1.8, 2.2)),
    }[style]
    root = to_matrix(xyz(pitch, 0, 0) + wander(rng, t, (3,), 0.03))
    if style == 'side':
        root = to_matrix(xyz(0, 0, roll - 0.08 * low)) @ to_matrix(xyz(0.0, rng.normal(0, 0.2), 0))
    figure = Figure(root, np.zeros((len(t), 3)))
    torso_and_head(rng, t, figure, rng.normal(0.05, 0.1), 0.0, rng.normal(0, 0.08), level=0.0)
    out = np.abs(rng.normal(0.06, 0.1, 2))
    hip = xyz(flex + 0 * low[:, None] + np.zeros(2), 0, out)
    pointed = {'plank': -0.4, 'dog': -0.2, 'side': 0.0, 'crab': 0.3}[style]
    knee = np.stack([knee + 0 * low] * 2, -1)
    _legs(rng, t, figure, hip, knee, pointed)
    hands = slice(1, 2) if style == 'side' else slice(0, 2)
    forward = {'dog': 0.2, 'crab': -0.08}.get(style, 0.02)
    _hands_on_ground(rng, t, figure, hands, rng.uniform(0.0, 0.2), forward)
    return figure, np.zeros_like(t)


def inverting(rng: Generator, t: Times) -> Clip:
    """Handstands, headstands and cartwheels: legs together, split, straddled or bent."""
    style = rng.choice(['hand', 'head', 'wheel'], p=[0.45, 0.2, 0.35])
    pitch = rng.normal(0, 0.13) + wander(rng, t, (), 0.06)
    root = to_matrix(xyz(np.pi - pitch, 0, 0))
    if style == 'wheel':
        roll = random_path(rng, t, lambda k: rng.uniform(-1.0, 1.0, (k, 1)), 1.0)[:, 0]
        root = to_matrix(xyz(0, 0, np.pi + roll)) @ to_matrix(xyz(-0.5 * pitch, 0, 0))
    figure = Figure(root, np.zeros((len(t), 3)))
    arch = rng.normal(-0.1, 0.2)
    torso_and_head(rng, t, figure, arch, rng.normal(0, 0.1), rng.normal(0, 0.15), level=0.0)
    split = random_path(rng, t, lambda k: rng.normal(0, 1, (k, 2)) * (0.7, 0.7), 1.8)
    straddle = rng.choice([0.05, 0.4, 0.9]) * rng.uniform(0.5, 1, 2)
    turned = rng.uniform(0, 0.5, 2)
    knee = np.abs(random_path(rng, t, lambda k: rng.normal(0, 0.6, (k, 2)), 1.8))
    _legs(rng, t, figure, xyz(split - 0.5, turned, straddle), knee * rng.choice([0.15, 1]), 0.6)
    if style == 'head':
        pose_arms(rng, t, figure, ('neck', 'head', 'bar'), free=0.0)
    else:
        pose_arms(rng, t, figure, ('up',), free=0.0)
    return figure, np.zeros_like(t)


def sliding(rng: Generator, t: Times) -> Clip:
    """On one hip or the seat, leaning on an arm or both: slides, rests, getting up."""
    style = rng.choice(['slide', 'aside', 'rise', 'rest'], p=[0.35, 0.2, 0.2, 0.25])
    back = rng.uniform(0.2, 1.0) if style != 'rise' else rng.uniform(0.1, 0.5)
    roll = rng.uniform(0.1, 0.7) if style != 'rest' else rng.normal(0, 0.1)
    root = to_matrix(xyz(0, 0, roll)) @ to_matrix(xyz(-back, 0, 0) + wander(rng, t, (3,), 0.05))
    figure = Figure(root, np.zeros((len(t), 3)))
    flex = rng.uniform(0.0, 0.6)
    torso_and_head(rng, t, figure, flex, -0.5 * roll, rng.normal(0, 0.3), level=0.6)
    moved = random_path(rng, t, lambda k: rng.normal(0, 0.12, (k, 2)), 1.5)
    straight, bent = rng.uniform(0.02, 0.5), rng.uniform(1.2, 2.2)
    up = np.pi / 2 - back  # flexion at which a thigh is level
    raised = -up - 0.45 * bent  # of a drawn-up leg, whose foot is then on the ground
    hip, knee = {
        'slide': (((-up, 0.2, 0.15), (-up, 1.45, 0.6)), (straight, bent)),
        'aside': (((-up, -0.75, 0.1), (-up, 1.4, 0.5)), (1.7, 1.6)),
        'rise': (((raised, 0.2, 0.2), (-up, 1.4, 0.4)), (bent, 1.9)),
        'rest': (((raised, 0.1, 0.15), (-up, 0.1, 0.15)), (bent, straight)),
    }[style]
    hip = np.array(hip) + rng.normal(0, 0.12, (2, 3)) + xyz(moved, 0, 0)
    _legs(rng, t, figure, hip, np.array(knee) + np.abs(moved), rng.uniform(-0.1, 0.6))
    hands = slice(0, 2) if style == 'rest' else slice(1, 2)
    _hands_on_ground(rng, t, figure, hands, rng.uniform(0.05, 0.3), -rng.uniform(0.05, 0.3))
    return figure, np.zeros_like(t)
