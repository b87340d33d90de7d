"""What an evaluation of the regressor shows: a baseline to stand beside it, and a gallery."""

import functools
from collections.abc import Sequence

import cv2
import jax
import ml_collections
import numpy as np

from tokenhmr_jax import draw, metrics, render
from tokenhmr_jax.body import camera
from tokenhmr_jax.data import pipeline
from tokenhmr_jax.tasks.regressor import Frozen, RegressorTask, true_body, truth_points

ROW = 'regressor'
_TILE = 256  # pixels of a drawn crop
_BATCH = 64


def report(
    config: ml_collections.ConfigDict,
    task: RegressorTask,
    params,
    state,
    frozen: Frozen,
    splits: Sequence[pipeline.Records],
) -> tuple[dict[str, dict], dict[str, np.ndarray]]:
    """Rows to stand below the regressor's in the table, and pictures by file name.

    Args:
      config: of the run: where it trained, `data.mixture`; how many of its records make the
        baseline, `eval.baseline_records`; crops in the gallery, `eval.gallery`.
      task, params, state, frozen: a trained regressor.
      splits: what was evaluated.
    """
    convention, data = task.config.eval.convention, config.data
    names = sorted(data.mixture)
    training = [pipeline.open_split(data.data_dir, name) for name in names]
    limit = max(config.eval.baseline_records // len(training), 1)
    points = functools.partial(_points, task, frozen, convention)
    seen = [
        [np.asarray(p)[valid] for p in points(batch)]
        for split in training
        for batch, valid in _batches(task, split, data.num_threads, limit)
    ]
    mean = [np.concatenate(p).mean(axis=0) for p in zip(*seen, strict=True)]
    errors_of, errors = jax.jit(metrics.body_errors), []
    for split in splits:
        for batch, valid in _batches(task, split, data.num_threads):
            truth = points(batch)
            guess = [np.broadcast_to(m, t.shape) for m, t in zip(mean, truth, strict=True)]
            error = errors_of(guess[0], truth[0], guess[1], truth[1])
            errors.append({k: np.asarray(v)[valid] for k, v in error.items() if v.ndim == 1})
    row = {k: float(np.concatenate([e[k] for e in errors]).mean()) for k in errors[0]}
    pictures = gallery(task, params, state, frozen, splits, config.eval.gallery, data.num_threads)
    return {'mean body': row}, {'gallery.png': pictures}


@functools.partial(jax.jit, static_argnums=(0, 2))
def _points(task, frozen, convention, batch):
    return truth_points(convention, frozen, batch)


def _batches(task, records, num_threads, limit=None):
    for columns, valid in pipeline.eval_batches(
        records,
        batch_size=_BATCH,
        num_threads=num_threads,
        limit=limit,
        transform=task.eval_transform,
    ):
        yield task.batch(columns), valid


def gallery(
    task: RegressorTask,
    params,
    state,
    frozen: Frozen,
    splits: Sequence[pipeline.Records],
    rows: int,
    num_threads: int,
) -> np.ndarray:
    """Crops with the predicted bodies over them, (H, W, 3) uint8: best, median, worst by MPJPE.

    Each example shows the crop, the body as the crop's camera sees it, and the predicted (blue) and
    true (sand) bodies from the person's side.

    Args:
      task, params, state, frozen: a trained regressor.
      splits: to choose from.
      rows: examples of each of the three kinds.
      num_threads: that read and decode.
    """

    @jax.jit
    def run(params, state, frozen, batch):
        output = task.predict(params, state, frozen, batch)
        return task.metrics(output, frozen, batch)['mpjpe_mm']

    errors, batches = [], []
    for split in splits:
        for batch, valid in _batches(task, split, num_threads, limit=1024):
            errors.append(np.where(valid, run(params, state, frozen, batch), np.nan))
            batches.append(batch)
    error = np.concatenate(errors)
    order = np.argsort(error)[: np.isfinite(error).sum()]
    middle = (len(order) - rows) // 2
    chosen = np.concatenate([order[:rows], order[middle : middle + rows], order[-rows:]])
    picked = [jax.tree.map(lambda x, i=i: x[i % _BATCH], batches[i // _BATCH]) for i in chosen]
    batch = jax.tree.map(lambda *x: np.stack(x), *picked)
    output = jax.jit(task.predict)(params, state, frozen, batch)
    truth = jax.jit(true_body)(frozen, batch)
    tiles = [_tile(frozen, batch, output, truth, i) for i in range(len(chosen))]
    kinds = np.repeat(('best', 'median', 'worst'), rows)
    labels = [f'{k} {error[i]:.0f} mm' for k, i in zip(kinds, chosen, strict=True)]
    return render.contact_sheet(tiles, rows, labels)


def _tile(frozen, batch, output, truth, i) -> np.ndarray:
    image = cv2.resize(batch.image[i], (_TILE, _TILE), interpolation=cv2.INTER_CUBIC)
    faces = np.asarray(frozen.body.faces)
    translation = np.asarray(camera.crop_translation(output.camera[i]))
    focal = camera.CROP_FOCAL_LENGTH * _TILE / camera.CROP_SIZE
    vertices = np.asarray(output.body.vertices[i])
    intrinsics = (focal, focal, (_TILE - 1) / 2, (_TILE - 1) / 2)
    over = draw.mesh(image, vertices + translation, faces, intrinsics)
    # Beside the camera's axes (y down): SMPL's views want y up.
    upright = np.array([1, -1, -1], np.float32)
    pair = [upright * (np.asarray(v) - np.asarray(j[0])) for v, j in (
        (truth.vertices[i], truth.joints[i]), (vertices, output.body.joints[i]))]  # fmt: skip
    focus = np.concatenate(pair)
    side = [
        render.render_view(v, faces, 'left', (_TILE, _TILE // 2), focus=focus, colors=color)
        for v, color in zip(pair, ((0.85, 0.75, 0.62), (0.45, 0.62, 0.85)), strict=True)
    ]
    return draw.side_by_side([image, over, *side])
