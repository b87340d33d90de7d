"""The regressor reads prompts, each of which may be absent."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tokenhmr_jax.body import skeleton
from tokenhmr_jax.models.prompts import PromptEncoder
from tokenhmr_jax.models.regressor import FrozenWeights, Regressor, no_prompts, upright_mean
from tokenhmr_jax.models.token_head import DirectHead, QueryDecoder
from tokenhmr_jax.models.vit import ViT
from tokenhmr_jax.types import Prompts

IMAGE = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
DECODER = QueryDecoder(width=16, depth=1, heads=2, head_dim=8, mlp_dim=16)
SIZES = {'width': 16, 'depth': 1, 'heads': 2, 'mlp_dim': 16, 'features': 16}
WRIST = skeleton.KEYPOINTS.index('OP LWrist')


def network(image=True, prompts=True):
    backbone = ViT(width=16, depth=1, heads=2, patch_size=8) if image else None
    encoder = PromptEncoder(**SIZES) if prompts else None
    return Regressor(backbone, DirectHead(DECODER), None, 'rows', encoder)


def some_prompts(**changes):
    rng = np.random.default_rng(1)
    points = rng.uniform(-0.4, 0.4, (2, 44, 3)).astype(np.float32)
    points[..., 2] = np.arange(44) < 20
    place = rng.normal(0, 0.2, (2, 3)).astype(np.float32)
    given = Prompts(jnp.asarray(points), jnp.asarray(place), jnp.ones(2), jnp.ones(2))
    return given.replace(**changes)


@pytest.fixture(scope='module')
def answer():
    """The answers of one network that has learned nothing but differs by its inputs."""
    model = network()
    params = model.init(jax.random.key(0), IMAGE)
    # Outputs start at zero: any weights will do.
    params = jax.tree.map(lambda x: x + 0.1 * jax.random.normal(jax.random.key(2), x.shape), params)
    frozen = FrozenWeights(**upright_mean())
    run = jax.jit(lambda image, prompts: model.apply(params, frozen, image, prompts=prompts))
    return lambda image, prompts: np.asarray(run(image, prompts).params.body_pose)


def test_each_known_part_counts(answer):
    given, whole = some_prompts(), answer(IMAGE, some_prompts())
    moved = given.keypoints2d.at[:, WRIST, 0].add(0.2)
    others = [
        answer(IMAGE, given.replace(keypoints2d=moved)),
        answer(IMAGE, given.replace(camera=given.camera + 0.1)),
        answer(255 - IMAGE, given),
    ]
    assert all(np.abs(other - whole).max() > 1e-4 for other in others)


def test_unknown_parts_do_not(answer):
    """Whatever their values are."""
    given = some_prompts()
    junk = given.keypoints2d.at[:, 20:, :2].set(7.0)
    same = answer(IMAGE, given.replace(keypoints2d=junk))
    np.testing.assert_allclose(same, answer(IMAGE, given), atol=1e-5)
    blind = given.replace(has_image=jnp.zeros(2))
    np.testing.assert_allclose(answer(255 - IMAGE, blind), answer(IMAGE, blind), atol=1e-5)
    np.testing.assert_allclose(answer(None, given), answer(IMAGE, blind), atol=1e-5)
    lost = given.replace(has_camera=jnp.zeros(2))
    elsewhere = lost.replace(camera=given.camera + 1)
    np.testing.assert_allclose(answer(IMAGE, elsewhere), answer(IMAGE, lost), atol=1e-5)


def test_without_prompts_the_image_alone_is_read(answer):
    np.testing.assert_allclose(answer(IMAGE, None), answer(IMAGE, no_prompts(2)), atol=1e-5)


def test_names_of_keypoints_count(answer):
    """The same points under exchanged names are another pose."""
    given = some_prompts()
    turned = given.replace(keypoints2d=given.keypoints2d[:, np.roll(np.arange(44), 20)])
    assert np.abs(answer(IMAGE, turned) - answer(IMAGE, given)).max() > 1e-4


def test_one_keypoint_and_none(answer):
    one = jnp.zeros((2, 44, 3)).at[:, WRIST].set(jnp.array([0.1, 0.2, 1.0]))
    for points in (one, jnp.zeros((2, 44, 3))):
        assert np.isfinite(answer(None, some_prompts(keypoints2d=points))).all()


def test_a_network_of_prompts_has_no_backbone_and_needs_prompts():
    model = network(image=False)
    params = model.init(jax.random.key(0), IMAGE)
    assert params.keys() == {'prompts', 'head'}
    frozen = FrozenWeights(**upright_mean())
    with pytest.raises(ValueError, match='reads keypoints, got no prompts'):
        model.apply(params, frozen, IMAGE)
    with pytest.raises(ValueError, match='nothing to read'):
        network(image=False, prompts=False)


def test_a_network_of_images_is_as_without_prompts_in_the_house():
    model = network(prompts=False)
    params = model.init(jax.random.key(0), IMAGE)
    assert params.keys() == {'backbone', 'head'}
    with pytest.raises(ValueError, match='reads images alone'):
        model.apply(params, FrozenWeights(**upright_mean()), None, prompts=some_prompts())
