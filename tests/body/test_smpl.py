"""The body model: against a second implementation, by hand, and its files."""

import pickle
import zipfile

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
from random_body import random_smpl, smplh_arrays
from scipy.spatial.transform import Rotation

from tokenhmr_jax.body import rotations, skeleton, smpl
from tokenhmr_jax.readers import smpl_files
from tokenhmr_jax.types import SmplParams

forward = jax.jit(smpl.forward)


def random_pose(rng, *lead):
    """Rotation matrices (*lead, 3, 3), far from rest."""
    turn = Rotation.from_rotvec(rng.normal(0, 0.5, (np.prod(lead), 3)))
    return turn.as_matrix().reshape(*lead, 3, 3).astype(np.float32)


@pytest.fixture(scope='module')
def arrays():
    return random_smpl(2)


def loop_smpl(arrays, pose, betas):
    """SMPL with homogeneous matrices, one body, one joint and one vertex at a time, in float64."""
    shaped = arrays['v_template'] + arrays['shapedirs'][..., : len(betas)] @ betas
    joints = arrays['J_regressor'] @ shaped
    feature = (pose[1:] - np.eye(3)).reshape(-1)
    shaped = shaped + arrays['posedirs'][..., : len(feature)] @ feature
    world = []
    for j, parent in enumerate(skeleton.PARENTS):
        local = np.eye(4)
        local[:3, :3] = pose[j]
        local[:3, 3] = joints[j] - (joints[parent] if j else 0)
        world.append(world[parent] @ local if j else local)
    posed = np.stack([w[:3, 3] for w in world])
    skin = []
    for v, weights in zip(shaped[::50], arrays['weights'][::50], strict=True):
        blended = sum(
            weight * w @ np.append(v - joint, 1)
            for weight, w, joint in zip(weights, world, joints, strict=True)
        )
        skin.append(blended[:3])
    return np.stack(skin), posed


def test_forward_agrees_with_a_loop_in_float64(arrays, rng):
    pose = Rotation.random(24, random_state=3).as_matrix()
    betas = rng.normal(size=7)
    skin, joints = loop_smpl(arrays, pose, betas)
    f32 = lambda x: np.asarray(x, np.float32)  # noqa: E731
    transl = f32([0.5, -1, 2])
    params = SmplParams(f32(pose[0]), f32(pose[1:]), f32(betas), transl)
    output = forward(smpl.body_from_arrays(arrays), params)
    np.testing.assert_allclose(output.vertices[::50], skin + transl, atol=2e-5)
    np.testing.assert_allclose(output.joints, joints + transl, atol=1e-5)


def test_joints_left_out_rest_and_any_leading_shape_works(random_body, rng):
    pose = random_pose(rng, 2, 3, 24)
    pose[..., 22:, :, :] = np.eye(3)
    full = forward(random_body, SmplParams(pose[..., 0, :, :], pose[..., 1:, :, :]))
    short = forward(random_body, SmplParams(pose[..., 0, :, :], pose[..., 1:22, :, :]))
    assert short.vertices.shape == (2, 3, 6890, 3)
    np.testing.assert_allclose(short.vertices, full.vertices, atol=1e-5)
    np.testing.assert_allclose(short.joints, full.joints, atol=1e-6)
    alone = forward(random_body, SmplParams(pose[1, 2, 0], pose[1, 2, 1:]))
    np.testing.assert_allclose(alone.vertices, full.vertices[1, 2], atol=1e-5)


def test_gradient_through_the_whole_body(random_body, rng):
    """The directional derivative against a finite difference, at rest and in a pose."""

    def height(axis_angle, body):
        rotation = rotations.axis_angle_to_matrix(axis_angle)
        output = smpl.forward(body, SmplParams(rotation[0], rotation[1:]))
        return jnp.sum(output.vertices[::7] * 0.01) + jnp.sum(output.joints)

    value_and_grad = jax.jit(jax.value_and_grad(height))
    direction = rng.normal(size=(24, 3)).astype(np.float32)
    for scale in (0.0, 0.6):
        point = scale * rng.normal(size=(24, 3)).astype(np.float32)
        step = 1e-2
        _, gradient = value_and_grad(point, random_body)
        above, _ = value_and_grad(point + step * direction, random_body)
        below, _ = value_and_grad(point - step * direction, random_body)
        np.testing.assert_allclose(
            np.vdot(gradient, direction), (above - below) / (2 * step), rtol=2e-3
        )


def test_a_thin_body_is_every_nth_vertex_of_the_whole(random_body, rng):
    pose, betas = random_pose(rng, 2, 24), rng.normal(size=(2, 10)).astype(np.float32)
    params = SmplParams(pose[:, 0], pose[:, 1:], betas)
    whole, thin = (forward(b, params) for b in (random_body, smpl.thin(random_body, 100)))
    np.testing.assert_allclose(thin.vertices, whole.vertices[:, ::100], atol=1e-5)
    np.testing.assert_allclose(thin.joints, whole.joints, atol=1e-6)


def test_keypoints_take_landmarks_from_the_skin(random_body):
    rest = np.tile(np.eye(3, dtype=np.float32), (24, 1, 1))
    output = jax.device_get(forward(random_body, SmplParams(rest[0], rest[1:])))
    keypoints = np.asarray(jax.jit(smpl.keypoints)(random_body, output))
    at = {name: keypoints[i] for i, name in enumerate(skeleton.KEYPOINTS)}
    np.testing.assert_array_equal(at['OP Nose'], output.vertices[332])
    np.testing.assert_array_equal(at['OP LBigToe'], output.vertices[3216])
    np.testing.assert_array_equal(at['OP RHeel'], output.vertices[6787])
    np.testing.assert_array_equal(at['OP LWrist'], output.joints[20])
    expected = random_smpl(1)['joint_regressor_extra'] @ output.vertices
    np.testing.assert_allclose(keypoints[25:], expected, atol=1e-6)
    with pytest.raises(ValueError, match='J19'):
        smpl.keypoints(random_body.replace(extra_regressor=None), output)


def test_twins_are_an_involution_and_exchange_sides():
    for twins in (skeleton.JOINT_TWINS, skeleton.BODY_JOINT_TWINS, skeleton.KEYPOINT_TWINS):
        np.testing.assert_array_equal(twins[twins], np.arange(len(twins)))
    assert skeleton.JOINTS[skeleton.JOINT_TWINS[4]] == 'right_knee'
    assert skeleton.KEYPOINTS[skeleton.KEYPOINT_TWINS[4]] == 'OP LWrist'
    assert skeleton.KEYPOINTS[skeleton.KEYPOINT_TWINS[38]] == 'LSP Head Top'
    assert (np.arange(44) != skeleton.KEYPOINT_TWINS).sum() == 22 + 12


def test_smplh_with_resting_hands_is_smplh_with_identity_hands(tmp_path, rng):
    np.savez(tmp_path / 'SMPLH_NEUTRAL.npz', **smplh_arrays())
    body = smpl_files.load_body_file(tmp_path / 'SMPLH_NEUTRAL.npz')
    assert body.num_joints == 52
    assert body.hand_mean.shape == (30, 3)
    pose = random_pose(rng, 2, 22)
    identity = np.tile(np.eye(3, dtype=np.float32), (2, 30, 1, 1))
    short = forward(body, SmplParams(pose[:, 0], pose[:, 1:]))
    full = forward(body, SmplParams(pose[:, 0], np.concatenate([pose[:, 1:], identity], 1)))
    np.testing.assert_allclose(short.vertices, full.vertices, atol=1e-5)
    np.testing.assert_allclose(short.joints, full.joints, atol=1e-6)


def test_smplh_merged_with_mano_in_a_pickle(tmp_path):
    """As TokenHMR's data has it: names of the hand components that are not needed stay unread."""
    arrays = smplh_arrays()
    more = {f'hands_components{side}': np.eye(45) for side in 'lr'} | {'bs_style': 'lbs'}
    path = tmp_path / 'SMPLH_NEUTRAL.pkl'
    path.write_bytes(pickle.dumps(arrays | more, protocol=2))
    mean = smpl_files.load_body_file(path).hand_mean
    hands = [arrays['hands_meanl'].reshape(15, 3), arrays['hands_meanr'].reshape(15, 3)]
    np.testing.assert_allclose(mean, np.concatenate(hands), rtol=1e-6)
    path.write_bytes(pickle.dumps(arrays | {'hands_meanl': np.zeros(6)}))
    with pytest.raises(ValueError, match=r'NEUTRAL\.pkl: hands_meanl has shape \(6,\)'):
        smpl_files.load_body_file(path)


def assert_same_body(a, b):
    chex.assert_trees_all_equal(a, b)
    assert a.parents == b.parents


def test_npz_and_pickle_with_sparse_regressor_load_alike(tmp_path, arrays):
    np.savez(tmp_path / 'body.npz', **arrays)
    official = {k: v for k, v in arrays.items() if k != 'joint_regressor_extra'}
    official |= {'J_regressor': scipy.sparse.csc_matrix(arrays['J_regressor']), 'bs_style': 'lbs'}
    (tmp_path / 'body.pkl').write_bytes(pickle.dumps(official, protocol=2))
    (tmp_path / 'J19.pkl').write_bytes(pickle.dumps(arrays['joint_regressor_extra'], protocol=2))
    from_pickle = smpl_files.load_body_file(tmp_path / 'body.pkl', tmp_path / 'J19.pkl')
    assert_same_body(smpl_files.load_body_file(tmp_path / 'body.npz'), from_pickle)
    assert smpl.topology(from_pickle)['num_vertices'] == 6890


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'weights': None}, 'no weights'),
        ({'posedirs': np.zeros((6890, 3, 206))}, r'posedirs has shape \(6890, 3, 206\)'),
        ({'v_template': np.full((6890, 3), np.nan)}, 'v_template holds values that are not finite'),
        ({'f': np.full((10, 3), 6890, np.uint32)}, 'another topology'),
    ],
)
def test_a_file_that_is_not_a_body_is_refused_by_name(tmp_path, arrays, change, message):
    content = {k: v for k, v in (arrays | change).items() if v is not None}
    np.savez(tmp_path / 'odd.npz', **content)
    with pytest.raises(ValueError, match=rf'odd\.npz.*{message}'):
        smpl_files.load_body_file(tmp_path / 'odd.npz')


def test_smplx_is_refused_as_another_topology(arrays):
    count = 10475
    grown = {
        'v_template': np.zeros((count, 3)),
        'shapedirs': np.zeros((count, 3, 10)),
        'posedirs': np.zeros((count, 3, 207)),
        'weights': np.zeros((count, 24)),
        'J_regressor': np.zeros((24, count)),
        'joint_regressor_extra': np.zeros((19, count)),
    }
    with pytest.raises(ValueError, match=r'10475 vertices.*another topology'):
        smpl.body_from_arrays(arrays | grown)


def test_missing_and_truncated_files_are_named(tmp_path, arrays):
    with pytest.raises(FileNotFoundError, match=r'nowhere\.npz'):
        smpl_files.load_body_file(tmp_path / 'nowhere.npz')
    np.savez(tmp_path / 'whole.npz', **arrays)
    content = (tmp_path / 'whole.npz').read_bytes()
    (tmp_path / 'cut.npz').write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r'cut\.npz'):
        smpl_files.load_body_file(tmp_path / 'cut.npz')
    (tmp_path / 'cut.pkl').write_bytes(pickle.dumps(arrays)[:5000])
    with pytest.raises(ValueError, match=r'cut\.pkl'):
        smpl_files.load_body_file(tmp_path / 'cut.pkl')
    with zipfile.ZipFile(tmp_path / 'empty.npz', 'w'):
        pass
    with pytest.raises(ValueError, match=r'empty\.npz: no v_template'):
        smpl_files.load_body_file(tmp_path / 'empty.npz')
