"""Conversion of the original's checkpoints, up to predictions, and refusal of wrong ones."""

import collections
import os
import sys
import types
import typing
import zipfile
from unittest import mock

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import ORIGINAL_SIZES, quickstart_config
from golden import assert_close

import tokenhmr_jax
from tokenhmr_jax import train
from tokenhmr_jax.checkpoints.store import Checkpoints
from tokenhmr_jax.convert import convert_weights
from tokenhmr_jax.released.torch_files import read_checkpoint
from tokenhmr_jax.tasks import make_task
from tokenhmr_jax.tasks.warm_start import check_start

torch = pytest.importorskip('torch')
original_format = pytest.importorskip('original_format')


@pytest.mark.slow
def test_golden_files_give_golden_numbers(shared, configs, tmp_path):
    """The three files of the reference: convert, load, predict."""
    golden = dict(np.load(shared / 'golden/golden.npz'))
    folder = shared / 'golden'
    config = configs['regressor']
    convert_weights(folder / 'tokenhmr.ckpt', tmp_path / 'model', config, folder / 'tokenizer.pth')
    image = golden['image_nhwc'].astype(np.float32)
    image = 255 * (image * np.float32([0.229, 0.224, 0.225]) + np.float32([0.485, 0.456, 0.406]))
    output = tokenhmr_jax.load(str(tmp_path / 'model')).predict_crops(image)
    assert_close(output.token_probs, golden['token_probs'])
    assert_close(output.camera, golden['pred_cam'])
    assert_close(output.params.betas, golden['pred_betas'])
    assert_close(output.body.vertices[:, ::100], golden['pred_vertices_every_100'])
    assert_close(output.keypoints3d, golden['pred_joints44'])
    assert_close(output.keypoints2d, golden['pred_keypoints2d'])
    orient, pose = output.params.global_orient, output.params.body_pose
    np.testing.assert_allclose(orient[:, None], golden['pred_global_orient'], atol=1e-5)
    np.testing.assert_allclose(pose, golden['pred_body_pose'], atol=1e-5)

    convert_weights(folder / 'tokenizer.pth', tmp_path / 'tokenizer', configs['tokenizer'])
    tokenizer = tokenhmr_jax.load_tokenizer(str(tmp_path / 'tokenizer'))
    tokens = tokenizer.encode(golden['tok_pose_rotmat'])
    np.testing.assert_array_equal(tokens.indices.ravel(), golden['tok_indices'].ravel())
    np.testing.assert_allclose(tokenizer.decode(tokens), golden['tok_recon_rotmat'], atol=1e-5)

    unused = convert_weights(folder / 'vitpose_backbone.pth', tmp_path / 'backbone')
    assert unused == []


def test_unused_tensors_are_listed(files, configs, tmp_path):
    unused = convert_weights(files / 'hmr2.ckpt', tmp_path / 'run', configs['regressor'])
    assert unused == [*original_format.smpl_buffers(), 'initialized']


def fresh(task):
    """Parameters and state of zeros, so that nothing is compiled."""
    shapes = jax.eval_shape(task.init, jax.random.key(0))
    return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)


def restored(path):
    with Checkpoints(str(path), create=False) as saved:
        return saved.read_model(saved.find('best'))


@pytest.mark.parametrize('name', ['vitpose', 'hmr2_backbone', 'tokenhmr'])
def test_training_starts_from_a_backbone(converted, configs, name):
    config = configs['regressor'].copy_and_resolve_references()
    model = restored(converted / name)
    sizes = {'width': 8, 'depth': 3} if name == 'hmr2_backbone' else {'width': 16, 'depth': 2}
    config.model.backbone.update(sizes, patch_size=16, scan=True)
    config.warm_start.checkpoint = str(converted / name)
    config.model.head = 'direct'
    task = make_task(config)
    params, state = fresh(task)
    begun, same = task.warm_start(params, state)
    assert same is state
    chex.assert_trees_all_equal(begun['head'], params['head'])
    last = begun['backbone']['blocks']['mlp']['out']['kernel'][-1]
    block = f'block{sizes["depth"] - 1}'
    np.testing.assert_array_equal(last, model['params']['backbone'][block]['mlp']['out']['kernel'])


def whole_config(converted, name):
    """The config of a run that starts from all converted weights."""
    with Checkpoints(str(converted / name), create=False) as saved:
        step = saved.find('best')
        config = quickstart_config('regressor', {})
        config.update(saved.read_config(step)['config'])
    config.warm_start.checkpoint = str(converted / name)
    config.warm_start.parts = ('backbone', 'head')
    return config


def test_training_starts_from_a_whole_model(converted):
    """Its head brings the mean body: the file of one is not needed."""
    config = whole_config(converted, 'tokenhmr')
    config.model.body_mean = '/nowhere/smpl_mean_params.npz'
    task = make_task(config)
    check_start(task.config)
    begun = task.warm_start(*fresh(task))
    model = restored(converted / 'tokenhmr')
    chex.assert_trees_all_equal(begun[0], model['params'])
    for field in ('mean_pose', 'codes', 'tokenizer'):
        chex.assert_trees_all_equal(getattr(begun[1], field), model['state'][field])


def test_training_starts_from_published_mean_parameters(configs, tmp_path):
    config = configs['regressor'].copy_and_resolve_references()
    config.model.head = 'direct'
    config.model.body_mean = str(tmp_path / 'smpl_mean_params.npz')
    pose = np.arange(144.0)
    np.savez(config.model.body_mean, pose=pose, shape=np.full(10, 0.5), cam=[0.9, 0, 0])
    task = make_task(config)
    _, state = task.warm_start(*fresh(task))
    np.testing.assert_array_equal(state.mean_pose, pose.reshape(24, 6))
    np.testing.assert_array_equal(state.mean_betas, np.full(10, 0.5))
    np.savez(config.model.body_mean, pose=pose[:72], shape=np.zeros(10), cam=np.zeros(3))
    with pytest.raises(ValueError, match=r'pose is \(72,\), expected 144 finite numbers'):
        task.warm_start(*fresh(task))
    config.model.body_mean = str(tmp_path / 'none.npz')
    with pytest.raises(FileNotFoundError, match=r"none\.npz.*smpl_mean_params\.npz, or 'rest'"):
        check_start(config)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'model.backbone.heads': 2}, r'its model.backbone.heads is 4, this run has 2'),
        ({'model.decoder.mlp_dim': 8}, r'mlp_in/bias is \(20,\), expected \(8,\)'),
        ({'warm_start.parts': ('head',)}, 'warm_start.parts'),
        ({'warm_start.checkpoint': 'vitpose'}, 'a checkpoint of a backbone, expected regressor'),
        ({'warm_start.checkpoint': 'tokenizer'}, 'a checkpoint of a tokenizer'),
    ],
)
def test_a_start_that_does_not_fit_is_refused(converted, change, message):
    config = whole_config(converted, 'tokenhmr')
    config.update_from_flattened_dict(change)
    if 'warm_start.checkpoint' in change:
        config.warm_start.checkpoint = str(converted / change['warm_start.checkpoint'])
    task = make_task(config)
    with pytest.raises(ValueError, match=message):
        task.warm_start(*fresh(task))


@pytest.mark.fault(12, 'a renamed parameter at a warm start')
def test_a_renamed_parameter_is_named(converted):
    task = make_task(whole_config(converted, 'tokenhmr'))
    params, state = fresh(task)
    params['backbone']['norm_'] = params['backbone'].pop('norm')
    with pytest.raises(ValueError, match=r'norm/bias is .*expected none; .*norm_/bias is missing'):
        task.warm_start(params, state)


def test_training_does_not_go_on_from_converted_weights(converted):
    with Checkpoints(str(converted / 'tokenhmr'), create=False) as saved:
        state = train.TrainState(np.int32(0), {}, {}, {})
        with pytest.raises(ValueError, match='expected their folder as'):
            saved.restore(7, state)


# Refusals. They leave nothing behind.


def without(content, name):
    return {k: v for k, v in content.items() if k != name}


class Malicious:
    def __reduce__(self):
        return os.mkdir, ('executed',)


def changed(contents, change):
    """tokenhmr.ckpt with something wrong."""
    content = contents['tokenhmr.ckpt']
    weights = dict(content['state_dict'])
    bias = 'backbone.blocks.1.mlp.fc1.bias'
    match change:
        case 'missing':
            del weights[bias]
        case 'no position':
            del weights['backbone.pos_embed']
        case 'extra':
            weights['smpl_head.decfingers.weight'] = torch.zeros(2)
        case 'foreign':
            weights['other.weight'] = torch.zeros(2)
        case 'misshaped':
            weights[bias] = torch.zeros(63)
        case 'not finite':
            weights[bias] = torch.full((64,), torch.nan)
        case 'repeated':
            weights[bias] = torch.zeros(1).expand(64)
        case 'no tensor':
            weights[bias] = 'text'
        case 'malicious':
            return content | {'callbacks': Malicious()}
        case 'another depth':
            settings = {'TRANSFORMER_DECODER': {'depth': 6}}
            cfg = original_format.config({'MODEL': {'SMPL_HEAD': settings}})
            return content | {'hyper_parameters': {'cfg': cfg}}
        case 'a list':
            return [1, 2]
    return content | {'state_dict': weights}


@pytest.mark.fault(12, 'a malicious or wrong .ckpt')
@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ('missing', r"missing \['blocks\.1\.mlp\.fc1\.bias'\]"),
        ('no position', 'no weight pos_embed'),
        ('extra', r"unknown \['decfingers\.weight'\]"),
        ('foreign', r"unknown weights \['other\.weight'\]"),
        ('misshaped', r'backbone/block1/mlp/in/bias is \(63,\), expected \(64,\)'),
        ('not finite', r"mlp'\]\['in'\]\['bias'\] holds values not finite"),
        ('repeated', 'fc1.bias is not a plain contiguous tensor'),
        ('no tensor', 'no weights'),
        ('malicious', r'refused: it names \w+\.mkdir, which could run code'),
        ('another depth', r'TRANSFORMER_DECODER.depth is 6, its weights say 2'),
        ('a list', 'holds a list'),
    ],
)
def test_a_wrong_checkpoint_leaves_nothing(
    contents, files, configs, tmp_path, monkeypatch, change, message
):
    monkeypatch.chdir(tmp_path)
    source = original_format.save(tmp_path / 'wrong.ckpt', changed(contents, change))
    with pytest.raises(ValueError, match=message) as error:
        convert_weights(source, tmp_path / 'run', configs['regressor'], files / 'tokenizer.pth')
    assert str(source) in str(error.value)
    assert os.listdir(tmp_path) == ['wrong.ckpt']


def test_a_broken_file_leaves_nothing(files, configs, tmp_path):
    whole = (files / 'tokenhmr.ckpt').read_bytes()
    (tmp_path / 'cut.ckpt').write_bytes(whole[: len(whole) // 2])
    (tmp_path / 'text.ckpt').write_text('not a checkpoint')
    with zipfile.ZipFile(tmp_path / 'other.ckpt', 'w') as archive:
        archive.writestr('readme.txt', 'a zip, but no checkpoint')
    before = sorted(os.listdir(tmp_path))
    for name, message in (
        ('cut', 'truncated'),
        ('text', 'not a PyTorch checkpoint'),
        ('other', 'not a readable PyTorch checkpoint'),
    ):
        with pytest.raises(ValueError, match=message):
            convert_weights(tmp_path / f'{name}.ckpt', tmp_path / 'run', configs['regressor'])
    with pytest.raises(FileNotFoundError, match=r'nowhere.ckpt: no such file'):
        convert_weights(tmp_path / 'nowhere.ckpt', tmp_path / 'run', configs['regressor'])
    assert sorted(os.listdir(tmp_path)) == before


def test_a_failure_while_writing_leaves_nothing(files, configs, tmp_path, monkeypatch):
    def fail(*unused):
        raise OSError('disk full')

    monkeypatch.setattr(Checkpoints, 'save_converted', fail)
    with pytest.raises(OSError, match='disk full'):
        convert_weights(files / 'vitpose.pth', tmp_path / 'run')
    assert os.listdir(tmp_path) == []


def test_arguments_that_do_not_go_together(files, configs, converted, contents, tmp_path):
    run, regressor = tmp_path / 'run', configs['regressor']
    with pytest.raises(ValueError, match='predicts tokens: expected --tokenizer'):
        convert_weights(files / 'tokenhmr.ckpt', run, regressor)
    with pytest.raises(ValueError, match='predicts the pose itself: expected no --tokenizer'):
        convert_weights(files / 'hmr2.ckpt', run, regressor, files / 'tokenizer.pth')
    with pytest.raises(ValueError, match=r'is a tokenizer: expected --config=configs/tokenizer.py'):
        convert_weights(files / 'tokenizer.pth', run, regressor)
    with pytest.raises(ValueError, match='exists: expected a new folder'):
        convert_weights(files / 'vitpose.pth', converted / 'vitpose')
    other = original_format.save(tmp_path / 'other.pth', original_format.tokenizer(mul=1))
    with pytest.raises(ValueError, match=r'has 20 tokens of 24 codes, .* expects 40 of 24'):
        convert_weights(files / 'tokenhmr.ckpt', run, regressor, other)
    odd = quickstart_config('regressor', ORIGINAL_SIZES | {'model.backbone.heads': 3})
    with pytest.raises(ValueError, match="backbone's 16 channels do not divide into 3 heads"):
        convert_weights(files / 'tokenhmr.ckpt', run, odd, files / 'tokenizer.pth')
    assert not run.exists()


def test_settings_of_omegaconf_are_read(tmp_path):
    """OmegaConf need not be installed: stand-ins hold its content."""

    class Node:
        def __init__(self, **state):
            vars(self).update(state)

    def kind(module, name):
        return type(name, (Node,), {'__module__': module})

    config, leaf = kind('omegaconf.dictconfig', 'DictConfig'), kind('omegaconf.nodes', 'AnyNode')
    metadata = kind('omegaconf.base', 'ContainerMetadata')
    depth = leaf(_val=3, _metadata=metadata(ref_type=typing.Any, key='depth'), _parent=None)
    cache = {'object_type': dict, 'resolver_cache': collections.defaultdict(dict)}
    content = config(_content={'depth': depth}, _metadata=metadata(**cache), _parent=None)
    modules = {
        name: types.ModuleType(name)
        for name in ('omegaconf', 'omegaconf.dictconfig', 'omegaconf.nodes', 'omegaconf.base')
    }
    for cls in (config, leaf, metadata):
        setattr(modules[cls.__module__], cls.__name__, cls)
    path = tmp_path / 'model.ckpt'
    with mock.patch.dict(sys.modules, modules):
        checkpoint = {'state_dict': {'w': torch.ones(2)}, 'hyper_parameters': {'cfg': content}}
        torch.save(checkpoint, path)
    file = read_checkpoint(path)
    assert file.config == {'depth': 3}
    assert file.tensors['w'].tolist() == [1, 1]
