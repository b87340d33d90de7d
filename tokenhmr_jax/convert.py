"""Weights of the original implementation as checkpoints of this one.

    python -m tokenhmr_jax.convert --source=tokenhmr.ckpt --tokenizer=tokenizer.pth \
        --config=configs/regressor.py:variant=release --workdir=runs/tokenhmr

Also takes a tokenizer alone (`--source=tokenizer.pth`, with configs/tokenizer.py), HMR2.0's
checkpoint, and backbones: ViTPose's file, or `--backbone` of a whole checkpoint. A backbone needs
no config, and begins a training run as its `config.warm_start.checkpoint`.

The config says what weights do not: the body model, how many heads the backbone has, where data is,
how to evaluate. Other sizes are read off the weights. Evaluation, training and `tokenhmr_jax.load`
take the folder that is written. `python -m tokenhmr_jax.export` is the way back.
"""

import contextlib
import pathlib
from collections.abc import Iterator, Sequence

import jax
import ml_collections
import numpy as np

from tokenhmr_jax import cli
from tokenhmr_jax.body import smpl
from tokenhmr_jax.checkpoints.compatibility import describe_run
from tokenhmr_jax.checkpoints.store import Checkpoints
from tokenhmr_jax.models import quantizer
from tokenhmr_jax.models.regressor import FrozenWeights
from tokenhmr_jax.released.config import (
    check_tokenizer_fits,
    set_regressor_sizes,
    set_tokenizer_sizes,
)
from tokenhmr_jax.released.files import TorchFile, read_checkpoint
from tokenhmr_jax.released.names import (
    backbone_params,
    check_shapes,
    regressor_params,
    tokenizer_params,
)
from tokenhmr_jax.released.sizes import backbone_sizes, weight_shapes
from tokenhmr_jax.tasks import make_task
from tokenhmr_jax.tasks.bodies import load_body
from tokenhmr_jax.training.kept_files import keep_files

# What converted weights do not need: buffers of the body model, which comes from its own file; of
# the codebook's running mean, which training restarts; and networks that only train.
_UNUSED = ('smpl.', 'initialized', 'discriminator.', 'keypoint_head.', 'decoder.body_model.')
_UNUSED_STATISTICS = ('quantizer.code_sum', 'quantizer.code_count')


def convert_weights(
    source: str,
    workdir: str,
    config: ml_collections.ConfigDict | None = None,
    tokenizer: str | None = None,
    backbone: bool = False,
) -> list[str]:
    """Convert a checkpoint.

    Args:
      source: the original's file.
      workdir: folder to write; there must be none of this name.
      config: what weights do not say; its sizes are replaced. Not needed for a backbone.
      tokenizer: stage 1's file, for TokenHMR's.
      backbone: whether to take the backbone alone of whatever `source` holds.

    Returns:
      names of the source's tensors that are deliberately not used.

    Raises:
      FileNotFoundError, ValueError: if a file is missing, broken, hostile or of another network, if
        a tensor is missing, unknown, not finite or of another shape, or if sizes contradict each
        other. Nothing is written then.
    """
    if pathlib.Path(workdir).exists():
        raise ValueError(f'{workdir} exists: expected a new folder')
    file = read_checkpoint(source)
    kind = _kind(file, backbone)
    config = None if config is None else ml_collections.ConfigDict(config)
    if kind == 'backbone':
        model, description, unused = _backbone(file)
    else:
        if config is None or config.task != kind:
            raise ValueError(
                f'{source} is a {kind}: expected --config=configs/{kind}.py:variant=...'
            )
        if kind == 'tokenizer':
            model, unused = _tokenizer(file, config)
        else:
            model, unused = _regressor(file, config, tokenizer)
        body = load_body(config)
        description = describe_run(config, smpl.topology(body))
        _check_fits(model, config, source)
    _check_finite(model, source)
    with cli.whole_folder(workdir) as folder:
        if kind != 'backbone':
            keep_files(folder, config)
        with Checkpoints(folder) as saved:
            saved.save_converted(file.step, *model, description)
    return unused


def _kind(file: TorchFile, backbone: bool) -> str:
    """What a file is to become: 'tokenizer', 'regressor' or 'backbone'."""
    names = file.tensors
    whole = any(name.startswith('smpl_head.') for name in names)
    if 'quantizer.codebook' in names and not backbone:
        return 'tokenizer'
    if whole and not backbone:
        return 'regressor'
    if 'pos_embed' in names or 'backbone.pos_embed' in names:
        return 'backbone'
    raise ValueError(
        f'{file.path}: holds no weights of TokenHMR, its tokenizer, HMR2.0 or ViTPose; found '
        f'{sorted(names)[:4]}...'
    )


def _used(file: TorchFile, unused: tuple[str, ...]) -> tuple[dict[str, np.ndarray], list[str]]:
    """The tensors to convert, and the names of those that are deliberately left aside."""
    left = [name for name in file.tensors if name.startswith(unused)]
    return {k: v for k, v in file.tensors.items() if k not in left}, left


def _backbone(file: TorchFile) -> tuple[tuple[dict, dict], dict, list[str]]:
    tensors, unused = _used(file, (*_UNUSED, 'smpl_head.'))
    prefix = 'backbone.' if 'backbone.pos_embed' in tensors else ''
    with _named(file):
        sizes, _ = backbone_sizes(weight_shapes(tensors, prefix))
        params = backbone_params(tensors, sizes['depth'], prefix)
    description = {'config': {'task': 'backbone', 'model': {'backbone': sizes}}}
    return ({'backbone': params}, {}), description, unused


def _tokenizer(file: TorchFile, config: ml_collections.ConfigDict):
    """Parameters and codebook, and names not used; the config gets their sizes."""
    params, codes, unused = _stage1(file, config.model)
    config.codebook.num_codes = len(codes)
    book = quantizer.Codebook(
        codes=codes,
        ema_sum=codes,
        ema_count=np.ones(len(codes), np.float32),
        initialized=np.ones((), bool),
    )
    return (params, book), unused


def _regressor(file: TorchFile, config: ml_collections.ConfigDict, tokenizer: str | None):
    """Parameters and frozen weights, and names not used; the config gets their sizes."""
    tensors, unused = _used(file, _UNUSED)
    _check_known(file, tensors)
    with _named(file):
        set_regressor_sizes(config, file, weight_shapes(tensors))
        model = config.model
        tokens = model.head == 'tokens'
        depths = model.backbone.depth, model.decoder.depth, model.mixer.depth if tokens else None
        params, mean = regressor_params(tensors, *depths)
    if tokens != bool(tokenizer):
        raise ValueError(
            f'{file.path} predicts {"tokens" if tokens else "the pose itself"}: expected '
            f'{"" if tokens else "no "}--tokenizer=tokenizer.pth'
        )
    config.tokenizer.checkpoint = config.warm_start.checkpoint = ''
    config.adversarial.weight = 0.0
    if not tokens:
        return (params, FrozenWeights(**mean)), unused
    second = read_checkpoint(tokenizer)
    stage1, codes, unused_there = _stage1(second, config.tokenizer.model)
    config.tokenizer.num_codes = len(codes)
    check_tokenizer_fits(config, file, second)
    frozen = FrozenWeights(**mean, tokenizer=stage1, codes=codes)
    return (params, frozen), unused + unused_there


def _stage1(file: TorchFile, model: ml_collections.ConfigDict):
    """Parameters, codes, and names not used; `model` gets their sizes."""
    tensors, unused = _used(file, (*_UNUSED, *_UNUSED_STATISTICS))
    with _named(file):
        set_tokenizer_sizes(model, file, weight_shapes(tensors))
        sizes = {name: model[name] for name in ('size_mul', 'size_div', 'depth')}
        params, codes = tokenizer_params(tensors, **sizes)
    return params, codes, unused


def _check_known(file: TorchFile, tensors: dict) -> None:
    parts = ('backbone.', 'smpl_head.')
    unknown = sorted(name for name in tensors if not name.startswith(parts))
    if unknown:
        raise ValueError(f'{file.path}: unknown weights {unknown}: expected those of {parts}')


def _check_fits(model: tuple, config: ml_collections.ConfigDict, source: str) -> None:
    """Every parameter of the model that the config describes is there, in its shape."""
    task = make_task(config)
    expected = jax.eval_shape(task.init, jax.random.key(0))
    for found, wanted in zip(model, expected, strict=True):
        check_shapes(found, wanted, source)


def _check_finite(model: tuple, source: str) -> None:
    for path, value in jax.tree_util.tree_leaves_with_path(model):
        if not np.isfinite(value).all():
            raise ValueError(f'{source}: {jax.tree_util.keystr(path)} holds values not finite')


@contextlib.contextmanager
def _named(file: TorchFile) -> Iterator[None]:
    """Errors about weights say which file these are from."""
    try:
        yield
    except ValueError as error:
        if str(error).startswith(file.path):
            raise
        raise ValueError(f'{file.path}: {error}') from None


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line; `arguments` are the process's own by default."""
    flags = cli.Flags(__doc__, arguments)
    source = flags.string('source', None, 'PyTorch checkpoint.', required=True)
    tokenizer = flags.string('tokenizer', None, "tokenizer.pth that goes with TokenHMR's.")
    backbone = flags.boolean('backbone', False, 'Take the backbone alone.')
    config = flags.config(required=False)
    workdir = flags.string('workdir', None, 'Folder to write; a new one.', required=True)

    def command():
        unused = convert_weights(
            source.value, workdir.value, config.value, tokenizer.value, backbone.value
        )
        print(f'wrote {workdir.value}; not used, on purpose: {", ".join(unused) or "nothing"}')
        if config.value and config.value.task == 'regressor' and not backbone.value:
            heads = config.value.model.backbone.heads
            print(f'its backbone has {heads} heads, as the config says: no weight tells how many')

    cli.run(flags, command)


if __name__ == '__main__':
    main()
