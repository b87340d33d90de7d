"""The adversarial prior: who is trained by what, and that it can tell bodies apart."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.spatial.transform import Rotation

from tokenhmr_jax import adversarial
from tokenhmr_jax.body import rotations

MODEL = adversarial.Discriminator(pose_width=32)


def bodies(rng, spread, count=16):
    pose = rng.normal(0, spread, (count, 23, 3)).astype(np.float32)
    betas = rng.normal(0, spread, (count, 10)).astype(np.float32)
    return rotations.axis_angle_to_matrix(pose), jnp.asarray(betas)


@pytest.fixture(scope='module')
def params():
    zeros = jnp.zeros((1, 23, 3, 3)), jnp.zeros((1, 10))
    return jax.jit(MODEL.init)(jax.random.key(0), *zeros)['params']


@jax.jit
def score(params, body):
    return MODEL.apply({'params': params}, *body)


@jax.jit
def terms_and_gradients(params, fake, real):
    """The two terms, and their gradients by the discriminator's parameters and by the bodies."""

    def terms(params, fake):
        return adversarial.terms(MODEL, params, fake, real)

    return terms(params, fake), jax.jacrev(terms, argnums=(0, 1))(params, fake)


def test_each_joint_has_its_own_judge(rng, params):
    body_pose, betas = bodies(rng, 0.5)
    scores = score(params, (body_pose, betas))
    assert scores.shape == (16, 25)
    turned = np.array(body_pose)
    turned[:, 7] = turned[:, 8]
    changed = np.asarray(score(params, (turned, betas)) != scores)
    assert set(np.flatnonzero(changed.any(axis=0))) == {7, 23}
    changed = np.asarray(score(params, (body_pose, betas + 1)) != scores)
    assert set(np.flatnonzero(changed.any(axis=0))) == {24}


def test_terms_by_hand(rng, params):
    real, fake = bodies(rng, 0.1), bodies(rng, 1.0)
    terms, _ = terms_and_gradients(params, fake, real)
    of_real, of_fake = (np.asarray(score(params, body)) for body in (real, fake))
    expected = np.sum((of_fake - 1) ** 2) / 16
    assert terms['adversarial'] == pytest.approx(expected, rel=1e-5)
    expected = np.sum((of_real - 1) ** 2) / 16 + np.sum(of_fake**2) / 16
    assert terms['discriminator'] == pytest.approx(expected, rel=1e-5)


def test_each_side_trains_only_itself(rng, params):
    _, gradients = terms_and_gradients(params, bodies(rng, 1.0), bodies(rng, 0.1))
    for name, trains_judges in (('adversarial', False), ('discriminator', True)):
        of_params, of_body = gradients[name]
        assert all(np.any(g != 0) == trains_judges for g in jax.tree.leaves(of_params))
        assert all(np.any(g != 0) != trains_judges for g in of_body)


def test_judges_learn(rng, params):
    optimizer = optax.adam(3e-3)
    update = jax.jit(optimizer.update)
    state = optimizer.init(params)
    for _ in range(150):
        _, gradients = terms_and_gradients(params, bodies(rng, 1.0), bodies(rng, 0.1))
        updates, state = update(gradients['discriminator'][0], state)
        params = jax.tree.map(np.add, params, updates)
    assert np.mean(score(params, bodies(rng, 0.1))) > 0.8
    assert np.mean(score(params, bodies(rng, 1.0))) < 0.3


def test_real_bodies_are_those_of_the_file(rng, tmp_path):
    pose = rng.normal(size=(5, 72)).astype(np.float32)
    betas = np.arange(50, dtype=np.float32).reshape(5, 10)
    np.savez(tmp_path / 'mocap.npz', body_pose=pose, betas=betas)
    bodies = adversarial.load(str(tmp_path / 'mocap.npz'))
    drawn, shape = adversarial.draw(bodies, jax.random.key(0), 64)
    chosen = (np.asarray(shape[:, 0]) // 10).astype(int)
    assert set(chosen) == set(range(5))
    expected = Rotation.from_rotvec(pose.reshape(5, 24, 3)[chosen][:, 1:].reshape(-1, 3))
    np.testing.assert_allclose(drawn.reshape(-1, 3, 3), expected.as_matrix(), atol=1e-5)


@pytest.mark.parametrize(
    ('arrays', 'message'),
    [
        ({'betas': np.zeros((2, 10))}, r'mocap\.npz: expected an \.npz with body_pose and betas'),
        (
            {'betas': np.zeros((2, 10)), 'body_pose': np.zeros((2, 69))},
            r'\(2, 69\), expected',
        ),
        ({'betas': np.zeros((1, 10)), 'body_pose': np.zeros((2, 72))}, r'betas is \(1, 10\)'),
        ({'betas': np.full((2, 10), np.nan), 'body_pose': np.zeros((2, 72))}, 'not finite'),
    ],
)
def test_a_file_that_holds_something_else_is_refused(tmp_path, arrays, message):
    np.savez(tmp_path / 'mocap.npz', **arrays)
    with pytest.raises(ValueError, match=message):
        adversarial.load(str(tmp_path / 'mocap.npz'))
    with pytest.raises(FileNotFoundError, match=r'adversarial\.mocap'):
        adversarial.load('')
