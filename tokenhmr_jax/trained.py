"""A trained run, read from its checkpoint: where every command that uses one begins."""

from typing import Any, NamedTuple

import jax
import ml_collections
from jax.sharding import Mesh

from tokenhmr_jax import checkpoints, config_utils, sharding, tals
from tokenhmr_jax.body import files, smpl
from tokenhmr_jax.tasks import TASKS, Task


class Trained(NamedTuple):
    """A task and all that its methods take.

    config: of the run.
    step: of the checkpoint.
    task: of the config.
    params, state, frozen: what the task's methods take, on every device of a mesh.
    """

    config: ml_collections.ConfigDict
    step: int
    task: Task
    params: Any
    state: Any
    frozen: Any


def load(workdir: str, step: str, mesh: Mesh) -> Trained:
    """Load a checkpoint.

    Args:
      workdir: of the run.
      step: 'best', 'last' or a number.
      mesh: of devices, every one of which holds it.

    Raises:
      FileNotFoundError, ValueError: for a checkpoint, a step, a setting or a body model that is not
        there, or a body that is not the one that was trained with.
    """
    with (
        checkpoints.Checkpoints(workdir, create=False) as saved,
        config_utils.complete(f'{workdir}: its config'),
    ):
        number, config, topology = describe(saved, workdir, step)
        task = TASKS[config.task].from_config(config)
        frozen = jax.device_put(task.frozen(), sharding.replicated(mesh))
        check_body(frozen.body, topology, workdir)
        params, state = weights(saved, number, task, mesh)
    return Trained(config, number, task, params, state, frozen)


def describe(
    saved: checkpoints.Checkpoints, workdir: str, step: str
) -> tuple[int, ml_collections.ConfigDict, dict]:
    """A step's number, the config of its run, and the topology of the body it was trained with.

    The config's body and thresholds are the copies that lie in the run's folder, if they do.

    Raises:
      ValueError: if there is no such step, or it holds a backbone alone.
    """
    number = saved.find(step)
    stored = saved.read_config(number)
    if stored['config']['task'] not in TASKS:
        raise ValueError(
            f'{workdir} holds a {stored["config"]["task"]} alone, for config.warm_start of a '
            f'training run; expected a {" or a ".join(TASKS)}'
        )
    config = config_utils.from_json(stored['config'])
    files.use_kept(workdir, config)
    tals.use_kept(workdir, config)
    if 'adversarial' in config:
        config.adversarial.mocap = None  # real bodies, for training alone
    return number, config, stored['body_topology']


def check_body(body: smpl.BodyModel, topology: dict, workdir: str) -> None:
    """Raise ValueError unless a body has the topology of the one that was trained with."""
    found = smpl.topology(body)
    if found != topology:
        raise ValueError(
            f'{workdir} was trained with a body of another topology: {topology}, this one has '
            f'{found}'
        )


def weights(saved: checkpoints.Checkpoints, step: int, task: Task, mesh: Mesh) -> tuple[Any, Any]:
    """Parameters and state of a step, on every device of a mesh."""
    shapes = jax.eval_shape(task.init, jax.random.key(0))
    everywhere = sharding.replicated(mesh)
    like = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=everywhere), shapes
    )
    return saved.restore_model(step, *like)
