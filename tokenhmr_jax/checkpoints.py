"""Checkpoints: everything a run needs to go on, and everything a reader needs to use it.

One step's folder holds `model` (parameters and state), `optimizer`, `data` (position in the data)
and `config` (the whole config and the body's topology), written by Orbax, and the SHA-256 sums of
all its files.
"""

import pathlib
import time
from typing import Any

import jax
import ml_collections
import numpy as np
import orbax.checkpoint as ocp
from absl import logging
from etils import epath
from jax.experimental import multihost_utils

from tokenhmr_jax import checksums, config_utils
from tokenhmr_jax.types import TrainState

_NONE, _NONE_GOOD = -1, -2
_ARCHITECTURE = (
    'task', 'model', 'codebook.num_codes', 'tokenizer.model', 'tokenizer.num_codes',
)  # fmt: skip


class Checkpoints:
    """The checkpoints of one run: the newest two, and the one with the lowest `metric`.

    Args:
      workdir: the run's folder; checkpoints lie in its `checkpoints`.
      metric: name of the evaluation metric that decides which step is best and is kept; not
        needed for reading.
      create: whether to make the folder, or fail where there is none.

    Raises:
      FileNotFoundError: if not `create` and there are no checkpoints.
    """

    def __init__(self, workdir: str, metric: str | None = None, create: bool = True):
        folder = pathlib.Path(workdir).absolute() / 'checkpoints'
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
            # Two, for one may turn out to be broken.
            preservation_policy=managers.AnyPreservationPolicy([managers.LatestN(n=2), best]),
            cleanup_tmp_directories=create,
            async_options=ocp.AsyncOptions(post_finalization_callback=self._sum_up),
        )
        self._folder = epath.Path(folder)
        self._manager = ocp.CheckpointManager(folder, options=options)

    def __enter__(self) -> 'Checkpoints':
        return self

    def __exit__(self, *unused) -> None:
        # Saving goes on in the background; leaving before it is done would lose the last step.
        self._manager.wait_until_finished()
        self._manager.close()

    def _sum_up(self) -> None:
        """All files of the step being saved are there, and it is about to get its name."""
        for folder in self._folder.glob('*.orbax-checkpoint-tmp*'):
            checksums.write(folder)

    def newest_good(self) -> int | None:
        """The newest step that can be trusted to the byte; None if there is no step at all.

        Broken ones that are newer are set aside, in `broken` beside the checkpoints, with a
        warning.

        Raises:
          ValueError: if there are steps, and all are broken.
        """
        step, problems = self._sift() if jax.process_index() == 0 else (0, [])
        # All processes go on from the step that the first one found.
        step = int(multihost_utils.broadcast_one_to_all(np.int32(step)))
        if step == _NONE_GOOD:
            raise ValueError(f'{self._folder}: every checkpoint is broken: {"; ".join(problems)}')
        self._manager.reload()
        return None if step == _NONE else step

    def _sift(self) -> tuple[int, list[str]]:
        """The newest good step, after setting newer ones aside, and what is wrong with them."""
        names = [path.name for path in self._folder.iterdir()]
        steps = sorted((int(name) for name in names if name.isdigit()), reverse=True)
        problems = []
        for step in steps:
            try:
                checksums.check(self._folder / str(step))
            except ValueError as error:
                problems.append(str(error))
                continue
            for bad, problem in zip(steps, problems, strict=False):
                aside = self._folder.parent / 'broken' / f'{bad}-{time.time_ns()}'
                aside.parent.mkdir(exist_ok=True)
                (self._folder / str(bad)).rename(aside)
                logging.warning('going on from step %d: %s (set aside: %s)', step, problem, aside)
            return step, problems
        return (_NONE_GOOD if steps else _NONE), problems

    def has_scores(self, step: int) -> bool:
        """Whether a step was evaluated."""
        return bool(self._manager.metrics(step))

    def find(self, step: str) -> int:
        """The step that a user means by 'best', 'last', or a number.

        'best' is the newest step where none was evaluated.

        Raises:
          ValueError: if there is no such step, or what a reader needs of it is not as written.
        """
        found = self._find(step)
        if (self._folder / str(found) / checksums.NAME).exists():
            checksums.check(self._folder / str(found), parts=('model', 'config'))
        return found

    def _find(self, step: str) -> int:
        steps = self._manager.all_steps()
        if step == 'last':
            return max(steps)
        if step == 'best':
            metric = self.read_config(max(steps))['config']['eval']['best_metric']
            scores = {s: (self._manager.metrics(s) or {}).get(metric) for s in steps}
            scores = {s: score for s, score in scores.items() if score is not None}
            return min(scores, key=scores.get) if scores else max(steps)
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

    def read_config(self, step: int) -> dict:
        """What `describe` gave when this step was saved."""
        return self._restore(step, config=ocp.args.JsonRestore())['config']

    def restore_model(self, step: int, params: Any, state: Any) -> tuple[Any, Any]:
        """Parameters and state, placed as the arrays or shapes given say."""
        abstract = {'params': params, 'state': state}
        model = self._restore(step, model=ocp.args.StandardRestore(abstract))['model']
        return model['params'], model['state']

    def read_model(self, step: int) -> dict:
        """Parameters and state, {'params', 'state'}, as plain containers of arrays."""
        return self._restore(step, model=ocp.args.StandardRestore())['model']

    def restore(self, step: int, like: TrainState) -> tuple[TrainState, dict]:
        """All of a step: the training state and the data's position."""
        params, state = self.restore_model(step, like.params, like.state)
        rest = self._restore(
            step,
            optimizer=ocp.args.StandardRestore({'opt_state': like.opt_state}),
            data=ocp.args.JsonRestore(),
        )
        count = jax.device_put(jax.numpy.asarray(step, like.step.dtype), like.step.sharding)
        opt_state = rest['optimizer']['opt_state']
        return TrainState(count, params, state, opt_state), rest['data']

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
