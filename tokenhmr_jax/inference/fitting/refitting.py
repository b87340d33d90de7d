"""Labels refitted with the picture's camera, as CamSMPLify (CameraHMR, 3DV 2025) refits them.

A network's answer is the prior, the record's 2D keypoints are the measurements, and the picture's
own camera takes one to the other in full perspective: `refinement.refine`. Lengths in pictures are
in focal lengths, seen from the principal point.
"""

import functools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from tokenhmr_jax.body import camera, keypoint_body, rotations
from tokenhmr_jax.data import augment, crop_batches, pipeline, records
from tokenhmr_jax.inference.fitting import refinement
from tokenhmr_jax.inference.placement import place_bodies
from tokenhmr_jax.readers.filters import Filters
from tokenhmr_jax.readers.shards import Remark, corrupt
from tokenhmr_jax.tasks import prompting
from tokenhmr_jax.tasks.regressor import RegressorTask
from tokenhmr_jax.training.trained_run import Trained
from tokenhmr_jax.types import Array, CropBatch, ImageBatch, Prompts

_BATCH = 64  # persons at once: one compilation
NO_CAMERA = 'dropped: camera unknown'
REFITTED, ANSWERED = 'refitted', "the network's answer kept"


class Refit(NamedTuple):
    """Labels of B persons in the axes of their pictures' cameras.

    error: mean distance of keypoints to the given ones, % of the crop's side.
    changed: False where the network's answer was kept.
    """

    global_orient: Float[Array, 'B 3']
    body_pose: Float[Array, 'B 23 3']
    betas: Float[Array, 'B 10']
    transl: Float[Array, 'B 3']
    keypoints3d: Float[Array, 'B 44 3']
    error: Float[Array, ' B']
    changed: Float[Array, ' B']


@functools.partial(jax.jit, static_argnums=0)
def refit(task: RegressorTask, params: dict, state, frozen, batch: CropBatch) -> Refit:
    """Refits the persons of crops that are neither turned nor mirrored."""
    labels = crop_batches.image_batch(batch)
    center, side = labels.camera[:, :2], labels.camera[:, 2]
    reads_image, reads_prompts = task.model.backbone is not None, task.model.prompts is not None
    prompts = _prompts(labels) if reads_prompts else None
    image = labels.image if reads_image else None
    output = task.bodies(params, state, frozen.body, image, prompts).replace(token_probs=None)
    view = jnp.ones_like(side), jnp.zeros_like(center)
    is_full = task.config.camera.projection == 'full'
    knows = {'knows_camera': reads_prompts, 'places_bodies': not reads_image or is_full}
    placed = place_bodies(output, center, side, *view, **knows)
    answer = output.params.replace(global_orient=placed.global_orient)
    points = camera.to_full_pixels(labels.keypoints2d[..., :2], center, side)
    seen = jnp.concatenate([points, labels.keypoints2d[..., 2:]], axis=-1)
    reduced = frozen.keypoint_body
    found = refinement.refine(reduced, answer, placed.translation, seen, *view, side)
    return Refit(
        global_orient=rotations.matrix_to_axis_angle(found.params.global_orient),
        body_pose=rotations.matrix_to_axis_angle(found.params.body_pose),
        betas=found.params.betas,
        transl=found.translation,
        keypoints3d=keypoint_body.keypoints(reduced, found.params),
        error=found.error_after,
        changed=found.changed.astype(jnp.float32),
    )


def _prompts(labels: ImageBatch) -> Prompts:
    """All that is known: the labels' own keypoints, those near the crop, and the camera."""
    points, ones = labels.keypoints2d, jnp.ones(len(labels.betas))
    near = jnp.max(jnp.abs(points[..., :2]), axis=-1) < prompting.FARTHEST
    points = jnp.where((near & (points[..., 2] > 0))[..., None], points, 0)
    return Prompts(points, labels.camera, has_camera=ones, has_image=ones)


class Refitter:
    """Refits records of a prepared split by a trained regressor, and keeps those that pass filters.

    `keep.max_reprojection_loss` is of `Refit.error`.
    """

    def __init__(self, run: Trained, split: pipeline.Records, keep: Filters):
        self._run, self._split, self._keep = run, split, keep

    def read(self, start: int, stop: int) -> Iterator[dict | Remark]:
        """The refitted records among those from `start` to before `stop`, and remarks."""
        for first in range(start, stop, _BATCH):
            found = self._split.read(range(first, min(first + _BATCH, stop)))
            yield from self._refitted(found)

    def _refitted(self, found: Sequence[dict]) -> Iterator[dict | Remark]:
        kept, crops = [], []
        for record in found:
            record = record | {'key': record['key'].decode()}
            if not records.picture_camera(record)['camera_source']:
                yield Remark(NO_CAMERA)
                continue
            try:
                crops.append(self._crop(record))
                kept.append(record)
            except ValueError as error:
                yield corrupt(record['key'], error)
        if kept:
            for record, fit in zip(kept, self._fits(crops), strict=True):
                yield from self._filtered(record, fit)

    def _crop(self, record: dict) -> dict[str, np.ndarray]:
        data = self._run.config.data
        record = record | {'gender': np.float32(0)}  # the new labels' body is the neutral one
        return augment.plain_crop(record, crop_size=data.crop_size, box_aspect=data.eval_box_aspect)

    def _fits(self, crops: Sequence[dict[str, np.ndarray]]) -> Iterator[Refit]:
        """The refit of each crop; short batches are padded."""
        run, rows = self._run, np.minimum(np.arange(_BATCH), len(crops) - 1)
        columns = {name: np.stack([crops[i][name] for i in rows]) for name in crops[0]}
        batch = run.task.batch(columns)
        fits = jax.device_get(refit(run.task, run.params, run.state, run.frozen, batch))
        return (Refit(*(value[i] for value in fits)) for i in range(len(crops)))

    def _filtered(self, record: dict, fit: Refit) -> Iterator[dict | Remark]:
        labels, acted = self._keep(_refitted_labels(record, fit), float(fit.error))
        yield Remark(REFITTED if fit.changed else ANSWERED)
        yield from map(Remark, acted)
        if labels is not None:
            record |= {name: np.asarray(value, np.float32) for name, value in labels.items()}
            records.check_record(record)
            yield record


def _refitted_labels(record: dict, fit: Refit) -> dict[str, Any]:
    """Labels of a record; its 3D keypoints are as sure as its 2D ones."""
    picture = records.picture_camera(record)
    confidence = record['keypoints2d'][:, 2:]
    return {
        **picture,
        'focal_length': picture['picture_focal_length'],
        'principal_point': picture['picture_principal_point'],
        'keypoints2d': record['keypoints2d'],
        'keypoints3d': np.concatenate([fit.keypoints3d, confidence], axis=-1),
        'global_orient': fit.global_orient,
        'body_pose': fit.body_pose,
        'betas': fit.betas,
        'transl': fit.transl,
        'gender': 0,
        'has_pose': 1,
        'has_betas': 1,
    }
