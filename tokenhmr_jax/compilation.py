"""Compiled programs kept on disk: a command that runs again starts in a fraction of the time."""

import os

import jax

# JAX's own variable goes before.
FOLDER = os.environ.get(
    'JAX_COMPILATION_CACHE_DIR', os.path.expanduser('~/.cache/tokenhmr_jax/compiled')
)


def keep(folder: str) -> None:
    """Keep what is compiled from now on in a folder; '' for none."""
    jax.config.update('jax_compilation_cache_dir', folder or None)
