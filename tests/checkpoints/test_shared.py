"""Weights as files of safetensors: written, read, converted back, and fetched from a hub."""

import shutil

import chex
import numpy as np
import pytest
import yaml

import tokenhmr_jax
from tokenhmr_jax import export
from tokenhmr_jax.checkpoints import shared
from tokenhmr_jax.convert import convert_weights
from tokenhmr_jax.training.trained_run import bundled_run

pytest.importorskip('safetensors')
POSES = np.broadcast_to(np.eye(3, dtype=np.float32), (2, 21, 3, 3))


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp('shared') / 'tokens'
    export.main(
        [f'--checkpoint={bundled_run("tokenizer")}', f'--out={out}', '--format=safetensors']
    )
    return out


@pytest.fixture(scope='module')
def bundled():
    return tokenhmr_jax.load_tokenizer('bundled')


def test_shared_weights_are_the_checkpoints(folder, bundled, tmp_path):
    """Loaded as they are, and converted to a checkpoint."""
    convert_weights(folder / shared.NAME, tmp_path / 'run')
    for path in (folder, tmp_path / 'run'):
        found = tokenhmr_jax.load_tokenizer(str(path))
        chex.assert_trees_all_equal(found.params, bundled.params)
        chex.assert_trees_all_equal(found.codes, bundled.codes)
        chex.assert_trees_all_equal(found.encode(POSES), bundled.encode(POSES))
    with pytest.raises(ValueError, match="step '3': expected 'best', 'last' or "):
        tokenhmr_jax.load_tokenizer(str(folder), '3')
    with pytest.raises(ValueError, match='is a tokenizer, not a regressor'):
        tokenhmr_jax.load(str(folder))


def test_the_card_says_what_is_known(folder):
    _, head, text = (folder / 'README.md').read_text().split('---\n', 2)
    assert yaml.safe_load(head)['library_name'] == 'tokenhmr_jax'
    assert "tokenhmr_jax.load_tokenizer('hf://OWNER/tokens')" in text
    assert '| amass/procedural | ' in text and 'Not evaluated.' in text
    assert 'the mannequin, which needs no licence' in text


def test_errors_are_of_the_step_that_is_shared():
    config = {'task': 'regressor', 'batch_size': 8, 'data': {'mixture': {}}, 'body': 'x.pkl'}
    rows = {'regressor': {'mpjpe_mm': 91.74, 'joint_mm/knee': 3.0}}
    evaluation = {'step': 5, 'splits': ['emdb'], 'rows': rows}
    text = export.model_card.write_card('a', 5, config, evaluation)
    assert 'On emdb:' in text and '| regressor | 91.74 |' in text and 'knee' not in text
    assert 'Not evaluated.' in export.model_card.write_card('a', 6, config, evaluation)


def test_a_model_of_the_hub(folder, bundled, tmp_path, monkeypatch):
    """From its cache on this disk, without a network."""
    constants = pytest.importorskip('huggingface_hub.constants')
    place = tmp_path / 'models--me--tokens'
    shutil.copytree(folder, place / 'snapshots' / 'abc')
    (place / 'refs').mkdir()
    (place / 'refs' / 'main').write_text('abc')
    monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(tmp_path))
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', True)
    found = tokenhmr_jax.load_tokenizer('hf://me/tokens')
    chex.assert_trees_all_equal(found.params, bundled.params)
    with pytest.raises(FileNotFoundError, match='hf://me/others: not to be had'):
        tokenhmr_jax.load_tokenizer('hf://me/others')
    with pytest.raises(ValueError, match='hf://me/a/b: expected hf://OWNER/NAME'):
        tokenhmr_jax.load_tokenizer('hf://me/a/b')


def test_other_files_are_refused(tmp_path, folder):
    content = shared.read_shared(folder / shared.NAME)
    like = {'params': {'a': np.zeros(3, np.float32)}, 'state': {}}
    with pytest.raises(ValueError, match='its arrays are not those of its config'):
        shared.fill(like, content.arrays, 'here')
    with pytest.raises(ValueError, match=r'here: params/a is \(2,\), expected \(3,\)'):
        shared.fill(like, {'params/a': np.zeros(2)}, 'here')
    wrong = tmp_path / 'a.safetensors'
    wrong.write_bytes(b'no file of that kind')
    with pytest.raises(ValueError, match='not a file of safetensors'):
        convert_weights(wrong, tmp_path / 'run')
    from safetensors.numpy import save_file

    save_file({'a': np.zeros(2)}, wrong)
    with pytest.raises(ValueError, match='its metadata have no config'):
        convert_weights(wrong, tmp_path / 'run')
    with pytest.raises(FileNotFoundError, match='no such file'):
        convert_weights(tmp_path / 'none.safetensors', tmp_path / 'run')
    assert not (tmp_path / 'run').exists()
