"""PyTorch files as they are found: wrapped, whole, or something else under their name."""

import argparse
import collections
import pathlib
import sys
import types
from unittest import mock

import numpy as np
import pytest
from conftest import quickstart_config

from tokenhmr_jax.convert import convert_weights
from tokenhmr_jax.readers import smpl_files
from tokenhmr_jax.readers.pose_density import load_density
from tokenhmr_jax.released.torch_files import read_checkpoint

torch = pytest.importorskip('torch')
original_format = pytest.importorskip('original_format')


@pytest.mark.parametrize(
    'wrapped',
    [
        'module.{}'.format,
        '_orig_mod.{}'.format,
        'model.{}'.format,
        'model.module._orig_mod.{}'.format,
        lambda name: name.replace('backbone.', 'backbone._orig_mod.module.'),
    ],
)
@pytest.mark.parametrize('source', ['tokenhmr.ckpt', 'tokenizer.pth'])
def test_wrappers_leave_no_trace_in_names(contents, tmp_path, source, wrapped):
    """`model` inside a name is the network's own: the tokenizer has it."""
    content = contents[source]
    key = 'net' if 'net' in content else 'state_dict'
    weights = {wrapped(name): value for name, value in content[key].items()}
    path = original_format.save(tmp_path / source, content | {key: weights})
    found = read_checkpoint(path).tensors
    assert found.keys() == content[key].keys()
    np.testing.assert_array_equal(found[name := min(found)], content[key][name])


def test_two_weights_of_one_name_are_refused(tmp_path):
    torch.save({'w.bias': torch.ones(2), 'module.w.bias': torch.zeros(2)}, tmp_path / 'x.pth')
    with pytest.raises(ValueError, match=r'x\.pth: holds w\.bias twice.*module\.w\.bias'):
        read_checkpoint(tmp_path / 'x.pth')


def test_wrapped_weights_are_converted(contents, tmp_path):
    weights = {f'module.{k}': v for k, v in contents['vitpose.pth']['state_dict'].items()}
    torch.save({'epoch': np.int64(3), 'model': weights}, tmp_path / 'vitpose.pth')
    assert convert_weights(tmp_path / 'vitpose.pth', tmp_path / 'run') == []


@pytest.mark.parametrize(
    'value', [np.float64(0.5), np.float32(0.5), np.bool_(True), np.int64(7), np.str_('ab'), 1.5]
)
def test_numpy_values_beside_the_weights(tmp_path, value):
    content = {'state_dict': {'w': torch.ones(2)}, 'hparams': {'value': value, 'more': np.ones(3)}}
    torch.save(content, tmp_path / 'x.pth')
    file = read_checkpoint(tmp_path / 'x.pth')
    assert file.config == {'value': value, 'more': None}
    assert file.tensors['w'].tolist() == [1, 1]


@pytest.mark.parametrize('value', [np.datetime64('2025-03-01'), np.timedelta64(3, 'D')])
def test_dates_beside_the_weights(tmp_path, value):
    torch.save({'state_dict': {'w': torch.ones(2)}, 'saved': value}, tmp_path / 'x.pth')
    assert read_checkpoint(tmp_path / 'x.pth').tensors['w'].tolist() == [1, 1]


def test_numbers_among_the_weights(tmp_path):
    torch.save({'w': torch.ones(2), 'loss': np.float32(3), 'step': 4}, tmp_path / 'x.pth')
    assert list(read_checkpoint(tmp_path / 'x.pth').tensors) == ['w']


def foreign(name, base=object):
    """A class that is pickled by a name of a package that is not installed."""
    module, _, short = name.rpartition('.')
    return type(short, (base,), {'__module__': module})


def test_a_whole_lightning_checkpoint(contents, tmp_path):
    """With callbacks by class, loops, optimizers and settings of Lightning's own dictionary."""
    callback = foreign('pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint')
    state = foreign('lightning.pytorch.trainer.states.RunningStage')
    attributes = foreign('pytorch_lightning.utilities.parsing.AttributeDict', dict)
    modules = {}
    for kind in (callback, state, attributes):
        parts = kind.__module__.split('.')
        for i in range(len(parts)):
            name = '.'.join(parts[: i + 1])
            modules.setdefault(name, types.ModuleType(name))
        setattr(modules[kind.__module__], kind.__name__, kind)
    score, found = np.float64(70.9), state()
    found.value = 'train'
    whole = {
        'epoch': 3,
        'global_step': np.int64(7),
        'pytorch-lightning_version': '1.8.1',
        'callbacks': {
            callback: {
                'best_model_score': torch.tensor(70.9),
                'best_k_models': collections.defaultdict(float, {'a.ckpt': score}),
                'dirpath': pathlib.PurePosixPath('/runs/a'),
            }
        },
        'loops': {'fit_loop': {'state_dict': {}, 'stage': found}},
        'optimizer_states': [{'state': {0: {'exp_avg': torch.zeros(3)}}, 'param_groups': [{}]}],
        'lr_schedulers': [],
        'MixedPrecisionPlugin': {'scale': 65536.0},
        'hparams_name': 'kwargs',
        'datamodule_hyper_parameters': argparse.Namespace(workers=4),
        'hyper_parameters': attributes(cfg={'MODEL': {'IMAGE_SIZE': 64}, 'LOSS': np.float32(0.5)}),
        'state_dict': contents['tokenhmr.ckpt']['state_dict'],
    }
    with mock.patch.dict(sys.modules, modules):
        torch.save(whole, tmp_path / 'last.ckpt')
    file = read_checkpoint(tmp_path / 'last.ckpt')
    assert file.step == 7
    assert file.config == {'MODEL': {'IMAGE_SIZE': 64}, 'LOSS': 0.5}
    assert file.tensors.keys() == whole['state_dict'].keys()


PAGES = {
    'a web page': '\n<!DOCTYPE html>\n<html><head><title>Sign in</title></head></html>',
    'a Git LFS pointer': 'version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 9\n',
}


@pytest.mark.parametrize('kind', PAGES)
def test_another_file_under_the_name_is_called_by_its_own(tmp_path, kind):
    readers = {
        'tokenhmr.ckpt': read_checkpoint,
        'SMPL_NEUTRAL.pkl': smpl_files.load_body_file,
        'SMPL_NEUTRAL.npz': smpl_files.load_body_file,
        'hist.npy': load_density,
    }
    for name, read in readers.items():
        (tmp_path / name).write_text(PAGES[kind])
        with pytest.raises(ValueError, match=f'{name}: {kind}, not the file itself'):
            read(tmp_path / name)


def test_the_commands_name_them_too(tmp_path):
    (tmp_path / 'tokenhmr.ckpt').write_text(PAGES['a web page'])
    with pytest.raises(ValueError, match=r'tokenhmr\.ckpt: a web page'):
        config = quickstart_config('regressor', {})
        convert_weights(tmp_path / 'tokenhmr.ckpt', tmp_path / 'run', config)
    assert not (tmp_path / 'run').exists()
