"""The API of pictures and people: `Model.predict`, `apply`, and what is made of their bodies."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from small_model import picture

import tokenhmr_jax
from tokenhmr_jax.body import rotations
from tokenhmr_jax.inference.inputs import picture_files
from tokenhmr_jax.inference.outputs import results
from tokenhmr_jax.inference.people.persons import box_of_points

BOXES = np.float32([[4, 4, 40, 60], [20, 2, 70, 60], [50, 10, 90, 64]])


@pytest.fixture(scope='module')
def image():
    return picture(64, 96)


@pytest.fixture(scope='module')
def bodies(small_model, image):
    return small_model.predict(image, BOXES, 200.0)


def test_the_package_shows_what_it_has():
    assert dir(tokenhmr_jax) == sorted(tokenhmr_jax.__all__)
    for name in tokenhmr_jax.__all__:
        assert getattr(tokenhmr_jax, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = tokenhmr_jax.nothing


def test_a_new_number_of_people_up_to_a_power_of_two_compiles_nothing(small_model, image, bodies):
    """And gives each of them the body that they have alone."""
    before = small_model._bodies._cache_size()
    more = small_model.predict(image, [*BOXES, BOXES[0]], 200.0)
    assert small_model._bodies._cache_size() == before and len(more) == 4
    np.testing.assert_allclose(more.vertices[:3], bodies.vertices, atol=1e-4)
    np.testing.assert_allclose(more.translation[3], bodies.translation[0], rtol=1e-3)


def test_pictures_of_all_kinds(tmp_path, image):
    grey = image[..., 0]
    assert (picture_files.as_picture(grey).image == grey[..., None]).all()
    assert (picture_files.as_picture(grey[..., None]).image == grey[..., None]).all()
    assert picture_files.as_picture(image).image is image
    half = np.dstack([image, np.full(grey.shape, 255, np.uint8)])
    half[:, :48, 3] = 0  # over white
    found = picture_files.as_picture(half).image
    assert (found[:, :48] == 255).all() and (found[:, 48:] == image[:, 48:]).all()
    assert (picture_files.as_picture(Image.fromarray(image)).image == image).all()
    assert (picture_files.as_picture(Image.fromarray(half)).image == found).all()
    Image.fromarray(image).save(tmp_path / 'a.png')
    assert (picture_files.as_picture(tmp_path / 'a.png').image == image).all()
    for wrong in (image[None], np.zeros((0, 4), np.uint8), np.zeros((4, 4, 5)), np.full(4, 'x')):
        with pytest.raises(ValueError, match='expected a picture'):
            picture_files.as_picture(wrong)


def test_several_pictures_have_people_of_their_own(small_model, image, tmp_path, bodies):
    Image.fromarray(image).save(tmp_path / 'a.png')
    given = [image, str(tmp_path / 'a.png')]
    one, two = small_model.predict(given, [BOXES, BOXES[:0]], 200.0)
    np.testing.assert_allclose(one.vertices, bodies.vertices, atol=1e-6)
    assert len(two) == 0
    with pytest.raises(ValueError, match='1 boxes for 2 pictures: expected one of each'):
        small_model.predict(given, [BOXES])


def test_nobody(small_model, image, tmp_path):
    nobody = small_model.predict(image, [])
    assert nobody.vertices.shape == (0, 6890, 3) and nobody.params.body_pose.shape == (0, 23, 3, 3)
    assert nobody.to_smpl()['body_pose'].shape == (0, 69)
    assert 'Bodies of 0 people in a picture of 96 x 64 px' in repr(nobody)
    with pytest.raises(ValueError, match='no people'):
        nobody.to_glb()
    written = nobody.save(tmp_path / 'out')
    assert sorted(path.name for path in written.iterdir()) == ['bodies.npz', 'overlay.jpg']


def test_files(bodies, tmp_path):
    written = bodies.save(tmp_path / 'out')
    assert sorted(path.name for path in written.iterdir()) == [
        'bodies.npz', 'body_0.glb', 'body_1.glb', 'body_2.glb', 'overlay.jpg', 'scene.glb',
    ]  # fmt: skip
    stored = results.read_arrays(written / 'bodies.npz')
    np.testing.assert_array_equal(stored['joints'], bodies.joints)
    assert (written / 'scene.glb').read_bytes() == bodies.to_glb()
    assert bodies.to_glb()[:4] == b'glTF'
    height, width = bodies.overlay().shape[:2]
    assert (height, width) == (64, 96 + 32)
    assert repr(bodies).startswith(
        'Bodies of 3 people in a picture of 96 x 64 px, focal length 200 px\n  global_orient (3, 3'
    )


def test_smpl_parameters_are_the_bodies(bodies):
    found = bodies.to_smpl()
    turns = rotations.axis_angle_to_matrix(found['body_pose'].reshape(3, 23, 3))
    np.testing.assert_allclose(turns, bodies.params.body_pose, atol=1e-5)
    root = rotations.axis_angle_to_matrix(found['global_orient'])
    np.testing.assert_allclose(root, bodies.params.global_orient, atol=1e-5)
    np.testing.assert_array_equal(found['transl'], bodies.translation)


@pytest.mark.slow
def test_apply_is_a_function_of_arrays(small_model, image):
    """It can be jitted and differentiated, by the weights and by the picture."""
    crops = jnp.asarray(picture(64, 64)[None], jnp.float32)

    @jax.jit
    def height(weights, crops):
        joints = small_model.apply(weights, crops).body.joints
        return jnp.ptp(joints[..., 1])

    by_weights, by_crops = jax.grad(height, argnums=(0, 1), allow_int=True)(
        small_model.weights, crops
    )
    assert np.isfinite(by_crops).all() and (by_crops != 0).any()
    assert any((np.asarray(each) != 0).any() for each in jax.tree.leaves(by_weights.params))
    expected = small_model.predict_crops(picture(64, 64)[None]).body.joints
    np.testing.assert_allclose(
        height(small_model.weights, crops), np.ptp(expected[..., 1]), rtol=1e-3
    )


def test_keypoints_give_the_boxes_of_a_network_that_reads_pixels_alone(small_model):
    keypoints = np.zeros((2, 44, 3), np.float32)
    keypoints[:, :3] = [
        [[10, 10, 1], [30, 12, 1], [20, 50, 1]],
        [[40, 5, 1], [80, 9, 1], [60, 55, 1]],
    ]
    found = small_model.predict(picture(64, 96), keypoints=keypoints)
    boxes = [box_of_points(points) for points in keypoints]
    expected = small_model.predict(picture(64, 96), boxes)
    np.testing.assert_array_equal(found.vertices, expected.vertices)
