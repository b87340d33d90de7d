"""Names of the original implementation's weights, and ours."""

import numpy as np


def tokenizer_names(size_mul: int, size_div: int, depth: int) -> dict[str, tuple[str, ...]]:
    """Original stage 1 layer -> path of ours; each stands for a `.weight` and a `.bias`.

    Layers of the original are numbered in sequence, those without weights (ReLU, resizing)
    included: an upsampling step is three of them.
    """
    encoder, decoder = 'encoder.encoder', 'decoder.decoder'
    down, last = 3 * size_mul + 2, 3 * size_div + 2
    names = {f'{encoder}.0': ('encoder', 'conv_in')}
    names |= {f'{encoder}.{3 * i + 3}': ('encoder', f'up{i}') for i in range(size_mul)}
    names[f'{encoder}.{down}.0'] = ('encoder', 'down')
    names |= _residual_names(f'{encoder}.{down}.1', 'encoder', depth)
    names[f'{encoder}.{down + 1}'] = ('encoder', 'conv_out')
    names[f'{decoder}.0'] = ('decoder', 'conv_in')
    names |= {f'{decoder}.{3 * i + 3}': ('decoder', f'down{i}') for i in range(size_div)}
    names |= _residual_names(f'{decoder}.{last}.0', 'decoder', depth)
    names[f'{decoder}.{last}.1'] = ('decoder', 'conv_mid')
    names[f'{decoder}.{last + 1}'] = ('decoder', 'conv_out')
    return names


def _residual_names(prefix: str, half: str, depth: int) -> dict[str, tuple[str, ...]]:
    names = {}
    for i in range(depth):
        names[f'{prefix}.model.{i}.conv1'] = (half, 'residual', f'dilated{i}')
        names[f'{prefix}.model.{i}.conv2'] = (half, 'residual', f'pointwise{i}')
    return names


def tokenizer_params(
    state_dict: dict[str, np.ndarray], size_mul: int, size_div: int, depth: int
) -> tuple[dict, np.ndarray]:
    """Stage 1 weights of the original as our parameters, and the codebook (K, C).

    Raises:
      ValueError: naming weights that are missing, or that nothing here uses.
    """
    names = tokenizer_names(size_mul, size_div, depth)
    wanted = {f'{layer}.{kind}' for layer in names for kind in ('weight', 'bias')}
    wanted.add('quantizer.codebook')
    # The EMA's buffers are part of some checkpoints; training restarts them.
    given = {key for key in state_dict if not key.startswith('quantizer.code_')}
    if given != wanted:
        raise ValueError(
            f'stage 1 weights do not fit size_mul={size_mul}, size_div={size_div}, depth={depth}: '
            f'missing {sorted(wanted - given)}, unknown {sorted(given - wanted)}'
        )
    params: dict = {}
    for layer, path in names.items():
        parent = params
        for part in path:
            parent = parent.setdefault(part, {})
        # A convolution's weight is (out, in, size) there and (size, in, out) here.
        parent['kernel'] = np.transpose(state_dict[f'{layer}.weight'], (2, 1, 0))
        parent['bias'] = np.asarray(state_dict[f'{layer}.bias'])
    return params, np.asarray(state_dict['quantizer.codebook'])
