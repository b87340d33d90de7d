"""Content of PyTorch checkpoints, as the original writes them, from our checkpoints."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from tokenhmr_jax.body import skeleton, smpl
from tokenhmr_jax.models import vit
from tokenhmr_jax.models.tokenizer import num_tokens
from tokenhmr_jax.released.names import (
    MEAN_NAMES,
    backbone_names,
    head_names,
    original_weights,
    tokenizer_names,
)
from tokenhmr_jax.released.torch_files import CfgNode
from tokenhmr_jax.types import Array


def file_contents(config: dict, model: dict, step: int, body: Mapping[str, Any]) -> dict[str, dict]:
    """Contents of the original's files, by file name.

    Args:
      config: of the checkpoint, as plain containers.
      model: 'params' and 'state', as plain containers of arrays.
      step: training steps done.
      body: arrays of a regressor's body model, by SMPL's keys: its modules hold them as buffers.

    Raises:
      ValueError: if the original has no such network.
    """
    params = model['params']
    match config['task']:
        case 'tokenizer':
            stage1 = _tokenizer_content(config['model'], params, model['state']['codes'])
            return {'tokenizer.pth': stage1}
        case 'regressor':
            return _regressor_contents(config, params, model['state'], step, body)
        case 'backbone':
            depth = config['model']['backbone']['depth']
            weights = _backbone_weights(params['backbone'], depth)
            return {'backbone.pth': {'state_dict': weights}}
        case task:
            raise ValueError(f'the original has no {task}')


def _tokenizer_content(sizes: dict, params: dict, codes: Float[Array, 'K C']) -> dict[str, Any]:
    if sizes['network'] != 'conv' or sizes['levels']:
        raise ValueError(
            f'a tokenizer with network={sizes["network"]!r} and levels={tuple(sizes["levels"])}: '
            "the original has none but network='conv' and levels=()"
        )
    names = tokenizer_names(sizes['size_mul'], sizes['size_div'], sizes['depth'])
    arch = {
        'MODEL_NAME': 'vanilla',
        'QUANTIZER': 'ema_reset',
        'CODE_DIM': sizes['code_dim'],
        'NB_CODE': len(codes),
        'DOWN_T': 1,
        'WIDTH': sizes['width'],
        'DEPTH': sizes['depth'],
        'DILATION_RATE': sizes['dilation_rate'],
        'TOKEN_SIZE_MUL': sizes['size_mul'],
        'TOKEN_SIZE_DIV': sizes['size_div'],
        'NB_JOINTS': skeleton.NUM_BODY_JOINTS,
        'ROT_TYPE': 'rot6d',
        'SMPL_TYPE': 'smplh',
    }
    return {
        'net': original_weights(params | {'codebook': codes}, names),
        'hparams': CfgNode({'ARCH': arch}),
    }


def _regressor_contents(
    config: dict, params: dict, state: dict, step: int, body: Mapping[str, Any]
) -> dict[str, dict]:
    sizes = config['model']
    if 'prompts' in params:
        raise ValueError(
            f'model.inputs={tuple(sizes["inputs"])}: the original reads images alone, expected '
            "('image',)"
        )
    if sizes['head'] == 'pose_tokens':
        raise ValueError(
            "model.head='pose_tokens': the original has no such head, expected 'tokens' or 'direct'"
        )
    tokens = sizes['head'] == 'tokens'
    if not tokens and sizes['rotation_6d'] != 'columns':
        raise ValueError("rotation_6d='rows' without tokens: the original has no such head")
    names = head_names(sizes['decoder']['depth'], sizes['mixer']['depth'] if tokens else None)
    weights = _backbone_weights(params['backbone'], sizes['backbone']['depth'], 'backbone.')
    weights |= original_weights(state, MEAN_NAMES, 'smpl_head.')
    weights |= original_weights(params['head'], names, 'smpl_head.')
    weights |= {f'smpl.{name}': value for name, value in _body_buffers(body).items()}
    weights['initialized'] = np.zeros((), bool)
    lightning = {
        'epoch': 0,
        'global_step': step,
        'pytorch-lightning_version': '1.8.1',
        'state_dict': weights,
        'hparams_name': 'kwargs',
        'hyper_parameters': {'cfg': CfgNode(_regressor_settings(config, tokens))},
    }
    if not tokens:
        return {'hmr2.ckpt': lightning}
    stage1 = _tokenizer_content(config['tokenizer']['model'], state['tokenizer'], state['codes'])
    return {'tokenhmr.ckpt': lightning, 'tokenizer.pth': stage1}


def _body_buffers(body: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Buffers of smplx's SMPL layer, and of the original's extension of it."""
    arrays = {key: smpl.dense(body[key]) for key in smpl.REQUIRED}
    parents = np.array([-1, *arrays['kintree_table'][0][1:]], np.int64)
    correctives = arrays['posedirs'].reshape(-1, arrays['posedirs'].shape[-1])
    buffers = {
        'shapedirs': arrays['shapedirs'][..., :10],
        'v_template': arrays['v_template'],
        'J_regressor': arrays['J_regressor'],
        'posedirs': correctives.T,
        'lbs_weights': arrays['weights'],
    }
    if 'joint_regressor_extra' in body:
        buffers['joint_regressor_extra'] = smpl.dense(body['joint_regressor_extra'])
    buffers = {name: value.astype(np.float32) for name, value in buffers.items()}
    indices = {
        'faces_tensor': arrays['f'],
        'parents': parents,
        'vertex_joint_selector.extra_joints_idxs': skeleton.LANDMARK_VERTICES,
        'joint_map': skeleton.OPENPOSE_SOURCE,
    }
    return buffers | {name: value.astype(np.int64) for name, value in indices.items()}


def _regressor_settings(config: dict, tokens: bool) -> dict[str, Any]:
    """The network in the original's config."""
    decoder = config['model']['decoder']
    head: dict = {
        'TYPE': 'token' if tokens else 'transformer_decoder',
        'IN_CHANNELS': 2048,
        'TRANSFORMER_DECODER': {
            'depth': decoder['depth'],
            'heads': decoder['heads'],
            'mlp_dim': decoder['mlp_dim'],
            'dim_head': decoder['head_dim'],
            'dropout': 0.0,
            'emb_dropout': 0.0,
            'norm': 'layer',
            'context_dim': config['model']['backbone']['width'],
        },
    }
    if tokens:
        stage1 = config['tokenizer']
        head['PREDICT_HAND'] = True
        head['TOKENIZER'] = {
            'TOKENIZER_TYPE': 'Vanilla',
            'TOKEN_CODE_DIM': stage1['model']['code_dim'],
            'TOKEN_NUM': num_tokens(stage1['model']['size_mul']),
            'TOKEN_CLASS_NUM': stage1['num_codes'],
        }
    model = {
        'IMAGE_SIZE': config['data']['crop_size'],
        'IMAGE_MEAN': [0.485, 0.456, 0.406],
        'IMAGE_STD': [0.229, 0.224, 0.225],
        'BACKBONE': {'TYPE': 'vit'},
        'SMPL_HEAD': head,
    }
    return {'MODEL': model, 'EXTRA': {'FOCAL_LENGTH': 5000, 'PELVIS_IND': 39}}


def _backbone_weights(params: dict, depth: int, prefix: str = '') -> dict[str, np.ndarray]:
    separate = vit.unstack_blocks(params) if 'blocks' in params else params
    return original_weights(separate, backbone_names(depth), prefix)
