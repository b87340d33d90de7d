"""A prior of tokens: its probabilities, completions and draws, by hand and by enumeration."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tokenhmr_jax.models import token_prior
from tokenhmr_jax.models.token_prior import TokenPrior

TOKENS, CODES = 4, 3


@pytest.fixture(scope='module')
def predict():
    """A random prior with strong opinions."""
    model = TokenPrior(CODES, width=8, depth=1, heads=2)
    tokens = jnp.zeros((1, TOKENS), jnp.int32)
    params = model.init(jax.random.key(0), tokens, tokens > 0)
    params['params']['logits']['kernel'] *= 3
    return jax.jit(lambda tokens, known: model.apply(params, tokens, known))


EVERY = np.array(list(itertools.product(range(CODES), repeat=TOKENS)), np.int32)


def probability(predict, tokens, order):
    """Of tokens (T,), one after the other."""
    known, total = np.zeros((1, TOKENS), bool), 0.0
    for place in order:
        logits = np.asarray(predict(tokens[None], known))[0, place].astype(float)
        total += logits[tokens[place]] - np.log(np.exp(logits).sum())
        known[0, place] = True
    return total


def test_hidden_tokens_are_not_read(predict):
    known = np.array([[True, False, True, False]])
    ours, others = np.array([[1, 0, 2, 0]], np.int32), np.array([[1, 2, 2, 1]], np.int32)
    np.testing.assert_array_equal(predict(ours, known), predict(others, known))
    assert np.abs(predict(ours, known) - predict(ours[:, ::-1], known)).max() > 0.1


@pytest.mark.parametrize('steps', [1, 2, TOKENS])
def test_likelihoods_of_all_tokens_sum_to_one(predict, steps):
    found = token_prior.log_likelihood(predict, EVERY, steps)
    assert np.exp(found).sum() == pytest.approx(1, abs=1e-5)
    assert np.ptp(found) > 1


def test_a_likelihood_is_the_product_of_its_steps(predict):
    order = np.argsort(np.random.default_rng(0).permutation(TOKENS))
    found = token_prior.log_likelihood(predict, EVERY[:5], TOKENS)
    expected = [probability(predict, tokens, order) for tokens in EVERY[:5]]
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_draws_of_one_token_at_a_time_follow_the_joint_distribution(predict):
    """Of the hidden tokens, given the known one, over all orders."""
    count = 4000
    tokens = np.full((count, TOKENS), 2, np.int32)
    known = np.arange(TOKENS) == 1
    expected = []
    for row in EVERY[EVERY[:, 1] == 2]:
        orders = itertools.permutations([0, 2, 3])
        each = [
            probability(predict, row, (1, *order)) - probability_of_first(predict, row)
            for order in orders
        ]
        expected.append(np.exp(each).mean())
    assert sum(expected) == pytest.approx(1, abs=1e-4)
    drawn = token_prior.complete_tokens(
        predict, tokens, jnp.broadcast_to(known, tokens.shape), TOKENS, key=jax.random.key(1)
    )
    assert (drawn[:, 1] == 2).all()
    index = np.ravel_multi_index(np.asarray(drawn)[:, [0, 2, 3]].T, (CODES,) * 3)
    shares = np.bincount(index, minlength=CODES**3) / count
    deviation = np.sqrt(np.array(expected) / count)
    assert (np.abs(shares - expected) < 4.5 * deviation + 1e-3).all()


def probability_of_first(predict, tokens):
    """Of the token at place 1 alone."""
    logits = np.asarray(predict(tokens[None], np.zeros((1, TOKENS), bool)))[0, 1].astype(float)
    return logits[tokens[1]] - np.log(np.exp(logits).sum())


def test_the_surest_token_comes_first_and_the_others_follow_it(predict):
    """By hand: four steps for four tokens take one each."""
    tokens, known = np.zeros((1, TOKENS), np.int32), np.zeros((1, TOKENS), bool)
    found = token_prior.complete_tokens(predict, tokens, known, TOKENS)
    while not known.all():
        probabilities = np.asarray(jax.nn.softmax(predict(tokens, known)))[0]
        surest = np.where(known[0], -1, probabilities.max(axis=-1)).argmax()
        tokens[0, surest], known[0, surest] = probabilities[surest].argmax(), True
    np.testing.assert_array_equal(found, tokens)


def test_known_tokens_stay_and_evidence_is_heard(predict):
    tokens = EVERY[:6]
    known = np.ones_like(tokens, bool)
    np.testing.assert_array_equal(token_prior.complete_tokens(predict, tokens, known, 2), tokens)
    certain = 50 * jax.nn.one_hot(EVERY[-6:], CODES)
    found = token_prior.complete_tokens(predict, tokens, ~known, 2, certain)
    np.testing.assert_array_equal(found, EVERY[-6:])


def test_any_number_of_candidates_is_hidden_equally_often():
    candidates = jnp.broadcast_to(jnp.arange(6) < 4, (8000, 6))
    hidden = np.asarray(token_prior.hide_part(jax.random.key(0), candidates))
    assert not hidden[:, 4:].any()
    counts = np.bincount(hidden.sum(axis=1), minlength=5) / len(hidden)
    assert counts[0] == 0
    np.testing.assert_allclose(counts[1:5], 0.25, atol=0.025)
    np.testing.assert_allclose(hidden[:, :4].mean(axis=0), 5 / 8, atol=0.03)


def test_tied_tokens_by_hand():
    ties = np.zeros((3, 21), np.float32)
    ties[0, 4], ties[1, 7], ties[2, 4] = 0.9, 0.9, 0.2
    joints = np.arange(21) == 4
    assert token_prior.tied_tokens(ties, joints, 0.2).tolist() == [True, False, False]
    both = np.stack([joints, np.arange(21) == 7])
    assert token_prior.tied_tokens(ties, both, 0.1).tolist() == [
        [True, False, True], [False, True, False]
    ]  # fmt: skip


def test_tokens_drawn_with_a_network_go_together_by_hand():
    """Two tokens that the prior wants equal: the first drawn has the network's probabilities."""
    probs = np.float32([[0.8, 0.2], [0.6, 0.4]])

    def predict(tokens, known):
        other, seen = tokens[:, ::-1], known[:, ::-1]
        same = jnp.where(other[..., None] == jnp.arange(2), 20.0, -20.0)
        return jnp.where(seen[..., None], same, 0.0)

    found = token_prior.draw_with(predict, jnp.log(probs), 4000, 2, jax.random.key(0))
    assert (found[:, 0] == found[:, 1]).all()
    np.testing.assert_allclose((found[:, 0] == 0).mean(), 0.7, atol=0.03)

    def independent(tokens, known):
        return jnp.broadcast_to(jnp.float32([1.0, 3.0]), (*tokens.shape, 2))

    found = token_prior.draw_with(independent, jnp.log(probs), 4000, 2, jax.random.key(0))
    np.testing.assert_allclose((found == 0).mean(axis=0), [0.8, 0.6], atol=0.03)


def test_refined_tokens_follow_the_surest_by_hand():
    """The first token is surer, so the second, which the prior wants equal, follows it."""
    probs = np.float32([[[0.8, 0.2], [0.4, 0.6]]])

    def predict(tokens, known):
        other, seen = tokens[:, ::-1], known[:, ::-1]
        same = jnp.where(other[..., None] == jnp.arange(2), np.log(3.0), 0.0)
        return jnp.where(seen[..., None], same, 0.0)

    refine = lambda steps: jnp.exp(  # noqa: E731
        token_prior.refine_log_probs(predict, jnp.log(probs), steps)
    )
    np.testing.assert_allclose(refine(1), probs, atol=1e-6)
    # 0.4 to 0.6, times the prior's 3 to 1.
    np.testing.assert_allclose(refine(2)[0], [[0.8, 0.2], [2 / 3, 1 / 3]], atol=1e-6)
