"""One training step of the pose tokenizer at the released sizes, ours against PyTorch.

    python benchmarks/tokenizer_step.py

Times two steps: the network with codebook and AdamW alone, and the same with the bodies of
prediction and ground truth and their losses. Both sides start from the same weights and codes, and
must have the same reconstruction, loss and gradient before they are timed. The data, random poses
of the mannequin, is on the device.
"""

import argparse
import runpy
from pathlib import Path

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import side_by_side
import torch
from smpl_forward import torch_body
from torch import nn
from torch_tokenizer import Step, Tokenizer, copy_convolutions

from tokenhmr_jax.body import rotations
from tokenhmr_jax.mannequin.body import mannequin_arrays
from tokenhmr_jax.tasks.tokenizer import Frozen, TokenizerTask
from tokenhmr_jax.training import optimizer, sharding
from tokenhmr_jax.training.step import initial_state, make_step
from tokenhmr_jax.types import BodyOutput, PoseBatch, TrainState

CONFIG = Path(__file__).parent.parent / 'configs/tokenizer.py'
SIZES = ('batch_size', 'codebook.num_codes')
SIZES += tuple(f'model.{name}' for name in ('width', 'code_dim', 'size_mul', 'size_div'))
TOLERANCE = side_by_side.tolerance('float32')


class NetworkOnly(TokenizerTask):
    """The task with a point at the origin in place of each body."""

    def frozen(self) -> Frozen:
        return super().frozen().replace(vertex_weights=jnp.zeros(1))

    def _body(self, body, body_pose, hands=None) -> BodyOutput:
        count = len(body_pose)
        return BodyOutput(jnp.zeros((count, 1, 3)), jnp.zeros((count, 24, 3)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--steps', type=int, default=3, help='how often each side is timed')
    for name in SIZES:
        parser.add_argument(f'--{name}', type=int, help="instead of the config's")
    options = vars(parser.parse_args())
    config = runpy.run_path(str(CONFIG))['get_config']('variant=supplement')
    config.body = 'mannequin'
    config.update_from_flattened_dict({k: options[k] for k in SIZES if options[k] is not None})
    print(side_by_side.start())
    print(f'batch {config.batch_size}, {config.codebook.num_codes} codes, {dict(config.model)}')
    body = torch_body(mannequin_arrays())
    compare('network only', config, NetworkOnly.from_config(config), None, options['steps'])
    compare('with bodies', config, TokenizerTask.from_config(config), body, options['steps'])


def compare(label: str, config: ml_collections.ConfigDict, task, body, steps: int) -> None:
    """Checks that both sides compute the same, then times their steps."""
    # One device on each side.
    mesh, device = sharding.make_mesh(jax.devices()[:1]), side_by_side.torch_device()
    poses = np.random.default_rng(0).normal(0, 0.4, (config.batch_size, 21, 3)).astype(np.float32)
    batch, their_batch = sharding.put_batch(PoseBatch(poses), mesh), torch.tensor(poses).to(device)
    frozen = jax.device_put(task.frozen(), sharding.replicated(mesh))
    tx = optimizer.make_optimizer(config.optimizer, config.num_steps)
    step = make_step(task, tx, mesh)
    # The first step compiles, and fills the codebook.
    state = initial_state(task, tx, mesh, config.seed)
    state, _ = step(state, frozen, batch, config.seed)
    model = torch_model(config, state).to(device)
    weights = torch.tensor(np.asarray(frozen.vertex_weights)).to(device)
    their_step = Step(config, model, body, weights)

    # Without codes: rounding may decide between two equally near ones.
    truth = rotations.axis_angle_to_matrix(batch.body_pose)
    reconstruction = jax.jit(task.model.apply)({'params': state.params}, truth)
    with torch.no_grad():
        theirs = model.decode(model.encode(torch.tensor(np.asarray(truth)).to(device)))
    side_by_side.check(f'{label}, reconstruction', reconstruction, theirs, TOLERANCE)
    state, logs = step(state, frozen, batch, config.seed)
    loss = their_step(their_batch)
    norm = nn.utils.get_total_norm([p.grad for p in model.parameters()])
    side_by_side.check(f'{label}, loss', logs['loss'], loss, TOLERANCE)
    side_by_side.check(f'{label}, norm of the gradient', logs['grad_norm'], norm, TOLERANCE)

    def our_step():
        nonlocal state
        state, logs = step(state, frozen, batch, config.seed)
        return logs

    side_by_side.measure(label, our_step, lambda: their_step(their_batch), steps)


def torch_model(config: ml_collections.ConfigDict, state: TrainState) -> Tokenizer:
    """PyTorch's network with our weights and codebook."""
    model = Tokenizer(config)
    copy_convolutions(model, state.params, config.model, ('encoder', 'decoder'))
    for name in ('codes', 'ema_sum', 'ema_count'):
        getattr(model, name).copy_(torch.tensor(np.asarray(getattr(state.state, name))))
    return model


if __name__ == '__main__':
    main()
