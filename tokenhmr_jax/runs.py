"""What a run's folder tells of it: its config, its metrics, and whether it is finished."""

import json
import os
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import ml_collections
from etils import epath

from tokenhmr_jax import config_utils

_CONFIG, _METRICS, _EVALUATION = 'config.json', 'metrics.jsonl', 'evaluation/evaluation.json'
_EVAL = 'eval/'


class Run(NamedTuple):
    """A run as far as it has come.

    workdir: its folder.
    config: of its training, as plain containers.
    lines: of `metrics.jsonl`, in the order of their steps.
    evaluation: scores of the whole splits, by `python -m tokenhmr_jax.evaluate`; None without.
    """

    workdir: pathlib.Path
    config: dict[str, Any]
    lines: list[dict[str, Any]]
    evaluation: dict[str, float] | None

    @property
    def step(self) -> int:
        """The last one that is in the metrics."""
        return self.lines[-1]['step'] if self.lines else 0

    @property
    def finished(self) -> bool:
        """Whether its last step was evaluated and saved."""
        last = self.config['num_steps']
        saved = self.workdir / 'checkpoints' / str(last)
        return saved.is_dir() and last in self.evaluations

    @property
    def evaluations(self) -> dict[int, dict[str, float]]:
        """The scores of each evaluation in training, by its step."""
        found = {line['step']: _scores(line) for line in self.lines}
        return {step: scores for step, scores in found.items() if scores}


def _scores(line: dict[str, Any]) -> dict[str, float]:
    return {k.removeprefix(_EVAL): v for k, v in line.items() if k.startswith(_EVAL)}


def keep_config(workdir: str, config: ml_collections.ConfigDict) -> None:
    """Write a run's config into its folder, here or on object storage."""
    target = epath.Path(workdir) / _CONFIG
    partial = target.with_name(f'{_CONFIG}.partial')
    partial.write_text(json.dumps(config_utils.to_json(config), indent=1) + '\n')
    partial.replace(target)


def find(folders: Sequence[str | os.PathLike]) -> list[pathlib.Path]:
    """The folders of runs, among some folders and those in them, each once.

    Raises:
      FileNotFoundError: naming the folder in which no run has begun.
    """
    found = {}
    for folder in map(pathlib.Path, folders):
        inside = sorted(path.parent for path in folder.rglob(_CONFIG))
        if not inside:
            raise FileNotFoundError(f'{folder}: no run has begun here: no {_CONFIG}')
        found |= dict.fromkeys(inside)
    return list(found)


def has_begun(workdir: str | os.PathLike) -> bool:
    """Whether there is a run in a folder."""
    return (pathlib.Path(workdir) / _CONFIG).is_file()


def read(workdir: str | os.PathLike) -> Run:
    """Read a run, which may be under way.

    Raises:
      FileNotFoundError: if there is no run.
      ValueError: naming the file that is not what a run writes.
    """
    workdir = pathlib.Path(workdir)
    if not has_begun(workdir):
        raise FileNotFoundError(f'{workdir}: no {_CONFIG}: expected the folder of a run')
    rows = _json(workdir / _EVALUATION) if (workdir / _EVALUATION).is_file() else None
    return Run(
        workdir,
        config=_json(workdir / _CONFIG),
        lines=_lines(workdir / _METRICS),
        evaluation=next(iter(rows.values())) if rows else None,
    )


def _json(path: pathlib.Path) -> dict:
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f'{path}: not readable as JSON ({error})') from error


def _lines(path: pathlib.Path) -> list[dict]:
    """Lines of JSON; the last one may be half-written yet."""
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
