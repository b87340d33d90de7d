"""One training step of the regressor with a B/16 backbone, ours against PyTorch.

    python benchmarks/regressor_step.py

The step of the paper's variant: backbone, head, stage 1's frozen decoder, bodies, losses with TALS,
gradient and AdamW, without stochastic depth. Both sides start from the same weights, and must have
the same loss and gradients before they are timed. The data, noise with labels, is on the device.
"""

import argparse
import runpy
from pathlib import Path

import jax
import ml_collections
import noise
import numpy as np
import optax
import side_by_side
import torch
import torch_regressor
from smpl_forward import torch_body

from tokenhmr_jax.mannequin.body import mannequin_arrays
from tokenhmr_jax.models import vit
from tokenhmr_jax.models.regressor import upright_mean
from tokenhmr_jax.tasks.regressor import Frozen, RegressorTask
from tokenhmr_jax.training import optimizer, sharding
from tokenhmr_jax.training.step import make_step
from tokenhmr_jax.types import TrainState

CONFIG = Path(__file__).parent.parent / 'configs/regressor.py'
SIZES = ('data.crop_size', 'tokenizer.num_codes')
SIZES += tuple(f'tokenizer.model.{x}' for x in ('width', 'code_dim', 'size_mul', 'size_div'))
SIZES += tuple(f'model.decoder.{x}' for x in ('width', 'depth', 'heads', 'head_dim', 'mlp_dim'))
SIZES += ('model.backbone.depth', 'model.mixer.depth')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--backbone', default='B/16')
    parser.add_argument('--batch', type=int, default=8)
    parser.add_argument('--turns', type=int, default=5, help='how often each side is timed')
    side_by_side.add_network_options(parser)
    for name in SIZES:
        parser.add_argument(f'--{name}', type=int, help="instead of the config's")
    options = parser.parse_args()
    config = settings(options)
    print(side_by_side.start(options.compile, tf32=True))
    compare(config, options)


def settings(options: argparse.Namespace) -> ml_collections.ConfigDict:
    """The paper's config on the mannequin, without rematerialisation and stochastic depth."""
    config = runpy.run_path(str(CONFIG))['get_config']('variant=paper')
    config.body = 'mannequin'
    config.batch_size = options.batch
    config.model.backbone.update(vit.decode_variant(options.backbone))
    config.model.backbone.update(drop_path=0.0, scan=False, remat='')
    for part in ('backbone', 'decoder', 'mixer'):
        config.model[part].dtype = options.dtype
    given = {name: vars(options)[name] for name in SIZES}
    config.update_from_flattened_dict({k: v for k, v in given.items() if v is not None})
    return config


def compare(config: ml_collections.ConfigDict, options: argparse.Namespace) -> None:
    """Checks that both sides compute the same, then times their steps."""
    label = f'{options.backbone}, batch {options.batch}, {options.dtype}'
    # One device on each side.
    mesh, device = sharding.make_mesh(jax.devices()[:1]), side_by_side.torch_device()
    task = RegressorTask.from_config(config)
    tx = optimizer.make_optimizer(config.optimizer, config.num_steps)
    frozen = jax.device_put(wide(task.frozen()), sharding.replicated(mesh))
    state = random_state(task, tx)
    batch = noise.image_batch(config, len(frozen.is_ground_truth))
    with torch.device('meta'):
        network = torch_regressor.Network(config)
    network = torch_regressor.load(network, state.params)
    their_step = torch_regressor.Step(
        config,
        torch.compile(network) if options.compile else network,
        state.state,
        frozen,
        torch_body(mannequin_arrays()),
    )
    state = jax.device_put(state, sharding.replicated(mesh))
    their_batch = torch_regressor.tensors(batch, device)
    their_batch = their_batch.replace(image=their_batch.image.movedim(-1, 1).contiguous())
    step = make_step(task, tx, mesh)
    batch = sharding.put_batch(batch, mesh)

    state, logs = step(state, frozen, batch, config.seed)
    loss, tolerance = their_step(their_batch), side_by_side.tolerance(options.dtype)
    side_by_side.check(f'{label}, loss', logs['loss'], loss, tolerance)
    check_gradients(label, config, state, network, 10 * tolerance)

    def our_step():
        nonlocal state
        state, logs = step(state, frozen, batch, config.seed)
        return logs

    times = side_by_side.measure(label, our_step, lambda: their_step(their_batch), options.turns)
    print(f'{label}: {times.rates(options.batch)}')


def random_state(task: RegressorTask, tx: optax.GradientTransformation) -> TrainState:
    """Random weights of the network and of stage 1; predicted bodies are near the mean."""
    params, weights = torch_regressor.random_weights(jax.eval_shape(task.init, jax.random.key(0)))
    for name in ('global_orient', 'hands', 'betas', 'camera'):
        params['head'][name] = jax.tree.map(lambda x: 0.1 * x, params['head'][name])
    weights = weights.replace(**upright_mean())
    return TrainState(np.int32(0), params, weights, tx.init(params))


def wide(frozen: Frozen) -> Frozen:
    """Raises the thresholds of keypoints, so that some errors of random labels lie below them."""
    thresholds = frozen.thresholds
    return frozen.replace(thresholds=thresholds.replace(keypoints2d=30 * thresholds.keypoints2d))


def check_gradients(label: str, config, state: TrainState, network, tolerance: float) -> None:
    """Compares the gradients of a first step, read from the moments of AdamW, tensor by tensor.

    Raises:
      ValueError: if a gradient differs by more than `tolerance` times its norm.
    """
    ours = torch_regressor.state_dict(optax.tree.get(state.opt_state, 'mu'))
    worst, where = 0.0, None
    for name, parameter in network.named_parameters():
        theirs = parameter.grad.cpu()
        difference = (ours[name] / (1 - config.optimizer.b1) - theirs).norm()
        if difference:
            worst, where = max((worst, where), (float(difference / theirs.norm()), name))
    print(f'{label}, gradients: the two sides agree to {worst:.2g} of the norm, least in {where}')
    if not worst <= tolerance:
        raise ValueError(f'{label}: gradients of {where} differ by {worst:.2g}')


if __name__ == '__main__':
    main()
