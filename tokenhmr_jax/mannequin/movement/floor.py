"""Sitting, crouching and lying."""

import numpy as np
from numpy.random import Generator

from tokenhmr_jax.mannequin.movement.choreography import (
    ANKLE_HEIGHT,
    PAIR,
    Clip,
    Times,
    knee_poles,
    place_legs,
    pose_arms,
    random_path,
    torso_and_head,
    wander,
    xyz,
)
from tokenhmr_jax.mannequin.movement.kinematics import Figure, rotated, to_matrix


def sitting(rng: Generator, t: Times) -> Clip:
    """On chairs, stools and the floor: feet down, legs crossed or stretched out."""
    style = rng.choice(
        ['chair', 'crossed', 'floor', 'tailor', 'hug'], p=[0.5, 0.15, 0.12, 0.13, 0.1]
    )
    seat = rng.uniform(0.42, 0.58) if style in ('chair', 'crossed') else 0.16
    tilt = rng.normal(-0.15, 0.12) - (0.1 if seat < 0.3 else 0)
    slouch = rng.normal(0.3, 0.2) + wander(rng, t, (), 0.05)
    hips = xyz(tilt, 0, 0) + wander(rng, t, (3,), 0.03) + rng.normal(0, 0.04, 3)
    figure = Figure(to_matrix(hips), xyz(0, seat, 0) + np.zeros((len(t), 3)))
    if style == 'chair' and rng.random() < 0.3:
        slouch = slouch + rng.uniform(0.2, 0.7)
    twist = random_path(rng, t, lambda k: rng.normal(0, 0.25, (k, 1)))[:, 0]
    torso_and_head(rng, t, figure, slouch, wander(rng, t, (), 0.1), twist, level=0.6)
    names = ('low', 'carry', 'chest', 'face', 'wave', 'forward', 'hip', 'head', 'back')
    odds = [0.26, 0.22, 0.12, 0.1, 0.08, 0.08, 0.06, 0.05, 0.03]
    pose_arms(rng, t, figure, names, odds, free=0.15)
    ankles, poles, yaw, pitch = _seated_legs(rng, t, style, seat)
    place_legs(rng, t, figure, ankles, poles, yaw, pitch)
    if style == 'tailor':  # the feet lie on their edges
        loose = xyz(0.5, 0, 0) + rng.normal(0, 0.15, (2, 3))
        figure.bend('ankle', np.tile(loose, (len(t), 1, 1)))
    return figure, np.zeros_like(t)


def _seated_legs(rng, t, style, seat):
    """Ankles and poles (N, 2, 3), yaw and pitch (N, 2) of legs below a seat at height `seat`."""
    spread = rng.uniform(0.06, 0.25)
    place = {
        'chair': (spread, ANKLE_HEIGHT, rng.uniform(0.2, 0.62)),
        'crossed': (0.10, ANKLE_HEIGHT, rng.uniform(0.3, 0.5)),
        'floor': (spread, ANKLE_HEIGHT, rng.uniform(0.6, 0.78)),
        'tailor': (-rng.uniform(0.0, 0.15), 0.09, rng.uniform(0.24, 0.36)),
        'hug': (spread, ANKLE_HEIGHT, rng.uniform(0.3, 0.5)),
    }[style]
    ankles = np.array([place, place]) + rng.normal(0, 1, (2, 3)) * (0.03, 0, 0.05)
    outwards = {'tailor': 1.6, 'crossed': 0.15}.get(style, rng.normal(0.15, 0.15))
    poles = np.array([[outwards, 0.3 if style == 'tailor' else 0.7, 0.5]] * 2)
    pitch = rng.uniform(-0.15, 0.3, 2)
    if style == 'floor':
        pitch = rng.normal(-0.9, 0.2, 2)
    if style == 'crossed':  # one ankle over the other knee
        ankles[0] = (-rng.uniform(0.05, 0.3), seat - rng.uniform(-0.02, 0.15), 0.48)
        poles[0], pitch[0] = (rng.uniform(0.1, 1.0), 1.0, 0.5), 0.5
    yaw = np.abs(rng.normal(0.2, 0.2, 2))
    still = np.ones((len(t), 1))
    moving = wander(rng, t, (2, 3), 0.015) * (1, 0.2, 1)
    return (ankles + moving) * PAIR, poles * PAIR + 0 * moving, yaw * still, pitch * still


def crouching(rng: Generator, t: Times) -> Clip:
    """Squats, kneeling on one knee or both, lunges, bending over, all fours."""
    style = rng.choice(['squat', 'kneel', 'knees', 'lunge', 'fours'], p=[0.3, 0.2, 0.15, 0.2, 0.15])
    x = rng.uniform(0.08, 0.22)
    low = random_path(rng, t, lambda k: rng.uniform(0, 1, (k, 1)), 2.0)[:, 0]
    pelvis_height, pitch, front, rear = {
        'squat': (0.30 + 0.35 * low, (0.4 * (1 - low), 0.4 * (1 - low)), (0, 0), (0, 0)),
        'kneel': (0.50 + 0.06 * low, (0.0, 1.2), (0, 0.38), (0.06, -0.38)),
        'knees': (0.30 + 0.2 * low, (1.5, 1.5), (0.02, -0.33), (0.02, -0.33)),
        'lunge': (0.55 + 0.2 * low, (0.0, 0.9), (0, 0.45), (0.10, -0.50)),
        'fours': (0.52 + 0.03 * low, (1.5, 1.5), (0.02, -0.38), (0.02, -0.38)),
    }[style]
    fours = style == 'fours'
    lean = rng.normal(0.15, 0.15) + 0 * t
    if style == 'squat':
        lean = rng.uniform(0.3, 0.9) * (1.1 - 0.6 * low)
    ankles = np.array([[x, *front], [-x, *rear]]) + xyz(0, ANKLE_HEIGHT, 0)
    ankles = ankles + rng.normal(0, 0.03, (2, 3)) * (1, 0, 1) + np.zeros((len(t), 1, 1))
    hips = wander(rng, t, (3,), 0.04) + xyz(0.5 * lean + (1.2 if fours else 0), 0, 0)
    figure = Figure(to_matrix(hips), xyz(0, pelvis_height, -0.08 * np.sin(lean)))
    twist = random_path(rng, t, lambda k: rng.normal(0, 0.25, (k, 1)))[:, 0]
    level = 0.9 if fours else 0.5
    torso_and_head(rng, t, figure, 0.6 * lean, wander(rng, t, (), 0.08), twist, level)
    names = ('low', 'carry', 'hang', 'forward', 'chest', 'face', 'guard')
    pose_arms(rng, t, figure, names, free=0.3)
    if fours:
        _hands_down(rng, t, figure)
    yaw = np.clip(rng.normal(0.3, 0.25, 2), -0.2, 0.9) * np.ones((len(t), 1))
    pitches = np.stack(np.broadcast_arrays(*pitch, t)[:2], -1)
    knees_down = {'kneel': (0.6, -0.8), 'knees': (-0.8, -0.8), 'fours': (-0.8, -0.8)}
    poles = knee_poles(yaw, np.array(knees_down.get(style, (0.2, 0.2))))
    place_legs(rng, t, figure, ankles, poles, yaw * (pitches < 1), pitches)
    return figure, np.zeros_like(t)


def _hands_down(rng, t, figure):
    """All fours: each hand on the ground below its shoulder, moving a little."""
    _, shoulders = figure.shoulders()
    apart = PAIR * (0.05, 0.05, 0.03) + rng.normal(0, 0.06, (2, 3)) * (1, 0, 1)
    goals = shoulders * (1, 0, 1) + apart + wander(rng, t, (2, 3), 0.05, 0.8) * (1, 0.3, 1)
    figure.place_wrists(goals, PAIR * (0.6, 0, -1.0) + np.zeros_like(goals))


def lying(rng: Generator, t: Times) -> Clip:
    """On the back, the front or a side, limbs relaxed."""
    style = rng.choice(['back', 'front', 'side'], p=[0.45, 0.25, 0.3])
    fall = {'back': xyz(-1, 0, 0), 'front': xyz(1, 0, 0), 'side': xyz(0, 0, -1)}[style]
    roll = xyz(0, rng.normal(0, 0.12), 0) + wander(rng, t, (3,), 0.02, 0.2)
    root = to_matrix(fall * (np.pi / 2 + rng.normal(0, 0.06))) @ to_matrix(roll)
    figure = Figure(root, np.zeros((len(t), 3)))
    curl = rng.uniform(0.2, 0.9) if style == 'side' else rng.normal(-0.05, 0.08)
    torso_and_head(rng, t, figure, curl, rng.normal(0, 0.12), rng.normal(0, 0.15), level=0.0)
    names = {
        'back': ('side', 'up', 'hang', 'head', 'chest'),
        'front': ('up', 'head', 'hang', 'side'),
        'side': ('forward', 'carry', 'face', 'chest', 'guard', 'low'),
    }[style]
    floor = -0.17 if style == 'side' else -0.1
    pose_arms(rng, t, figure, names, free=0.1, pause=4.0, floor=floor)
    _lying_legs(rng, t, figure, style)
    return figure, np.zeros_like(t)


def _lying_legs(rng, t, figure, style):
    """Legs stretched or drawn up, seen from the pelvis; on the front only the shanks can rise."""
    bent = rng.uniform(0.1 if style == 'side' else 0, 1, 2) ** (1 if style == 'side' else 2)
    bent = np.clip(bent + random_path(rng, t, lambda k: rng.normal(0, 0.1, (k, 2)), 3.0), 0, 1)
    out = np.abs(rng.normal(0.06, 0.08, 2))
    if style == 'front':
        figure.bend('hip', xyz(0.02, rng.uniform(0, 0.3, 2) + 0 * bent, 2 * out))
        figure.bend('knee', xyz(0.1 + 1.9 * bent, 0, 0))
    else:
        aside = style == 'side'
        ankles = xyz(0.06 + out * (not aside), -0.88 + 0.45 * bent, (0.35 if aside else 0) * bent)
        poles = xyz(0 if aside else rng.normal(0.5, 0.4, 2), 0, np.ones_like(bent))
        root = figure.root[:, None]
        ankles, poles = (rotated(root, v * PAIR) for v in (ankles, poles))
        figure.place_legs(ankles + figure.pelvis[:, None], poles, np.repeat(root, 2, axis=1))
    loose = xyz(0.5, 0, 0) + rng.normal(0, 0.15, (2, 3)) + wander(rng, t, (2, 3), 0.05)
    figure.bend('ankle', loose)
    figure.bend('foot', wander(rng, t, (2, 3), 0.05))
