"""The benchmarks, from the official files and from metadata: bodies taken into the camera."""

import pathlib

import numpy as np
import pytest
import real_formats
from benchmark_files import FRAMES, draw, make_world, write_3dpw, write_emdb
from real_formats import load_builder

from tokenhmr_jax.data import pipeline
from tokenhmr_jax.readers import hmr_eval, prepare, shards


@pytest.fixture(scope='module')
def smpl_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp('smpl')
    real_formats.write_smpl(folder)
    return folder


@pytest.fixture(scope='module')
def world(smpl_dir):
    return make_world(smpl_dir)


def options(smpl_dir, box_scale=1.2):
    return hmr_eval.HmrEvalOptions(str(smpl_dir), box_scale)


def assert_true(record, world, frame, person):
    """World points through the camera, by hand, are the record's; dots lie where they are seen."""
    points, pixels = (each[frame, person] for each in world['truth'])
    placed = record['keypoints3d'][:, :3] + record['transl']
    np.testing.assert_allclose(placed, points, atol=2e-4)
    np.testing.assert_allclose(record['keypoints2d'][:, :2], pixels, atol=0.05)
    np.testing.assert_allclose(
        record['body_pose'].ravel(), world['poses'][person][frame, 3:], rtol=1e-5
    )
    np.testing.assert_allclose(record['betas'], world['betas'][person], rtol=1e-5)
    assert record['gender'] == (1, 2)[person]
    assert record['focal_length'] == 600 and record['principal_point'].tolist() == [320, 240]
    real_formats.assert_dots(record)


def test_3dpw(tmp_path, world, smpl_dir):
    path = write_3dpw(tmp_path, world)
    pictures = tmp_path / 'imageFiles/downtown_walking_00'
    found = list(hmr_eval.read_3dpw(path, pictures, options(smpl_dir)))
    remarks = [each.kind for each in found if isinstance(each, shards.Remark)]
    records = {each['key']: each for each in found if isinstance(each, dict)}
    assert sorted(remarks) == [hmr_eval.INVALID, hmr_eval.NOT_SEEN]
    name = '3dpw/downtown_walking_00/image_'
    expected = {(0, 0), (0, 1), (1, 1), (2, 0)}
    assert set(records) == {f'{name}{frame:05d}/{person}' for frame, person in expected}
    for frame, person in expected:
        assert_true(records[f'{name}{frame:05d}/{person}'], world, frame, person)
    # The box is 1.2 times that of the detected points alone.
    first, pixels = records[f'{name}00000/0'], world['truth'][1][0, 0, :5]
    low, high = pixels.min(axis=0), pixels.max(axis=0)
    np.testing.assert_allclose(first['box_center'], (low + high) / 2, rtol=1e-5)
    np.testing.assert_allclose(first['box_size'], 1.2 * (high - low), rtol=1e-4)


def test_emdb(tmp_path, world, smpl_dir):
    path = write_emdb(tmp_path, world)
    found = list(hmr_eval.read_emdb(path, options(smpl_dir)))
    assert [each.kind for each in found if isinstance(each, shards.Remark)] == [hmr_eval.INVALID]
    records = [each for each in found if isinstance(each, dict)]
    assert [r['key'] for r in records] == [f'emdb/P1_09_outdoor_walk/0000{i}/0' for i in range(2)]
    for frame, record in enumerate(records):
        assert_true(record, world, frame, 1)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'cam_intrinsics': None}, "no field 'cam_intrinsics'"),
        ({'poses': [np.zeros((2, 72))] * 2}, r'\(2, 72\), expected numbers \(3, 72\)'),
        ({'genders': ['x', 'f']}, "gender 'x'"),
        ({'betas': []}, 'index out of range'),
    ],
)
def test_files_that_make_no_sense_are_named(tmp_path, world, smpl_dir, change, message):
    path = write_3dpw(tmp_path, world, **change)
    with pytest.raises(ValueError, match=rf'downtown_walking_00\.pkl: .*{message}'):
        list(hmr_eval.read_3dpw(path, tmp_path, options(smpl_dir)))


def test_a_missing_picture_is_named(tmp_path, world, smpl_dir):
    path = write_emdb(tmp_path, world)
    (path.parent / 'images/00001.jpg').unlink()
    found = list(hmr_eval.read_emdb(path, options(smpl_dir)))
    (remark,) = (e for e in found if isinstance(e, shards.Remark) and e.kind == shards.CORRUPT)
    assert 'P1_09_outdoor_walk/00001/0' in remark.about and 'No such file' in remark.about


def metadata(world, kind):
    """Columns of TokenHMR's files: boxes in px for 3DPW, in units of 200 px for EMDB."""
    pixels = world['truth'][1].reshape(-1, 44, 2)
    boxes = [real_formats.box_of(p) for p in pixels]
    names = [f'imageFiles/walk/image_{frame:05d}.jpg' for frame in range(FRAMES) for _ in range(2)]
    columns = {
        'imgname': np.array(names),
        'center': np.stack([center for center, _ in boxes]),
        'scale': np.stack([size for _, size in boxes]),
        'body_pose': np.stack([world['poses'][i % 2][i // 2] for i in range(6)]),
        'has_body_pose': np.ones(6),
        'betas': np.tile(world['betas'], (FRAMES, 1)),
        'has_betas': np.ones(6),
        'gender': np.array(['m', 'f'] * FRAMES),
    }
    if kind == 'emdb':
        columns['keypoints_2d'] = np.zeros((6, 24, 3))
        columns['scale'] = columns['scale'].max(axis=1) / 200
    else:
        seen = np.concatenate([pixels, np.ones((6, 44, 1))], axis=-1)
        columns |= {'body_keypoints_2d': seen[:, :25], 'extra_keypoints_2d': seen[:, 25:]}
        points = np.concatenate(
            [world['truth'][0].reshape(-1, 44, 3), np.ones((6, 44, 1))], axis=-1
        )
        columns |= {'body_keypoints_3d': points[:, :25], 'extra_keypoints_3d': points[:, 25:]}
    return columns


@pytest.mark.parametrize('kind', ['3dpw', 'emdb'])
def test_metadata(tmp_path, world, smpl_dir, kind):
    draw(tmp_path / 'imageFiles/walk', 'image_{:05d}.jpg', world, [0, 1])
    columns = metadata(world, kind)
    path = tmp_path / f'{kind}.npz'
    np.savez(path, **columns)
    found = list(hmr_eval.read_metadata(path, tmp_path, range(6), options(smpl_dir)))
    assert len({record['key'] for record in found}) == 6
    for row, record in enumerate(found):
        size = columns['scale'][row] * (1 if kind == '3dpw' else 200)
        np.testing.assert_allclose(record['box_size'], np.broadcast_to(size, 2), rtol=1e-5)
        np.testing.assert_allclose(record['box_center'], columns['center'][row], rtol=1e-5)
        np.testing.assert_allclose(
            record['global_orient'], columns['body_pose'][row, :3], rtol=1e-5
        )
        assert record['gender'] == 1 + row % 2 and record['has_pose'] == 1
        if kind == '3dpw':
            real_formats.assert_dots(record)
            # Of the 3D keypoints, neck to ankles of the first convention do not count.
            confidence = record['keypoints3d'][:, 3]
            np.testing.assert_array_equal(np.flatnonzero(confidence == 0), np.arange(1, 15))
        else:
            assert not record['keypoints2d'].any()


def test_the_gender_of_metadata_is_never_guessed(tmp_path, world, smpl_dir, capsys):
    module = load_builder('hmr_eval')
    draw(tmp_path / 'imageFiles/walk', 'image_{:05d}.jpg', world, [0, 1])
    columns = metadata(world, '3dpw')
    path = tmp_path / '3dpw_test.npz'

    def units(given, **change):
        np.savez(path, **{k: v for k, v in (columns | change).items() if v is not None})
        settings = {'set': '3dpw', 'manual_dir': str(tmp_path), 'smpl_dir': str(smpl_dir)}
        settings = module.Settings(**settings, metadata=str(path), gender=given)
        return module.Builder(settings=settings, data_dir=tmp_path / 'out').units()['test']

    with pytest.raises(ValueError, match=r'3dpw_test\.npz: no column `gender`.* mm .*=neutral'):
        units('', gender=None)
    found = [record for unit in units('neutral', gender=None) for record in unit.read()]
    assert [record['gender'] for record in found] == [0] * 6
    with pytest.raises(ValueError, match='has a column `gender`'):
        units('neutral')
    for unknown in ('None', 'nan', 'x', ''):
        with pytest.raises(ValueError, match=rf'3dpw_test\.npz: gender {unknown!r}'):
            units('', gender=np.array(['m', unknown] * FRAMES))
    units('')
    assert 'all 6 persons' not in capsys.readouterr().err
    units('', gender=np.array([b'male'] * 6))
    assert 'all 6 persons are male' in capsys.readouterr().err
    with pytest.raises(ValueError, match="gender='male'"):
        units('male', gender=None)


def test_metadata_of_objects(tmp_path, world, smpl_dir):
    """Objects that are plain texts, numbers and arrays are read; a pickle is never run."""
    draw(tmp_path / 'imageFiles/walk', 'image_{:05d}.jpg', world, [0, 1])
    columns = metadata(world, '3dpw')
    plain = tmp_path / 'plain.npz'
    np.savez(plain, **columns)
    objects = {name: np.empty(6, object) for name in columns}
    for name, column in columns.items():
        objects[name][:] = list(column)
    objects['imgname'][:] = [str(name) for name in columns['imgname']]
    objects['gender'][:] = [str(name).encode() for name in columns['gender']]
    path = tmp_path / '3dpw_test.npz'
    np.savez(path, **objects)
    expected = hmr_eval.load_metadata(plain)
    for name, column in hmr_eval.load_metadata(path).items():
        assert not column.dtype.hasobject
        found = np.char.decode(column) if column.dtype.kind == 'S' else column
        np.testing.assert_array_equal(found, expected[name])
    assert len(list(hmr_eval.read_metadata(path, tmp_path, range(6), options(smpl_dir)))) == 6

    class Evil:
        def __reduce__(self):
            return (pathlib.Path.touch, (tmp_path / 'executed',))

    for value in (Evil(), {'a': 1}, None, 1.0):
        objects['imgname'][2] = value
        np.savez(path, **objects)
        with pytest.raises(ValueError, match=r'3dpw_test\.npz: .*imgname'):
            hmr_eval.load_metadata(path)
    assert not (tmp_path / 'executed').exists()


def test_a_neutral_person_of_emdb(tmp_path, world, smpl_dir):
    """Needs the neutral model and no other; it may be in a folder below the regressor's."""
    module = load_builder('hmr_eval')
    models = tmp_path / 'body_models/smpl'
    models.mkdir(parents=True)
    (models.parent / 'SMPL_to_J19.pkl').write_bytes((smpl_dir / 'SMPL_to_J19.pkl').read_bytes())
    path = write_emdb(tmp_path, world, gender='neutral')
    settings = module.Settings(set='emdb', manual_dir=str(tmp_path), smpl_dir=str(models))
    builder = module.Builder(settings=settings, data_dir=tmp_path / 'out')
    with pytest.raises(FileNotFoundError, match=r'no SMPL_NEUTRAL\.pkl'):
        builder.units()
    (models / 'SMPL_NEUTRAL.npz').symlink_to(smpl_dir / 'SMPL_NEUTRAL.npz')
    ((unit,),) = builder.units().values()
    found = [record for record in unit.read() if isinstance(record, dict)]
    assert [record['gender'] for record in found] == [0, 0]
    # The bodies here differ in size alone, which the woman's truth tells.
    ours, hers = found[0]['keypoints3d'][:, :3], world['truth'][0][0, 1]
    assert path.exists() and np.ptp(ours, axis=0).max() > 1.02 * np.ptp(hers, axis=0).max()


def test_the_builder(tmp_path, world, smpl_dir):
    """Both benchmarks side by side; of EMDB's sequences only those of EMDB 1."""
    module = load_builder('hmr_eval')
    write_3dpw(tmp_path / '3DPW', world)
    write_3dpw(tmp_path / '3DPW', world, 'office_phoneCall_00')
    write_emdb(tmp_path / 'EMDB', world)
    write_emdb(tmp_path / 'EMDB', world, '20_outdoor_walk', emdb1=False)
    np.savez(tmp_path / 'meta.npz', **metadata(world, '3dpw'))
    draw(tmp_path / '3DPW/imageFiles/walk', 'image_{:05d}.jpg', world, [0, 1])
    real_formats.pack_on_macos(tmp_path)
    common = {'smpl_dir': str(smpl_dir), 'num_processes': 1}
    sizes = {}
    for out, change in (
        ('out', {'set': '3dpw', 'manual_dir': str(tmp_path / '3DPW')}),
        ('out', {'set': 'emdb', 'manual_dir': str(tmp_path / 'EMDB')}),
        ('meta', {'set': '3dpw', 'manual_dir': str(tmp_path / '3DPW'),
                  'metadata': str(tmp_path / 'meta.npz')}),
    ):  # fmt: skip
        settings = module.Settings(**common, **change)
        prepare.prepare_dataset(
            module.Builder(settings=settings, data_dir=tmp_path / out), settings
        )
        name = f'hmr_eval/{settings.set}/test'
        sizes[out, settings.set] = len(pipeline.open_split(str(tmp_path / out), name))
    assert sizes == {('out', '3dpw'): 8, ('out', 'emdb'): 2, ('meta', '3dpw'): 6}


def test_the_builder_says_what_is_missing(tmp_path, world, smpl_dir):
    module = load_builder('hmr_eval')

    def build(**change):
        settings = {'set': '3dpw', 'manual_dir': str(tmp_path), 'smpl_dir': str(smpl_dir)} | change
        module.Builder(settings=module.Settings(**settings), data_dir=tmp_path / 'out').units()

    with pytest.raises(FileNotFoundError, match='no sequenceFiles/test'):
        build()
    with pytest.raises(FileNotFoundError, match=r'no SMPL_MALE\.pkl'):
        build(smpl_dir=str(tmp_path))
    (tmp_path / 'SMPL_MALE.npz').symlink_to(smpl_dir / 'SMPL_MALE.npz')
    with pytest.raises(FileNotFoundError, match=rf'{tmp_path}: no SMPL_to_J19\.pkl'):
        build(smpl_dir=str(tmp_path))
    with pytest.raises(ValueError, match="set='3DPW'"):
        build(set='3DPW')
