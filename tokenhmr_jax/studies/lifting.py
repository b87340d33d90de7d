"""Errors of networks that read 2D keypoints, by what is seen.

    python -m tokenhmr_jax.studies.lifting --checkpoint=bundled --data_dir=DATA \
        --split=amass/procedural_heldout

People in the poses of a split stand before random cameras, drawn from each record's own seed; a
detector of COCO's 17 keypoints finds them, with its errors (data/detections.py). A --prior is that
of the refinement; with --prior_steps above 1 it refines the networks' pose tokens, too.
"""

import dataclasses
import functools
from collections.abc import Iterator, Sequence

import jax
import numpy as np
from ml_collections import FrozenConfigDict

from tokenhmr_jax import cli
from tokenhmr_jax.body import camera, smpl
from tokenhmr_jax.body.keypoint_body import reduce_body
from tokenhmr_jax.data import pipeline
from tokenhmr_jax.drawing.markdown import markdown_table, rows_by_name
from tokenhmr_jax.inference.fitting import refinement
from tokenhmr_jax.inference.model import load_prior
from tokenhmr_jax.inference.pose_prior import PosePrior
from tokenhmr_jax.tasks.regressor_targets import label_errors
from tokenhmr_jax.training.trained_run import Trained, open_run, with_prior
from tokenhmr_jax.types import Array, ImageBatch, RegressorOutput

_BATCH = 128
_ERRORS = ('mpjpe_mm', 'pa_mpjpe_mm', 'pve_mm')
# Settings of the detector, and the numbers of keypoints of the people who count.
_HALVES = {'half': 2 / 3}  # all lose their upper or lower half
_FLAWLESS = dict.fromkeys(('noise', 'missing', 'limb', 'half', 'swap', 'stray'), 0.0)
CONDITIONS = {
    '14 to 17 of 17 points seen': ({}, range(14, 18)),
    'the same, by a detector without errors': (_FLAWLESS, range(14, 18)),
    'half of the body missing: 6 to 13 points': (_HALVES, range(6, 14)),
    'more than half missing: 1 to 5 points': (_HALVES, range(1, 6)),
}


def measure(
    run: Trained,
    data_dir: str,
    split: str,
    limit: int | None = None,
    prior: PosePrior | None = None,
) -> dict[str, dict[str, float]]:
    """Mean errors of the network and of its refined answers, and the people, by condition.

    prior: of the refinement; None for none.
    """
    found = {}
    for name, (extra, counts) in CONDITIONS.items():
        columns = zip(*_errors(run, data_dir, split, limit, extra, prior), strict=True)
        found[name] = _means(*map(np.concatenate, columns), counts)
    return found


def _means(seen, answers, refined, counts) -> dict[str, float]:
    chosen = np.isin(seen, counts)
    means = {name: answers[chosen, i].mean() for i, name in enumerate(_ERRORS)}
    means |= {f'refined {name}': refined[chosen, i].mean() for i, name in enumerate(_ERRORS)}
    return {'people': int(chosen.sum())} | {name: float(value) for name, value in means.items()}


def _errors(run, data_dir, split, limit, detector, prior) -> Iterator[tuple[np.ndarray, ...]]:
    """For each batch the numbers of seen keypoints (N,), and errors (N, 3) before and after."""
    config = run.config.copy_and_resolve_references()
    with config.unlocked():
        config.prompts.detector.update(detector | {'conventions': ('coco',)})
    task = dataclasses.replace(run.task, config=FrozenConfigDict(config))
    reduced = reduce_body(run.body)

    @jax.jit
    def answer(params, state, frozen, batch: ImageBatch):
        output = task.predict(params, state, frozen, batch)
        seen = (batch.prompts.keypoints2d[..., 2] > 0).sum(-1)
        return seen, output.params, _problem(output, batch)

    @jax.jit
    def errors(frozen, params, batch: ImageBatch):
        body = smpl.forward(frozen.body, params)
        found = label_errors(config.eval.convention, 'body', frozen, body, batch)
        return jax.numpy.stack([found[name] for name in _ERRORS], axis=-1)

    refine = functools.partial(refinement.refine, reduced)
    if prior is not None:
        refine = functools.partial(refinement.refine_with_prior, reduced, prior)
    batches = pipeline.eval_batches(
        pipeline.open_split(data_dir, split), batch_size=_BATCH, num_threads=2, limit=limit
    )
    for columns, valid in batches:
        batch = task.batch(columns)
        seen, params, problem = answer(run.params, run.state, run.frozen, batch)
        refined = refine(params, *problem).params
        found = [errors(run.frozen, each, batch) for each in (params, refined)]
        yield tuple(np.asarray(each)[valid] for each in (seen, *found))


def _problem(output: RegressorOutput, batch: ImageBatch) -> tuple[Array, ...]:
    """Arguments of `refine` after the answer, by the pictures' own cameras; units are focal
    lengths."""
    centre, side = batch.camera[:, :2], batch.camera[:, 2]
    ones, middle = np.ones(len(side), np.float32), np.zeros((len(side), 2), np.float32)
    points = batch.prompts.keypoints2d
    place = camera.to_full_pixels(points[..., :2], centre, side)
    keypoints2d = jax.numpy.concatenate([place, points[..., 2:]], axis=-1)
    translation = camera.full_translation(output.camera, centre, side, ones, middle)
    return translation, keypoints2d, ones, middle, side


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line; `arguments` are the process's own by default."""
    flags = cli.Flags(__doc__, arguments)
    checkpoints = flags.paths('checkpoint', ['bundled'], "A run's workdir; repeatable.")
    data_dir = flags.path('data_dir', None, 'Prepared data.', required=True)
    splits = flags.strings('split', ['amass/procedural_heldout'], 'Of poses; repeatable.')
    prior = flags.path('prior', None, "A prior's workdir.")
    steps = flags.integer(
        'prior_steps', 1, 'Parallel steps in which it refines tokens, too; 1 for none.'
    )
    limit = flags.integer('limit', None, 'People of each split, evenly spread. Default: all.')

    def command():
        lines, known = [], None
        if prior.value is not None:
            known, of_prior = load_prior(prior.value), open_run(prior.value, kind='prior')
        for checkpoint in checkpoints.value:
            run = open_run(checkpoint, kind='regressor')
            if known is not None:
                run = with_prior(run, of_prior, steps.value)
            for split in splits.value:
                for name, means in measure(run, data_dir.value, split, limit.value, known).items():
                    lines.append([checkpoint, split, name, *(f'{v:.0f}' for v in means.values())])
        header = ['checkpoint', 'split', 'condition', *means]
        print(markdown_table(header, lines))
        predict = 'predict', f'--checkpoint={checkpoints.value[-1]}', '--input=PHOTOS'
        return cli.Done(
            next=cli.command_line(*predict, '--out=RESULT'), result=rows_by_name(header, lines)
        )

    cli.run(flags, command)


if __name__ == '__main__':
    main()
