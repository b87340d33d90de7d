"""Names and layouts of the original's weights, translated to ours and back."""

from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from tokenhmr_jax.released.sizes import without_prefix

# The original's name of a weight -> path in our parameters.
Names = dict[str, tuple[str, ...]]

# The mean body, in the original's head and in our `FrozenWeights`.
MEAN_NAMES: Names = {
    'init_body_pose': ('mean_pose',),
    'init_betas': ('mean_betas',),
    'init_cam': ('mean_camera',),
}


def tokenizer_names(size_mul: int, size_div: int, depth: int) -> Names:
    """Names of stage 1's weights and codebook.

    The original numbers layers in sequence, those without weights (ReLU, resizing) included. A
    resizing step has three layers.
    """
    encoder, decoder = 'encoder.encoder', 'decoder.decoder'
    down, last = 3 * size_mul + 2, 3 * size_div + 2
    names = {'quantizer.codebook': ('codebook',)} | _layer(f'{encoder}.0', 'encoder', 'conv_in')
    for i in range(size_mul):
        names |= _layer(f'{encoder}.{3 * i + 3}', 'encoder', f'up{i}')
    names |= _layer(f'{encoder}.{down}.0', 'encoder', 'down')
    names |= _residual_names(f'{encoder}.{down}.1', 'encoder', depth)
    names |= _layer(f'{encoder}.{down + 1}', 'encoder', 'conv_out')
    names |= _layer(f'{decoder}.0', 'decoder', 'conv_in')
    for i in range(size_div):
        names |= _layer(f'{decoder}.{3 * i + 3}', 'decoder', f'down{i}')
    names |= _residual_names(f'{decoder}.{last}.0', 'decoder', depth)
    names |= _layer(f'{decoder}.{last}.1', 'decoder', 'conv_mid')
    return names | _layer(f'{decoder}.{last + 1}', 'decoder', 'conv_out')


def _residual_names(prefix: str, half: str, depth: int) -> Names:
    names = {}
    for i in range(depth):
        names |= _layer(f'{prefix}.model.{i}.conv1', half, 'residual', f'dilated{i}')
        names |= _layer(f'{prefix}.model.{i}.conv2', half, 'residual', f'pointwise{i}')
    return names


def backbone_names(depth: int) -> Names:
    """Names of the weights of a ViT with `depth` blocks, without a prefix."""
    block = _norm('norm1', 'norm1')
    block |= _layer('attn.qkv', 'attention', 'qkv') | _layer('attn.proj', 'attention', 'out')
    block |= _norm('norm2', 'norm2')
    block |= _layer('mlp.fc1', 'mlp', 'in') | _layer('mlp.fc2', 'mlp', 'out')
    names = {'pos_embed': ('position',)} | _layer('patch_embed.proj', 'patches')
    return names | _numbered(depth, block, 'blocks', 'block') | _norm('last_norm', 'norm')


def head_names(decoder_depth: int, mixer_depth: int | None) -> Names:
    """Names of the head's weights, without a prefix; of HMR2.0's head if `mixer_depth` is None."""
    names = _decoder_names(decoder_depth)
    names |= _layer('decshape', 'betas') | _layer('deccam', 'camera')
    if mixer_depth is None:
        return names | _layer('decpose', 'pose')
    names |= _layer('decpose_grot', 'global_orient') | _layer('decpose_hands', 'hands')
    return names | _mixer_names(mixer_depth)


def _decoder_names(depth: int) -> Names:
    layer = _norm('0.norm', 'self_norm') | _linear('0.fn.to_qkv', 'self_qkv')
    layer |= _layer('0.fn.to_out.0', 'self_out')
    layer |= _norm('1.norm', 'cross_norm') | _linear('1.fn.to_q', 'cross_q')
    layer |= _linear('1.fn.to_kv', 'cross_kv') | _layer('1.fn.to_out.0', 'cross_out')
    layer |= _norm('2.norm', 'mlp_norm')
    layer |= _layer('2.fn.net.0', 'mlp_in') | _layer('2.fn.net.3', 'mlp_out')
    names = {'transformer.pos_embedding': ('decoder', 'position')}
    names |= _layer('transformer.to_token_embedding', 'decoder', 'embed')
    return names | _numbered(depth, layer, 'transformer.transformer.layers', 'decoder', 'layer')


def _mixer_names(depth: int) -> Names:
    layer = _norm('layernorm1', 'token_norm')
    layer |= _layer('MLP_token.ff.0', 'token_in') | _layer('MLP_token.ff.3', 'token_out')
    layer |= _norm('layernorm2', 'channel_norm')
    layer |= _layer('MLP_channel.ff.0', 'channel_in') | _layer('MLP_channel.ff.3', 'channel_out')
    names = _layer('decpose.mixer_trans.ff.0', 'mixer', 'spread')
    names |= _norm('decpose.mixer_trans.ff.1', 'mixer', 'spread_norm')
    names |= _numbered(depth, layer, 'decpose.mixer_head', 'mixer', 'layer')
    names |= _layer('decpose.mixer_norm_layer.ff.0', 'mixer', 'out')
    names |= _norm('decpose.mixer_norm_layer.ff.1', 'mixer', 'out_norm')
    return names | _layer('decpose.class_pred_layer', 'mixer', 'logits')


def _linear(theirs: str, *ours: str) -> Names:
    return {f'{theirs}.weight': (*ours, 'kernel')}


def _layer(theirs: str, *ours: str) -> Names:
    return _linear(theirs, *ours) | {f'{theirs}.bias': (*ours, 'bias')}


def _norm(theirs: str, *ours: str) -> Names:
    return {f'{theirs}.weight': (*ours, 'scale'), f'{theirs}.bias': (*ours, 'bias')}


def _numbered(depth: int, names: Names, theirs: str, *ours: str) -> Names:
    """Names of `depth` equal layers, i appended to `theirs` and to the last part of `ours`."""
    *parents, last = ours
    return {
        f'{theirs}.{i}.{name}': (*parents, f'{last}{i}', *path)
        for i in range(depth)
        for name, path in names.items()
    }


def tokenizer_params(
    state_dict: dict[str, np.ndarray], size_mul: int, size_div: int, depth: int
) -> tuple[dict, Float[np.ndarray, 'K C']]:
    """Our parameters of the original's stage 1, and the codebook.

    Raises:
      ValueError: naming missing and unknown weights.
    """
    names = tokenizer_names(size_mul, size_div, depth)
    sizes = f'size_mul={size_mul}, size_div={size_div}, depth={depth}'
    params = _rename(state_dict, names, f'stage 1 weights do not fit {sizes}')
    return params, params.pop('codebook')


def backbone_params(state_dict: dict[str, np.ndarray], depth: int, prefix: str) -> dict:
    """Our parameters, with separate blocks, of the original's ViT.

    Args:
      state_dict: of ViTPose, HMR2.0 or TokenHMR; names without `prefix` are ignored.
      depth: number of blocks.
      prefix: 'backbone.' in whole models, '' in a file of a backbone alone.

    Raises:
      ValueError: naming missing and unknown weights.
    """
    given = without_prefix(state_dict, prefix)
    return _rename(given, backbone_names(depth), f'backbone weights do not fit depth={depth}')


def regressor_params(
    state_dict: dict[str, np.ndarray],
    backbone_depth: int,
    decoder_depth: int,
    mixer_depth: int | None,
) -> tuple[dict, dict[str, np.ndarray]]:
    """Our regressor's parameters of the original's stage 2, and its mean body.

    Args:
      state_dict: of TokenHMR, or of HMR2.0 with a `mixer_depth` of None. Weights outside backbone
        and head (body model, discriminator) are ignored.
      backbone_depth, decoder_depth, mixer_depth: numbers of layers.

    Returns:
      parameters {'backbone', 'head'}; mean_pose, mean_betas and mean_camera of `FrozenWeights`.

    Raises:
      ValueError: naming missing and unknown weights.
    """
    head = _rename(
        without_prefix(state_dict, 'smpl_head.'),
        head_names(decoder_depth, mixer_depth) | MEAN_NAMES,
        f'head weights do not fit decoder_depth={decoder_depth}, mixer_depth={mixer_depth}',
    )
    means = {path[0]: head.pop(path[0])[0] for path in MEAN_NAMES.values()}
    means['mean_pose'] = means['mean_pose'].reshape(-1, 6)
    backbone = backbone_params(state_dict, backbone_depth, 'backbone.')
    return {'backbone': backbone, 'head': head}, means


def original_weights(params: Any, names: Names, prefix: str = '') -> dict[str, np.ndarray]:
    """Our parameters at the paths in `names`, in the original's layout and by its names.

    Args:
      params: a tree of arrays.
      names: of `backbone_names`, `head_names`, `MEAN_NAMES` or `tokenizer_names`.
      prefix: begins each of the original's names.
    """
    found = {}
    for name, path in names.items():
        value = params
        for part in path:
            value = value[part]
        found[prefix + name] = _original_value(np.asarray(value), path[-1])
    return found


def check_shapes(params: Any, expected: Any, what: str) -> None:
    """Raises ValueError unless two trees have the same paths and shapes.

    Args:
      params: converted parameters.
      expected: the model's parameters, arrays or shapes.
      what: the name of `params`, for the error.
    """
    found, wanted = _shapes(params), _shapes(expected)
    wrong = [
        f'{path} is {found.get(path, "missing")}, expected {wanted.get(path, "none")}'
        for path in sorted(found | wanted)
        if found.get(path) != wanted.get(path)
    ]
    if wrong:
        raise ValueError(f'{what} does not fit the model: {"; ".join(wrong[:8])}')


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    name = lambda path: jax.tree_util.keystr(path, simple=True, separator='/')  # noqa: E731
    return {name(path): np.shape(leaf) for path, leaf in leaves}


def _rename(given: dict[str, np.ndarray], names: Names, problem: str) -> dict:
    if given.keys() != names.keys():
        missing, unknown = sorted(names.keys() - given), sorted(given.keys() - names)
        raise ValueError(f'{problem}: missing {missing}, unknown {unknown}')
    params: dict = {}
    for name, (*parents, leaf) in names.items():
        parent = params
        for part in parents:
            parent = parent.setdefault(part, {})
        parent[leaf] = _value(given[name], leaf)
    return params


def _value(weight: np.ndarray, leaf: str) -> np.ndarray:
    """A weight of the original in our layout."""
    if leaf == 'kernel':
        # From (out, in, *size) to (*size, in, out).
        return np.moveaxis(weight, (0, 1), (-1, -2))
    if leaf == 'position':
        return weight[0]
    return weight


def _original_value(value: np.ndarray, leaf: str) -> np.ndarray:
    """A value of ours in the original's layout; the mean body has a leading axis there."""
    if leaf == 'kernel':
        return np.moveaxis(value, (-1, -2), (0, 1))
    if leaf == 'position':
        return value[None]
    if leaf.startswith('mean_'):
        return value.reshape(1, -1)
    return value
