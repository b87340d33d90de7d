"""The contract between a stage and the code that trains, evaluates and shows it."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import jax
import ml_collections
import numpy as np
from jaxtyping import Float, Int, UInt8

from tokenhmr_jax.body import smpl
from tokenhmr_jax.data import pipeline
from tokenhmr_jax.types import Array

Splits = Sequence[pipeline.Records]


@runtime_checkable
class Task(Protocol):
    """All that depends on the stage.

    The gradient trains `params`. A step moves `state` beside them. Nothing moves `frozen`, such as
    the body model.
    """

    config: ml_collections.FrozenConfigDict
    # Metrics of which the median is reported, not the mean; NaN where unknown.
    medians: tuple[str, ...]

    @classmethod
    def from_config(cls, config: ml_collections.ConfigDict) -> 'Task': ...

    def check_inputs(self, records: Sequence[dict]) -> None:
        """Raises FileNotFoundError or ValueError for a missing or unfit file, given a record of
        each split."""

    def frozen(self, body: smpl.BodyModel | None = None, training: bool = False) -> Any:
        """Loads what nothing moves, the neutral body model too unless it is given.

        With `training` also what the loss alone needs.
        """

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
        self, params: Any, state: Any, frozen: Any, batch: Any, rng: jax.Array, step: Int[Array, '']
    ) -> tuple[Float[Array, ''], tuple[Any, dict[str, Float[Array, '']]]]: ...

    def predict(self, params: Any, state: Any, frozen: Any, batch: Any) -> Any: ...
    def metrics(self, output: Any, frozen: Any, batch: Any) -> dict[str, Float[Array, 'B ...']]: ...
    def summarize(self, means: dict[str, Any]) -> dict[str, float]: ...

    @property
    def report(self) -> 'Report': ...


class Report(Protocol):
    """Baselines and pictures, beside a stage's metrics.

    row: name of the stage's row in tables.
    num_examples: examples to draw at each evaluation in training.
    """

    row: str
    num_examples: int

    def baselines(self, frozen: Any, splits: Splits) -> dict[str, list[dict[str, Any]]]:
        """Means of the metrics on each split, by the names of rows."""

    def pictures(
        self, params: Any, state: Any, frozen: Any, splits: Splits, errors: Sequence[np.ndarray]
    ) -> dict[str, UInt8[np.ndarray, 'H W 3']]:
        """RGB pictures by file name; `errors` are the MPJPE of each record, by split."""

    def examples(self, splits: Splits, indices: Sequence[int] | np.ndarray) -> tuple[Any, Any]:
        """The batch of some records for `bodies`, and as `draw` shows it: with sharper pictures.

        `indices` count through the splits, one after the other.
        """

    def bodies(self, params: Any, state: Any, frozen: Any, batch: Any) -> Any:
        """The bodies that `draw` draws of a batch; runs inside jit."""

    def draw(self, frozen: Any, batch: Any, bodies: Any) -> UInt8[np.ndarray, 'H W 3']: ...
