"""A trained run, opened from its folder: where every command that uses one begins."""

import dataclasses
import functools
from typing import Any

import jax
import ml_collections
from jax.sharding import Mesh

from tokenhmr_jax.body import smpl
from tokenhmr_jax.checkpoints.store import Checkpoints
from tokenhmr_jax.config import config_from_json, missing_settings_named
from tokenhmr_jax.tasks import Task, make_task
from tokenhmr_jax.tasks.body_models import load_body
from tokenhmr_jax.training import sharding
from tokenhmr_jax.training.kept_files import use_kept_files

_LOADERS = {'regressor': 'tokenhmr_jax.load', 'tokenizer': 'tokenhmr_jax.load_tokenizer'}


@dataclasses.dataclass(frozen=True)
class Trained:
    """A task and all that its methods take.

    name: workdir and step.
    config: of the run.
    step: of the checkpoint.
    task: of the config.
    params, state: of the checkpoint, on every device of a mesh.
    body: the body model, likewise.
    mesh: the devices.
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
        """What training and evaluation read beside the weights, on every device of the mesh."""
        return jax.device_put(self.task.frozen(), sharding.replicated(self.mesh))


def open_run(
    workdir: str, step: str = 'best', mesh: Mesh | None = None, kind: str | None = None
) -> Trained:
    """Opens a checkpoint of a run, or of converted weights.

    The body and the thresholds are the copies in the run's folder, where they are there.

    Args:
      workdir: of the run, here or gs://...
      step: 'best', 'last', or its number.
      mesh: of devices, every one of which holds it; the first device by default.
      kind: 'regressor' or 'tokenizer', if it must be one.

    Raises:
      FileNotFoundError, ValueError: for a checkpoint, a step, a setting or a body model that is not
        there, a run of another kind, or a body that is not the one that was trained with.
    """
    mesh = sharding.make_mesh(jax.devices()[:1]) if mesh is None else mesh
    with (
        Checkpoints(workdir, create=False) as saved,
        missing_settings_named(f'{workdir}: its config'),
    ):
        number = saved.find(step)
        stored = saved.read_config(number)
        _check_kind(workdir, stored['config']['task'], kind)
        config = config_from_json(stored['config'])
        use_kept_files(workdir, config)
        task = make_task(config)
        body = jax.device_put(load_body(config), sharding.replicated(mesh))
        _check_topology(body, stored['body_topology'], workdir)
        params, state = _restore_weights(saved, number, task, mesh)
    return Trained(f'{workdir}, step {number}', config, number, task, params, state, body, mesh)


def _check_kind(workdir: str, found: str, kind: str | None) -> None:
    if found not in _LOADERS:
        raise ValueError(
            f'{workdir} holds a {found} alone, for config.warm_start of a training run; expected a '
            f'{kind or " or a ".join(sorted(_LOADERS, reverse=True))}'
        )
    if kind not in (None, found):
        raise ValueError(f'{workdir} is a {found}, not a {kind}: use {_LOADERS[found]}')


def _check_topology(body: smpl.BodyModel, expected: dict, workdir: str) -> None:
    found = smpl.topology(body)
    if found != expected:
        raise ValueError(
            f'{workdir} was trained with a body of another topology: {expected}, this one has '
            f'{found}'
        )


def _restore_weights(saved: Checkpoints, step: int, task: Task, mesh: Mesh) -> tuple[Any, Any]:
    """Parameters and state of a step, on every device of a mesh."""
    shapes = jax.eval_shape(task.init, jax.random.key(0))
    everywhere = sharding.replicated(mesh)
    like = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=everywhere), shapes
    )
    return saved.restore_model(step, *like)
