"""Hidden limbs completed and noisy poses recovered, by a prior of tokens.

    python -m tokenhmr_jax.studies.completion --checkpoint=runs/prior --out=RESULT

Poses of the validation splits, or of --split, lose the rotations of a limb. The prior's answer
stands beside the mean limb and the limb of the nearest training pose. Then each joint is turned at
random, and the prior looks for the pose behind the noise. Writes `completion.md`, `recovered.png`.
"""

import pathlib
from collections.abc import Sequence

import jax
import numpy as np
from jaxtyping import Bool, Float

from tokenhmr_jax import cli
from tokenhmr_jax.body import rotations, skeleton
from tokenhmr_jax.data import pipeline
from tokenhmr_jax.drawing import draw, render
from tokenhmr_jax.drawing.markdown import format_number, markdown_table
from tokenhmr_jax.inference.pose_prior import PosePrior, joint_mask
from tokenhmr_jax.studies.pose_space import add_noise, thin_poses
from tokenhmr_jax.tasks import tokenizer_report
from tokenhmr_jax.tasks.prior import limbs
from tokenhmr_jax.training.trained_run import Trained, open_run

# Each a joint, or several, with all that hangs on it.
LIMBS = {
    'left arm': ('left_shoulder',),
    'right arm': ('right_shoulder',),
    'left leg': ('left_hip',),
    'right leg': ('right_hip',),
    'both legs': ('left_hip', 'right_hip'),
}
NOISE_DEGREES = (2, 5, 10, 15, 20, 30)
_DRAWN_DEGREES, _DRAWN = 15, 6
_ROWS = ('true', 'noisy', 'tokenizer', 'recovered')
Matrices = Float[np.ndarray, 'N 21 3 3']


def joints_of(limb: str) -> tuple[str, ...]:
    """The body joints of a limb whose rotations are hidden."""
    rows = [limbs()[skeleton.BODY_JOINTS.index(root)] for root in LIMBS[limb]]
    return tuple(np.array(skeleton.BODY_JOINTS)[np.any(rows, axis=0)].tolist())


def moved_joints(limb: str) -> Bool[np.ndarray, '21']:
    """Body joints that move with a limb: all but those it hangs on."""
    return joint_mask(joints_of(limb)) & ~joint_mask(LIMBS[limb])


def limb_errors(
    prior: PosePrior, poses: Matrices, training: Float[np.ndarray, 'M 21 3 3']
) -> dict[str, dict[str, float]]:
    """Mean errors of completed limbs, mm, over the joints that move with them, by limb and answer.

    'nothing hidden' is the error of the tokenizer alone.
    """
    joints = lambda m: tokenizer_report.in_chunks(  # noqa: E731
        lambda part: tokenizer_report.body_joints(prior.body, part), m
    )
    true, candidates = joints(poses), joints(training)
    mean = np.asarray(jax.jit(tokenizer_report.mean_rotation)(training))
    decoded = prior.decode(prior.encode(poses))
    found = {}
    for limb in LIMBS:
        hidden, moved = joint_mask(joints_of(limb)), moved_joints(limb)
        seen = ~moved[:, None]
        nearest = tokenizer_report.nearest_pose(true * seen, candidates * seen)
        answers = {
            'mean limb': np.broadcast_to(mean, poses.shape),
            'nearest neighbour': training[np.asarray(nearest)],
            'completion': prior.complete_limbs(poses, joints_of(limb)),
            'nothing hidden': decoded,
        }
        found[limb] = {'tokens hidden': float(prior.tied_tokens(joints_of(limb)).sum())}
        for name, answer in answers.items():
            whole = np.where(hidden[:, None, None], answer, poses)
            distance = np.linalg.norm(joints(whole) - true, axis=-1)[:, moved]
            found[limb][name] = 1000 * float(distance.mean())
    return found


def noise_errors(prior: PosePrior, body_pose: Float[np.ndarray, 'N 21 3']) -> dict[str, list]:
    """Mean MPJPE to the clean poses, mm, at each of `NOISE_DEGREES`; and the share of noisy poses
    that the prior finds less probable than all but a hundredth of the clean ones."""
    clean = _matrices(body_pose)
    true = prior.bodies(clean).joints[:, 1:22]
    least = np.percentile(prior.log_likelihood(clean), 1)
    rng = np.random.default_rng(0)
    found = {name: [] for name in ('noisy', 'tokenizer', 'recovered', 'improbable')}
    for degrees in NOISE_DEGREES:
        for name, pose in _answers(prior, body_pose, degrees, rng).items():
            joints = prior.bodies(pose).joints[:, 1:22]
            found[name].append(1000 * float(np.linalg.norm(joints - true, axis=-1).mean()))
            if name == 'noisy':
                found['improbable'].append(float((prior.log_likelihood(pose) < least).mean()))
    return found


def draw_recovered(prior: PosePrior, body_pose: Float[np.ndarray, 'N 21 3']) -> np.ndarray:
    """A picture of evenly spread poses: true, noisy, through the tokenizer, and recovered."""
    chosen = thin_poses(body_pose, _DRAWN)
    answers = {'true': _matrices(chosen)}
    answers |= _answers(prior, chosen, _DRAWN_DEGREES, np.random.default_rng(0))
    bodies = {name: prior.bodies(answers[name]) for name in _ROWS}
    tiles, labels = [], []
    for name in _ROWS:
        for i in range(len(chosen)):
            focus = np.concatenate([body.vertices[i] for body in bodies.values()])
            tiles.append(
                render.render_view(
                    bodies[name].vertices[i], prior.body.faces, 'front', (330, 260), focus=focus
                )
            )
            offset = bodies[name].joints[i, 1:22] - bodies['true'].joints[i, 1:22]
            error = 1000 * np.linalg.norm(offset, axis=-1).mean()
            labels.append(f'{name}, {error:.0f} mm' if name != 'true' else name)
    return render.contact_sheet(tiles, len(chosen), labels)


def _answers(prior, body_pose, degrees, rng) -> dict[str, Matrices]:
    noisy = _matrices(add_noise(body_pose, degrees, rng))
    return {
        'noisy': noisy,
        'tokenizer': prior.decode(prior.encode(noisy)),
        'recovered': prior.recover(noisy, degrees),
    }


def _matrices(body_pose) -> Matrices:
    return np.asarray(jax.jit(rotations.axis_angle_to_matrix)(body_pose))


def _tables(errors: dict[str, dict[str, float]], noise: dict[str, list]) -> str:
    answers = list(next(iter(errors.values())))
    rows = [
        [limb, *(format_number(each[name]) for name in answers)] for limb, each in errors.items()
    ]
    text = markdown_table(['hidden', *answers], rows)
    rows = [[name, *map(format_number, values)] for name, values in noise.items()]
    return f'{text}\n\n{markdown_table(["noise, degrees", *map(str, NOISE_DEGREES)], rows)}'


def report(run: Trained, splits: Sequence[str], limit: int, out: pathlib.Path) -> str:
    """Writes tables and picture of a prior's run, and returns the tables."""
    prior = PosePrior(run.task, run.params, run.state, run.body)
    data = run.config.data
    read = [
        tokenizer_report.read_poses(pipeline.open_split(data.data_dir, name), data.num_threads)
        for name in splits or data.validation
    ]
    poses = thin_poses(np.concatenate(read), limit)
    training = _matrices(tokenizer_report.training_poses(run.config))
    text = _tables(limb_errors(prior, _matrices(poses), training), noise_errors(prior, poses))
    out.mkdir(parents=True, exist_ok=True)
    with cli.whole_file(out / 'completion.md') as file:
        file.write_text(f'{run.name}, {len(poses)} poses\n\n{text}\n')
    draw.write_image(out / 'recovered.png', draw_recovered(prior, poses))
    return text


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line; `arguments` are the process's own by default."""
    flags = cli.Flags(__doc__, arguments)
    checkpoint = flags.path('checkpoint', None, "A prior's workdir.", required=True)
    step = flags.string('step', 'best', "Which step: 'best', 'last', or its number.")
    data_dir = flags.path('data_dir', None, 'Prepared data, if it was moved after training.')
    splits = flags.strings('split', [], 'Prepared split of held-out poses; repeatable.')
    limit = flags.integer('limit', 1024, 'Poses of all splits together, evenly spread.')
    out = flags.path('out', None, "Folder to write to. Default: the run's evaluation.")

    def command():
        run = open_run(checkpoint.value, step.value, kind='prior')
        run.config.data.data_dir = data_dir.value or run.config.data.data_dir
        folder = pathlib.Path(out.value or pathlib.Path(checkpoint.value) / 'evaluation')
        print(report(run, splits.value, limit.value, folder))
        return cli.Done(folder, f'look at {folder / "recovered.png"}')

    cli.run(flags, command)


if __name__ == '__main__':
    main()
