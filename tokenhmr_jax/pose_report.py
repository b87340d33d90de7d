"""What an evaluation of the tokenizer shows: baselines to stand beside it, and a picture."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from flax import struct

from tokenhmr_jax import metrics, render
from tokenhmr_jax.body import rotations, smpl
from tokenhmr_jax.data import pipeline
from tokenhmr_jax.tasks.tokenizer import Frozen, TokenizerTask, pose_body
from tokenhmr_jax.trained import Trained
from tokenhmr_jax.types import PoseBatch

ROW = 'reconstruction'
EXAMPLES = 3  # of four bodies each, which take longer to draw than to compute
_SAND, _BLUE = (0.85, 0.75, 0.62), (0.45, 0.62, 0.85)
_BODY = slice(1, 22)
_COLUMNS = 6


def baselines(run: Trained, splits: Sequence[pipeline.Records]) -> dict[str, list[dict]]:
    """The means of the metrics on each split, by the rows' names: answers without a tokenizer.

    Args:
      run: its config says where it trained, `data.mixture`, and how many of those poses are
        candidates, `eval.baseline_poses`.
      splits: what was evaluated.
    """
    training = training_poses(run.config)
    each = [
        errors_of_answers(run.frozen, read_poses(split, run.config.data.num_threads), training)
        for split in splits
    ]
    return {name: [errors[name] for errors in each] for name in each[0]}


def read_poses(records: pipeline.Records, num_threads: int) -> np.ndarray:
    """All poses of a prepared split, (N, 21, 3) axis-angle."""
    batches = pipeline.eval_batches(records, batch_size=256, num_threads=num_threads)
    return np.concatenate([columns['body_pose'][valid] for columns, valid in batches])


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


def errors_of_answers(
    frozen: Frozen, poses: np.ndarray, training: np.ndarray
) -> dict[str, dict[str, float]]:
    """Mean errors of answering without a tokenizer.

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
    candidate_joints = in_chunks(lambda m: body_joints(frozen.body, m), candidates)
    truth = to_matrix(poses)
    nearest = candidates[nearest_pose(body_joints(frozen.body, truth), candidate_joints)]
    answers = {'nearest training pose': nearest, 'mean pose': jnp.broadcast_to(mean, truth.shape)}

    def means(answer):
        errors = in_chunks(lambda a, t: _errors(frozen.body, a, t), answer, truth)
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
def body_joints(body: smpl.BodyModel, body_pose: jax.Array) -> jax.Array:
    """Body joints (B, 21, 3) alone: the skin is not asked for, so it is never computed."""
    return pose_body(body, body_pose).joints[:, _BODY]


def in_chunks(function: Callable[..., Any], *arrays: jax.Array, size: int = 256) -> Any:
    """`function` over slices of arrays' first axis: memory stays that of one slice."""
    parts = [
        jax.device_get(function(*(a[i : i + size] for a in arrays)))
        for i in range(0, len(arrays[0]), size)
    ]
    return jax.tree.map(lambda *p: np.concatenate(p), *parts)


def pictures(
    run: Trained, splits: Sequence[pipeline.Records], errors: Sequence[np.ndarray]
) -> dict[str, np.ndarray]:
    """Poses at even ranks of their error, best to worst, RGB, by file name.

    Args:
      run: a trained tokenizer.
      splits: to choose from.
      errors: of each split, the MPJPE (N,) of its records, mm.
    """
    order = np.argsort(np.concatenate(errors))
    chosen = order[np.linspace(0, len(order) - 1, _COLUMNS).round().astype(int)]
    batch = run.task.batch(pipeline.take(splits, chosen))
    shown = jax.jit(functools.partial(bodies, run.task))(run.params, run.state, run.frozen, batch)
    return {'poses.png': sheet(np.asarray(run.frozen.body.faces), batch, jax.device_get(shown))}


@struct.dataclass
class Bodies:
    """What is drawn of a batch: vertices (B, V, 3), metres, and mpjpe_mm (B,)."""

    true: jax.Array
    predicted: jax.Array
    mpjpe_mm: jax.Array


def bodies(
    task: TokenizerTask, params: Any, state: Any, frozen: Frozen, batch: PoseBatch
) -> Bodies:
    """The true and the reconstructed bodies of a batch."""
    output = task.predict(params, state, frozen, batch)
    truth = pose_body(frozen.body, rotations.axis_angle_to_matrix(batch.body_pose))
    error = task.metrics(output, frozen, batch)['mpjpe_mm']
    return Bodies(truth.vertices, output.body.vertices, error)


def sheet(faces: np.ndarray, batch: PoseBatch, shown: Bodies) -> np.ndarray:
    """True (sand) and reconstructed (blue) bodies side by side, (H, W, 3) uint8, RGB.

    Args:
      faces: (F, 3) of the body model.
      batch: poses (B, 21, 3).
      shown: of `bodies`, as NumPy arrays.
    """
    del batch  # all there is to see of it are bodies
    pairs = zip(shown.true, shown.predicted, strict=True)
    tiles = [
        np.concatenate([_pair(faces, pair, view) for view in ('front', 'left')]) for pair in pairs
    ]
    picture = render.contact_sheet(tiles, len(tiles), [f'{e:.1f} mm' for e in shown.mpjpe_mm])
    header = np.full((40, picture.shape[1], 3), 255, np.uint8)
    text = 'held-out poses: true (sand), reconstructed (blue); front, side'
    cv2.putText(header, text, (8, 26), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (30, 30, 30), 1, cv2.LINE_AA)
    return np.concatenate([header, picture])


def _pair(faces: np.ndarray, pair: tuple[np.ndarray, np.ndarray], view: str) -> np.ndarray:
    focus = np.concatenate(pair)
    return np.concatenate(
        [
            render.render_view(v, faces, view, (360, 220), focus=focus, colors=color)
            for v, color in zip(pair, (_SAND, _BLUE), strict=True)
        ],
        axis=1,
    )
