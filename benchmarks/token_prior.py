"""Change of a regressor's predicted poses, and of their errors, by a tokenizer.

    python benchmarks/token_prior.py runs/miniature/ablation --tokenizer=runs/miniature/tokenizer

The tokenizer encodes and decodes each predicted pose. If predictions were impossible poses, the
tokenizer would bring them nearer to the truth. A second measurement covers the lower half of each
crop, so that the picture does not tell the whole pose. Runs that differ in the seed alone are one
row: mean and standard deviation.
"""

import argparse
import os
from collections.abc import Iterator

import jax
import numpy as np

from tokenhmr_jax.body import skeleton, smpl
from tokenhmr_jax.data import crop_batches, pipeline
from tokenhmr_jax.inference.model import load_tokenizer
from tokenhmr_jax.inference.pose_tokenizer import PoseTokenizer
from tokenhmr_jax.objectives import metrics
from tokenhmr_jax.studies import comparison
from tokenhmr_jax.tasks.regressor_targets import measured_points, true_body, true_params
from tokenhmr_jax.training import history, sharding
from tokenhmr_jax.training.trained_run import Trained, open_run
from tokenhmr_jax.types import ImageBatch, SmplParams

# ImageNet's mean colour.
_GREY = np.array([124, 116, 104], np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        'workdirs',
        type=os.path.expanduser,
        nargs='+',
        metavar='WORKDIR',
        help='of a regressor, or a sweep',
    )
    parser.add_argument(
        '--tokenizer', type=os.path.expanduser, required=True, help='workdir of stage 1'
    )
    options = parser.parse_args()
    tokenizer = load_tokenizer(options.tokenizer)
    runs = [history.read_run(folder) for folder in history.find_runs(options.workdirs)]
    rows = comparison.group_runs(runs)
    judged = comparison.collect(rows, lambda row: [judge(run, tokenizer) for run in row.counted])
    print(comparison.comparison_table(rows, comparison.summarize(judged), about=False))


def judge(run: history.Run, tokenizer: PoseTokenizer) -> dict[str, float]:
    """Means in mm over `eval.limit` records of a run's first validation split."""
    loaded = open_run(str(run.workdir), 'last', sharding.make_mesh(jax.devices()[:1]))
    compare = _comparison(loaded, tokenizer)
    parts = [
        {name: values[valid] for name, values in jax.device_get(compare(batch)).items()}
        for batch, valid in _batches(loaded)
    ]
    return {name: float(np.mean(np.concatenate([p[name] for p in parts]))) for name in parts[0]}


def _batches(run: Trained) -> Iterator[tuple[ImageBatch, np.ndarray]]:
    data, settings = run.config.data, run.config.eval
    for columns, valid in pipeline.eval_batches(
        pipeline.open_split(data.data_dir, data.validation[0]),
        batch_size=settings.batch_size,
        num_threads=data.num_threads,
        transform=run.task.eval_transform,
        limit=settings.limit,
    ):
        yield jax.jit(crop_batches.image_batch)(run.task.batch(columns)), valid


def _comparison(run: Trained, tokenizer: PoseTokenizer):
    """Makes a function from a batch to errors (B,), mm, by name."""
    frozen, convention = run.frozen, run.config.eval.convention

    @jax.jit
    def answer(image: jax.Array) -> SmplParams:
        return run.task.bodies(run.params, run.state, frozen.body, image).params

    @jax.jit
    def points(params: SmplParams) -> jax.Array:
        return measured_points(convention, frozen, smpl.forward(frozen.body, params))[0]

    @jax.jit
    def true_points(batch: ImageBatch) -> jax.Array:
        return measured_points(convention, frozen, true_body(frozen, batch))[0]

    def decoded(params: SmplParams) -> SmplParams:
        """The bodies in the poses that the tokenizer gives back."""
        pose, hands = np.split(np.asarray(params.body_pose), [skeleton.NUM_BODY_JOINTS], axis=1)
        back = tokenizer.decode(tokenizer.encode(pose))
        return params.replace(body_pose=np.concatenate([back, hands], axis=1))

    def compare(batch: ImageBatch) -> dict[str, jax.Array]:
        distance, true = metrics.mean_distance_mm, true_points(batch)
        labels = true_params(batch.global_orient, batch.body_pose, batch.betas)
        errors = {'true poses changed by': distance(points(decoded(labels)), true)}
        for name, image in {'': batch.image, 'half hidden: ': _hide(batch.image)}.items():
            answers = answer(image)
            ours, back = points(answers), points(decoded(answers))
            errors |= {
                f'{name}MPJPE': distance(ours, true),
                f'{name}changed by': distance(back, ours),
                f'{name}MPJPE then': distance(back, true),
            }
        return errors

    return compare


def _hide(image: np.ndarray) -> np.ndarray:
    """Crops (B, S, S, 3) without their lower halves."""
    hidden = image.copy()
    hidden[:, image.shape[1] // 2 :] = _GREY
    return hidden


if __name__ == '__main__':
    main()
