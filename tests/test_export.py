"""Weights that go to the original's format and back are the same to the bit."""

import sys
import types
from unittest import mock

import chex
import numpy as np
import pytest

from tokenhmr_jax import export
from tokenhmr_jax.checkpoints.store import Checkpoints
from tokenhmr_jax.convert import convert_weights
from tokenhmr_jax.export import export_run
from tokenhmr_jax.released.torch_files import read_checkpoint

torch = pytest.importorskip('torch')
original_format = pytest.importorskip('original_format')


def model(workdir):
    with Checkpoints(str(workdir), create=False) as saved:
        return saved.read_model(saved.find('best'))


def assert_same_tensors(path, original, unused=()):
    """The file holds the original's tensors without the unused ones."""
    found = read_checkpoint(path).tensors
    assert found.keys() == original.keys() - set(unused)
    for name, value in found.items():
        np.testing.assert_array_equal(value, original[name], err_msg=name)


def test_the_originals_tensors_come_back(converted, contents, tmp_path):
    unused = ('smpl.faces_tensor', 'initialized')
    for run, names in (
        ('tokenhmr', ('tokenhmr.ckpt', 'tokenizer.pth')),
        ('hmr2', ('hmr2.ckpt',)),
        ('vitpose', ('backbone.pth',)),
        ('tokenizer', ('tokenizer.pth',)),
    ):
        paths = export_run(str(converted / run), str(tmp_path / run))
        assert tuple(path.name for path in paths) == names
        for path in paths:
            content = contents[path.name.replace('backbone', 'vitpose')]
            tensors = content.get('state_dict', content.get('net'))
            assert_same_tensors(path, tensors, unused if path.suffix == '.ckpt' else ())
    with pytest.raises(ValueError, match=r'tokenizer.pth exists: expected another --out'):
        export_run(str(converted / 'tokenizer'), str(tmp_path / 'tokenizer'))


def test_without_pytorch_one_line_says_so(converted, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'torch', None)
    arguments = [f'--checkpoint={converted / "tokenizer"}', f'--out={tmp_path / "out"}']
    with pytest.raises(SystemExit, match=r'error: PyTorch checkpoints need PyTorch: pip install'):
        export.main(arguments)
    assert not (tmp_path / 'out').exists()


def test_a_stacked_model_goes_there_and_back(converted, contents, configs, tmp_path):
    """Training stacks the blocks in one array. Heads and sizes come back from the file."""
    from tokenhmr_jax.models import vit
    from tokenhmr_jax.models.regressor import FrozenWeights

    with Checkpoints(str(converted / 'tokenhmr'), create=False) as saved:
        description = saved.read_config(7)
    given = model(converted / 'tokenhmr')
    stacked = given['params'] | {'backbone': vit.stack_blocks(given['params']['backbone'])}
    description['config']['model']['backbone']['scan'] = True
    with Checkpoints(str(tmp_path / 'trained')) as saved:
        saved.save_converted(9, stacked, FrozenWeights(**given['state']), description)
    first, second = export_run(str(tmp_path / 'trained'), str(tmp_path / 'out'))
    convert_weights(first, tmp_path / 'again', configs['regressor'], second)
    chex.assert_trees_all_equal(model(tmp_path / 'again'), given)
    with Checkpoints(str(tmp_path / 'again'), create=False) as saved:
        again = saved.read_config(9)['config']
    assert again['model']['decoder'] == description['config']['model']['decoder']
    assert again['tokenizer']['model'] == description['config']['tokenizer']['model']


def test_the_original_can_read_its_settings(converted, tmp_path):
    """Its code unpickles yacs' class and asks it for attributes."""

    class CfgNode(dict):
        def __getattr__(self, name):
            if name in self:
                return self[name]
            raise AttributeError(name)

    _, path = export_run(str(converted / 'tokenhmr'), str(tmp_path))
    module = types.ModuleType('yacs.config')
    module.CfgNode = CfgNode
    with mock.patch.dict(sys.modules, {'yacs': types.ModuleType('yacs'), 'yacs.config': module}):
        content = torch.load(path, weights_only=False)
    arch = content['hparams'].ARCH
    assert (arch.CODE_DIM, arch.NB_CODE, arch.WIDTH, arch.TOKEN_SIZE_MUL) == (8, 24, 16, 2)
    assert arch.__dict__ == {
        '__immutable__': False,
        '__deprecated_keys__': set(),
        '__renamed_keys__': {},
        '__new_allowed__': False,
    }


def test_golden_files_come_back(shared, configs, tmp_path):
    folder = shared / 'golden'
    source, tokenizer = folder / 'tokenhmr.ckpt', folder / 'tokenizer.pth'
    convert_weights(source, tmp_path / 'run', configs['regressor'], tokenizer)
    first, second = export_run(str(tmp_path / 'run'), str(tmp_path / 'out'))
    original = read_checkpoint(source).tensors
    unused = [name for name in original if name.startswith('smpl.')]
    assert_same_tensors(first, original, [*unused, 'initialized'])
    assert_same_tensors(second, read_checkpoint(tokenizer).tensors)
