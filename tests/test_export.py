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


def assert_same_tensors(path, original):
    """The file holds the original's tensors, of the same types."""
    found = read_checkpoint(path).tensors
    assert found.keys() == original.keys()
    for name, value in found.items():
        wanted = np.asarray(original[name])
        np.testing.assert_array_equal(value, wanted, err_msg=name)
        assert (value.dtype, value.shape) == (wanted.dtype, wanted.shape)


def test_the_originals_tensors_come_back(converted, contents, tmp_path):
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
            assert_same_tensors(path, tensors)
    with pytest.raises(ValueError, match=r'tokenizer.pth exists: expected another --out'):
        export_run(str(converted / 'tokenizer'), str(tmp_path / 'tokenizer'))


class CfgNode(dict):
    """As yacs' class of this name."""

    def __getattr__(self, name):
        if name in self:
            return self[name]
        raise AttributeError(name)


def load_with_yacs(path):
    """The content of a file, as the original's code loads it."""
    module = types.ModuleType('yacs.config')
    module.CfgNode = CfgNode
    with mock.patch.dict(sys.modules, {'yacs': types.ModuleType('yacs'), 'yacs.config': module}):
        return torch.load(path, weights_only=False)


@pytest.mark.parametrize('run', ['tokenhmr', 'hmr2'])
def test_modules_of_the_original_load_it_strictly(converted, contents, tmp_path, run):
    """Names and shapes of all parameters and buffers, those of the body model included."""
    path, *_ = export_run(str(converted / run), str(tmp_path))
    modules = original_format.modules(contents[f'{run}.ckpt']['state_dict'])
    modules.load_state_dict(load_with_yacs(path)['state_dict'], strict=True)
    weight = modules.get_parameter('smpl.lbs_weights')
    assert torch.equal(weight, contents[f'{run}.ckpt']['state_dict']['smpl.lbs_weights'])
    assert modules.get_buffer('initialized').shape == ()


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
    _, path = export_run(str(converted / 'tokenhmr'), str(tmp_path))
    arch = load_with_yacs(path)['hparams'].ARCH
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
    found = read_checkpoint(first).tensors
    # The reference leaves out the large buffers of the body model.
    larger = {f'smpl.{name}' for name in ('v_template', 'shapedirs', 'posedirs', 'J_regressor')}
    larger |= {'smpl.lbs_weights', 'smpl.joint_regressor_extra'}
    assert found.keys() - original.keys() == larger
    for name, value in original.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)
    assert_same_tensors(second, read_checkpoint(tokenizer).tensors)
