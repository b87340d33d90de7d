"""Sweeps: many runs of one config with named overrides, checked whole before any of them starts.

A sweep is a function in a Python file. Of the config it is based on, it yields runs, pairs of a
name and overrides, which map dotted names of config values to values:

    def loose_weight(config):
        yield from sweeps.grid({'tals.loose_weight': [1.0, 0.05, 0.01, 0.0]})

The other runs are compared with the first one. A name is the folder of its run, in that of the
sweep. `launch/sweep.py` runs it.
"""

import importlib.util
import inspect
import itertools
import json
import pathlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import ml_collections
import numpy as np

from tokenhmr_jax import cli
from tokenhmr_jax.config import (
    config_differences,
    config_to_json,
    lookup_setting,
    settings_of_result,
)
from tokenhmr_jax.data import pipeline
from tokenhmr_jax.tasks import make_task
from tokenhmr_jax.training import history, optimizer

Named = tuple[str, dict[str, Any]]
Sweep = Callable[[ml_collections.ConfigDict], Iterable[Named]]

_NAME = re.compile(r'[\w.=,+-]+(/[\w.=,+-]+)*')


def grid(axes: Mapping[str, Iterable[Any]]) -> Iterator[Named]:
    """Every combination of values of some settings, named 'key=value/key=value'."""
    for values in itertools.product(*axes.values()):
        overrides = dict(zip(axes, values, strict=True))
        yield '/'.join(f'{key.rpartition(".")[2]}={v}' for key, v in overrides.items()), overrides


def product(*sweeps: Iterable[Named]) -> Iterator[Named]:
    """Every combination of runs: their names joined, and all of their overrides.

    Raises:
      ValueError: if two of them set the same value.
    """
    for combination in itertools.product(*sweeps):
        overrides = {}
        for name, more in combination:
            if both := overrides.keys() & more.keys():
                raise ValueError(f'{name}: {sorted(both)} is set twice in a product')
            overrides |= more
        yield '/'.join(name for name, _ in combination), overrides


def seeds(sweep: Iterable[Named], count: int) -> Iterator[Named]:
    """Every run with the seeds 0, 1, ..., `count` - 1."""
    return product(sweep, grid({'seed': range(count)}))


class Planned(NamedTuple):
    """A run that is to be.

    name: of the run.
    workdir: its folder.
    arguments: of `python -m tokenhmr_jax.train`, the workdir among them.
    config: what they come to.
    """

    name: str
    workdir: str
    arguments: list[str]
    config: ml_collections.ConfigDict


def load_sweep(path: str) -> Sweep:
    """The sweep 'FILE:FUNCTION'.

    Raises:
      FileNotFoundError, ValueError: if there is no such file, or no such function in it.
    """
    file, _, name = path.rpartition(':')
    if not pathlib.Path(file).is_file():
        raise FileNotFoundError(f'{path}: no file {file!r}; expected FILE:FUNCTION')
    spec = importlib.util.spec_from_file_location('sweep', file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    there = [
        name
        for name, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == 'sweep' and not name.startswith('_')
    ]
    if name not in there:
        raise ValueError(f'{path}: no function {name!r}; {file} has {there}')
    return getattr(module, name)


def plan_sweep(
    arguments: Sequence[str], sweep: Sweep, workdir: str, num_seeds: int
) -> list[Planned]:
    """The runs of a sweep, in its order.

    Args:
      arguments: of `python -m tokenhmr_jax.train`, for all runs: --config and its overrides.
      sweep: of `load_sweep`.
      workdir: in which the runs' folders lie.
      num_seeds: of each run; 1 leaves the seed to the config.

    Raises:
      ValueError: that names everything in it that is wrong: settings that there are not, or of
        another type; names that clash, or cannot be those of folders; runs that are the same, or
        differ from what began in their folder.
    """
    named = sweep(parse(arguments))
    named = list(named if num_seeds == 1 else seeds(named, num_seeds))
    if not named:
        raise ValueError('the sweep is empty: expected runs')
    problems = _clashes([name for name, _ in named])
    planned = []
    for name, overrides in named:
        try:
            planned.append(_planned(arguments, name, overrides, f'{workdir}/{name}'))
        except ValueError as error:
            problems.append(f'{name}: {error}')
    _raise(problems + _twins(planned) + _changes(planned))
    return planned


def parse(arguments: Sequence[str]) -> ml_collections.ConfigDict:
    """The config that `python -m tokenhmr_jax.train` makes of its arguments.

    Raises:
      ValueError: as there.
    """
    flags = cli.Flags('', arguments)
    config = flags.config()
    flags.parse()
    return config.value


def _planned(arguments: Sequence[str], name: str, overrides: dict, workdir: str) -> Planned:
    overrides = {k: v.item() if isinstance(v, np.generic) else v for k, v in overrides.items()}
    replaced = tuple(f'--config.{key}=' for key in overrides)
    arguments = [argument for argument in arguments if not argument.startswith(replaced)]
    arguments += [f'--config.{key}={value}' for key, value in overrides.items()]
    config = parse(arguments)
    tree = config_to_json(config)
    for key, value in overrides.items():
        if (found := lookup_setting(tree, key)) != json.loads(json.dumps(value)):
            raise ValueError(f'{key} cannot be {value!r}: on the command line it is {found!r}')
    return Planned(name, workdir, [*arguments, f'--workdir={workdir}'], config)


def _clashes(names: Sequence[str]) -> list[str]:
    """What is wrong with names of runs."""
    found = [
        f'{name!r} is no name of a run: expected letters, digits and .=,+-_ in parts between /'
        for name in names
        if not _NAME.fullmatch(name) or {'.', '..'} & set(name.split('/'))
    ]
    found += [f'{name}: {names.count(name)} runs of this name' for name in dict.fromkeys(names)
              if names.count(name) > 1]  # fmt: skip
    return found + [
        f"{inner}: lies in another run's folder, {outer}"
        for inner in dict.fromkeys(names)
        for outer in dict.fromkeys(names)
        if inner.startswith(f'{outer}/')
    ]


def _twins(planned: Sequence[Planned]) -> list[str]:
    """Runs of different names that are the same."""
    first, found = {}, []
    for run in planned:
        other = first.setdefault(run.config.to_json(sort_keys=True), run)
        if other is not run:
            found.append(f'{other.name} and {run.name}: the same config')
    return found


def _changes(planned: Sequence[Planned]) -> list[str]:
    """Runs that have saved steps of another config than is planned, or lie around others."""
    found = []
    for run in planned:
        folder = pathlib.Path(run.workdir)
        found += [
            f'{run.workdir}: lies in the folder of a run, {parent}'
            for parent in folder.parents
            if history.has_begun(parent)
        ]
        found += [
            f'{run.workdir}: another run lies in it, {each}'
            for each in history.runs_inside(folder)
            if each != folder
        ]
        if history.has_begun(folder) and (stored := history.read_run(folder)).has_saved:
            ours = config_to_json(run.config)
            changed = config_differences(
                settings_of_result(stored.config), settings_of_result(ours)
            )
            found += [f'{run.workdir} began with another {change}' for change in changed]
    return found


def check_inputs(planned: Sequence[Planned]) -> None:
    """Look for all that the runs of a sweep are to read.

    Raises:
      ValueError: that names all data, bodies, thresholds and checkpoints that are not there, or do
        not fit, and what else in a config does not go together.
    """
    problems = []
    for run in planned:
        try:
            _check_inputs(run.config)
        except (ValueError, FileNotFoundError) as error:
            problems.append(f'{run.name}: {error}')
    _raise(problems)


def _check_inputs(config: ml_collections.ConfigDict) -> None:
    task = make_task(config)
    optimizer.make_optimizer(config.optimizer, config.num_steps)
    pipeline.check_mixture(config.data.mixture)
    names = (*config.data.mixture, *config.data.validation)
    firsts = [pipeline.open_split(config.data.data_dir, name).read([0])[0] for name in names]
    task.check_inputs(firsts)


def _raise(problems: Sequence[str]) -> None:
    if problems:
        raise ValueError('\n  '.join([f'{len(problems)} problems in the sweep:', *problems]))
