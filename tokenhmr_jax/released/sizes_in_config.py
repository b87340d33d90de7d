"""Sizes of PyTorch weights written into a config, and checked against the config in their file."""

import ml_collections

from tokenhmr_jax.body import skeleton
from tokenhmr_jax.config import lookup_setting
from tokenhmr_jax.models.tokenizer import num_tokens
from tokenhmr_jax.released.sizes import (
    Shapes,
    backbone_sizes,
    check_stored_sizes,
    decoder_sizes,
    mixer_sizes,
    tokenizer_sizes,
    weight_shapes,
    without_prefix,
)
from tokenhmr_jax.released.torch_files import TorchFile

_HEAD = 'MODEL.SMPL_HEAD'
_DECODER = f'{_HEAD}.TRANSFORMER_DECODER'


def set_tokenizer_sizes(model: ml_collections.ConfigDict, file: TorchFile, found: Shapes) -> int:
    """Writes stage 1's sizes into a config, and returns the number of codes.

    Args:
      model: fields of `Tokenizer`; the dilation rate is the file's if it has one.
      file: the weights' file.
      found: shapes of the weights.

    Raises:
      ValueError: if the weights contradict each other or the file's own config.
    """
    sizes, num_codes = tokenizer_sizes(found)
    stored = {
        'ARCH.CODE_DIM': sizes['code_dim'],
        'ARCH.NB_CODE': num_codes,
        'ARCH.WIDTH': sizes['width'],
        'ARCH.DEPTH': sizes['depth'],
        'ARCH.TOKEN_SIZE_MUL': sizes['size_mul'],
        'ARCH.TOKEN_SIZE_DIV': sizes['size_div'],
        'ARCH.DOWN_T': 1,
        'ARCH.NB_JOINTS': skeleton.NUM_BODY_JOINTS,
        'ARCH.ROT_TYPE': 'rot6d',
    }
    check_stored_sizes(file.config, stored, file.path)
    model.update(sizes, dtype='float32', network='conv', levels=())
    rate = lookup_setting(file.config, 'ARCH.DILATION_RATE')
    model.dilation_rate = model.dilation_rate if rate is None else rate
    return num_codes


def set_regressor_sizes(config: ml_collections.ConfigDict, file: TorchFile, found: Shapes) -> None:
    """Writes the sizes of backbone and head, its kind, and what it reads into a config.

    No tensor tells the numbers of attention heads: the backbone's is the config's, the decoder's
    the file's or the config's.

    Args:
      config: the whole config.
      file: the weights' file.
      found: shapes of the weights.

    Raises:
      ValueError: if the weights contradict each other or the file's own config.
    """
    if config.model.head == 'pose_tokens':
        raise ValueError(
            f"{file.path}: model.head='pose_tokens', but the original's heads predict residual "
            "tokens or the pose itself: expected 'tokens' or 'direct'"
        )
    _set_backbone(config, file, without_prefix(found, 'backbone.'))
    head = without_prefix(found, 'smpl_head.')
    _set_decoder(config, file, head)
    tokens = 'decpose.class_pred_layer.weight' in head
    config.model.inputs = ('image',)
    config.model.head = 'tokens' if tokens else 'direct'
    config.model.rotation_6d = 'rows' if tokens else 'columns'
    stored = {
        f'{_HEAD}.TYPE': 'token' if tokens else 'transformer_decoder',
        f'{_HEAD}.JOINT_REP': '6d',
        f'{_HEAD}.TRANSFORMER_INPUT': 'zero',
        f'{_HEAD}.IEF_ITERS': 1,
    }
    if tokens:
        mixer, num, codes = mixer_sizes(head)
        config.model.mixer.update(mixer, dtype='float32')
        stored[f'{_HEAD}.PREDICT_HAND'] = True
        stored[f'{_HEAD}.TOKENIZER.TOKEN_NUM'] = num
        stored[f'{_HEAD}.TOKENIZER.TOKEN_CLASS_NUM'] = codes
    check_stored_sizes(file.config, stored, file.path)


def check_tokenizer_fits(
    config: ml_collections.ConfigDict, head: TorchFile, tokenizer: TorchFile
) -> None:
    """Raises ValueError unless the head was trained with a tokenizer of the config's sizes."""
    _, num, codes = mixer_sizes(without_prefix(weight_shapes(head.tensors), 'smpl_head.'))
    stage1 = config.tokenizer
    found = num_tokens(stage1.model.size_mul), stage1.num_codes
    if found != (num, codes):
        raise ValueError(
            f'{tokenizer.path} has {found[0]} tokens of {found[1]} codes, {head.path} expects '
            f'{num} of {codes}: another tokenizer'
        )
    stored = {f'{_HEAD}.TOKENIZER.TOKEN_CODE_DIM': stage1.model.code_dim}
    check_stored_sizes(head.config, stored, head.path)


def _set_backbone(config: ml_collections.ConfigDict, file: TorchFile, found: Shapes) -> None:
    sizes, crop_size = backbone_sizes(found)
    # The file's blocks are separate, and inference is faster without a loop over them.
    config.model.backbone.update(sizes, scan=False, remat='', dtype='float32')
    config.data.crop_size = crop_size
    _check_heads(file, 'backbone', sizes['width'], config.model.backbone.heads)
    stored = {'MODEL.IMAGE_SIZE': crop_size, 'MODEL.BACKBONE.TYPE': 'vit'}
    check_stored_sizes(file.config, stored, file.path)


def _set_decoder(config: ml_collections.ConfigDict, file: TorchFile, found: Shapes) -> None:
    sizes = decoder_sizes(found)
    inner = sizes.pop('inner')
    heads = lookup_setting(file.config, f'{_DECODER}.heads') or config.model.decoder.heads
    _check_heads(file, 'decoder', inner, heads)
    sizes |= {'heads': heads, 'head_dim': inner // heads}
    config.model.decoder.update(sizes, dtype='float32')
    stored = {
        f'{_DECODER}.depth': sizes['depth'],
        f'{_DECODER}.mlp_dim': sizes['mlp_dim'],
        f'{_DECODER}.dim_head': sizes['head_dim'],
        f'{_DECODER}.context_dim': config.model.backbone.width,
        f'{_DECODER}.norm': 'layer',
    }
    check_stored_sizes(file.config, stored, file.path)


def _check_heads(file: TorchFile, part: str, channels: int, heads: int) -> None:
    if channels % heads:
        raise ValueError(
            f"{file.path}: the {part}'s {channels} channels do not divide into {heads} heads: "
            f'expected another --config.model.{part}.heads'
        )
