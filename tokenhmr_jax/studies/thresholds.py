"""Thresholds for TALS from data (TokenHMR, supplement, section 2.2).

    python -m tokenhmr_jax.studies.thresholds --data_dir=DATA --split=mannequin/suit_heldout \\
        --checkpoint=WORKDIR --out=thresholds.csv

A 2D threshold is the mean L1 error of *true* bodies under the crop camera that fits each best: the
error that the assumed focal length alone causes. The records' 2D keypoints must be true projections
of their 3D ones. An angle is the mean between predicted and true rotations of a trained regressor;
without a checkpoint, it is that of another table. `--config.tals.thresholds=thresholds.csv` trains
with the result.
"""

import functools
import itertools
import pathlib
from collections.abc import Iterable, Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from tokenhmr_jax import cli
from tokenhmr_jax.body import camera, rotations, skeleton
from tokenhmr_jax.data import crop_batches, pipeline
from tokenhmr_jax.objectives import tals
from tokenhmr_jax.tasks.regressor_targets import all_rotations, true_params
from tokenhmr_jax.training.trained_run import Trained, open_run
from tokenhmr_jax.types import Array

_MIN_POINTS = 12  # fewer do not determine a camera
_CHUNK = 256


def crop_camera_errors(
    keypoints3d: Float[Array, 'B K 4'], keypoints2d: Float[Array, 'B K 3']
) -> Float[Array, 'B K']:
    """L1 errors, crop units, of true bodies under the crop camera that fits each best.

    3D keypoints are metres in the true camera's axes, any origin; 2D ones are crop units, as that
    camera sees them. Both have a confidence.
    """
    points, seen = keypoints3d[..., :3], keypoints2d[..., :2]
    counted = counted_keypoints(keypoints3d, keypoints2d)
    translation = camera.fit_crop_translation(points, seen, counted.astype(points.dtype))
    return jnp.sum(jnp.abs(camera.project_crop(points, translation) - seen), axis=-1)


def counted_keypoints(
    keypoints3d: Float[Array, 'B K 4'], keypoints2d: Float[Array, 'B K 3']
) -> Bool[Array, 'B K']:
    """Whether keypoints are known in 3D and in 2D: both confidences are above 0."""
    return (keypoints3d[..., 3] > 0) & (keypoints2d[..., 2] > 0)


def keypoint_thresholds(
    bodies: Iterable[tuple[np.ndarray, np.ndarray]],
) -> tuple[Float[np.ndarray, '44'], int]:
    """Mean of `crop_camera_errors` over bodies, crop units, and the number of counted bodies.

    `bodies` are batches of its arguments; those with fewer than 12 known keypoints do not count.
    Raises ValueError if no body shows a keypoint, or an error is not finite.
    """
    errors_of = jax.jit(crop_camera_errors)
    total, count, used = np.zeros(44), np.zeros(44), 0
    for keypoints3d, keypoints2d in bodies:
        known = np.asarray(counted_keypoints(keypoints3d, keypoints2d))
        known &= (known.sum(axis=1) >= _MIN_POINTS)[:, None]
        errors = np.asarray(errors_of(keypoints3d, keypoints2d), np.float64)
        total += np.where(known, errors, 0).sum(axis=0)
        count += known.sum(axis=0)
        used += int(known.any(axis=1).sum())
    if unknown := [skeleton.KEYPOINTS[i] for i in np.flatnonzero(count == 0)]:
        raise ValueError(f'no body shows the keypoints {unknown}: no threshold follows for them')
    if not np.isfinite(total).all():
        raise ValueError('keypoints that are not finite, or coincide: no threshold follows')
    return total / count, used


def angle_thresholds(
    rotation_pairs: Iterable[tuple[np.ndarray, np.ndarray]],
) -> Float[np.ndarray, '24']:
    """Mean angles, radians, between batches of predicted and true rotations (B, 24, 3, 3).

    Raises ValueError without any rotations.
    """
    angles_of = jax.jit(rotations.geodesic_angle)
    total, count = np.zeros(skeleton.NUM_JOINTS), 0
    for predicted, true in rotation_pairs:
        total += np.asarray(angles_of(predicted, true), np.float64).sum(axis=0)
        count += len(true)
    if not count:
        raise ValueError('no predictions to take angles from')
    return total / count


def predictions_of(
    run: Trained, records: pipeline.Records, limit: int | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Batches of predicted and true rotations (B, 24, 3, 3) of records with known poses.

    Of at most `limit` records, spread evenly, cropped as in an evaluation.
    """
    task, config = run.task, run.config
    settings = {'batch_size': config.eval.batch_size, 'num_threads': config.data.num_threads}
    batches = pipeline.eval_batches(records, **settings, transform=task.eval_transform, limit=limit)
    for columns, valid in batches:
        batch = task.batch(columns)
        known = valid & (batch.has_pose > 0)
        pair = _rotations(task, run.params, run.state, run.frozen, batch)
        yield tuple(np.asarray(each)[known] for each in pair)


@functools.partial(jax.jit, static_argnums=0)
def _rotations(task, params, state, frozen, batch) -> tuple[Array, Array]:
    """Predicted and true rotations."""
    batch = crop_batches.image_batch(batch)
    predicted = task.predict(params, state, frozen, batch).params
    true = true_params(batch.global_orient, batch.body_pose, batch.betas)
    return all_rotations(predicted), all_rotations(true)


def bodies_of(
    records: pipeline.Records | list[dict], limit: int | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Batches of `keypoints3d` (B, 44, 4), and of `keypoints2d` (B, 44, 3) in crop units.

    Of at most `limit` records, spread evenly. A crop's side is the larger side of a record's box.
    """
    count = len(records) if limit is None else min(limit, len(records))
    positions = (i * len(records) // count for i in range(count))
    fields = ('keypoints3d', 'keypoints2d', 'box_center', 'box_size')
    while chunk := [records[i] for i in itertools.islice(positions, _CHUNK)]:
        columns = [np.stack([r[field] for r in chunk]).astype(np.float32) for field in fields]
        keypoints3d, keypoints2d, center, size = columns
        keypoints2d[..., :2] = camera.to_crop_units(keypoints2d[..., :2], center, size.max(axis=-1))
        yield keypoints3d, keypoints2d


def derive_thresholds(
    data_dir: str,
    names: Sequence[str],
    *,
    angles: str = 'release',
    checkpoint: str | None = None,
    step: str = 'best',
    limit: int | None = None,
) -> tuple[tals.Thresholds, int]:
    """Thresholds from prepared splits, and the number of counted bodies; see the flags.

    Raises FileNotFoundError or ValueError for a missing table, split or checkpoint, a checkpoint of
    another task, and as `keypoint_thresholds` and `angle_thresholds`.
    """
    splits = [pipeline.open_split(data_dir, name) for name in names]
    if checkpoint is None:
        values = tals.load_thresholds(angles).angles
    else:
        run = open_run(checkpoint, step, kind='regressor')
        values = angle_thresholds(pair for s in splits for pair in predictions_of(run, s, limit))
    bodies = (pair for split in splits for pair in bodies_of(split, limit))
    keypoints2d, count = keypoint_thresholds(bodies)
    return tals.Thresholds(keypoints2d, values), count


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line; `arguments` are the process's own by default."""
    flags = cli.Flags(__doc__, arguments)
    data_dir = flags.path('data_dir', None, 'Folder of prepared datasets.', required=True)
    split = flags.strings('split', None, 'With true labels; repeatable.', required=True)
    out = flags.path('out', None, 'CSV file to write.', required=True)
    limit = flags.integer('limit', None, 'Records per split at most.', lower_bound=1)
    angles = flags.path('angles', None, "Table to take angles from. Default: 'release'.")
    checkpoint = flags.path('checkpoint', None, 'Workdir of a regressor to take angles from.')
    step = flags.string('step', 'best', "Step of the checkpoint: 'best', 'last', or its number.")

    def command():
        if angles.value and checkpoint.value:
            raise ValueError('--angles and --checkpoint: expected one of them')
        pathlib.Path(out.value).parent.mkdir(parents=True, exist_ok=True)
        thresholds, count = derive_thresholds(
            data_dir.value,
            split.value,
            angles=angles.value or 'release',
            checkpoint=checkpoint.value,
            step=step.value,
            limit=limit.value,
        )
        tals.write_thresholds(thresholds, out.value)
        degrees = np.degrees(thresholds.angles).mean()
        source = f'predictions of {checkpoint.value}' if checkpoint.value else angles.value
        print(f'of {count} bodies. 2D: mean {thresholds.keypoints2d.mean():.4f} of the crop.')
        print(f'Angles, of {source or "release"}: mean {degrees:.1f} degrees')
        table = f'--config.tals.thresholds={out.value}'
        train = cli.command_line('train', '--config=regressor', table, '--workdir=RUN')
        means = {'keypoints2d': thresholds.keypoints2d, 'angles': thresholds.angles}
        return cli.Done(out.value, train, {'bodies': count} | means)

    cli.run(flags, command)


if __name__ == '__main__':
    main()
