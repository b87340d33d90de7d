"""Sizes of the original's networks, read from the shapes of their weights."""

import math
import re
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np

from tokenhmr_jax.config import lookup_setting

Shapes = dict[str, tuple[int, ...]]
Value = TypeVar('Value')


def weight_shapes(tensors: Mapping[str, np.ndarray]) -> Shapes:
    """Shapes of tensors by name."""
    return {name: value.shape for name, value in tensors.items()}


def without_prefix(named: Mapping[str, Value], prefix: str) -> dict[str, Value]:
    """The entries whose names start with `prefix`, which is removed."""
    return {k.removeprefix(prefix): v for k, v in named.items() if k.startswith(prefix)}


def backbone_sizes(found: Shapes) -> tuple[dict[str, int], int]:
    """Fields of `ViT` without `heads`, and the side of the square crops that it reads, pixels.

    Raises:
      ValueError: if a tensor is missing or of another rank, or no crop has so many patches.
    """
    _, rows, width = _shape(found, 'pos_embed', 3)
    patch_size = _shape(found, 'patch_embed.proj.weight', 4)[-1]
    # The network sees S x 3S/4 of a crop. The first row of the embedding belongs to no patch.
    side = math.isqrt(max(4 * (rows - 1) // 3, 0))
    if 3 * side * side != 4 * (rows - 1):
        raise ValueError(
            f'pos_embed has {rows} rows: expected one more than the patches of an image three '
            'quarters as wide as high'
        )
    depth = _count(found, r'blocks\.(\d+)\.')
    return {'width': width, 'depth': depth, 'patch_size': patch_size}, side * patch_size


def decoder_sizes(found: Shapes) -> dict[str, int]:
    """Fields of `QueryDecoder`, with 'inner', the product of `heads` and `head_dim`."""
    layer = 'transformer.transformer.layers.0'
    return {
        'width': _shape(found, 'transformer.pos_embedding', 3)[-1],
        'depth': _count(found, r'transformer\.transformer\.layers\.(\d+)\.'),
        'mlp_dim': _shape(found, f'{layer}.2.fn.net.0.weight', 2)[0],
        'inner': _shape(found, f'{layer}.1.fn.to_q.weight', 2)[0],
    }


def mixer_sizes(found: Shapes) -> tuple[dict[str, int], int, int]:
    """Fields of `TokenMixer`, and the numbers of tokens and codes."""
    token_dim, num_tokens = _shape(found, 'decpose.mixer_head.0.MLP_token.ff.0.weight', 2)
    channel_dim, width = _shape(found, 'decpose.mixer_head.0.MLP_channel.ff.0.weight', 2)
    sizes = {
        'width': width,
        'depth': _count(found, r'decpose\.mixer_head\.(\d+)\.'),
        'token_dim': token_dim,
        'channel_dim': channel_dim,
    }
    return sizes, num_tokens, _shape(found, 'decpose.class_pred_layer.weight', 2)[0]


def tokenizer_sizes(found: Shapes) -> tuple[dict[str, int], int]:
    """Fields of `Tokenizer` without `dilation_rate`, and the number of codes."""
    num_codes, code_dim = _shape(found, 'quantizer.codebook', 2)
    # Each resizing step has one convolution, and so have the input and the output.
    plain = r'{0}\.{0}\.(\d+)\.weight'
    ups, downs = (
        len([name for name in found if re.fullmatch(plain.format(half), name)]) - 2
        for half in ('encoder', 'decoder')
    )
    sizes = {
        'width': _shape(found, 'encoder.encoder.0.weight', 3)[0],
        'code_dim': code_dim,
        'size_mul': ups,
        'size_div': downs,
        'depth': _count(found, r'encoder\.encoder\.\d+\.1\.model\.(\d+)\.'),
    }
    if min(sizes.values()) < 1:
        raise ValueError(f'sizes of a tokenizer are {sizes}, expected 1 or more')
    return sizes, num_codes


def check_stored_sizes(stored: Mapping, expected: Mapping[str, Any], where: str) -> None:
    """Raises ValueError if a file's own config contradicts its weights.

    Args:
      stored: the config.
      expected: values by dotted name; names that the config lacks are not checked.
      where: the file's name, for the error.
    """
    wrong = []
    for name, value in expected.items():
        said = lookup_setting(stored, name)
        if said is not None and said != value:
            wrong.append(f'{name} is {said!r}, its weights say {value!r}')
    if wrong:
        raise ValueError(f'{where}: its config and its weights disagree: {"; ".join(wrong)}')


def _shape(found: Shapes, name: str, rank: int) -> tuple[int, ...]:
    if name not in found:
        raise ValueError(f'no weight {name}')
    if len(found[name]) != rank:
        raise ValueError(f'{name} has shape {found[name]}, expected {rank} dimensions')
    return found[name]


def _count(found: Shapes, pattern: str) -> int:
    """The number of layers that names enumerate."""
    return len({match[1] for name in found if (match := re.match(pattern, name))})
