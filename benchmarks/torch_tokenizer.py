"""The pose tokenizer and its training step in PyTorch, for comparison.

Written for speed in PyTorch: convolutions channels first, the codebook's statistics by
`index_add_`, fused AdamW, bodies by smplx.
"""

import ml_collections
import numpy as np
import smplx
import torch
from smplx.lbs import batch_rodrigues
from torch import nn
from torch.nn import functional as F

from tokenhmr_jax.released.names import original_weights, tokenizer_names


class ResidualBlock(nn.Module):
    """x + conv1(ReLU(conv3(ReLU(x))))."""

    def __init__(self, width: int, dilation: int):
        super().__init__()
        self.dilated = conv(width, width, dilation=dilation)
        self.pointwise = conv(width, width, size=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.pointwise(F.relu(self.dilated(F.relu(x))))


def conv(inputs: int, outputs: int, size: int = 3, dilation: int = 1) -> nn.Conv1d:
    return nn.Conv1d(inputs, outputs, size, padding=dilation * (size // 2), dilation=dilation)


def resized(width: int, lengths: list[int]) -> list[nn.Module]:
    """Nearest resizing to each length in turn, with a convolution after each."""
    layers = ([nn.Upsample(size=n), conv(width, width), nn.ReLU()] for n in lengths)
    return [layer for group in layers for layer in group]


def encoder(size: ml_collections.ConfigDict) -> nn.Sequential:
    """6D rotations (B, 6, 21) to latents (B, C, T). `size`: the `model` of a tokenizer's config."""
    width = size.width
    return nn.Sequential(
        *(conv(6, width), nn.ReLU(), *resized(width, upsampled_sizes(size))),
        nn.Conv1d(width, width, 4, stride=2, padding=1),
        *residual_blocks(size),
        conv(width, size.code_dim),
    )


def decoder(size: ml_collections.ConfigDict) -> nn.Sequential:
    """Codes (B, C, T) to 6D rotations (B, 6, 21). `size`: as for `encoder`."""
    width, tokens = size.width, upsampled_sizes(size)[-1] // 2
    downs = np.linspace(21, tokens, size.size_div, endpoint=False, dtype=int)[::-1]
    return nn.Sequential(
        *(conv(size.code_dim, width), nn.ReLU(), *resized(width, downs.tolist())),
        *residual_blocks(size),
        *(conv(width, width), conv(width, 6)),
    )


def upsampled_sizes(size: ml_collections.ConfigDict) -> list[int]:
    return [40 * 2**i for i in range(size.size_mul)]


def residual_blocks(size: ml_collections.ConfigDict) -> list[ResidualBlock]:
    return [ResidualBlock(size.width, size.dilation_rate**i) for i in reversed(range(size.depth))]


def copy_convolutions(
    network: nn.Module, params: dict, size: ml_collections.ConfigDict, halves: tuple[str, ...]
) -> None:
    """Copies our weights of 'encoder' or 'decoder', the `halves`, to a PyTorch network."""
    names = tokenizer_names(size.size_mul, size.size_div, size.depth)
    names = {name: path for name, path in names.items() if path[0] in halves}
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv1d)]
    # Both are in the order of the network's layers.
    ours = original_weights(params, names).values()
    theirs = [parameter for layer in layers for parameter in (layer.weight, layer.bias)]
    with torch.no_grad():
        for value, parameter in zip(ours, theirs, strict=True):
            parameter.copy_(torch.tensor(value))


class Tokenizer(nn.Module):
    """Encoder, codebook and decoder of the sizes in a tokenizer's config."""

    def __init__(self, config: ml_collections.ConfigDict):
        super().__init__()
        self.encoder, self.decoder = encoder(config.model), decoder(config.model)
        codes, dim = config.codebook.num_codes, config.model.code_dim
        self.register_buffer('codes', torch.zeros(codes, dim))
        self.register_buffer('ema_sum', torch.zeros(codes, dim))
        self.register_buffer('ema_count', torch.ones(codes))

    def encode(self, rotation: torch.Tensor) -> torch.Tensor:
        """Rotations (B, 21, 3, 3) to latents (B, T, C)."""
        return self.encoder(rotation[:, :, :2].flatten(2).mT).mT

    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        """Codes (B, T, C) to 6D rotations (B, 21, 6), first two rows."""
        return self.decoder(codes.mT).mT

    def quantize(self, latents: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Codes with a straight-through gradient, tokens (B T,), commitment loss."""
        flat = latents.detach().flatten(0, 1)
        tokens = (flat @ self.codes.T - 0.5 * self.codes.square().sum(1)).argmax(1)
        chosen = self.codes[tokens].view_as(latents)
        return latents + (chosen - latents).detach(), tokens, F.mse_loss(latents, chosen)

    @torch.no_grad()
    def learn_codes(self, latents: torch.Tensor, tokens: torch.Tensor, decay: float) -> None:
        """Moves the codes to the decayed mean of their latents (N, C); re-seeds unused codes."""
        count = torch.bincount(tokens, minlength=len(self.codes)).float()
        total = torch.zeros_like(self.ema_sum).index_add_(0, tokens, latents)
        self.ema_count.lerp_(count, 1 - decay)
        self.ema_sum.lerp_(total, 1 - decay)
        used = self.ema_count >= 1
        seeds = latents[torch.randint(len(latents), used.shape, device=latents.device)]
        self.ema_count.masked_fill_(~used, 1.0)
        self.ema_sum.copy_(torch.where(used[:, None], self.ema_sum, seeds))
        self.codes.copy_(self.ema_sum / self.ema_count[:, None])


class Step:
    """Training step; without bodies and their two losses if `body` is None.

    Args:
      config: the tokenizer's.
      model: trained in place.
      body: smplx's, of the mean shape.
      vertex_weights: (V,) of the mesh loss.
    """

    def __init__(self, config, model: Tokenizer, body: smplx.SMPL | None, vertex_weights):
        self.config, self.model, self.body = config, model, body
        self.vertex_weights = vertex_weights[:, None]
        options = config.optimizer
        self.optimizer = torch.optim.AdamW(
            model.parameters(),
            options.learning_rate,
            betas=(options.b1, options.b2),
            weight_decay=options.weight_decay,
            fused=True,
        )

    def __call__(self, body_pose: torch.Tensor) -> torch.Tensor:
        """Trains on axis-angle poses (B, 21, 3); returns the loss."""
        weights = self.config.loss_weights
        truth = batch_rodrigues(body_pose.view(-1, 3)).view(-1, 21, 3, 3)
        latents = self.model.encode(truth)
        codes, tokens, commitment = self.model.quantize(latents)
        rotation = rotation_matrix(self.model.decode(codes))
        loss = weights.rotation * F.mse_loss(rotation, truth) + weights.commitment * commitment
        if self.body is not None:
            vertices, joints = self._pose_body(rotation)
            with torch.no_grad():
                vertices_gt, joints_gt = self._pose_body(truth)
            squared = self.vertex_weights * (vertices - vertices_gt).square()
            loss = loss + weights.vertices * squared.mean()
            loss = loss + weights.joints * F.mse_loss(joints, joints_gt)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.model.learn_codes(latents.detach().flatten(0, 1), tokens, self.config.codebook.decay)
        return loss.detach()

    def _pose_body(self, rotation: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        rest = torch.eye(3, device=rotation.device).expand(len(rotation), 1, 3, 3)
        pose = torch.cat([rotation, rest, rest], dim=1)  # the hands rest
        betas = rotation.new_zeros(len(rotation), self.body.num_betas)
        output = self.body(global_orient=rest, body_pose=pose, betas=betas, pose2rot=False)
        return output.vertices, output.joints[:, 1:22]


def rotation_matrix(six: torch.Tensor) -> torch.Tensor:
    """6D (..., 6), the first two rows, to rotation matrices by Gram-Schmidt."""
    first = F.normalize(six[..., :3], dim=-1)
    along = (first * six[..., 3:]).sum(-1, keepdim=True)
    second = F.normalize(six[..., 3:] - along * first, dim=-1)
    return torch.stack([first, second, torch.linalg.cross(first, second)], dim=-2)
