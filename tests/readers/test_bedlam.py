"""BEDLAM, official and as tars: bodies lie where the pictures show them."""

import itertools

import numpy as np
import pytest
import real_formats
import tensorflow_datasets as tfds
from bedlam_files import LANDSCAPE, PORTRAIT, make_scene, openpose_order, write_official
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


def split_remarks(found):
    """The records that a reader yields, and its remarks."""
    found = list(found)
    remarks = [each for each in found if isinstance(each, shards.Remark)]
    return [each for each in found if not isinstance(each, shards.Remark)], remarks


def by_place(records, truth):
    """Each record with the truth that its keypoints are nearest to."""
    for record in records:
        distance = [np.abs(record['keypoints2d'][:, :2] - pixels).mean() for _, pixels in truth]
        yield record, truth[int(np.argmin(distance))]


@pytest.mark.parametrize('order', [bedlam.SMPL_ORDER, bedlam.OPENPOSE_ORDER])
@pytest.mark.parametrize('size', [LANDSCAPE, PORTRAIT], ids=['landscape', 'closeup'])
@pytest.mark.parametrize('kind', ['official', 'tar'])
def test_the_bodies_are_where_the_pictures_show_them(tmp_path, scene, size, kind, order):
    """Closeup scenes are stored lying on their side, with the labels of upright ones."""
    made = openpose_order(scene[size]) if order == bedlam.OPENPOSE_ORDER else scene[size]
    rows, truth, images = made
    lying = size == PORTRAIT
    name = '20221011_1_250_batch01hand' + '_closeup_suburb_a' * lying + '_6fps'
    if kind == 'official':
        write_official(tmp_path, name, made, stored_turned=lying)
        folder = tmp_path / f'images/{name}/png'
        found = bedlam.read_scene(tmp_path / f'labels/{name}.npz', folder, (0, 1), OPTIONS)
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
        found = bedlam.read_tar(tmp_path / f'{name}/000000.tar', OPTIONS)
    found, remarks = split_remarks(found)
    assert remarks == [shards.Remark(order)] * 4
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

    def keys(*part):
        found, _ = split_remarks(bedlam.read_scene(*arguments, part, OPTIONS))
        return [record['key'] for record in found]

    whole, parts = keys(0, 1), [keys(k, 3) for k in range(3)]
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
        ({'gtkps': np.zeros((44, 3))}, 'px from `gtkps`'),
        ({'gtkps': np.zeros((127, 2))}, 'px from `gtkps`'),
        ({'gtkps': np.full((44, 2), np.nan)}, 'px from `gtkps`'),
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


@pytest.mark.parametrize('more', [0, 1, 94])
def test_the_number_of_points_does_not_tell_their_order(scene, more):
    """SMPL's joints are followed by any vertices, the 44 keypoints by any others."""
    more_points = np.full((more, 2), 50.0)
    for row, pixels in zip(scene[LANDSCAPE][0], (p for _, p in scene[LANDSCAPE][1]), strict=True):
        side = 200 * row['scale']
        smpl = np.concatenate([row['gtkps'], np.full((20, 2), 50.0), more_points])
        openpose = np.concatenate([pixels, more_points])
        for gtkps, order in ((smpl, bedlam.SMPL_ORDER), (openpose, bedlam.OPENPOSE_ORDER)):
            found = bedlam.bedlam_labels(row | {'gtkps': gtkps}, side, 'mannequin')
            assert found[1] == order
            np.testing.assert_allclose(found[0]['keypoints2d'][:, :2], pixels, atol=0.05)
    row = {name: value for name, value in row.items() if name != 'gtkps'}
    assert bedlam.bedlam_labels(row, side, 'mannequin')[1] is None


@pytest.mark.parametrize('angle', np.arange(0, 2 * np.pi, np.pi / 6))
def test_a_body_elsewhere_is_refused_in_either_order(scene, angle):
    """By 0.3 of the box, in any direction."""
    step = 0.3 * np.array([np.cos(angle), np.sin(angle)])
    for row, pixels in zip(scene[LANDSCAPE][0], (p for _, p in scene[LANDSCAPE][1]), strict=True):
        side = 200 * row['scale']
        for points in (row['gtkps'], pixels, np.concatenate([row['gtkps'], pixels])):
            with pytest.raises(ValueError, match='px from `gtkps`, in a box of'):
                row = row | {'gtkps': points + side * step}
                bedlam.bedlam_labels(row, side, 'mannequin')


def test_poses_wider_than_smpl(scene):
    """The first 24 rotations are SMPL's if the body then lies on `gtkps`."""
    row = scene[LANDSCAPE][0][0]
    side, pose = 200 * row['scale'], row['pose_cam']
    expected, _ = bedlam.bedlam_labels(row, side, 'mannequin')

    def read(pose, **change):
        return bedlam.bedlam_labels(row | {'pose_cam': pose} | change, side, 'mannequin')[0]

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
    write_official(tmp_path / 'in', '20221010_3_1000_batch01hand_6fps', scene[LANDSCAPE])
    held_out = '20221017_3_1000_batch01hand_6fps'
    write_official(tmp_path / 'in', held_out, openpose_order(scene[LANDSCAPE]))
    (tmp_path / 'in/labels/agora.npz').write_bytes(b'no labels')
    real_formats.pack_on_macos(tmp_path / 'in')
    settings = module.Settings(
        manual_dir=str(tmp_path / 'in'), smpl_dir='mannequin', held_out='^20221017', num_processes=1
    )
    for said in ('downloaded', 'already prepared'):
        prepare.prepare_dataset(
            module.Builder(settings=settings, data_dir=tmp_path / 'out'), settings
        )
        printed = capsys.readouterr().out
        assert said in printed and '4 20221010_3_1000_batch01hand_6fps' in printed
        assert f'train remarks:\n             4 {bedlam.SMPL_ORDER}' in printed
        assert f'heldout remarks:\n             4 {bedlam.OPENPOSE_ORDER}' in printed
    for split in ('train', 'heldout'):
        records = pipeline.open_split(str(tmp_path / 'out'), f'bedlam/{split}')
        assert len(records) == 4
        for record, (points, pixels) in by_place(
            [records[i] for i in range(4)], scene[LANDSCAPE][1]
        ):
            assert_true(record | {'key': record['key'].decode()}, points, pixels, LANDSCAPE)


@pytest.fixture
def build(tmp_path):
    """Prepares `tmp_path/in`; the number of records of each scene, and what was skipped."""
    module = load_builder('bedlam')

    def build():
        settings = module.Settings(
            manual_dir=str(tmp_path / 'in'), smpl_dir='mannequin', num_processes=1
        )
        builder = module.Builder(settings=settings, data_dir=tmp_path / 'out')
        prepare.prepare_dataset(builder, settings)
        metadata = tfds.builder_from_directory(tmp_path / 'out/bedlam/1.1.0').info.metadata
        return metadata['counts']['train']['sources'], metadata['skipped']

    return build


def test_labels_are_found_where_zips_put_them(tmp_path, scene, build):
    """At any depth; spelled with other hyphens than the pictures; not in folders of the system."""
    folders = 'labels/all_npz_12_smpl_training', 'labels/a/b', 'labels'
    for name, labels in zip(('one', '20221020_3-8_two', 'three'), folders, strict=True):
        write_official(tmp_path / 'in', name, scene[LANDSCAPE], labels=labels)
    (tmp_path / 'in/labels/__MACOSX').mkdir()
    (tmp_path / 'in/labels/__MACOSX/._one.npz').write_bytes(real_formats.APPLE_DOUBLE)
    write_official(tmp_path / 'in', 'gone', scene[LANDSCAPE], labels='labels/.Trash')
    (tmp_path / 'in/images/gone').rename(tmp_path / 'in/images/.gone')
    images = tmp_path / 'in/images'
    (images / '20221020_3-8_two').rename(images / '20221020-3-8_two')
    assert build() == ({'one': 4, '20221020_3-8_two': 4, 'three': 4}, [])


def test_scenes_without_labels_or_pictures_are_named(tmp_path, scene, build, capsys):
    for name in ('whole', 'unlabelled', 'emptied', 'unseen'):
        write_official(tmp_path / 'in', name, scene[LANDSCAPE])
    (tmp_path / 'in/labels/unlabelled.npz').unlink()
    (tmp_path / 'in/images/unseen').rename(tmp_path / 'elsewhere')
    (tmp_path / 'in/images/emptied/png/seq_000000').rename(tmp_path / 'seq_000000')
    (tmp_path / 'in/images/agora/png').mkdir(parents=True)
    sources, skipped = build()
    assert sources == {'whole': 4} and len(skipped) == 3
    assert 'images/emptied/png: no such folder, or empty, for ' in skipped[0]
    assert 'images/unseen/png: no such folder, or empty, for ' in skipped[1]
    assert 'images/unlabelled/png: no labels/**/unlabelled.npz' in skipped[2]
    printed = capsys.readouterr().out
    assert printed.startswith('3 scenes are left out: ') and '3 were skipped:' in printed


@pytest.mark.parametrize('how', ['SMPL-X', 'elsewhere', 'elsewhere, 44 keypoints'])
def test_labels_of_another_body_end_the_run_with_the_name_of_the_scene(tmp_path, scene, build, how):
    made, name = scene[LANDSCAPE], '20221010_3_1000_batch01hand_6fps'
    rows, truth, images = openpose_order(made) if '44' in how else made
    rows = [row | {'gtkps': row['gtkps'].copy()} for row in rows]
    reason = r'`pose_cam` is \(165,\)' if how == 'SMPL-X' else 'the body is .* px from `gtkps`'
    for row in rows:
        if how == 'SMPL-X':
            row |= {'pose_cam': np.zeros(165), 'gtkps': np.zeros((127, 2))}
        else:
            row['gtkps'][:, 0] += 0.3 * 200 * row['scale']
    write_official(tmp_path / 'in', name, (rows, truth, images))
    with pytest.raises(ValueError, match=f'{name}/seq_000000/seq_000000_0000/0: {reason}'):
        build()


def test_two_label_files_of_one_scene_are_refused(tmp_path, scene, build):
    for folder in ('all_npz_12_smpl_training', 'bedlam-labels'):
        write_official(tmp_path / 'in', 'one', scene[LANDSCAPE], labels=f'labels/{folder}')
    with pytest.raises(ValueError, match=r'smpl_training/one.npz and .*bedlam-labels/one.npz are'):
        build()
    assert not (tmp_path / 'out').exists()


def test_the_builder_says_what_is_missing(tmp_path, scene, build):
    (tmp_path / 'in').mkdir()
    with pytest.raises(FileNotFoundError, match='neither labels/<scene>'):
        build()
    write_official(tmp_path / 'in', 'a', scene[LANDSCAPE])
    (tmp_path / 'in/images').rename(tmp_path / 'in/elsewhere')
    with pytest.raises(FileNotFoundError, match='images/a/png: no such folder'):
        build()
    # Packed pictures are no tars of persons.
    (tmp_path / 'in/images').mkdir()
    (tmp_path / 'in/images/a.tar').write_bytes(b'')
    with pytest.raises(FileNotFoundError, match='images/a/png: no such folder'):
        build()
    assert not (tmp_path / 'out').exists()


def test_a_sample_of_a_tar_needs_picture_and_labels():
    with pytest.raises(ValueError, match=r"x: has \['jpg'\], expected"):
        tars.split_sample('x', {'jpg': b''})
