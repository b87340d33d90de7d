"""The regressor trains on a mixture of real formats; killed, it goes on with the same records."""

import functools
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import chex
import image_records
import ml_collections
import numpy as np
import pytest
import real_formats
from bedlam_files import LANDSCAPE, make_scene, write_official
from benchmark_files import make_world, write_3dpw
from conftest import REGRESSOR_SIZES, ROOT, quickstart_config

from tokenhmr_jax import evaluate, train
from tokenhmr_jax.body import skeleton
from tokenhmr_jax.checkpoints.store import Checkpoints
from tokenhmr_jax.data import pipeline
from tokenhmr_jax.readers import prepare

pytestmark = pytest.mark.slow

MIXTURE = {'bedlam/train': 0.5, 'pseudo_gt/mpii/train': 0.25, 'pseudo_gt/aic/train': 0.25}
SETTINGS = REGRESSOR_SIZES | {
    'num_steps': 4,
    'checkpoint_every': 2,
    'eval.every': 4,
    'model.head': 'direct',
    'tokenizer.checkpoint': '',
    'data.ground_truth': ('bedlam/train',),
    'data.validation': ('hmr_eval/3dpw/test',),
    'data.augment.flip': 0.5,
}


@pytest.fixture(scope='module')
def data(mannequin, tmp_path_factory) -> pathlib.Path:
    """Three prepared datasets, of 4, 6 and 6 persons, a benchmark, and the body models."""
    folder = tmp_path_factory.mktemp('mixture')
    rng = np.random.default_rng(0)
    scene = make_scene(mannequin, rng, LANDSCAPE)
    write_official(folder / 'BEDLAM', 'a_6fps', scene)
    for name in ('mpii-train', 'aic-train-vitpose'):
        for tar in range(2):
            real_formats.write_tar(folder / f'tars/{name}/{tar:06d}.tar', tar_samples(rng))
    (folder / 'data').mkdir()
    real_formats.write_smpl(folder / 'data')
    write_3dpw(folder / '3DPW', make_world(folder / 'data'))
    build = functools.partial(prepare_dataset, folder / 'data')
    bodies = {'smpl_dir': str(folder / 'data')}
    small = {'resolution': 32}
    build('bedlam', manual_dir=str(folder / 'BEDLAM'), **bodies, **small)
    build('hmr_eval', manual_dir=str(folder / '3DPW'), set='3dpw', **bodies)
    for name in ('mpii', 'aic'):
        settings = {'set': name, 'pose_density': 'none'} | small
        build('pseudo_gt', manual_dir=str(folder / 'tars'), **settings)
    return folder / 'data'


def tar_samples(rng, size=(200, 150)):
    pixels = image_records.person(rng, 70, 100) + np.array([100.0, 30])
    picture = real_formats.encode(real_formats.dotted([pixels], size), '.jpg')
    people = [real_formats.fitted_person(rng, pixels) for _ in range(3)]
    return {'a': {'jpg': picture, 'data.pyd': people}}


def prepare_dataset(folder, name, **settings):
    module = real_formats.load_builder(name)
    settings = module.Settings(**settings, num_processes=1)
    prepare.prepare_dataset(module.Builder(settings=settings, data_dir=folder), settings)


def settings(data):
    names = {'body': 'NEUTRAL', 'body_male': 'MALE', 'body_female': 'FEMALE'}
    bodies = {name: str(data / f'SMPL_{gender}.npz') for name, gender in names.items()}
    bodies['extra_regressor'] = str(data / 'SMPL_to_J19.pkl')
    return SETTINGS | bodies | {'data.data_dir': str(data)}


def config(data):
    made = quickstart_config('regressor', settings(data))
    made.data.mixture = ml_collections.ConfigDict(MIXTURE)
    return made


def parameters(workdir, step):
    with Checkpoints(workdir, create=False) as saved:
        return saved.read_model(step)['params']


@pytest.fixture(scope='module')
def unbroken(data, tmp_path_factory):
    """The workdir of a run that is never interrupted."""
    workdir = tmp_path_factory.mktemp('unbroken') / 'run'
    train.train(config(data), str(workdir))
    return workdir


def test_killed_and_resumed_it_sees_the_same_records(data, unbroken, tmp_path):
    """The parameters after four steps are those of an unbroken run, to the bit.

    The batches come from three workers, then from one; those of the unbroken run from threads.
    """
    workdir = tmp_path / 'killed'
    flags = settings(data) | {'data.mixture': MIXTURE, 'data.num_workers': 3}
    process = subprocess.Popen(
        [
            sys.executable, '-m', 'tokenhmr_jax.train', f'--workdir={workdir}',
            '--config=configs/regressor.py:variant=quickstart',
            *(f'--config.{name}={value}' for name, value in flags.items()),
        ],
        cwd=ROOT,
        env=os.environ | {'JAX_NUM_CPU_DEVICES': '8'},
    )  # fmt: skip
    deadline = time.monotonic() + 240
    while not (workdir / 'checkpoints/2').exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL  # it had not ended by itself
    resumed = config(data)
    resumed.data.num_workers = 1
    train.train(resumed, str(workdir))
    chex.assert_trees_all_equal(parameters(workdir, 4), parameters(unbroken, 4))


def test_evaluated_by_the_convention_of_emdb(unbroken, tmp_path):
    """The body models are those in the run's folder; the error is the joints' mean."""
    rows = evaluate.evaluate(str(unbroken), out=str(tmp_path), convention='smpl24')
    joints = {n: v for n, v in rows['regressor'].items() if n.startswith('joint_mm/')}
    assert list(joints) == [f'joint_mm/{name}' for name in skeleton.JOINTS]
    assert rows['regressor']['mpjpe_mm'] == pytest.approx(np.mean(list(joints.values())), rel=1e-5)
    lines = (unbroken / 'metrics.jsonl').read_text().splitlines()
    (other,) = (x['eval/mpjpe_mm'] for x in map(json.loads, lines) if 'eval/mpjpe_mm' in x)
    assert rows['regressor']['mpjpe_mm'] != pytest.approx(other, rel=1e-3)


def test_every_source_has_its_share(data):
    batches = pipeline.train_batches(str(data), MIXTURE, batch_size=8, seed=0, num_threads=2)
    seen = np.concatenate([next(batches)['source'] for _ in range(10)])
    assert np.bincount(seen).tolist() == [40, 20, 20]


def test_bodies_of_the_benchmark_need_models_of_their_gender(data, tmp_path):
    made = config(data)
    made.body_female = str(data / 'SMPL_WOMAN.npz')
    with pytest.raises(ValueError, match=r'^3dpw/downtown_walking_00/.*SMPL_WOMAN\.npz'):
        train.train(made, str(tmp_path))
