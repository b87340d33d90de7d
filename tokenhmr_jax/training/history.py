"""Config, metrics and state of a run, read from its folder."""

import json
import os
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import ml_collections
from etils import epath

from tokenhmr_jax.cli import whole_file
from tokenhmr_jax.config import config_to_json, settings_of_today

_CONFIG, _METRICS, _EVALUATION = 'config.json', 'metrics.jsonl', 'evaluation/evaluation.json'
_EVAL = 'eval/'


class Evaluation(NamedTuple):
    """Results of `python -m tokenhmr_jax.evaluate`."""

    step: int  # of the checkpoint
    of: str  # the splits, and the convention and the truth of the errors
    scores: dict[str, float]  # means over all examples of the splits


class Run(NamedTuple):
    """A run, finished or under way."""

    workdir: pathlib.Path
    config: dict[str, Any]  # plain containers
    lines: list[dict[str, Any]]  # of `metrics.jsonl`, in the order of their steps
    evaluation: Evaluation | None  # on whole splits

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
        return (self.workdir / f'checkpoints/{last}').is_dir() and last in self.evaluations

    @property
    def evaluations(self) -> dict[int, dict[str, float]]:
        """Scores of the evaluations in training, by step."""
        found = {}
        for line in self.lines:
            scores = {k.removeprefix(_EVAL): v for k, v in line.items() if k.startswith(_EVAL)}
            if scores:
                found[line['step']] = scores
        return found


def write_config(workdir: str | os.PathLike, config: ml_collections.ConfigDict) -> None:
    """Writes a run's config into its folder."""
    with whole_file(epath.Path(workdir) / _CONFIG) as partial:
        partial.write_text(json.dumps(config_to_json(config), indent=1) + '\n')


def find_runs(folders: Sequence[str | os.PathLike]) -> list[pathlib.Path]:
    """Folders of the runs in some folders, each once; FileNotFoundError for one without runs."""
    found = {}
    for folder in map(pathlib.Path, folders):
        if not (inside := runs_inside(folder)):
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

    Raises FileNotFoundError for a folder without a run, ValueError for a file that no run writes.
    """
    workdir, config = pathlib.Path(workdir), pathlib.Path(workdir) / _CONFIG
    if not has_begun(workdir):
        raise FileNotFoundError(f'{workdir}: no {_CONFIG}: expected the folder of a run')
    return Run(
        workdir,
        config=settings_of_today(_parse(config.read_bytes(), config)),
        lines=_lines(workdir / _METRICS),
        evaluation=_evaluation(workdir / _EVALUATION),
    )


def _evaluation(path: pathlib.Path) -> Evaluation | None:
    if not path.is_file():
        return None
    found = _parse(path.read_bytes(), path)
    try:
        splits, scores = ', '.join(found['splits']), next(iter(found['rows'].values()))
        # Before there was a choice, the truth was the body.
        measured = f'{found["convention"]}, truth: {found.get("truth", "body")}'
        of = f'{splits} ({measured})' if found['convention'] else splits
        return Evaluation(found['step'], of, scores)
    except (KeyError, TypeError, AttributeError, StopIteration) as error:
        raise ValueError(
            f'{path}: expected step, splits, convention and rows, as '
            '`python -m tokenhmr_jax.evaluate` writes them: run it again'
        ) from error


def _lines(path: pathlib.Path) -> list[dict]:
    """Lines of JSON, without a half-written last one."""
    if not path.is_file():
        return []
    complete = path.read_bytes().split(b'\n')[:-1]
    return [_parse(line, f'{path}, line {i}') for i, line in enumerate(complete, start=1)]


def _parse(text: bytes, where: str | os.PathLike) -> dict:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(f'{where}: not readable as JSON ({error})') from error
