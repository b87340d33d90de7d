"""Procedural human motion, which needs no licensed file.

`generate` draws one clip of a *kind* (standing, walking, ...). Feet and hands follow random paths,
limbs meet them by two-bone inverse kinematics, all else wanders smoothly. Every joint stays within
`kinematics.LIMITS`. Inside, the frame is SMPL's (y up, facing +z); a clip is z up, as in AMASS.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from tokenhmr_jax.mannequin.movement import (
    acrobatics,
    floor,
    kinematics,
    locomotion,
    sport,
    upright,
)
from tokenhmr_jax.mannequin.movement.choreography import wander
from tokenhmr_jax.mannequin.movement.kinematics import to_matrix

# A kind takes a generator and times, and returns a `choreography.Clip`.
KINDS = {
    kind.__name__: kind
    for kind in (
        upright.standing, locomotion.walking, upright.reaching, floor.sitting, floor.crouching,
        floor.lying, locomotion.running, upright.kicking, locomotion.jumping, upright.stretching,
        sport.lunging, sport.swinging, sport.boxing, sport.stooping, sport.stepping, sport.dancing,
        acrobatics.crawling, acrobatics.planking, acrobatics.inverting, acrobatics.sliding,
    )
}  # fmt: skip
# Frequency of each kind: people mostly stand, walk, sit and use their hands.
SHARES = {
    'standing': 0.16, 'walking': 0.13, 'reaching': 0.1, 'sitting': 0.12, 'crouching': 0.07,
    'running': 0.05, 'lying': 0.03, 'jumping': 0.03, 'kicking': 0.03, 'stretching': 0.03,
    'lunging': 0.04, 'swinging': 0.035, 'boxing': 0.025, 'stooping': 0.025, 'stepping': 0.025,
    'dancing': 0.03, 'crawling': 0.02, 'planking': 0.01, 'inverting': 0.02, 'sliding': 0.02,
}  # fmt: skip

MIRROR_X = np.array([-1.0, 1.0, 1.0])


class Motion(NamedTuple):
    """Frames of one body, as in AMASS: metres, z up; axis-angle in radians, float32.

    `transl` is the place of the pelvis joint: SMPL's own transl differs by the pelvis' rest
    position. The stick figure stands exactly on the ground z = 0.
    """

    global_orient: Float[np.ndarray, 'N 3']
    body_pose: Float[np.ndarray, 'N 21 3']
    transl: Float[np.ndarray, 'N 3']


def sample_kind(rng: np.random.Generator) -> str:
    """One of `KINDS`, with the frequencies of `SHARES`."""
    return str(rng.choice(list(SHARES), p=list(SHARES.values())))


def generate(rng: np.random.Generator, kind: str, num_frames: int, fps: float = 30.0) -> Motion:
    """Draws a clip of a kind in `KINDS` or, as often, its mirror image, by the state of `rng`.

    Raises ValueError for an unknown kind, and for less than one frame.
    """
    if kind not in KINDS:
        raise ValueError(f'unknown kind of motion {kind!r}: expected one of {", ".join(KINDS)}')
    if num_frames < 1 or fps <= 0:
        raise ValueError(f'num_frames and fps must be positive, got {num_frames} and {fps}')
    t = np.arange(num_frames) / fps
    figure, flight = KINDS[kind](rng, t)
    heading = rng.uniform(-np.pi, np.pi) + wander(rng, t, (), 0.3, 0.1)
    motion = _to_world(figure, flight, heading)
    return mirror(motion) if rng.random() < 0.5 else motion


def mirror(motion: Motion) -> Motion:
    """The mirror image across the plane x = 0 of the world."""
    return Motion(
        motion.global_orient * kinematics.MIRROR.astype(motion.global_orient.dtype),
        kinematics.mirror_body(motion.body_pose),
        motion.transl * MIRROR_X.astype(motion.transl.dtype),
    )


def _to_world(figure, flight, heading):
    """Sets the body on the ground, moves it by its feet, turns it to z up and its heading."""
    upright = to_matrix(np.array([np.pi / 2, 0, 0]))  # y up, facing +z, to z up, facing -y
    turn = to_matrix(np.stack([0 * heading, 0 * heading, heading], -1)) @ upright
    joints = (figure.joints() - figure.pelvis[:, None]) @ np.swapaxes(turn, -1, -2)
    height = flight - np.min(joints[..., 2] - kinematics.FLESH, axis=1)
    joints[..., 2] += height[:, None]
    transl = np.concatenate([_stance_path(joints, flight), height[:, None]], -1)
    orient = kinematics.matrix_to_vector(turn @ figure.root)
    return Motion(*(x.astype(np.float32) for x in (orient, figure.body_pose(), transl)))


def _stance_path(joints, flight):
    """Horizontal path (N, 2) of the pelvis on which the foot on the ground does not slide."""
    lowest = np.argmin(joints[:-1, :, 2] - kinematics.FLESH, axis=1)
    rows = np.arange(len(lowest))
    step = joints[rows, lowest, :2] - joints[rows + 1, lowest, :2]
    step *= np.isin(lowest, (*kinematics.GROUPS['ankle'], *kinematics.GROUPS['foot']))[:, None]
    for axis in range(2):  # in flight the body keeps the velocity it left the ground with
        airborne = flight[:-1] > 0
        if airborne.any() and not airborne.all():
            step[airborne, axis] = np.interp(rows[airborne], rows[~airborne], step[~airborne, axis])
    return np.concatenate([np.zeros((1, 2)), np.cumsum(step, axis=0)])
