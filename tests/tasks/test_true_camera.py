"""Regressors that place bodies in the picture's own camera, in training and afterwards."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import REGRESSOR_SIZES, quickstart_config

from tokenhmr_jax.body import camera, keypoint_body
from tokenhmr_jax.data import crop_batches
from tokenhmr_jax.inference.placement import place_bodies
from tokenhmr_jax.objectives import losses
from tokenhmr_jax.tasks import make_task
from tokenhmr_jax.training.evaluation import Measured, pooled
from tokenhmr_jax.types import CropBatch

SETTINGS = REGRESSOR_SIZES | {
    'model.inputs': ('image', 'camera'),
    'model.head': 'direct',
    'model.prompts.width': 8,
    'model.prompts.depth': 0,
    'camera.projection': 'full',
    'prompts.drop_camera': 0.0,
    'tals.enabled': False,
    'eval.inputs': ('image', 'camera'),
}
COUNT = 4


def task_of(**changes):
    config = quickstart_config('regressor', SETTINGS | changes)
    config.data.mixture = type(config)({'fits': 0.5, 'true': 0.5})
    config.data.ground_truth = ('true',)
    return make_task(config)


@pytest.fixture(scope='module')
def weights():
    """A network that has learned nothing, but places each person elsewhere."""
    task = task_of()
    params, state = task.init(jax.random.key(0))
    some = lambda key, x: x + 0.1 * jax.random.normal(key, x.shape)  # noqa: E731
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    return jax.tree.unflatten(tree, map(some, keys, leaves)), state


@pytest.fixture(scope='module')
def frozen(mannequin):
    return task_of().frozen(mannequin)


@pytest.fixture(scope='module')
def batch():
    """Crops of noise anywhere in wide pictures; the labels are those of nobody."""
    rng = np.random.default_rng(0)
    number = lambda *shape: rng.normal(0, 0.3, (COUNT, *shape)).astype(np.float32)  # noqa: E731
    zeros, ones = np.zeros(COUNT, np.float32), np.ones(COUNT, np.float32)
    size = np.tile(np.float32([1280, 720]), (COUNT, 1))
    return CropBatch(
        image=rng.integers(0, 256, (COUNT, 32, 32, 3), np.uint8),
        color=np.ones((COUNT, 3), np.float32),
        center=rng.uniform(50, 650, (COUNT, 2)).astype(np.float32),
        center_rest=np.zeros((COUNT, 2), np.float32),
        side=np.float32([90, 300, 500, 200]),
        rotation=zeros,
        flip=zeros,
        keypoints2d=np.concatenate([400 + 300 * number(44, 2), np.ones((COUNT, 44, 1))], -1),
        keypoints3d=np.concatenate([number(44, 3), np.ones((COUNT, 44, 1))], -1),
        global_orient=number(3),
        body_pose=number(23, 3),
        betas=number(10),
        gender=zeros,
        has_pose=ones,
        has_betas=ones,
        transl=number(3) + np.float32([0, 0, 4]),
        principal_point=size / 2,
        image_size=size,
        picture_focal_length=np.float32([700, 700, 900, 0]),  # the last one is guessed
        picture_principal_point=size / 2,
        camera_source=np.float32([1, 1, 2, 0]),
        source=np.array([0, 1, 1, 0], np.int32),
        seed=np.arange(COUNT, dtype=np.int32),
    )


@pytest.fixture(scope='module')
def output(weights, frozen, batch):
    return jax.device_get(jax.jit(task_of().predict)(*weights, frozen, batch))


@pytest.mark.slow
def test_bodies_are_placed_in_training_as_they_are_afterwards(weights, frozen, batch, output):
    """The loss of 2D keypoints is zero where the placed body is projected to: off the axis too."""
    task, place = task_of(), crop_batches.image_batch(batch).camera
    focal = jnp.where(
        batch.picture_focal_length > 0, batch.picture_focal_length, batch.side / place[:, 2]
    )
    middle = batch.center - focal[:, None] * place[:, :2]
    view = batch.center, batch.side, focal, middle
    found = place_bodies(output, *view, knows_camera=True, places_bodies=True)
    points = output.keypoints3d + found.translation[:, None]
    pixels = focal[:, None, None] * points[..., :2] / points[..., 2:] + middle[:, None]
    np.testing.assert_allclose(found.keypoints2d, pixels, rtol=1e-4, atol=0.1)
    seen = jnp.concatenate([pixels, jnp.ones((COUNT, 44, 1))], axis=-1)
    loss = jax.jit(lambda labels: task.loss(*weights, frozen, labels, jax.random.key(0), 0))
    terms = loss(batch.replace(keypoints2d=seen))[1][1]
    assert terms['loss/keypoints2d'] / (48 * 44) < 2e-5  # crop sides
    assert loss(batch)[1][1]['loss/keypoints2d'] / (48 * 44) > 0.1


def test_gradients_are_finite_for_bodies_around_the_camera(weights, frozen, batch):
    """Wide crops: bodies come within an arm's length, and behind the camera."""
    task, (params, state) = task_of(), weights
    near = batch.replace(side=np.float32([3000, 9000, 100, 700]))
    value = lambda params: task.loss(params, state, frozen, near, jax.random.key(0), 0)[0]  # noqa: E731
    loss, gradient = jax.jit(jax.value_and_grad(value))(params)
    assert np.isfinite(loss)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(gradient))


def test_the_crop_s_projection_is_the_published_one(weights, frozen, batch):
    """Whatever cameras the pictures have, to the bit."""
    image_alone = {'model.inputs': ('image',), 'eval.inputs': ('image',)}
    task = task_of(**image_alone | {'camera.projection': 'crop'})
    image, key = crop_batches.image_batch(batch), jax.random.key(0)

    @jax.jit
    def run(params, state, frozen, batch):
        prediction = task.model.apply(params, state, image.image, key)
        return task.loss(params, state, frozen, batch, key, 0), prediction

    (loss, (_, terms)), prediction = run(*weights, frozen, batch)
    changed = batch.replace(picture_focal_length=3 * batch.picture_focal_length)
    assert loss == run(*weights, frozen, changed)[0][0]
    points = keypoint_body.keypoints(frozen.keypoint_body, prediction.params)
    seen = camera.project_crop(points, camera.crop_translation(prediction.camera))
    offset = losses.absolute(seen - image.keypoints2d[..., :2])
    expected = 48 * jnp.mean(jnp.sum(image.keypoints2d[..., 2] * jnp.sum(offset, -1), -1))
    np.testing.assert_allclose(terms['loss/keypoints2d'], expected, rtol=1e-6)


@pytest.mark.parametrize(
    'wrong, words',
    [({'camera.projection': 'weak'}, "camera.projection='weak': expected one of"),
     ({'model.inputs': ('image',), 'eval.inputs': ('image',)}, 'must know where its crop lies'),
     ({'prompts.drop_camera': 0.25}, 'prompts.drop_camera=0.25: .* expected 0')],
)  # fmt: skip
def test_settings_that_do_not_go_together(wrong, words):
    with pytest.raises(ValueError, match=words):
        task_of(**wrong)


def test_distances_are_measured_where_they_are_known(frozen, batch, output):
    task = task_of()
    measure = jax.jit(task.metrics)
    errors = measure(output, frozen, batch)
    place = np.asarray(crop_batches.image_batch(batch).camera)
    weak = np.asarray(output.camera)
    depth = 2 / (place[:, 2] * weak[:, 0])
    transl = np.c_[weak[:, 1:] + depth[:, None] * place[:, :2], depth]
    pelvis = np.asarray(output.body.joints[:, 0]) + transl
    rest = frozen.body.joint_template[0] + batch.betas @ frozen.body.joint_dirs[:10, 0]
    distance, expected = (np.linalg.norm(p, axis=1) for p in (pelvis, rest + batch.transl))
    # The others' cameras are EXIF's, and guessed.
    np.testing.assert_allclose(
        errors['distance_error'], [*abs(distance / expected - 1)[:2], np.nan, np.nan], rtol=1e-4
    )
    np.testing.assert_array_equal(errors['camera_source'], np.eye(4)[[1, 1, 2, 0]])
    assert (errors['global_orient_deg'] > 1).all()
    unknown = batch.replace(transl=np.zeros((COUNT, 3), np.float32))
    assert np.isnan(measure(output, frozen, unknown)['distance_error']).all()


def test_medians_are_of_all_known_examples_of_all_splits():
    first = Measured({'mpjpe_mm': 10.0}, {'mpjpe_mm': np.ones(2), 'd': np.array([0.1, np.nan])})
    last = Measured({'mpjpe_mm': 40.0}, {'mpjpe_mm': np.ones(1), 'd': np.array([0.5])})
    assert pooled([first, last], [2, 1]) == pytest.approx({'mpjpe_mm': 20.0, 'd': 0.3})
    nothing = Measured({'mpjpe_mm': 1.0}, {'mpjpe_mm': np.ones(1), 'd': np.array([np.nan])})
    assert pooled([nothing], [1]) == {'mpjpe_mm': 1.0}
