"""Checkpoints of this implementation as the original's: `convert` backwards, to the bit.

    python -m tokenhmr_jax.export --checkpoint=runs/regressor --out=exported

writes `tokenizer.pth` of a tokenizer; `tokenhmr.ckpt` and `tokenizer.pth` of a regressor, or
`hmr2.ckpt` of one with HMR2.0's head; `backbone.pth` of a backbone. The original loads them with
its own code, given a config of the same sizes.
"""

import pathlib
from collections.abc import Sequence

import numpy as np

from tokenhmr_jax import cli
from tokenhmr_jax.body import skeleton
from tokenhmr_jax.checkpoints.store import Checkpoints
from tokenhmr_jax.models import vit
from tokenhmr_jax.models.tokenizer import num_tokens
from tokenhmr_jax.released.files import CfgNode, need_torch, write_checkpoint
from tokenhmr_jax.released.names import (
    MEAN_NAMES,
    backbone_names,
    head_names,
    original_weights,
    tokenizer_names,
)


def export_run(workdir: str, out: str, step: str = 'best') -> list[pathlib.Path]:
    """Write a checkpoint in the original's format.

    Args:
      workdir: a run's folder, or converted weights.
      out: folder to write to.
      step: 'best', 'last', or its number.

    Returns:
      the files written.

    Raises:
      ImportError: without PyTorch.
      FileNotFoundError, ValueError: if there is no such checkpoint, or a file is there already.
    """
    need_torch()
    with Checkpoints(workdir, create=False) as saved:
        number = saved.find(step)
        config = saved.read_config(number)['config']
        model = saved.read_model(number)
    files = contents(config, model, number)
    paths = [pathlib.Path(out) / name for name in files]
    for path in paths:
        if path.exists():
            raise ValueError(f'{path} exists: expected another --out')
    pathlib.Path(out).mkdir(parents=True, exist_ok=True)
    for path, content in zip(paths, files.values(), strict=True):
        partial = path.with_name(f'{path.name}.partial')
        write_checkpoint(partial, content)
        partial.rename(path)
    return paths


def contents(config: dict, model: dict, step: int) -> dict[str, dict]:
    """What the original's files hold, by file name.

    Args:
      config: of the checkpoint, as plain containers.
      model: 'params' and 'state', as plain containers of arrays.
      step: steps done.
    """
    kinds = {'tokenizer': _tokenizer, 'regressor': _regressor, 'backbone': _backbone}
    return kinds[config['task']](config, model, step)


def _tokenizer(config: dict, model: dict, step: int) -> dict[str, dict]:
    return {'tokenizer.pth': _stage1(config['model'], model['params'], model['state']['codes'])}


def _stage1(sizes: dict, params: dict, codes: np.ndarray) -> dict:
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


def _regressor(config: dict, model: dict, step: int) -> dict[str, dict]:
    sizes, params, state = config['model'], model['params'], model['state']
    tokens = sizes['head'] == 'tokens'
    if not tokens and sizes['rotation_6d'] != 'columns':
        raise ValueError("rotation_6d='rows' without tokens: the original has no such head")
    names = head_names(sizes['decoder']['depth'], sizes['mixer']['depth'] if tokens else None)
    means = MEAN_NAMES
    weights = _backbone_weights(params['backbone'], sizes['backbone']['depth'], 'backbone.')
    weights |= original_weights(state, means, 'smpl_head.')
    weights |= original_weights(params['head'], names, 'smpl_head.')
    lightning = {
        'epoch': 0,
        'global_step': step,
        'pytorch-lightning_version': '1.8.1',
        'state_dict': weights,
        'hparams_name': 'kwargs',
        'hyper_parameters': {'cfg': CfgNode(_settings(config, tokens))},
    }
    if not tokens:
        return {'hmr2.ckpt': lightning}
    stage1 = _stage1(config['tokenizer']['model'], state['tokenizer'], state['codes'])
    return {'tokenhmr.ckpt': lightning, 'tokenizer.pth': stage1}


def _settings(config: dict, tokens: bool) -> dict:
    """What the original's config says of the network."""
    sizes, decoder = config['model'], config['model']['decoder']
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
            'context_dim': sizes['backbone']['width'],
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


def _backbone(config: dict, model: dict, step: int) -> dict[str, dict]:
    depth = config['model']['backbone']['depth']
    return {
        'backbone.pth': {'state_dict': _backbone_weights(model['params']['backbone'], depth, '')}
    }


def _backbone_weights(params: dict, depth: int, prefix: str) -> dict[str, np.ndarray]:
    apart = vit.unstack_blocks(params) if 'blocks' in params else params
    return original_weights(apart, backbone_names(depth), prefix)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line; `arguments` are the process's own by default."""
    flags = cli.Flags(__doc__, arguments)
    checkpoint = flags.string('checkpoint', None, "A run's workdir.", required=True)
    out = flags.string('out', None, 'Folder to write to.', required=True)
    step = flags.string('step', 'best', "Which step: 'best', 'last', or its number.")

    def command():
        for path in export_run(checkpoint.value, out.value, step.value):
            print(f'wrote {path}')

    cli.run(flags, command)


if __name__ == '__main__':
    main()
