"""The 4D-Humans tars, end to end: what comes out is what was put in, but for what filters took."""

import collections
import dataclasses
import functools
import io
import pathlib

import image_records
import numpy as np
import pytest
import real_formats
from conftest import ROOT
from PIL import ExifTags, Image
from real_formats import load_builder
from scipy.spatial.transform import Rotation

from tokenhmr_jax.data import pipeline
from tokenhmr_jax.readers import filters, humans4d, prepare, shards

SIZE = (320, 240)
READ_ALL = filters.Filters()


@pytest.fixture
def pixels(rng):
    """Keypoints of two people in a picture: (2, 44, 2)."""
    left, right = (image_records.person(rng, 70, 170) + np.array([x, 35]) for x in (80, 230))
    return np.stack([left, right])


def sample(pixels, persons, suffix='.jpg'):
    picture = real_formats.encode(real_formats.dotted(pixels, SIZE), suffix)
    return {suffix[1:]: picture, 'data.pyd': persons}


def read(tmp_path, samples, keep=READ_ALL, cameras=''):
    """Records by key, and remarks."""
    path = tmp_path / 'dataset_tars/mpii-train/000003.tar'
    real_formats.write_tar(path, samples)
    found = list(humans4d.read_persons(path, keep, {'resolution': 256}, cameras))
    remarks = [each for each in found if isinstance(each, shards.Remark)]
    return {r['key']: r for r in found if not isinstance(r, shards.Remark)}, remarks


def test_persons_of_a_picture_become_records(rng, tmp_path, pixels):
    people = [real_formats.fitted_person(rng, p) for p in pixels]
    masks = {'detection.npz': b'nobody reads this'}
    found, remarks = read(tmp_path, {'a_01': sample(pixels, people) | masks})
    assert not remarks
    assert list(found) == ['mpii-train/000003/a_01/0', 'mpii-train/000003/a_01/1']
    for person, points, record in zip(people, pixels, found.values(), strict=True):
        real_formats.assert_dots(record)
        np.testing.assert_allclose(record['keypoints2d'][:, :2], points, atol=1e-3)
        np.testing.assert_allclose(record['keypoints2d'][:, 2], 0.9)
        np.testing.assert_allclose(record['keypoints3d'], person['keypoints_3d'])
        np.testing.assert_allclose(record['global_orient'], person['body_pose'][:3])
        np.testing.assert_allclose(record['body_pose'].ravel(), person['body_pose'][3:])
        np.testing.assert_allclose(record['betas'], person['betas'])
        np.testing.assert_allclose(record['box_center'], person['center'], rtol=1e-6)
        np.testing.assert_allclose(record['box_size'], 200 * person['scale'], rtol=1e-6)
        assert (record['has_pose'], record['has_betas'], record['gender']) == (1, 1, 0)
        assert record['image_size'].tolist() == list(SIZE)
        # The camera of the fit sees the box in its middle, at 5000 px for 256.
        np.testing.assert_allclose(record['principal_point'], record['box_center'])
        side = record['box_size'].max()
        np.testing.assert_allclose(record['focal_length'], side * 5000 / 256, rtol=1e-6)


def test_persons_of_tensors_and_default_dictionaries(rng, tmp_path, pixels):
    """As PyTorch's scripts write them: the same records."""
    torch = pytest.importorskip('torch')
    person = real_formats.fitted_person(rng, pixels[0])
    other = collections.defaultdict(float, person)
    for name in ('keypoints_2d', 'center', 'scale', 'body_pose', 'betas', 'has_body_pose'):
        other[name] = torch.from_numpy(np.array(person[name]))
    other['extra_info'] = collections.defaultdict(dict, person['extra_info'])
    other['img_path'] = pathlib.Path('/data/a_01.jpg')
    plain, none = read(tmp_path, {'a_01': sample(pixels, [person])})
    found, no_remark = read(tmp_path, {'a_01': sample(pixels, [other])})
    assert none == no_remark == []
    (expected,), (found,) = plain.values(), found.values()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value)


def test_optional_fields_may_be_missing(rng, tmp_path, pixels):
    bare = real_formats.fitted_person(
        rng, pixels[0], keypoints_3d=None, body_pose=None, betas=None, has_body_pose=None,
        has_betas=None, extra_info=None,
    )  # fmt: skip
    unfitted = real_formats.fitted_person(
        rng, pixels[1], extra_info={}, has_body_pose=np.array(False), has_betas=np.array(0.0),
        body_pose=np.full(72, np.nan),
    )  # fmt: skip
    found, remarks = read(tmp_path, {'a': sample(pixels, [bare, unfitted], '.png')})
    assert not remarks and len(found) == 2
    for record in found.values():
        assert record['has_pose'] == record['has_betas'] == 0
        assert not record['global_orient'].any()
        real_formats.assert_dots(record)
    first = found['mpii-train/000003/a/0']
    assert not first['keypoints3d'].any() and not first['betas'].any()


def test_strange_confidences(rng, tmp_path, pixels):
    """A detector's may exceed 1; where nothing was seen, the place may be anything."""
    person = real_formats.fitted_person(rng, pixels[0])
    person['keypoints_2d'][0, 2] = 1.03
    person['keypoints_2d'][1] = np.nan, np.inf, 0
    found, _ = read(tmp_path, {'a': sample(pixels, [person])})
    (record,) = found.values()
    assert record['keypoints2d'][0, 2] == 1
    np.testing.assert_array_equal(record['keypoints2d'][1], 0)


def test_cameras_are_a_tables_else_exifs_else_unknown(rng, tmp_path, pixels):
    """60 degrees across WIDTH pixels; 50 mm of a 36 x 24 mm film across the diagonal."""
    width, height = SIZE
    people = [real_formats.fitted_person(rng, pixels[0])]
    samples = {f'x/{name}': sample(pixels, people) for name in ('a', 'b', 'c', 'd')}
    for name in ('x/b', 'x/c'):
        data = Image.Exif()
        data.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.FocalLengthIn35mmFilm] = 50
        file = io.BytesIO()
        Image.open(io.BytesIO(samples[name]['jpg'])).save(file, 'jpeg', exif=data.tobytes())
        samples[name]['jpg'] = file.getvalue()
    (tmp_path / 'fov.csv').write_text('image,fov\nx/a,60\nb.jpg,60\nother,50\n')
    found, remarks = read(tmp_path, samples, cameras=str(tmp_path / 'fov.csv'))
    cameras = [
        [r['picture_focal_length'].item(), *r['picture_principal_point'], r['camera_source'].item()]
        for r in found.values()
    ]
    of_table = [width / 2 * np.sqrt(3), width / 2, height / 2, 3]
    of_exif = [50 * np.hypot(width, height) / np.hypot(36, 24), width / 2, height / 2, 2]
    expected = [of_table, of_table, of_exif, [0, 0, 0, 0]]
    np.testing.assert_allclose(cameras, expected, rtol=1e-6)
    kinds = ['camera of the table'] * 2 + ["camera of the file's EXIF data", 'camera unknown']
    assert [remark.kind for remark in remarks] == kinds


def test_a_table_of_other_pictures_is_an_error(rng, tmp_path, pixels):
    module, folder = load_builder('pseudo_gt'), tmp_path / 'dataset_tars'
    people = [real_formats.fitted_person(rng, pixels[0])]
    real_formats.write_tar(folder / 'mpii-train/000000.tar', {'a': sample(pixels, people)})
    table = tmp_path / 'fov.csv'
    table.write_text('image,fov\nother,50\n')
    settings = module.Settings(
        set='mpii',
        manual_dir=str(folder),
        pose_density='none',
        num_processes=1,
        cameras=str(table),
    )
    builder = module.Builder(settings=settings, data_dir=tmp_path / 'out')
    with pytest.raises(ValueError, match=r'fov.csv: names no picture of 1 persons: expected names'):
        prepare.prepare_dataset(builder, settings)


def losses(value):
    return {'fitting_loss': np.array({'reprojection_loss': value}, dtype=object)}


def corrupt_samples(rng, pixels):
    person = functools.partial(real_formats.fitted_person, rng, pixels[0])
    whole = sample(pixels, [person()])
    return {
        'no_picture': {'data.pyd': whole['data.pyd']},
        'no_labels': {'jpg': whole['jpg']},
        'cut_picture': whole | {'jpg': whole['jpg'][:-700]},
        'cut_pickle': whole | {'data.pyd': b'\x80\x04\x95'},
        'evil_pickle': whole | {'data.pyd': b"cos\nsystem\n(S'true'\ntR."},
        'no_list': whole | {'data.pyd': {'a': 1}},
        'no_box': sample(pixels, [person(center=None)]),
        'no_size': sample(pixels, [person(scale=np.zeros(2))]),
        'box_outside': sample(pixels, [person(center=np.array([5000.0, 10.0]))]),
        'few_keypoints': sample(pixels, [person(keypoints_2d=np.ones((25, 3)))]),
        'nan_pose': sample(pixels, [person(body_pose=np.full(72, np.nan))]),
        'absurd_size': sample(pixels, [person(scale=np.full(2, 1e30))]),
        'two_losses': sample(pixels, [person(extra_info=losses(np.ones(2)))]),
        'no_loss': sample(pixels, [person(extra_info=losses('small'))]),
        'short_pose': sample(pixels, [person(body_pose=np.zeros(69))]),
    }


@pytest.mark.fault(12, 'a malicious or wrong .pyd')
def test_corrupt_samples_are_named_and_the_others_read(rng, tmp_path, pixels):
    bad = corrupt_samples(rng, pixels)
    good = {'good': sample(pixels, [real_formats.fitted_person(rng, p) for p in pixels])}
    found, remarks = read(tmp_path, bad | good)
    assert len(found) == 2
    assert {r.kind for r in remarks} == {shards.CORRUPT} and len(remarks) == len(bad)
    for name, remark in zip(bad, remarks, strict=True):
        assert remark.about.startswith(f'mpii-train/000003/{name}')
    about = {name: remark.about for name, remark in zip(bad, remarks, strict=True)}
    assert 'os.system' in about['evil_pickle'] and 'truncated' in about['cut_picture']
    assert '`center`' in about['no_box'] and '(69,)' in about['short_pose']


def test_one_corrupt_person_does_not_take_the_others_along(rng, tmp_path, pixels):
    people = [real_formats.fitted_person(rng, p) for p in pixels]
    people[0]['scale'] = np.array(1.0)
    found, remarks = read(tmp_path, {'a': sample(pixels, people)})
    assert list(found) == ['mpii-train/000003/a/1'] and 'a/0: `scale`' in remarks[0].about


@pytest.fixture(scope='module')
def density_file(tmp_path_factory):
    """A density under which rotations of less than half a radian about each axis are probable."""
    density = np.zeros((21, 100, 100, 100), np.float32)
    density[:, 42:58, 42:58, 42:58] = 0.04
    path = tmp_path_factory.mktemp('density') / 'density.npy'
    np.save(path, density)
    return path


def person_labels(rng, pixels, **changes):
    person = real_formats.fitted_person(rng, pixels, body_pose=np.full(72, 0.05), **changes)
    return humans4d.humans4d_labels(person)


def test_filters_by_hand(rng, pixels, density_file):
    keep = filters.Filters(pose_density=str(density_file))
    labels = person_labels(rng, pixels[0])
    kept, acted = keep(labels, 30_999.0)
    assert acted == [filters.PROBABLE] and kept['has_pose'] == kept['has_betas'] == 1
    # Keypoints at the threshold stay, below it they lose their confidence, not their place.
    labels['keypoints2d'][:3, 2] = 0.3, 0.29999, 0.31
    kept, _ = keep(labels, None)
    np.testing.assert_allclose(kept['keypoints2d'][:3, 2], [0.3, 0, 0.31], rtol=1e-6)
    np.testing.assert_array_equal(kept['keypoints2d'][:, :2], labels['keypoints2d'][:, :2])
    # Persons to drop.
    assert keep(labels, 31_000.0) == (None, [filters.REPROJECTION])
    labels['keypoints2d'][4:, 2] = 0.1
    labels['keypoints2d'][:4, 2] = 0.9
    assert keep(labels, 0.0) == (None, [filters.FEW_KEYPOINTS])
    labels['keypoints2d'][4, 2] = 0.5
    assert keep(labels, 0.0)[0] is not None


@pytest.mark.parametrize(
    ('change', 'acted', 'has_pose', 'has_betas'),
    [
        ({'betas': np.full(10, 3.0)}, [filters.PROBABLE], 1, 1),
        ({'betas': np.full(10, -3.01)},
         [filters.BETAS, filters.PROBABLE, filters.TOGETHER], 0, 0),
        ({'has_pose': 0}, [filters.TOGETHER], 0, 0),
        ({'body_pose': np.full((23, 3), 1.5)}, [filters.POSE, filters.TOGETHER], 0, 0),
        # Both fail: nothing is left for the last filter.
        ({'body_pose': np.full((23, 3), 1.5), 'betas': np.full(10, 9)},
         [filters.BETAS, filters.POSE], 0, 0),
    ],
)  # fmt: skip
def test_what_is_trusted(rng, pixels, density_file, change, acted, has_pose, has_betas):
    keep = filters.Filters(pose_density=str(density_file))
    kept, found = keep(person_labels(rng, pixels[0]) | change, None)
    assert found == acted
    assert (kept['has_pose'], kept['has_betas']) == (has_pose, has_betas)


def test_each_filter_can_be_off(rng, pixels):
    off = filters.Filters(None, None, None, False, None, None)
    labels = person_labels(rng, pixels[0]) | {'betas': np.full(10, 9.0), 'has_pose': 0}
    labels['keypoints2d'][:, 2] = np.where(np.arange(44) < 4, 0.1, 0)
    kept, acted = off(labels, 1e9)
    assert not acted and kept['has_betas'] == 1
    np.testing.assert_array_equal(kept['keypoints2d'], labels['keypoints2d'])
    for field in dataclasses.fields(filters.Filters):
        if field.name != 'pose_density':
            alone = dataclasses.replace(off, **{field.name: field.default})
            dropped, acted = alone(labels, 1e9)
            changed = dropped is None or (dropped['keypoints2d'][:, 2] == 0).all()
            assert acted or changed, field.name


def test_the_builder(rng, tmp_path, pixels, density_file, capsys):
    """Several tars, counts of what was filtered, and another dataset without filters beside it."""
    module = load_builder('pseudo_gt')
    people = real_formats.fitted_person
    folder = tmp_path / 'dataset_tars'
    for tar in range(3):
        real_formats.write_tar(
            folder / f'coco-train-2014-pruned/{tar:06d}.tar',
            {
                f'{tar}{i}': sample(
                    pixels,
                    [
                        people(rng, pixels[0], body_pose=np.full(72, 0.05)),
                        people(rng, pixels[1], body_pose=np.full(72, 1.5), betas=np.full(10, 4.0)),
                    ],
                )
                for i in range(2)
            },
        )
    real_formats.pack_on_macos(folder)
    common = {'set': 'coco', 'manual_dir': str(folder), 'num_processes': 1, 'num_shards': 2}
    for extra in (
        {'pose_density': str(density_file)},
        {'pose_density': 'none', 'max_beta': 0.0, 'tag': 'unfiltered'},
    ):
        settings = module.Settings(**common, **extra)
        prepare.prepare_dataset(
            module.Builder(settings=settings, data_dir=tmp_path / 'out'), settings
        )
    printed = capsys.readouterr().out
    assert '6 not trusted: betas' in printed and '12 coco' in printed
    assert printed.count('poses are trusted') == 1 and '50.0% of 12 poses are trusted' in printed
    trust = {}
    for name in ('coco', 'coco_unfiltered'):
        split = pipeline.open_split(str(tmp_path / 'out'), f'pseudo_gt/{name}/train')
        assert len(split) == 12
        trust[name] = sum(split[i]['has_betas'] for i in range(12))
    assert trust == {'coco': 6, 'coco_unfiltered': 12}


def test_what_is_known_to_be_corrupt_is_left_out(rng, tmp_path, pixels, capsys):
    """A sample of AI Challenger and tars of InstaVariety; the same names elsewhere stay."""
    module, folder = load_builder('pseudo_gt'), tmp_path / 'dataset_tars'
    people = sample(pixels, [real_formats.fitted_person(rng, p) for p in pixels])
    names = '0a047f0124ae48f8eee15a9506ce1449ee1ba669', 'f' * 40
    tars = {'aic': ('000000', '002994'), 'insta': ('002993', '002994', '003000', '003001')}
    counts = {}
    for name, numbers in tars.items():
        where = humans4d.SETS[name]
        for number in numbers:
            samples = {f'{where}/{key}': people for key in names}
            real_formats.write_tar(folder / where / f'{number}.tar', samples)
        settings = module.Settings(
            set=name, manual_dir=str(folder), pose_density='none', num_processes=1
        )
        builder = module.Builder(settings=settings, data_dir=tmp_path / 'out')
        prepare.prepare_dataset(builder, settings)
        counts[name] = builder.info.metadata['counts']['train']
    assert counts['aic'] == {'sources': {'aic': 4}, 'remarks': {humans4d.KNOWN_CORRUPT: 2}}
    assert counts['insta'] == {'sources': {'insta': 8}, 'remarks': {}}
    printed = capsys.readouterr().out
    assert '2 were skipped:' in printed
    for number in ('002994', '003000'):
        assert f'{number}.tar: {humans4d.KNOWN_CORRUPT}' in printed


@pytest.mark.parametrize(('angle', 'share'), [(0.05, 'all'), (1.5, 'none')])
def test_a_density_that_tells_no_poses_apart_is_an_error(
    rng, tmp_path, pixels, density_file, angle, share
):
    """It is also one when the same command runs again, with all shards written."""
    module = load_builder('pseudo_gt')
    person = real_formats.fitted_person(rng, pixels[0], body_pose=np.full(72, angle))
    real_formats.write_tar(
        tmp_path / 'in/mpii-train/000000.tar', {'a': sample(pixels, [person, person])}
    )
    settings = module.Settings(
        set='mpii', manual_dir=str(tmp_path / 'in'), num_processes=1, pose_density=str(density_file)
    )
    for _ in range(2):
        builder = module.Builder(settings=settings, data_dir=tmp_path / 'out')
        with pytest.raises(ValueError, match=rf'density\.npy: {share} of 2 poses are probable'):
            prepare.prepare_dataset(builder, settings)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'set': 'cocoa'}, "set='cocoa': expected one of"),
        ({'pose_density': ''}, 'pose_density'),
        ({'tag': 'a/b'}, 'tag'),
        ({'manual_dir': '/no/folder'}, "manual_dir='/no/folder'"),
        ({'quality': 0}, 'quality'),
    ],
)
def test_settings_that_make_no_sense(change, message):
    settings = {'set': 'mpii', 'manual_dir': str(ROOT), 'pose_density': 'none'} | change
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        load_builder('pseudo_gt').Settings(**settings)


def test_turns_are_those_of_the_files(rng, tmp_path, pixels):
    """A root beyond half a turn stays what it is."""
    root = Rotation.from_euler('xyz', [3.0, 0.4, -0.2]).as_rotvec()
    pose = np.r_[root, np.zeros(69)].astype(np.float32)
    person = real_formats.fitted_person(rng, pixels[0], body_pose=pose)
    found, _ = read(tmp_path, {'a': sample(pixels, [person])})
    np.testing.assert_allclose(found['mpii-train/000003/a/0']['global_orient'], root, rtol=1e-6)
