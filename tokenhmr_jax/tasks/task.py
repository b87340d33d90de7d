"""The contract between a stage and what trains, evaluates and shows it."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import jax
import ml_collections
import numpy as np

from tokenhmr_jax.data import pipeline


@runtime_checkable
class Task(Protocol):
    """All that depends on the stage.

    Three words for what its functions take: `params`, which the gradient trains; `state`, which a
    step moves beside them; `frozen`, which nothing moves (the body model, for one).
    """

    config: ml_collections.FrozenConfigDict

    @classmethod
    def from_config(cls, config: ml_collections.ConfigDict) -> 'Task': ...

    def check_inputs(self, records: Sequence[dict]) -> None:
        """Raises FileNotFoundError or ValueError for a file that the config names and that is not
        there, or does not fit; `records` is one of each split."""

    def frozen(self) -> Any: ...

    @property
    def train_transform(self) -> Callable[[dict, np.random.Generator], dict] | None: ...

    @property
    def eval_transform(self) -> Callable[[dict], dict] | None: ...

    def batch(self, columns: dict[str, np.ndarray]) -> Any: ...

    def batch_shapes(self) -> Any:
        """A training batch as `jax.ShapeDtypeStruct`s."""

    def init(self, rng: jax.Array) -> tuple[Any, Any]: ...

    def warm_start(self, params: Any, state: Any) -> tuple[Any, Any]: ...

    def loss(
        self, params: Any, state: Any, frozen: Any, batch: Any, rng: jax.Array, step: jax.Array
    ) -> tuple[jax.Array, tuple[Any, dict[str, jax.Array]]]: ...

    def predict(self, params: Any, state: Any, frozen: Any, batch: Any) -> Any: ...

    def metrics(self, output: Any, frozen: Any, batch: Any) -> dict[str, jax.Array]: ...

    def summarize(self, means: dict[str, np.ndarray]) -> dict[str, float]: ...

    @property
    def report(self) -> 'Report': ...


class Report(Protocol):
    """What stands beside a stage's metrics: baselines and pictures.

    row: name of the stage's row in tables.
    num_examples: examples to draw at each evaluation in training.
    """

    row: str
    num_examples: int

    def baselines(
        self, frozen: Any, splits: Sequence[pipeline.Records]
    ) -> dict[str, list[dict[str, np.ndarray]]]:
        """Means of the metrics on each split, by the names of rows."""

    def pictures(
        self,
        params: Any,
        state: Any,
        frozen: Any,
        splits: Sequence[pipeline.Records],
        errors: Sequence[np.ndarray],
    ) -> dict[str, np.ndarray]:
        """Pictures (H, W, 3) uint8, RGB, by file name; `errors` are the MPJPE of each record."""

    def bodies(self, params: Any, state: Any, frozen: Any, batch: Any) -> Any:
        """What `draw` draws of a batch; runs inside jit."""

    def draw(self, frozen: Any, batch: Any, bodies: Any) -> np.ndarray:
        """A picture (H, W, 3) uint8, RGB."""
