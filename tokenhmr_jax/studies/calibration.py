"""Share of people whose truth lies among `predict --samples`, by joint.

    python -m tokenhmr_jax.studies.calibration --checkpoint=bundled --data_dir=DATA

People in the poses of a split stand before random cameras, as in `studies.lifting`. Several bodies
are drawn for each; a joint's truth is covered if it is as near to the samples' mean as four in five
of them. The temperature is the one of --temperatures with the mean coverage nearest to 80% over
people in training poses (--fit_split); the joints' coverage is that of held-out people.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from tokenhmr_jax import cli
from tokenhmr_jax.body import skeleton, smpl
from tokenhmr_jax.body.joint_spread import CENTRAL
from tokenhmr_jax.body.keypoint_body import reduce_body
from tokenhmr_jax.data import pipeline
from tokenhmr_jax.drawing.markdown import format_number, markdown_table
from tokenhmr_jax.inference.samples import Sampler, SampleSettings
from tokenhmr_jax.tasks.regressor_targets import true_params
from tokenhmr_jax.training.trained_run import Trained, open_run, with_prior
from tokenhmr_jax.types import Array, BodySamples, ImageBatch, RegressorOutput, SmplParams

_BATCH = 64
TEMPERATURES = (0.25, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0)
# Joints that the body pose moves, seen from the pelvis.
MOVED = tuple(i for i, parent in enumerate(skeleton.PARENTS) if parent > 0)
_HEADER = ('covered, %', 'spread, mm', 'error, mm', 'answer, mm')


def _at_rest(params: SmplParams) -> SmplParams:
    orient = jnp.broadcast_to(jnp.eye(3), params.global_orient.shape)
    return params.replace(global_orient=orient, betas=0 * params.betas)


# Bodies of mean shape with the root at rest: what is sampled. Bodies seen from the pelvis, with the
# network's orientation and shape, which are not.
VIEWS = {'pose': _at_rest, 'body': lambda params: params}


class Calibration:
    """A regressor's samples against the truth; compiled once for all temperatures."""

    def __init__(self, run: Trained, data_dir: str, limit: int | None = None):
        self._run, self._data_dir, self._limit = run, data_dir, limit
        self._sampler = Sampler(run.task.model, run.state, reduce_body(run.body).body)
        self._predict = jax.jit(run.task.predict)

    def measure(
        self, split: str, settings: SampleSettings, views: Sequence[str] = tuple(VIEWS)
    ) -> dict[str, dict[str, Float[np.ndarray, '24']]]:
        """Means over people of the columns of `_HEADER`, by view and joint.

        Coverage, the samples' spread, the errors of their mean and of the network's own answer.
        Raises ValueError as `Sampler.check`.
        """
        self._sampler.check(settings, self._run.name)
        records = pipeline.open_split(self._data_dir, split)
        batches = pipeline.eval_batches(
            records, batch_size=_BATCH, num_threads=2, limit=self._limit
        )
        parts: dict[str, list] = {name: [] for name in views}
        for columns, valid in batches:
            batch = self._run.task.batch(columns)
            output = self._predict(self._run.params, self._run.state, self._run.frozen, batch)
            for name in views:
                found = self._compared(batch, output, settings, VIEWS[name])
                parts[name].append([value[valid] for value in found])
        return {
            name: dict(zip(_HEADER, map(_mean, zip(*each, strict=True)), strict=True))
            for name, each in parts.items()
        }

    def _compared(
        self, batch: ImageBatch, output: RegressorOutput, settings, seen: Callable
    ) -> tuple[np.ndarray, ...]:
        truth = true_params(batch.global_orient, batch.body_pose, batch.betas)
        probs = output.token_probs, settings, output.own_token_probs
        samples = self._sampler(seen(output.params), *probs)
        true, answer = (_joints(self._run.body, seen(each)) for each in (truth, output.params))
        return compare(samples, answer, true)


@jax.jit
def _joints(body, params):
    return smpl.forward(body, params).joints


def compare(
    samples: BodySamples, answer: Float[Array, 'N 24 3'], true: Float[Array, 'N 24 3']
) -> tuple[np.ndarray, ...]:
    """The columns of `_HEADER`, (N, 24) each; joints are seen from the pelvis."""
    centred = [joints - joints[:, :1] for joints in (samples.joints.mean(axis=1), answer, true)]
    mean, answer, true = map(np.asarray, centred)
    error, of_answer = (1000 * np.linalg.norm(x - true, axis=-1) for x in (mean, answer))
    return 100.0 * (error <= samples.spread_mm), samples.spread_mm, error, of_answer


def _mean(parts) -> np.ndarray:
    return np.concatenate(parts).mean(axis=0)


def fit_temperature(coverage: Sequence[float], temperatures: Sequence[float]) -> float:
    """The temperature with the coverage, %, nearest to that of the samples themselves."""
    return temperatures[int(np.argmin(np.abs(np.asarray(coverage) - 100 * CENTRAL)))]


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line; `arguments` are the process's own by default."""
    flags = cli.Flags(__doc__, arguments)
    checkpoint = flags.path('checkpoint', 'bundled', "A regressor's workdir, or 'bundled'.")
    data_dir = flags.path('data_dir', None, 'Prepared data.', required=True)
    split = flags.string('split', 'amass/procedural_heldout', 'Poses of the people who count.')
    fit_split = flags.string('fit_split', 'amass/procedural', 'Poses of the fit.')
    prior = flags.path('prior', None, "A prior's workdir. Default: each token for itself.")
    count = flags.integer('samples', 50, 'Of each person.')
    limit = flags.integer('limit', 500, 'People of each split, evenly spread.')
    temperatures = flags.strings('temperatures', [str(t) for t in TEMPERATURES], 'Tried ones.')

    def command():
        run = open_run(checkpoint.value, kind='regressor')
        if prior.value is not None:
            run = with_prior(run, open_run(prior.value, kind='prior'))
        tried = [float(t) for t in temperatures.value]
        settings = [SampleSettings.of(SampleSettings(count.value, 0, t)) for t in tried]
        look = Calibration(run, data_dir.value, limit.value).measure
        fits = [look(fit_split.value, setting, views=['pose']) for setting in settings]
        print(_fit_table(tried, fits), end='\n\n')
        best = fit_temperature([_over_joints(fit)[0] for fit in fits], tried)
        print(f'temperature {best}, {split.value}:\n')
        found = look(split.value, settings[tried.index(best)])
        print(_joint_table(found))
        predict = 'predict', f'--checkpoint={checkpoint.value}', '--input=PHOTOS', '--out=RESULT'
        drawn = [f'--samples={count.value}', f'--temperature={best}']
        drawn += [f'--prior={prior.value}'] if prior.value else []
        result = {'temperature': best, 'joints': skeleton.JOINTS} | found
        return cli.Done(next=cli.command_line(*predict, *drawn), result=result)

    cli.run(flags, command)


def _over_joints(found) -> list[float]:
    return [float(values[list(MOVED)].mean()) for values in found['pose'].values()]


def _fit_table(temperatures, fits) -> str:
    rows = zip(temperatures, fits, strict=True)
    lines = [[f'{t:g}', *(format_number(v) for v in _over_joints(fit))] for t, fit in rows]
    return markdown_table(['temperature', *_HEADER], lines)


def _joint_table(found) -> str:
    header = [f'{name}: {column}' for name in found for column in _HEADER]
    values = np.stack([column for each in found.values() for column in each.values()], axis=1)
    names = [*(skeleton.JOINTS[i] for i in MOVED), 'mean']
    rows = [*values[list(MOVED)], values[list(MOVED)].mean(axis=0)]
    lines = [[n, *(format_number(v) for v in row)] for n, row in zip(names, rows, strict=True)]
    return markdown_table(['joint', *header], lines)


if __name__ == '__main__':
    main()
