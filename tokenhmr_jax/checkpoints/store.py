"""Checkpoints: everything a run needs to go on, and everything a reader needs to use it.

One step's folder holds `model` (parameters and state), `optimizer`, `data` (position in the data)
and `config` (the whole config and the body's topology), written by Orbax, and the SHA-256 sums of
all its files. Converted weights have no `optimizer` and no `data`.
"""

import contextlib
import ctypes
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging
from etils import epath
from jax.experimental import multihost_utils

from tokenhmr_jax.config import without_removed_settings
from tokenhmr_jax.checkpoints import checksums
from tokenhmr_jax.types import TrainState

_NONE, _NONE_GOOD = -1, -2
_FILE_SIZE, _PIECE, _AT_ONCE = 64 * 2**20, 16 * 2**20, 256 * 2**20  # bytes


class _Manager(ocp.CheckpointManager):
    """Orbax' own, but when to stop is asked by the training loop alone.

    JAX's runtime compares the numbers that it is asked with: those of Orbax, steps, would let it
    miss the moment that all processes agree on.
    """

    def reached_preemption(self, step: int) -> bool:
        return False


class Checkpoints:
    """The checkpoints of one run: the newest two, and the one with the lowest `metric`.

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
        """All files of the step being saved are there, and it is about to get its name."""
        for folder in self._manager.directory.glob('*.orbax-checkpoint-tmp*'):
            checksums.write_checksums(folder)

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
            where, what = self._manager.directory, '; '.join(problems)
            raise ValueError(f'{where}: every checkpoint is broken: {what}')
        self._manager.reload()
        return None if step == _NONE else step

    def _sift(self) -> tuple[int, list[str]]:
        """The newest good step, after setting newer ones aside, and what is wrong with them."""
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
        """The step that a user means by 'best', 'last', or a number.

        'best' is the newest step where none was evaluated.

        Raises:
          ValueError: if there is no such step, or what a reader needs of it is not as written.
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
        """Write a step in the background.

        Args:
          state: its `step` names the checkpoint.
          data: position of the data's iterator.
          config: of `describe_run`.
          metrics: of an evaluation at this step, if there was one.
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
        """Write weights that come from elsewhere; `config` as for `save`.

        Arrays may be mapped files: written in small files, each as soon as it is compressed, they
        need not fit into memory together.
        """
        model = {'params': params, 'state': state}
        self._manager.save(
            step,
            args=ocp.args.Composite(
                model=ocp.args.PyTreeSave(
                    model, save_args=_in_pieces(model), ocdbt_target_data_file_size=_FILE_SIZE
                ),
                config=ocp.args.JsonSave(config),
            ),
        )

    def read_config(self, step: int) -> dict:
        """The `describe_run` that a step was saved with, without settings that are gone."""
        description = self._restore(step, config=ocp.args.JsonRestore())['config']
        return description | {'config': without_removed_settings(description['config'])}

    def restore_model(self, step: int, params: Any, state: Any) -> tuple[Any, Any]:
        """Parameters and state, placed as the arrays or shapes given say."""
        model = self._restore_model(step, {'params': params, 'state': state})
        return model['params'], model['state']

    def read_model(self, step: int) -> dict:
        """Parameters and state, {'params', 'state'}, as plain containers of NumPy arrays."""
        tree = ocp.StandardCheckpointHandler().metadata(self._folder(step) / 'model').tree
        # Targets take no memory; being NumPy's, they leave aside on what devices arrays once lay.
        target = jax.tree.map(lambda x: np.broadcast_to(np.zeros((), x.dtype), x.shape), tree)
        return self._restore_model(step, target)

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

    def _restore_model(self, step: int, target: Any) -> Any:
        """The model, as arrays like those of `target`, in little more memory than these take.

        Orbax holds an array several times while it reads it: the largest are read first and one by
        one, when there is room, and small ones together.
        """
        leaves, structure = jax.tree.flatten(target)
        restored: list = [None] * len(leaves)
        with _whole_arrays(), ocp.PyTreeCheckpointer() as reader:
            for group in _by_size(leaves):
                chosen = [x if i in group else ocp.PLACEHOLDER for i, x in enumerate(leaves)]
                item = structure.unflatten(chosen)
                arguments = ocp.checkpoint_utils.construct_restore_args(item)
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
        return self._manager.restore(step, args=ocp.args.Composite(**items))


def _by_size(arrays: Sequence[Any]) -> list[set[int]]:
    """Positions of arrays, the largest first, in groups of up to `_AT_ONCE` bytes, or one array."""
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
    """Arrays are compressed in pieces: reading one needs memory for a piece beside the array."""
    return jax.tree.map(lambda _: ocp.SaveArgs(chunk_byte_size=_PIECE), tree)


@contextlib.contextmanager
def _whole_arrays() -> Iterator[None]:
    """While arrays are read, the C library takes each from the system and gives each back.

    By itself, glibc soon keeps arrays of up to 32 MB in heaps of 64 MB, which few of them fill: up
    to half as much again as a network of hundreds of arrays needs.
    """
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None) if sys.platform == 'linux' else None
    if mallopt is None:
        yield
        return
    trim_threshold, mmap_threshold, megabyte = -1, -3, 2**20
    mallopt(mmap_threshold, megabyte)
    try:
        yield
    finally:
        # Where glibc's own adaptation ends; it does not go on after it was set once.
        mallopt(mmap_threshold, 32 * megabyte)
        mallopt(trim_threshold, 64 * megabyte)
