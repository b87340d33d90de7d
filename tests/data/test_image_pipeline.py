"""Image records through the pipeline, and the picture of them."""

import functools
import json
import pathlib
import re

import cv2
import image_records
import numpy as np
import pytest
import worker_makes
from conftest import command
from scipy.spatial.transform import Rotation

from tokenhmr_jax import preview
from tokenhmr_jax.data import augment, pipeline, records, workers
from tokenhmr_jax.drawing import render

CROP = 48


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    """Two prepared datasets of image records: 'one/train', 24 records, and 'two/train', 12."""
    folder = tmp_path_factory.mktemp('images')
    rng = np.random.default_rng(3)
    for name, count in (('one', 24), ('two', 12)):
        made = [
            image_records.make(rng, f'{name}/{i}', (160, 120), 60.0, resolution=CROP)
            for i in range(count)
        ]
        image_records.prepare(folder, name, {'train': made})
    return folder


def stream(folder, **options):
    transform = functools.partial(
        augment.random_crop,
        settings=augment.AugmentSettings(),
        crop_size=CROP,
        box_aspect=(192, 256),
    )
    options = {'batch_size': 8, 'seed': 1, 'num_threads': 2, 'transform': transform} | options
    return pipeline.train_batches(str(folder), {'two/train': 0.25, 'one/train': 0.75}, **options)


def assert_same(batches, expected):
    for ours, theirs in zip(batches, expected, strict=True):
        assert ours.keys() == theirs.keys()
        for name, value in ours.items():
            np.testing.assert_array_equal(value, theirs[name], err_msg=name)


def test_a_batch_of_crops(images):
    batch = next(stream(images))
    shapes = {name: (value.shape, value.dtype) for name, value in batch.items() if name != 'key'}
    single = np.dtype(np.float32)
    assert shapes == {
        'image': ((8, CROP, CROP, 3), np.dtype(np.uint8)),
        'color': ((8, 3), single),
        'center': ((8, 2), single),
        'center_rest': ((8, 2), single),
        'side': ((8,), single),
        'rotation': ((8,), single),
        'flip': ((8,), single),
        'principal_point': ((8, 2), single),
        'keypoints2d': ((8, 44, 3), single),
        'keypoints3d': ((8, 44, 4), single),
        'global_orient': ((8, 3), single),
        'body_pose': ((8, 23, 3), single),
        'betas': ((8, 10), single),
        'gender': ((8,), single),
        'transl': ((8, 3), single),
        'image_size': ((8, 2), single),
        'picture_focal_length': ((8,), single),
        'picture_principal_point': ((8, 2), single),
        'camera_source': ((8,), single),
        'has_pose': ((8,), single),
        'has_betas': ((8,), single),
        'source': ((8,), np.dtype(np.int32)),
    }
    # The order of sources is that of the names.
    for key, source in zip(batch['key'], batch['source'], strict=True):
        assert key.decode().startswith(('one/', 'two/')[source])


def test_augmentation_depends_on_the_seed_and_position_alone(images):
    first = [next(batches) for batches in [stream(images)] for _ in range(6)]
    again = stream(images, num_threads=1)
    assert_same([next(again) for _ in range(6)], first)
    assert not np.array_equal(next(stream(images, seed=2))['image'], first[0]['image'])
    # Each epoch another: 36 draws of the 24 records of `one`.
    keys = np.concatenate([batch['key'] for batch in first])
    color = np.concatenate([batch['color'] for batch in first])
    repeated = [np.flatnonzero(keys == key) for key in set(keys.tolist())]
    pairs = [places[:2] for places in repeated if len(places) > 1]
    assert pairs and all((color[a] != color[b]).all() for a, b in pairs)


def test_a_position_is_restored_to_the_pixel(images):
    batches = stream(images)
    for _ in range(3):
        next(batches)
    position = json.loads(json.dumps(batches.get_state()))
    expected = [next(batches) for _ in range(2)]
    fresh = stream(images)
    fresh.set_state(position)
    assert_same([next(fresh) for _ in range(2)], expected)


def test_hosts_see_the_same_crops(images):
    alone = next(stream(images))
    shares = [next(stream(images, process_index=host, process_count=2)) for host in range(2)]
    both = {name: np.concatenate([share[name] for share in shares]) for name in alone}
    assert_same([both], [alone])


def test_evaluation_takes_a_transform(images):
    split = pipeline.open_split(str(images), 'two/train')
    plain = functools.partial(
        augment.augment_crop, augmentation=augment.Augmentation(), crop_size=CROP, box_aspect=None
    )
    batches = pipeline.eval_batches(split, batch_size=8, num_threads=2, transform=plain)
    seen = [(columns, valid) for columns, valid in batches]
    assert [valid.sum() for _, valid in seen] == [8, 4]
    expected = plain(split[9])
    np.testing.assert_array_equal(seen[1][0]['image'][1], expected['image'])


def test_a_corrupt_picture_in_a_batch_is_named(tmp_path, rng):
    record = image_records.make(rng, 'one/7', (160, 120), 60.0, resolution=CROP)
    record['image'] = record['image'][:500]
    image_records.prepare(tmp_path, 'one', {'train': [record]})
    transform = functools.partial(
        augment.random_crop, settings=augment.AugmentSettings(), crop_size=CROP
    )
    batches = pipeline.train_batches(
        str(tmp_path), {'one/train': 1.0}, batch_size=1, seed=0, num_threads=1, transform=transform
    )
    with pytest.raises(ValueError, match='one/7'):
        next(batches)


@pytest.fixture(scope='module')
def one_bad(images, tmp_path_factory):
    """'one/train' again, of which record 5 has half a picture; and the name of that record."""
    folder = tmp_path_factory.mktemp('bad')
    opened = pipeline.open_split(str(images), 'one/train')
    made = [opened[i] | {'key': opened[i]['key'].decode()} for i in range(len(opened))]
    made[5] |= {'image': made[5]['image'][: len(made[5]['image']) // 2]}
    image_records.prepare(folder, 'one', {'train': made})
    return folder, made[5]['key']


def bad_stream(folder, **options):
    transform = functools.partial(
        augment.random_crop, settings=augment.AugmentSettings(), crop_size=CROP
    )
    options = {'batch_size': 8, 'seed': 1, 'num_threads': 2, 'max_bad_fraction': 0.01} | options
    return pipeline.train_batches(str(folder), {'one/train': 1.0}, transform=transform, **options)


def test_a_corrupt_picture_is_named_and_left_out(images, one_bad, caplog):
    """Another record of the dataset comes in its place, the same whenever and wherever."""
    folder, bad = one_bad
    batches = bad_stream(folder)
    epoch = [next(batches) for _ in range(3)]
    keys = [key.decode() for batch in epoch for key in batch['key']]
    assert len(keys) == 24 and len(set(keys)) == 23 and bad not in keys
    [warning] = (r.getMessage() for r in caplog.records if 'corrupt record' in r.getMessage())
    assert 'the 1. so far' in warning and bad in warning
    again = bad_stream(folder, num_threads=1)
    assert_same([next(again) for _ in range(3)], epoch)
    # Nothing else is different from the stream in which it is whole.
    whole = [next(w) for w in [bad_stream(images)] for _ in range(3)]
    whole_keys = [key.decode() for batch in whole for key in batch['key']]
    assert sum(a != b for a, b in zip(keys, whole_keys, strict=True)) == 1


@pytest.mark.parametrize('num_workers', [0, 4])
def test_too_many_corrupt_pictures_stop_the_run(one_bad, num_workers):
    """Counted over all workers: each of them has met one or two."""
    folder, bad = one_bad
    with workers.start_workers(num_workers) as started:
        # Two of the first thousand.
        batches = bad_stream(folder, max_bad_fraction=0.002, workers=started)
        for _ in range(6):
            next(batches)
        with pytest.raises(ValueError, match=rf'^3 corrupt records, .*max_bad_fraction.*{bad}'):
            for _ in range(3):
                next(batches)


def test_where_all_is_corrupt_few_are_read(tmp_path, rng):
    record = image_records.make(rng, 'one/7', (160, 120), 60.0, resolution=CROP)
    records = [record | {'key': f'one/{i}', 'image': record['image'][:500]} for i in range(40)]
    image_records.prepare(tmp_path, 'one', {'train': records})
    with pytest.raises(ValueError, match=r'^11 corrupt records, more than data.max_bad_fraction'):
        next(bad_stream(tmp_path))


@pytest.mark.parametrize('num_workers', [1, 4, pytest.param(16, marks=pytest.mark.slow)])
def test_workers_make_the_same_crops_and_resume_each_other(images, num_workers):
    batches = stream(images)
    expected = [next(batches) for _ in range(9)]
    with workers.start_workers(num_workers) as started:
        theirs = stream(images, workers=started)
        assert_same([next(theirs) for _ in range(6)], expected[:6])
        fresh = stream(images)
        fresh.set_state(json.loads(json.dumps(theirs.get_state())))
        assert_same([next(fresh) for _ in range(3)], expected[6:])
        theirs.set_state({'next_index': 4})
        assert_same([next(theirs) for _ in range(5)], expected[4:])


def test_evaluation_is_the_same_with_workers(images):
    split = pipeline.open_split(str(images), 'two/train')
    plain = functools.partial(
        augment.augment_crop, augmentation=augment.Augmentation(), crop_size=CROP
    )
    options = {'batch_size': 8, 'num_threads': 2, 'transform': plain}
    expected = list(pipeline.eval_batches(split, **options))
    with workers.Workers(2) as started:
        found = list(pipeline.eval_batches(split, workers=started, **options))
    assert_same([columns for columns, _ in found], [columns for columns, _ in expected])
    assert [valid.tolist() for _, valid in found] == [valid.tolist() for _, valid in expected]


@pytest.mark.skipif(not pathlib.Path('/proc').exists(), reason='needs /proc')
def test_a_worker_takes_little_memory(images):
    with workers.Workers(1) as started:
        batches = stream(images, workers=started, batch_size=64)
        for _ in range(20):
            next(batches)
        status = pathlib.Path(f'/proc/{started.pids[0]}/status').read_text()
        imported = set(next(started.map(worker_makes.modules, range(1))))
    assert not {'jax', 'flax', 'scipy', 'tensorflow_datasets', 'grain'} & imported
    [kilobytes] = re.findall(r'VmHWM:\s+(\d+) kB', status)
    assert int(kilobytes) < 250e3


CONFIG = """
import dataclasses
import ml_collections
from tokenhmr_jax.data import augment

def get_config():
    data = {{
        'data_dir': {folder!r}, 'mixture': {{'one/train': 0.5, 'two/train': 0.5}},
        'crop_size': 48, 'box_aspect': (192, 256),
        'augment': dataclasses.asdict(augment.AugmentSettings()),
    }}
    return ml_collections.ConfigDict({{'seed': 0, 'body': 'mannequin', 'data': data}})
"""


@pytest.mark.slow
def test_preview_draws_every_dataset(images, tmp_path):
    config, out = tmp_path / 'config.py', tmp_path / 'preview.png'
    config.write_text(CONFIG.format(folder=str(images)))
    command('-m', 'tokenhmr_jax.preview', f'--config={config}', f'--out={out}', '--num=3')
    # Six tiles in rows of four, each two crops of 48 px enlarged six times, with a caption.
    sheet = cv2.imread(str(out))
    assert sheet.shape == (2 * (288 + 24), 4 * 2 * 288, 3)


@pytest.mark.parametrize('flip', [False, True])
def test_the_drawn_body_lies_on_the_person(rng, mannequin, flip):
    """The body of the augmented labels covers the person in the augmented picture."""
    record = image_records.make(rng, image_size=(320, 240), height=200.0)
    focal, center = 300.0, np.array([150.0, 130.0])
    # Upright before the camera, turned a little.
    upright = Rotation.from_rotvec([np.pi, 0, 0]) * Rotation.from_rotvec([0.2, 0.7, 0])
    record |= {
        'global_orient': upright.as_rotvec().astype(np.float32),
        'transl': np.array([0.2, 0.1, 2.5], np.float32),
        'focal_length': np.float32(focal),
        'principal_point': center.astype(np.float32),
    }
    vertices = preview.place_true_body(mannequin, record, record['transl'], augment.Augmentation())
    image, _ = render.render(
        vertices, np.asarray(mannequin.faces), (focal, focal, *center), (240, 320)
    )
    record |= records.store_picture(image, record['box_center'], record['box_size'])
    drawn = augment.Augmentation(scale=1.1, rotation=0.6, flip=flip)
    crop = augment.augment_crop(record, drawn, 256)['image']
    with_body = preview.draw_record(record, drawn, mannequin, 256, None)[:, 256:]
    person = crop.max(axis=-1) > 40
    body = np.abs(with_body.astype(int) - crop).max(axis=-1) > 10
    assert person.mean() > 0.05
    assert (person & body).sum() / (person | body).sum() > 0.93
