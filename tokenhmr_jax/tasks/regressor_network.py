"""The regressor's network, as a config describes it."""

import ml_collections

from tokenhmr_jax.models.prompts import PromptEncoder
from tokenhmr_jax.models.regressor import Regressor
from tokenhmr_jax.models.token_head import DirectHead, QueryDecoder, TokenHead, TokenMixer
from tokenhmr_jax.models.tokenizer import Tokenizer, num_tokens
from tokenhmr_jax.models.vit import ViT


def make_network(
    model: ml_collections.FrozenConfigDict, tokenizer: ml_collections.FrozenConfigDict
) -> Regressor:
    """The networks of `config.model`, with the stage 1 of `config.tokenizer`.

    Raises ValueError for unknown inputs or an unknown head.
    """
    decoder, backbone, prompts = QueryDecoder(**model.decoder), None, None
    if set(model.inputs) - {'image', 'camera', 'prompts'}:
        raise ValueError(
            f"model.inputs={tuple(model.inputs)}: expected of 'image', 'camera', 'prompts'"
        )
    if 'image' in model.inputs:
        backbone = ViT(**model.backbone)
    if {'camera', 'prompts'} & set(model.inputs):
        channels = model.backbone.width if backbone else model.prompts.width
        reads_keypoints = 'prompts' in model.inputs
        prompts = PromptEncoder(features=channels, reads_keypoints=reads_keypoints, **model.prompts)
    if model.head == 'direct':
        return Regressor(backbone, DirectHead(decoder), None, model.rotation_6d, prompts)
    if model.head != 'tokens':
        raise ValueError(f"model.head={model.head!r}: expected 'tokens' or 'direct'")
    mixer = TokenMixer(num_tokens(tokenizer.model.size_mul), tokenizer.num_codes, **model.mixer)
    stage1 = Tokenizer(**tokenizer.model)
    return Regressor(backbone, TokenHead(decoder, mixer), stage1, model.rotation_6d, prompts)
