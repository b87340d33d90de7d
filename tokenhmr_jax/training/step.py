"""One training step, written for the global batch and compiled for all devices of a mesh."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from jaxtyping import Float, Int, Key

from tokenhmr_jax.tasks import Task
from tokenhmr_jax.training import sharding
from tokenhmr_jax.types import Array, TrainState


def abstract_state(task: Task, tx: optax.GradientTransformation, mesh: Mesh) -> TrainState:
    """The shapes of a training state, each with its place on the mesh."""
    fresh = functools.partial(_fresh_state, task, tx)
    return sharding.place_by_rules(jax.eval_shape(fresh, 0), mesh)


def initial_state(
    task: Task, tx: optax.GradientTransformation, mesh: Mesh, seed: int
) -> TrainState:
    """Fresh parameters, state and optimizer, placed by `sharding.RULES`."""
    places = jax.tree.map(lambda x: x.sharding, abstract_state(task, tx, mesh))
    fresh = jax.jit(functools.partial(_fresh_state, task, tx), out_shardings=places)
    return fresh(jax.device_put(seed, sharding.replicated(mesh)))


def _fresh_state(task: Task, tx: optax.GradientTransformation, seed: Int[Array, '']) -> TrainState:
    params, state = task.init(jax.random.key(seed))
    return TrainState(jnp.zeros((), jnp.int32), params, state, tx.init(params))


def make_step(
    task: Task, tx: optax.GradientTransformation, mesh: Mesh, parts: int = 1
) -> Callable[..., tuple[TrainState, dict[str, Float[Array, '']]]]:
    """Compiles the step: (state, frozen, batch, seed) -> (state, logs). It donates its state.

    Runs of other seeds share the compiled program. A batch whose loss or gradient is not finite
    changes nothing but the step count; `logs['skipped']` is 1 then. The gradient is the mean over
    `parts` parts of the batch, one after the other in as much less memory; the state beside the
    parameters moves with each part.
    """

    def train_step(old: TrainState, frozen: Any, batch: Any, seed: Int[Array, '']):
        rng = jax.random.fold_in(jax.random.key(seed), old.step)

        def loss(params, state, batch, rng):
            value, (state, logs) = task.loss(params, state, frozen, batch, rng, old.step)
            return value, (state, logs | {'loss': value})

        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):  # for `gathered_product`
            if parts == 1:
                gradient = jax.grad(loss, has_aux=True)
                grads, (state, logs) = gradient(old.params, old.state, batch, rng)
            else:
                batches = sharding.split_batch(batch, mesh, parts)
                grads, state, logs = _accumulate(loss, old, batches, jax.random.split(rng, parts))
        grad_norm = optax.tree.norm(grads)
        finite = jnp.isfinite(logs['loss']) & jnp.isfinite(grad_norm)

        def update():
            updates, opt_state = tx.update(grads, old.opt_state, old.params)
            params = optax.apply_updates(old.params, updates)
            return TrainState(old.step, params, state, opt_state)

        # A branch: choosing between old and new arrays would cost more than the whole update.
        new = jax.lax.cond(finite, update, lambda: old)
        logs |= {'grad_norm': grad_norm, 'skipped': 1.0 - finite}
        return new.replace(step=old.step + 1), logs

    everywhere = sharding.replicated(mesh)
    places = jax.tree.map(lambda x: x.sharding, abstract_state(task, tx, mesh))
    return jax.jit(
        train_step,
        in_shardings=(places, everywhere, sharding.batch_sharding(mesh), everywhere),
        out_shardings=(places, everywhere),
        donate_argnums=0,
    )


def _accumulate(loss: Callable, old: TrainState, batches: Any, rngs: Key[Array, ' N']):
    """Mean gradient, state and mean logs over parts (N, B / N, ...) of a batch."""

    def part(carry, batch_and_rng):
        total, state = carry
        grads, (state, logs) = jax.grad(loss, has_aux=True)(old.params, state, *batch_and_rng)
        return (jax.tree.map(jnp.add, total, grads), state), logs

    start = jax.tree.map(jnp.zeros_like, old.params), old.state
    (total, state), logs = jax.lax.scan(part, start, (batches, rngs))
    grads = jax.tree.map(lambda x: x / len(rngs), total)
    # A metric that a part has no examples for is not a number there; a loss must not be.
    means = jax.tree.map(jnp.nanmean, logs) | {'loss': jnp.mean(logs['loss'])}
    return grads, state, means
