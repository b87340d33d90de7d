"""Random checkpoints in the original's formats, and its networks as functions of their tensors.

Names, layouts and forward passes are written out here a second time, in PyTorch, so that what the
package reads from such files can be compared with something that shares no code with it.
"""

import functools
import sys
import types
from unittest import mock

import numpy as np
import torch
from random_body import random_smpl
from torch import nn
from torch.nn import functional as F


class Weights(dict):
    """Tensors by name, filled with random numbers of a scale that keeps activations near 1."""

    def __init__(self, seed: int):
        super().__init__()
        self.generator = torch.Generator().manual_seed(seed)

    def fill(self, name, *shape, scale=1.0, offset=0.0):
        self[name] = offset + scale * torch.randn(shape, generator=self.generator)

    def linear(self, name, out, fan_in, *size, bias=True):
        scale = (fan_in * int(np.prod(size))) ** -0.5
        self.fill(f'{name}.weight', out, fan_in, *size, scale=scale)
        if bias:
            self.fill(f'{name}.bias', out, scale=0.1)

    def norm(self, name, *shape):
        self.fill(f'{name}.weight', *shape, scale=0.1, offset=1.0)
        self.fill(f'{name}.bias', *shape, scale=0.1)


class CfgNode(dict):
    """Has the name of yacs' class where it is pickled."""


CfgNode.__module__ = 'yacs.config'


def config(tree: dict) -> CfgNode:
    """Settings as the original keeps them."""
    return CfgNode({k: config(v) if isinstance(v, dict) else v for k, v in tree.items()})


def save(path, content):
    """Write a checkpoint as the original does, with yacs, which need not be installed."""
    module = types.ModuleType('yacs.config')
    module.CfgNode = CfgNode
    with mock.patch.dict(sys.modules, {'yacs': types.ModuleType('yacs'), 'yacs.config': module}):
        torch.save(content, path)
    return path


# Stage 1.


def tokenizer(seed=0, width=16, code=8, codes=24, mul=2, div=2, depth=1):
    w = Weights(seed)
    w.linear('encoder.encoder.0', width, 6, 3)
    for i in range(mul):
        w.linear(f'encoder.encoder.{3 * i + 3}', width, width, 3)
    w.linear(f'encoder.encoder.{3 * mul + 2}.0', width, width, 4)
    _residual(w, f'encoder.encoder.{3 * mul + 2}.1', width, depth)
    w.linear(f'encoder.encoder.{3 * mul + 3}', code, width, 3)
    w.linear('decoder.decoder.0', width, code, 3)
    for i in range(div):
        w.linear(f'decoder.decoder.{3 * i + 3}', width, width, 3)
    _residual(w, f'decoder.decoder.{3 * div + 2}.0', width, depth)
    w.linear(f'decoder.decoder.{3 * div + 2}.1', width, width, 3)
    w.linear(f'decoder.decoder.{3 * div + 3}', 6, width, 3)
    w.fill('quantizer.codebook', codes, code)
    arch = {
        'CODE_DIM': code, 'NB_CODE': codes, 'DOWN_T': 1, 'WIDTH': width, 'DEPTH': depth,
        'DILATION_RATE': 2, 'TOKEN_SIZE_MUL': mul, 'TOKEN_SIZE_DIV': div, 'NB_JOINTS': 21,
        'ROT_TYPE': 'rot6d',
    }  # fmt: skip
    return {'net': dict(w), 'hparams': config({'ARCH': arch})}


def _residual(w, name, width, depth):
    for i in range(depth):
        w.linear(f'{name}.model.{i}.conv1', width, width, 3)
        w.linear(f'{name}.model.{i}.conv2', width, width, 1)


def _conv(w, name, x, **options):
    return F.conv1d(x, w[f'{name}.weight'], w[f'{name}.bias'], **options)


def _run_residual(w, name, x, depth, rate):
    for i in range(depth):
        dilation = rate ** (depth - 1 - i)
        y = _conv(w, f'{name}.model.{i}.conv1', F.relu(x), padding=dilation, dilation=dilation)
        x = x + _conv(w, f'{name}.model.{i}.conv2', F.relu(y))
    return x


def encode(w, arch, pose6d):
    """Latents (B, T, C) of (B, 21, 6)."""
    mul, depth, rate = arch['TOKEN_SIZE_MUL'], arch['DEPTH'], arch['DILATION_RATE']
    x = F.relu(_conv(w, 'encoder.encoder.0', pose6d.transpose(1, 2), padding=1))
    for i in range(mul):
        x = F.interpolate(x, size=40 * 2**i, mode='nearest')
        x = F.relu(_conv(w, f'encoder.encoder.{3 * i + 3}', x, padding=1))
    x = _conv(w, f'encoder.encoder.{3 * mul + 2}.0', x, stride=2, padding=1)
    x = _run_residual(w, f'encoder.encoder.{3 * mul + 2}.1', x, depth, rate)
    return _conv(w, f'encoder.encoder.{3 * mul + 3}', x, padding=1).transpose(1, 2)


def decode(w, arch, codes):
    """(B, 21, 6) of codes (B, T, C)."""
    div, depth, rate = arch['TOKEN_SIZE_DIV'], arch['DEPTH'], arch['DILATION_RATE']
    sizes = np.linspace(21, codes.shape[1], div, endpoint=False, dtype=int)[::-1]
    x = F.relu(_conv(w, 'decoder.decoder.0', codes.transpose(1, 2), padding=1))
    for i, size in enumerate(sizes):
        x = F.interpolate(x, size=int(size), mode='nearest')
        x = F.relu(_conv(w, f'decoder.decoder.{3 * i + 3}', x, padding=1))
    x = _run_residual(w, f'decoder.decoder.{3 * div + 2}.0', x, depth, rate)
    x = _conv(w, f'decoder.decoder.{3 * div + 2}.1', x, padding=1)
    return _conv(w, f'decoder.decoder.{3 * div + 3}', x, padding=1).transpose(1, 2)


# Stage 2.

DECODER = {'depth': 2, 'heads': 2, 'dim_head': 6, 'mlp_dim': 20}


def backbone(w, prefix='', width=16, depth=2, patches=12):
    w.fill(f'{prefix}pos_embed', 1, patches + 1, width, scale=0.2)
    w.linear(f'{prefix}patch_embed.proj', width, 3, 16, 16)
    for i in range(depth):
        block = f'{prefix}blocks.{i}'
        w.norm(f'{block}.norm1', width)
        w.linear(f'{block}.attn.qkv', 3 * width, width)
        w.linear(f'{block}.attn.proj', width, width)
        w.norm(f'{block}.norm2', width)
        w.linear(f'{block}.mlp.fc1', 4 * width, width)
        w.linear(f'{block}.mlp.fc2', width, 4 * width)
    w.norm(f'{prefix}last_norm', width)
    return w


def regressor(seed=1, tokens=40, codes=24, code=8, width=16, depth=2, query=24, mixer=12):
    """TokenHMR's checkpoint; HMR2.0's with `tokens` None. Crops of 64 pixels."""
    w = backbone(Weights(seed), 'backbone.', width, depth)
    head, inner = 'smpl_head.', DECODER['heads'] * DECODER['dim_head']
    w.fill(f'{head}init_body_pose', 1, 144, scale=0.5)
    w.fill(f'{head}init_betas', 1, 10, scale=0.1)
    w[f'{head}init_cam'] = torch.tensor([[0.9, 0.0, 0.1]])
    w.fill(f'{head}transformer.pos_embedding', 1, 1, query)
    w.linear(f'{head}transformer.to_token_embedding', query, 1)
    for i in range(DECODER['depth']):
        layer = f'{head}transformer.transformer.layers.{i}'
        for j, maps in enumerate(
            ({'to_qkv': (3, query)}, {'to_kv': (2, width), 'to_q': (1, query)})
        ):
            w.norm(f'{layer}.{j}.norm', query)
            for name, (count, fan_in) in maps.items():
                w.linear(f'{layer}.{j}.fn.{name}', count * inner, fan_in, bias=False)
            w.linear(f'{layer}.{j}.fn.to_out.0', query, inner)
        w.norm(f'{layer}.2.norm', query)
        w.linear(f'{layer}.2.fn.net.0', DECODER['mlp_dim'], query)
        w.linear(f'{layer}.2.fn.net.3', query, DECODER['mlp_dim'])
    w.linear(f'{head}decshape', 10, query)
    w.linear(f'{head}deccam', 3, query)
    w[f'{head}deccam.weight'] *= 0.1
    settings = {'TYPE': 'transformer_decoder'}
    if tokens is None:
        w.linear(f'{head}decpose', 144, query)
    else:
        w.linear(f'{head}decpose_grot', 6, query)
        w.linear(f'{head}decpose_hands', 12, query)
        _mixer(w, f'{head}decpose', query, mixer, tokens, codes)
        sizes = {'TOKEN_CODE_DIM': code, 'TOKEN_NUM': tokens, 'TOKEN_CLASS_NUM': codes}
        settings = {'TYPE': 'token', 'PREDICT_HAND': True, 'TOKENIZER': sizes}
    w |= smpl_buffers()
    w['initialized'] = torch.tensor(False)
    settings['TRANSFORMER_DECODER'] = DECODER | {'norm': 'layer', 'context_dim': width}
    model = {'IMAGE_SIZE': 64, 'BACKBONE': {'TYPE': 'vit'}, 'SMPL_HEAD': settings}
    cfg = config({'MODEL': model})
    return {'state_dict': dict(w), 'global_step': 7, 'hyper_parameters': {'cfg': cfg}}


# Landmarks and OpenPose's keypoints, as smplx and the original list them.
LANDMARKS = [
    332, 6260, 2800, 4071, 583, 3216, 3226, 3387, 6617, 6624, 6787, 2746, 2319, 2445, 2556, 2673,
    6191, 5782, 5905, 6016, 6133,
]  # fmt: skip
OPENPOSE = [24, 12, 17, 19, 21, 16, 18, 20, 0, 2, 5, 8, 1, 4, 7, *range(25, 35)]


@functools.cache
def smpl_buffers():
    """Of smplx's SMPL layer and the original's extension, for the random body."""
    body = {name: torch.from_numpy(value.astype(float)) for name, value in random_smpl(1).items()}
    parents = body['kintree_table'][0].long()
    parents[0] = -1
    buffers = {
        'shapedirs': body['shapedirs'].float(),
        'faces_tensor': body['f'].long(),
        'v_template': body['v_template'].float(),
        'J_regressor': body['J_regressor'].float(),
        'posedirs': body['posedirs'].flatten(0, 1).T.contiguous().float(),
        'parents': parents,
        'lbs_weights': body['weights'].float(),
        'vertex_joint_selector.extra_joints_idxs': torch.tensor(LANDMARKS),
        'joint_regressor_extra': body['joint_regressor_extra'].float(),
        'joint_map': torch.tensor(OPENPOSE),
    }
    return {f'smpl.{name}': value for name, value in buffers.items()}


def modules(tensors):
    """Modules with such a state dict, filled with zeros: parameters, and buffers of indices."""
    top = nn.Module()
    for name, value in tensors.items():
        *path, leaf = name.split('.')
        module = top
        for part in path:
            if part not in dict(module.named_children()):
                module.add_module(part, nn.Module())
            module = module.get_submodule(part)
        if value.is_floating_point():
            module.register_parameter(leaf, nn.Parameter(torch.zeros_like(value)))
        else:
            module.register_buffer(leaf, torch.zeros_like(value))
    return top


def _mixer(w, name, query, width, tokens, codes, depth=2, token_dim=10, channel_dim=14):
    w.linear(f'{name}.mixer_trans.ff.0', tokens * width, query)
    w.norm(f'{name}.mixer_trans.ff.1', tokens * width)
    for i in range(depth):
        layer = f'{name}.mixer_head.{i}'
        w.norm(f'{layer}.layernorm1', width)
        w.linear(f'{layer}.MLP_token.ff.0', token_dim, tokens)
        w.linear(f'{layer}.MLP_token.ff.3', tokens, token_dim)
        w.norm(f'{layer}.layernorm2', width)
        w.linear(f'{layer}.MLP_channel.ff.0', channel_dim, width)
        w.linear(f'{layer}.MLP_channel.ff.3', width, channel_dim)
    w.linear(f'{name}.mixer_norm_layer.ff.0', width, width)
    w.norm(f'{name}.mixer_norm_layer.ff.1', width)
    w.linear(f'{name}.class_pred_layer', codes, width)


class Reader:
    """Layers of a state dict by name."""

    def __init__(self, weights, prefix):
        self.w, self.prefix = weights, prefix

    def linear(self, name, x):
        return F.linear(x, self[f'{name}.weight'], self.w.get(f'{self.prefix}{name}.bias'))

    def norm(self, name, x, eps):
        weight = self[f'{name}.weight']
        return F.layer_norm(x, weight.shape, weight, self[f'{name}.bias'], eps)

    def mlp(self, first, second, x):
        return self.linear(second, F.gelu(self.linear(first, x)))

    def __getitem__(self, name):
        return self.w[self.prefix + name]


def features(weights, image, heads):
    """(B, N, W) of normalised images (B, 3, S, S)."""
    r, size = Reader(weights, 'backbone.'), image.shape[-1]
    image = image[..., size // 8 : size - size // 8]
    x = F.conv2d(image, r['patch_embed.proj.weight'], r['patch_embed.proj.bias'], 16, padding=2)
    x = x.flatten(2).transpose(1, 2) + r['pos_embed'][:, 1:] + r['pos_embed'][:, :1]
    depth = len({name.split('.')[2] for name in weights if name.startswith('backbone.blocks')})
    for i in range(depth):
        b = f'blocks.{i}'
        qkv = r.linear(f'{b}.attn.qkv', r.norm(f'{b}.norm1', x, 1e-6))
        x = x + r.linear(f'{b}.attn.proj', _attend(*qkv.chunk(3, -1), heads))
        x = x + r.mlp(f'{b}.mlp.fc1', f'{b}.mlp.fc2', r.norm(f'{b}.norm2', x, 1e-6))
    return r.norm('last_norm', x, 1e-6)


def _attend(q, k, v, heads):
    q, k, v = (t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


def predict(weights, stage1, image, heads):
    """Pose (B, 24, 6) before it becomes rotations, betas, camera, and token probabilities."""
    seen, r = features(weights, image, heads), Reader(weights, 'smpl_head.')
    x = r['transformer.pos_embedding'] + r['transformer.to_token_embedding.bias']
    x = x.expand(len(image), 1, -1)
    for i in range(DECODER['depth']):
        layer = f'transformer.transformer.layers.{i}'
        qkv = r.linear(f'{layer}.0.fn.to_qkv', r.norm(f'{layer}.0.norm', x, 1e-5)).chunk(3, -1)
        x = x + r.linear(f'{layer}.0.fn.to_out.0', _attend(*qkv, DECODER['heads']))
        q = r.linear(f'{layer}.1.fn.to_q', r.norm(f'{layer}.1.norm', x, 1e-5))
        kv = r.linear(f'{layer}.1.fn.to_kv', seen).chunk(2, -1)
        x = x + r.linear(f'{layer}.1.fn.to_out.0', _attend(q, *kv, DECODER['heads']))
        y = r.norm(f'{layer}.2.norm', x, 1e-5)
        x = x + r.mlp(f'{layer}.2.fn.net.0', f'{layer}.2.fn.net.3', y)
    x, probs = x[:, 0], None
    if stage1 is None:
        pose = r.linear('decpose', x)
    else:
        probs = _mix(r, x, len(weights['smpl_head.decpose.mixer_head.0.MLP_token.ff.3.bias']))
        codes = probs @ stage1['net']['quantizer.codebook']
        body = decode(stage1['net'], stage1['hparams']['ARCH'], codes).flatten(1)
        pose = torch.cat([r.linear('decpose_grot', x), body, r.linear('decpose_hands', x)], -1)
    pose = (pose + r['init_body_pose']).unflatten(-1, (24, 6))
    betas, camera = r.linear('decshape', x) + r['init_betas'], r.linear('deccam', x)
    return pose, betas, camera + r['init_cam'], probs


def _mix(r, x, tokens):
    x = F.relu(r.norm('decpose.mixer_trans.ff.1', r.linear('decpose.mixer_trans.ff.0', x), 1e-5))
    x = x.unflatten(-1, (tokens, -1))
    for i in range(2):
        layer = f'decpose.mixer_head.{i}'
        y = r.norm(f'{layer}.layernorm1', x, 1e-5).transpose(1, 2)
        x = x + r.mlp(f'{layer}.MLP_token.ff.0', f'{layer}.MLP_token.ff.3', y).transpose(1, 2)
        y = r.norm(f'{layer}.layernorm2', x, 1e-5)
        x = x + r.mlp(f'{layer}.MLP_channel.ff.0', f'{layer}.MLP_channel.ff.3', y)
    y = r.linear('decpose.mixer_norm_layer.ff.0', x)
    x = F.relu(r.norm('decpose.mixer_norm_layer.ff.1', y, 1e-5))
    return r.linear('decpose.class_pred_layer', x).softmax(-1)


def rotations(pose6d, columns: bool):
    """Rotation matrices (..., 3, 3) of (..., 6), two vectors that are rows or columns."""
    a, b = pose6d[..., :3], pose6d[..., 3:]
    a = F.normalize(a, dim=-1)
    b = F.normalize(b - (a * b).sum(-1, keepdim=True) * a, dim=-1)
    return torch.stack([a, b, torch.linalg.cross(a, b)], dim=-1 if columns else -2)
