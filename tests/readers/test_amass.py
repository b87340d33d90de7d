"""Motion files: chosen frames, splits, and bad files."""

import collections
import importlib.util
import os
import pathlib
import pickle
import subprocess
import sys

import numpy as np
import pytest
import real_formats
import tensorflow_datasets as tfds

from tokenhmr_jax.readers import amass, prepare

ROOT = pathlib.Path(__file__).parents[2]
SCRIPT = ROOT / 'datasets/amass/amass_dataset_builder.py'


@pytest.fixture(scope='module')
def module():
    spec = importlib.util.spec_from_file_location('amass_dataset_builder', SCRIPT)
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


@pytest.fixture
def build(module, tmp_path):
    """Prepares `tmp_path/in` with the settings given; {split: {key: body_pose}} as read back."""

    def build(**settings):
        settings = module.Settings(**({'manual_dir': str(tmp_path / 'in')} | settings))
        builder = module.Builder(settings=settings, data_dir=tmp_path / 'out')
        prepare.prepare_dataset(builder, settings)
        again = tfds.builder_from_directory(tmp_path / 'out/amass/1.1.0')
        return {
            split: {r['key'].decode(): r['body_pose'] for r in again.as_data_source(split)}
            for split in again.info.splits
        }

    return build


def ramp(frames, width, offset=0.0):
    """Poses whose every value tells its frame and column."""
    return offset + np.arange(frames)[:, None] + np.arange(width)[None] / 1000


def save_smplh(path, frames, width=156, **changes):
    """A file as AMASS has them: float64, bytes for the gender, shapes and soft tissue."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        'poses': ramp(frames, width),
        'trans': np.zeros((frames, 3)),
        'betas': np.zeros(16),
        'dmpls': np.zeros((frames, 8)),
        'gender': np.array(b'female'),
        'mocap_framerate': np.array(120.0),
    }
    content.update(changes)
    np.savez(path, **{key: value for key, value in content.items() if value is not None})


def save_smplx(path, frames):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(
        path,
        poses=ramp(frames, 165, 500),
        root_orient=ramp(frames, 3, 500),
        pose_body=ramp(frames, 63, 100),
        pose_hand=np.zeros((frames, 90)),
        trans=np.zeros((frames, 3)),
        betas=np.zeros(16),
        gender='neutral',
        surface_model_type='smplx',
        mocap_frame_rate=120.0,
        labels_obs=np.array([{'not': 'numbers'}], dtype=object),
    )


def save_moyo(path, frames):
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        'global_orient': np.zeros((frames, 3)),
        'body_pose': ramp(frames, 69),
        'transl': np.zeros((frames, 3)),
        'betas': np.zeros((frames, 10)),
        'gender': 'neutral',
    }
    path.write_bytes(pickle.dumps(content))


def test_amass_frames_and_columns(build, tmp_path):
    """Every 10th frame of the middle 60% of 50: 10, 20, 30, without the root's three columns."""
    save_smplh(tmp_path / 'in/CMU/01/01_01_poses.npz', 50)
    save_smplx(tmp_path / 'in/CMU/02/walk_stageii.npz', 30)
    for no_motion in ('shape.npz', '01_01_stagei.npz', 'neutral_stagei.npz', 'neutral_poses.npz'):
        np.savez(tmp_path / 'in/CMU/01' / no_motion, betas=np.zeros(16))
    (tmp_path / 'in/CMU/LICENSE.txt').write_text('')
    save_smplh(tmp_path / 'in/.Trashes/CMU/thrown_away_poses.npz', 50)
    real_formats.pack_on_macos(tmp_path / 'in')

    splits = build()
    assert list(splits) == ['CMU']
    poses = splits['CMU']
    assert sorted(poses) == [
        'CMU/01/01_01:10', 'CMU/01/01_01:20', 'CMU/01/01_01:30', 'CMU/02/walk:16', 'CMU/02/walk:6',
    ]  # fmt: skip
    expected = (20 + np.arange(3, 66) / 1000).reshape(21, 3)
    np.testing.assert_allclose(poses['CMU/01/01_01:20'], expected, rtol=1e-6)
    assert poses['CMU/01/01_01:20'].dtype == np.float32
    expected = (116 + np.arange(63) / 1000).reshape(21, 3)
    np.testing.assert_allclose(poses['CMU/02/walk:16'], expected, rtol=1e-6)


def test_stride_and_middle_are_settings(build, tmp_path):
    save_smplh(tmp_path / 'in/CMU/01/a_poses.npz', 10)
    assert sorted(build(stride=3, middle=1.0)['CMU']) == [f'CMU/01/a:{f}' for f in (0, 3, 6, 9)]


def test_smplh_is_taken_where_both_variants_are_there(build, tmp_path):
    save_smplx(tmp_path / 'in/KIT/3/a_stageii.npz', 20)
    save_smplh(tmp_path / 'in/KIT/3/a_poses.npz', 20)
    (pose, _) = build()['KIT'].values()
    assert pose[0, 0] < 100


def test_moyo_frames_and_its_validation_folder(build, tmp_path):
    """Every 5th of the middle 80% of 20: 2, 7, 12, 17."""
    save_moyo(tmp_path / 'in/moyo/train/220923_yogi_boat.pkl', 20)
    save_moyo(tmp_path / 'in/moyo/val/220926_yogi_tree.pkl', 10)
    splits = build()
    train = [f'MOYO/train/220923_yogi_boat:{f}' for f in (12, 17, 2, 7)]
    assert sorted(splits['MOYO']) == train
    assert sorted(splits['MOYO_heldout']) == [f'MOYO/val/220926_yogi_tree:{f}' for f in (1, 6)]
    expected = (12 + np.arange(63) / 1000).reshape(21, 3)
    np.testing.assert_allclose(splits['MOYO'][train[0]], expected, rtol=1e-6)


def test_moyo_in_the_format_of_amass(build, tmp_path):
    """Strides and validation folder are MOYO's own: every 5th of the middle 80% of 20 and 10."""
    save_smplx(tmp_path / 'in/MOYO/train/boat_stageii.npz', 20)
    save_smplx(tmp_path / 'in/MOYO/AMASS/yogi/val/boat_stageii.npz', 10)
    save_smplh(tmp_path / 'in/CMU/val/walk_poses.npz', 20)  # a subject of this name
    splits = build()
    assert {split: sorted(poses) for split, poses in splits.items()} == {
        'CMU': ['CMU/val/walk:14', 'CMU/val/walk:4'],
        'MOYO': sorted(f'MOYO/train/boat:{f}' for f in (2, 7, 12, 17)),
        'MOYO_heldout': [f'MOYO/AMASS/yogi/val/boat:{f}' for f in (1, 6)],
    }
    expected = (112 + np.arange(63) / 1000).reshape(21, 3)
    np.testing.assert_allclose(splits['MOYO']['MOYO/train/boat:12'], expected, rtol=1e-6)


def test_moyo_validation_alone_is_held_out(build, tmp_path):
    save_moyo(tmp_path / 'in/MOYO/val/tree.pkl', 10)
    assert list(build()) == ['MOYO_heldout']


def save_mosh(path, frames):
    """SMPL-X fits as MoSh++ writes them, with all its settings and markers."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        'fullpose': ramp(frames, 165, 200),
        'trans': np.zeros((frames, 3)),
        'betas': np.zeros(300),
        'latent_labels': ['LFHD'],
        'markers_latent_vids': collections.OrderedDict(LFHD=3),
        'stageii_debug_details': {
            'markers_obs': [np.zeros((1, 3))] * frames,
            'cfg': {'surface_model': {'type': 'smplx', 'gender': 'female'}},
        },
    }
    path.write_bytes(pickle.dumps(content))


def test_moyo_smplx_fits(build, tmp_path):
    """The root's three columns, then the body's 63."""
    save_mosh(tmp_path / 'in/MOYO/mosh/train/tree_stageii.pkl', 10)
    poses = build()['MOYO']
    assert sorted(poses) == [f'MOYO/mosh/train/tree:{f}' for f in (1, 6)]
    expected = (206 + np.arange(3, 66) / 1000).reshape(21, 3)
    np.testing.assert_allclose(poses['MOYO/mosh/train/tree:6'], expected, rtol=1e-6)
    (clip,) = amass.find_clips(tmp_path / 'in')['MOYO']
    np.testing.assert_allclose(amass.read_root(clip, 10)[6], [206, 206.001, 206.002], rtol=1e-6)


def test_moyo_sequences_count_once(tmp_path):
    """All of its downloads unpacked side by side: the SMPL fits are taken."""
    moyo = tmp_path / 'MOYO/20220923'
    for part in ('train', 'val'):
        save_mosh(moyo / f'mosh/{part}/boat_stageii.pkl', 10)
        save_moyo(moyo / f'mosh_smpl/{part}/boat_stageii_smpl.pkl', 10)
        save_smplx(moyo / f'AMASS/yogi/{part}/boat_stageii.npz', 10)
    clips = amass.find_clips(tmp_path)['MOYO']
    assert [clip.name for clip in clips] == [
        'MOYO/20220923/mosh_smpl/train/boat', 'MOYO/20220923/mosh_smpl/val/boat',
    ]  # fmt: skip


def test_preprocessed_files_are_taken_as_they_are(build, tmp_path):
    (tmp_path / 'in').mkdir()
    for name, frames in (('train_MOYO', 3), ('val_MOYO', 2), ('val_HumanEva', 2), ('train_CMU', 1)):
        np.savez(
            tmp_path / f'in/{name}.npz',
            pose_body=ramp(frames, 63),
            betas=np.zeros((frames, 10)),
            gender=np.array(['neutral'] * frames),
            name=np.array([name] * frames),
        )
    splits = build()
    sizes = {split: len(poses) for split, poses in splits.items()}
    assert sizes == {'MOYO': 3, 'MOYO_heldout': 2, 'HumanEva': 2, 'CMU': 1}
    assert sorted(splits['MOYO']) == ['MOYO/train:0', 'MOYO/train:1', 'MOYO/train:2']


@pytest.mark.parametrize(
    'folder, name',
    [
        ('BioMotionLab_NTroje', 'BMLrub'), ('MPI_HDM05', 'HDM05'), ('HDM05', 'HDM05'),
        ('Eyes_Japan_Dataset', 'EyesJapan'), ('TCD_handMocap', 'TCDHands'),
        ('MPI-Limits', 'MPI_Limits'), ('MPI_Limits', 'MPI_Limits'), ('MPI_mosh', 'MPI_Mosh'),
        ('Transitions_mocap', 'Transitions'), ('SSM_synced', 'SSM'), ('cmu', 'CMU'),
        ('My capture (2024)', 'My_capture_2024_'),
    ],
)  # fmt: skip
def test_both_spellings(folder, name):
    assert amass.canonical_name(folder) == name


def test_published_lists_are_disjoint_and_known():
    lists = amass.TRAIN + amass.VALIDATION + amass.TEST
    assert len(lists) == len(set(lists)) == 19 and set(amass.SPELLINGS.values()) < set(lists)


def test_sources_by_folder_and_loose_clips(tmp_path):
    """A folder that is itself a known source is not split up into its subjects."""
    save_smplh(tmp_path / 'clips/walk_poses.npz', 5)
    save_smplh(tmp_path / 'clips/KIT/3/a_poses.npz', 5)
    save_smplh(tmp_path / 'SSM_synced/s1/a_poses.npz', 5)
    sources = amass.find_clips(tmp_path / 'clips')
    assert {s: [c.name for c in cs] for s, cs in sources.items()} == {
        'clips': ['clips/walk'],
        'KIT': ['KIT/3/a'],
    }
    (clip,) = amass.find_clips(tmp_path / 'SSM_synced')['SSM']
    assert clip.name == 'SSM/s1/a'


def test_held_out_by_expression(build, tmp_path):
    for subject in ('01', '02'):
        save_smplh(tmp_path / f'in/CMU/{subject}/a_poses.npz', 20)
    splits = build(held_out=r'^CMU/02/')
    assert sorted(splits['CMU']) == ['CMU/01/a:14', 'CMU/01/a:4']
    assert sorted(splits['CMU_heldout']) == ['CMU/02/a:14', 'CMU/02/a:4']


def test_a_share_is_held_out_of_loose_clips_alone(build, tmp_path):
    for name in 'abcd':
        save_smplh(tmp_path / f'in/{name}_poses.npz', 10)
        save_smplh(tmp_path / f'in/MyMocap/{name}_poses.npz', 10)
    splits = build(held_out_fraction=0.3)
    sizes = {split: len(poses) for split, poses in splits.items()}
    assert sizes == {'MyMocap': 4, 'in': 2, 'in_heldout': 2}


def test_twins_of_loose_clips_stay_together(tmp_path):
    for i in range(20):
        performance = 'abcdefghijklmnopqrst'[i]
        for take in ('', '01', '_mirror', '_left', '_right02'):
            save_smplh(tmp_path / f'clips/{performance}{take}_poses.npz', 3)
    save_smplh(tmp_path / 'clips/long_poses.npz', 3000)
    clips = amass.find_clips(tmp_path / 'clips')['clips']
    held_out = amass.hold_out(clips, '', 0.2)
    performances = {name.removeprefix('clips/')[0] for name in held_out}
    assert len(held_out) == 5 * len(performances) == 5 * 5  # 0.2 of 21 families, rounded up
    assert 'clips/long' not in held_out
    assert amass.hold_out(clips[::-1], '', 0.2) == held_out
    assert amass.hold_out(clips, '', 0.0) == set()


BAD = {
    'without poses': {'poses': None},
    'wrong width': {'poses': np.zeros((10, 150))},
    'not numbers': {'poses': np.full((10, 156), 'x')},
    'not finite': {'poses': np.full((10, 156), np.nan)},
    'no frames': {'poses': np.zeros((0, 156))},
}


@pytest.mark.parametrize('why', [*BAD, 'truncated', 'not a zip', 'evil pickle'])
def test_bad_files_are_skipped_and_named(build, capsys, tmp_path, why):
    save_smplh(tmp_path / 'in/CMU/01/good_poses.npz', 10)
    path = tmp_path / 'in/CMU/01/bad_poses.npz'
    save_smplh(path, 10, **BAD.get(why, {}))
    if why == 'truncated':
        path.write_bytes(path.read_bytes()[:-300])
    elif why == 'not a zip':
        path.write_text('<html>please register</html>')
    elif why == 'evil pickle':
        path.unlink()
        path = tmp_path / 'in/MOYO/train/bad.pkl'
        save_moyo(path.with_name('good.pkl'), 10)
        path.write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    splits = build(max_bad_fraction=0.5)
    assert sorted(splits['CMU']) == ['CMU/01/good:2']
    printed = capsys.readouterr().out
    assert '1 were skipped' in printed and str(path) in printed


def test_too_many_bad_files_end_the_run_and_leave_nothing(build, tmp_path):
    for i in range(4):
        save_smplh(tmp_path / f'in/CMU/01/{i}_poses.npz', 10, **(BAD['wrong width'] if i else {}))
    with pytest.raises(ValueError, match=r'2 bad files, .*CMU/01/1_poses.*\(10, 150\)'):
        build(max_bad_fraction=0.25)
    assert not list(tmp_path.glob('out/**/*.json'))


def test_clips_too_short_for_a_frame_are_an_error(build, tmp_path):
    save_smplh(tmp_path / 'in/CMU/01/a_poses.npz', 10)
    with pytest.raises(ValueError, match='CMU: no frame in its 1 files'):
        build(middle=0.01)


def test_missing_and_empty_folders(build, tmp_path):
    with pytest.raises(FileNotFoundError, match='no such folder'):
        build()
    (tmp_path / 'in').mkdir()
    with pytest.raises(FileNotFoundError, match='no motion files: expected'):
        build()
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize(
    'setting', [{'stride': 0}, {'middle': 1.5}, {'max_bad_fraction': -0.1}, {'held_out': '('}]
)
def test_settings_that_make_no_sense(module, setting):
    with pytest.raises(ValueError, match=next(iter(setting))):
        module.Settings(**setting)


def test_procedural_source(build):
    splits = build(manual_dir='', num_procedural=260)
    assert {split: len(poses) for split, poses in splits.items()} == {
        'procedural': 260,
        'procedural_heldout': 13,
    }
    train, held_out = (np.stack(list(poses.values())) for poses in splits.values())
    distance = np.abs(held_out[:, None] - train[None]).max((2, 3)).min(1)
    assert distance.min() > 0.05  # radians: no held-out pose is among the training poses


def test_other_settings_for_a_prepared_dataset(build):
    build(manual_dir='', num_procedural=20)
    with pytest.raises(ValueError, match='prepared with num_procedural=20'):
        build(manual_dir='', num_procedural=30)


@pytest.mark.slow
def test_command(tmp_path):
    """One line for a mistake; a summary for a run, and for the run after it."""

    def run(*args):
        command = [sys.executable, str(SCRIPT), f'--data_dir={tmp_path}', *args]
        env = os.environ | {'PYTHONPATH': str(ROOT)}
        return subprocess.run(command, capture_output=True, text=True, env=env)

    wrong = run('--manual_dir=/no/such/folder')
    assert wrong.returncode == 1
    assert wrong.stderr.strip() == 'error: /no/such/folder: no such folder'
    for words in ('downloaded and prepared', 'already prepared'):
        done = run('--num_procedural=50')
        assert done.returncode == 0, done.stderr
        assert words in done.stdout and 'procedural_heldout          3 records' in done.stdout
