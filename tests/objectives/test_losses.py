"""Gradients of the losses, with some errors exactly zero, against PyTorch's rules by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tokenhmr_jax.objectives import losses

CONFIDENCE = 0.5


@pytest.fixture
def errors(rng):
    """Multiples of 1/8, so that differences are exact; a third of them zero."""
    return rng.integers(-1, 2, (2, 44, 3)).astype(np.float32) / 8


def regressor_gradient(term, errors):
    """Of a term's sum, by the predicted keypoints in 2D and 3D; all other errors are zero."""
    truth = np.arange(2 * 44 * 3, dtype=np.float32).reshape(2, 44, 3)
    confidence = np.full((2, 44, 1), CONFIDENCE, np.float32)
    eye, betas = np.tile(np.eye(3, dtype=np.float32), (2, 24, 1, 1)), np.ones((2, 10), np.float32)

    def loss(keypoints2d, keypoints3d):
        found = losses.regressor_errors(
            keypoints2d=keypoints2d,
            keypoints2d_gt=np.concatenate([truth[..., :2], confidence], -1),
            keypoints3d=keypoints3d,
            keypoints3d_gt=np.concatenate([truth, confidence], -1),
            rotation=eye, rotation_gt=eye, betas=betas, betas_gt=betas,
        )  # fmt: skip
        return jnp.sum(found[term])

    return jax.grad(loss, argnums=(0, 1))(truth[..., :2] + errors[..., :2], truth + errors)


def test_keypoints_without_error_are_not_moved(errors):
    by2d, _ = regressor_gradient('keypoints2d', errors)
    np.testing.assert_array_equal(by2d, CONFIDENCE * np.sign(errors[..., :2]))
    pelvis = 39
    sign = CONFIDENCE * np.sign(errors - errors[:, pelvis, None])
    sign[:, pelvis] = -np.delete(sign, pelvis, axis=1).sum(1)  # all others are centred on it
    _, by3d = regressor_gradient('keypoints3d', errors)
    np.testing.assert_array_equal(by3d, sign)
    assert (sign == 0).mean() > 0.2


def test_l1_of_the_tokenizer(errors):
    def loss(joints):
        terms = losses.tokenizer_terms(
            rotation=eye, rotation_gt=eye, joints=joints, joints_gt=errors[:, :21],
            vertices=errors, vertices_gt=errors, weights=np.ones(44, np.float32), commitment=0.0,
            distance='l1',
        )  # fmt: skip
        return terms['joints']

    eye = np.tile(np.eye(3, dtype=np.float32), (2, 21, 1, 1))
    gradient = jax.grad(loss)(np.zeros_like(errors[:, :21]))
    np.testing.assert_allclose(gradient, -np.sign(errors[:, :21]) / gradient.size, rtol=1e-6)


def test_absolute_values_are_those_of_numpy():
    values = np.array([-2.5, -0.0, 0.0, 1e-30, 3.0, -np.inf, np.nan], np.float32)
    np.testing.assert_array_equal(losses.absolute(values), np.abs(values))


def test_gradients_agree_with_pytorch(errors):
    torch = pytest.importorskip('torch')
    x = torch.from_numpy(errors).requires_grad_()
    torch.nn.functional.l1_loss(x, torch.zeros_like(x), reduction='sum').backward()
    found = jax.grad(lambda e: jnp.sum(losses.absolute(e)))(errors)
    np.testing.assert_array_equal(found, x.grad.numpy())
