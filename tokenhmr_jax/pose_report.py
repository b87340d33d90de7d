"""What an evaluation of the tokenizer shows: baselines to stand beside it, and a picture."""

from collections.abc import Sequence

import cv2
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from tokenhmr_jax import metrics, render
from tokenhmr_jax.body import rotations, smpl
from tokenhmr_jax.data import pipeline
from tokenhmr_jax.tasks.tokenizer import Frozen, TokenizerTask, pose_body
from tokenhmr_jax.types import PoseBatch

ROW = 'reconstruction'
_SAND, _BLUE = (0.85, 0.75, 0.62), (0.45, 0.62, 0.85)
_BODY = slice(1, 22)


def report(
    config: ml_collections.ConfigDict,
    task: TokenizerTask,
    params,
    state,
    frozen: Frozen,
    splits: Sequence[pipeline.Records],
) -> tuple[dict[str, dict], dict[str, np.ndarray]]:
    """Rows to stand below the tokenizer's in the table, and pictures by file name."""
    poses = read_poses(splits, config.data.num_threads)
    rows = baselines(frozen, poses, training_poses(config))
    return rows, {'poses.png': picture(task, params, state, frozen, poses)}


def read_poses(splits: Sequence[pipeline.Records], num_threads: int) -> np.ndarray:
    """All poses of some prepared splits, (N, 21, 3) axis-angle."""
    batches = [
        columns['body_pose'][valid]
        for records in splits
        for columns, valid in pipeline.eval_batches(
            records, batch_size=256, num_threads=num_threads
        )
    ]
    return np.concatenate(batches)


def training_poses(config: ml_collections.ConfigDict) -> np.ndarray:
    """`eval.baseline_poses` poses (N, 21, 3) axis-angle of the mixture that a run trained on."""
    data, count, size = config.data, config.eval.baseline_poses, 256
    batches = pipeline.train_batches(
        data.data_dir, data.mixture, batch_size=size, seed=config.seed, num_threads=data.num_threads
    )
    poses = [next(batches)['body_pose'] for _ in range(-(-count // size))]
    return np.concatenate(poses)[:count]


def mean_rotation(matrices: jax.Array) -> jax.Array:
    """Chordal mean of rotations (N, ..., 3, 3) over N, (..., 3, 3): the rotation nearest to their
    mean in the Frobenius norm (Hartley et al., "Rotation Averaging", IJCV 2013)."""
    u, _, vt = jnp.linalg.svd(jnp.mean(matrices, axis=0))
    sign = jnp.linalg.det(u) * jnp.linalg.det(vt)
    u = u.at[..., :, 2].multiply(sign[..., None])
    return rotations.compose(u, vt)


@jax.jit
def nearest_pose(joints: jax.Array, candidates: jax.Array) -> jax.Array:
    """Index (B,) of the candidate (N, 21, 3) nearest in MPJPE to each of joints (B, 21, 3)."""
    x, y, z = jnp.moveaxis(candidates, 0, -1).swapaxes(0, 1)  # each (21, N), for vector units

    def one(query):
        dx, dy, dz = (a - b[:, None] for a, b in zip((x, y, z), query.T, strict=True))
        return jnp.argmin(jnp.sum(jnp.sqrt(dx * dx + dy * dy + dz * dz), axis=0))

    return jax.lax.map(one, joints)


def baselines(frozen: Frozen, poses: np.ndarray, training: np.ndarray) -> dict[str, dict]:
    """Errors of answering without a tokenizer.

    Args:
      frozen: with the body model.
      poses: (B, 21, 3) axis-angle, to be answered.
      training: (N, 21, 3) axis-angle, what was trained on.

    Returns:
      'nearest training pose' and 'mean pose', each with mpjpe_mm and pve_mm.
    """
    to_matrix = jax.jit(rotations.axis_angle_to_matrix)
    candidates = to_matrix(training)
    mean = jax.jit(mean_rotation)(candidates)
    candidate_joints = _in_chunks(lambda m: _joints(frozen.body, m), candidates)
    truth = to_matrix(poses)
    nearest = candidates[nearest_pose(_joints(frozen.body, truth), candidate_joints)]
    answers = {'nearest training pose': nearest, 'mean pose': jnp.broadcast_to(mean, truth.shape)}

    def means(answer):
        errors = _in_chunks(lambda a, t: _errors(frozen.body, a, t), answer, truth)
        return {name: float(np.mean(values)) for name, values in errors.items()}

    return {name: means(answer) for name, answer in answers.items()}


@jax.jit
def _errors(body: smpl.BodyModel, answer: jax.Array, truth: jax.Array) -> dict[str, jax.Array]:
    """Errors (B,) in mm of rotations (B, 21, 3, 3)."""
    answer, truth = pose_body(body, answer), pose_body(body, truth)
    return {
        'mpjpe_mm': metrics.mean_distance_mm(answer.joints[:, _BODY], truth.joints[:, _BODY]),
        'pve_mm': metrics.mean_distance_mm(answer.vertices, truth.vertices),
    }


@jax.jit
def _joints(body: smpl.BodyModel, body_pose: jax.Array) -> jax.Array:
    """Body joints (B, 21, 3) alone: the skin is not asked for, so it is never computed."""
    return pose_body(body, body_pose).joints[:, _BODY]


def _in_chunks(function, *arrays, size=256):
    """`function` over slices of arrays' first axis: memory stays that of one slice."""
    parts = [
        jax.device_get(function(*(a[i : i + size] for a in arrays)))
        for i in range(0, len(arrays[0]), size)
    ]
    return jax.tree.map(lambda *p: np.concatenate(p), *parts)


def picture(
    task: TokenizerTask, params, state, frozen: Frozen, poses: np.ndarray, columns: int = 6
) -> np.ndarray:
    """True (sand) and reconstructed (blue) bodies side by side, best to worst, (H, W, 3) uint8.

    Args:
      task, params, state, frozen: a trained tokenizer.
      poses: (B, 21, 3) axis-angle to choose from: examples at even ranks of their error.
      columns: how many examples.
    """
    batch = PoseBatch(body_pose=poses)
    output = jax.jit(task.predict)(params, state, frozen, batch)
    error = np.asarray(jax.jit(task.metrics)(output, frozen, batch)['mpjpe_mm'])
    ranked = np.argsort(error)[np.linspace(0, len(error) - 1, columns).round().astype(int)]
    to_matrix = jax.jit(rotations.axis_angle_to_matrix)
    truth = jax.jit(pose_body)(frozen.body, to_matrix(poses[ranked]))
    faces = np.asarray(frozen.body.faces)
    tiles = []
    for view in ('front', 'left'):
        for i, index in enumerate(ranked):
            pair = (truth.vertices[i], output.body.vertices[index])
            focus = np.concatenate(pair)
            tiles.append(
                np.concatenate(
                    [
                        render.render_view(v, faces, view, (360, 220), focus=focus, colors=color)
                        for v, color in zip(pair, (_SAND, _BLUE), strict=True)
                    ],
                    axis=1,
                )
            )
    labels = [f'{error[i]:.1f} mm' for i in ranked] + [''] * columns
    sheet = render.contact_sheet(tiles, columns, labels)
    header = np.full((40, sheet.shape[1], 3), 255, np.uint8)
    text = 'held-out poses, best to worst by MPJPE: true (sand), reconstructed (blue); front, side'
    cv2.putText(header, text, (8, 26), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (30, 30, 30), 1, cv2.LINE_AA)
    return np.concatenate([header, sheet])
