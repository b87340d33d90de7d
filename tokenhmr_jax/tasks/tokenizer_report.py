"""Baselines of the tokenizer, which answer without one, and pictures of poses."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from flax import struct
from jaxtyping import Float, Int, Num, UInt8

from tokenhmr_jax.body import rotations, smpl
from tokenhmr_jax.data import pipeline
from tokenhmr_jax.drawing import draw, render
from tokenhmr_jax.objectives import metrics
from tokenhmr_jax.tasks.task import Splits, Task
from tokenhmr_jax.types import Array, BodyOutput, PoseBatch

_SAND, _BLUE = (0.85, 0.75, 0.62), (0.45, 0.62, 0.85)
_BODY = slice(1, 22)
_COLUMNS = 6


@struct.dataclass
class Bodies:
    """The drawn bodies of a batch: vertices, metres, and their errors."""

    true: Float[Array, 'B V 3']
    predicted: Float[Array, 'B V 3']
    mpjpe_mm: Float[Array, ' B']


class TokenizerReport:
    """Baselines and pictures of a tokenizer; methods as in `Report`."""

    row = 'reconstruction'
    title = 'held-out poses: true (sand), reconstructed (blue); front, side; MPJPE'
    num_examples = 3  # of four bodies each, which take longer to draw than to compute

    def __init__(self, task: Task):
        self._task = task

    def baselines(self, frozen: Any, splits: Splits) -> dict[str, list[dict]]:
        """The metrics of the nearest of `eval.baseline_poses` training poses, and of their mean."""
        config = self._task.config
        training = training_poses(config)
        each = [
            errors_of_answers(frozen.body, read_poses(split, config.data.num_threads), training)
            for split in splits
        ]
        return {name: [errors[name] for errors in each] for name in each[0]}

    def pictures(
        self, params: Any, state: Any, frozen: Any, splits: Splits, errors: Sequence[np.ndarray]
    ) -> dict[str, UInt8[np.ndarray, 'H W 3']]:
        """Poses at even ranks of their error, best to worst."""
        order = np.argsort(np.concatenate(errors))
        chosen = order[np.linspace(0, len(order) - 1, _COLUMNS).round().astype(int)]
        batch, shown = self.examples(splits, chosen)
        bodies = jax.device_get(jax.jit(self.bodies)(params, state, frozen, batch))
        return {'poses.png': self.draw(frozen, shown, bodies)}

    def examples(
        self, splits: Splits, indices: Sequence[int] | Int[np.ndarray, ' B']
    ) -> tuple[PoseBatch, PoseBatch]:
        """The batch of some poses, twice."""
        batch = self._task.batch(pipeline.take(splits, indices))
        return batch, batch

    def bodies(self, params: Any, state: Any, frozen: Any, batch: PoseBatch) -> Bodies:
        """The true and the reconstructed bodies of a batch."""
        output = self._task.predict(params, state, frozen, batch)
        truth = smpl.pose_body(frozen.body, rotations.axis_angle_to_matrix(batch.body_pose))
        error = self._task.metrics(output, frozen, batch)['mpjpe_mm']
        return Bodies(truth.vertices, output.body.vertices, error)

    def draw(self, frozen: Any, batch: PoseBatch, bodies: Bodies) -> UInt8[np.ndarray, 'H W 3']:
        """True (sand) and reconstructed (blue) bodies side by side, RGB."""
        faces = np.asarray(frozen.body.faces)
        tiles = [
            np.concatenate([_pair(faces, pair, view) for view in ('front', 'left')])
            for pair in zip(bodies.true, bodies.predicted, strict=True)
        ]
        picture = render.contact_sheet(tiles, len(tiles), [f'{e:.1f} mm' for e in bodies.mpjpe_mm])
        return draw.under_title(picture, self.title)


def read_poses(records: pipeline.Records, num_threads: int) -> Float[np.ndarray, 'N 21 3']:
    """All poses of a prepared split, axis-angle."""
    batches = pipeline.eval_batches(records, batch_size=256, num_threads=num_threads)
    return np.concatenate([columns['body_pose'][valid] for columns, valid in batches])


def training_poses(config: ml_collections.ConfigDict) -> Float[np.ndarray, 'N 21 3']:
    """`eval.baseline_poses` poses, axis-angle, of the mixture that a run trained on."""
    data, count, size = config.data, config.eval.baseline_poses, 256
    batches = pipeline.train_batches(
        data.data_dir, data.mixture, batch_size=size, seed=config.seed, num_threads=data.num_threads
    )
    poses = [next(batches)['body_pose'] for _ in range(-(-count // size))]
    return np.concatenate(poses)[:count]


def mean_rotation(matrices: Float[Array, 'N *B 3 3']) -> Float[Array, '*B 3 3']:
    """Chordal mean of rotations over N: the rotation nearest to their mean in the Frobenius norm
    (Hartley et al., "Rotation Averaging", IJCV 2013)."""
    u, _, vt = jnp.linalg.svd(jnp.mean(matrices, axis=0))
    sign = jnp.linalg.det(u) * jnp.linalg.det(vt)
    u = u.at[..., :, 2].multiply(sign[..., None])
    return rotations.compose(u, vt)


@jax.jit
def nearest_pose(
    joints: Float[Array, 'B 21 3'], candidates: Float[Array, 'N 21 3']
) -> Int[Array, ' B']:
    """Index of the candidate nearest in MPJPE to each pose, by joints in metres."""
    x, y, z = jnp.moveaxis(candidates, 0, -1).swapaxes(0, 1)  # each (21, N), for vector units

    def one(query):
        dx, dy, dz = (a - b[:, None] for a, b in zip((x, y, z), query.T, strict=True))
        return jnp.argmin(jnp.sum(jnp.sqrt(dx * dx + dy * dy + dz * dz), axis=0))

    return jax.lax.map(one, joints)


def errors_of_answers(
    body: smpl.BodyModel, poses: Float[Array, 'B 21 3'], training: Float[Array, 'N 21 3']
) -> dict[str, dict[str, float]]:
    """Mean `body_errors` of the nearest and of the mean training pose as answers; axis-angle."""
    to_matrix = jax.jit(rotations.axis_angle_to_matrix)
    candidates = to_matrix(training)
    mean = jax.jit(mean_rotation)(candidates)
    candidate_joints = in_chunks(lambda m: body_joints(body, m), candidates)
    truth = to_matrix(poses)
    nearest = candidates[nearest_pose(body_joints(body, truth), candidate_joints)]
    answers = {'nearest training pose': nearest, 'mean pose': jnp.broadcast_to(mean, truth.shape)}

    def means(answer):
        errors = in_chunks(lambda a, t: _pose_errors(body, a, t), answer, truth)
        return {name: float(np.mean(values)) for name, values in errors.items()}

    return {name: means(answer) for name, answer in answers.items()}


@jax.jit
def _pose_errors(body, answer, truth) -> dict[str, Float[Array, ' B']]:
    return body_errors(smpl.pose_body(body, answer), smpl.pose_body(body, truth))


def body_errors(body: BodyOutput, truth: BodyOutput) -> dict[str, Float[Array, ' B']]:
    """'mpjpe_mm', of joints 1 to 21, and 'pve_mm'."""
    return {
        'mpjpe_mm': metrics.mean_distance_mm(body.joints[:, _BODY], truth.joints[:, _BODY]),
        'pve_mm': metrics.mean_distance_mm(body.vertices, truth.vertices),
    }


@jax.jit
def body_joints(body: smpl.BodyModel, pose: Float[Array, 'B 21 3 3']) -> Float[Array, 'B 21 3']:
    """Joints 1 to 21 alone, metres: XLA computes no skin that is not asked for."""
    return smpl.pose_body(body, pose).joints[:, _BODY]


def in_chunks(function: Callable[..., Any], *arrays: Num[Array, 'N ...'], size: int = 256) -> Any:
    """`function` over slices of arrays' first axis: memory stays that of one slice."""
    parts = [
        jax.device_get(function(*(a[i : i + size] for a in arrays)))
        for i in range(0, len(arrays[0]), size)
    ]
    return jax.tree.map(lambda *p: np.concatenate(p), *parts)


def _pair(faces, pair: tuple[np.ndarray, np.ndarray], view: str) -> UInt8[np.ndarray, 'H W 3']:
    focus = np.concatenate(pair)
    parts = [
        render.render_view(v, faces, view, (360, 220), focus=focus, colors=color)
        for v, color in zip(pair, (_SAND, _BLUE), strict=True)
    ]
    return np.concatenate(parts, axis=1)
