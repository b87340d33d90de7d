"""A trained run, read from its checkpoint: where every command that uses one begins."""

from typing import Any, NamedTuple

import jax
import ml_collections
from jax.sharding import Mesh

from tokenhmr_jax import checkpoints, config_utils, sharding
from tokenhmr_jax.body import smpl
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
      FileNotFoundError, ValueError: for a checkpoint, a step or a body model that is not there, or
        not the one that was trained with.
    """
    with checkpoints.Checkpoints(workdir, create=False) as saved:
        number = saved.find(step)
        stored = saved.read_config(number)
        config = config_utils.from_json(stored['config'])
        task = TASKS[config.task].from_config(config)
        frozen = jax.device_put(task.frozen(), sharding.replicated(mesh))
        current = checkpoints.describe(config, smpl.topology(frozen.body))
        checkpoints.check_same(stored, current, f'{workdir}, step {number}')
        like = _placed(jax.eval_shape(task.init, jax.random.key(0)), mesh)
        params, state = saved.restore_model(number, *like)
    return Trained(config, number, task, params, state, frozen)


def _placed(shapes: Any, mesh: Mesh) -> Any:
    """Shapes with a place: on every device of the mesh."""
    everywhere = sharding.replicated(mesh)
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=everywhere), shapes
    )
