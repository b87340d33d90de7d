"""The regressor reads prompts, each of which may be absent."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tokenhmr_jax.body import rotations, skeleton
from tokenhmr_jax.models.prompts import PromptEncoder, facing, ray_turn
from tokenhmr_jax.models.regressor import FrozenWeights, Regressor, no_prompts, upright_mean
from tokenhmr_jax.models.token_head import DirectHead, QueryDecoder
from tokenhmr_jax.models.vit import ViT
from tokenhmr_jax.types import Prompts

IMAGE = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
DECODER = QueryDecoder(width=16, depth=1, heads=2, head_dim=8, mlp_dim=16)
SIZES = {
    'width': 16, 'depth': 1, 'heads': 2, 'mlp_dim': 16, 'features': 16,
    'lifter_width': 16, 'lifter_blocks': 1, 'capacity': 26,
}  # fmt: skip
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


def test_a_person_looks_the_same_anywhere_in_the_picture():
    """A camera that turns away sees other keypoints of the same person, and the same pose."""
    rng = np.random.default_rng(3)
    points = np.concatenate([rng.uniform(-0.5, 0.5, (44, 2)), rng.uniform(3, 4, (44, 1))], axis=-1)
    away = np.asarray(rotations.axis_angle_to_matrix(jnp.array([0.3, -0.4, 0.0])))

    def prompts(seen):
        flat = seen[:, :2] / seen[:, 2:]
        centre = (away if seen is not points else np.eye(3)) @ [0, 0, 3.5]
        place = np.append(centre[:2] / centre[2], 0.4 * 3.5 / centre[2])
        offsets = (flat - place[:2]) / place[2]
        given = np.concatenate([offsets, np.ones((44, 1))], axis=-1)[None]
        return Prompts(jnp.asarray(given), jnp.asarray(place)[None], jnp.ones(1), jnp.ones(1))

    before, after = prompts(points), prompts(points @ away.T)
    straight = facing(after).keypoints2d[0, :, :2]
    scale = np.linalg.norm(straight) / np.linalg.norm(before.keypoints2d[0, :, :2])
    turn = ray_turn(after)[0] @ away  # about the ray, at most
    np.testing.assert_allclose(turn[2], [0, 0, 1], atol=1e-5)
    expected = scale * before.keypoints2d[0, :, :2] @ np.asarray(turn)[:2, :2].T
    np.testing.assert_allclose(straight, expected, atol=1e-4)
    without = after.replace(has_camera=jnp.zeros(1))
    np.testing.assert_array_equal(facing(without).keypoints2d, after.keypoints2d)
