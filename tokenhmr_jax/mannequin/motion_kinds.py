"""The kinds of procedural motion: each draws one clip of a posed figure.

A kind takes a NumPy generator and times (N,), and returns the `Figure` and its height above the
ground in flight (N,). Frame: SMPL's, y up, the figure facing +z, the feet's ground at y = 0.
"""

from typing import NamedTuple

import numpy as np

from tokenhmr_jax.mannequin.choreography import (
    ALL_ARMS,
    ANKLE_HEIGHT,
    HIP_DROP,
    LEG,
    PAIR,
    STILL_ARMS,
    arm_goals,
    bell,
    collars_and_wrists,
    feet_apart,
    from_shoulders,
    gesture,
    keep_off_chest,
    knots,
    place_legs,
    pointing,
    through,
    torso_and_head,
    wander,
    xyz,
)
from tokenhmr_jax.mannequin.kinematics import Figure, carry, rotated, to_matrix, unit


def standing(rng, t):
    """On both feet, shifting weight, leaning, talking with the hands."""
    ankles, yaw = feet_apart(rng, t, (0.08, 0.55))
    shift = through(rng, t, lambda k: rng.normal(0, 1, (k, 3)) * (0.05, 0.008, 0.02), 2.5)
    height = rng.uniform(0.96, 1.03) * LEG + ANKLE_HEIGHT + HIP_DROP - 0.15 * ankles[0, 0, 0] ** 2
    lean = rng.normal(0.08, 0.12) if rng.random() < 0.8 else rng.uniform(0.2, 0.7)
    lean = lean + wander(rng, t, (), 0.05)
    pelvis = shift + xyz(0, height, -0.15 * np.sin(lean))
    hips = wander(rng, t, (3,), 0.05) + rng.normal(0, 1, 3) * (0.06, 0.12, 0.05)
    figure = Figure(to_matrix(hips + xyz(0.3 * lean, 0, 0)), pelvis)
    twist = through(rng, t, lambda k: rng.normal(0, 0.3, (k, 1)))[:, 0]
    torso_and_head(rng, t, figure, lean, wander(rng, t, (), 0.08) + rng.normal(0, 0.08), twist)
    gesture(rng, t, figure, STILL_ARMS, free=0.2)
    place_legs(rng, t, figure, ankles, pointing(yaw), yaw, np.zeros_like(yaw))
    return figure, np.zeros_like(t)


class Gait(NamedTuple):
    """A cycle of steps."""

    period: float  # seconds
    stride: float  # metres, of one foot on the ground
    lift: float  # metres, of the swinging foot
    duty: float  # share of the period that a foot spends on the ground
    push_off: float  # radians by which the heel rises behind


def _feet(gait, phase, direction, width, yaw):
    """Ankles seen from the ground under the pelvis (N, 2, 3), and the feet's pitch (N, 2)."""
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


def walking(rng, t):
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


def running(rng, t):
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
        gesture(rng, t, figure, STILL_ARMS, free=0.15, pause=3.0)
    place_legs(rng, t, figure, ankles, pointing(yaw), yaw, pitch)
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
    figure.place_wrists(*from_shoulders(figure, goals, poles, np.ones((len(t), 2))))


def reaching(rng, t):
    """One hand or both follow goals anywhere around the body; trunk, hips and knees help."""
    ankles, yaw = feet_apart(rng, t, (0.12, 0.7), stagger=0.12)
    both = rng.random() < 0.4

    def draw(count):
        azimuth, height = rng.normal(0, 0.7, count), rng.uniform(0.05, 1.95, count)
        distance = rng.uniform(0.3, 0.75, count) * np.where(height < 0.5, 0.7, 1)
        return xyz(np.sin(azimuth) * distance, height, np.cos(azimuth) * distance)

    goal = through(rng, t, draw, 1.3)
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
    place_legs(rng, t, figure, ankles, pointing(yaw), yaw, heels_up)
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


def sitting(rng, t):
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
    twist = through(rng, t, lambda k: rng.normal(0, 0.25, (k, 1)))[:, 0]
    torso_and_head(rng, t, figure, slouch, wander(rng, t, (), 0.1), twist, level=0.6)
    names = ('low', 'carry', 'chest', 'face', 'wave', 'forward', 'hip', 'head', 'back')
    odds = [0.26, 0.22, 0.12, 0.1, 0.08, 0.08, 0.06, 0.05, 0.03]
    gesture(rng, t, figure, names, odds, free=0.15)
    ankles, poles, yaw, pitch = _seated_legs(rng, t, style, seat)
    place_legs(rng, t, figure, ankles, poles, yaw, pitch)
    if style == 'tailor':  # the feet lie on their edges
        loose = xyz(0.5, 0, 0) + rng.normal(0, 0.15, (2, 3))
        figure.bend('ankle', np.tile(loose, (len(t), 1, 1)))
    return figure, np.zeros_like(t)


def _seated_legs(rng, t, style, seat):
    """Ankles, poles (N, 2, 3), yaw and pitch (N, 2) of somebody who sits at height `seat`."""
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


def crouching(rng, t):
    """Squats, kneeling on one knee or both, lunges, bending over, all fours."""
    style = rng.choice(['squat', 'kneel', 'knees', 'lunge', 'fours'], p=[0.3, 0.2, 0.15, 0.2, 0.15])
    x = rng.uniform(0.08, 0.22)
    low = through(rng, t, lambda k: rng.uniform(0, 1, (k, 1)), 2.0)[:, 0]
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
    twist = through(rng, t, lambda k: rng.normal(0, 0.25, (k, 1)))[:, 0]
    level = 0.9 if fours else 0.5
    torso_and_head(rng, t, figure, 0.6 * lean, wander(rng, t, (), 0.08), twist, level)
    names = ('low', 'carry', 'hang', 'forward', 'chest', 'face', 'guard')
    gesture(rng, t, figure, names, free=0.3)
    if fours:
        _hands_down(rng, t, figure)
    yaw = np.clip(rng.normal(0.3, 0.25, 2), -0.2, 0.9) * np.ones((len(t), 1))
    pitches = np.stack(np.broadcast_arrays(*pitch, t)[:2], -1)
    knees_down = {'kneel': (0.6, -0.8), 'knees': (-0.8, -0.8), 'fours': (-0.8, -0.8)}
    poles = pointing(yaw, np.array(knees_down.get(style, (0.2, 0.2))))
    place_legs(rng, t, figure, ankles, poles, yaw * (pitches < 1), pitches)
    return figure, np.zeros_like(t)


def _hands_down(rng, t, figure):
    """All fours: each hand on the ground below its shoulder, moving a little."""
    _, shoulders = figure.shoulders()
    apart = PAIR * (0.05, 0.05, 0.03) + rng.normal(0, 0.06, (2, 3)) * (1, 0, 1)
    goals = shoulders * (1, 0, 1) + apart + wander(rng, t, (2, 3), 0.05, 0.8) * (1, 0.3, 1)
    figure.place_wrists(goals, PAIR * (0.6, 0, -1.0) + np.zeros_like(goals))


def lying(rng, t):
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
    gesture(rng, t, figure, names, free=0.1, pause=4.0, floor=floor)
    _lying_legs(rng, t, figure, style)
    return figure, np.zeros_like(t)


def _lying_legs(rng, t, figure, style):
    """Legs stretched or drawn up, seen from the pelvis; on the front only the shanks can rise."""
    bent = rng.uniform(0.1 if style == 'side' else 0, 1, 2) ** (1 if style == 'side' else 2)
    bent = np.clip(bent + through(rng, t, lambda k: rng.normal(0, 0.1, (k, 2)), 3.0), 0, 1)
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


def kicking(rng, t):
    """Stands on one leg and kicks with the other, to the front or the side, arms on guard."""
    u = (t / rng.uniform(1.5, 2.6) + rng.uniform()) % 1
    aim, height = rng.normal(0.1, 0.5), rng.uniform(0.25, 1.2)
    reach = knots(u, (0, 0.0), (0.3, 0.15), (0.5, 1.0), (0.62, 1.0), (0.8, 0.1))
    chamber = knots(u, (0, 0.0), (0.3, 1.0), (0.5, 0.2), (0.62, 0.2), (0.75, 1.0))
    lean = -0.35 * reach * height + 0.1
    pelvis = xyz(-0.08 * (reach + chamber).clip(0, 1), LEG * 0.99 + ANKLE_HEIGHT + HIP_DROP, -0.03)
    hips = xyz(0.5 * lean, 0.5 * aim * reach, 0.1 * reach) + wander(rng, t, (3,), 0.03)
    figure = Figure(to_matrix(hips), pelvis + np.zeros((len(t), 3)))
    torso_and_head(rng, t, figure, lean + 0.15, 0.1 * reach, -0.4 * aim * reach)
    names = ('guard', 'hang', 'side', 'low', 'hip')
    gesture(rng, t, figure, names, [0.5, 0.15, 0.15, 0.1, 0.1])
    ankles, yaw = feet_apart(rng, t, (0.15, 0.3))
    kick = xyz(0.85 * np.sin(aim), height, 0.85 * np.cos(aim))
    raised = np.array([0.1, 0.5 + 0.2 * rng.random(), 0.12])
    ground = ankles[:, 0].copy()
    ankles[:, 0] += chamber[:, None] * (raised - ground) + reach[:, None] * (kick - ground)
    pitch = np.stack([rng.uniform(-0.3, 0.9) * reach + 0.5 * chamber, 0 * u], -1)
    poles = pointing(yaw)
    poles[:, 0] = _knee(figure, ankles[:, 0], xyz(aim, 0, 1))
    place_legs(rng, t, figure, ankles, poles, yaw, pitch)
    return figure, np.zeros_like(t)


def _knee(figure, ankle, pole):
    """The pole (N, 3) of a raised left leg: `pole` for a leg that hangs, turned with the leg."""
    hip = figure.pelvis + xyz(0.088, -HIP_DROP, 0)
    return carry(xyz(0, -1.0, 0), unit(ankle - hip), pole)


def jumping(rng, t):
    """Crouches, takes off, lands; arms swing up."""
    period = rng.uniform(1.1, 1.8)
    u = (t / period + rng.uniform()) % 1
    depth, tuck = rng.uniform(0.15, 0.45), rng.uniform(0.0, 0.5)
    length = knots(u, (0, 0.98), (0.28, 0.96 - depth), (0.45, 1.01), (0.52, 0.99),
                   (0.62, 1 - tuck), (0.74, 0.97), (0.84, 0.95 - 0.8 * depth))  # fmt: skip
    tiptoe = knots(u, (0, 0.0), (0.3, 0.0), (0.45, 0.8), (0.74, 0.5), (0.8, 0.0))
    fall = np.maximum(4.9 * period**2 * (0.14**2 - (u - 0.61) ** 2), 0)
    # The pelvis falls freely; feet that are drawn up are higher than it alone tells.
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
        swing = knots(u, (0, 0.2), (0.28, -0.9), (0.5, 1.0), (0.7, 0.7), (0.85, 0.3))
        swing = rng.uniform(0.8, 1.7) * swing[:, None] + wander(rng, t, (2,), 0.1)
        goals = 0.46 * xyz(0.25 + 0 * swing, -np.cos(swing), np.sin(swing))
        poles = xyz(1.0 + 0 * swing, -np.sin(swing), -np.cos(swing))
        collars_and_wrists(rng, t, figure, 0.4 * np.clip(goals[..., 1] / 0.5, 0, 1))
        goals, poles = keep_off_chest(goals * PAIR), poles * PAIR
        figure.place_wrists(*from_shoulders(figure, goals, poles, np.zeros((len(t), 2))))
    else:
        gesture(rng, t, figure, ALL_ARMS, free=0.3)
    place_legs(rng, t, figure, ankles, pointing(yaw), yaw, tiptoe[:, None] + np.zeros((1, 2)))
    return figure, flight


def stretching(rng, t):
    """Large slow poses, as in gymnastics: wide stances, one leg raised, the trunk bent."""
    ankles, yaw = feet_apart(rng, t, (0.15, 1.1), stagger=0.2, turnout=0.5)
    bend = through(rng, t, lambda k: rng.normal(0, 1, (k, 3)) * (0.45, 0.35, 0.4), 2.5)
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
    gesture(rng, t, figure, ALL_ARMS, free=0.5, pause=2.5)
    pitch, poles = np.zeros_like(yaw), pointing(yaw)
    if raise_leg:

        def draw(count):
            direction = unit(rng.normal(0, 1, (count, 3)) + xyz(0.3, -0.6, 0.1))
            return direction * rng.uniform(0.4, 0.8, (count, 1)) + xyz(0.1, height, 0)

        ankles[:, 0] = np.maximum(through(rng, t, draw, 2.5), (-0.2, 0.12, -1))
        pitch[:, 0] = rng.uniform(0, 1.2)
        poles[:, 0] = _knee(figure, ankles[:, 0], xyz(0.6, 0, 1))
    place_legs(rng, t, figure, ankles, poles, yaw, pitch)
    return figure, np.zeros_like(t)


KINDS = {
    kind.__name__: kind
    for kind in (
        standing, walking, reaching, sitting, crouching, lying, running, kicking, jumping,
        stretching,
    )
}  # fmt: skip
