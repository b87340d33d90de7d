"""Conversion of PyTorch weights to our parameters and state.

Conversions raise ValueError if a weight is missing, unknown or of another shape, or if sizes
contradict each other.
"""

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any

import jax
import ml_collections
import numpy as np
from jaxtyping import Float

from tokenhmr_jax.models import quantizer
from tokenhmr_jax.models.regressor import FrozenWeights
from tokenhmr_jax.released.names import backbone_params, regressor_params, tokenizer_params
from tokenhmr_jax.released.sizes import backbone_sizes, weight_shapes, without_prefix
from tokenhmr_jax.released.sizes_in_config import (
    check_tokenizer_fits,
    set_regressor_sizes,
    set_tokenizer_sizes,
)
from tokenhmr_jax.released.torch_files import TorchFile

# Left aside: buffers of the body model, which has its own file, and networks used only in training.
_UNUSED = ('smpl.', 'initialized', 'discriminator.', 'keypoint_head.', 'decoder.body_model.')
# Left aside: the codebook's running statistics. Training starts them anew.
_STATISTICS = ('quantizer.code_sum', 'quantizer.code_count')
_PARTS = ('backbone.', 'smpl_head.')


@dataclasses.dataclass(frozen=True)
class Converted:
    """Weights in our layout.

    params: the network's parameters.
    state: a `Codebook`, `FrozenWeights`, or {} for a backbone.
    unused: names of the file's tensors that are left aside on purpose.
    """

    params: dict
    state: Any
    unused: list[str]


def network_kind(file: TorchFile, backbone: bool = False) -> str:
    """The network in a file, 'tokenizer', 'regressor' or 'backbone'; ValueError for another.

    Args:
      file: a checkpoint.
      backbone: whether to look only for a backbone.
    """
    names = file.tensors
    if 'quantizer.codebook' in names and not backbone:
        return 'tokenizer'
    if any(name.startswith('smpl_head.') for name in names) and not backbone:
        return 'regressor'
    if 'pos_embed' in names or 'backbone.pos_embed' in names:
        return 'backbone'
    raise ValueError(
        f'{file.path}: holds no weights of TokenHMR, its tokenizer, HMR2.0 or ViTPose; found '
        f'{sorted(names)[:4]}...'
    )


def convert_backbone(file: TorchFile) -> tuple[Converted, dict[str, int]]:
    """Converts the backbone of a file; also returns its sizes, fields of `ViT` without `heads`."""
    tensors, unused = _split(file, (*_UNUSED, 'smpl_head.'))
    prefix = 'backbone.' if 'backbone.pos_embed' in tensors else ''
    with _errors_name(file):
        sizes, _ = backbone_sizes(without_prefix(weight_shapes(tensors), prefix))
        params = backbone_params(tensors, sizes['depth'], prefix)
    return Converted({'backbone': params}, {}, unused), sizes


def convert_tokenizer(file: TorchFile, config: ml_collections.ConfigDict) -> Converted:
    """Converts stage 1, and writes its sizes into the config."""
    params, codes, unused = _convert_stage1(file, config.model)
    config.codebook.num_codes = len(codes)
    codebook = quantizer.Codebook(
        codes=codes,
        ema_sum=codes,
        ema_count=np.ones(len(codes), np.float32),
        initialized=np.ones((), bool),
    )
    return Converted(params, codebook, unused)


def convert_regressor(
    file: TorchFile, config: ml_collections.ConfigDict, tokenizer: TorchFile | None = None
) -> Converted:
    """Converts stage 2, and writes its sizes into the config.

    Args:
      file: of TokenHMR or HMR2.0.
      config: the regressor's.
      tokenizer: stage 1's file, for TokenHMR.
    """
    tensors, unused = _split(file, _UNUSED)
    unknown = sorted(name for name in tensors if not name.startswith(_PARTS))
    if unknown:
        raise ValueError(f'{file.path}: unknown weights {unknown}: expected those of {_PARTS}')
    with _errors_name(file):
        set_regressor_sizes(config, file, weight_shapes(tensors))
        model = config.model
        tokens = model.head == 'tokens'
        depths = model.backbone.depth, model.decoder.depth, model.mixer.depth if tokens else None
        params, mean = regressor_params(tensors, *depths)
    if tokens != bool(tokenizer):
        raise ValueError(
            f'{file.path} predicts {"tokens" if tokens else "the pose itself"}: expected '
            f'{"" if tokens else "no "}--tokenizer=tokenizer.pth'
        )
    config.tokenizer.checkpoint = config.warm_start.checkpoint = ''
    if tokenizer is None:
        return Converted(params, FrozenWeights(**mean), unused)
    stage1, codes, unused_there = _convert_stage1(tokenizer, config.tokenizer.model)
    config.tokenizer.num_codes = len(codes)
    check_tokenizer_fits(config, file, tokenizer)
    frozen = FrozenWeights(**mean, tokenizer=stage1, codes=codes)
    return Converted(params, frozen, unused + unused_there)


def check_finite(converted: Converted, where: str) -> None:
    """Raises ValueError, naming the weight, for values that are not finite."""
    model = converted.params, converted.state
    for path, value in jax.tree_util.tree_leaves_with_path(model):
        if not np.isfinite(value).all():
            raise ValueError(f'{where}: {jax.tree_util.keystr(path)} holds values not finite')


def _convert_stage1(
    file: TorchFile, model: ml_collections.ConfigDict
) -> tuple[dict, Float[np.ndarray, 'K C'], list[str]]:
    """Parameters, codes, and unused names; writes the sizes into `model`."""
    tensors, unused = _split(file, (*_UNUSED, *_STATISTICS))
    with _errors_name(file):
        set_tokenizer_sizes(model, file, weight_shapes(tensors))
        params, codes = tokenizer_params(tensors, model.size_mul, model.size_div, model.depth)
    return params, codes, unused


def _split(file: TorchFile, unused: tuple[str, ...]) -> tuple[dict[str, np.ndarray], list[str]]:
    """The tensors to convert, and the names of those left aside."""
    left = [name for name in file.tensors if name.startswith(unused)]
    return {k: v for k, v in file.tensors.items() if k not in left}, left


@contextlib.contextmanager
def _errors_name(file: TorchFile) -> Iterator[None]:
    """Adds the file's name to errors about its weights."""
    try:
        yield
    except ValueError as error:
        if str(error).startswith(file.path):
            raise
        raise ValueError(f'{file.path}: {error}') from None
