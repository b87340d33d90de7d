"""Export of checkpoints as PyTorch files: `convert` backwards, to the bit.

    python -m tokenhmr_jax.export --checkpoint=runs/regressor --out=exported

Writes `tokenizer.pth` of a tokenizer; `tokenhmr.ckpt` and `tokenizer.pth` of a regressor with
tokens; `hmr2.ckpt` of a regressor with HMR2.0's head; `backbone.pth` of a backbone. The original's
code loads the files, given a config of the same sizes. A regressor's file holds its body model: the
licence of that applies.

With --format=safetensors writes `model.safetensors`, weights and config, and a model card: a folder
for Hugging Face's hub. `tokenhmr_jax.load` and `convert --source` take it, and 'hf://OWNER/NAME'.
"""

import json
import os
import pathlib
import shlex
from collections.abc import Sequence

from tokenhmr_jax import cli
from tokenhmr_jax.checkpoints import model_card, shared
from tokenhmr_jax.checkpoints.store import Checkpoints
from tokenhmr_jax.config import config_from_json
from tokenhmr_jax.released.to_pytorch import file_contents
from tokenhmr_jax.released.torch_files import need_torch, write_checkpoint
from tokenhmr_jax.tasks.body_models import body_arrays
from tokenhmr_jax.training import malloc
from tokenhmr_jax.training.kept_files import copy_kept_files, use_kept_files


def export_run(
    workdir: str | os.PathLike, out: str | os.PathLike, step: str = 'best'
) -> list[pathlib.Path]:
    """Writes a checkpoint in the original's format, and returns the paths of its files.

    Args:
      workdir: folder of a run or of converted weights.
      out: folder to write to.
      step: 'best', 'last', or its number.

    Raises:
      ImportError: without PyTorch.
      FileNotFoundError, ValueError: if there is no such checkpoint or body model, or a file exists
        already.
    """
    need_torch()
    with malloc.large_arrays_given_back(), Checkpoints(str(workdir), create=False) as saved:
        number = saved.find(step)
        config = saved.read_config(number)['config']
        model = saved.read_model(number)
    body = _body_arrays(workdir, config) if config['task'] == 'regressor' else {}
    files = {
        pathlib.Path(out) / name: content
        for name, content in file_contents(config, model, number, body).items()
    }
    for path in files:
        if path.exists():
            raise ValueError(f'{path} exists: expected another --out')
    pathlib.Path(out).mkdir(parents=True, exist_ok=True)
    for path, content in files.items():
        write_checkpoint(path, content)
    return list(files)


def share_run(workdir: str | os.PathLike, out: str | os.PathLike, step: str = 'best') -> None:
    """Writes a new folder of shared weights; see `checkpoints/shared.py`.

    Raises ImportError without safetensors, and as `export_run`.
    """
    shared.need_safetensors()
    if pathlib.Path(out).exists():
        raise ValueError(f'{out} exists: expected another --out')
    with malloc.large_arrays_given_back(), Checkpoints(str(workdir), create=False) as saved:
        number = saved.find(step)
        description, model = saved.read_config(number), saved.read_model(number)
    evaluation = pathlib.Path(workdir, 'evaluation', 'evaluation.json')
    errors = json.loads(evaluation.read_text()) if evaluation.exists() else None
    with cli.whole_folder(str(out)) as folder:
        shared.write_shared(folder, number, description, model)
        copy_kept_files(workdir, folder)
        card = model_card.write_card(pathlib.Path(out).name, number, description['config'], errors)
        pathlib.Path(folder, 'README.md').write_text(card)


def _body_arrays(workdir: str | os.PathLike, config: dict) -> dict:
    """Arrays of a run's body model."""
    settings = config_from_json(config)
    use_kept_files(workdir, settings)
    return body_arrays(settings, 'body')


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line; `arguments` are the process's own by default."""
    flags = cli.Flags(__doc__, arguments)
    checkpoint = flags.path('checkpoint', None, "A run's workdir.", required=True)
    out = flags.path('out', None, 'Folder to write to.', required=True)
    step = flags.string('step', 'best', "Which step: 'best', 'last', or its number.")
    kind = flags.choice('format', 'pytorch', ['pytorch', 'safetensors'], 'Of the files.')

    def command():
        if kind.value == 'safetensors':
            share_run(checkpoint.value, out.value, step.value)
            upload = f'hf upload OWNER/NAME {shlex.quote(out.value)}'
            return cli.Done(out.value, f'read its README.md, then {upload}')
        paths = export_run(checkpoint.value, out.value, step.value)
        print('files:', *(path.name for path in paths))
        return cli.Done(out.value, "load them with the original's code", {'files': paths})

    cli.run(flags, command)


if __name__ == '__main__':
    main()
