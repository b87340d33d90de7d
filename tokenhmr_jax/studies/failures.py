"""Failures of a regressor by kind: frequencies, errors, pictures.

    python -m tokenhmr_jax.studies.failures --checkpoint=runs/regressor

A record counts as the first kind that fits (TokenHMR, supplement, section 4):

- orientation ambiguity: the predicted body is turned by more than 90 degrees from the true one;
- depth ambiguity: the 2D error is at most the median, and a limb points 10 cm or more towards the
  camera in one body and away from it in the other;
- foreshortening: a limb lies within 15 degrees of the camera's axis.

Writes `failures.md`, a table, and `failures.jpg`, the worst records of each kind. Needs an image
dataset with true labels, such as the mannequin's.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np
from etils import epath
from jaxtyping import Float, Int, UInt8

from tokenhmr_jax import cli
from tokenhmr_jax.body import rotations, skeleton
from tokenhmr_jax.data import crop_batches, pipeline
from tokenhmr_jax.drawing import draw
from tokenhmr_jax.drawing.markdown import format_number, markdown_table
from tokenhmr_jax.tasks import regressor_report
from tokenhmr_jax.tasks.regressor_targets import true_params
from tokenhmr_jax.training.trained_run import Trained, open_run
from tokenhmr_jax.types import Array, CropBatch, ImageBatch

KINDS = ('orientation', 'depth', 'foreshortening', 'none of these')
_TURNED, _ALONG_AXIS = 90.0, 15.0  # degrees
_LEADS = 0.1  # metres
_LIMBS = [
    (skeleton.JOINTS.index(f'{side}_{a}'), skeleton.JOINTS.index(f'{side}_{b}'))
    for side in ('left', 'right')
    for a, b in (('shoulder', 'elbow'), ('elbow', 'wrist'), ('hip', 'knee'), ('knee', 'ankle'))
]


class Answers(NamedTuple):
    """A regressor's answers to N records, with errors as in an evaluation."""

    limbs: Float[Array, 'N 8 3']  # metres, from joint to joint, axes of the crop's camera
    limbs_gt: Float[Array, 'N 8 3']
    turned: Float[Array, ' N']  # degrees between the global orientation and the true one
    mpjpe_mm: Float[Array, ' N']
    keypoints2d_px: Float[Array, ' N']


def predict_answers(run: Trained, records: pipeline.Records) -> Answers:
    """Answers of a trained regressor to all records of a split."""
    task, config = run.task, run.config
    starts, ends = np.array(_LIMBS).T

    @jax.jit
    def answer(params, state, frozen, batch: CropBatch | ImageBatch) -> Answers:
        batch = crop_batches.image_batch(batch)
        output = task.predict(params, state, frozen, batch)
        errors = task.metrics(output, frozen, batch)
        bodies = task.report.bodies(params, state, frozen, batch)
        joints, joints_gt = bodies.predicted.joints, bodies.true.joints
        true_orient = true_params(batch.global_orient, batch.body_pose, batch.betas).global_orient
        turned = 180 / np.pi * rotations.geodesic_angle(output.params.global_orient, true_orient)
        limbs, limbs_gt = (x[:, ends] - x[:, starts] for x in (joints, joints_gt))
        return Answers(limbs, limbs_gt, turned, errors['mpjpe_mm'], errors['keypoints2d_px'])

    found = []
    settings = {'batch_size': config.eval.batch_size, 'num_threads': config.data.num_threads}
    batches = pipeline.eval_batches(records, **settings, transform=task.eval_transform)
    for columns, valid in batches:
        batch = answer(run.params, run.state, run.frozen, task.batch(columns))
        found.append(jax.tree.map(lambda x, v=valid: np.asarray(x)[v], batch))
    return jax.tree.map(lambda *parts: np.concatenate(parts), *found)


def failure_kinds(found: Answers) -> Int[np.ndarray, ' N']:
    """Index into `KINDS` of each record."""
    depth, depth_gt = found.limbs[..., 2], found.limbs_gt[..., 2]
    flipped = (np.minimum(np.abs(depth), np.abs(depth_gt)) >= _LEADS) & (depth * depth_gt < 0)
    seen_well = found.keypoints2d_px <= np.median(found.keypoints2d_px)
    length = np.linalg.norm(found.limbs_gt, axis=-1)
    along = np.abs(depth_gt) >= np.cos(np.deg2rad(_ALONG_AXIS)) * length
    conditions = [found.turned > _TURNED, seen_well & flipped.any(axis=1), along.any(axis=1)]
    return np.select(conditions, range(len(conditions)), default=len(conditions))


def failure_table(found: Answers, kind: Int[np.ndarray, ' N']) -> str:
    """Frequency and mean errors of each kind, in Markdown."""
    rows = {name: kind == i for i, name in enumerate(KINDS)} | {'all': np.ones(len(kind), bool)}
    lines = []
    for name, member in rows.items():
        values = [
            x[member].mean() if member.any() else None
            for x in (found.mpjpe_mm, found.keypoints2d_px, found.turned, _limb_angles(found))
        ]
        lines.append([name, f'{100 * member.mean():.1f}%', *map(format_number, values)])
    header = ['kind', 'records', 'MPJPE, mm', '2D error, px of 256', 'turned by, degrees',
              'limbs turned by, degrees']  # fmt: skip
    return markdown_table(header, lines)


def _limb_angles(found: Answers) -> Float[np.ndarray, ' N']:
    """Mean angle, degrees, between a record's limbs and the true ones."""
    product = np.sum(found.limbs * found.limbs_gt, axis=-1)
    lengths = np.linalg.norm(found.limbs, axis=-1) * np.linalg.norm(found.limbs_gt, axis=-1)
    return np.degrees(np.arccos(np.clip(product / lengths, -1, 1))).mean(axis=-1)


def find_worst(found: Answers, kind: Int[np.ndarray, ' N'], count: int) -> list[int]:
    """Positions of the `count` records of each kind of failure with the largest MPJPE."""
    chosen = []
    for i in range(len(KINDS) - 1):
        members = np.flatnonzero(kind == i)
        chosen += members[np.argsort(-found.mpjpe_mm[members])][:count].tolist()
    return chosen


def report_failures(
    run: Trained, records: pipeline.Records, count: int
) -> tuple[str, UInt8[np.ndarray, 'H W 3'] | None]:
    """The table, and a picture of `count` records of each kind; None without failures."""
    found = predict_answers(run, records)
    kind = failure_kinds(found)
    chosen = find_worst(found, kind, count)
    if not chosen:
        return failure_table(found, kind), None
    titles = [f'{KINDS[kind[i]]}, {found.keypoints2d_px[i]:.0f} px,' for i in chosen]
    batch, shown = run.task.report.examples([records], chosen)
    bodies = jax.jit(run.task.report.bodies)(run.params, run.state, run.frozen, batch)
    faces, drawn = np.asarray(run.frozen.body.faces), jax.device_get(bodies)
    numbers = '2D error in px of 256, MPJPE'
    picture = regressor_report.draw_examples(faces, shown, drawn, titles, numbers=numbers)
    return failure_table(found, kind), picture


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line; `arguments` are the process's own by default."""
    flags = cli.Flags(__doc__, arguments)
    checkpoint = flags.path('checkpoint', None, "A regressor's workdir.", required=True)
    step = flags.string('step', 'best', "Which step: 'best', 'last', or its number.")
    data_dir = flags.path('data_dir', None, 'Prepared data, if it was moved after training.')
    split = flags.string('split', None, "Prepared split. Default: the config's first validation.")
    count = flags.integer('count', 4, 'Pictures of each kind.', lower_bound=1)
    out = flags.path('out', None, "Folder to write to. Default: the run's evaluation.")

    def command():
        run = open_run(checkpoint.value, step.value, kind='regressor')
        name = split.value or run.config.data.validation[0]
        records = pipeline.open_split(data_dir.value or run.config.data.data_dir, name)
        table, picture = report_failures(run, records, count.value)
        folder = epath.Path(out.value or epath.Path(checkpoint.value) / 'evaluation')
        folder.mkdir(parents=True, exist_ok=True)
        text = f'{run.name}, {len(records)} records of {name}\n\n{table}'
        with cli.whole_file(folder / 'failures.md') as file:
            file.write_text(text + '\n')
        print(text)
        if picture is not None:
            draw.write_image(folder / 'failures.jpg', picture)
        shown = 'failures.md' if picture is None else 'failures.jpg'
        return cli.Done(folder, f'look at {folder / shown}')

    cli.run(flags, command)


if __name__ == '__main__':
    main()
