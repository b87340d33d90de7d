"""The regressor trains on a mixture of real formats; killed, it goes on with the same records."""

import functools
import os
import pathlib
import signal
import subprocess
import sys
import time

import image_records
import jax
import ml_collections
import numpy as np
import pytest
import real_formats
import test_bedlam
from conftest import ROOT, quickstart_config
from test_regressor_task import SIZES

from tokenhmr_jax import checkpoints, train
from tokenhmr_jax.data import pipeline, prepare

MIXTURE = {'bedlam/train': 0.5, 'pseudo_gt/mpii/train': 0.25, 'pseudo_gt/aic/train': 0.25}
SETTINGS = SIZES | {
    'num_steps': 4,
    'checkpoint_every': 2,
    'eval.every': 4,
    'model.head': 'direct',
    'tokenizer.checkpoint': '',
    'data.ground_truth': ('bedlam/train',),
    'data.validation': ('pseudo_gt/mpii/train',),
    'data.augment.flip': 0.5,
}


@pytest.fixture(scope='module')
def data(mannequin, tmp_path_factory) -> pathlib.Path:
    """Three prepared datasets, of 4, 6 and 6 persons."""
    folder = tmp_path_factory.mktemp('mixture')
    rng = np.random.default_rng(0)
    scene = test_bedlam.make_scene(mannequin, rng, test_bedlam.LANDSCAPE)
    test_bedlam.write_official(folder / 'BEDLAM', 'a_6fps', scene)
    for name in ('mpii-train', 'aic-train-vitpose'):
        for tar in range(2):
            real_formats.write_tar(folder / f'tars/{name}/{tar:06d}.tar', tar_samples(rng))
    build = functools.partial(prepare_dataset, folder / 'data')
    build('bedlam', manual_dir=str(folder / 'BEDLAM'), smpl_dir='mannequin')
    for name in ('mpii', 'aic'):
        build('pseudo_gt', manual_dir=str(folder / 'tars'), set=name, pose_density='none')
    return folder / 'data'


def tar_samples(rng, size=(200, 150)):
    pixels = image_records.person(rng, 70, 100) + np.array([100.0, 30])
    picture = real_formats.encode(real_formats.dotted([pixels], size), '.jpg')
    people = [real_formats.fitted_person(rng, pixels) for _ in range(3)]
    return {'a': {'jpg': picture, 'data.pyd': people}}


def prepare_dataset(folder, name, **settings):
    module = real_formats.load_builder(name)
    settings = module.Settings(**settings, num_processes=1, resolution=32)
    prepare.prepare(module.Builder(settings=settings, data_dir=folder), settings)


def config(data):
    made = quickstart_config('regressor', SETTINGS | {'data.data_dir': str(data)})
    made.data.mixture = ml_collections.ConfigDict(MIXTURE)
    return made


def parameters(workdir, step):
    with checkpoints.Checkpoints(workdir, create=False) as saved:
        return saved.read_model(step)['params']


def test_killed_and_resumed_it_sees_the_same_records(data, tmp_path):
    """The parameters after four steps are those of an unbroken run, to the bit."""
    workdir = tmp_path / 'killed'
    settings = SETTINGS | {'data.data_dir': data, 'data.mixture': MIXTURE}
    process = subprocess.Popen(
        [
            sys.executable, '-m', 'tokenhmr_jax.train', f'--workdir={workdir}',
            '--config=configs/regressor.py:variant=quickstart',
            *(f'--config.{name}={value}' for name, value in settings.items()),
        ],
        cwd=ROOT,
        env=os.environ | {'JAX_NUM_CPU_DEVICES': '8'},
    )  # fmt: skip
    deadline = time.monotonic() + 240
    while not (workdir / 'checkpoints/2').exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    train.train(config(data), str(workdir))
    train.train(config(data), str(tmp_path / 'unbroken'))
    jax.tree.map(
        np.testing.assert_array_equal,
        parameters(workdir, 4),
        parameters(tmp_path / 'unbroken', 4),
    )


def test_every_source_has_its_share(data):
    batches = pipeline.train_batches(str(data), MIXTURE, batch_size=8, seed=0, num_threads=2)
    seen = np.concatenate([next(batches)['source'] for _ in range(10)])
    assert np.bincount(seen).tolist() == [40, 20, 20]
