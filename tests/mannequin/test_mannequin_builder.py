"""The mannequin's dataset, by its builder: procedural poses and those of motion files."""

import importlib.util
import json
import pathlib

import numpy as np
import pytest
import tensorflow_datasets as tfds
from scipy.spatial.transform import Rotation

from tokenhmr_jax.data import records
from tokenhmr_jax.readers import amass, prepare

ROOT = pathlib.Path(__file__).parents[2]
SCRIPT = ROOT / 'datasets/mannequin/mannequin_dataset_builder.py'
SIZE = (213, 160)


@pytest.fixture(scope='module')
def module():
    spec = importlib.util.spec_from_file_location('mannequin_dataset_builder', SCRIPT)
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


TINY = {'num_train': 5, 'num_pseudo': 3, 'num_heldout': 2, 'num_processes': 1, 'image_size': 96}


def build(module, folder, **settings):
    settings = module.Settings(**(TINY | settings))
    builder = module.Builder(settings=settings, data_dir=folder)
    prepare.prepare_dataset(builder, settings)
    again = tfds.builder_from_directory(folder / 'mannequin/1.1.0')
    return {split: list(again.as_data_source(split)) for split in again.info.splits}


@pytest.mark.slow
def test_builder_from_end_to_end(module, tmp_path, capsys):
    splits = build(module, tmp_path, kinds='walking,lying', num_pseudo_true=2)
    sizes = {name: len(content) for name, content in splits.items()}
    assert sizes == {'suit': 5, 'suit_pseudo': 3, 'suit_pseudo_true': 2, 'suit_heldout': 2}
    fitted = {record['key']: record for record in splits['suit_pseudo']}
    for true in splits['suit_pseudo_true']:
        assert true['image'] == fitted[true['key']]['image']
        assert not np.allclose(true['body_pose'], fitted[true['key']]['body_pose'], atol=0.1)
    told = capsys.readouterr().out
    assert 'suit_pseudo: labels against the truth' in told and 'PA-MPJPE' in told
    for content in splits.values():
        for record in content:
            records.check_record({**record, 'key': record['key'].decode()})
            assert tuple(record['image_size']) == (128, 96)
    clips = {
        name: {record['key'].decode().split('/', 2)[2].split(':')[0] for record in content}
        for name, content in splits.items()
    }
    assert all('/walking/' in clip or '/lying/' in clip for clip in set.union(*clips.values()))
    assert not (clips['suit'] & clips['suit_heldout']) and not (
        clips['suit'] & clips['suit_pseudo']
    )
    metadata = json.loads((tmp_path / 'mannequin/1.1.0/metadata.json').read_text())
    assert len(metadata['label_errors']['suit_pseudo']['angle_deg']) == 24
    with pytest.raises(ValueError, match='was prepared with num_train=5'):
        build(module, tmp_path, num_train=6)


def test_poses_of_motion_files(module, tmp_path):
    """The root's orientation travels too; held-out files stay out of the other splits."""
    rng = np.random.default_rng(0)
    motion = rng.normal(0, 0.2, (2, 30, 156))
    for name, content in zip(('walk', 'dance'), motion, strict=True):
        path = tmp_path / f'in/CMU/{name}_poses.npz'
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, poses=content, trans=np.zeros((30, 3)))
    (tmp_path / 'in/CMU/broken_poses.npz').write_bytes(b'PK')
    splits = build(
        module, tmp_path / 'out', motion_dir=str(tmp_path / 'in'), held_out='dance', num_pseudo=0,
        look='suit,clothed', stride=10, nearest=7.0, farthest=7.5,
    )  # fmt: skip
    assert {name: len(content) for name, content in splits.items()} == {
        'suit': 5, 'suit_heldout': 2, 'clothed': 5, 'clothed_heldout': 2,
    }  # fmt: skip
    for split, sequence, clip in (
        ('suit', motion[0], 'walk'),
        ('suit_heldout', motion[1], 'dance'),
    ):
        for record in splits[split]:
            _, _, name = record['key'].decode().split('/', 2)
            file, frame = name.split(':')
            assert file == f'CMU/{clip}' and int(frame) % 10 == 0
            pose = sequence[int(frame)]
            np.testing.assert_allclose(record['body_pose'][:21].ravel(), pose[3:66], atol=1e-6)
            # Seen by a camera that pitches by at most 30 degrees and rolls a little: the world's
            # up stays up.
            body_up = Rotation.from_rotvec(pose[:3]).inv().apply([0, 0, 1])
            up = Rotation.from_rotvec(record['global_orient']).apply(body_up)
            assert up[1] < -0.8
            assert 6.5 < record['transl'][2] < 8  # of SMPL's origin, some way from the pelvis
    metadata = json.loads((tmp_path / 'out/mannequin/1.1.0/metadata.json').read_text())
    assert len(metadata['skipped']) == 1 and 'broken' in metadata['skipped'][0]


def test_frames_do_not_keep_their_clip_in_memory(tmp_path):
    np.savez(tmp_path / 'a_poses.npz', poses=np.zeros((30, 156)))
    (clips,) = amass.find_clips(tmp_path).values()
    frames, _ = amass.read_frames(clips, 10)
    assert len(frames) == 3
    for frame in frames:
        assert frame.global_orient.base is None and frame.body_pose.base is None


@pytest.mark.parametrize(
    'wrong, message',
    [
        ({'look': 'naked'}, "look='naked': expected suit, clothed"),
        ({'look': ''}, "look='': expected"),
        ({'look': 'suit,suit'}, "look='suit,suit': expected"),
        ({'num_train': 0}, 'num_train=0: expected at least 1'),
        ({'num_pseudo': -1}, 'num_pseudo=-1: expected at least 0'),
        ({'image_size': 8}, 'image_size=8: expected at least 32'),
        ({'held_out_fraction': 1.0}, 'held_out_fraction=1.0: expected'),
        ({'held_out': '('}, r"held_out='\(': "),
        ({'kinds': 'walking,flying'}, "kinds='walking,flying': expected some of standing,"),
        ({'nearest': 9.0}, 'people from 9.0 to 8.0 m: expected'),
        ({'pseudo_nearest': 0.0}, 'people from 0.0 to 3.0 m: expected'),
    ],
)
def test_settings_that_make_no_sense(module, wrong, message):
    with pytest.raises(ValueError, match=message):
        module.Settings(**wrong)


def test_motion_that_is_not_there(module, tmp_path):
    with pytest.raises(FileNotFoundError, match='no such folder'):
        build(module, tmp_path, motion_dir=str(tmp_path / 'nowhere'))
    (tmp_path / 'in').mkdir()
    np.savez(tmp_path / 'in/a_poses.npz', poses=np.zeros((3, 156)))
    with pytest.raises(ValueError, match='choose files by --held_out'):
        build(module, tmp_path, motion_dir=str(tmp_path / 'in'), held_out='nothing')
    assert not (tmp_path / 'mannequin').exists()
