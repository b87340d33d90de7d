"""Complete checkpoints of runs.

The folder of a step holds `model` (parameters and state), `optimizer`, `data` (position in the
data) and `config` (the whole config and the body's topology), written by Orbax, and the SHA-256
sums of all its files. Converted weights have no `optimizer` and no `data`.
"""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging
from etils import epath
from jax.experimental import multihost_utils

from tokenhmr_jax.checkpoints import checksums
from tokenhmr_jax.config import settings_of_today
from tokenhmr_jax.types import TrainState

_NONE, _NONE_GOOD = -1, -2
_FILE_SIZE, _PIECE, _AT_ONCE = 64 * 2**20, 16 * 2**20, 256 * 2**20  # bytes


class _Manager(ocp.CheckpointManager):
    """Orbax' manager, which leaves it to the training loop to ask JAX's runtime whether to stop."""

    def reached_preemption(self, step: int) -> bool:
        # The runtime compares the numbers it is asked with, and those of Orbax are others.
        return False


class Checkpoints:
    """The checkpoints of one run: the newest two, and the one with the lowest `metric`.

    They lie in `checkpoints` of the run's folder, here or gs://... Reading needs no `metric`.
    Raises FileNotFoundError if not `create` and there are no checkpoints.
    """

    def __init__(self, workdir: str | os.PathLike, metric: str | None = None, create: bool = True):
        folder = epath.Path(workdir).absolute() / 'checkpoints'
        if not create and not any(folder.glob('[0-9]*')):
            why = f'in {folder}' if folder.parent.exists() else 'for there is no such folder'
            asked = "expected a run's workdir, or 'bundled'"
            raise FileNotFoundError(f'{workdir}: no checkpoints {why}; {asked}')
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
        self._manager = _Manager(folder, options=options)

    def __enter__(self) -> 'Checkpoints':
        return self

    def __exit__(self, *unused) -> None:
        # Saving goes on in the background; leaving before it is done would lose the last step.
        self._manager.wait_until_finished()
        self._manager.close()

    def _sum_up(self) -> None:
        """Writes the sums of a step whose files are all there, before it gets its name."""
        for folder in self._manager.directory.glob('*.orbax-checkpoint-tmp*'):
            checksums.write_checksums(folder)

    def newest_good(self) -> int | None:
        """The newest step whose files agree with their sums; None if there is no step.

        Moves newer, broken steps to `broken` beside the checkpoints, with a warning.
        Raises ValueError if all steps are broken.
        """
        step, problems = self._sift() if jax.process_index() == 0 else (0, [])
        # All processes go on from the step that the first one found.
        step = int(multihost_utils.broadcast_one_to_all(np.int32(step)))
        if step == _NONE_GOOD:
            where, what = self._manager.directory, '; '.join(problems)
            raise ValueError(f'{where}: every checkpoint is broken: {what}')
        self._manager.reload()
        return None if step == _NONE else step

    def _sift(self) -> tuple[int, list[str]]:
        """The newest good step, after setting newer ones aside, and their problems."""
        names = [path.name for path in self._manager.directory.iterdir()]
        steps = sorted((int(name) for name in names if name.isdigit()), reverse=True)
        problems = []
        for step in steps:
            try:
                checksums.check_checksums(self._folder(step))
            except ValueError as error:
                problems.append(str(error))
                continue
            for bad, problem in zip(steps, problems, strict=False):
                aside = self._manager.directory.parent / 'broken' / f'{bad}-{time.time_ns()}'
                aside.parent.mkdir(exist_ok=True)
                self._folder(bad).rename(aside)
                logging.warning('going on from step %d: %s (set aside: %s)', step, problem, aside)
            return step, problems
        return (_NONE_GOOD if steps else _NONE), problems

    def has_scores(self, step: int) -> bool:
        """Whether a step was evaluated."""
        return bool(self._manager.metrics(step))

    def find(self, step: str) -> int:
        """The number of a step: 'best' (the newest if none was evaluated), 'last', or a number.

        Raises ValueError if there is no such step, or its model or config differs from their sums.
        """
        found = self._find(step)
        if (self._folder(found) / checksums.NAME).exists():
            checksums.check_checksums(self._folder(found), parts=('model', 'config'))
        return found

    def _find(self, step: str) -> int:
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
        """Writes a step in the background.

        `data` is the position of the data's iterator, `config` the `describe_run` of the run, and
        `metrics` come from an evaluation at this step, if any.
        """
        model = {'params': state.params, 'state': state.state}
        self._manager.save(
            int(state.step),
            args=ocp.args.Composite(
                model=ocp.args.StandardSave(model, save_args=_in_pieces(model)),
                optimizer=ocp.args.StandardSave({'opt_state': state.opt_state}),
                data=ocp.args.JsonSave(data),
                config=ocp.args.JsonSave(config),
            ),
            metrics=metrics,
        )

    def save_converted(self, step: int, params: Any, state: Any, config: dict) -> None:
        """Writes converted weights; `config` as for `save`.

        Arrays may be mapped files, which need not fit into memory together: each small file is
        written as soon as it is compressed.
        """
        model = {'params': params, 'state': state}
        saving = ocp.args.PyTreeSave(
            model, save_args=_in_pieces(model), ocdbt_target_data_file_size=_FILE_SIZE
        )
        self._manager.save(
            step, args=ocp.args.Composite(model=saving, config=ocp.args.JsonSave(config))
        )

    def read_config(self, step: int) -> dict:
        """The `describe_run` that a step was saved with, without settings of older versions."""
        description = self._restore(step, config=ocp.args.JsonRestore())['config']
        return description | {'config': settings_of_today(description['config'])}

    def restore_model(self, step: int, params: Any, state: Any) -> tuple[Any, Any]:
        """Parameters and state, with the shardings of the arrays or shapes given.

        Raises ValueError for a checkpoint whose arrays have other names than these.
        """
        try:
            model = self._restore_model(step, {'params': params, 'state': state})
        except ValueError as error:
            if 'tree structures do not match' not in str(error):
                raise
            raise ValueError(
                f"{self._folder(step)}: its arrays are not those of this version's network of its "
                'config: expected the version that wrote it'
            ) from error
        return model['params'], model['state']

    def read_model(self, step: int) -> dict:
        """Parameters and state, {'params', 'state'}, as plain containers of NumPy arrays."""
        tree = ocp.StandardCheckpointHandler().metadata(self._folder(step) / 'model').tree
        # Targets of NumPy take no memory, and ignore the devices that arrays were saved from.
        target = jax.tree.map(lambda x: np.broadcast_to(np.zeros((), x.dtype), x.shape), tree)
        return self._restore_model(step, target)

    def restore(self, step: int, like: TrainState) -> tuple[TrainState, dict]:
        """The training state of a step and the data's position.

        Raises ValueError for converted weights, which a run can start from but not go on from.
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

    def _restore_model(self, step: int, target: Any) -> Any:
        """The model, as arrays like those of `target`, in little more memory than these take."""
        # Orbax holds an array several times while it reads it: the largest come first, one by one.
        leaves, structure = jax.tree.flatten(target)
        restored: list = [None] * len(leaves)
        with ocp.PyTreeCheckpointer() as reader:
            for group in _by_size(leaves):
                chosen = [x if i in group else ocp.PLACEHOLDER for i, x in enumerate(leaves)]
                item = structure.unflatten(chosen)
                arguments = ocp.checkpoint_utils.construct_restore_args(item)
                with interrupts_held():
                    part = reader.restore(
                        self._folder(step) / 'model',
                        args=ocp.args.PyTreeRestore(item, restore_args=arguments),
                    )
                for i, x in enumerate(jax.tree.leaves(part)):
                    if i in group:
                        restored[i] = jax.block_until_ready(x)
        return structure.unflatten(restored)

    def _folder(self, step: int) -> epath.Path:
        return self._manager.directory / str(step)

    def _restore(self, step: int, **items):
        with interrupts_held():
            return self._manager.restore(step, args=ocp.args.Composite(**items))


def _by_size(arrays: Sequence[Any]) -> list[set[int]]:
    """Positions of arrays, largest first, in groups of one or of up to `_AT_ONCE` bytes."""
    sizes = [x.size * x.dtype.itemsize for x in arrays]
    groups, total = [], _AT_ONCE + 1
    for i in sorted(range(len(sizes)), key=sizes.__getitem__, reverse=True):
        total += sizes[i]
        if total > _AT_ONCE:
            groups.append(set())
            total = sizes[i]
        groups[-1].add(i)
    return groups


def _in_pieces(tree: Any) -> Any:
    """Save options by which arrays are compressed, and read again, in pieces."""
    return jax.tree.map(lambda _: ocp.SaveArgs(chunk_byte_size=_PIECE), tree)


@contextlib.contextmanager
def interrupts_held() -> Iterator[None]:
    """Lets Ctrl-C wait until the end: Orbax's threads print tracebacks where it ends in between."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if came:
            signal.raise_signal(signal.SIGINT)
