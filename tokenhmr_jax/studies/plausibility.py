"""Share of predicted poses that a prior of pose tokens finds improbable.

    python -m tokenhmr_jax.studies.plausibility runs/sweep --prior=runs/prior --data_dir=DATA

Takes folders of runs, such as a sweep's, of any head: the prior's own tokenizer reads their poses.
A pose is improbable if it is less probable than all but 1% of the split's true poses. Prints a
table, in which runs that differ in the seed alone are one row.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from tokenhmr_jax import cli
from tokenhmr_jax.body import skeleton
from tokenhmr_jax.data import pipeline
from tokenhmr_jax.drawing.markdown import format_number, markdown_table
from tokenhmr_jax.inference.model import load_prior
from tokenhmr_jax.studies import extras
from tokenhmr_jax.tasks.regressor_targets import true_params
from tokenhmr_jax.training import history
from tokenhmr_jax.training.trained_run import open_run

_BATCH = 64
_IMPROBABLE = 1.0  # %, of true poses
_HEADER = ('run', 'runs', 'improbable, %', 'deviation', 'nats')


class Poses(NamedTuple):
    """Rotations of the 21 body joints: a run's answers, and the labels."""

    predicted: Float[np.ndarray, 'N 21 3 3']
    true: Float[np.ndarray, 'N 21 3 3']


def predicted_poses(workdir: str, data_dir: str | None, limit: int | None) -> Poses:
    """The answers of a regressor on the splits that it was validated on; raises as `open_run`."""
    run = open_run(workdir, kind='regressor')
    predict, found = jax.jit(run.task.predict), []
    for name in run.config.data.validation:
        records = pipeline.open_split(data_dir or run.config.data.data_dir, name)
        batches = pipeline.eval_batches(records, batch_size=_BATCH, num_threads=2, limit=limit)
        for columns, valid in batches:
            batch = run.task.batch(columns)
            answer = predict(run.params, run.state, run.frozen, batch).params
            truth = true_params(batch.global_orient, batch.body_pose, batch.betas)
            poses = (p.body_pose[:, : skeleton.NUM_BODY_JOINTS] for p in (answer, truth))
            found.append([np.asarray(pose)[valid] for pose in poses])
    return Poses(*map(np.concatenate, zip(*found, strict=True)))


def improbable_share(
    judge: Callable[[np.ndarray], Float[np.ndarray, ' N']], poses: Poses
) -> tuple[float, float]:
    """Share of the answers, %, that are less probable than all but 1% of the labels; mean nats.

    judge: log-likelihoods of poses, nats.
    """
    least = np.percentile(judge(poses.true), _IMPROBABLE)
    likelihood = judge(poses.predicted)
    return 100 * float(np.mean(likelihood < least)), float(likelihood.mean())


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line; `arguments` are the process's own by default."""
    flags = cli.Flags(__doc__, arguments, operands='WORKDIR ...')
    prior = flags.path('prior', None, "A prior's workdir.", required=True)
    data_dir = flags.path('data_dir', None, 'Prepared data, if not where it was in training.')
    limit = flags.integer('limit', None, 'People of each split, evenly spread. Default: all.')

    def command():
        extras.need_packages('pandas')
        from tokenhmr_jax.studies import comparison

        judge = load_prior(prior.value).log_likelihood
        root = flags.operands[0] if len(flags.operands) == 1 else None
        runs = [history.read_run(folder) for folder in history.find_runs(flags.operands)]
        rows = {}
        with cli.Progress('measuring', 'run', len(runs)) as bar:
            for row in comparison.group_runs(runs, root):
                found = [
                    improbable_share(
                        judge, predicted_poses(str(run.workdir), data_dir.value, limit.value)
                    )
                    for run in bar.over(row.runs)
                ]
                rows[row.name] = np.array(found)
        print(_table(rows))
        return cli.Done(next=cli.command_line('report', *flags.operands), result=rows)

    cli.run(flags, command)


def _table(rows: dict[str, Float[np.ndarray, 'R 2']]) -> str:
    """Means over runs in Markdown, and the standard deviation between them."""
    lines = []
    for name, found in rows.items():
        share, nats = found.mean(axis=0)
        spread = found[:, 0].std(ddof=1) if len(found) > 1 else np.nan
        values = (format_number(x) for x in (share, spread, nats))
        lines.append([name, str(len(found)), *values])
    return markdown_table(_HEADER, lines)


if __name__ == '__main__':
    main()
