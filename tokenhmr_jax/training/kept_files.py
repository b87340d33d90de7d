"""Copies of the files that a config names: a run's folder is complete without the originals."""

import os

import ml_collections
from etils import epath

from tokenhmr_jax.cli import whole_file
from tokenhmr_jax.objectives import tals
from tokenhmr_jax.readers import smpl_files
from tokenhmr_jax.tasks.body_models import GENDERED, body_arrays, has_gendered

_THRESHOLDS = 'thresholds.csv'


def keep_files(workdir: str | os.PathLike, config: ml_collections.ConfigDict) -> None:
    """Copies a config's body models and its own thresholds. The mannequin needs no copy."""
    folder = epath.Path(workdir)
    for name in ('body', *(GENDERED if has_gendered(config) else ())):
        if config[name] != 'mannequin':
            with whole_file(folder / f'{name}.npz') as file:
                smpl_files.write_body_arrays(file, body_arrays(config, name))
    if 'tals' not in config:
        return
    if config.tals.thresholds in tals.SHIPPED:
        (folder / _THRESHOLDS).unlink(missing_ok=True)
    else:
        table = epath.Path(config.tals.thresholds).read_text()
        with whole_file(folder / _THRESHOLDS) as file:
            file.write_text(table)


def copy_kept_files(workdir: str | os.PathLike, out: str | os.PathLike) -> None:
    """Copies what `keep_files` wrote to another folder."""
    for name in (*(f'{name}.npz' for name in ('body', *GENDERED)), _THRESHOLDS):
        kept = epath.Path(workdir) / name
        if kept.exists():
            with whole_file(epath.Path(out) / name) as file:
                file.write_bytes(kept.read_bytes())


def use_kept_files(workdir: str | os.PathLike, config: ml_collections.ConfigDict) -> None:
    """Lets a config name the copies that a run's folder has."""
    folder = epath.Path(workdir)
    for name in ('body', *GENDERED):
        copy = folder / f'{name}.npz'
        if name in config and copy.exists():
            config[name] = str(copy)
            if 'extra_regressor' in config:
                config.extra_regressor = ''
    if 'tals' in config and (folder / _THRESHOLDS).exists():
        config.tals.thresholds = str(folder / _THRESHOLDS)
