"""The released checkpoints: the page's table, and which steps can be done with what is there."""

import pathlib
import shutil
import zipfile
from unittest import mock

import numpy as np
import pytest
from conftest import ROOT

from tokenhmr_jax import check
from tokenhmr_jax.config import import_beside
from tokenhmr_jax.readers.official_files import REGRESSOR, Finding
from tokenhmr_jax.released import zoo

PAGE = (ROOT / 'docs/released_weights.md').read_text()
BODIES = [
    Finding(pathlib.Path('/bodies', kind), kind, '', '')
    for kind in ('SMPL neutral', 'SMPL male', 'SMPL female', REGRESSOR)
]
STEPS = [
    'prepare 3DPW', 'prepare EMDB',
    *(f'{step} {name}{on}' for name in zoo.ZOO
      for step, on in (('convert', ''), ('evaluate', ' on 3DPW'), ('evaluate', ' on EMDB'))),
]  # fmt: skip


def test_published_errors():
    """MPJPE on 3DPW and EMDB, from the model table of the original's README."""
    expected = {
        'paper': (70.9, 89.5), 'release': (72.0, 91.9), 'demo': (72.8, 93.7), 'bedlam': (71.6, 89.6)
    }  # fmt: skip
    found = {
        name: (released.errors['3DPW'][1], released.errors['EMDB'][1])
        for name, released in zoo.ZOO.items()
    }
    assert found == expected
    for released in zoo.ZOO.values():
        for vertices, joints, aligned in released.errors.values():
            assert aligned < joints < vertices


def test_the_page_has_each_checkpoint_with_its_errors():
    rows = [line.strip('| ').split(' | ') for line in PAGE.splitlines() if line.startswith('| `')]
    rows = {row[0].strip('`'): row[1:] for row in rows if len(row) == 10}
    assert rows.keys() == zoo.ZOO.keys()
    variants = import_beside(str(ROOT / 'configs/regressor.py'), 'regressor')
    for name, (file, download, variant, *errors) in rows.items():
        released = zoo.ZOO[name]
        assert (file, download, variant) == (
            f'`{released.file}`', f'`{released.download}`', f'`{released.variant}`'
        )  # fmt: skip
        assert tuple(map(float, errors)) == released.errors['3DPW'] + released.errors['EMDB']
        assert variants.get_config(f'variant={released.variant}').tals.enabled == (name != 'bedlam')
        section = ' '.join(PAGE.split(f'\n### `{name}`\n')[1].split('\n#')[0].split())
        assert f'fetch {released.download}' in section
        assert (
            f'convert {released.file} {released.variant} && evaluate {released.variant}' in section
        )
        for benchmark, (vertices, joints, aligned) in released.errors.items():
            expected = f'MPJPE {joints}, PA-MPJPE {aligned}, PVE {vertices} mm on {benchmark}'
            assert expected in section.split('Expect ')[1]


@pytest.fixture
def folder(files, tmp_path):
    """All that the steps need but the bodies: small weights, and three persons a benchmark."""
    shutil.copy(files / 'tokenizer.pth', tmp_path)
    for released in zoo.ZOO.values():
        shutil.copy(files / 'tokenhmr.ckpt', tmp_path / released.file)
    write_benchmark(
        tmp_path / '3dpw_test.npz', tmp_path / '3DPW', 'imageFiles/walk/image_0000{}.jpg'
    )
    write_benchmark(tmp_path / 'emdb.npz', tmp_path / 'deep/EMDB', 'P1/14_climb/images/0000{}.jpg')
    return tmp_path


def write_benchmark(metadata, pictures, name):
    """Two pictures, of one and of two persons."""
    names = [name.format(i) for i in (0, 1, 1)]
    np.savez(metadata, imgname=np.array(names), center=np.zeros((3, 2)), scale=np.ones(3))
    for each in names:
        (pictures / each).parent.mkdir(parents=True, exist_ok=True)
        (pictures / each).touch()


def missing(folder, bodies=BODIES):
    """Steps that cannot be done, with their needs."""
    found = zoo.missing_for_steps([*bodies, *zoo.check_released([folder])])
    assert list(found) == STEPS
    return {step: needs for step, needs in found.items() if needs}


def test_with_everything_there_every_step_can_be_done(folder):
    assert missing(folder) == {}
    found = {finding.claim: finding for finding in zoo.check_released([folder])}
    assert not any(finding.problem for finding in found.values())
    assert (
        found['EMDB metadata'].note == '3 persons' and found['EMDB pictures'].note == '2 pictures'
    )
    assert found['EMDB pictures'].path == folder / 'deep/EMDB'
    assert 'a regressor' in found['tokenhmr_paper.ckpt'].note
    text = zoo.describe_released(BODIES, list(found.values()))
    assert 'ready    evaluate demo on EMDB; expect MPJPE 93.7, PA-MPJPE 58.9, PVE 112.2 mm' in text
    assert 'not yet' not in text and 'missing:' not in text


def test_a_missing_checkpoint_stops_its_own_steps_alone(folder):
    (folder / 'tokenhmr_model.ckpt').unlink()
    expected = {
        'convert release': ['tokenhmr_model.ckpt'],
        'evaluate release on 3DPW': ['convert release'],
        'evaluate release on EMDB': ['convert release'],
    }
    assert missing(folder) == expected
    text = zoo.describe_released(BODIES, zoo.check_released([folder]))
    assert f'  tokenhmr_model.ckpt (tokenhmr_model.zip of {zoo.PAGE})' in text
    with zipfile.ZipFile(folder / 'tokenhmr_model.zip', 'w') as archive:
        archive.writestr('data/checkpoints/tokenhmr_model.ckpt', b'')
    assert missing(folder) == expected
    text = zoo.describe_released(BODIES, zoo.check_released([folder]))
    assert f'  tokenhmr_model.ckpt (unpack {folder / "tokenhmr_model.zip"})' in text


def test_missing_pictures_stop_one_benchmark(folder):
    shutil.rmtree(folder / '3DPW')
    steps = {f'evaluate {name} on 3DPW': ['prepare 3DPW'] for name in zoo.ZOO}
    assert missing(folder) == {'prepare 3DPW': ['3DPW pictures']} | steps
    (folder / 'deep/EMDB/P1/14_climb/images/00001.jpg').unlink()
    steps |= {f'evaluate {name} on EMDB': ['prepare EMDB'] for name in zoo.ZOO}
    prepare = {'prepare 3DPW': ['3DPW pictures'], 'prepare EMDB': ['EMDB pictures']}
    assert missing(folder) == prepare | steps
    (partly,) = (f for f in zoo.check_released([folder]) if f.claim == 'EMDB pictures')
    assert partly.problem == '1 of 2 are missing, such as P1/14_climb/images/00001.jpg'
    (folder / 'emdb.npz').write_bytes(b'no archive')
    assert missing(folder)['prepare EMDB'] == ['EMDB metadata', 'EMDB pictures']


def test_missing_bodies_and_pytorch(folder):
    neutral = [body for body in BODIES if body.claim != 'SMPL neutral']
    assert missing(folder, neutral)['convert demo'] == ['SMPL neutral']
    women = [body for body in BODIES if body.claim != 'SMPL female']
    assert missing(folder, women) == {step: ['SMPL female'] for step in STEPS if 'evaluate' in step}
    absent = mock.patch.object(zoo, 'read_checkpoint', side_effect=ImportError('needs PyTorch'))
    with absent, mock.patch('importlib.util.find_spec', return_value=None):
        found = zoo.check_released([folder])
        needs = missing(folder)
        text = zoo.describe_released(BODIES, found)
    assert not any(finding.problem for finding in found)
    assert needs['convert paper'] == [zoo.PYTORCH] and 'prepare EMDB' not in needs
    assert 'PyTorch (pip install "tokenhmr_jax[convert]")' in text


def test_files_that_are_not_what_their_names_say(folder, capsys):
    (folder / 'tokenhmr_paper.ckpt').write_text('<html>Please log in.</html>')
    shutil.copy(folder / 'tokenizer.pth', folder / 'tokenhmr_model.ckpt')
    problems = {f.claim: f.problem for f in zoo.check_released([folder]) if f.problem}
    assert problems.keys() == {'tokenhmr_paper.ckpt', 'tokenhmr_model.ckpt'}
    assert problems['tokenhmr_model.ckpt'] == 'holds a tokenizer, expected a regressor'
    with pytest.raises(SystemExit) as ended:
        check.main([f'--dir={folder}'])
    assert ended.value.code == 1
    printed = capsys.readouterr().out
    assert f'{folder / "tokenhmr_paper.ckpt"}  NOT USABLE: ' in printed
    assert 'not yet  convert paper: needs tokenhmr_paper.ckpt, SMPL neutral' in printed
    assert 'ready    prepare EMDB' in printed


def test_without_any_of_it_one_line_says_where_it_is(tmp_path, capsys):
    check.main([f'--dir={tmp_path}'])
    printed = capsys.readouterr().out
    assert printed.endswith('released weights: none (docs/released_weights.md)\n')
