"""Pose tokens of the regressor: their cross-entropy to the labels' tokens, and their own bodies."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from tokenhmr_jax.body import skeleton, smpl
from tokenhmr_jax.models.regressor import FrozenWeights, FrozenWithPrior, Prediction, Regressor
from tokenhmr_jax.models.token_prior import PriorWeights, TokenPrior
from tokenhmr_jax.objectives import token_losses
from tokenhmr_jax.objectives.token_metrics import kept_share
from tokenhmr_jax.tasks.prompting import Config
from tokenhmr_jax.types import Array, RegressorOutput, SmplParams


def loss_weights(config: Config) -> dict[str, float]:
    """Weights of the loss terms: that of tokens is for pose tokens alone.

    Raises ValueError for a smoothing outside its range.
    """
    smoothing = config.pose_tokens.label_smoothing
    if not 0 <= smoothing < 1:
        raise ValueError(f'pose_tokens.label_smoothing={smoothing}: expected from 0 to below 1')
    weights = dict(config.loss_weights)
    if config.model.head != 'pose_tokens' or not weights.get('tokens'):
        weights.pop('tokens', None)
    return weights


def attach_prior(
    model: Regressor,
    state: FrozenWeights,
    prior: TokenPrior,
    params: dict,
    weights: PriorWeights,
    steps: int,
) -> tuple[Regressor, FrozenWithPrior]:
    """The regressor with a prior, which refines its pose tokens in parallel steps.

    Raises ValueError for a regressor without pose tokens, a prior of another tokenizer, or an
    impossible number of steps.
    """
    if not model.has_pose_tokens:
        raise ValueError("no pose tokens, which a prior is of: expected model.head='pose_tokens'")
    ours = state.codes, state.tokenizer['decoder']
    if not _equal(ours, (weights.codes, weights.tokenizer['decoder'])):
        raise ValueError(
            'a prior of the tokens of another tokenizer: expected one whose tokenizer.checkpoint '
            "is the network's"
        )
    if not 1 <= steps <= len(weights.ties):
        most = f'1 to {len(weights.ties)}, the number of tokens'
        raise ValueError(f'prior_steps={steps}: expected {most}')
    model = dataclasses.replace(model, prior=prior, prior_steps=steps)
    return model, FrozenWithPrior(**vars(state), prior=params)


def _equal(ours, theirs) -> bool:
    """Whether two trees have the same arrays."""
    if jax.tree.structure(ours) != jax.tree.structure(theirs):
        return False
    return all(jax.tree.leaves(jax.tree.map(np.array_equal, ours, theirs)))


def token_errors(
    config: Config,
    model: Regressor,
    state: FrozenWeights,
    prediction: Prediction,
    truth: SmplParams,
    trusted: Float[Array, ' B'],
) -> tuple[dict[str, Float[Array, 'B 1']], dict[str, Float[Array, '']]]:
    """Cross-entropy to the tokens of labels, by loss term, and scalars to log; none of both if the
    head learns none.

    trusted: 1 for labels whose share of right tokens is logged; NaN if there are none.
    """
    if 'tokens' not in loss_weights(config):
        return {}, {}
    tokens = model.pose_tokens(state, truth.body_pose[:, : skeleton.NUM_BODY_JOINTS])
    logits = prediction.token_logits
    smoothing = config.pose_tokens.label_smoothing
    error = token_losses.cross_entropy(logits, tokens, state.codes, smoothing)
    right = kept_share(jnp.argmax(logits, axis=-1), tokens)
    share = jnp.sum(trusted * right) / jnp.sum(trusted)
    return {'tokens': error[:, None]}, {'tokens_right': share}


def with_argmax_body(
    model: Regressor, state: FrozenWeights, body: smpl.BodyModel, output: RegressorOutput
) -> RegressorOutput:
    """The output with the bodies of its likeliest pose tokens; of other heads as it is."""
    if not model.has_pose_tokens:
        return output
    tokens = jnp.argmax(output.token_probs, axis=-1)
    state = jax.lax.stop_gradient(state)
    pose = model.decode_codes(state, state.codes[tokens])
    hands = output.params.body_pose[:, skeleton.NUM_BODY_JOINTS :]
    whole = jnp.concatenate([pose, hands], axis=1)
    posed = smpl.forward(body, dataclasses.replace(output.params, body_pose=whole))
    return dataclasses.replace(output, argmax_body=posed)
