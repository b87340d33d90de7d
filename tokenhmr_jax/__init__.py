"""TokenHMR in JAX: 3D human bodies from one image, through pose tokens."""

__version__ = '0.1.0'


def __getattr__(name: str):
    # On first use: importing JAX takes a while, and not every module needs it.
    if name in ('load', 'load_tokenizer'):
        from tokenhmr_jax.inference import model

        return getattr(model, name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
