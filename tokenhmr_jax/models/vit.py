"""The vision transformer of ViTPose (Xu et al., NeurIPS 2022), without its keypoint head.

Images become a grid of patches, these the tokens of a pre-norm transformer (Dosovitskiy et al.,
ICLR 2021); a pose network reads all of them, so there is no class token.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

# Width, depth and heads. ViTPose's own S has 12 heads: `decode_variant('S/16') | {'heads': 12}`.
_SIZES = {
    'Ti': (192, 12, 3),
    'S': (384, 12, 6),
    'B': (768, 12, 12),
    'L': (1024, 24, 16),
    'H': (1280, 32, 16),
}
_DROP_MODES = ('bernoulli', 'subset')
# What of a block is kept for the backward pass, by name; the rest is computed again.
_KEPT = {
    'blocks': jax.checkpoint_policies.nothing_saveable,
    'products': jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
}


def decode_variant(name: str) -> dict[str, int]:
    """Sizes that a name such as 'H/16' stands for, as fields of `ViT`.

    Raises:
      ValueError: if the name is not a known size, a slash and a patch size.
    """
    size, _, patch = name.partition('/')
    if size not in _SIZES or not patch.isdecimal() or int(patch) == 0:
        raise ValueError(
            f'ViT variant {name!r}: expected one of {", ".join(_SIZES)}, a slash and the patch '
            "size in pixels, such as 'H/16'"
        )
    width, depth, heads = _SIZES[size]
    return {'width': width, 'depth': depth, 'heads': heads, 'patch_size': int(patch)}


def gelu(x: jax.Array) -> jax.Array:
    """x times the normal distribution's cumulative at x, exact, in float32 between.

    By the error function; by its complement, as `jax.nn.gelu` has it, CPUs take twice as long.
    """
    y = x.astype(jnp.float32)
    return (0.5 * y * (1 + jax.lax.erf(np.float32(0.5**0.5) * y))).astype(x.dtype)


class Attention(nn.Module):
    """Self-attention of tokens (B, N, width)."""

    width: int
    heads: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        qkv = _dense(3 * self.width, 'qkv', self.dtype)(x)
        qkv = qkv.reshape(*x.shape[:2], 3, self.heads, self.width // self.heads)
        x = jax.nn.dot_product_attention(qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2])
        return _dense(self.width, 'out', self.dtype)(x.reshape(*x.shape[:2], self.width))


class Mlp(nn.Module):
    """Two layers, four times as wide between them, on each token of (B, N, width)."""

    width: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        y = gelu(_dense(4 * self.width, 'in', self.dtype)(x))
        return _dense(self.width, 'out', self.dtype)(y)


class Block(nn.Module):
    """Attention, then the MLP, each on normalised tokens and added to them."""

    width: int
    heads: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array, drop: jax.Array | None) -> tuple[jax.Array, None]:
        """Tokens (B, N, width) to the same; the empty second output is what `nn.scan` asks for.

        `drop` is None, or holds for attention and for MLP what `add_residual` calls so.
        """
        norm1 = nn.LayerNorm(epsilon=1e-6, dtype=self.dtype, name='norm1')
        norm2 = nn.LayerNorm(epsilon=1e-6, dtype=self.dtype, name='norm2')
        attention = Attention(self.width, self.heads, self.dtype, name='attention')
        mlp = Mlp(self.width, self.dtype, name='mlp')
        first, second = (None, None) if drop is None else drop
        x = add_residual(x, lambda tokens: attention(norm1(tokens)), first)
        return add_residual(x, lambda tokens: mlp(norm2(tokens)), second), None


class PatchEmbedding(nn.Module):
    """Images (B, H, W, 3) to a vector for each patch, (B, H/patch * W/patch, width).

    A convolution whose windows do not overlap, written as the matrix product that it is, which
    is faster on CPUs. Windows begin `patch_size // 8` before the image (2 pixels at a
    patch size of 16, as in ViTPose), so as many of its last rows and columns are not seen.
    """

    width: int
    patch_size: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, image: jax.Array) -> jax.Array:
        batch, height, width, channels = image.shape
        size, border = self.patch_size, self.patch_size // 8
        shape = (size, size, channels, self.width)
        kernel = self.param('kernel', nn.initializers.lecun_normal(in_axis=(0, 1, 2)), shape)
        bias = self.param('bias', nn.initializers.zeros, (self.width,))
        shifted = jnp.pad(image.astype(self.dtype), ((0, 0), (border, 0), (border, 0), (0, 0)))
        grid = shifted[:, :height, :width].reshape(
            batch, height // size, size, width // size, size, channels
        )
        patches = jnp.swapaxes(grid, 2, 3).reshape(batch, -1, size * size * channels)
        flat = kernel.reshape(-1, self.width).astype(self.dtype)
        return patches @ flat + bias.astype(self.dtype)


class ViT(nn.Module):
    """Images (B, H, W, 3), normalised, to features (B, H/patch * W/patch, width) in `dtype`.

    width, depth, heads, patch_size: see `decode_variant`.
    position_scale: standard deviation of the position embedding at first. ViTPose has 0.02; in
      short trainings patches are told apart sooner with one like the patches' own.
    drop_path: rate at which the last block's branches are skipped in training; earlier blocks'
      rates fall linearly to 0 (stochastic depth, Huang et al., ECCV 2016).
    drop_mode: 'bernoulli', each example skips by a toss of its own, which saves no work; or
      'subset', a branch is computed for a random part of the batch, as in DINOv2. The expectation
      is the same. A part's size is fixed by its rate and rounded to whole examples; blocks must be
      compiled one by one, each with its own size: not with `scan`.
    drop_groups: into how many equal parts the batch is split, each choosing its own subset. Where
      devices share the batch, a multiple of their number keeps every example where it is.
    scan: compile one block and loop over stacked parameters, `blocks`, instead of `block0`,
      `block1`...: compiles faster. `stack_blocks` converts.
    remat: what the backward pass computes again instead of finding it in memory: '', nothing;
      'products', all but the products with weights, hardly any work; 'blocks', all but the blocks'
      inputs, as much as the forward pass.
    dtype: of the computation; parameters are float32.
    """

    width: int
    depth: int
    heads: int
    patch_size: int
    position_scale: float = 0.02
    drop_path: float = 0.0
    drop_mode: str = 'bernoulli'
    drop_groups: int = 1
    scan: bool = False
    remat: str = ''
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, image: jax.Array, train: bool = False) -> jax.Array:
        """With `train` and a `drop_path` above 0, needs the random stream 'drop_path'.

        Raises:
          ValueError: if the fields, or the image's size, do not go together.
        """
        self._check(image)
        x = self._embed(image)
        dropping = train and self.drop_path > 0
        drops = self._drops(self.make_rng('drop_path'), len(x)) if dropping else None
        block = Block
        if self.remat:
            # Inside a scan nothing can be merged that rematerialisation must keep apart.
            block = nn.remat(Block, prevent_cse=not self.scan, policy=_KEPT[self.remat])
        sizes = {'width': self.width, 'heads': self.heads, 'dtype': self.dtype}
        if self.scan:
            blocks = nn.scan(
                block, variable_axes={'params': 0}, split_rngs={'params': True}, length=self.depth
            )
            x, _ = blocks(**sizes, name='blocks')(x, drops)
        else:
            for i, drop in enumerate(drops if dropping else [None] * self.depth):
                x, _ = block(**sizes, name=f'block{i}')(x, drop)
        return nn.LayerNorm(epsilon=1e-6, dtype=self.dtype, name='norm')(x)

    def _embed(self, image: jax.Array) -> jax.Array:
        """Patches as tokens, with their positions; a border of zeros shifts the patches a little.

        The position embedding keeps the row of a class token that is no more: it is added to all.
        """
        x = PatchEmbedding(self.width, self.patch_size, self.dtype, name='patches')(image)
        shape = (x.shape[1] + 1, self.width)
        around = nn.initializers.truncated_normal(self.position_scale)
        position = self.param('position', around, shape)
        return x + (position[1:] + position[:1]).astype(self.dtype)

    def _drops(self, rng: jax.Array, batch: int) -> Sequence[jax.Array | None]:
        """Per block what its two branches skip, or None where they skip nothing."""
        rates = np.linspace(0, self.drop_path, self.depth)
        if self.drop_mode == 'bernoulli':
            return _bernoulli_scales(rng, batch, rates)
        return _subset_indices(rng, batch, self.drop_groups, rates)

    def _check(self, image: jax.Array) -> None:
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


def add_residual(x: jax.Array, branch, drop: jax.Array | None) -> jax.Array:
    """x + branch(x) for tokens x (B, N, width), with the skips that `drop` describes.

    Args:
      x: tokens.
      branch: a function of tokens of any batch size.
      drop: None, nothing is skipped; (B,) float, what each example's branch is multiplied by; or
        (G, K) int, which K examples the branch is computed for in each of G parts of the batch.
    """
    if drop is None:
        return x + branch(x)
    if jnp.issubdtype(drop.dtype, jnp.floating):
        return x + drop.astype(x.dtype)[:, None, None] * branch(x)
    groups, kept = drop.shape
    parts = x.reshape(groups, -1, *x.shape[1:])
    chosen = jax.vmap(lambda part, index: part[index])(parts, drop)
    added = branch(chosen.reshape(groups * kept, *x.shape[1:])).reshape(chosen.shape)
    added = added * (parts.shape[1] / kept)
    add = lambda part, index, value: part.at[index].add(value, unique_indices=True)  # noqa: E731
    return jax.vmap(add)(parts, drop, added).reshape(x.shape)


def _bernoulli_scales(rng: jax.Array, batch: int, rates: np.ndarray) -> jax.Array:
    """(L, 2, B) for rates (L,): 0 with probability `rate`, else what makes the expectation 1."""
    kept = 1 - rates[:, None, None]
    return jax.random.bernoulli(rng, kept, (len(rates), 2, batch)) / kept


def _subset_indices(
    rng: jax.Array, batch: int, groups: int, rates: np.ndarray
) -> list[jax.Array | None]:
    """Per rate (2, G, K) distinct positions in each of G parts of the batch; None for all of them.

    Raises:
      ValueError: if the batch does not divide into `groups` parts.
    """
    if batch % groups:
        raise ValueError(f'a batch of {batch} does not divide into drop_groups={groups} parts')
    size = batch // groups
    kept = np.maximum(1, np.round(size * (1 - rates)).astype(int))
    positions = jnp.broadcast_to(jnp.arange(size), (len(rates), 2, groups, size))
    shuffled = jax.random.permutation(rng, positions, axis=-1, independent=True)
    return [None if k == size else x[..., :k] for x, k in zip(shuffled, kept, strict=True)]


def stack_blocks(params: dict) -> dict:
    """Parameters of a ViT without `scan` as those of the same one with it."""
    depth = sum(name.startswith('block') for name in params)
    blocks = [params[f'block{i}'] for i in range(depth)]
    rest = {name: value for name, value in params.items() if not name.startswith('block')}
    return rest | {'blocks': jax.tree.map(lambda *x: np.stack(x), *blocks)}


def unstack_blocks(params: dict) -> dict:
    """Parameters of a ViT with `scan` as those of the same one without it."""
    stacked = params['blocks']
    depth = len(jax.tree.leaves(stacked)[0])
    blocks = {f'block{i}': jax.tree.map(lambda x, i=i: x[i], stacked) for i in range(depth)}
    return {name: value for name, value in params.items() if name != 'blocks'} | blocks


def _dense(features: int, name: str, dtype: jnp.dtype) -> nn.Dense:
    initial = nn.initializers.xavier_uniform()
    product = gathered_product
    return nn.Dense(features, dtype=dtype, name=name, kernel_init=initial, dot_general=product)


def gathered_product(x: jax.Array, kernel: jax.Array, dimensions, **options) -> jax.Array:
    """`jax.lax.dot_general`, where the devices that share a kernel gather it.

    Left to itself, the compiler may rather send the examples around, which are far larger.
    """
    if not jax.sharding.get_abstract_mesh().empty:
        kernel = jax.lax.with_sharding_constraint(kernel, jax.sharding.PartitionSpec())
    return jax.lax.dot_general(x, kernel, dimensions, **options)
