"""Reading and writing of PyTorch checkpoints. No code in a file is ever executed.

Only this module needs PyTorch (`pip install "tokenhmr_jax[convert]"`). Files are read with
`weights_only=True`. Stand-ins that do nothing replace the classes that stand beside the weights: of
configs, of Lightning's callbacks and loops, of NumPy.
"""

import collections
import dataclasses
import os
import pathlib
import pickle
import re
import types
import zipfile
from typing import Any

import numpy as np

from tokenhmr_jax.cli import whole_file
from tokenhmr_jax.readers.downloads import check_download


class _Mapped(np.ndarray):
    """A tensor mapped from its file. Nothing changes it, so a copy of it is itself.

    Orbax copies arrays before it writes them in the background. Without copies, a conversion holds
    only a few tensors in memory.
    """

    def __deepcopy__(self, memo):
        return self


class _Node:
    """Stand-in for a foreign class: its attributes without its code."""

    def __init__(self, *unused):
        pass

    def __setstate__(self, state):
        if isinstance(state, dict):
            self.__dict__.update(state)


class _Dtype(_Node):
    """`numpy.dtype` of a scalar: its name, such as 'f8', and its byte order."""

    def __init__(self, name, *unused):
        self.name, self.order = name, '='

    def __setstate__(self, state):
        self.order = state[1]


def _scalar(dtype, data):
    """A NumPy scalar, `numpy.core.multiarray.scalar`, as a plain value."""
    if not re.fullmatch(r'[biufcSUmM]\d+', dtype.name):
        raise ValueError(f'a NumPy scalar of dtype {dtype.name!r}')
    plain = np.dtype(dtype.name).newbyteorder(dtype.order.replace('|', '='))
    return np.frombuffer(data, plain, count=1)[0].item()


def _empty_dict(*unused):
    return collections.OrderedDict()


# PyTorch's unpickler fills an OrderedDict, and none of its subclasses.
_STAND_INS = {
    'yacs.config.CfgNode': collections.OrderedDict,
    'pytorch_lightning.utilities.parsing.AttributeDict': collections.OrderedDict,
    'lightning_fabric.utilities.data.AttributeDict': collections.OrderedDict,
    'lightning.fabric.utilities.data.AttributeDict': collections.OrderedDict,
    'collections.defaultdict': _empty_dict,
    'argparse.Namespace': _Node,
    'torch.torch_version.TorchVersion': _Node,
    'numpy.dtype': _Dtype,
    'numpy.ndarray': _Node,
    # Types of OmegaConf's settings.
    **dict.fromkeys(
        (f'builtins.{name}' for name in ('dict', 'list', 'tuple', 'int', 'float', 'str', 'bool')),
        _Node,
    ),
    **dict.fromkeys(('numpy.core.multiarray.scalar', 'numpy._core.multiarray.scalar'), _scalar),
    **dict.fromkeys(
        ('numpy.core.multiarray._reconstruct', 'numpy._core.multiarray._reconstruct'), _Node
    ),
}
# All other names in these modules are `_Node`s.
_MODULES = (
    'omegaconf', 'typing', 'pathlib', 'datetime', 'pytorch_lightning', 'lightning',
    'lightning_fabric', 'numpy.dtypes',
)  # fmt: skip
_TENSORS = ('state_dict', 'net', 'model')
# Parts of names that wrappers add: of several devices, and of `torch.compile`.
_WRAPPERS = ('module', '_orig_mod')


@dataclasses.dataclass(frozen=True)
class TorchFile:
    """Content of a PyTorch checkpoint.

    tensors: by name, without what wrappers add to it; floating-point numbers as float32.
    config: the original's settings as plain containers, empty if the file has none.
    step: training steps done, 0 if the file does not say.
    """

    path: str
    tensors: dict[str, np.ndarray]
    config: dict
    step: int


def read_checkpoint(path: str | os.PathLike) -> TorchFile:
    """Reads a checkpoint of TokenHMR, its tokenizer, HMR2.0 or ViTPose.

    The tensors stay in the file until they are used.

    Raises:
      ImportError: without PyTorch.
      FileNotFoundError: if the file is missing.
      ValueError: if it is not a checkpoint, truncated, or names anything that could run code.
    """
    path = pathlib.Path(path)
    torch = need_torch()
    if not path.is_file():
        raise FileNotFoundError(f'{path}: no such file; expected a PyTorch checkpoint')
    check_download(path)
    if not zipfile.is_zipfile(path):
        raise ValueError(
            f'{path}: not a PyTorch checkpoint, or truncated: expected a zip archive as torch.save '
            'writes it since PyTorch 1.6'
        )
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
        stand_ins = {name: _stand_in(name) for name in names}
        foreign = [name for name, stand_in in stand_ins.items() if stand_in is None]
        known = [(stand_in, name) for name, stand_in in stand_ins.items()]
        if not foreign:
            with torch.serialization.safe_globals(known):
                content = torch.load(path, map_location='cpu', weights_only=True, mmap=True)
    except Exception as error:  # a broken archive or pickle can fail in any way
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f'{path}: not a readable PyTorch checkpoint ({reason})') from error
    if foreign:
        raise ValueError(
            f'{path}: refused: it names {", ".join(sorted(foreign))}, which could run code; '
            'expected tensors, plain containers, and what yacs, OmegaConf, Lightning and NumPy add'
        )
    return _unpack(content, str(path), torch)


def _stand_in(name: str) -> Any:
    """The replacement of a class or function of a file; None for one that is refused."""
    if name in _STAND_INS:
        return _STAND_INS[name]
    known = any(name.startswith(f'{module}.') for module in _MODULES)
    return _Node if known else None


def need_torch() -> types.ModuleType:
    """Imports PyTorch; the ImportError without it says how to install it."""
    try:
        import torch
    except ImportError:
        raise ImportError(
            'PyTorch checkpoints need PyTorch: pip install "tokenhmr_jax[convert]"'
        ) from None
    return torch


def _unpack(content: Any, path: str, torch: types.ModuleType) -> TorchFile:
    if not isinstance(content, dict):
        raise ValueError(f'{path}: holds a {type(content).__name__}, expected a checkpoint')
    tensors = next((content[k] for k in _TENSORS if isinstance(content.get(k), dict)), content)
    # Numbers beside the weights count steps, or are losses.
    tensors = {str(k): v for k, v in tensors.items() if not isinstance(v, int | float)}
    wrong = [name for name, value in tensors.items() if not isinstance(value, torch.Tensor)]
    if wrong or not tensors:
        raise ValueError(
            f'{path}: no weights: expected tensors by name under one of {_TENSORS} or at the top, '
            f'found {sorted(map(str, content))[:8]}'
        )
    config = content.get('hparams', content.get('hyper_parameters', {}))
    try:
        config = _plain(config)
    except RecursionError:
        raise ValueError(f'{path}: its config is nested without end') from None
    config = config if isinstance(config, dict) else {}
    tensors = _without_wrappers(tensors, path)
    step = content.get('global_step', 0)
    return TorchFile(
        path=path,
        tensors={name: _array(value, f'{path}: {name}', torch) for name, value in tensors.items()},
        config=config.get('cfg', config),
        step=step if isinstance(step, int) and step >= 0 else 0,
    )


def _without_wrappers(tensors: dict[str, Any], path: str) -> dict[str, Any]:
    """The tensors by the network's own names: `module.`, `_orig_mod.` and `model.` removed."""
    bare = {}
    for name, value in tensors.items():
        parts = [part for part in name.split('.') if part not in _WRAPPERS]
        own = re.sub(r'^(model\.)+', '', '.'.join(parts))
        if own in bare:
            raise ValueError(f'{path}: holds {own} twice, the second time as {name}')
        bare[own] = value
    return bare


def _array(tensor: Any, name: str, torch: types.ModuleType) -> np.ndarray:
    # A tensor that repeats its numbers could claim any size.
    if tensor.layout != torch.strided or not tensor.is_contiguous():
        raise ValueError(f'{name} is not a plain contiguous tensor')
    tensor = tensor.detach()
    return (tensor.float() if tensor.is_floating_point() else tensor).numpy().view(_Mapped)


def _plain(node: Any) -> Any:
    """Settings as plain containers; OmegaConf keeps them in `_content` and `_val`."""
    if isinstance(node, _Node):
        held = node.__dict__
        return _plain(held.get('_content', held.get('_val')))
    if isinstance(node, dict):
        return {str(key): _plain(value) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [_plain(value) for value in node]
    return node


class CfgNode(dict):
    """A config, pickled as yacs' class of this name. yacs need not be installed."""

    def __init__(self, values: dict):
        super().__init__({k: CfgNode(v) if isinstance(v, dict) else v for k, v in values.items()})
        self.__dict__.update(
            __immutable__=False,
            __deprecated_keys__=set(),
            __renamed_keys__={},
            __new_allowed__=False,
        )


class _Pickler(pickle._Pickler):
    """Writes `CfgNode` under yacs' name, which the C pickler would import first."""

    def save_global(self, obj, name=None):
        if obj is not CfgNode:
            return super().save_global(obj, name)
        self.write(pickle.GLOBAL + b'yacs.config\nCfgNode\n')
        self.memoize(obj)


def write_checkpoint(path: str | os.PathLike, content: dict[str, Any]) -> None:
    """Writes plain containers, `CfgNode`s, and NumPy arrays as tensors."""
    torch = need_torch()

    def convert(value):
        if isinstance(value, np.ndarray):
            return torch.from_numpy(np.asarray(value, order='C'))  # also without axes
        if type(value) is dict:
            return {key: convert(item) for key, item in value.items()}
        return value

    module = types.ModuleType('pickle_of_configs')
    module.Pickler = _Pickler
    with whole_file(path) as partial, partial.open('wb') as file:
        torch.save(convert(content), file, pickle_module=module, pickle_protocol=2)
