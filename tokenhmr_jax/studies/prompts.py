"""Errors of a network of pictures and 2D keypoints, by what it is given.

    python -m tokenhmr_jax.studies.prompts --checkpoint=runs/quickstart/regressor

On the run's validation splits. Keypoints are the labels' with a detector's errors
(data/detections.py), drawn from each record's own seed.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from tokenhmr_jax import cli
from tokenhmr_jax.data import crop_batches, pipeline
from tokenhmr_jax.drawing.markdown import markdown_table, rows_by_name
from tokenhmr_jax.models.regressor import no_prompts
from tokenhmr_jax.tasks import prompting
from tokenhmr_jax.tasks.regressor_targets import label_errors
from tokenhmr_jax.training.trained_run import Trained, open_run
from tokenhmr_jax.types import Prompts

_ERRORS = ('mpjpe_mm', 'pa_mpjpe_mm', 'pve_mm')


def _one_keypoint(prompts: Prompts) -> Prompts:
    """The surest keypoint alone."""
    best = jnp.argmax(prompts.keypoints2d[..., 2], axis=1)
    kept = jax.nn.one_hot(best, prompts.keypoints2d.shape[1])
    return prompts.replace(keypoints2d=prompts.keypoints2d * kept[..., None])


def _anothers(prompts: Prompts) -> Prompts:
    """The keypoints of the next person of the batch."""
    return prompts.replace(keypoints2d=jnp.roll(prompts.keypoints2d, 1, axis=0))


CONDITIONS: dict[str, Callable[[Prompts], Prompts]] = {
    'image alone': lambda prompts: no_prompts(len(prompts.camera)),
    'image and keypoints': lambda prompts: prompts,
    'keypoints alone': lambda prompts: prompts.replace(has_image=0 * prompts.has_image),
    'image and one keypoint': _one_keypoint,
    "image and another person's keypoints": _anothers,
}


def measure(run: Trained, split: str) -> dict[str, dict[str, float]]:
    """Mean errors on a validation split, by condition.

    Raises ValueError for a network that does not read both.
    """
    inputs = tuple(run.config.model.inputs)
    if set(inputs) != {'image', 'prompts'}:
        raise ValueError(
            f"{run.name} has model.inputs={inputs}: expected a network of ('image', 'prompts')"
        )
    return {name: _mean_errors(run, split, change) for name, change in CONDITIONS.items()}


def _mean_errors(run: Trained, split: str, change: Callable) -> dict[str, float]:
    task, config = run.task, run.config

    @jax.jit
    def errors(params, state, frozen, batch):
        batch = crop_batches.image_batch(batch)
        keys = prompting.seed_keys(batch.seed)
        prompts = change(prompting.prompts_of_labels(keys, batch, config))
        output = task.bodies(params, state, frozen.body, batch.image, prompts)
        found = label_errors(config.eval.convention, config.eval.truth, frozen, output.body, batch)
        return jnp.stack([found[name] for name in _ERRORS], axis=-1)

    found = []
    batches = pipeline.eval_batches(
        pipeline.open_split(config.data.data_dir, split),
        batch_size=config.eval.batch_size,
        num_threads=config.data.num_threads,
        transform=task.eval_transform,
    )
    for columns, valid in batches:
        measured = errors(run.params, run.state, run.frozen, task.batch(columns))
        found.append(np.asarray(measured)[valid])
    return dict(zip(_ERRORS, np.concatenate(found).mean(0).tolist(), strict=True))


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line; `arguments` are the process's own by default."""
    flags = cli.Flags(__doc__, arguments)
    checkpoint = flags.path('checkpoint', None, "A run's workdir.", required=True)
    data_dir = flags.path('data_dir', None, 'Prepared data, if not where it was in training.')

    def command():
        run = open_run(checkpoint.value, kind='regressor')
        run.config.data.data_dir = data_dir.value or run.config.data.data_dir
        lines = []
        for split in run.config.data.validation:
            for name, means in measure(run, split).items():
                lines.append([split, name, *(f'{value:.1f}' for value in means.values())])
        header = ['split', 'condition', *_ERRORS]
        print(markdown_table(header, lines))
        predict = 'predict', f'--checkpoint={checkpoint.value}', '--input=PHOTOS'
        return cli.Done(
            next=cli.command_line(*predict, '--out=RESULT'), result=rows_by_name(header, lines)
        )

    cli.run(flags, command)


if __name__ == '__main__':
    main()
