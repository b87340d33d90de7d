"""Config, metrics and state of a run, read from its folder."""

import json
import os
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import ml_collections
from etils import epath

from tokenhmr_jax.cli import whole_file
from tokenhmr_jax.config import config_to_json, without_removed_settings

_CONFIG, _METRICS, _EVALUATION = 'config.json', 'metrics.jsonl', 'evaluation/evaluation.json'
_EVAL = 'eval/'


class Evaluation(NamedTuple):
    """Results of `python -m tokenhmr_jax.evaluate`.

    step: step of the checkpoint.
    of: the splits, and the convention of the errors.
    scores: means over all examples of the splits.
    """

    step: int
    of: str
    scores: dict[str, float]


class Run(NamedTuple):
    """A run, finished or under way.

    workdir: its folder.
    config: its config, as plain containers.
    lines: lines of `metrics.jsonl`, in the order of their steps.
    evaluation: results on whole splits, or None.
    """

    workdir: pathlib.Path
    config: dict[str, Any]
    lines: list[dict[str, Any]]
    evaluation: Evaluation | None

    @property
    def step(self) -> int:
        """The last step with metrics."""
        return self.lines[-1]['step'] if self.lines else 0

    @property
    def has_saved(self) -> bool:
        """Whether a checkpoint was saved."""
        return any((self.workdir / 'checkpoints').glob('[0-9]*'))

    @property
    def finished(self) -> bool:
        """Whether the last step was evaluated and saved."""
        last = self.config['num_steps']
        saved = self.workdir / 'checkpoints' / str(last)
        return saved.is_dir() and last in self.evaluations

    @property
    def evaluations(self) -> dict[int, dict[str, float]]:
        """Scores of the evaluations in training, by step."""
        found = {line['step']: _scores(line) for line in self.lines}
        return {step: scores for step, scores in found.items() if scores}


def _scores(line: dict[str, Any]) -> dict[str, float]:
    return {k.removeprefix(_EVAL): v for k, v in line.items() if k.startswith(_EVAL)}


def write_config(workdir: str | os.PathLike, config: ml_collections.ConfigDict) -> None:
    """Writes a run's config into its folder."""
    with whole_file(epath.Path(workdir) / _CONFIG) as partial:
        partial.write_text(json.dumps(config_to_json(config), indent=1) + '\n')


def find_runs(folders: Sequence[str | os.PathLike]) -> list[pathlib.Path]:
    """Folders of the runs in some folders, each once.

    Raises:
      FileNotFoundError: for a folder without runs.
    """
    found = {}
    for folder in map(pathlib.Path, folders):
        inside = runs_inside(folder)
        if not inside:
            raise FileNotFoundError(f'{folder}: no run has begun here: no {_CONFIG}')
        found |= dict.fromkeys(inside)
    return list(found)


def runs_inside(folder: pathlib.Path) -> list[pathlib.Path]:
    """Folders of the runs in a folder; the folder itself, if it is a run."""
    return sorted(path.parent for path in folder.rglob(_CONFIG))


def has_begun(workdir: str | os.PathLike) -> bool:
    """Whether a folder is that of a run."""
    return (pathlib.Path(workdir) / _CONFIG).is_file()


def read_run(workdir: str | os.PathLike) -> Run:
    """Reads a run, finished or under way.

    Raises:
      FileNotFoundError: if the folder holds no run.
      ValueError: for a file that no run writes.
    """
    workdir = pathlib.Path(workdir)
    if not has_begun(workdir):
        raise FileNotFoundError(f'{workdir}: no {_CONFIG}: expected the folder of a run')
    return Run(
        workdir,
        config=without_removed_settings(_json(workdir / _CONFIG)),
        lines=_lines(workdir / _METRICS),
        evaluation=_evaluation(workdir / _EVALUATION),
    )


def _evaluation(path: pathlib.Path) -> Evaluation | None:
    if not path.is_file():
        return None
    found = _json(path)
    try:
        splits, scores = ', '.join(found['splits']), next(iter(found['rows'].values()))
        of = f'{splits} ({found["convention"]})' if found['convention'] else splits
        return Evaluation(found['step'], of, scores)
    except (KeyError, TypeError, AttributeError, StopIteration) as error:
        raise ValueError(
            f'{path}: expected step, splits, convention and rows, as '
            '`python -m tokenhmr_jax.evaluate` writes them: run it again'
        ) from error


def _json(path: pathlib.Path) -> dict:
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f'{path}: not readable as JSON ({error})') from error


def _lines(path: pathlib.Path) -> list[dict]:
    """Lines of JSON, without a half-written last one."""
    if not path.is_file():
        return []
    found = []
    for number, line in enumerate(path.read_text().splitlines(keepends=True), start=1):
        if not line.endswith('\n'):
            break
        try:
            found.append(json.loads(line))
        except ValueError as error:
            raise ValueError(f'{path}, line {number}: not readable as JSON ({error})') from error
    return found
