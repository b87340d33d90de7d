"""The regressor's network, as a config describes it."""

import ml_collections

from tokenhmr_jax.config import check_choice
from tokenhmr_jax.models.prompts import PromptEncoder
from tokenhmr_jax.models.regressor import Regressor
from tokenhmr_jax.models.token_choice import TokenChoice
from tokenhmr_jax.models.token_head import (
    DirectHead,
    PoseTokenHead,
    QueryDecoder,
    TokenHead,
    TokenMixer,
)
from tokenhmr_jax.models.tokenizer import Tokenizer, num_tokens
from tokenhmr_jax.models.vit import ViT

HEADS = ('tokens', 'pose_tokens', 'direct')


def make_network(config: ml_collections.FrozenConfigDict) -> Regressor:
    """The networks of `config.model`, with the stage 1 of `config.tokenizer`.

    Raises ValueError for unknown inputs or an unknown head.
    """
    check_choice(config, 'model.head', HEADS)
    model, backbone, prompts = config.model, None, None
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
    reads = {'backbone': backbone, 'prompts': prompts, 'rotation_6d': model.rotation_6d}
    if model.head == 'direct':
        return Regressor(head=DirectHead(QueryDecoder(**model.decoder)), tokenizer=None, **reads)
    stage1 = Tokenizer(**config.tokenizer.model)
    tokens, codes = num_tokens(config.tokenizer.model.size_mul), config.tokenizer.num_codes
    if model.head == 'tokens':
        mixer = TokenMixer(tokens, codes, **model.mixer)
        head = TokenHead(QueryDecoder(**model.decoder), mixer)
        return Regressor(head=head, tokenizer=stage1, **reads)
    settings = config.pose_tokens
    choice = TokenChoice(settings.straight_through, settings.gumbel)
    head = PoseTokenHead(QueryDecoder(**model.decoder, num_queries=1 + tokens), codes)
    return Regressor(head=head, tokenizer=stage1, choice=choice, **reads)
