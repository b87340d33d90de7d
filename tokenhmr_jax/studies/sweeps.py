"""Sweeps: runs of one config with named overrides, all checked before the first starts.

A sweep is a function in a Python file. It takes a config and yields runs, each a name and
overrides, which map dotted names of settings to values:

    def loose_weight(config):
        yield from sweeps.grid({'tals.loose_weight': [1.0, 0.05, 0.01, 0.0]})

The first run is the baseline. A run's name is its folder below the sweep's workdir.
`launch/sweep.py` runs a sweep.
"""

import collections
import fnmatch
import inspect
import itertools
import json
import os
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
    import_beside,
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
    """All combinations of values of some settings, named 'key=value/key=value'."""
    for values in itertools.product(*axes.values()):
        overrides = dict(zip(axes, values, strict=True))
        yield '/'.join(f'{key.rpartition(".")[2]}={v}' for key, v in overrides.items()), overrides


def product(*sweeps: Iterable[Named]) -> Iterator[Named]:
    """All combinations of runs, with joined names and overrides.

    Raises ValueError if two sweeps override the same setting.
    """
    for combination in itertools.product(*sweeps):
        overrides = {}
        for name, more in combination:
            if both := overrides.keys() & more.keys():
                raise ValueError(f'{name}: {sorted(both)} is set twice in a product')
            overrides |= more
        yield '/'.join(name for name, _ in combination), overrides


def seeds(sweep: Iterable[Named], count: int) -> Iterator[Named]:
    """All runs with each of the seeds 0 to `count` - 1."""
    return product(sweep, grid({'seed': range(count)}))


class Planned(NamedTuple):
    """A run before it starts."""

    name: str  # in the sweep
    workdir: str
    arguments: list[str]  # of `python -m tokenhmr_jax.train`, --workdir included
    config: ml_collections.ConfigDict


def load_sweep(path: str) -> Sweep:
    """Loads the sweep 'FILE:FUNCTION'.

    Raises FileNotFoundError or ValueError if the file, or the function in it, does not exist.
    """
    file, _, name = path.rpartition(':')
    if not pathlib.Path(file).is_file():
        raise FileNotFoundError(f'{path}: no file {file!r}; expected FILE:FUNCTION')
    stem = pathlib.Path(file).stem
    module = import_beside(file, stem)
    public = [
        key
        for key, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == stem and not key.startswith('_')
    ]
    if name not in public:
        raise ValueError(f'{path}: no function {name!r}; {file} has {public}')
    return getattr(module, name)


def plan_sweep(
    arguments: Sequence[str], sweep: Sweep, workdir: str | os.PathLike, num_seeds: int
) -> list[Planned]:
    """Plans the runs of a sweep, in its order, in folders below `workdir`.

    `arguments` of `tokenhmr_jax.train`, --config and overrides, go to all runs. `num_seeds` of 1
    leaves the seed to the config. Raises ValueError that names all problems: unknown settings and
    values of another type, clashing names and names that no folder can have, equal runs, and runs
    that differ from those that began in their folders.
    """
    named = sweep(parse_config(arguments))
    named = list(named if num_seeds == 1 else seeds(named, num_seeds))
    if not named:
        raise ValueError('the sweep is empty: expected runs')
    problems = _check_names([name for name, _ in named])
    planned = []
    for name, overrides in named:
        try:
            planned.append(_plan(arguments, name, overrides, f'{workdir}/{name}'))
        except ValueError as error:
            problems.append(f'{name}: {error}')
    _raise_problems(problems + _find_equal(planned) + _find_conflicts(planned))
    return planned


def choose(planned: Sequence[Planned], patterns: Sequence[str]) -> list[Planned]:
    """The runs of some names, or patterns of names as of the shell, with all their seeds.

    Raises ValueError for a pattern that no run has.
    """
    for pattern in patterns:
        if not any(_matches(run.name, pattern) for run in planned):
            raise ValueError(f'no run {pattern!r}: expected of {[run.name for run in planned]}')
    return [run for run in planned if any(_matches(run.name, each) for each in patterns)]


def _matches(name: str, pattern: str) -> bool:
    return any(fnmatch.fnmatchcase(name, each) for each in (pattern, f'{pattern}/seed=*'))


def parse_config(arguments: Sequence[str]) -> ml_collections.ConfigDict:
    """The config that arguments of `tokenhmr_jax.train` give; ValueError for unknown ones."""
    flags = cli.Flags('', arguments)
    config = flags.config()
    flags.parse()
    return config.value


def _plan(arguments: Sequence[str], name: str, overrides: dict, workdir: str) -> Planned:
    overrides = {k: v.item() if isinstance(v, np.generic) else v for k, v in overrides.items()}
    replaced = tuple(f'--config.{key}=' for key in overrides)
    arguments = [argument for argument in arguments if not argument.startswith(replaced)]
    arguments += [f'--config.{key}={value}' for key, value in overrides.items()]
    config = parse_config(arguments)
    tree = config_to_json(config)
    for key, value in overrides.items():
        if (found := lookup_setting(tree, key)) != json.loads(json.dumps(value)):
            raise ValueError(f'{key} cannot be {value!r}: on the command line it is {found!r}')
    return Planned(name, workdir, [*arguments, f'--workdir={workdir}'], config)


def _check_names(names: Sequence[str]) -> list[str]:
    """Problems with the names of runs."""
    counts = collections.Counter(names)
    malformed = [
        f'{name!r} is no name of a run: expected letters, digits and .=,+-_ in parts between /'
        for name in names
        if not _NAME.fullmatch(name) or {'.', '..'} & set(name.split('/'))
    ]
    repeated = [f'{name}: {count} runs of this name' for name, count in counts.items() if count > 1]
    nested = [
        f"{inner}: lies in another run's folder, {outer}"
        for inner in counts
        for outer in counts
        if inner.startswith(f'{outer}/')
    ]
    return malformed + repeated + nested


def _find_equal(planned: Sequence[Planned]) -> list[str]:
    """Runs of different names and equal configs."""
    first, found = {}, []
    for run in planned:
        other = first.setdefault(run.config.to_json(sort_keys=True), run)
        if other is not run:
            found.append(f'{other.name} and {run.name}: the same config')
    return found


def _find_conflicts(planned: Sequence[Planned]) -> list[str]:
    """Folders that hold saved steps of another config, or are nested in those of other runs."""
    found = []
    for run in planned:
        folder = pathlib.Path(run.workdir)
        outer = filter(history.has_begun, folder.parents)
        inner = [each for each in history.runs_inside(folder) if each != folder]
        found += [f'{run.workdir}: lies in the folder of a run, {each}' for each in outer]
        found += [f'{run.workdir}: another run lies in it, {each}' for each in inner]
        if history.has_begun(folder) and (stored := history.read_run(folder)).has_saved:
            before, now = map(settings_of_result, (stored.config, config_to_json(run.config)))
            changes = config_differences(before, now)
            found += [f'{run.workdir} began with another {change}' for change in changes]
    return found


def check_inputs(planned: Sequence[Planned]) -> None:
    """Checks the files and the settings of all runs of a sweep.

    Raises ValueError that names all data, bodies, thresholds and checkpoints that are missing or do
    not fit, and all settings that contradict one another.
    """
    problems = []
    for run in planned:
        try:
            _check_run(run.config)
        except (ValueError, FileNotFoundError) as error:
            problems.append(f'{run.name}: {error}')
    _raise_problems(problems)


def _check_run(config: ml_collections.ConfigDict) -> None:
    task = make_task(config)
    optimizer.make_optimizer(config.optimizer, config.num_steps)
    if config.data.mixture:  # people without pictures need none
        pipeline.check_mixture(config.data.mixture)
    names = (*config.data.mixture, *config.data.validation)
    firsts = [pipeline.open_split(config.data.data_dir, name).read([0])[0] for name in names]
    task.check_inputs(firsts)


def _raise_problems(problems: Sequence[str]) -> None:
    if problems:
        raise ValueError('\n  '.join([f'{len(problems)} problems in the sweep:', *problems]))
