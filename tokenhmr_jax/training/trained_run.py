"""A trained run, opened from its folder."""

import dataclasses
import functools
import os
import pathlib
from typing import Any, cast

import jax
import ml_collections
from jax.sharding import Mesh

from tokenhmr_jax import cli
from tokenhmr_jax.body import smpl
from tokenhmr_jax.checkpoints import shared
from tokenhmr_jax.checkpoints.store import Checkpoints
from tokenhmr_jax.config import config_from_json, missing_settings_named
from tokenhmr_jax.tasks import Task, make_task, pose_tokens
from tokenhmr_jax.tasks.body_models import load_body
from tokenhmr_jax.tasks.prior import PriorTask
from tokenhmr_jax.tasks.regressor import RegressorTask
from tokenhmr_jax.training import sharding
from tokenhmr_jax.training.kept_files import use_kept_files

BUNDLED = 'bundled'
_LOADERS = {
    'regressor': 'tokenhmr_jax.load',
    'tokenizer': 'tokenhmr_jax.load_tokenizer',
    'prior': 'tokenhmr_jax.load_prior',
}


@dataclasses.dataclass(frozen=True)
class Trained:
    """A task and all that its methods take; arrays lie on every device of the mesh.

    name: workdir and step.
    params, state: of the checkpoint.
    """

    name: str
    config: ml_collections.ConfigDict
    step: int
    task: Task
    params: Any
    state: Any
    body: smpl.BodyModel
    mesh: Mesh

    @functools.cached_property
    def frozen(self) -> Any:
        """The task's frozen inputs."""
        return jax.device_put(self.task.frozen(self.body), sharding.replicated(self.mesh))


def bundled_run(kind: str | None = None) -> pathlib.Path:
    """The folder of the regressor, or the tokenizer, that comes with the package."""
    return pathlib.Path(__file__).parents[1] / BUNDLED / (kind or 'regressor')


def next_command(workdir: str | os.PathLike) -> str:
    """The command that uses the weights in a folder first."""
    with Checkpoints(workdir, create=False) as saved:
        kind = saved.read_config(saved.find('best'))['config']['task']
    checkpoint = f'--checkpoint={workdir}'
    if kind == 'regressor':
        return cli.command_line('predict', checkpoint, '--input=PHOTOS', '--out=RESULT')
    if kind == 'backbone':
        start = f'--config.warm_start.checkpoint={workdir}'
        return cli.command_line('train', '--config=regressor', start, '--workdir=RUN')
    return cli.command_line('evaluate', checkpoint)


def open_run(
    workdir: str | os.PathLike,
    step: str = 'best',
    mesh: Mesh | None = None,
    kind: str | None = None,
) -> Trained:
    """Opens a checkpoint, of a run or of converted weights, on the mesh or the first device.

    The body and the thresholds are the copies that the run's folder has.
    Raises FileNotFoundError or ValueError for a checkpoint, a step, a setting or a body model that
    is missing, a run of another kind, or another body than the one trained with.

    Args:
      workdir: a local folder, gs://..., 'hf://OWNER/NAME' of Hugging Face's hub, or 'bundled' for
        the network that comes with the package.
      step: 'best', 'last', or its number.
      kind: 'regressor', 'tokenizer' or 'prior', if it must be one.
    """
    mesh = sharding.make_mesh(jax.devices()[:1]) if mesh is None else mesh
    if workdir == BUNDLED:
        workdir = bundled_run(kind)
    elif str(workdir).startswith(shared.HUB):
        workdir = shared.fetched(str(workdir))
    named = missing_settings_named(f'{workdir}: its config')
    with _reader(workdir) as saved, named:
        number = saved.find(step)
        stored = saved.read_config(number)
        _check_kind(workdir, stored['config']['task'], kind)
        config = config_from_json(stored['config'])
        use_kept_files(workdir, config)
        task = make_task(config)
        everywhere = sharding.replicated(mesh)
        body = jax.device_put(load_body(config), everywhere)
        expected, found = stored['body_topology'], smpl.topology(body)
        if found != expected:
            other = f'{workdir} was trained with a body of another topology'
            raise ValueError(f'{other}: {expected}, this one has {found}')
        place = lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=everywhere)  # noqa: E731
        like = jax.tree.map(place, jax.eval_shape(task.init, jax.random.key(0)))
        params, state = saved.restore_model(number, *like)
    return Trained(f'{workdir}, step {number}', config, number, task, params, state, body, mesh)


def open_prior(path: str | None, steps: int, mesh: Mesh | None = None) -> Trained | None:
    """A prior's run, None without one; errors as `open_run`, and ValueError for steps of none."""
    if path is not None:
        return open_run(path, mesh=mesh, kind='prior')
    if steps != 1:
        raise ValueError(f'prior_steps={steps} without a prior: expected one, or 1 step')
    return None


def with_prior(run: Trained, prior: Trained, steps: int = 1) -> Trained:
    """The run of a regressor with a prior of its pose tokens, which refines them in `steps`.

    Raises ValueError for a run of another kind, and as `attach_prior`.
    """
    if not isinstance(run.task, RegressorTask):
        raise ValueError(f'{run.name} with a prior: expected a regressor')
    given = cast(PriorTask, prior.task).model, prior.params, prior.state
    try:
        model, state = pose_tokens.attach_prior(run.task.model, run.state, *given, steps)
    except ValueError as error:
        raise ValueError(f'{run.name} with {prior.name}: {error}') from None
    task = dataclasses.replace(run.task, model=model)
    name = f'{run.name}, with the prior {prior.name}'
    return dataclasses.replace(run, name=name, task=task, state=state)


def _reader(workdir: str | os.PathLike) -> Checkpoints | shared.Shared:
    """The checkpoints of a run, or the weights that `export --format=safetensors` writes."""
    return (
        shared.Shared(workdir) if shared.is_shared(workdir) else Checkpoints(workdir, create=False)
    )


def _check_kind(workdir: str | os.PathLike, found: str, kind: str | None) -> None:
    if found not in _LOADERS:
        raise ValueError(
            f'{workdir} holds a {found} alone, for config.warm_start of a training run; expected a '
            f'{kind or " or a ".join(sorted(_LOADERS, reverse=True))}'
        )
    if kind not in (None, found):
        raise ValueError(f'{workdir} is a {found}, not a {kind}: use {_LOADERS[found]}')
