"""The vision transformer of ViTPose (Xu et al., NeurIPS 2022), without its keypoint head.

The patches of an image are the tokens of a pre-norm transformer (Dosovitskiy et al., ICLR 2021).
The pose network reads all of them: there is no class token.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Float, Int

from tokenhmr_jax.types import Array

# Width, depth and heads. ViTPose's own S has 12 heads: `decode_variant('S/16') | {'heads': 12}`.
_SIZES = {
    'Ti': (192, 12, 3), 'S': (384, 12, 6), 'B': (768, 12, 12), 'L': (1024, 24, 16),
    'H': (1280, 32, 16),
}  # fmt: skip
_DROP_MODES = ('bernoulli', 'subset')
# Results of a block that are kept for the backward pass; the others are computed again.
_KEPT = {
    'blocks': jax.checkpoint_policies.nothing_saveable,
    'products': jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
}


def decode_variant(name: str) -> dict[str, int]:
    """The sizes of a variant such as 'H/16', as fields of `ViT`.

    Raises ValueError unless the name is a known size, a slash and a patch size in pixels.
    """
    size, _, patch = name.partition('/')
    if size not in _SIZES or not patch.isdecimal() or int(patch) == 0:
        raise ValueError(
            f'ViT variant {name!r}: expected one of {", ".join(_SIZES)}, a slash and the patch '
            "size in pixels, such as 'H/16'"
        )
    width, depth, heads = _SIZES[size]
    return {'width': width, 'depth': depth, 'heads': heads, 'patch_size': int(patch)}


def gelu(x: Float[Array, '*B']) -> Float[Array, '*B']:
    """Exact GELU in float32. `jax.nn.gelu`, by the complement of erf, takes CPUs twice as long."""
    y = x.astype(jnp.float32)
    return (0.5 * y * (1 + jax.lax.erf(np.float32(0.5**0.5) * y))).astype(x.dtype)


class Attention(nn.Module):
    """Self-attention."""

    width: int
    heads: int
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Float[Array, 'B T width']) -> Float[Array, 'B T width']:
        qkv = _dense(3 * self.width, 'qkv', self.dtype)(x)
        # Split first: TPUs would copy an array of five axes to take its parts.
        heads = (*x.shape[:2], self.heads, self.width // self.heads)
        q, k, v = (part.reshape(heads) for part in jnp.split(qkv, 3, axis=-1))
        x = jax.nn.dot_product_attention(q, k, v)
        return _dense(self.width, 'out', self.dtype)(x.reshape(*x.shape[:2], self.width))


class Mlp(nn.Module):
    """Two layers on each token, four times as wide between them."""

    width: int
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Float[Array, 'B T width']) -> Float[Array, 'B T width']:
        y = gelu(_dense(4 * self.width, 'in', self.dtype)(x))
        return _dense(self.width, 'out', self.dtype)(y)


class Block(nn.Module):
    """Attention, then the MLP, each on normalised tokens and added to them."""

    width: int
    heads: int
    dtype: DTypeLike

    @nn.compact
    def __call__(
        self, x: Float[Array, 'B T width'], drop: Float[Array, '2 B'] | Int[Array, '2 K'] | None
    ) -> tuple[Float[Array, 'B T width'], None]:
        """`drop` holds the skips of `add_residual`, of both branches. `nn.scan` asks for a pair."""
        norm1 = nn.LayerNorm(epsilon=1e-6, dtype=self.dtype, name='norm1')
        norm2 = nn.LayerNorm(epsilon=1e-6, dtype=self.dtype, name='norm2')
        attention = Attention(self.width, self.heads, self.dtype, name='attention')
        mlp = Mlp(self.width, self.dtype, name='mlp')
        first, second = (None, None) if drop is None else drop
        x = add_residual(x, lambda tokens: attention(norm1(tokens)), first)
        return add_residual(x, lambda tokens: mlp(norm2(tokens)), second), None


class PatchEmbedding(nn.Module):
    """A convolution without overlap, as a matrix product, which is faster on CPUs.

    The windows begin `patch_size // 8` pixels before the image (2 for patches of 16 pixels, as in
    ViTPose). As many of its last rows and columns are not seen.
    """

    width: int
    patch_size: int
    dtype: DTypeLike

    @nn.compact
    def __call__(self, image: Float[Array, 'B H W 3']) -> Float[Array, 'B T width']:
        batch, height, width, channels = image.shape
        size, border = self.patch_size, self.patch_size // 8
        shape = (size, size, channels, self.width)
        kernel = self.param('kernel', nn.initializers.lecun_normal(in_axis=(0, 1, 2)), shape)
        bias = self.param('bias', nn.initializers.zeros, (self.width,))
        shifted = jnp.pad(image.astype(self.dtype), ((0, 0), (border, 0), (border, 0), (0, 0)))
        rows, columns = height // size, width // size
        grid = shifted[:, :height, :width].reshape(batch, rows, size, columns, size, channels)
        patches = jnp.swapaxes(grid, 2, 3).reshape(batch, -1, size * size * channels)
        flat = kernel.reshape(-1, self.width).astype(self.dtype)
        return patches @ flat + bias.astype(self.dtype)


class ViT(nn.Module):
    """Normalised images to the features of their patches, row by row, in `dtype`.

    width, depth, heads, patch_size: see `decode_variant`.
    position_scale: initial standard deviation of the position embedding: 0.02 in ViTPose. Short
      trainings tell patches apart sooner with one like the patches' own.
    drop_path: rate at which training skips the branches of the last block; the rates of earlier
      blocks fall linearly to 0 (stochastic depth, Huang et al., ECCV 2016).
    drop_mode: 'bernoulli' draws for each example, and saves no work. 'subset' computes a branch for
      a random part of the batch, as in DINOv2, with the same expectation. The part's size follows
      from the rate, rounded to whole examples. It differs between blocks: not with `scan`.
    scan: loop over one compiled block and stacked parameters: compiles faster. See `stack_blocks`.
    remat: results that the backward pass computes again: '', none; 'products', all but products
      with weights, hardly any work; 'blocks', all but the inputs of blocks, a forward pass.
    dtype: of the computation; parameters are float32.
    """

    width: int
    depth: int
    heads: int
    patch_size: int
    position_scale: float = 0.02
    drop_path: float = 0.0
    drop_mode: str = 'bernoulli'
    scan: bool = False
    remat: str = ''
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, image: Float[Array, 'B H W 3'], train: bool = False
    ) -> Float[Array, 'B T width']:
        """With `train` and a `drop_path` above 0, needs the random stream 'drop_path'.

        Raises ValueError if the fields or the image's size do not go together.
        """
        self._check(image)
        x = self._embed(image)
        drops = None
        if train and self.drop_path > 0:
            draw = _bernoulli_scales if self.drop_mode == 'bernoulli' else _subset_indices
            rates = np.linspace(0, self.drop_path, self.depth)
            drops = draw(self.make_rng('drop_path'), len(x), rates)
        block = Block
        if self.remat:
            # Inside a scan nothing can be merged that rematerialisation must keep apart.
            block = nn.remat(Block, prevent_cse=not self.scan, policy=_KEPT[self.remat])
        sizes = {'width': self.width, 'heads': self.heads, 'dtype': self.dtype}
        if self.scan:
            axes = {'variable_axes': {'params': 0}, 'split_rngs': {'params': True}}
            blocks = nn.scan(block, length=self.depth, **axes)
            x, _ = blocks(**sizes, name='blocks')(x, drops)
        else:
            for i, drop in enumerate([None] * self.depth if drops is None else drops):
                x, _ = block(**sizes, name=f'block{i}')(x, drop)
        return nn.LayerNorm(epsilon=1e-6, dtype=self.dtype, name='norm')(x)

    def _embed(self, image):
        """Patches with their positions; the row of ViTPose's class token is added to all."""
        x = PatchEmbedding(self.width, self.patch_size, self.dtype, name='patches')(image)
        around = nn.initializers.truncated_normal(self.position_scale)
        position = self.param('position', around, (x.shape[1] + 1, self.width))
        return x + (position[1:] + position[:1]).astype(self.dtype)

    def _check(self, image) -> None:
        height, width = image.shape[1:3]
        if height % self.patch_size or width % self.patch_size:
            raise ValueError(
                f'an image of {height} x {width} does not divide into patches of {self.patch_size}'
            )
        if self.width % self.heads:
            raise ValueError(f'width={self.width} does not divide by heads={self.heads}')
        if self.drop_mode not in _DROP_MODES:
            raise ValueError(f'drop_mode={self.drop_mode!r}: expected one of {_DROP_MODES}')
        if self.remat and self.remat not in _KEPT:
            raise ValueError(f"remat={self.remat!r}: expected '' or one of {list(_KEPT)}")
        if not 0 <= self.drop_path < 1:
            raise ValueError(f'drop_path={self.drop_path}: expected a rate in [0, 1)')
        if self.drop_mode == 'subset' and self.scan:
            raise ValueError(
                "drop_mode='subset' computes a different number of examples in each block, which "
                "scan=True cannot: expected scan=False, or drop_mode='bernoulli'"
            )


def add_residual(
    x: Float[Array, 'B T W'],
    branch: Callable[[Array], Array],
    drop: Float[Array, ' B'] | Int[Array, ' K'] | None,
) -> Float[Array, 'B T W']:
    """x + branch(x), with skips. `branch` is a function of tokens of any batch size.

    drop: a factor per example; or the examples that the branch is computed for; or None.
    """
    if drop is None:
        return x + branch(x)
    if jnp.issubdtype(drop.dtype, jnp.floating):
        return x + drop.astype(x.dtype)[:, None, None] * branch(x)
    added = branch(x[drop]) * (len(x) / len(drop))
    return x.at[drop].add(added, unique_indices=True)


def _bernoulli_scales(rng: jax.Array, batch: int, rates: np.ndarray) -> Float[Array, 'L 2 B']:
    """0 with probability `rate`, else 1 / (1 - rate): 1 in expectation."""
    kept = 1 - rates[:, None, None]
    return jax.random.bernoulli(rng, kept, (len(rates), 2, batch)) / kept


def _subset_indices(rng: jax.Array, batch: int, rates: np.ndarray) -> list[Array | None]:
    """Distinct positions in the batch, per rate; None for all of them."""
    kept = np.maximum(1, np.round(batch * (1 - rates)).astype(int))
    positions = jnp.broadcast_to(jnp.arange(batch), (len(rates), 2, batch))
    shuffled = jax.random.permutation(rng, positions, axis=-1, independent=True)
    return [None if k == batch else x[:, :k] for x, k in zip(shuffled, kept, strict=True)]


def stack_blocks(params: dict) -> dict:
    """Parameters of a ViT without `scan` as parameters with it."""
    depth = sum(name.startswith('block') for name in params)
    blocks = [params[f'block{i}'] for i in range(depth)]
    rest = {name: value for name, value in params.items() if not name.startswith('block')}
    return rest | {'blocks': jax.tree.map(lambda *x: np.stack(x), *blocks)}


def unstack_blocks(params: dict) -> dict:
    """Parameters of a ViT with `scan` as parameters without it."""
    stacked = params['blocks']
    depth = len(jax.tree.leaves(stacked)[0])
    blocks = {f'block{i}': jax.tree.map(lambda x, i=i: x[i], stacked) for i in range(depth)}
    return {name: value for name, value in params.items() if name != 'blocks'} | blocks


def _dense(features: int, name: str, dtype: DTypeLike) -> nn.Dense:
    initial, product = nn.initializers.xavier_uniform(), gathered_product
    return nn.Dense(features, dtype=dtype, name=name, kernel_init=initial, dot_general=product)


def gathered_product(x: Array, kernel: Array, dimensions, **options) -> jax.Array:
    """`jax.lax.dot_general`, where the devices that share a kernel gather it.

    Left to itself, the compiler may send the examples around instead, which are far larger.
    """
    if not jax.sharding.get_abstract_mesh().empty:
        kernel = jax.lax.with_sharding_constraint(kernel, jax.sharding.PartitionSpec())
    return jax.lax.dot_general(x, kernel, dimensions, **options)
