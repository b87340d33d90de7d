"""Converted weights in use: `tokenhmr_jax.load` and `load_tokenizer`, from the checkpoint alone."""

import json
import shutil

import chex
import image_records
import jax
import numpy as np
import pytest
from conftest import ORIGINAL_SIZES
from golden import assert_close

import tokenhmr_jax
from tokenhmr_jax import evaluate
from tokenhmr_jax.body import rotations, smpl
from tokenhmr_jax.checkpoints.store import Checkpoints
from tokenhmr_jax.convert import convert_weights
from tokenhmr_jax.data import augment
from tokenhmr_jax.tasks import make_task
from tokenhmr_jax.training.kept_files import keep_files
from tokenhmr_jax.types import PoseTokens, SmplParams

torch = pytest.importorskip('torch')
original_format = pytest.importorskip('original_format')


@pytest.fixture(scope='module')
def model(converted):
    return tokenhmr_jax.load(str(converted / 'tokenhmr'))


@pytest.fixture(scope='module')
def tokenizer(converted):
    return tokenhmr_jax.load_tokenizer(str(converted / 'tokenizer'))


@pytest.fixture(scope='module')
def poses():
    """Rotations (3, 21, 3, 3)."""
    vectors = np.random.default_rng(0).normal(0, 0.4, (3, 21, 3)).astype(np.float32)
    return np.asarray(rotations.axis_angle_to_matrix(vectors))


@pytest.mark.parametrize('name', ['tokenhmr', 'large_tokenhmr', 'hmr2'])
def test_predictions_are_those_of_pytorch(name, converted, contents, model):
    """Other sizes than the reference's, the published number of tokens among them, and HMR2.0's
    head with its rotations by columns."""
    ours = model if name == 'tokenhmr' else tokenhmr_jax.load(str(converted / name))
    image = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)
    output = ours.predict_crops(image)
    mean, std = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
    given = torch.from_numpy(((image / 255 - mean) / std).astype(np.float32)).movedim(-1, 1)
    stage1 = None if name == 'hmr2' else contents[f'{name.replace("hmr", "izer")}.pth']
    weights = contents[f'{name}.ckpt']['state_dict']
    heads = ORIGINAL_SIZES['model.backbone.heads']
    pose, betas, weak, probs = original_format.predict(weights, stage1, given, heads)
    rotation = original_format.rotations(pose, columns=name == 'hmr2')
    np.testing.assert_allclose(output.params.global_orient, rotation[:, 0], atol=2e-5)
    np.testing.assert_allclose(output.params.body_pose, rotation[:, 1:], atol=2e-5)
    assert_close(output.params.betas, betas.numpy())
    assert_close(output.camera, weak.numpy())
    if name == 'hmr2':
        assert output.token_probs is None
    else:
        assert_close(output.token_probs, probs.numpy())


@pytest.mark.parametrize(('mul', 'div', 'depth'), [(1, 2, 2), (4, 4, 1)])
def test_tokenizers_of_other_sizes_are_those_of_pytorch(configs, tmp_path, mul, div, depth):
    content = original_format.tokenizer(width=12, code=6, codes=40, mul=mul, div=div, depth=depth)
    source = original_format.save(tmp_path / 'tokenizer.pth', content)
    convert_weights(source, tmp_path / 'run', configs['tokenizer'])
    ours = tokenhmr_jax.load_tokenizer(str(tmp_path / 'run'))
    weights, arch = content['net'], content['hparams']['ARCH']
    pose = original_format.rotations(torch.randn(5, 21, 6), columns=False)
    codes = weights['quantizer.codebook']
    latents = original_format.encode(weights, arch, pose[..., :2, :].flatten(-2))
    nearest = torch.cdist(latents, codes[None]).argmin(-1)
    tokens = ours.encode(pose.numpy())
    assert tokens.indices.shape == (5, 20 * 2 ** (mul - 1))
    np.testing.assert_array_equal(tokens.indices, nearest)
    decoded = original_format.rotations(
        original_format.decode(weights, arch, codes[nearest]), False
    )
    np.testing.assert_allclose(ours.decode(tokens), decoded, atol=2e-5)


@pytest.mark.slow
def test_weights_on_other_devices_give_the_same_outputs(converted, model, tmp_path):
    """Restored in pieces on eight devices, where one device restores them whole; and back."""
    mesh = jax.sharding.Mesh(np.array(jax.devices()), ('data',))

    def split(x):
        axes = [i for i, size in enumerate(x.shape) if size % 8 == 0]
        spec = [None] * x.ndim
        if axes:
            spec[axes[0]] = 'data'
        place = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*spec))
        return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place)

    like = jax.tree.map(split, (model.params, model.state))
    with Checkpoints(str(converted / 'tokenhmr'), create=False) as saved:
        params, state = saved.restore_model(saved.find('last'), *like)
        description = saved.read_config(saved.find('last'))
    qkv = params['backbone']['block0']['attention']['qkv']['kernel']
    assert len(qkv.sharding.device_set) == 8 and not qkv.is_fully_replicated
    task = make_task(model.config)
    image = np.random.default_rng(1).integers(0, 256, (2, 64, 64, 3), np.uint8)
    pieces = jax.jit(task.model.apply)(params, state, image)
    whole = model.predict_crops(image)
    np.testing.assert_allclose(pieces.params.body_pose, whole.params.body_pose, atol=1e-5)
    np.testing.assert_allclose(pieces.token_probs, whole.token_probs, atol=1e-6)
    with Checkpoints(str(tmp_path)) as saved:
        saved.save_converted(0, params, state, description)
    keep_files(str(tmp_path), model.config)
    back = tokenhmr_jax.load(str(tmp_path))
    chex.assert_trees_all_equal(back.params, model.params)
    chex.assert_trees_all_equal(back.state, model.state)
    assert len(back.params['head']['betas']['bias'].sharding.device_set) == 1


@pytest.mark.slow
def test_converted_weights_are_evaluated(converted, tmp_path, capsys, model):
    """Without the data that they were trained on, which few have."""
    rng = np.random.default_rng(4)
    records = [image_records.make(rng, key=f'test/{i}') for i in range(8)]
    image_records.prepare(tmp_path, 'mannequin', {'suit_heldout': records})
    settings = {'data_dir': str(tmp_path), 'out': str(tmp_path), 'truth': 'body'}
    rows = evaluate.evaluate(str(converted / 'tokenhmr'), **settings)
    assert list(rows) == ['regressor']
    assert 'no baselines, for want of the training data' in capsys.readouterr().out
    # The same by hand, two at a time: errors of the 14 keypoints around the 40th.
    chosen, errors = [*range(25, 38), 43], []
    seen = [
        augment.augment_crop(r, augment.Augmentation(), 64, (192, 256))['image'] for r in records
    ]
    for i in range(0, 8, 2):
        found = model.predict_crops(np.stack(seen[i : i + 2])).keypoints3d
        pair = records[i : i + 2]
        orient, pose, betas = (
            np.stack([r[name] for r in pair]) for name in ('global_orient', 'body_pose', 'betas')
        )
        truth = SmplParams(
            rotations.axis_angle_to_matrix(orient), rotations.axis_angle_to_matrix(pose), betas
        )
        true = smpl.keypoints(model.body, smpl.forward(model.body, truth))
        offset = found - found[:, 39:40] - (true - true[:, 39:40])
        errors.append(np.linalg.norm(offset[:, chosen], axis=-1).mean())
    np.testing.assert_allclose(rows['regressor']['mpjpe_mm'], 1000 * np.mean(errors), rtol=1e-3)


def test_each_kind_has_its_own_way_to_be_loaded(converted):
    with pytest.raises(ValueError, match=r'is a tokenizer, not a regressor: use .*load_tokenizer'):
        tokenhmr_jax.load(str(converted / 'tokenizer'))
    with pytest.raises(
        ValueError, match=r'is a regressor, not a tokenizer: use tokenhmr_jax\.load'
    ):
        tokenhmr_jax.load_tokenizer(str(converted / 'tokenhmr'))
    with pytest.raises(ValueError, match=r'holds a backbone alone, for config.warm_start'):
        tokenhmr_jax.load(str(converted / 'vitpose'))
    with pytest.raises(FileNotFoundError, match='no checkpoints'):
        tokenhmr_jax.load(str(converted / 'nowhere'))


def test_checkpoints_older_than_a_setting(converted, tmp_path):
    """Settings that are gone are left aside; one that is missing is named."""
    run = shutil.copytree(converted / 'tokenhmr', tmp_path / 'run')
    [path] = run.glob('checkpoints/*/config/metadata')
    stored = json.loads(path.read_text())
    stored['config']['adversarial'] = {'weight': 0.0, 'mocap': ''}
    stored['config']['model']['backbone']['drop_groups'] = 1
    path.write_text(json.dumps(stored))
    (path.parents[1] / 'checksums.json').unlink()
    config = tokenhmr_jax.load(str(run)).config
    assert 'adversarial' not in config and 'drop_groups' not in config.model.backbone
    del stored['config']['tals']
    path.write_text(json.dumps(stored))
    with pytest.raises(ValueError, match=r"run: its config has no setting 'tals'.*config/metadata"):
        tokenhmr_jax.load(str(run))


def test_tokens_do_not_mix(model, tokenizer):
    """The regressor's tokens have a name of their own, and the tokenizer does not take them."""
    prediction = model.predict(np.zeros((64, 64, 3), np.uint8), [[0, 0, 64, 64]] * 2)
    residual = prediction.residual_token_probs.argmax(-1)
    with pytest.raises(ValueError, match='is not pose tokens'):
        tokenizer.decode(residual)
    assert not hasattr(prediction, 'pose_tokens')
    with pytest.raises(ValueError, match=r'tokens of shape \(1, 3\): expected \(N, 40\)'):
        tokenizer.decode(PoseTokens(np.zeros((1, 3), int)))


def test_a_box_is_seen_alike_by_both_cameras(model):
    """The body, moved to where the image's camera sees it, covers the keypoints' pixels."""
    rng = np.random.default_rng(2)
    image = rng.integers(0, 256, (300, 400, 3), np.uint8)
    boxes = np.float32([[210, 30, 290, 210], [20, 40, 140, 100]])
    found = model.predict(image, boxes, 'original')
    # 192:256 around 80 x 180 is 135 x 180; around 120 x 60, 120 x 160.
    np.testing.assert_allclose(found.crop_center, [[250, 120], [80, 70]])
    np.testing.assert_allclose(found.crop_side, [180, 160])
    np.testing.assert_allclose(found.focal_length, 5000 / 256 * 400)
    np.testing.assert_allclose(found.principal_point, [[200, 150]] * 2)
    seen = found.keypoints3d + found.translation[:, None]
    pixels = found.focal_length[:, None, None] * seen[..., :2] / seen[..., 2:]
    pixels += found.principal_point[:, None]
    # Both cameras are far away: they differ by the body's depth over its distance.
    assert np.abs(pixels - found.keypoints2d).max() < 0.02 * 180
    np.testing.assert_allclose(found.vertices.shape, (2, 6890, 3))


def test_an_unknown_camera_sees_55_degrees(model):
    """The diagonal of 400 x 300 pixels is 500."""
    image, boxes = np.zeros((300, 400, 3), np.uint8), [[210, 30, 290, 210]]
    found = model.predict(image, boxes)
    assert 2 * np.degrees(np.arctan(250 / found.focal_length[0])) == pytest.approx(55)
    with pytest.raises(ValueError, match=r"camera_guess='wide': expected one of \['diagonal"):
        model.predict(image, boxes, 'wide')
    for wrong in (0, -5.0, float('nan'), float('inf')):
        with pytest.raises(ValueError, match=r'focal_length=.*: expected pixels, above 0'):
            model.predict(image, boxes, wrong)
    with pytest.raises(
        ValueError, match=r'focal_length of shape \(2,\): expected one number, or 1'
    ):
        model.predict(image, boxes, [500.0, 600.0])


def test_predictions_come_from_the_crop_alone(model):
    """A crop cut out by hand, at the network's own resolution, gives the same body.

    But for the turn to where the image's camera sees it.
    """
    image = np.random.default_rng(3).integers(0, 256, (128, 160, 3), np.uint8)
    found = model.predict(image, [[48, 32, 96, 96], [0, 64, 48, 128]])
    squares = [image[32:96, 40:104], np.pad(image[64:, :56], ((0, 0), (8, 0), (0, 0)))]
    by_hand = model.predict_crops(np.stack(squares))
    np.testing.assert_allclose(found.crop_camera, by_hand.camera, atol=1e-5)
    np.testing.assert_allclose(found.params.body_pose, by_hand.params.body_pose, atol=1e-4)
    straight = model.predict(image, [[48, 32, 96, 96], [0, 64, 48, 128]], 1e6)  # no angles
    np.testing.assert_allclose(straight.vertices, by_hand.body.vertices, atol=1e-3)


def test_a_number_of_boxes_is_compiled_once(model):
    image = np.zeros((64, 64, 3), np.uint8)
    model.predict(image, [[0, 0, 64, 64], [1, 2, 30, 50]])
    before = model._bodies._cache_size()
    boxes = [[5, 0, 60, 40], [9, 9, 20, 60]]
    again = model.predict_boxes([image] * 2, boxes, focal_length=800.0)
    assert model._bodies._cache_size() == before
    assert again.focal_length.tolist() == [800.0, 800.0]


@pytest.mark.parametrize(
    ('image', 'boxes', 'message'),
    [
        (np.zeros((8, 8, 3), np.uint8), [[0, 0, 4]], r'boxes of shape \(1, 3\)'),
        (np.zeros((8, 8, 3), np.uint8), [[4, 0, 4, 8]], r'boxes \[\[4.0, 0.0, 4.0, 8.0\]\]'),
        (np.zeros((8, 8, 3), np.uint8), [[0, 0, 4, np.nan]], 'finite'),
        (np.zeros((8, 8, 3), np.float32), [[0, 0, 4, 4]], 'an image of float32'),
        (np.zeros((8, 8), np.uint8), [[0, 0, 4, 4]], 'images for 1 boxes|an image of uint8'),
        ([np.zeros((8, 8, 3), np.uint8)] * 2, [[0, 0, 4, 4]], '2 images for 1 boxes'),
    ],
)
def test_wrong_images_and_boxes_are_refused(model, image, boxes, message):
    with pytest.raises(ValueError, match=message):
        model.predict_boxes(image, boxes)


def test_swapping_a_token_moves_the_pose(tokenizer, poses):
    tokens = tokenizer.encode(poses)
    old = int(tokens.indices[0, 7])
    swapped = tokenizer.swap(tokens, 7, (old + 1) % 24)
    assert np.argwhere(swapped.indices[:1] != tokens.indices[:1]).tolist() == [[0, 7]]
    assert tokens.indices[0, 7] == old, 'the tokens given stay as they are'
    assert np.abs(tokenizer.decode(swapped)[0] - tokenizer.decode(tokens)[0]).max() > 1e-4
    with pytest.raises(ValueError, match='code=24: expected 0 to 23'):
        tokenizer.swap(tokens, 0, 24)
    with pytest.raises(ValueError, match='position=40: expected 0 to 39'):
        tokenizer.swap(tokens, 40, 0)


def test_interpolation_ends_at_its_ends(tokenizer, poses):
    first, last = tokenizer.encode(poses[:1]), tokenizer.encode(poses[1:2])
    way = tokenizer.interpolate(first, last, steps=3)
    assert way.shape == (3, 1, 21, 3, 3)
    np.testing.assert_allclose(way[0], tokenizer.decode(first), atol=1e-5)
    np.testing.assert_allclose(way[2], tokenizer.decode(last), atol=1e-5)
    np.testing.assert_allclose(np.linalg.det(way), 1, atol=1e-4)


def test_nearest_codes_by_hand(tokenizer):
    codes = np.asarray(tokenizer.codes)
    others, distance = tokenizer.nearest_codes(5, count=23)
    expected = [np.sqrt(sum((codes[5] - codes[i]) ** 2)) for i in others]
    assert sorted([*others, 5]) == list(range(24))
    np.testing.assert_allclose(distance, expected, rtol=1e-5)
    assert (np.diff(distance) >= 0).all()


def test_bodies_of_poses(tokenizer, poses):
    bodies = tokenizer.bodies(poses)
    assert (bodies.vertices.shape, bodies.joints.shape) == ((3, 6890, 3), (3, 24, 3))
    with pytest.raises(ValueError, match=r'body_pose of shape \(3, 63\)'):
        tokenizer.encode(np.zeros((3, 63)))
