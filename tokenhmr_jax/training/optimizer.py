"""Optimizers and learning rate schedules from the config."""

import jax
import optax
import optax.contrib
from ml_collections import ConfigDict


def make_schedule(config: ConfigDict, peak: float, num_steps: int) -> optax.Schedule:
    """Learning rate per step: linear warm-up to `peak`, then constant or a cosine down to zero.

    Raises ValueError if `config.schedule` is neither 'constant' nor 'cosine'.
    """
    warmup = config.warmup_steps
    if config.schedule == 'constant':
        after = optax.constant_schedule(peak)
    elif config.schedule == 'cosine':
        after = optax.cosine_decay_schedule(peak, max(1, num_steps - warmup))
    else:
        raise ValueError(f"optimizer.schedule {config.schedule!r}: expected 'constant' or 'cosine'")
    if warmup == 0:
        return after
    return optax.join_schedules([optax.linear_schedule(0.0, peak, warmup), after], [warmup])


def make_optimizer(config: ConfigDict, num_steps: int) -> optax.GradientTransformation:
    """AdamW on every parameter, biases included, as in the PyTorch release.

    With `config.muon_learning_rate`, Muon trains the kernels of hidden layers instead, at that rate
    on the same schedule, without weight decay (Jordan et al., "Muon: an optimizer for hidden layers
    in neural networks", 2024).
    """
    rate = make_schedule(config, config.learning_rate, num_steps)
    tx = optax.adamw(rate, b1=config.b1, b2=config.b2, weight_decay=config.weight_decay)
    if config.muon_learning_rate is not None:
        muon = optax.contrib.muon(
            make_schedule(config, config.muon_learning_rate, num_steps),
            ns_steps=config.muon_iterations,
            muon_weight_dimension_numbers=_kernel_axes,
        )
        tx = optax.multi_transform({'adamw': tx, 'muon': muon}, _assign)
    if config.clip_norm is None:
        return tx
    return optax.chain(optax.clip_by_global_norm(config.clip_norm), tx)


# First and last layers of the networks, by name.
_FIRST = ('conv_in', 'patches', 'embed')
_LAST = ('conv_out', 'latents', 'logits', 'global_orient', 'hands', 'betas', 'camera', 'pose')


def _assign(params):
    """'muon' for the kernels of hidden layers, 'adamw' for all else."""

    def name(path, _):
        layer, leaf = (key.key for key in path[-2:])
        return 'muon' if leaf == 'kernel' and layer not in _FIRST + _LAST else 'adamw'

    return jax.tree.map_with_path(name, params)


def _kernel_axes(params):
    """Axes of each kernel (..., in, out); one under `blocks` is a stack along its first axis."""

    def axes(path, kernel):
        stacked = any(getattr(key, 'key', None) == 'blocks' for key in path)
        last = kernel.ndim - 1
        return optax.contrib.MuonDimensionNumbers(tuple(range(int(stacked), last)), (last,))

    return jax.tree.map_with_path(axes, params)
