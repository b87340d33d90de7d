"""Reading and writing of PyTorch checkpoints. No code in a file is ever executed.

Only this module needs PyTorch (`pip install -e .[convert]`). Files are read with
`weights_only=True`. Stand-ins that do nothing replace the classes of the original's configs.
"""

import collections
import dataclasses
import os
import pathlib
import pickle
import types
import zipfile
from typing import Any

import numpy as np

from tokenhmr_jax.cli import whole_file


class _Mapped(np.ndarray):
    """A tensor mapped from its file. Nothing changes it, so a copy of it is itself.

    Orbax copies arrays before it writes them in the background. Without copies, a conversion holds
    only a few tensors in memory.
    """

    def __deepcopy__(self, memo):
        return self


class _Node:
    """Stand-in for OmegaConf's classes: their attributes without their code."""

    def __init__(self, *unused):
        pass


_OMEGACONF = (
    'omegaconf.dictconfig.DictConfig',
    'omegaconf.listconfig.ListConfig',
    'omegaconf.base.ContainerMetadata',
    'omegaconf.base.Metadata',
    'omegaconf.nodes.AnyNode',
    'omegaconf.nodes.StringNode',
    'omegaconf.nodes.IntegerNode',
    'omegaconf.nodes.FloatNode',
    'omegaconf.nodes.BooleanNode',
    # Types of settings, and OmegaConf's cache, which is empty in files.
    'typing.Any',
    'collections.defaultdict',
    *(f'builtins.{name}' for name in ('dict', 'list', 'int', 'float', 'str', 'bool')),
)
# yacs' node is a dict. PyTorch's unpickler fills an OrderedDict in the same way.
_STAND_INS = [
    (collections.OrderedDict, 'yacs.config.CfgNode'),
    *((_Node, name) for name in _OMEGACONF),
]
_TENSORS = ('state_dict', 'net', 'model')


@dataclasses.dataclass(frozen=True)
class TorchFile:
    """Content of a PyTorch checkpoint.

    tensors: by name; floating-point numbers as float32.
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
    if not zipfile.is_zipfile(path):
        raise ValueError(
            f'{path}: not a PyTorch checkpoint, or truncated: expected a zip archive as torch.save '
            'writes it since PyTorch 1.6'
        )
    try:
        with torch.serialization.safe_globals(_STAND_INS):
            foreign = torch.serialization.get_unsafe_globals_in_checkpoint(path)
            if not foreign:
                content = torch.load(path, map_location='cpu', weights_only=True, mmap=True)
    except Exception as error:  # a broken archive or pickle can fail in any way
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f'{path}: not a readable PyTorch checkpoint ({reason})') from error
    if foreign:
        raise ValueError(
            f'{path}: refused: it names {", ".join(sorted(foreign))}, which could run code; '
            'expected tensors, plain containers and configs of yacs or OmegaConf'
        )
    return _unpack(content, str(path), torch)


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
    wrong = [str(k) for k, v in tensors.items() if not isinstance(v, torch.Tensor)]
    if wrong or not tensors:
        raise ValueError(
            f'{path}: no weights: expected tensors by name under one of {_TENSORS} or at the top, '
            f'found {sorted(map(str, content))[:8]}'
        )
    config = content.get('hparams', content.get('hyper_parameters', {}))
    try:
        config = _plain(config) if isinstance(config, dict | _Node) else {}
    except RecursionError:
        raise ValueError(f'{path}: its config is nested without end') from None
    step = content.get('global_step', 0)
    return TorchFile(
        path=path,
        tensors={name: _array(value, f'{path}: {name}', torch) for name, value in tensors.items()},
        config=config.get('cfg', config),
        step=step if isinstance(step, int) and step >= 0 else 0,
    )


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
            return torch.from_numpy(np.ascontiguousarray(value))
        if type(value) is dict:
            return {key: convert(item) for key, item in value.items()}
        return value

    module = types.ModuleType('pickle_of_configs')
    module.Pickler = _Pickler
    with whole_file(path) as partial, partial.open('wb') as file:
        torch.save(convert(content), file, pickle_module=module, pickle_protocol=2)
