"""TokenHMR in JAX: 3D human bodies from one image, through pose tokens."""

import signal
import sys

__version__ = '0.1.0'

# A command imports its modules: until `cli.run` Ctrl-C ends the process without a traceback.
_command = sys.argv[:1] == ['-m'] and any(word.split('.')[0] == __name__ for word in sys.orig_argv)
if _command and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def __getattr__(name: str):
    # On first use: importing JAX takes a while, and not every module needs it.
    if name in ('load', 'load_tokenizer'):
        from tokenhmr_jax.inference import model

        return getattr(model, name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
