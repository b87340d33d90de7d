"""What an evaluation of the regressor shows: a baseline to stand beside it, and a gallery."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import jax
import numpy as np
from flax import struct

from tokenhmr_jax import draw, metrics, render
from tokenhmr_jax.body import camera
from tokenhmr_jax.data import pipeline
from tokenhmr_jax.tasks.regressor import (
    Frozen,
    RegressorTask,
    body_of,
    evaluation_points,
    true_body,
)
from tokenhmr_jax.trained import Trained
from tokenhmr_jax.types import BodyOutput, ImageBatch

ROW = 'regressor'
EXAMPLES = 8
_TILE = 256  # pixels of a drawn crop
_CAPTION = 24  # pixels
_BATCH = 64
_COLUMNS = 2
_SAND, _BLUE = (0.85, 0.75, 0.62), (0.45, 0.62, 0.85)


def baselines(run: Trained, splits: Sequence[pipeline.Records]) -> dict[str, list[dict]]:
    """The means of the metrics on each split, by the rows' names: 'mean body'.

    It answers with the mean of the points and vertices of the training data, wherever it looks.

    Args:
      run: its config says where it trained, `data.mixture`, and how many of those records are
        averaged, `eval.baseline_records`.
      splits: what was evaluated.
    """
    data, threads = run.config.data, run.config.data.num_threads
    training = [pipeline.open_split(data.data_dir, name) for name in sorted(data.mixture)]
    limit = max(run.config.eval.baseline_records // len(training), 1)
    convention = run.config.eval.convention
    points = functools.partial(jax.jit(_true_points, static_argnums=0), convention, run.frozen)
    mean = _mean(points, training, threads, limit)

    @jax.jit
    def errors(mean, truth):
        return metrics.body_errors(mean[0], truth[0], mean[1], truth[1])

    return {
        'mean body': [
            _mean(lambda labels: errors(mean, points(labels)), [s], threads) for s in splits
        ]
    }


def _true_points(convention: str, frozen: Frozen, labels: dict) -> tuple[jax.Array, jax.Array]:
    """What a convention measures of the bodies of labels."""
    return evaluation_points(convention, frozen, body_of(frozen, **labels))


def _mean(
    function: Callable[[dict], Any],
    splits: Sequence[pipeline.Records],
    num_threads: int,
    limit: int | None = None,
) -> Any:
    """Mean over records of what `function` gives for their labels; no picture is decoded."""
    totals, count = None, 0
    for records in splits:
        for labels, valid in pipeline.eval_batches(
            records, batch_size=_BATCH, num_threads=num_threads, transform=_labels, limit=limit
        ):
            sums = jax.tree.map(lambda x, v=valid: np.asarray(x)[v].sum(axis=0), function(labels))
            totals = sums if totals is None else jax.tree.map(np.add, totals, sums)
            count += valid.sum()
    return jax.tree.map(lambda total: (total / count).astype(np.float32), totals)


def _labels(record: dict) -> dict[str, np.ndarray]:
    return {name: record[name] for name in ('global_orient', 'body_pose', 'betas', 'gender')}


def pictures(
    run: Trained, splits: Sequence[pipeline.Records], errors: Sequence[np.ndarray]
) -> dict[str, np.ndarray]:
    """The gallery by its file name: the best, median and worst predictions, RGB.

    Args:
      run: `eval.gallery` of its config is how many of each kind.
      splits: to choose from.
      errors: of each split, the MPJPE (N,) of its records, mm.
    """
    error = np.concatenate(errors)
    order, rows = np.argsort(error), min(run.config.eval.gallery, len(error))
    middle = (len(order) - rows) // 2
    chosen = np.concatenate([order[:rows], order[middle : middle + rows], order[-rows:]])
    batch = run.task.batch(pipeline.take(splits, chosen, run.task.eval_transform))
    shown = jax.jit(functools.partial(bodies, run.task))(run.params, run.state, run.frozen, batch)
    kinds = np.repeat(('best', 'median', 'worst'), rows)
    faces = np.asarray(run.frozen.body.faces)
    return {'gallery.png': sheet(faces, batch, jax.device_get(shown), kinds, rows)}


@struct.dataclass
class Bodies:
    """What is drawn of a batch.

    predicted, true: metres, axes of the crop's camera, around the body's origin.
    translation: (B, 3) of the predicted body, metres, in the crop's camera.
    mpjpe_mm: (B,).
    """

    predicted: BodyOutput
    true: BodyOutput
    translation: jax.Array
    mpjpe_mm: jax.Array


def bodies(
    task: RegressorTask, params: Any, state: Any, frozen: Frozen, batch: ImageBatch
) -> Bodies:
    """The predicted and the true bodies of a batch."""
    output = task.predict(params, state, frozen, batch)
    return Bodies(
        predicted=output.body,
        true=true_body(frozen, batch),
        translation=camera.crop_translation(output.camera),
        mpjpe_mm=task.metrics(output, frozen, batch)['mpjpe_mm'],
    )


def sheet(
    faces: np.ndarray,
    batch: ImageBatch,
    shown: Bodies,
    titles: Sequence[str] | None = None,
    columns: int = _COLUMNS,
) -> np.ndarray:
    """A contact sheet (H, W, 3) uint8, RGB, of a batch.

    Each example shows the crop, the predicted body as the crop's camera sees it, and the true
    (sand) and predicted (blue) bodies seen from the side.

    Args:
      faces: (F, 3) of the body model.
      batch: crops (B, S, S, 3).
      shown: of `bodies`, as NumPy arrays.
      titles: a word for each example, which its MPJPE stands beside.
      columns: of the sheet.
    """
    titles = [''] * len(batch.image) if titles is None else titles
    tiles = [
        _tile(faces, image, jax.tree.map(lambda x, i=i: x[i], shown))
        for i, image in enumerate(batch.image)
    ]
    labels = [f'{t} {e:.0f} mm'.strip() for t, e in zip(titles, shown.mpjpe_mm, strict=True)]
    return render.contact_sheet(tiles, columns, labels)


def _tile(faces: np.ndarray, image: np.ndarray, body: Bodies) -> np.ndarray:
    image = cv2.resize(image, (_TILE, _TILE), interpolation=cv2.INTER_CUBIC)
    focal = camera.CROP_FOCAL_LENGTH * _TILE / camera.CROP_SIZE
    intrinsics = (focal, focal, (_TILE - 1) / 2, (_TILE - 1) / 2)
    over = draw.mesh(image, body.predicted.vertices + body.translation, faces, intrinsics)
    # Beside the camera's axes (y down): SMPL's views want y up.
    upright = np.array([1, -1, -1], np.float32)
    pair = [upright * (b.vertices - b.joints[0]) for b in (body.true, body.predicted)]
    focus = np.concatenate(pair)
    side = [
        render.render_view(v, faces, 'left', (_TILE, _TILE // 2), focus=focus, colors=color)
        for v, color in zip(pair, (_SAND, _BLUE), strict=True)
    ]
    tile = draw.side_by_side([image, over, *side])
    return np.pad(tile, ((_CAPTION, 0), (0, 0), (0, 0)), constant_values=255)
