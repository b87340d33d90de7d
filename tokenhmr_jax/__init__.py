"""TokenHMR in JAX: 3D human bodies from one image, through pose tokens.

model = tokenhmr_jax.load('bundled')
bodies = model.predict('photo.jpg')
bodies.save('result')
"""

import importlib
import signal
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenhmr_jax.inference.bodies import Bodies
    from tokenhmr_jax.inference.model import Model, load, load_prior, load_tokenizer
    from tokenhmr_jax.inference.people.persons import Persons
    from tokenhmr_jax.inference.pose_prior import PosePrior
    from tokenhmr_jax.inference.pose_tokenizer import PoseTokenizer
    from tokenhmr_jax.types import PoseTokens

__all__ = [
    'Bodies', 'Model', 'Persons', 'PosePrior', 'PoseTokenizer', 'PoseTokens', '__version__',
    'load', 'load_prior', 'load_tokenizer',
]  # fmt: skip
__version__ = '0.1.0'

# A command imports its modules: until `cli.run` Ctrl-C ends the process without a traceback.
_command = sys.argv[:1] == ['-m'] and any(word.split('.')[0] == __name__ for word in sys.orig_argv)
if _command and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


_HOMES = {
    'Bodies': 'inference.bodies',
    'Model': 'inference.model',
    'Persons': 'inference.people.persons',
    'PosePrior': 'inference.pose_prior',
    'PoseTokenizer': 'inference.pose_tokenizer',
    'PoseTokens': 'types',
    'load': 'inference.model',
    'load_prior': 'inference.model',
    'load_tokenizer': 'inference.model',
}


def __getattr__(name: str) -> object:
    # On first use: importing JAX takes a while, and not every module needs it.
    if name in _HOMES:
        return getattr(importlib.import_module(f'{__name__}.{_HOMES[name]}'), name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


def __dir__() -> list[str]:
    return sorted(__all__)
