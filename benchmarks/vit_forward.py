"""The backbone's images per second, from images of 256 x 192 to features, ours against PyTorch.

    python benchmarks/vit_forward.py

Both sides hold the same weights, in the type that they compute in, and must give the same features
before they are timed.
"""

import argparse
import functools

import jax
import jax.numpy as jnp
import numpy as np
import side_by_side
import torch
import torch_regressor

from tokenhmr_jax.models import vit

SIZE = (256, 192)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--backbone', default='B/16,H/16', help='names, separated by commas')
    parser.add_argument('--batch', type=int, default=8)
    parser.add_argument('--turns', type=int, default=5, help='how often each side is timed')
    side_by_side.add_network_options(parser)
    options = parser.parse_args()
    print(side_by_side.start(options.compile, tf32=True))
    for name in options.backbone.split(','):
        compare(name, options)


def compare(name: str, options: argparse.Namespace) -> None:
    """Checks that both sides agree on a random image, then times them."""
    label = f'{name}, batch {options.batch}, {options.dtype}'
    sizes = vit.decode_variant(name)
    image = np.random.default_rng(0).standard_normal((options.batch, *SIZE, 3), np.float32)
    model = vit.ViT(**sizes, dtype=options.dtype)
    shapes = jax.eval_shape(model.init, jax.random.key(0), image)['params']
    params = torch_regressor.random_weights(shapes)
    network = torch_network(sizes, params, options)
    params = jax.tree.map(lambda x: jnp.asarray(x, options.dtype), params)
    forward = functools.partial(jax.jit(model.apply), {'params': params}, jnp.asarray(image))
    their_image = torch.tensor(image).movedim(-1, 1).contiguous()
    their_image = their_image.to(side_by_side.torch_device(), getattr(torch, options.dtype))

    def their_forward():
        with torch.inference_mode():
            return network(their_image)

    tolerance = side_by_side.tolerance(options.dtype)
    side_by_side.check(f'{label}, features', forward(), their_forward(), tolerance)
    times = side_by_side.measure(label, forward, their_forward, options.turns)
    print(f'{label}: {times.rates(options.batch)}')


def torch_network(sizes: dict, params: dict, options: argparse.Namespace) -> torch.nn.Module:
    """PyTorch's network with our weights."""
    tokens = SIZE[0] * SIZE[1] // sizes['patch_size'] ** 2
    with torch.device('meta'):
        network = torch_regressor.ViT(**sizes, tokens=tokens)
    network = torch_regressor.load(network, params).to(getattr(torch, options.dtype)).eval()
    return torch.compile(network) if options.compile else network


if __name__ == '__main__':
    main()
