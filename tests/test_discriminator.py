"""The adversarial prior: who is trained by what, and that it can tell bodies apart."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tokenhmr_jax.body import rotations
from tokenhmr_jax.models.discriminator import Discriminator, adversarial_terms

MODEL = Discriminator(pose_width=32)


def bodies(rng, spread, count=16):
    pose = rng.normal(0, spread, (count, 23, 3)).astype(np.float32)
    betas = rng.normal(0, spread, (count, 10)).astype(np.float32)
    return rotations.axis_angle_to_matrix(pose), jnp.asarray(betas)


@pytest.fixture(scope='module')
def params():
    zeros = jnp.zeros((1, 23, 3, 3)), jnp.zeros((1, 10))
    return jax.jit(MODEL.init)(jax.random.key(0), *zeros)['params']


def test_each_joint_has_its_own_judge(rng, params):
    body_pose, betas = bodies(rng, 0.5)
    scores = MODEL.apply({'params': params}, body_pose, betas)
    assert scores.shape == (16, 25)
    turned = body_pose.at[:, 7].set(body_pose[:, 8])
    changed = MODEL.apply({'params': params}, turned, betas) != scores
    assert set(np.flatnonzero(changed.any(axis=0))) == {7, 23}
    changed = MODEL.apply({'params': params}, body_pose, betas + 1) != scores
    assert set(np.flatnonzero(changed.any(axis=0))) == {24}


def test_terms_by_hand(rng, params):
    real, fake = bodies(rng, 0.1, 3), bodies(rng, 1.0)
    terms = adversarial_terms(MODEL, params, fake, real)
    of_real, of_fake = (np.asarray(MODEL.apply({'params': params}, *b)) for b in (real, fake))
    expected = np.sum((of_fake - 1) ** 2) / 16
    assert terms['adversarial'] == pytest.approx(expected, rel=1e-5)
    expected = np.sum((of_real - 1) ** 2) / 3 + np.sum(of_fake**2) / 16
    assert terms['discriminator'] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize('name, trains_judges', [('adversarial', False), ('discriminator', True)])
def test_each_side_trains_only_itself(rng, params, name, trains_judges):
    real, fake = bodies(rng, 0.1), bodies(rng, 1.0)
    term = jax.jit(lambda p, body: adversarial_terms(MODEL, p, body, real)[name])
    of_params, of_body = jax.grad(term, argnums=(0, 1))(params, fake)
    assert all(jnp.any(g != 0) == trains_judges for g in jax.tree.leaves(of_params))
    assert all(jnp.any(g != 0) != trains_judges for g in of_body)


def test_judges_learn(rng, params):
    optimizer = optax.adam(3e-3)

    @jax.jit
    def step(params, state, fake, real):
        def term(p):
            return adversarial_terms(MODEL, p, fake, real)['discriminator']

        updates, state = optimizer.update(jax.grad(term)(params), state)
        return optax.apply_updates(params, updates), state

    state = optimizer.init(params)
    for _ in range(150):
        params, state = step(params, state, bodies(rng, 1.0), bodies(rng, 0.1))
    score = jax.jit(lambda b: jnp.mean(MODEL.apply({'params': params}, *b)))
    assert score(bodies(rng, 0.1)) > 0.8
    assert score(bodies(rng, 1.0)) < 0.3
