"""A person's motion in a video as files that animation programs read: GLB and BVH."""

import pathlib

import jax
import numpy as np
from scipy.spatial.transform import Rotation, Slerp

from tokenhmr_jax.body import smpl
from tokenhmr_jax.inference import bvh, gltf
from tokenhmr_jax.types import SmplParams


@jax.jit
def _joints(body: smpl.BodyModel, params: SmplParams) -> jax.Array:
    return smpl.forward(body, params).joints


def joint_motion(body: smpl.BodyModel, track: dict[str, np.ndarray]) -> np.ndarray:
    """The joints (T, 24, 3) of a track, metres, where the image's camera has them."""
    count = len(track['time'])
    size = 1 << (count - 1).bit_length()  # few sizes to compile
    padded = {
        name: np.concatenate([track[name], np.repeat(track[name][-1:], size - count, axis=0)])
        for name in ('global_orient', 'body_pose', 'betas', 'translation')
    }
    params = SmplParams(
        padded['global_orient'], padded['body_pose'], padded['betas'], padded['translation']
    )
    return np.asarray(_joints(body, params))[:count]


def write_animations(
    stem: pathlib.Path, body: smpl.BodyModel, track: dict[str, np.ndarray], fps: float
) -> None:
    """Write STEM.glb and STEM.bvh of a track; frames that are missing are filled in.

    Args:
      stem: path without suffix.
      body: SMPL.
      track: of `results.tracks`; its betas must be one for all.
      fps: of the video.
    """
    betas = np.asarray(track['betas'][0])
    shape = np.asarray(body.template + (betas @ body.shape_dirs[: len(betas)]).reshape(3, -1)).T
    rest = np.asarray(body.joint_template + np.tensordot(betas, body.joint_dirs[: len(betas)], 1))
    pose = np.concatenate([track['global_orient'][:, None], track['body_pose']], axis=1)
    pose[:, 0] = gltf.TO_Y_UP @ pose[:, 0]
    # SMPL turns about the root joint, which stays in place.
    root = (rest[0] + track['translation']) @ gltf.TO_Y_UP
    times, pose, root = _every_frame(track['index'], pose, root, fps)
    weights, faces = np.asarray(body.weights), np.asarray(body.faces)
    stem.with_suffix('.glb').write_bytes(
        gltf.skinned_animation(shape, faces, weights, rest, pose, root, times)
    )
    stem.with_suffix('.bvh').write_text(bvh.bvh_animation(rest, pose, root, fps))


def _every_frame(index, pose, root, fps):
    """Times from 0, rotations and places at every frame between a track's first and last."""
    frames = np.arange(index[0], index[-1] + 1)
    if len(frames) > len(index):
        turns = [
            Slerp(index, Rotation.from_matrix(pose[:, j]))(frames).as_matrix()
            for j in range(pose.shape[1])
        ]
        pose = np.stack(turns, axis=1)
        root = np.stack([np.interp(frames, index, root[:, axis]) for axis in range(3)], axis=1)
    return (frames - index[0]) / fps, pose, root
