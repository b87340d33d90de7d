"""Checkpoints: everything a run needs to go on, and everything a reader needs to use it.

One step's folder holds `model` (parameters and state), `optimizer`, `data` (position in the data)
and `config` (the whole config and the body's topology), written by Orbax. Converted weights have no
`optimizer` and no `data`.
"""

from typing import Any

import jax
import ml_collections
import numpy as np
import orbax.checkpoint as ocp
from etils import epath

from tokenhmr_jax import config_utils
from tokenhmr_jax.types import TrainState

_FILE_SIZE = 64 * 2**20  # bytes
_ARCHITECTURE = (
    'task', 'model', 'codebook.num_codes', 'tokenizer.model', 'tokenizer.num_codes',
)  # fmt: skip


class Checkpoints:
    """The checkpoints of one run: the newest, and the one with the lowest `metric`.

    Args:
      workdir: the run's folder, here or gs://...; checkpoints lie in its `checkpoints`.
      metric: name of the evaluation metric that decides which step is best and is kept; not
        needed for reading.
      create: whether to make the folder, or fail where there is none.

    Raises:
      FileNotFoundError: if not `create` and there are no checkpoints.
    """

    def __init__(self, workdir: str, metric: str | None = None, create: bool = True):
        folder = epath.Path(workdir).absolute() / 'checkpoints'
        if not create and not any(folder.glob('[0-9]*')):
            raise FileNotFoundError(f'{workdir}: no checkpoints in {folder}')
        managers = ocp.checkpoint_managers
        best = managers.BestN(
            get_metric_fn=lambda metrics: metrics[metric],
            reverse=True,
            n=1,
            keep_checkpoints_without_metrics=False,
        )
        options = ocp.CheckpointManagerOptions(
            create=create,
            best_fn=lambda metrics: metrics[metric],  # only so that metrics are stored
            preservation_policy=managers.AnyPreservationPolicy([managers.LatestN(n=1), best]),
        )
        self._manager = ocp.CheckpointManager(folder, options=options)

    def __enter__(self) -> 'Checkpoints':
        return self

    def __exit__(self, *unused) -> None:
        # Saving goes on in the background; leaving before it is done would lose the last step.
        self._manager.wait_until_finished()
        self._manager.close()

    @property
    def latest(self) -> int | None:
        """The newest step, or None."""
        return self._manager.latest_step()

    def find(self, step: str) -> int:
        """The step that a user means by 'best', 'last', or a number.

        'best' is the newest step where none was evaluated.

        Raises:
          ValueError: if there is no such step.
        """
        steps = self._manager.all_steps()
        if step == 'last':
            return max(steps)
        if step == 'best':
            scores = {s: metrics for s in steps if (metrics := self._manager.metrics(s))}
            if not scores:
                return max(steps)
            metric = self.read_config(max(steps))['config']['eval']['best_metric']
            return min(scores, key=lambda s: scores[s][metric])
        if step.isdigit() and int(step) in steps:
            return int(step)
        raise ValueError(f"step {step!r}: expected 'best', 'last' or one of {sorted(steps)}")

    def save(
        self, state: TrainState, data: dict, config: dict, metrics: dict[str, float] | None
    ) -> None:
        """Write a step in the background.

        Args:
          state: its `step` names the checkpoint.
          data: position of the data's iterator.
          config: of `describe`.
          metrics: of an evaluation at this step, if there was one.
        """
        self._manager.save(
            int(state.step),
            args=ocp.args.Composite(
                model=ocp.args.StandardSave({'params': state.params, 'state': state.state}),
                optimizer=ocp.args.StandardSave({'opt_state': state.opt_state}),
                data=ocp.args.JsonSave(data),
                config=ocp.args.JsonSave(config),
            ),
            metrics=metrics,
        )

    def save_converted(self, step: int, params: Any, state: Any, config: dict) -> None:
        """Write weights that come from elsewhere; `config` as for `save`.

        Arrays may be mapped files: written in small files, each as soon as it is compressed, they
        need not fit into memory together.
        """
        model = {'params': params, 'state': state}
        self._manager.save(
            step,
            args=ocp.args.Composite(
                model=ocp.args.PyTreeSave(model, ocdbt_target_data_file_size=_FILE_SIZE),
                config=ocp.args.JsonSave(config),
            ),
        )

    def read_config(self, step: int) -> dict:
        """What `describe` gave when this step was saved."""
        return self._restore(step, config=ocp.args.JsonRestore())['config']

    def restore_model(self, step: int, params: Any, state: Any) -> tuple[Any, Any]:
        """Parameters and state, placed as the arrays or shapes given say."""
        abstract = {'params': params, 'state': state}
        model = self._restore(step, model=ocp.args.StandardRestore(abstract))['model']
        return model['params'], model['state']

    def read_model(self, step: int) -> dict:
        """Parameters and state, {'params', 'state'}, as plain containers of NumPy arrays."""
        tree = ocp.StandardCheckpointHandler().metadata(self._folder(step) / 'model').tree
        # Targets take no memory; being NumPy's, they leave aside on what devices arrays once lay.
        target = jax.tree.map(lambda x: np.broadcast_to(np.zeros((), x.dtype), x.shape), tree)
        return self._restore(step, model=ocp.args.StandardRestore(target))['model']

    def restore(self, step: int, like: TrainState) -> tuple[TrainState, dict]:
        """All of a step: the training state and the data's position.

        Raises:
          ValueError: if the step is of converted weights, which begin a run but cannot go on.
        """
        if not (self._folder(step) / 'optimizer').exists():
            raise ValueError(
                f'step {step} holds converted weights, without an optimizer: expected their folder '
                'as config.warm_start.checkpoint of a run in another one'
            )
        params, state = self.restore_model(step, like.params, like.state)
        rest = self._restore(
            step,
            optimizer=ocp.args.StandardRestore({'opt_state': like.opt_state}),
            data=ocp.args.JsonRestore(),
        )
        count = jax.device_put(jax.numpy.asarray(step, like.step.dtype), like.step.sharding)
        opt_state = rest['optimizer']['opt_state']
        return TrainState(count, params, state, opt_state), rest['data']

    def _folder(self, step: int) -> epath.Path:
        return self._manager.directory / str(step)

    def _restore(self, step: int, **items):
        return self._manager.restore(step, args=ocp.args.Composite(**items))


def describe(config: ml_collections.ConfigDict, topology: dict) -> dict:
    """What a checkpoint says of itself: the config, and the body it was trained with."""
    return {'config': config_utils.to_json(config), 'body_topology': topology}


def check_same(stored: dict, current: dict, where: str) -> None:
    """Raise ValueError unless a checkpoint fits the run that wants to go on from it.

    Both as given by `describe`: the architecture and the body's topology must agree.
    """
    for path in _ARCHITECTURE:
        ours, theirs = _at(current['config'], path), _at(stored['config'], path)
        if ours != theirs:
            raise ValueError(
                f'{where} is a checkpoint of another architecture: its {path} is {theirs}, '
                f'this run has {ours}'
            )
    if stored['body_topology'] != current['body_topology']:
        raise ValueError(
            f'{where} was trained with a body of another topology: {stored["body_topology"]}, '
            f'this run has {current["body_topology"]}'
        )


def _at(tree: dict, path: str):
    for key in path.split('.'):
        tree = tree.get(key) if isinstance(tree, dict) else None
    return tree
