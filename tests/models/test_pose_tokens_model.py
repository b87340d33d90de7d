"""The regressor's pose tokens: the tokenizer's own, and what training decodes of them."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from by_numpy import random_like

from tokenhmr_jax.body import rotations
from tokenhmr_jax.inference.pose_tokenizer import PoseTokenizer
from tokenhmr_jax.models import regressor, token_head, tokenizer, vit
from tokenhmr_jax.models.quantizer import grid_codes
from tokenhmr_jax.models.token_choice import TokenChoice

IMAGE = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
DECODER = token_head.QueryDecoder(12, 1, 2, 4, 10, num_queries=21)
SIZES = {'width': 8, 'size_mul': 1, 'size_div': 2, 'depth': 1, 'dilation_rate': 3, 'heads': 2}
KINDS = {
    'vq_conv': {'code_dim': 4},
    'vq_transformer': {'code_dim': 4, 'network': 'transformer'},
    'fsq_conv': {'code_dim': 2, 'levels': (4, 4)},
    'fsq_transformer': {'code_dim': 2, 'levels': (4, 4), 'network': 'transformer'},
}


def make(kind: str) -> tuple[regressor.Regressor, regressor.FrozenWeights]:
    """A regressor on a tokenizer of a kind with random weights; its mean pose is not zero."""
    stage1 = tokenizer.Tokenizer(**SIZES | KINDS[kind])
    shapes = jax.eval_shape(stage1.init, jax.random.key(0), jnp.zeros((1, 21, 3, 3)))['params']
    codes = np.random.default_rng(1).normal(size=(16, 4)).astype(np.float32)
    if stage1.levels:
        codes = grid_codes(stage1.levels)
    mean = regressor.upright_mean()
    frozen = regressor.FrozenWeights(**mean, tokenizer=random_like(shapes), codes=codes)
    head = token_head.PoseTokenHead(DECODER, 16)
    backbone = vit.ViT(width=8, depth=1, heads=2, patch_size=8)
    return regressor.Regressor(backbone, head, stage1, 'rows'), frozen


@pytest.fixture(scope='module')
def poses():
    vectors = np.random.default_rng(3).normal(0, 0.4, (2, 21, 3)).astype(np.float32)
    return rotations.axis_angle_to_matrix(vectors)


@pytest.mark.parametrize('kind', KINDS)
def test_tokens_of_a_perfect_regressor_are_the_tokenizers_and_decode_to_its_pose(kind, poses):
    """Sure of each token of a pose, mixture and likeliest codes are the pose through stage 1."""
    model, frozen = make(kind)
    stage1 = PoseTokenizer(model.tokenizer, frozen.tokenizer, frozen.codes, None)
    tokens = jax.jit(model.pose_tokens)(frozen, poses)
    np.testing.assert_array_equal(tokens, stage1.encode(poses).indices)
    assert len(np.unique(tokens)) > 1
    expected = stage1.decode(stage1.encode(poses))
    np.testing.assert_allclose(
        jax.jit(model.decode_codes)(frozen, frozen.codes[tokens]), expected, atol=1e-5
    )
    probs = model.choice(100.0 * jax.nn.one_hot(tokens, 16))
    mixed = jax.jit(model.decode_codes)(frozen, model.mix_codes(frozen, probs))
    np.testing.assert_allclose(mixed, expected, atol=1e-5)


def test_pose_tokens_give_the_pose_itself_whatever_the_mean_body_is():
    """All tokens are code 5; the other rotations stay offsets from the mean."""
    model, frozen = make('vq_conv')
    params = random_like(jax.eval_shape(model.init, jax.random.key(0), IMAGE))
    logits = params['head']['logits']
    logits['kernel'] *= 0
    logits['bias'] = np.where(np.arange(16) == 5, 100, 0).astype(np.float32)
    found = jax.jit(model.apply)(params, frozen, IMAGE)
    tokens = np.full((1, 20), 5)
    expected = model.decode_codes(frozen, frozen.codes[tokens])[0]
    for one in range(2):
        np.testing.assert_allclose(found.params.body_pose[one, :21], expected, atol=1e-5)
    other = frozen.replace(mean_pose=frozen.mean_pose + np.float32(0.3))
    moved = jax.jit(model.apply)(params, other, IMAGE)
    np.testing.assert_array_equal(moved.params.body_pose[:, :21], found.params.body_pose[:, :21])
    assert np.abs(moved.params.body_pose[:, 21:] - found.params.body_pose[:, 21:]).max() > 1e-3
    assert np.abs(moved.params.global_orient - found.params.global_orient).max() > 1e-3


def test_choices_of_codes():
    """Without a random key, and by default, the probabilities."""
    logits = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, 5)).astype(np.float32))
    plain, key = jax.nn.softmax(logits), jax.random.key(0)
    for choice in (TokenChoice(), TokenChoice(straight_through=True, gumbel=0.5)):
        np.testing.assert_array_equal(choice(logits), plain)
    np.testing.assert_array_equal(TokenChoice()(logits, key), plain)
    likeliest = np.eye(5)[np.argmax(logits, axis=-1)]
    hard = TokenChoice(straight_through=True)(logits, key)
    np.testing.assert_allclose(hard, likeliest, atol=1e-6)
    sampled = TokenChoice(straight_through=True, gumbel=2.0)(logits, key)
    assert set(np.unique(np.round(sampled, 5))) == {0, 1}
    with pytest.raises(ValueError, match=r'gumbel=-1: expected'):
        TokenChoice(gumbel=-1)


def test_the_gradient_of_the_likeliest_code_is_that_of_the_mixture():
    logits = jnp.asarray(np.random.default_rng(0).normal(size=(1, 2, 5)).astype(np.float32))
    weight, key = np.arange(5.0, dtype=np.float32) ** 2, jax.random.key(0)
    gradient = lambda choice: jax.grad(lambda x: jnp.sum(weight * choice(x, key)))(logits)  # noqa: E731
    mixed = gradient(TokenChoice())
    assert np.abs(mixed).max() > 0.1
    np.testing.assert_allclose(gradient(TokenChoice(straight_through=True)), mixed, atol=1e-6)
    noisy = TokenChoice(gumbel=0.5)
    shifted = (logits + jax.random.gumbel(key, logits.shape)) / 0.5
    probs = jax.nn.softmax(shifted)
    by_hand = 2 * probs * (weight - jnp.sum(weight * probs, axis=-1, keepdims=True))
    np.testing.assert_allclose(gradient(noisy), by_hand, atol=1e-5)
    np.testing.assert_allclose(
        gradient(dataclasses.replace(noisy, straight_through=True)), by_hand, atol=1e-5
    )


def test_gumbel_noise_samples_codes_by_their_probabilities():
    probs = np.array([0.5, 0.3, 0.15, 0.05], np.float32)
    logits = jnp.broadcast_to(jnp.log(probs), (1, 20_000, 4))
    chosen = TokenChoice(straight_through=True, gumbel=1.0)(logits, jax.random.key(1))
    np.testing.assert_allclose(chosen.mean(axis=(0, 1)), probs, atol=0.01)


def test_gradients_reach_the_tokens_through_the_likeliest_codes():
    model, frozen = make('fsq_conv')
    model = dataclasses.replace(model, choice=TokenChoice(straight_through=True, gumbel=1.0))
    params = random_like(jax.eval_shape(model.init, jax.random.key(0), IMAGE))

    def loss(params, frozen):
        found = model.apply(params, frozen, IMAGE, train_rng=jax.random.key(1))
        return jnp.sum(jnp.sin(7 * found.params.body_pose[:, :21]))

    trained, stopped = jax.jit(jax.grad(loss, argnums=(0, 1)))(params, frozen)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(trained))
    assert np.abs(trained['head']['logits']['kernel']).max() > 0
    assert np.abs(trained['head']['decoder']['position'][1:]).max() > 0
    assert all((np.asarray(x) == 0).all() for x in jax.tree.leaves(stopped))
