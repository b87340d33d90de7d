"""Optimizers and learning rate schedules from the config."""

import ml_collections
import optax


def schedule(config: ml_collections.ConfigDict, num_steps: int) -> optax.Schedule:
    """Learning rate per step: linear warm-up, then constant or a cosine down to zero.

    Raises:
      ValueError: if `config.schedule` is neither 'constant' nor 'cosine'.
    """
    peak, warmup = config.learning_rate, config.warmup_steps
    if config.schedule == 'constant':
        after = optax.constant_schedule(peak)
    elif config.schedule == 'cosine':
        after = optax.cosine_decay_schedule(peak, max(1, num_steps - warmup))
    else:
        raise ValueError(f"optimizer.schedule {config.schedule!r}: expected 'constant' or 'cosine'")
    if warmup == 0:
        return after
    return optax.join_schedules([optax.linear_schedule(0.0, peak, warmup), after], [warmup])


def make(config: ml_collections.ConfigDict, num_steps: int) -> optax.GradientTransformation:
    """AdamW on every parameter, biases included, as in the PyTorch release."""
    adamw = optax.adamw(
        schedule(config, num_steps), b1=config.b1, b2=config.b2, weight_decay=config.weight_decay
    )
    if config.clip_norm is None:
        return adamw
    return optax.chain(optax.clip_by_global_norm(config.clip_norm), adamw)
