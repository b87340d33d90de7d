"""BEDLAM, official and as tars: bodies lie where the pictures show them."""

import itertools

import numpy as np
import pytest
import real_formats
from bedlam_files import LANDSCAPE, PORTRAIT, make_scene, write_official
from real_formats import load_builder

from tokenhmr_jax.data import pipeline
from tokenhmr_jax.readers import bedlam, prepare, shards, tars

OPTIONS = bedlam.BedlamOptions('mannequin', {'resolution': 128})


@pytest.fixture(scope='module')
def scene(mannequin):
    """Two pictures of two people each, as the rows of a label file: what is known about them."""
    rng = np.random.default_rng(1)
    return {size: make_scene(mannequin, rng, size) for size in (LANDSCAPE, PORTRAIT)}


def assert_true(record, points, pixels, size):
    np.testing.assert_allclose(record['keypoints2d'][:, :2], pixels, atol=0.05)
    placed = record['keypoints3d'][:, :3] + record['transl']
    np.testing.assert_allclose(placed, points, atol=1e-4)
    assert (record['keypoints2d'][:, 2] == 1).all() and (record['keypoints3d'][:, 3] == 1).all()
    assert record['image_size'].tolist() == list(size)
    np.testing.assert_allclose(record['principal_point'], np.array(size) / 2)
    assert record['focal_length'] == 500
    assert record['has_pose'] == record['has_betas'] == 1 and record['gender'] == 0
    real_formats.assert_dots(record)


def by_place(records, truth):
    """Each record with the truth that its keypoints are nearest to."""
    for record in records:
        distance = [np.abs(record['keypoints2d'][:, :2] - pixels).mean() for _, pixels in truth]
        yield record, truth[int(np.argmin(distance))]


@pytest.mark.parametrize('size', [LANDSCAPE, PORTRAIT], ids=['landscape', 'closeup'])
@pytest.mark.parametrize('kind', ['official', 'tar'])
def test_the_bodies_are_where_the_pictures_show_them(tmp_path, scene, size, kind):
    """Closeup scenes are stored lying on their side, with the labels of upright ones."""
    rows, truth, images = scene[size]
    lying = size == PORTRAIT
    name = '20221011_1_250_batch01hand' + '_closeup_suburb_a' * lying + '_6fps'
    if kind == 'official':
        write_official(tmp_path, name, scene[size], stored_turned=lying)
        folder = tmp_path / f'images/{name}/png'
        found = list(bedlam.read_scene(tmp_path / f'labels/{name}.npz', folder, (0, 1), OPTIONS))
    else:
        wanted = (
            'center',
            'scale',
            'pose_cam',
            'shape',
            'trans_cam',
            'cam_ext',
            'cam_int',
            'gtkps',
        )
        samples = {}
        for picture, image in enumerate(images):
            people = [{key: row[key] for key in wanted} for row in rows[2 * picture :][:2]]
            stored = np.rot90(image) if lying else image
            samples[f'{picture:06d}'] = {
                'jpg': real_formats.encode(stored, '.jpg'), 'data.pyd': people
            }  # fmt: skip
        real_formats.write_tar(tmp_path / f'{name}/000000.tar', samples)
        found = list(bedlam.read_tar(tmp_path / f'{name}/000000.tar', OPTIONS))
    assert len(found) == 4 and len({record['key'] for record in found}) == 4
    assert all(record['key'].startswith(name) for record in found)
    seen = set()
    for record, (points, pixels) in by_place(found, truth):
        assert_true(record, points, pixels, size)
        seen.add(round(float(pixels[0, 0]), 3))
    assert len(seen) == 4


def test_parts_of_a_scene_are_the_whole(tmp_path, scene):
    write_official(tmp_path, 'a', scene[LANDSCAPE])
    arguments = tmp_path / 'labels/a.npz', tmp_path / 'images/a/png'
    whole = [r['key'] for r in bedlam.read_scene(*arguments, (0, 1), OPTIONS)]
    parts = [[r['key'] for r in bedlam.read_scene(*arguments, (k, 3), OPTIONS)] for k in range(3)]
    assert [*itertools.chain(*parts)] == whole and bedlam.num_rows(arguments[0]) == 4
    assert all(len(part) in (0, 2) for part in parts)  # persons of one picture stay together


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'pose_cam': np.zeros(165)}, r'`pose_cam` is \(165,\)'),
        ({'cam_int': None}, 'no `cam_int`'),
        ({'shape': np.zeros(3)}, '`shape`'),
        ({'shape': 1.0}, '`shape`'),
        ({'shape': {'betas': 1}}, '`shape`'),
        ({'gtkps': [[None, 'x']] * 24}, '`gtkps` is object'),
        ({'gtkps': np.zeros((24, 1))}, '`gtkps` is'),
        ({'gtkps': np.zeros((24, 2))}, 'px from `gtkps`'),
        ({'gtkps': np.zeros(2)}, '`gtkps` is'),
        ({'trans_cam': np.array([np.nan, 0, 0])}, 'px from `gtkps`'),
        ({'cam_int': np.array([[500, 0, 320], [0, 470.0, 180], [0, 0, 1]])}, 'square pixels'),
    ],
)
def test_rows_that_make_no_sense(scene, change, message):
    row = scene[LANDSCAPE][0][0] | change
    row = {key: value for key, value in row.items() if value is not None}
    side = 200 * row['scale']
    with pytest.raises(ValueError, match=message):
        bedlam.bedlam_labels(row, side, 'mannequin')


def test_poses_wider_than_smpl(scene):
    """The first 24 rotations are SMPL's if the body then lies on `gtkps`."""
    row = scene[LANDSCAPE][0][0]
    side, pose = 200 * row['scale'], row['pose_cam']
    expected = bedlam.bedlam_labels(row, side, 'mannequin')

    def read(pose, **change):
        return bedlam.bedlam_labels(row | {'pose_cam': pose} | change, side, 'mannequin')

    for name, value in read(np.r_[pose, np.full(10, 7.0)]).items():
        np.testing.assert_array_equal(value, expected[name])
    # SMPL-H: 22 joints and 30 of the fingers.
    found = read(np.r_[pose[:66], np.full(90, 0.3)])
    np.testing.assert_array_equal(found['body_pose'][:21], expected['body_pose'][:21])
    assert not found['body_pose'][21:].any()
    with pytest.raises(ValueError, match='px from `gtkps`'):
        read(np.r_[np.zeros(3), pose])
    with pytest.raises(ValueError, match=r'`pose_cam` is \(71,\)'):
        read(pose[:71])
    without = {key: value for key, value in row.items() if key != 'gtkps'}
    with pytest.raises(ValueError, match=r'\(82,\).* beside `gtkps`'):
        bedlam.bedlam_labels(without | {'pose_cam': np.zeros(82)}, side, 'mannequin')


def test_missing_and_broken_pictures_are_named(tmp_path, scene):
    write_official(tmp_path, 'a', scene[LANDSCAPE])
    folder = tmp_path / 'images/a/png'
    first, second = sorted(folder.glob('*/*.png'))
    first.unlink()
    second.write_bytes(second.read_bytes()[:5000])
    found = list(bedlam.read_scene(tmp_path / 'labels/a.npz', folder, (0, 1), OPTIONS))
    assert {remark.kind for remark in found} == {shards.CORRUPT}
    about = ' '.join(remark.about for remark in found)
    assert 'No such file' in about and 'a/seq_000000/seq_000000_0005' in about


@pytest.mark.parametrize('how', ['cut', 'lacks', 'uneven', 'without rows'])
def test_label_files_that_make_no_sense(tmp_path, scene, how):
    write_official(tmp_path, 'a', scene[LANDSCAPE])
    path = tmp_path / 'labels/a.npz'
    columns = dict(np.load(path))
    if how == 'cut':
        path.write_bytes(path.read_bytes()[:-200])
    elif how == 'lacks':
        del columns['cam_int']
        np.savez(path, **columns)
    elif how == 'uneven':
        np.savez(path, **columns | {'scale': np.ones(7)})
    else:
        np.savez(path, **{name: np.array(1.0) for name in columns})
    with pytest.raises(ValueError, match=r'a\.npz'):
        list(bedlam.read_scene(path, tmp_path / 'images/a/png', (0, 1), OPTIONS))


def test_the_builder(tmp_path, scene, capsys):
    """Two scenes, one held out; AGORA's labels are left alone. Then a second run."""
    module = load_builder('bedlam')
    for name in ('20221010_3_1000_batch01hand_6fps', '20221017_3_1000_batch01hand_6fps'):
        write_official(tmp_path / 'in', name, scene[LANDSCAPE])
    (tmp_path / 'in/labels/agora.npz').write_bytes(b'no labels')
    settings = module.Settings(
        manual_dir=str(tmp_path / 'in'), smpl_dir='mannequin', held_out='^20221017', num_processes=1
    )
    for said in ('downloaded', 'already prepared'):
        prepare.prepare_dataset(
            module.Builder(settings=settings, data_dir=tmp_path / 'out'), settings
        )
        printed = capsys.readouterr().out
        assert said in printed and '4 20221010_3_1000_batch01hand_6fps' in printed
    for split in ('train', 'heldout'):
        records = pipeline.open_split(str(tmp_path / 'out'), f'bedlam/{split}')
        assert len(records) == 4
        for record, (points, pixels) in by_place(
            [records[i] for i in range(4)], scene[LANDSCAPE][1]
        ):
            assert_true(record | {'key': record['key'].decode()}, points, pixels, LANDSCAPE)


def test_the_builder_says_what_is_missing(tmp_path, scene):
    module = load_builder('bedlam')

    def build():
        settings = module.Settings(manual_dir=str(tmp_path / 'in'), smpl_dir='mannequin')
        prepare.prepare_dataset(
            module.Builder(settings=settings, data_dir=tmp_path / 'out'), settings
        )

    (tmp_path / 'in').mkdir()
    with pytest.raises(FileNotFoundError, match='neither labels/<scene>'):
        build()
    write_official(tmp_path / 'in', 'a', scene[LANDSCAPE])
    (tmp_path / 'in/images').rename(tmp_path / 'in/elsewhere')
    with pytest.raises(FileNotFoundError, match='images/a/png: no such folder'):
        build()
    assert not (tmp_path / 'out').exists()


def test_a_sample_of_a_tar_needs_picture_and_labels():
    with pytest.raises(ValueError, match=r"x: has \['jpg'\], expected"):
        tars.split_sample('x', {'jpg': b''})
