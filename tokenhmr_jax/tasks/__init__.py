"""The tasks, one per stage: all that differs between them. One loop trains and evaluates both."""

from collections.abc import Callable
from typing import Any, Protocol

import jax
import ml_collections
import numpy as np

from tokenhmr_jax.tasks.regressor import RegressorTask
from tokenhmr_jax.tasks.tokenizer import TokenizerTask


class Task(Protocol):
    """What the training loop and the evaluation ask of a task.

    `frozen` is what steps read and never change (a pytree: the body model, for one); `params` is
    what the gradient trains, `state` what is kept beside it, whether or not a step moves it.
    """

    @classmethod
    def from_config(cls, config: ml_collections.ConfigDict) -> 'Task': ...

    def frozen(self) -> Any: ...

    @property
    def train_transform(self) -> Callable[[dict, np.random.Generator], dict] | None: ...

    @property
    def eval_transform(self) -> Callable[[dict], dict] | None: ...

    def batch(self, columns: dict[str, np.ndarray]) -> Any: ...

    def init(self, rng: jax.Array) -> tuple[Any, Any]: ...

    def warm_start(self, params: Any, state: Any) -> tuple[Any, Any]: ...

    def loss(
        self, params: Any, state: Any, frozen: Any, batch: Any, rng: jax.Array, step: jax.Array
    ) -> tuple[jax.Array, tuple[Any, dict[str, jax.Array]]]: ...

    def predict(self, params: Any, state: Any, frozen: Any, batch: Any) -> Any: ...

    def metrics(self, output: Any, frozen: Any, batch: Any) -> dict[str, jax.Array]: ...

    def summarize(self, means: dict[str, np.ndarray]) -> dict[str, float]: ...


TASKS: dict[str, type[Task]] = {'tokenizer': TokenizerTask, 'regressor': RegressorTask}
