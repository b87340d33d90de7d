"""Conversion of the PyTorch release's weights to checkpoints.

    python -m tokenhmr_jax.convert --source=tokenhmr.ckpt --tokenizer=tokenizer.pth \
        --config=configs/regressor.py:variant=release --workdir=runs/tokenhmr

Also converts a tokenizer alone (`--source=tokenizer.pth`, with configs/tokenizer.py), HMR2.0's
checkpoint, and backbones: ViTPose's file, or any whole checkpoint with `--backbone`. A backbone
needs no config. It starts a training run as `config.warm_start.checkpoint`.

`--source=FOLDER/model.safetensors`, of `tokenhmr_jax.export --format=safetensors`, becomes a
checkpoint; it has its config.

The config says what weights do not: body model, number of the backbone's attention heads, data,
evaluation. The other sizes are read from the weights. Prediction, evaluation, training and
`tokenhmr_jax.load` take the folder. `python -m tokenhmr_jax.export` converts it back.
"""

import os
import pathlib
from collections.abc import Sequence

import jax
import ml_collections

from tokenhmr_jax import cli
from tokenhmr_jax.body import smpl
from tokenhmr_jax.checkpoints import shared
from tokenhmr_jax.checkpoints.compatibility import describe_run
from tokenhmr_jax.checkpoints.store import Checkpoints
from tokenhmr_jax.config import config_from_json
from tokenhmr_jax.released import from_pytorch
from tokenhmr_jax.released.names import check_shapes
from tokenhmr_jax.released.torch_files import TorchFile, read_checkpoint
from tokenhmr_jax.tasks import make_task
from tokenhmr_jax.tasks.body_models import load_body
from tokenhmr_jax.training.kept_files import copy_kept_files, keep_files
from tokenhmr_jax.training.trained_run import next_command


def convert_weights(
    source: str | os.PathLike,
    workdir: str | os.PathLike,
    config: ml_collections.ConfigDict | None = None,
    tokenizer: str | os.PathLike | None = None,
    backbone: bool = False,
) -> list[str]:
    """Converts a PyTorch checkpoint.

    Args:
      source: the file.
      workdir: folder to write; it must not exist.
      config: settings that weights do not tell; its sizes are ignored. A backbone needs none.
      tokenizer: stage 1's file, for TokenHMR.
      backbone: whether to convert only the backbone in `source`.

    Returns:
      names of the tensors that are left aside on purpose.

    Raises:
      FileNotFoundError, ValueError: if a file is missing, broken, hostile or of another network; if
        a tensor is missing, unknown, not finite or of another shape; or if sizes contradict each
        other. Nothing is written then.
    """
    if pathlib.Path(workdir).exists():
        raise ValueError(f'{workdir} exists: expected a new folder')
    if pathlib.Path(source).suffix == '.safetensors':
        _convert_shared(pathlib.Path(source), workdir)
        return []
    file = read_checkpoint(source)
    kind = from_pytorch.network_kind(file, backbone)
    if kind == 'backbone':
        config = None
        converted, sizes = from_pytorch.convert_backbone(file)
        description = {'config': {'task': 'backbone', 'model': {'backbone': sizes}}}
    else:
        if config is None or config.task != kind:
            raise ValueError(
                f'{source} is a {kind}: expected --config=configs/{kind}.py:variant=...'
            )
        config = ml_collections.ConfigDict(config)  # a copy: conversion writes sizes into it
        converted, description = _convert_network(file, config, tokenizer)
    from_pytorch.check_finite(converted, file.path)
    with cli.whole_folder(str(workdir)) as folder:
        if config is not None:
            keep_files(folder, config)
        with Checkpoints(folder) as saved:
            saved.save_converted(file.step, converted.params, converted.state, description)
    return converted.unused


def _convert_shared(source: pathlib.Path, workdir: str | os.PathLike) -> None:
    content = shared.read_shared(source)
    task = make_task(config_from_json(content.description['config']))
    params, state = jax.eval_shape(task.init, jax.random.key(0))
    model = shared.fill({'params': params, 'state': state}, content.arrays, source)
    with cli.whole_folder(str(workdir)) as folder:
        copy_kept_files(source.parent, folder)
        with Checkpoints(folder) as saved:
            saved.save_converted(content.step, *model.values(), content.description)


def _convert_network(
    file: TorchFile, config: ml_collections.ConfigDict, tokenizer: str | os.PathLike | None
) -> tuple[from_pytorch.Converted, dict]:
    """The weights of either stage, of the shapes that the config has now, and its description."""
    if config.task == 'tokenizer':
        converted = from_pytorch.convert_tokenizer(file, config)
    else:
        stage1 = None if tokenizer is None else read_checkpoint(tokenizer)
        converted = from_pytorch.convert_regressor(file, config, stage1)
    description = describe_run(config, smpl.topology(load_body(config)))
    params, state = jax.eval_shape(make_task(config).init, jax.random.key(0))
    check_shapes(converted.params, params, file.path)
    check_shapes(converted.state, state, file.path)
    return converted, description


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line; `arguments` are the process's own by default."""
    flags = cli.Flags(__doc__, arguments)
    source = flags.path('source', None, 'PyTorch checkpoint, or .safetensors.', required=True)
    tokenizer = flags.path('tokenizer', None, "Stage 1's file, for TokenHMR's checkpoint.")
    backbone = flags.boolean('backbone', False, 'Convert only the backbone.')
    config = flags.config(required=False)
    workdir = flags.path('workdir', None, 'Folder to write; a new one.', required=True)

    def command():
        unused = convert_weights(
            source.value, workdir.value, config.value, tokenizer.value, backbone.value
        )
        print(f'left aside on purpose: {", ".join(unused) or "nothing"}')
        if config.value and config.value.task == 'regressor' and not backbone.value:
            heads = config.value.model.backbone.heads
            print(f'number of attention heads in the backbone, from the config: {heads}')
        return cli.Done(workdir.value, next_command(workdir.value), {'left_aside': unused})

    cli.run(flags, command)


if __name__ == '__main__':
    main()
