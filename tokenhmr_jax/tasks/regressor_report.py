"""The mean body as a baseline of the regressor, and a gallery of its predictions."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Float, Int, UInt8

from tokenhmr_jax.body import camera
from tokenhmr_jax.data import augment, crop_batches, pipeline
from tokenhmr_jax.drawing import draw, render
from tokenhmr_jax.objectives import metrics
from tokenhmr_jax.tasks.regressor_targets import Frozen, pose_labels, true_body, true_points
from tokenhmr_jax.tasks.task import Splits, Task
from tokenhmr_jax.types import Array, BodyOutput, CropBatch, ImageBatch

_TILE = 256  # pixels of a drawn crop
_CAPTION = 24  # pixels
_BATCH = 64
_SAND, _BLUE = (0.85, 0.75, 0.62), (0.45, 0.62, 0.85)


@struct.dataclass
class Bodies:
    """The drawn bodies of a batch.

    predicted, true: metres, axes of the crop's camera, around the body's origin.
    translation: of the predicted body, metres, in the camera of the task's projection.
    lens: of this camera, sides of the crop: focal length, and principal point from its centre.
    """

    predicted: BodyOutput
    true: BodyOutput
    translation: Float[Array, 'B 3']
    lens: Float[Array, 'B 3']
    mpjpe_mm: Float[Array, ' B']


class RegressorReport:
    """Baseline and pictures of a regressor; methods as in `Report`."""

    row = 'regressor'
    num_examples = 8

    def __init__(self, task: Task):
        self._task = task

    def baselines(self, frozen: Frozen, splits: Splits) -> dict[str, list[dict]]:
        """The metrics of the 'mean body' of `eval.baseline_records` records of `data.mixture`."""
        config = self._task.config
        if not config.data.mixture:
            return {}  # people without pictures are drawn anew in each step
        data, threads = config.data, config.data.num_threads
        training = [pipeline.open_split(data.data_dir, name) for name in sorted(data.mixture)]
        limit = max(config.eval.baseline_records // len(training), 1)

        @functools.partial(jax.jit, static_argnums=0)
        def points(truth, frozen, labels):
            keypoints3d = labels.pop('keypoints3d')
            body = pose_labels(frozen, **labels)
            return true_points(config.eval.convention, truth, frozen, body, keypoints3d)

        mean = _mean(lambda labels: points('body', frozen, labels), training, threads, limit)

        @jax.jit
        def errors(mean, truth):
            return metrics.body_errors(mean[0], truth[0], mean[1], truth[1])

        truth = config.eval.truth
        against = lambda labels: errors(mean, points(truth, frozen, labels))  # noqa: E731
        return {'mean body': [_mean(against, [split], threads) for split in splits]}

    def pictures(
        self, params: Any, state: Any, frozen: Any, splits: Splits, errors: Sequence[np.ndarray]
    ) -> dict[str, UInt8[np.ndarray, 'H W 3']]:
        """The gallery: `eval.gallery` of each of the best, median and worst predictions."""
        error = np.concatenate(errors)
        order, rows = np.argsort(error), min(self._task.config.eval.gallery, len(error))
        middle = (len(order) - rows) // 2
        chosen = np.concatenate([order[:rows], order[middle : middle + rows], order[-rows:]])
        batch, shown = self.examples(splits, chosen)
        bodies = jax.device_get(jax.jit(self.bodies)(params, state, frozen, batch))
        kinds = np.repeat(('best', 'median', 'worst'), rows).tolist()
        faces = np.asarray(frozen.body.faces)
        return {'gallery.png': draw_examples(faces, shown, bodies, kinds, rows)}

    def examples(
        self, splits: Splits, indices: Sequence[int] | Int[np.ndarray, ' B']
    ) -> tuple[CropBatch | ImageBatch, CropBatch | ImageBatch]:
        """The batch of some records, and the same with crops sharp enough to be looked at."""
        batch = self._task.batch(pipeline.take(splits, indices, self._task.eval_transform))
        if batch.image is None:
            return batch, batch
        aspect = self._task.config.data.eval_box_aspect
        cut = functools.partial(augment.plain_crop, crop_size=_TILE, box_aspect=aspect)
        return batch, batch.replace(image=pipeline.take(splits, indices, cut)['image'])

    def bodies(
        self, params: Any, state: Any, frozen: Frozen, batch: CropBatch | ImageBatch
    ) -> Bodies:
        """The predicted and the true bodies of a batch."""
        batch = crop_batches.image_batch(batch)
        output = self._task.predict(params, state, frozen, batch)
        translation, lens = _crop_view(output.camera)
        if self._task.config.camera.projection == 'full':
            translation = camera.place_in_picture(output.camera, batch.camera)
            side = batch.camera[:, 2:]
            lens = jnp.concatenate([1 / side, -batch.camera[:, :2] / side], axis=-1)
        return Bodies(
            predicted=output.body,
            true=true_body(frozen, batch),
            translation=translation,
            lens=lens,
            mpjpe_mm=self._task.metrics(output, frozen, batch)['mpjpe_mm'],
        )

    def draw(
        self, frozen: Frozen, batch: CropBatch | ImageBatch, bodies: Bodies
    ) -> UInt8[np.ndarray, 'H W 3']:
        """A contact sheet; see `draw_examples`."""
        return draw_examples(np.asarray(frozen.body.faces), batch, bodies)


def _crop_view(weak: Float[Array, 'B 3']) -> tuple[Float[Array, 'B 3'], Float[Array, 'B 3']]:
    """Translation and lens of the crop's camera, as in `Bodies`."""
    lens = jnp.array([camera.CROP_FOCAL_LENGTH / camera.CROP_SIZE, 0, 0])
    return camera.crop_translation(weak), jnp.broadcast_to(lens, weak.shape)


def _mean(function: Callable, splits: Splits, num_threads: int, limit: int | None = None) -> Any:
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
    names = ('global_orient', 'body_pose', 'betas', 'gender', 'keypoints3d')
    return {name: record[name] for name in names}


def draw_examples(
    faces: Int[np.ndarray, 'F 3'],
    batch: CropBatch | ImageBatch,
    shown: Bodies,
    titles: Sequence[str] | None = None,
    columns: int = 2,
    numbers: str = 'MPJPE',
) -> UInt8[np.ndarray, 'H W 3']:
    """A contact sheet, RGB, of a batch and its bodies as NumPy arrays.

    The batch is the second of `RegressorReport.examples`. Each example shows the crop, the
    predicted body as the crop's camera sees it, and the true (sand) and predicted (blue) bodies
    seen from the side; above it its title and MPJPE. A legend stands above all, as above the
    tokenizer's poses; `numbers` explains those in the titles.
    """
    name, images = ('crop', _crops(batch)) if batch.image is not None else _keypoints(batch)
    titles = [''] * len(images) if titles is None else titles
    tiles = [
        _tile(faces, image, jax.tree.map(lambda x, i=i: x[i], shown))
        for i, image in enumerate(images)
    ]
    labels = [f'{t} {e:.0f} mm'.strip() for t, e in zip(titles, shown.mpjpe_mm, strict=True)]
    bodies = 'predicted body over it; from the left: true (sand), predicted (blue)'
    text = f'{name}; {bodies}; {numbers}'
    return draw.under_title(render.contact_sheet(tiles, columns, labels), text)


def _keypoints(batch: ImageBatch) -> tuple[str, UInt8[np.ndarray, 'B S S 3']]:
    """Name and pictures of the prompts of people without pictures."""
    blank = np.full((_TILE, _TILE, 3), 255, np.uint8)
    points = np.asarray(batch.prompts.keypoints2d)
    pixels = np.concatenate([_TILE * (points[..., :2] + 0.5), points[..., 2:]], axis=-1)
    return '2D keypoints', np.stack([draw.draw_keypoints(blank, person) for person in pixels])


def _crops(batch: CropBatch) -> UInt8[np.ndarray, 'B S S 3']:
    """The pictures of crops that are not turned, white beside the full image."""
    images = np.array(batch.image)
    size = images.shape[1]
    scale, center = size / batch.side[:, None], batch.center + batch.center_rest
    # Up to the centres of the outermost pixels: beyond, interpolation is dark.
    first = np.ceil(scale * -center + size / 2).clip(0, size).astype(int)
    last = np.floor(scale * (batch.image_size - 1 - center) + size / 2).clip(-1, size).astype(int)
    for image, (left, top), (right, bottom) in zip(images, first, last + 1, strict=True):
        image[:top], image[bottom:], image[:, :left], image[:, right:] = 255, 255, 255, 255
    return images


def _tile(faces, image: UInt8[np.ndarray, 'S S 3'], body: Bodies) -> UInt8[np.ndarray, 'H W 3']:
    focal, x, y = (_TILE * body.lens).tolist()
    intrinsics = (focal, focal, x + (_TILE - 1) / 2, y + (_TILE - 1) / 2)
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
