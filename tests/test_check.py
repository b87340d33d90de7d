"""Search and check of the official body files, and the tasks that lack some."""

import pickle
import re

import numpy as np
import pytest
import real_formats
from random_body import random_smpl

from tokenhmr_jax.readers import official_files

HANDS = [20, 22, 23, 20, 25, 26, 20, 28, 29, 20, 31, 32, 20, 34, 35]


def smplh(seed):
    """A random body with SMPL-H's counts."""
    small = random_smpl(seed)
    parents = [*small['kintree_table'][0][:22], *HANDS, *(21 if p == 20 else p + 15 for p in HANDS)]
    return small | {
        'posedirs': np.zeros((6890, 3, 459)),
        'weights': np.full((6890, 52), 1 / 52),
        'J_regressor': np.concatenate([small['J_regressor']] * 3)[:52],
        'kintree_table': np.array([parents, range(52)], np.int64),
    }


@pytest.fixture(scope='module')
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp('bodies')
    (folder / 'a').mkdir()
    neutral = random_smpl(1)
    extra = neutral.pop('joint_regressor_extra')
    official = folder / 'a/basicmodel_neutral_lbs_10_207_0_v1.0.0.pkl'
    official.write_bytes(pickle.dumps(neutral, protocol=2))
    np.savez(folder / 'a/smpl_male.npz', **neutral)
    np.savez(folder / 'SMPLH_MALE.npz', **neutral)
    np.savez(folder / 'SMPLH_NEUTRAL.npz', **smplh(2))
    (folder / 'SMPL_to_J19.pkl').write_bytes(pickle.dumps(extra, protocol=2))
    np.savez(folder / 'smpl_mean_params.npz', pose=np.zeros(144), shape=np.zeros(10), cam=[1, 2])
    (folder / 'SMPL_FEMALE.pkl').write_bytes(b'not a pickle')
    (folder / 'notes.npz').write_bytes(b'nothing to do with bodies')
    real_formats.pack_on_macos(folder)
    return official_files.check_files([str(folder)])


def test_every_file_is_judged(found):
    verdicts = {finding.claim: finding.problem or 'ok' for finding in found}
    expected = {
        'SMPL neutral': 'ok',
        'SMPL male': 'the same body as .*basicmodel_neutral.*, which claims to be SMPL neutral',
        'SMPL female': 'not a readable pickle',
        'SMPL-H neutral': 'ok',
        'SMPL-H male': '24 joints, expected the 52 of SMPL-H',
        'J19 regressor': 'ok',
        'mean parameters': r'cam is \(2,\), expected 3 finite numbers',
    }
    assert verdicts.keys() == expected.keys()
    for claim, message in expected.items():
        assert re.search(message, verdicts[claim]), (claim, verdicts[claim])


def test_tasks_name_their_missing_files(found):
    needs = {
        task.split(',')[0].split(' (')[0]: need
        for task, need in official_files.missing_files(found).items()
    }
    assert needs == {
        'everything on the mannequin': [],
        'the tokenizer': [],
        'the regressor': [],
        'the regressor from scratch': ['mean parameters'],
        'evaluation on 3DPW and EMDB': ['SMPL male', 'SMPL female', official_files.TOGETHER],
    }
    text = official_files.describe_findings(found)
    assert "52 joints, 10 shapes, J19 regressor, without MANO's mean hands" in text
    assert 'missing: SMPL female (https://smpl.is.tue.mpg.de)' in text
    assert 'not yet  evaluation on 3DPW' in text


def test_evaluation_needs_what_the_builders_find(tmp_path):
    """All files under their own names in one folder. Only names count here: the files are empty."""
    claims = {
        'a/SMPL_NEUTRAL.pkl': 'SMPL neutral',
        'b/SMPL_MALE.pkl': 'SMPL male',
        'b/SMPL_FEMALE.npz': 'SMPL female',
        'b/SMPL_to_J19.npy': official_files.REGRESSOR,
    }

    def needs(changed):
        folder = tmp_path / str(len(changed))
        paths = {folder / changed.get(name, name): claim for name, claim in claims.items()}
        for path in paths:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        found = [official_files.Finding(path, claim, '', '') for path, claim in paths.items()]
        return official_files.missing_files(found)['evaluation on 3DPW and EMDB']

    assert needs({}) == []
    # One folder up, as in the original's tree.
    assert needs({'b/SMPL_to_J19.npy': 'SMPL_to_J19.npy'}) == []
    assert needs({'b/SMPL_MALE.pkl': 'b/basicmodel_m_lbs_10_207_0_v1.1.0.pkl'}) == [
        official_files.TOGETHER
    ]
    assert needs({'b/SMPL_to_J19.npy': 'c/SMPL_to_J19.npy', 'a': ''}) == [official_files.TOGETHER]
    elsewhere = {'b/SMPL_MALE.pkl': 'c/SMPL_MALE.pkl', 'a/SMPL_NEUTRAL.pkl': 'SMPL_NEUTRAL.pkl'}
    assert needs(elsewhere) == [official_files.TOGETHER]


def test_a_broken_file_is_one_of_many(tmp_path):
    (tmp_path / 'SMPL_to_J19.npy').touch()
    np.savez(tmp_path / 'smpl_mean_params.npz', pose=np.zeros(144), shape=np.zeros(10), cam=[1] * 3)
    first, second = official_files.check_files([str(tmp_path)])
    assert first.problem == 'No data left in file' and not second.problem


def test_a_missing_folder_is_named():
    with pytest.raises(FileNotFoundError, match='/no/folder'):
        official_files.check_files(['/no/folder'])
