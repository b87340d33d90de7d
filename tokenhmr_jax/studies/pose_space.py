"""Pose space of a tokenizer: errors, measures of its tokens, t-SNE, noise.

    python -m tokenhmr_jax.studies.pose_space --checkpoint=runs/tokenizer --motion_dir=MOTION

After section 3.1 and figure 1 of TokenHMR's supplement. Poses of the validation splits, or of
--split, are in distribution; those of --outside and of motion files are out of distribution. Writes
`pose_space.md` and `pose_space.png`. Needs the extra `report`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from etils import epath
from jaxtyping import Float, Shaped
from scipy.spatial.transform import Rotation

from tokenhmr_jax import cli
from tokenhmr_jax.body import rotations
from tokenhmr_jax.data import pipeline
from tokenhmr_jax.drawing.markdown import format_number, markdown_table
from tokenhmr_jax.objectives import metrics
from tokenhmr_jax.readers import amass
from tokenhmr_jax.studies import extras
from tokenhmr_jax.tasks import tokenizer_report
from tokenhmr_jax.training.trained_run import Trained, open_run
from tokenhmr_jax.types import PoseBatch

NOISE_DEGREES = (0, 2, 5, 10, 15, 20, 30, 45, 60)
_CHUNK = 256
BodyPoses = Float[np.ndarray, 'N 21 3']


class Poses(NamedTuple):
    """Poses, axis-angle, and whether they are in the distribution of the training."""

    body_pose: BodyPoses
    inside: bool


class Reconstruction(NamedTuple):
    """Joints of poses and of their reconstructions, metres, root at rest."""

    true: Float[np.ndarray, 'N 21 3']
    found: Float[np.ndarray, 'N 21 3']

    @property
    def error(self) -> Float[np.ndarray, ' N']:
        """MPJPE, mm."""
        return np.asarray(metrics.mean_distance_mm(self.found, self.true))


class Reconstructor:
    """Encodes, quantises and decodes poses; ValueError for a run that is no tokenizer's."""

    def __init__(self, run: Trained):
        if run.config.task != 'tokenizer':
            raise ValueError(f'a checkpoint of a {run.config.task}, expected that of a tokenizer')

        @jax.jit
        def reconstruct(params, state, frozen, body_pose):
            output = run.task.predict(params, state, frozen, PoseBatch(body_pose=body_pose))
            true = rotations.axis_angle_to_matrix(body_pose)
            return [tokenizer_report.body_joints(frozen.body, m) for m in (true, output.body_pose)]

        @jax.jit
        def measure(params, state, frozen, body_pose):
            batch = PoseBatch(body_pose=body_pose)
            return run.task.metrics(run.task.predict(params, state, frozen, batch), frozen, batch)

        self._run, self._reconstruct, self._measure = run, reconstruct, measure

    def __call__(self, body_pose: BodyPoses) -> Reconstruction:
        return Reconstruction(*self._in_chunks(self._reconstruct, body_pose))

    def token_scores(self, body_pose: BodyPoses) -> dict[str, float]:
        """The scores of `evaluate`: errors, stability, locality, bits."""
        values = self._in_chunks(self._measure, body_pose)
        return self._run.task.summarize({name: v.mean(axis=0) for name, v in values.items()})

    def _in_chunks(self, function: Callable, body_pose: BodyPoses) -> Any:
        run = self._run
        parts = lambda x: function(run.params, run.state, run.frozen, x)  # noqa: E731
        # Chunks of one shape compile once.
        padded = np.resize(body_pose, (-(-len(body_pose) // _CHUNK) * _CHUNK, 21, 3))
        found = tokenizer_report.in_chunks(parts, padded, size=_CHUNK)
        return jax.tree.map(lambda x: x[: len(body_pose)], found)


def add_noise(body_pose: BodyPoses, degrees: float, rng: np.random.Generator) -> BodyPoses:
    """Turns each joint by a random rotation vector, of standard deviation `degrees` per axis."""
    turn = Rotation.from_rotvec(np.deg2rad(degrees) * rng.normal(size=(body_pose.size // 3, 3)))
    noisy = Rotation.from_rotvec(body_pose.reshape(-1, 3)) * turn
    return noisy.as_rotvec().reshape(body_pose.shape).astype(np.float32)


def noise_errors(
    reconstruct: Reconstructor, body_pose: BodyPoses, seed: int = 0
) -> dict[str, list[float]]:
    """Mean MPJPE, mm, at each of `NOISE_DEGREES`, by name.

    'noise': noisy poses against clean ones. 'to noisy', 'to clean': reconstructions of noisy poses
    against noisy and against clean ones.
    """
    clean = reconstruct(body_pose).true
    rng = np.random.default_rng(seed)
    found = {'noise': [], 'to noisy': [], 'to clean': []}
    for degrees in NOISE_DEGREES:
        noisy = reconstruct(add_noise(body_pose, degrees, rng))
        found['noise'].append(Reconstruction(clean, noisy.true).error.mean())
        found['to noisy'].append(noisy.error.mean())
        found['to clean'].append(Reconstruction(clean, noisy.found).error.mean())
    return {name: list(map(float, values)) for name, values in found.items()}


def embed_poses(
    reconstructions: Mapping[str, Reconstruction], seed: int = 0
) -> dict[str, tuple[Float[np.ndarray, 'N 2'], Float[np.ndarray, 'N 2']]]:
    """Poses and their reconstructions in one t-SNE (van der Maaten and Hinton, JMLR 2008)."""
    from sklearn.manifold import TSNE

    flat = [joints.reshape(len(joints), -1) for each in reconstructions.values() for joints in each]
    count = sum(map(len, flat))
    settings = {'perplexity': min(30, (count - 1) / 3), 'init': 'pca', 'random_state': seed}
    placed = TSNE(**settings).fit_transform(np.concatenate(flat))
    parts = iter(np.split(placed, np.cumsum([len(each) for each in flat])[:-1]))
    return {name: (next(parts), next(parts)) for name in reconstructions}


def read_motion(folder: str, limit: int) -> dict[str, BodyPoses]:
    """Up to `limit` poses of each source in a folder of motion files, evenly spread.

    Raises FileNotFoundError or ValueError as `amass.find_clips` and `amass.read_body_pose`.
    """
    return {
        name: thin_poses(np.concatenate([amass.read_body_pose(clip) for clip in clips]), limit)
        for name, clips in amass.find_clips(folder).items()
    }


def thin_poses(poses: Shaped[np.ndarray, 'N ...'], limit: int) -> Shaped[np.ndarray, 'M ...']:
    """Up to `limit` poses, evenly spread."""
    return poses[np.linspace(0, len(poses) - 1, min(limit, len(poses))).astype(int)]


def report_pose_space(run: Trained, poses: Mapping[str, Poses], title: str) -> tuple[str, Any]:
    """Markdown with tables below a title, and a figure of Matplotlib."""
    from tokenhmr_jax.drawing import study_plots

    reconstruct = Reconstructor(run)
    found = {name: reconstruct(each.body_pose) for name, each in poses.items()}
    training = tokenizer_report.training_poses(run.config)
    noise = {name: noise_errors(reconstruct, each.body_pose) for name, each in poses.items()}
    lines, titles = [], {}
    for name, each in poses.items():
        nearest = tokenizer_report.errors_of_answers(run.body, each.body_pose, training)
        error = found[name].error
        nearest_mm = nearest['nearest training pose']['mpjpe_mm']
        values = error.mean(), *np.quantile(error, (0.5, 0.95)), nearest_mm
        kind = 'in' if each.inside else 'out of'
        lines.append([name, kind, str(len(error)), *map(format_number, values)])
        titles[name] = f'{name} ({kind} distribution): {error.mean():.1f} mm'
    header = ['poses', 'distribution', 'count', 'MPJPE, mm', 'median', '95%', 'nearest in training']
    text = [title, markdown_table(header, lines), _token_table(reconstruct, poses)]
    for name, errors in noise.items():
        header = [f'{name}: noise, degrees', *map(str, NOISE_DEGREES)]
        rows = [[key, *map(format_number, values)] for key, values in errors.items()]
        text.append(markdown_table(header, rows))
    figure = study_plots.plot_pose_space(embed_poses(found), titles, NOISE_DEGREES, noise)
    return '\n\n'.join(text), figure


def _token_table(reconstruct: Reconstructor, poses: Mapping[str, Poses]) -> str:
    scores = {name: reconstruct.token_scores(each.body_pose) for name, each in poses.items()}
    rows = [[name, *map(format_number, each.values())] for name, each in scores.items()]
    return markdown_table(['tokens', *next(iter(scores.values()))], rows)


def gather(
    run: Trained, inside: Sequence[str], outside: Sequence[str], motion_dir: str, limit: int
) -> dict[str, Poses]:
    """Poses of splits and motion files, by name; see the flags."""
    config, found = run.config.data, {}
    for names, is_inside in ((inside or config.validation, True), (outside, False)):
        for name in names:
            records = pipeline.open_split(config.data_dir, name)
            poses = thin_poses(tokenizer_report.read_poses(records, config.num_threads), limit)
            found[name] = Poses(poses, is_inside)
    motion = read_motion(motion_dir, limit) if motion_dir else {}
    return found | {name: Poses(poses, False) for name, poses in motion.items()}


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line; `arguments` are the process's own by default."""
    flags = cli.Flags(__doc__, arguments)
    checkpoint = flags.path('checkpoint', None, "A tokenizer's workdir.", required=True)
    step = flags.string('step', 'best', "Which step: 'best', 'last', or its number.")
    data_dir = flags.path('data_dir', None, 'Prepared data, if it was moved after training.')
    inside = flags.strings('split', [], 'Prepared split in distribution; repeatable.')
    outside = flags.strings('outside', [], 'Prepared split out of distribution; repeatable.')
    motion_dir = flags.path('motion_dir', '', 'Folder of motion files, out of distribution.')
    limit = flags.integer('limit', 512, 'Poses of each source, evenly spread.', lower_bound=2)
    out = flags.path('out', None, "Folder to write to. Default: the run's evaluation.")

    def command():
        extras.need_packages('matplotlib', 'sklearn')
        run = open_run(checkpoint.value, step.value, kind='tokenizer')
        run.config.data.data_dir = data_dir.value or run.config.data.data_dir
        poses = gather(run, inside.value, outside.value, motion_dir.value, limit.value)
        text, figure = report_pose_space(run, poses, run.name)
        folder = epath.Path(out.value or epath.Path(checkpoint.value) / 'evaluation')
        folder.mkdir(parents=True, exist_ok=True)
        with cli.whole_file(folder / 'pose_space.md') as file:
            file.write_text(text + '\n')
        extras.write_figure(folder / 'pose_space.png', figure)
        print(text)
        return cli.Done(folder, f'look at {folder / "pose_space.png"}')

    cli.run(flags, command)


if __name__ == '__main__':
    main()
