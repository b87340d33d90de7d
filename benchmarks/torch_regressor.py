"""The regressor and its training step in PyTorch, for comparison.

Written for speed in PyTorch: images channels first, attention by `scaled_dot_product_attention`,
fused AdamW, bodies by smplx. Modules have the names of our parameters, so that `state_dict` can
copy them.
"""

import re
from collections import OrderedDict
from typing import Any

import jax
import ml_collections
import numpy as np
import side_by_side
import smplx
import torch
from smplx.lbs import batch_rodrigues
from torch import nn
from torch.nn import functional as F
from torch_tokenizer import copy_convolutions, decoder, rotation_matrix, upsampled_sizes

from tokenhmr_jax.body import skeleton
from tokenhmr_jax.models.regressor import FrozenWeights
from tokenhmr_jax.tasks.regressor import Frozen
from tokenhmr_jax.types import ImageBatch

# ImageNet's, of RGB in [0, 1].
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, heads: int) -> torch.Tensor:
    """Attention of (B, N, heads * dim)."""
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


class Attention(nn.Module):
    """Self-attention of tokens (B, N, width)."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(attend(*self.qkv(x).chunk(3, dim=-1), self.heads))


class Block(nn.Module):
    """A block of the ViT, on tokens (B, N, width)."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attention = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        inner, outer = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.mlp = nn.Sequential(OrderedDict([('in', inner), ('gelu', nn.GELU()), ('out', outer)]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class ViT(nn.Module):
    """Images (B, 3, H, W), normalised, to features (B, N, width); `tokens` is their number N."""

    def __init__(self, width: int, depth: int, heads: int, patch_size: int, tokens: int):
        super().__init__()
        self.patches = nn.Conv2d(3, width, patch_size, stride=patch_size, padding=patch_size // 8)
        self.position = nn.Parameter(torch.zeros(tokens + 1, width))
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(width, eps=1e-6)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.patches(image).flatten(2).mT
        return self.norm(self.blocks(x + self.position[1:] + self.position[:1]))


class DecoderLayer(nn.Module):
    """Self-attention, cross-attention to the features (B, N, C), and MLP, of queries (B, Q, W)."""

    def __init__(self, size: ml_collections.ConfigDict, channels: int):
        super().__init__()
        self.heads, width, inner = size.heads, size.width, size.heads * size.head_dim
        self.self_norm = nn.LayerNorm(width)
        self.self_qkv = nn.Linear(width, 3 * inner, bias=False)
        self.self_out = nn.Linear(inner, width)
        self.cross_norm = nn.LayerNorm(width)
        self.cross_q = nn.Linear(width, inner, bias=False)
        self.cross_kv = nn.Linear(channels, 2 * inner, bias=False)
        self.cross_out = nn.Linear(inner, width)
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp_in = nn.Linear(width, size.mlp_dim)
        self.mlp_out = nn.Linear(size.mlp_dim, width)

    def forward(self, x: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        qkv = self.self_qkv(self.self_norm(x)).chunk(3, dim=-1)
        x = x + self.self_out(attend(*qkv, self.heads))
        q, kv = self.cross_q(self.cross_norm(x)), self.cross_kv(features).chunk(2, dim=-1)
        x = x + self.cross_out(attend(q, *kv, self.heads))
        return x + self.mlp_out(F.gelu(self.mlp_in(self.mlp_norm(x))))


class QueryDecoder(nn.Module):
    """Decoder of one learned query: features (B, N, C) to (B, width)."""

    def __init__(self, size: ml_collections.ConfigDict, channels: int):
        super().__init__()
        self.embed = nn.Linear(1, size.width)
        self.position = nn.Parameter(torch.zeros(1, size.width))
        self.layers = nn.ModuleList(DecoderLayer(size, channels) for _ in range(size.depth))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        x = self.embed(features.new_zeros(len(features), 1, 1)) + self.position
        for layer in self.layers:
            x = layer(x, features)
        return x[:, 0]


class MixerLayer(nn.Module):
    """Mixing (B, T, W) across tokens, then across channels."""

    def __init__(self, size: ml_collections.ConfigDict, tokens: int):
        super().__init__()
        self.token_norm = nn.LayerNorm(size.width)
        self.token_in = nn.Linear(tokens, size.token_dim)
        self.token_out = nn.Linear(size.token_dim, tokens)
        self.channel_norm = nn.LayerNorm(size.width)
        self.channel_in = nn.Linear(size.width, size.channel_dim)
        self.channel_out = nn.Linear(size.channel_dim, size.width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.token_out(F.gelu(self.token_in(self.token_norm(x).mT))).mT
        return x + self.channel_out(F.gelu(self.channel_in(self.channel_norm(x))))


class TokenMixer(nn.Module):
    """A body's vector (B, inputs) to logits (B, tokens, codes)."""

    def __init__(self, size: ml_collections.ConfigDict, inputs: int, tokens: int, codes: int):
        super().__init__()
        self.tokens = tokens
        self.spread = nn.Linear(inputs, tokens * size.width)
        self.spread_norm = nn.LayerNorm(tokens * size.width)
        self.layers = nn.Sequential(*(MixerLayer(size, tokens) for _ in range(size.depth)))
        self.out = nn.Linear(size.width, size.width)
        self.out_norm = nn.LayerNorm(size.width)
        self.logits = nn.Linear(size.width, codes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.spread_norm(self.spread(x))).unflatten(-1, (self.tokens, -1))
        return self.logits(F.relu(self.out_norm(self.out(self.layers(x)))))


class TokenHead(nn.Module):
    """Features to logits (B, T, K), then offsets: orientation, hands, betas, camera."""

    def __init__(self, size: ml_collections.ConfigDict, channels: int, tokens: int, codes: int):
        super().__init__()
        width = size.decoder.width
        self.decoder = QueryDecoder(size.decoder, channels)
        self.mixer = TokenMixer(size.mixer, width, tokens, codes)
        self.global_orient = nn.Linear(width, 6)
        self.hands = nn.Linear(width, 12)
        self.betas = nn.Linear(width, 10)
        self.camera = nn.Linear(width, 3)

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, ...]:
        x = self.decoder(features)
        return self.mixer(x), self.global_orient(x), self.hands(x), self.betas(x), self.camera(x)


class Network(nn.Module):
    """Backbone and head, with the sizes of a regressor's config."""

    def __init__(self, config: ml_collections.ConfigDict):
        super().__init__()
        names = ('width', 'depth', 'heads', 'patch_size')
        size = {name: config.model.backbone[name] for name in names}
        patches = config.data.crop_size // size['patch_size']
        self.backbone = ViT(**size, tokens=patches * (patches * 3 // 4))
        tokens = upsampled_sizes(config.tokenizer.model)[-1] // 2
        codes = config.tokenizer.num_codes
        self.head = TokenHead(config.model, size['width'], tokens, codes)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return self.head(self.backbone(image))


class Step:
    """Training step with the paper's losses: TALS on L1 distances.

    Args:
      config: the regressor's.
      network: trained in place; may be compiled.
      weights: our mean body, and stage 1's decoder and codes.
      frozen: our thresholds, sources and keypoints' regressor.
      body: smplx's.
    """

    def __init__(
        self,
        config: ml_collections.ConfigDict,
        network: nn.Module,
        weights: FrozenWeights,
        frozen: Frozen,
        body: smplx.SMPL,
    ):
        self.config, self.network, self.body = config, network, body
        device, size = body.shapedirs.device, config.tokenizer.model
        self.decoder = decoder(size).requires_grad_(False)
        copy_convolutions(self.decoder, weights.tokenizer, size, ('decoder',))
        self.decoder.to(device)
        self.weights = tensors(weights.replace(tokenizer=None), device)
        self.thresholds = tensors(frozen.thresholds, device)
        self.is_ground_truth = tensors(frozen.is_ground_truth, device)
        self.extra_regressor = tensors(frozen.body.extra_regressor, device)
        options = config.optimizer
        self.optimizer = torch.optim.AdamW(
            network.parameters(),
            options.learning_rate,
            betas=(options.b1, options.b2),
            weight_decay=options.weight_decay,
            fused=True,
        )

    def __call__(self, batch: ImageBatch) -> torch.Tensor:
        """Trains on a batch of tensors with images (B, 3, S, S) uint8; returns the loss."""
        dtype = getattr(torch, self.config.model.backbone.dtype)
        enabled = dtype != torch.float32
        with torch.autocast(batch.image.device.type, dtype, enabled=enabled):
            readout = self.network(pixels(batch.image, batch.color))
        rotation, betas, camera = self._body([x.float() for x in readout])
        points3d = self._keypoints(rotation, betas)
        loss = self._loss(project(points3d, camera), points3d, rotation, betas, batch)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def predict(self, batch: ImageBatch) -> torch.Tensor:
        """The 44 keypoints (B, 44, 3), metres, of the bodies in a batch."""
        dtype = getattr(torch, self.config.model.backbone.dtype)
        device = batch.image.device.type
        with torch.inference_mode(), torch.autocast(device, dtype, enabled=dtype != torch.float32):
            readout = self.network(pixels(batch.image, batch.color))
            rotation, betas, _ = self._body([x.float() for x in readout])
            return self._keypoints(rotation, betas)

    def _body(self, readout: list[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        """Rotations (B, 24, 3, 3), betas and camera of the network's output."""
        logits, orient, hands, betas, camera = readout
        codes = logits.softmax(-1) @ self.weights.codes
        body_pose = self.decoder(codes.mT).mT.flatten(1)
        offset = torch.cat([orient, body_pose, hands], -1).unflatten(-1, (24, 6))
        rotation = rotation_matrix(self.weights.mean_pose + offset)
        return rotation, self.weights.mean_betas + betas, self.weights.mean_camera + camera

    def _keypoints(self, rotation: torch.Tensor, betas: torch.Tensor) -> torch.Tensor:
        """The 44 keypoints (B, 44, 3), metres."""
        orient, pose = rotation[:, :1], rotation[:, 1:]
        output = self.body(global_orient=orient, body_pose=pose, betas=betas, pose2rot=False)
        openpose = output.joints[:, skeleton.OPENPOSE_SOURCE]
        return torch.cat([openpose, self.extra_regressor @ output.vertices], dim=1)

    def _loss(self, points2d, points3d, rotation, betas, batch: ImageBatch) -> torch.Tensor:
        """The weighted sum of the five terms, with TALS."""
        loose = self.config.tals.loose_weight
        turns = torch.cat([batch.global_orient[:, None], batch.body_pose], dim=1)
        truth = batch_rodrigues(turns.view(-1, 3)).view_as(rotation)
        true = self.is_ground_truth[batch.source][:, None]
        confidence = batch.keypoints2d[..., 2]

        distance = (points2d - batch.keypoints2d[..., :2]).abs().sum(-1)
        below = distance.detach() <= self.thresholds.keypoints2d
        counts3d = true | (~below & (confidence > 0.5))
        cosine = ((rotation.detach() * truth).sum((-2, -1)) - 1) / 2
        aligned = cosine.clamp(-1, 1).acos() <= self.thresholds.angles
        counts_pose = torch.where(aligned, loose, 1.0) * batch.has_pose[:, None]
        turned = (rotation - truth).square().sum((-2, -1)) * torch.where(true, 1.0, counts_pose)
        offset3d = centred(points3d) - centred(batch.keypoints3d[..., :3])
        errors = {
            'keypoints2d': torch.where(below, loose, 1.0) * confidence * distance,
            'keypoints3d': counts3d * batch.keypoints3d[..., 3] * offset3d.abs().sum(-1),
            'global_orient': turned[:, :1],
            'body_pose': turned[:, 1:],
            'betas': true * batch.has_betas[:, None] * (betas - batch.betas).square(),
        }
        weights = self.config.loss_weights
        terms = (weights[name] * error.sum(-1).mean() for name, error in errors.items())
        return self.config.reference_batch * sum(terms)


def pixels(image: torch.Tensor, color: torch.Tensor) -> torch.Tensor:
    """The middle columns, (B, 3, S, 3S/4) normalised, of images times their `color` (B, 3)."""
    border = image.shape[-1] // 8
    seen = (image[..., border:-border] * color[:, :, None, None]).clamp(max=255) / 255
    mean, std = (seen.new_tensor(x).view(3, 1, 1) for x in (MEAN, STD))
    return (seen - mean) / std


def project(points: torch.Tensor, camera: torch.Tensor) -> torch.Tensor:
    """Points (B, N, 3) as the crop's camera (B, 3), (s, tx, ty), sees them: (B, N, 2)."""
    focal = 5000 / 256
    depth = 2 * focal / (camera[:, :1] + 1e-9)
    seen = points + torch.cat([camera[:, 1:], depth], dim=-1)[:, None]
    return focal * seen[..., :2] / seen[..., 2:]


def centred(points: torch.Tensor) -> torch.Tensor:
    return points - points[:, skeleton.PELVIS, None]


def tensors(tree: Any, device: torch.device) -> Any:
    """A tree of arrays as tensors; copies, because our step donates its arrays."""
    return jax.tree.map(lambda x: torch.tensor(np.asarray(x)).to(device), tree)


def state_dict(params: dict) -> dict[str, torch.Tensor]:
    """Our parameters, or their gradients, with the names and layouts of these modules."""
    values = {}
    for path, value in jax.tree_util.tree_leaves_with_path(params):
        name, value = jax.tree_util.keystr(path, simple=True, separator='.'), np.asarray(value)
        if name.endswith('kernel'):
            # From (*size, in, out) to (out, in, *size).
            value = np.moveaxis(value, (-1, -2), (0, 1))
        name = re.sub(r'(block|layer)(\d)', r'\1s.\2', name)
        values[re.sub('(kernel|scale)$', 'weight', name)] = torch.tensor(value)
    return values


def load(network: nn.Module, params: dict) -> nn.Module:
    """Fills a network of the device 'meta' with our parameters, on PyTorch's device."""
    network.load_state_dict(state_dict(params), assign=True)
    return network.to(side_by_side.torch_device())


def random_weights(shapes: Any) -> Any:
    """Random arrays for a tree of shapes; no zeros and ones, which would hide a mix-up."""
    rng = np.random.default_rng(0)

    def draw(path, leaf):
        values = rng.standard_normal(leaf.shape, np.float32)
        name = jax.tree_util.keystr(path[-1:], simple=True)
        if name == 'kernel':
            return values / np.sqrt(np.prod(leaf.shape[:-1], dtype=np.float32))
        return (name == 'scale') + 0.1 * values

    return jax.tree.map_with_path(draw, shapes)
