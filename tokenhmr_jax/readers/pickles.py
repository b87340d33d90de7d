"""Pickles of plain data, read without running code from the file.

A pickle is a program: `pickle.load` calls any function that the file names. This unpickler knows a
short list of exact names, each bound to code of this file or to a plain container, and refuses all
others. It reads NumPy arrays, scalars and dtypes (NumPy 1 and 2, Python 2 and 3); SciPy's CSC, CSR
and COO matrices, validated by SciPy; chumpy values (the official SMPL files) and PyTorch's tensors
as NumPy arrays; default dictionaries as plain ones, paths as text; and joblib's files, plain or
compressed.
"""

import bz2
import collections
import io
import lzma
import math
import os
import pathlib
import pickle
import zlib
from typing import Any

import numpy as np
from scipy import sparse


class Refused(ValueError):
    """A pickle names something, or takes a step, that plain data does not need."""


# A compressed file may grow to so many bytes, or to so many times its size: more is an attack.
_MOST_UNPACKED = 2**28
_MOST_GROWTH = 100


def load_pickle(path: str | os.PathLike, encoding: str = 'latin1') -> Any:
    """Reads plain containers, NumPy arrays and SciPy sparse matrices of a pickle or joblib file.

    The encoding is of Python 2's `str`. Raises FileNotFoundError if there is no such file, and
    ValueError if it is no pickle, is truncated, or names anything else (the message says what).
    """
    with open(path, 'rb') as file:
        return _guarded(file, str(path), encoding)


def parse_pickle(data: bytes, name: str = 'pickle', encoding: str = 'latin1') -> Any:
    """Reads a pickle from bytes, as `load_pickle`; `name` stands for the file in errors."""
    return _guarded(io.BytesIO(data), name, encoding)


def _guarded(file, name, encoding):
    try:
        return _Unpickler(_decompressed(file), encoding=encoding).load()
    except Refused as error:
        raise ValueError(f'{name}: {error}') from None
    except RecursionError:
        raise ValueError(f'{name}: nested too deeply') from None
    except Exception as error:  # a malformed stream can fail in any way
        reason = f'{type(error).__name__}: {error}'
        raise ValueError(f'{name}: not a readable pickle, or truncated ({reason})') from error


def _decompressed(file):
    """The stream, decompressed if its first bytes are of a compression that joblib uses."""
    magic = file.read(6)
    file.seek(0)
    if magic.startswith((b'\x1f\x8b', b'\x78')):
        unpacker = zlib.decompressobj(zlib.MAX_WBITS | 32)  # 32: gzip or zlib, as the header says
    elif magic.startswith(b'BZh'):
        unpacker = bz2.BZ2Decompressor()
    elif magic.startswith((b'\xfd7zXZ', b'\x5d\x00')):
        unpacker = lzma.LZMADecompressor()
    else:
        return file
    packed = file.read()
    most = max(_MOST_UNPACKED, _MOST_GROWTH * len(packed))
    data = unpacker.decompress(packed, most)
    if not unpacker.eof:
        raise EOFError(f'compressed, and without an end within {most} unpacked bytes')
    return io.BytesIO(data)


class _ArrayType:
    """Stands for `numpy.ndarray`: pickles of arrays name it, and must not call it."""

    def __new__(cls, *_):
        raise Refused('refused: it calls numpy.ndarray')


def _dtype(name, _align=False, _copy=True):
    dtype = np.dtype(name) if isinstance(name, (str, bytes)) else None
    if dtype is None or dtype.names or dtype.subdtype:
        raise Refused(f'refused: NumPy dtype {name!r}, which is no plain one')
    # A copy: BUILD may set its byte order.
    return np.dtype(dtype, copy=True)


def _empty_array(_subtype, _shape, _typecode):
    """`numpy.core.multiarray._reconstruct`: an array for BUILD to fill."""
    return np.ndarray((0,), np.int8)


def _array_from_buffer(data, dtype, shape, order, axis_order=None):
    """`numpy.core.numeric._frombuffer`: protocol 5 writes contiguous arrays with it.

    NumPy 2.4 adds the order of the axes in memory if it is neither C's nor Fortran's.
    """
    if axis_order is not None:
        return np.frombuffer(data, dtype).reshape(shape).transpose(axis_order).copy(order)
    return np.frombuffer(data, dtype).reshape(shape, order=order).copy(order)


def _scalar(dtype, data=b''):
    if dtype.hasobject:
        raise Refused('an object inside a NumPy scalar is refused')
    data = data.encode('latin1') if isinstance(data, str) else data
    return np.frombuffer(data, dtype, count=1)[0]


def _encode(text, encoding):
    """`_codecs.encode`: Python 3 writes bytes with it in protocol 2."""
    if encoding != 'latin1':
        raise Refused(f'_codecs.encode to {encoding!r} is refused')
    return text.encode('latin1')


def _no_bytes():
    """`bytes()`: empty bytes in protocols 0 to 2. (`bytes(n)` would allocate any memory.)"""
    return b''


def _default_dict(_factory=None):
    """`collections.defaultdict`: all keys that it has are in the pickle."""
    return {}


def _factory(*_):
    """`list`, `int` and so on, the factory of a default dictionary: named, and never called."""
    raise Refused('refused: it calls a type')


def _path_text(kind):
    """A path as text. `kind` gives the separator."""
    return lambda *parts: str(kind(*parts))


# PyTorch pickles a tensor as a view of a storage, and a storage as bytes of `torch.save`.
_TORCH_MAGIC, _TORCH_PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
_TORCH_DTYPES = {
    'DoubleStorage': '<f8', 'FloatStorage': '<f4', 'HalfStorage': '<f2', 'BFloat16Storage': '<u2',
    'LongStorage': '<i8', 'IntStorage': '<i4', 'ShortStorage': '<i2', 'CharStorage': 'i1',
    'ByteStorage': 'u1', 'BoolStorage': '?',
}  # fmt: skip


class _StorageUnpickler(pickle._Unpickler):
    """Reads the parts of a PyTorch storage's bytes; a class of storage is its name."""

    def find_class(self, module, name):
        if module != 'torch' or name not in _TORCH_DTYPES:
            raise Refused(f'refused: it names {module}.{name}, which is no storage of numbers')
        return name

    def persistent_load(self, pid):
        return pid


def _torch_storage(data):
    """`torch.storage._load_from_bytes`: the numbers of a storage, in their order."""
    file = io.BytesIO(data)
    parts = [_StorageUnpickler(file).load() for _ in range(5)]
    magic, protocol, system, (_, kind, key, _, count, *view), keys = parts
    known = (magic, protocol, keys) == (_TORCH_MAGIC, _TORCH_PROTOCOL, [key])
    if not known or not system.get('little_endian') or any(view):
        raise Refused('refused: a PyTorch storage of an unknown form')
    if int.from_bytes(_read_exactly(file, 8), 'little') != count:
        raise Refused('refused: a PyTorch storage of two sizes')
    values = np.frombuffer(file.read(), _TORCH_DTYPES[kind])
    if len(values) != count:
        raise Refused(f'refused: a PyTorch storage of {len(values)} numbers, expected {count}')
    # The upper half of a float32.
    return (values.astype('<u4') << 16).view('<f4') if kind == 'BFloat16Storage' else values


def _tensor(storage, offset, shape, strides, _requires_grad=False, _hooks=None, metadata=None):
    """`torch._utils._rebuild_tensor_v2`: a copy of a view of a storage, as a NumPy array."""
    if type(storage) is not np.ndarray or storage.ndim != 1:
        raise Refused('refused: a tensor without a storage')
    numbers = (offset, *shape, *strides)
    if metadata or len(shape) != len(strides) or any(type(n) is not int or n < 0 for n in numbers):
        raise Refused(f'refused: a tensor of shape {shape}, strides {strides} and {metadata}')
    # A tensor that repeats its numbers could claim any size.
    last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    if math.prod(shape) > len(storage) or (math.prod(shape) and last >= len(storage)):
        raise Refused(f'refused: a tensor {shape} of a storage of {len(storage)} numbers')
    strides = [step * storage.itemsize for step in strides]
    return np.lib.stride_tricks.as_strided(storage[offset:], shape, strides).copy()


def _parameter(data, _requires_grad, _hooks):
    """`torch._utils._rebuild_parameter`."""
    return data


def _new_instance(cls, base, _state):
    """`copy_reg._reconstructor`: instances in protocols 0 and 1."""
    if base is not object or not (isinstance(cls, type) and issubclass(cls, _StandIn)):
        raise Refused(f'copy_reg._reconstructor of {cls} is refused')
    return cls()


class _StandIn:
    """Stands for a foreign object until BUILD brings its state; see `_Unpickler`."""

    def value(self, state, unpickler):
        """The plain value of the foreign object whose attributes are `state`."""
        raise NotImplementedError


class _Ch(_StandIn):
    """`chumpy.ch.Ch`: a leaf, whose value is its `x`."""

    def value(self, state, unpickler):
        return np.asarray(state['x'])


class _Select(_StandIn):
    """`chumpy.reordering.Select`: elements `idxs` of the flattened `a`, in `preferred_shape`."""

    def value(self, state, unpickler):
        selected = np.asarray(state['a']).ravel()[np.asarray(state['idxs'])]
        return selected.reshape(state.get('preferred_shape', selected.shape))


class _Sparse(_StandIn):
    """A SciPy sparse matrix; the constructor and `check_format` validate its indices.

    Arrays are copied: the pickle may keep a reference to its own, and change them later.
    """

    rebuilt = None

    def value(self, state, unpickler):
        shape = tuple(state['_shape'])
        if self.rebuilt.__name__.startswith('coo'):
            index = state['coords'] if 'coords' in state else (state['row'], state['col'])
            return self.rebuilt((state['data'], tuple(index)), shape=shape, copy=True)
        compressed = state['data'], state['indices'], state['indptr']
        matrix = self.rebuilt(compressed, shape=shape, copy=True)
        matrix.check_format(full_check=True)
        return matrix


class _JoblibArray(_StandIn):
    """`joblib.numpy_pickle.NumpyArrayWrapper`: the array's bytes follow in the file.

    Since joblib 1.2 they begin with the number of padding bytes, and the padding.
    """

    def value(self, state, unpickler):
        file, dtype, shape = unpickler.file, state['dtype'], tuple(state['shape'])
        if dtype.hasobject:
            return _Unpickler(file, encoding=unpickler.encoding).load()
        if state.get('numpy_array_alignment_bytes') is not None:
            _read_exactly(file, _read_exactly(file, 1)[0])
        data = _read_exactly(file, math.prod(shape) * dtype.itemsize)
        array = np.frombuffer(data, dtype).copy()
        return array.reshape(shape[::-1]).T if state['order'] == 'F' else array.reshape(shape)


def _read_exactly(file, size):
    data = file.read(size)
    if len(data) != size:
        raise EOFError(f'expected {size} more bytes, found {len(data)}')
    return data


def _allowed():
    """(module, name) -> object for the pickle. Names must match exactly."""
    allowed = {
        ('collections', 'OrderedDict'): collections.OrderedDict,
        ('collections', 'defaultdict'): _default_dict,
        ('_codecs', 'encode'): _encode,
        ('numpy', 'ndarray'): _ArrayType,
        ('numpy', 'dtype'): _dtype,
        ('chumpy.ch', 'Ch'): _Ch,
        ('chumpy', 'Ch'): _Ch,
        ('chumpy.reordering', 'Select'): _Select,
        ('joblib.numpy_pickle', 'NumpyArrayWrapper'): _JoblibArray,
        ('torch.storage', '_load_from_bytes'): _torch_storage,
        ('torch._utils', '_rebuild_tensor'): _tensor,
        ('torch._utils', '_rebuild_tensor_v2'): _tensor,
        ('torch._utils', '_rebuild_parameter'): _parameter,
        ('torch', 'Size'): tuple,
    }
    for module in ('pathlib', 'pathlib._local'):
        for kind in (pathlib.PurePosixPath, pathlib.PureWindowsPath):
            for name in (kind.__name__, kind.__name__.removeprefix('Pure')):
                allowed[module, name] = _path_text(kind)
    for core in ('numpy.core', 'numpy._core'):
        allowed[core + '.multiarray', '_reconstruct'] = _empty_array
        allowed[core + '.multiarray', 'scalar'] = _scalar
        allowed[core + '.numeric', '_frombuffer'] = _array_from_buffer
    for module in ('builtins', '__builtin__'):
        for plain in (set, frozenset, complex, object):
            allowed[module, plain.__name__] = plain
        for factory in (list, dict, tuple, str, int, float, bool):
            allowed[module, factory.__name__] = _factory
        allowed[module, 'bytes'] = _no_bytes
    for module in ('copyreg', 'copy_reg'):
        allowed[module, '_reconstructor'] = _new_instance
    for layout in ('csc', 'csr', 'coo'):
        for kind in ('matrix', 'array'):
            name = f'{layout}_{kind}'
            stand_in = type(name, (_Sparse,), {'rebuilt': getattr(sparse, name)})
            for module in (f'scipy.sparse.{layout}', f'scipy.sparse._{layout}'):
                allowed[module, name] = stand_in
    return allowed


# The pure Python unpickler does not read ahead, so that joblib's array bytes can be read between
# two opcodes. And its opcodes can be replaced.
class _Unpickler(pickle._Unpickler):
    ALLOWED = _allowed()
    dispatch = pickle._Unpickler.dispatch.copy()
    for _opcode in (pickle.EXT1, pickle.EXT2, pickle.EXT4):  # names by number, from a registry
        del dispatch[_opcode[0]]

    def __init__(self, file, encoding):
        super().__init__(file, encoding=encoding)
        self.file = file

    def find_class(self, module, name):
        try:
            return self.ALLOWED[module, name]
        except KeyError:
            raise Refused(f'refused: it names {module}.{name}, which is not plain data') from None

    def load_build(self):
        state = self.stack.pop()
        instance = self.stack[-1]
        if isinstance(instance, _StandIn):
            self._replace(instance, instance.value(state, self))
        elif type(instance) is np.ndarray:
            self._check_array_state(state)
            instance.__setstate__(state)
        elif isinstance(instance, np.dtype):
            self._check_dtype_state(instance, state)
            instance.__setstate__(state)
        else:
            raise Refused(f'refused: it sets the state of a {type(instance).__name__}')

    dispatch[pickle.BUILD[0]] = load_build

    def _replace(self, stand_in, value):
        self.stack[-1] = value
        for key, remembered in self.memo.items():
            if remembered is stand_in:
                self.memo[key] = value

    @staticmethod
    def _check_array_state(state):
        """NumPy trusts the shape, and would read behind the end of the list of objects."""
        _, shape, dtype, _, data = state
        if dtype.hasobject and not isinstance(data, list):
            raise Refused('refused: an array of objects given as bytes')
        if any(not isinstance(n, int) or n < 0 for n in shape):
            raise Refused(f'refused: an array of shape {shape}')
        expected = math.prod(shape) * (1 if dtype.hasobject else dtype.itemsize)
        if len(data) != expected:
            raise Refused(f'refused: an array {shape} of {dtype} from {len(data)} of {expected}')

    @staticmethod
    def _check_dtype_state(dtype, state):
        """Only byte order may change: with invented flags, bytes would pass for pointers."""
        if len(state) != 8:
            raise Refused(f'refused: NumPy dtype {dtype} with metadata')
        own = dtype.__reduce__()[2]
        flags_known = state[7] == own[7] or (state[7] == 0 and not dtype.hasobject)
        if tuple(state[2:7]) != tuple(own[2:7]) or not flags_known:
            raise Refused(f'refused: {state} is not the state of dtype {dtype}')
