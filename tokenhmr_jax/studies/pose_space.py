"""What poses a tokenizer can say (TokenHMR, supplement, section 3.1 and figure 1).

    python -m tokenhmr_jax.studies.pose_space --checkpoint=runs/tokenizer --motion_dir=MOTION

Of poses that it has not seen: how far their reconstructions are from them, where both lie in a
t-SNE of their joints, and what becomes of them under noise. Those of the validation splits, or of
--split, count as in distribution; those of motion files, as datasets/amass reads them, and of
--outside as out of it. Writes `pose_space.md` and `pose_space.png`. Needs the extra `report_pose_space`.
"""

import importlib.util
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import jax
import numpy as np
from etils import epath
from scipy.spatial.transform import Rotation

from tokenhmr_jax import cli
from tokenhmr_jax.body import rotations
from tokenhmr_jax.data import pipeline
from tokenhmr_jax.drawing.tables import format_number, markdown_table
from tokenhmr_jax.objectives import metrics
from tokenhmr_jax.readers import amass
from tokenhmr_jax.tasks import tokenizer_report
from tokenhmr_jax.training.run import Trained, open_run
from tokenhmr_jax.types import PoseBatch

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NOISE_DEGREES = (0, 2, 5, 10, 15, 20, 30, 45, 60)
_SAND, _BLUE, _GREY = '#d08a1e', '#2f6fb7', '#dddddd'
_COLUMNS = 3
_CHUNK = 256


class Poses(NamedTuple):
    """Poses (N, 21, 3) axis-angle, and whether they are of the kind that was trained on."""

    body_pose: np.ndarray
    inside: bool


class Reconstruction(NamedTuple):
    """Joints (N, 21, 3), metres, root at rest, of poses and of what became of them."""

    true: np.ndarray
    found: np.ndarray

    @property
    def error(self) -> np.ndarray:
        """MPJPE (N,), mm."""
        return np.asarray(metrics.mean_distance_mm(self.found, self.true))


class Reconstructor:
    """Encodes, quantises and decodes poses with a trained tokenizer.

    Raises:
      ValueError: if the run is not a tokenizer's.
    """

    def __init__(self, run: Trained):
        if run.config.task != 'tokenizer':
            raise ValueError(f'a checkpoint of a {run.config.task}, expected that of a tokenizer')

        @jax.jit
        def reconstruct(params, state, frozen, body_pose):
            output = run.task.predict(params, state, frozen, PoseBatch(body_pose=body_pose))
            true = rotations.axis_angle_to_matrix(body_pose)
            return [tokenizer_report.body_joints(frozen.body, m) for m in (true, output.body_pose)]

        self._run, self._reconstruct = run, reconstruct

    def __call__(self, body_pose: np.ndarray) -> Reconstruction:
        """Of poses (N, 21, 3) axis-angle."""
        run = self._run
        parts = lambda x: self._reconstruct(run.params, run.state, run.frozen, x)  # noqa: E731
        # In chunks of one shape: one compilation.
        padded = np.resize(body_pose, (-(-len(body_pose) // _CHUNK) * _CHUNK, 21, 3))
        true, found = tokenizer_report.in_chunks(parts, padded, size=_CHUNK)
        return Reconstruction(true[: len(body_pose)], found[: len(body_pose)])


def add_noise(body_pose: np.ndarray, degrees: float, rng: np.random.Generator) -> np.ndarray:
    """Poses (N, 21, 3) axis-angle with each joint turned by a random rotation vector.

    Args:
      degrees: standard deviation of each of the vector's three numbers.
    """
    turn = Rotation.from_rotvec(np.deg2rad(degrees) * rng.normal(size=(body_pose.size // 3, 3)))
    noisy = Rotation.from_rotvec(body_pose.reshape(-1, 3)) * turn
    return noisy.as_rotvec().reshape(body_pose.shape).astype(np.float32)


def noise_errors(
    reconstruct: Reconstructor, body_pose: np.ndarray, seed: int = 0
) -> dict[str, list[float]]:
    """Mean MPJPE, mm, at each of `NOISE_DEGREES`.

    Returns:
      'noise': from noisy poses to the clean ones; 'to noisy': from the reconstructions of noisy
      poses to these; 'to clean': from the same to the clean ones.
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


def embed(reconstructions: Mapping[str, Reconstruction], seed: int = 0) -> dict[str, tuple]:
    """One t-SNE (van der Maaten and Hinton, JMLR 2008) of all poses and all reconstructions.

    Returns:
      by name, places (N, 2) of the poses and (N, 2) of their reconstructions.
    """
    from sklearn.manifold import TSNE

    flat = [joints.reshape(len(joints), -1) for each in reconstructions.values() for joints in each]
    count = sum(map(len, flat))
    settings = {'perplexity': min(30, (count - 1) / 3), 'init': 'pca', 'random_state': seed}
    placed = TSNE(**settings).fit_transform(np.concatenate(flat))
    parts = iter(np.split(placed, np.cumsum([len(each) for each in flat])[:-1]))
    return {name: (next(parts), next(parts)) for name in reconstructions}


def read_motion(folder: str, limit: int) -> dict[str, np.ndarray]:
    """Up to `limit` poses (N, 21, 3) of each source in a folder of motion files, evenly spread.

    Raises:
      FileNotFoundError, ValueError: as `amass.find_clips` and `amass.read_body_pose`.
    """
    sources = amass.find_clips(folder)
    return {
        name: thin_poses(np.concatenate([amass.read_body_pose(clip) for clip in clips]), limit)
        for name, clips in sources.items()
    }


def thin_poses(poses: np.ndarray, limit: int) -> np.ndarray:
    """Up to `limit` of poses, evenly spread."""
    return poses[np.linspace(0, len(poses) - 1, min(limit, len(poses))).astype(int)]


def report_pose_space(run: Trained, poses: Mapping[str, Poses], title: str) -> tuple[str, 'Figure']:
    """Text, with tables, and the picture.

    Args:
      run: a trained tokenizer.
      poses: by name.
      title: of the text.
    """
    reconstruct = Reconstructor(run)
    found = {name: reconstruct(each.body_pose) for name, each in poses.items()}
    training = tokenizer_report.training_poses(run.config)
    noise = {name: noise_errors(reconstruct, each.body_pose) for name, each in poses.items()}
    lines = []
    for name, each in poses.items():
        nearest = tokenizer_report.errors_of_answers(run.frozen, each.body_pose, training)
        error = found[name].error
        values = (
            error.mean(), *np.quantile(error, (0.5, 0.95)),
            nearest['nearest training pose']['mpjpe_mm'],
        )  # fmt: skip
        kind = 'in' if each.inside else 'out'
        lines.append([name, kind, str(len(error)), *map(format_number, values)])
    header = ['poses', 'distribution', 'count', 'MPJPE, mm', 'median', '95%', 'nearest in training']
    text = [title, markdown_table(header, lines)]
    for name, errors in noise.items():
        header = [f'{name}: noise, degrees', *map(str, NOISE_DEGREES)]
        rows = [[key, *map(format_number, values)] for key, values in errors.items()]
        text.append(markdown_table(header, rows))
    return '\n\n'.join(text), pose_space_picture(
        found, noise, {n: p.inside for n, p in poses.items()}
    )


def pose_space_picture(
    found: Mapping[str, Reconstruction], noise: Mapping[str, dict], inside: Mapping[str, bool]
) -> 'Figure':
    """Poses and reconstructions of each name in one t-SNE, and the errors under noise."""
    from matplotlib.figure import Figure

    count = len(found) + 1
    lines = -(-count // _COLUMNS)
    figure = Figure((5 * min(count, _COLUMNS), 4.6 * lines), layout='constrained')
    axes = list(figure.subplots(lines, min(count, _COLUMNS), squeeze=False).flat)
    places = embed(found)
    everything = np.concatenate([each for pair in places.values() for each in pair])
    for axis, (name, pair) in zip(axes, places.items(), strict=False):
        _scatter(axis, everything, *pair)
        where = 'in' if inside[name] else 'out of'
        axis.set_title(f'{name} ({where} distribution): {found[name].error.mean():.1f} mm')
    _noise_plot(axes[len(found)], noise)
    for axis in axes[count:]:
        axis.set_axis_off()
    return figure


def _scatter(axis: 'Axes', everything: np.ndarray, true: np.ndarray, found: np.ndarray) -> None:
    axis.scatter(*everything.T, s=3, color=_GREY, linewidths=0)
    axis.plot(*np.stack([true, found]).transpose(2, 0, 1), color=_GREY, linewidth=0.5, zorder=1)
    axis.scatter(*true.T, s=16, facecolors='none', edgecolors=_SAND, label='true', zorder=2)
    axis.scatter(*found.T, s=3, color=_BLUE, label='reconstructed', zorder=3)
    axis.legend(loc='lower right', fontsize=8)
    axis.set(xticks=(), yticks=())


def _noise_plot(axis: 'Axes', noise: Mapping[str, dict]) -> None:
    styles = {'noise': ':', 'to noisy': '-', 'to clean': '--'}
    for i, (name, errors) in enumerate(noise.items()):
        for key, values in errors.items():
            axis.plot(NOISE_DEGREES, values, styles[key], color=f'C{i}', label=f'{name}, {key}')
    axis.set(xlabel='noise on each joint, degrees', ylabel='MPJPE, mm')
    axis.set_title('poses with noise')
    axis.legend(fontsize=7)


def needs(*packages: str) -> None:
    """Raise ValueError for packages that are not installed."""
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise ValueError(f'{", ".join(missing)}: not installed; pip install -e .[report]')


def gather(
    run: Trained, inside: Sequence[str], outside: Sequence[str], motion_dir: str, limit: int
) -> dict[str, Poses]:
    """The poses that are looked at, by name; for the arguments see the flags."""
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
    checkpoint = flags.string('checkpoint', None, "A tokenizer's workdir.", required=True)
    step = flags.string('step', 'best', "Which step: 'best', 'last', or its number.")
    data_dir = flags.string('data_dir', None, 'Prepared data, if it was moved.')
    inside = flags.strings('split', [], 'In distribution; repeatable.')
    outside = flags.strings('outside', [], 'Prepared splits out of it; repeatable.')
    motion_dir = flags.string('motion_dir', '', 'Folder of motion files, out of it.')
    limit = flags.integer('limit', 512, 'Poses of each kind, evenly spread.')
    out = flags.string('out', None, "Folder to write to. Default: the run's evaluation.")

    def command():
        needs('matplotlib', 'sklearn')
        if limit.value < 2:
            raise ValueError(f'limit={limit.value}: expected at least 2')
        loaded = open_run(checkpoint.value, step.value, kind='tokenizer')
        loaded.config.data.data_dir = data_dir.value or loaded.config.data.data_dir
        poses = gather(loaded, inside.value, outside.value, motion_dir.value, limit.value)
        title = f'{checkpoint.value}, step {loaded.step}'
        text, figure = report_pose_space(loaded, poses, title)
        folder = epath.Path(out.value or epath.Path(checkpoint.value) / 'evaluation')
        folder.mkdir(parents=True, exist_ok=True)
        (folder / 'pose_space.md').write_text(text + '\n')
        with (folder / 'pose_space.png').open('wb') as file:
            figure.savefig(file, dpi=90)
        print(f'{text}\n\npicture: {folder / "pose_space.png"}')

    cli.run(flags, command)


if __name__ == '__main__':
    main()
