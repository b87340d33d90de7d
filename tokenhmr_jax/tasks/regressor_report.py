"""Beside the regressor's metrics: the mean body as a baseline, and a gallery of predictions."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import jax
import numpy as np
from flax import struct

from tokenhmr_jax.body import camera
from tokenhmr_jax.data import pipeline
from tokenhmr_jax.drawing import draw, render
from tokenhmr_jax.objectives import metrics
from tokenhmr_jax.tasks.regressor_targets import Frozen, measured_points, pose_labels, true_body
from tokenhmr_jax.tasks.task import Task
from tokenhmr_jax.types import BodyOutput, ImageBatch

_TILE = 256  # pixels of a drawn crop
_CAPTION = 24  # pixels
_BATCH = 64
_COLUMNS = 2
_SAND, _BLUE = (0.85, 0.75, 0.62), (0.45, 0.62, 0.85)


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


class RegressorReport:
    """Baseline and pictures of a regressor; methods as in `Report`."""

    row = 'regressor'
    num_examples = 8

    def __init__(self, task: Task):
        self._task = task

    def baselines(
        self, frozen: Frozen, splits: Sequence[pipeline.Records]
    ) -> dict[str, list[dict]]:
        """The metrics of the 'mean body': of the mean points and vertices of the training data.

        It averages `eval.baseline_records` records of `data.mixture`.
        """
        config = self._task.config
        data, threads = config.data, config.data.num_threads
        training = [pipeline.open_split(data.data_dir, name) for name in sorted(data.mixture)]
        limit = max(config.eval.baseline_records // len(training), 1)
        points = jax.jit(_true_points, static_argnums=0)
        points = functools.partial(points, config.eval.convention, frozen)
        mean = _mean(points, training, threads, limit)

        @jax.jit
        def errors(mean, truth):
            return metrics.body_errors(mean[0], truth[0], mean[1], truth[1])

        return {
            'mean body': [
                _mean(lambda labels: errors(mean, points(labels)), [s], threads) for s in splits
            ]
        }

    def pictures(
        self,
        params: Any,
        state: Any,
        frozen: Frozen,
        splits: Sequence[pipeline.Records],
        errors: Sequence[np.ndarray],
    ) -> dict[str, np.ndarray]:
        """The gallery: `eval.gallery` of each of the best, median and worst predictions."""
        error = np.concatenate(errors)
        order, rows = np.argsort(error), min(self._task.config.eval.gallery, len(error))
        middle = (len(order) - rows) // 2
        chosen = np.concatenate([order[:rows], order[middle : middle + rows], order[-rows:]])
        batch = self._task.batch(pipeline.take(splits, chosen, self._task.eval_transform))
        bodies = jax.device_get(jax.jit(self.bodies)(params, state, frozen, batch))
        kinds = np.repeat(('best', 'median', 'worst'), rows)
        faces = np.asarray(frozen.body.faces)
        return {'gallery.png': draw_examples(faces, batch, bodies, kinds, rows)}

    def bodies(self, params: Any, state: Any, frozen: Frozen, batch: ImageBatch) -> 'Bodies':
        """The predicted and the true bodies of a batch."""
        output = self._task.predict(params, state, frozen, batch)
        return Bodies(
            predicted=output.body,
            true=true_body(frozen, batch),
            translation=camera.crop_translation(output.camera),
            mpjpe_mm=self._task.metrics(output, frozen, batch)['mpjpe_mm'],
        )

    def draw(self, frozen: Frozen, batch: ImageBatch, bodies: 'Bodies') -> np.ndarray:
        """A contact sheet (H, W, 3) uint8, RGB."""
        return draw_examples(np.asarray(frozen.body.faces), batch, bodies)


def _true_points(convention: str, frozen: Frozen, labels: dict) -> tuple[jax.Array, jax.Array]:
    """What a convention measures of the bodies of labels."""
    return measured_points(convention, frozen, pose_labels(frozen, **labels))


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


def draw_examples(
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
      shown: of `RegressorReport.bodies`, as NumPy arrays.
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
    over = draw.draw_mesh(image, body.predicted.vertices + body.translation, faces, intrinsics)
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
