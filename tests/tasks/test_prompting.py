"""Training on keypoints alone, and the network that comes out of it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import REGRESSOR_SIZES, command, quickstart_config

import tokenhmr_jax
from tokenhmr_jax import pack
from tokenhmr_jax.body import keypoint_conventions
from tokenhmr_jax.checkpoints.store import Checkpoints
from tokenhmr_jax.data import pipeline
from tokenhmr_jax.evaluate import evaluate
from tokenhmr_jax.studies import lifting, prompts
from tokenhmr_jax.tasks import make_task, prompting
from tokenhmr_jax.train import train
from tokenhmr_jax.training.trained_run import open_run
from tokenhmr_jax.types import Prompts

TINY = REGRESSOR_SIZES | {
    'batch_size': 0,
    'model.inputs': ('prompts',),
    'model.head': 'direct',
    'model.prompts.width': 16,
    'model.prompts.depth': 1,
    'model.prompts.heads': 2,
    'model.prompts.mlp_dim': 16,
    'model.prompts.lifter_width': 16,
    'model.prompts.lifter_blocks': 1,
    'model.prompts.dtype': 'float32',
    'data.validation': ('amass/procedural_heldout',),
    'data.ground_truth': (),
    'people.batch_size': 16,
    'people.poses': ('amass/procedural',),
    'people.max_poses': 100,
    'eval.limit': 16,
}


def lifter_config(prepared, **overrides):
    config = quickstart_config('regressor', {})
    config.data.mixture = type(config)()
    settings = TINY | {'data.data_dir': str(prepared)} | overrides
    config.update_from_flattened_dict(settings)
    return config


@pytest.fixture(scope='module')
def run(prepared, tmp_path_factory):
    """The workdir of a lifter's training, stopped once and gone on, and its last state."""
    folder = str(tmp_path_factory.mktemp('lifter'))
    train(lifter_config(prepared, num_steps=3), folder)
    return folder, train(lifter_config(prepared), folder)


@pytest.fixture(scope='module')
def task(prepared):
    return make_task(lifter_config(prepared))


def people(count=3):
    """A standing person's COCO keypoints, in pixels of a 640 x 480 picture."""
    x = [0, 6, -6, 12, -12, 35, -35, 50, -50, 55, -55, 22, -22, 25, -25, 27, -27]
    y = [0, -6, -6, -2, -2, 40, 40, 95, 95, 145, 145, 150, 150, 235, 235, 315, 315]
    points = np.stack([320 + np.array(x), 80 + np.array(y), np.ones(17)], axis=-1)
    return np.tile(keypoint_conventions.to_44(points.astype(np.float32), 'coco'), (count, 1, 1))


PICTURE = np.zeros((480, 640, 3), np.uint8)


@pytest.mark.slow
def test_training_on_keypoints_goes_on_where_it_stopped(run, prepared, tmp_path):
    whole = train(lifter_config(prepared), str(tmp_path))
    assert int(whole.step) == 6
    jax.tree.map(np.testing.assert_array_equal, whole.params, run[1].params)


@pytest.mark.slow
def test_one_device_and_eight_draw_the_same_people(task):
    """Random numbers belong to a person, not to a device."""
    frozen = task.frozen(training=True)
    keys = jax.random.split(jax.random.key(0), 16)
    poses = prompting.pick_poses(jax.random.key(1), frozen.poses, 16)
    draw = jax.jit(lambda *x: prompting.draw_people(*x, task.config).prompts.keypoints2d)
    alone = draw(keys, frozen.keypoint_body, poses)
    split = jax.sharding.NamedSharding(
        jax.sharding.Mesh(np.array(jax.devices()), 'x'), jax.sharding.PartitionSpec('x')
    )
    spread = jax.device_put((keys, poses), split)
    np.testing.assert_allclose(draw(spread[0], frozen.keypoint_body, spread[1]), alone, atol=1e-5)


@pytest.mark.slow
def test_a_packed_checkpoint_predicts_as_the_run(run, tmp_path):
    size = pack.pack(run[0], tmp_path / 'packed')
    model, whole = (tokenhmr_jax.load(str(p)) for p in (tmp_path / 'packed', run[0]))
    ours = model.predict(PICTURE, keypoints=people())
    np.testing.assert_allclose(
        ours.vertices, whole.predict(PICTURE, keypoints=people()).vertices, atol=5e-3
    )
    with Checkpoints(run[0], create=False) as saved:
        arrays = jax.tree.leaves(saved.read_model(saved.find('best')))
    assert size == sum(x.nbytes for x in arrays) / 2
    with pytest.raises(ValueError, match='holds a checkpoint already'):
        pack.pack(run[0], tmp_path / 'packed')


@pytest.mark.slow
def test_predictions_of_keypoints(run):
    model = tokenhmr_jax.load(run[0])
    found = model.predict(PICTURE, keypoints=people())
    assert found.vertices.shape == (3, 6890, 3) and np.isfinite(found.vertices).all()
    # Projected by the picture's own camera.
    seen = found.keypoints3d + found.translation[:, None]
    pixels = found.focal_length[:, None, None] * seen[..., :2] / seen[..., 2:]
    pixels += found.principal_point[:, None]
    np.testing.assert_allclose(found.keypoints2d, pixels, atol=0.5)
    one = people(1) * (np.arange(44) == 0)[:, None]
    assert np.isfinite(model.predict(PICTURE, keypoints=one).vertices).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    'given, words',
    [({'boxes': [[0, 0, 9, 9]]}, 'reads 2D keypoints, no pictures'),
     ({'keypoints': np.zeros((2, 44, 3))}, r'persons \[0, 1\]: no keypoint is known'),
     ({'keypoints': np.full((1, 44, 3), np.nan)}, r'persons \[0\]: no keypoint is known'),
     ({'keypoints': np.zeros((2, 17, 3))}, r'shape \(2, 17, 3\): expected \(N, 44, 3\)')],
)  # fmt: skip
def test_people_of_whom_nothing_can_be_read(run, given, words):
    with pytest.raises(ValueError, match=words):
        tokenhmr_jax.load(run[0]).predict(PICTURE, **given)


@pytest.mark.slow
def test_a_network_of_pictures_and_keypoints(prepared, tmp_path):
    """Each of its inputs is measured alone, too; keypoints of nobody are not read."""
    data = tmp_path / 'data'
    command(
        'datasets/mannequin/mannequin_dataset_builder.py', f'--data_dir={data}',
        '--num_train=16', '--num_pseudo=0', '--num_heldout=8', '--num_processes=1',
    )  # fmt: skip
    (data / 'amass').symlink_to(prepared / 'amass')
    sizes = {name: value for name, value in TINY.items() if name.startswith('model.prompts.')}
    settings = REGRESSOR_SIZES | sizes | {
        'model.inputs': ('image', 'prompts'),
        'people.batch_size': 8,
        'people.poses': ('amass/procedural',),
        'people.max_poses': 100,
        'data.data_dir': str(data),
        'tokenizer.checkpoint': '',
        'model.head': 'direct',
    }  # fmt: skip
    train(quickstart_config('regressor', settings), str(tmp_path / 'run'))
    rows = evaluate(str(tmp_path / 'run'), out=str(tmp_path))
    names = ('regressor', 'regressor, image alone', 'regressor, prompts alone')
    assert len({rows[name]['mpjpe_mm'] for name in names}) == 3
    by_condition = prompts.measure(open_run(tmp_path / 'run'), 'mannequin/suit_heldout')
    same = dict(zip(('image and keypoints', 'image alone', 'keypoints alone'), names, strict=True))
    for condition, name in same.items():
        assert by_condition[condition]['mpjpe_mm'] == pytest.approx(rows[name]['mpjpe_mm'])
    model = tokenhmr_jax.load(str(tmp_path / 'run'))
    boxes = [[220, 60, 420, 420]] * 3
    found = lambda **given: model.predict(PICTURE, boxes, **given).vertices  # noqa: E731
    without, far = found(), people()
    far[..., :2] += 1e5
    assert np.abs(found(keypoints=people()) - without).max() > 1e-6
    for nothing in (np.full((3, 44, 3), np.nan), far):
        np.testing.assert_array_equal(found(keypoints=nothing), without)


@pytest.mark.slow
def test_errors_by_what_is_seen(run, prepared):
    found = lifting.measure(open_run(run[0]), str(prepared), 'amass/procedural_heldout', 40)
    assert found.keys() == lifting.CONDITIONS.keys()
    assert all(0 < values['people'] <= 40 for values in found.values())
    assert all(0 < values['pa_mpjpe_mm'] <= values['mpjpe_mm'] for values in found.values())


def test_records_of_poses_are_seen_by_their_own_cameras(task, prepared):
    """The same people in any batch."""
    split = pipeline.open_split(str(prepared), 'amass/procedural_heldout')
    rows = [pipeline.take([split], indices) for indices in ([0, 1, 2, 3], [2])]
    many, one = (task.batch(columns) for columns in rows)
    np.testing.assert_allclose(many.keypoints2d[2], one.keypoints2d[0], atol=1e-4)
    assert many.image is None and (many.prompts.has_image == 0).all()


def test_dropped_parts():
    config = quickstart_config('regressor', {})
    given = Prompts(jnp.ones((400, 44, 3)), jnp.ones((400, 3)), jnp.ones(400), jnp.ones(400))
    drop = lambda **rates: prompting.drop_parts(  # noqa: E731
        jax.random.key(0), given, _with(config, drop_camera=0.0, **rates)
    )
    everything = drop(drop_image=1.0, drop_keypoints2d=0.5)
    without = np.asarray(everything.keypoints2d[:, 0, 2]) == 0
    assert 0.4 < without.mean() < 0.6
    # Each person keeps the one or the other.
    np.testing.assert_array_equal(np.asarray(everything.has_image) == 1, without)
    assert (drop(drop_image=0.0, drop_keypoints2d=0.0).has_image == 1).all()


def test_mistaken_keypoints_come_with_an_image():
    config = _with(quickstart_config('regressor', {}), drop_camera=0.0, mistaken=0.5)
    config = _with(config, drop_image=0.5, drop_keypoints2d=0.0)
    points = jnp.ones((400, 44, 3)).at[:, :, 0].set(jnp.arange(400.0)[:, None])
    given = Prompts(points, jnp.ones((400, 3)), jnp.ones(400), jnp.ones(400))
    found = prompting.drop_parts(jax.random.key(0), given, config)
    wrong = np.asarray(found.keypoints2d[:, 0, 0]) != np.arange(400)
    assert not wrong[np.asarray(found.has_image) == 0].any()
    assert 0.35 < wrong[np.asarray(found.has_image) == 1].mean() < 0.65


def _with(config, **rates):
    config.prompts.update(rates)
    return config


@pytest.mark.parametrize(
    'settings, words',
    [({'people.batch_size': 0}, 'nothing to train on'),
     ({'model.inputs': ('image',)}, "people without pictures need 'prompts'"),
     ({'model.inputs': ('prompts', 'sound')}, "sound.*: expected of 'image', 'camera', 'prompts'"),
     ({'eval.inputs': ('image',)}, r"eval.inputs=\('image',\): expected some of model.inputs"),
     ({'people.tilted': 2.0}, 'tilted=2.0')],
)  # fmt: skip
def test_settings_that_do_not_go_together(prepared, settings, words):
    config = lifter_config(prepared)
    with pytest.raises(ValueError, match=words):
        make_task(_updated(config, settings))


def _updated(config, settings):
    config.update_from_flattened_dict(settings)
    return config
