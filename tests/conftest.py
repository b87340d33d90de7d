"""Shared by the tests: eight host devices, a compilation cache, and things made once."""

import fcntl
import importlib.util
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parent.parent

# Most of the tests' time goes into compiling what then runs for milliseconds: compile without
# most optimizations, and once for all processes, commands included.
os.environ |= {
    'JAX_DISABLE_MOST_OPTIMIZATIONS': '1',
    'JAX_COMPILATION_CACHE_DIR': str(ROOT / '.cache/xla'),
    'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0',
}

import jax  # noqa: E402
import jaxtyping  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402

# A wrong shape or type names the function and the argument.
jaxtyping.install_import_hook('tokenhmr_jax', 'shapes_checked.checked')

jax.config.update('jax_num_cpu_devices', 8)

pytest_plugins = ['small_model', 'page_results']

# Settings of training runs that take seconds.
TINY = {
    'num_steps': 12,
    'batch_size': 16,
    'model.width': 16,
    'model.code_dim': 8,
    'model.size_mul': 1,
    'model.size_div': 2,
    'codebook.num_codes': 32,
    'optimizer.learning_rate': 1e-3,
    'optimizer.muon_learning_rate': 1e-3,
    'loss_weights.vertices': 100.0,
    'optimizer.warmup_steps': 2,
    'eval.every': 6,
    'eval.batch_size': 64,
    'eval.limit': 100,
    'eval.baseline_poses': 300,
    'log_every': 2,
    'checkpoint_every': 3,
    'data.num_workers': 0,  # they start in a second, which most tests need not wait for
}


def pytest_collection_modifyitems(items):
    """The longest files first: no process is left with one of them when the others are done."""
    longest = ['test_regressor_task', 'test_mannequin_images', 'test_train', 'test_benchmarks']
    last = len(longest)
    position = {f'{name}.py': i for i, name in enumerate(longest)}
    items.sort(key=lambda item: position.get(item.path.name, last))


@pytest.fixture(scope='session')
def shared() -> pathlib.Path:
    """Reference data that lies beside the checkout on some machines."""
    path = ROOT.parent / 'shared'
    if not path.is_dir():
        pytest.skip('no reference data beside this checkout')
    return path


@pytest.fixture(scope='session')
def mannequin():
    """The body model that needs no licence."""
    from tokenhmr_jax.body import smpl
    from tokenhmr_jax.mannequin.body import mannequin_arrays

    return smpl.body_from_arrays(mannequin_arrays(), 'mannequin')


@pytest.fixture(scope='session')
def random_body():
    """The body model of random numbers that the reference was computed with."""
    from random_body import random_smpl

    from tokenhmr_jax.body import smpl

    return smpl.body_from_arrays(random_smpl(1), 'random body')


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def command(*arguments, expect=0) -> str:
    """Run a command of the project, as a user does; its whole output.

    One device, as on a laptop.
    """
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=300,
    )
    printed = done.stdout.decode()
    assert done.returncode == expect, printed
    assert '\r' not in printed, printed  # bars are for terminals
    return printed


def made_once(tmp_path_factory, name: str, make) -> pathlib.Path:
    """A folder that `make(folder)` fills in one of the test processes; the others wait for it."""
    root = tmp_path_factory.getbasetemp()
    if 'PYTEST_XDIST_WORKER' in os.environ:
        root = root.parent  # of all processes' folders
    done = root / f'{name}.done'
    with open(root / f'{name}.lock', 'w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            make(root / name)
            done.touch()
    return root / name


@pytest.fixture(scope='session')
def prepared(tmp_path_factory) -> pathlib.Path:
    """A folder of prepared data: procedural poses, by the documented command."""
    script = 'datasets/amass/amass_dataset_builder.py'
    make = lambda folder: command(script, f'--data_dir={folder}', '--num_procedural=3000')  # noqa: E731
    return made_once(tmp_path_factory, 'prepared', make)


# Settings of a regressor whose training takes seconds.
REGRESSOR_SIZES = {
    'num_steps': 6,
    'batch_size': 8,
    'tokenizer.num_codes': TINY['codebook.num_codes'],
    'tokenizer.model.width': TINY['model.width'],
    'tokenizer.model.code_dim': TINY['model.code_dim'],
    'tokenizer.model.size_mul': TINY['model.size_mul'],
    'model.inputs': ('image',),
    'model.backbone.width': 16,
    'model.backbone.depth': 1,
    'model.backbone.heads': 2,
    'model.decoder.width': 16,
    'model.decoder.depth': 1,
    'model.decoder.heads': 2,
    'model.decoder.head_dim': 8,
    'model.decoder.mlp_dim': 16,
    'model.mixer.width': 8,
    'model.mixer.depth': 1,
    'data.crop_size': 32,
    'data.num_workers': 0,
    'model.backbone.patch_size': 8,
    'tals.enabled': True,
    'eval.every': 6,
    'eval.batch_size': 8,
    'eval.baseline_records': 16,
    'eval.gallery': 1,
    'log_every': 2,
    'checkpoint_every': 3,
}


# A regressor that is compiled in no time.
SMALL_REGRESSOR = {
    'model.inputs': ('image',),
    'data.crop_size': 64,
    'model.backbone.depth': 1,
    'model.decoder.width': 16,
    'model.decoder.depth': 1,
    'model.decoder.heads': 2,
    'model.decoder.head_dim': 8,
    'model.decoder.mlp_dim': 16,
    'model.mixer.depth': 1,
    'tokenizer.num_codes': 16,
    'tokenizer.model.width': 8,
    'tokenizer.model.code_dim': 4,
    'tokenizer.model.size_mul': 1,
    'tokenizer.model.size_div': 1,
}


def quickstart_config(name: str, settings: dict):
    """The quickstart of configs/NAME.py with some settings."""
    spec = importlib.util.spec_from_file_location(name, ROOT / f'configs/{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = module.get_config('variant=quickstart')
    config.update_from_flattened_dict(settings)
    return config


def tiny_config(prepared, **overrides):
    """A config of the tokenizer whose training takes seconds."""
    return quickstart_config('tokenizer', TINY | {'data.data_dir': str(prepared)} | overrides)


@pytest.fixture(scope='session')
def trained(prepared, tmp_path_factory) -> pathlib.Path:
    """The workdir of a tiny run, by the documented command."""
    make = lambda workdir: command(*train_arguments(prepared, workdir))  # noqa: E731
    return made_once(tmp_path_factory, 'trained', make)


def train_arguments(prepared, workdir, **overrides) -> list[str]:
    """The command line of a tiny training run."""
    settings = TINY | {'data.data_dir': prepared} | overrides
    return [
        '-m', 'tokenhmr_jax.train', '--config=configs/tokenizer.py:variant=quickstart',
        f'--workdir={workdir}', *(f'--config.{name}={value}' for name, value in settings.items()),
    ]  # fmt: skip


# What the networks' tensors do not tell, of the checkpoints of `original`.
ORIGINAL_SIZES = {'model.backbone.heads': 4, 'model.decoder.heads': 3}


@pytest.fixture(scope='session')
def configs(tmp_path_factory):
    """Configs to convert with, by task; their body model is a file."""
    from random_body import random_smpl

    from tokenhmr_jax.readers import smpl_files

    body = tmp_path_factory.mktemp('body') / 'SMPL_NEUTRAL.npz'
    smpl_files.write_body_arrays(body, random_smpl(1))
    regressor = quickstart_config('regressor', ORIGINAL_SIZES | {'body': str(body)})
    return {
        'regressor': regressor,
        'tokenizer': quickstart_config('tokenizer', {'body': str(body)}),
    }


@pytest.fixture(scope='session')
def contents():
    """Random checkpoints as the original writes them, by file name."""
    original = pytest.importorskip('original_format')
    return {
        'tokenizer.pth': original.tokenizer(),
        'tokenhmr.ckpt': original.regressor(),
        'large_tokenizer.pth': original.tokenizer(width=12, code=6, codes=40, mul=4, div=4),
        'large_tokenhmr.ckpt': original.regressor(
            tokens=160, codes=40, code=6, width=20, depth=1, query=28, mixer=5
        ),
        'hmr2.ckpt': original.regressor(tokens=None, width=8, depth=3, query=18),
        'vitpose.pth': {'state_dict': dict(original.backbone(original.Weights(3)))},
    }


@pytest.fixture(scope='session')
def files(contents, tmp_path_factory) -> pathlib.Path:
    """A folder with them."""
    from original_format import save

    folder = tmp_path_factory.mktemp('original')
    for name, content in contents.items():
        save(folder / name, content)
    return folder


@pytest.fixture(scope='session')
def converted(files, configs, tmp_path_factory) -> pathlib.Path:
    """A folder with all of them converted."""
    from tokenhmr_jax.convert import convert_weights

    def make(folder):
        tokenizer, regressor = files / 'tokenizer.pth', configs['regressor']
        for name in ('', 'large_'):
            source, stage1 = files / f'{name}tokenhmr.ckpt', files / f'{name}tokenizer.pth'
            convert_weights(source, folder / f'{name}tokenhmr', regressor, stage1)
        convert_weights(files / 'hmr2.ckpt', folder / 'hmr2', regressor)
        convert_weights(files / 'hmr2.ckpt', folder / 'hmr2_backbone', backbone=True)
        convert_weights(files / 'vitpose.pth', folder / 'vitpose')
        convert_weights(tokenizer, folder / 'tokenizer', configs['tokenizer'])

    return made_once(tmp_path_factory, 'converted', make)
