"""Plain data comes back as it went in; nothing else is ever run."""

import base64
import bz2
import collections
import gzip
import lzma
import pathlib
import pickle
import zlib

import numpy as np
import pytest
from scipy import sparse

from tokenhmr_jax.readers import pickles

# Written by joblib 1.6.0: {'body_pose': float32 0..5 as (2, 3), 'f': int16 0..5 as (2, 3) in
# Fortran order, 'o': array([None, 'x'], object), 'gender': 'neutral'}; plain and with
# compress=('zlib', 9).
JOBLIB = {
    'plain': (
        'gASV4gAAAAAAAAB9lCiMCWJvZHlfcG9zZZSME2pvYmxpYi5udW1weV9waWNrbGWUjBFOdW1weUFycmF5V3JhcHBlcp'
        'STlCmBlH2UKIwIc3ViY2xhc3OUjAVudW1weZSMB25kYXJyYXmUk5SMBXNoYXBllEsCSwOGlIwFb3JkZXKUjAFDlIwF'
        'ZHR5cGWUaAiMBWR0eXBllJOUjAJmNJSJiIeUUpQoSwOMATyUTk5OSv////9K/////0sAdJRijAphbGxvd19tbWFwlI'
        'iMG251bXB5X2FycmF5X2FsaWdubWVudF9ieXRlc5RLEHViAv//AAAAAAAAgD8AAABAAABAQAAAgEAAAKBAlU0AAAAA'
        'AAAAjAFmlGgEKYGUfZQoaAdoCmgLSwJLA4aUaA2MAUaUaA9oEYwCaTKUiYiHlFKUKEsDaBVOTk5K/////0r/////Sw'
        'B0lGJoF4hoGEsQdWIB/wAAAwABAAQAAgAFAJVLAAAAAAAAAIwBb5RoBCmBlH2UKGgHaApoC0sChZRoDWgOaA9oEYwC'
        'TziUiYiHlFKUKEsDjAF8lE5OTkr/////Sv////9LP3SUYmgXiWgYSxB1YoAFlY8AAAAAAAAAjBZudW1weS5fY29yZS'
        '5tdWx0aWFycmF5lIwMX3JlY29uc3RydWN0lJOUjAVudW1weZSMB25kYXJyYXmUk5RLAIWUQwFilIeUUpQoSwFLAoWU'
        'aAOMBWR0eXBllJOUjAJPOJSJiIeUUpQoSwOMAXyUTk5OSv////9K/////0s/dJRiiV2UKE6MAXiUZXSUYi6VFQAAAA'
        'AAAACMBmdlbmRlcpSMB25ldXRyYWyUdS4='
    ),
    'zlib': (
        'eNqFkU1LwzAYx5t2dXO+DpkKfoF56UE8eBA2GXiwWMGLJylpl5lq30hbtKAwD9MNAh58evez+UVm1jgd7mBoQp70ef'
        'L7//MMKsWnIscTtPiyE/VyO44SAnzrNnJ8zzHCLIjFmefe+eK0YU3DE8ZwfsVwHBMG77D/DNPqWpI5ro+TBLheVgGv'
        'hj08zRVJXE8ojgmYqqm9iChiPVHMUVfse2ku/tDabCey1f4hjEevcAktU+PoGCzLOpuIUS6mkoLD69j3o3s7CHAMI7'
        '4nlZY8G/veTRiQMLWdPCUJmJuZo04m0uqgLZaO+MQciPnRKc6/X4GjPtCKNESrtE5XpF66xtEp0A3a4Kp38KuMNhd1'
        '0Z0R3Z0CkeBpClIqiqroSmH+MKIFxlAQ6Lq8/+Jo3vnjH+ftkjCWhIFevM1u3S79G7YbMWIEmZ968un5qs2IG4VJyj'
        'I3LTux2B1TGUIXOSCxqBSkzbfjf1Hja2hZHD0AEYFRNGe6lm5IWLa6GpIsZdiHzPgCNSns3A=='
    ),
}

# A float64 array [1, 2] as Python 2 and NumPy 1 pickle it (raw bytes as an 8-bit string).
PYTHON2_ARRAY = (
    b'cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR'
    b'(K\x01(K\x02tcnumpy\ndtype\n(U\x02f8K\x00K\x01tR'
    b'(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb'
    b'I00\nU\x10' + np.array([1.0, 2.0]).tobytes() + b'tb'
)
PYTHON2_CH = (
    b'cchumpy.ch\nCh\n)\x81}(U\x01x' + PYTHON2_ARRAY
    + b'U\x0b_dirty_varsc__builtin__\nset\n(]tRub'
)  # fmt: skip


def call(function, argument="b'x'"):
    """A protocol 0 pickle that calls `module\\nname` with one argument."""
    return f'c{function}\n(S{argument}\ntR.'.encode()


@pytest.mark.parametrize('protocol', range(6))
def test_plain_data_of_every_protocol(protocol):
    data = {
        'array': np.arange(6.0).reshape(2, 3),
        'fortran': np.asfortranarray(np.arange(6).reshape(2, 3)),
        'turned': np.arange(24).reshape(2, 3, 4).transpose(1, 0, 2),
        'big_endian': np.arange(3, dtype='>i4'),
        'text': np.array(['ab', 'c']),
        'objects': np.array([None, {'loss': 1.0}], object),
        'empty': np.zeros((0, 3), np.float32),
        'scalars': (np.float32(3), np.bool_(True), 1, 2.5, None, 'text', b'bytes'),
        'containers': [{1, 2}, frozenset([3]), collections.OrderedDict(b=1, a=2)],
    }
    loaded = pickles.parse_pickle(pickle.dumps(data, protocol))
    np.testing.assert_equal(loaded, data)
    assert loaded['array'].dtype == np.float64 and loaded['empty'].dtype == np.float32
    assert loaded['array'].flags.writeable


@pytest.mark.parametrize('name', ['csc_matrix', 'csr_array', 'coo_matrix'])
def test_sparse_matrices_by_old_and_new_module_paths(name):
    matrix = getattr(sparse, name)(np.array([[0.0, 2.0], [3.0, 0.0], [0.0, 0.0]]))
    layout = name[:3]
    for module in (f'scipy.sparse._{layout}', f'scipy.sparse.{layout}'):
        data = pickle.dumps([matrix, matrix], protocol=2).replace(
            f'scipy.sparse._{layout}\n'.encode(), f'{module}\n'.encode()
        )
        first, second = pickles.parse_pickle(data)
        assert type(first) is type(matrix) and first is second
        np.testing.assert_array_equal(first.toarray(), matrix.toarray())


def test_sparse_index_out_of_range_is_refused():
    matrix = sparse.csc_matrix(np.eye(3))
    matrix.indices[0] = 1000
    with pytest.raises(ValueError, match='not a readable pickle'):
        pickles.parse_pickle(pickle.dumps(matrix))


def fragment(value):
    """The body of a pickle, which leaves a value on the stack."""
    return pickle.dumps(value, 2)[2:-1]


@pytest.mark.parametrize(
    ('layout', 'index', 'others'),
    [('csc', 'indices', ['indptr']), ('csr', 'indptr', ['indices']), ('coo', 'row', ['col'])],
)
def test_sparse_indices_do_not_change_once_they_are_checked(layout, index, others):
    matrix = getattr(sparse, f'{layout}_matrix')(np.eye(3))
    state = b''.join(
        fragment(name) + fragment(value)
        for name, value in [('_shape', (3, 3)), ('data', matrix.data)]
        + [(other, getattr(matrix, other)) for other in others]
    )
    array = fragment(getattr(matrix, index)) + b'q\xc8'  # remembered as number 200
    made = f'cscipy.sparse._{layout}\n{layout}_matrix\n)\x81}}('.encode('latin1')
    changed = b'h\xc8K\x01K\x63s0'  # its item 1 becomes 99
    data = array + made + state + fragment(index) + b'h\xc8ub' + changed
    loaded = pickles.parse_pickle(b'\x80\x02' + data + b'.')
    np.testing.assert_array_equal(getattr(loaded, index), getattr(matrix, index))
    np.testing.assert_array_equal(loaded.toarray(), np.eye(3))


def test_python2_smpl_file_with_chumpy(tmp_path):
    """The same chumpy object twice, and a selection of its elements."""
    select = (
        b'cchumpy.reordering\nSelect\n)\x81}(U\x01ah\x01U\x04idxs(lp2\nI1\naI0\na'
        b'U\x0fpreferred_shape(K\x02K\x01tub'
    )
    path = tmp_path / 'SMPL_NEUTRAL.pkl'
    path.write_bytes(
        b'\x80\x02}(U\x09shapedirs'
        + PYTHON2_CH.replace(b')\x81', b')\x81q\x01', 1)
        + b'U\x05againh\x01U\x06select'
        + select
        + b'U\x08bs_styleU\x04lbrsu.'
    )
    model = pickles.load_pickle(path)
    np.testing.assert_array_equal(model['shapedirs'], [1.0, 2.0])
    assert type(model['shapedirs']) is np.ndarray and model['again'] is model['shapedirs']
    np.testing.assert_array_equal(model['select'], [[2.0], [1.0]])
    assert model['bs_style'] == 'lbrs'


def test_chumpy_instance_of_protocol_0():
    """Protocols 0 and 1 make instances through copy_reg._reconstructor."""
    instance = b'ccopy_reg\n_reconstructor\n(cchumpy.ch\nCh\nc__builtin__\nobject\nNtR'
    loaded = pickles.parse_pickle(instance + b"(dS'x'\n" + PYTHON2_ARRAY + b'sb.')
    np.testing.assert_array_equal(loaded, [1.0, 2.0])


def test_unknown_chumpy_class_is_named():
    with pytest.raises(ValueError, match=r'model\.pkl: .*chumpy\.ch_ops\.add'):
        pickles.parse_pickle(b'\x80\x02cchumpy.ch_ops\nadd\n)\x81.', 'model.pkl')


@pytest.mark.parametrize('protocol', range(2, 6))
def test_tensors_default_dictionaries_and_paths_become_plain(protocol):
    torch = pytest.importorskip('torch')
    numbers = torch.arange(24.0).reshape(2, 3, 4)
    default = collections.defaultdict(list, {'a': [1]})
    data = {
        'tensor': numbers, 'view': numbers[1:, :, ::2].transpose(0, 2), 'scalar': torch.tensor(3),
        'flag': torch.tensor([True, False]), 'bfloat16': torch.tensor([1.5, -2]).bfloat16(),
        'half': torch.tensor([0.5]).half(), 'parameter': torch.nn.Parameter(torch.ones(2)),
        'empty': torch.zeros(0, 3), 'size': numbers.shape, 'default': default,
        'path': pathlib.PurePosixPath('/a/b.jpg'), 'windows': pathlib.PureWindowsPath('c:/a'),
    }  # fmt: skip
    loaded = pickles.parse_pickle(pickle.dumps(data, protocol))
    np.testing.assert_array_equal(loaded['tensor'], np.arange(24).reshape(2, 3, 4))
    np.testing.assert_array_equal(loaded['view'], numbers.numpy()[1:, :, ::2].transpose(2, 1, 0))
    assert loaded['scalar'].shape == () and loaded['scalar'] == 3
    assert loaded['flag'].tolist() == [True, False] and loaded['empty'].shape == (0, 3)
    assert loaded['bfloat16'].tolist() == [1.5, -2] and loaded['half'].tolist() == [0.5]
    assert loaded['parameter'].tolist() == [1, 1] and loaded['size'] == (2, 3, 4)
    assert type(loaded['default']) is dict and loaded['default'] == {'a': [1]}
    assert (loaded['path'], loaded['windows']) == ('/a/b.jpg', 'c:\\a')
    assert {type(loaded[name]) for name in ('tensor', 'view', 'bfloat16')} == {np.ndarray}


# The bytes of torch.save(FloatStorage) of 6 numbers, without PyTorch.
STORAGE = b''.join(
    [
        *(pickle.dumps(part, 2) for part in (pickles._TORCH_MAGIC, 1001, {'little_endian': True})),
        b"\x80\x02(U\x07storagectorch\nFloatStorage\nU\x01kU\x03cpuK\x06NtQ.",
        pickle.dumps(['k'], 2), (6).to_bytes(8, 'little'), np.arange(6, dtype='<f4').tobytes(),
    ]
)  # fmt: skip


def tensor_pickle(offset, shape, strides, storage=STORAGE):
    given = b'ctorch.storage\n_load_from_bytes\n' + fragment_of_bytes(storage) + b'\x85R'
    rest = b''.join(map(fragment, (offset, shape, strides)))
    call = b'ctorch._utils\n_rebuild_tensor_v2\n(' + given + rest + b'\x89}tR.'
    return b'\x80\x03' + call


def fragment_of_bytes(data):
    return b'B' + len(data).to_bytes(4, 'little') + data


def test_a_tensor_without_pytorch():
    loaded = pickles.parse_pickle(tensor_pickle(1, (2, 2), (3, 1)))
    assert loaded.dtype == np.float32 and loaded.tolist() == [[1, 2], [4, 5]]


@pytest.mark.parametrize(
    'data',
    [
        tensor_pickle(0, (7,), (1,)),
        tensor_pickle(5, (2,), (1,)),
        tensor_pickle(0, (3,), (3,)),
        tensor_pickle(0, (10_000, 10_000), (0, 0)),
        tensor_pickle(0, (2,), (-1,)),
        tensor_pickle(0, (2, 2), (1,)),
        tensor_pickle(0, (6,), (1,), STORAGE[:-4]),
        tensor_pickle(0, (6,), (1,), STORAGE.replace(b'ctorch\nFloatStorage', b'cos\nsystem')),
        call('torch.storage\n_load_from_bytes', "'x'"),
        call('torch.load'.replace('.', '\n')),
        call('builtins\nlist', "'x'"),
        call('collections\ndefaultdict', "'x'").replace(b'.', b'}.')[:-1] + b'b.',
    ],
)
def test_tensors_and_dictionaries_that_ask_for_more_are_refused(data):
    with pytest.raises(ValueError, match=r'refused|not a readable pickle'):
        pickles.parse_pickle(data)


@pytest.mark.parametrize('kind', JOBLIB)
def test_joblib_files(tmp_path, kind):
    path = tmp_path / 'motion.pkl'
    path.write_bytes(base64.b64decode(JOBLIB[kind]))
    loaded = pickles.load_pickle(path)
    np.testing.assert_array_equal(loaded['body_pose'], np.arange(6.0).reshape(2, 3))
    assert loaded['body_pose'].dtype == np.float32
    np.testing.assert_array_equal(loaded['f'], [[0, 1, 2], [3, 4, 5]])
    assert loaded['o'].tolist() == [None, 'x'] and loaded['gender'] == 'neutral'


@pytest.mark.fault(12, 'a malicious pickle')
@pytest.mark.parametrize(
    'data, name',
    [
        (call('posix\nsystem', "'touch {}'"), 'posix.system'),
        (call('os\nsystem', "'touch {}'"), 'os.system'),
        (call('builtins\neval', "'open(chr(34), chr(119))'"), 'builtins.eval'),
        (call('__builtin__\ngetattr'), '__builtin__.getattr'),
        (call('numpy\nload'), 'numpy.load'),
        (call('numpy.f2py.crackfortran\nmyeval', "'1'"), 'numpy.f2py.crackfortran.myeval'),
        (call('numpy.core.multiarray\n_reconstruct.__globals__'), '_reconstruct.__globals__'),
        (b'\x80\x04\x8c\x05numpy\x8c\x0fndarray.__new__\x93.', 'numpy.ndarray.__new__'),
        (b'\x80\x04\x8c\x08builtins\x8c\x04exec\x93\x8c\x01x\x85R.', 'builtins.exec'),
        (b'(S"touch {}"\nios\nsystem\n.', 'os.system'),  # INST
        (b'(cos\nsystem\nS"touch {}"\no.', 'os.system'),  # OBJ
    ],
)
def test_foreign_names_are_refused_and_never_called(tmp_path, data, name):
    witness = tmp_path / 'executed'
    path = tmp_path / 'evil.pkl'
    path.write_bytes(data.replace(b'{}', str(witness).encode()))
    with pytest.raises(ValueError) as error:
        pickles.load_pickle(path)
    assert name in str(error.value) and str(path) in str(error.value)
    assert not witness.exists()


def test_pointers_forged_as_array_bytes_are_refused():
    """An object array whose data are bytes, and a dtype whose flags hide that it holds objects."""
    dtype = (
        b'cnumpy\ndtype\n(U\x02O8K\x00K\x01tR(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK%ctb'
    )
    array = PYTHON2_ARRAY[: PYTHON2_ARRAY.index(b'cnumpy\ndtype')]
    tail = b'I00\nU\x10' + bytes(range(16)) + b'tb.'
    for flags in (63, 0):
        with pytest.raises(ValueError, match='refused'):
            pickles.parse_pickle(b'\x80\x02' + array + dtype % flags + tail)


@pytest.mark.parametrize(
    ('shape', 'dtype', 'data'),
    [
        ((100_000,), 'O', [None]),
        ((1,), 'O', [None, None]),
        ((-1, -1), 'O', [None]),
        ((3,), 'f8', bytes(16)),
        ((1.0, 2), 'f8', bytes(16)),
    ],
)
def test_an_array_of_a_shape_that_its_data_do_not_fill_is_refused(shape, dtype, data):
    class Forged:
        def __reduce__(self):
            state = (1, shape, np.dtype(dtype), False, data)
            return *np.zeros(0).__reduce__()[:2], state

    with pytest.raises(ValueError, match='refused: an array'):
        pickles.parse_pickle(pickle.dumps(Forged()))


@pytest.mark.parametrize(
    'data',
    [
        b'\x80\x02cnumpy\nndarray\n(K\x02U\x01OU\x10' + bytes(range(16)) + b'tR.',
        b'\x80\x02cnumpy\nndarray\nK\x02\x85\x81.',
        b'\x80\x02cnumpy\ndtype\nU\x04f8,O\x85R.',
        pickle.dumps(np.zeros(2, [('a', 'f8'), ('b', 'O')])),
        pickle.dumps(np.zeros(2, 'M8[s]')),
    ],
)
def test_arrays_made_other_than_by_numpy_are_refused(data):
    with pytest.raises(ValueError, match='refused'):
        pickles.parse_pickle(data)


def test_state_of_a_function_or_class_is_refused():
    with pytest.raises(ValueError, match='sets the state'):
        pickles.parse_pickle(b'\x80\x02cnumpy\nndarray\n}U\x01xK\x01sb.')


@pytest.mark.parametrize('kind', ['pickle', *JOBLIB])
def test_truncated_files_are_named(tmp_path, kind):
    data = base64.b64decode(JOBLIB[kind]) if kind in JOBLIB else pickle.dumps({'a': np.ones(9)})
    path = tmp_path / 'cut.pkl'
    for length in range(0, len(data) - 1, 5):
        path.write_bytes(data[:length])
        with pytest.raises(ValueError, match=r'cut\.pkl'):
            pickles.load_pickle(path)


@pytest.mark.fault(12, 'a pickle that would unpack without end')
@pytest.mark.parametrize('module', [zlib, gzip, bz2, lzma])
def test_compressed_files_have_a_bound(monkeypatch, module):
    data = module.compress(pickle.dumps(bytes(1_000_000)))
    assert pickles.parse_pickle(data) == bytes(1_000_000)
    monkeypatch.setattr(pickles, '_MOST_UNPACKED', 10_000)
    with pytest.raises(ValueError, match=r'x\.pkl: .*without an end within'):
        pickles.parse_pickle(data, 'x.pkl')


def test_not_a_pickle_and_not_a_file(tmp_path):
    path = tmp_path / 'page.pkl'
    path.write_text('<html>please register</html>')
    with pytest.raises(ValueError, match=r'page\.pkl: not a readable pickle'):
        pickles.load_pickle(path)
    with pytest.raises(FileNotFoundError, match=r'absent\.pkl'):
        pickles.load_pickle(tmp_path / 'absent.pkl')
