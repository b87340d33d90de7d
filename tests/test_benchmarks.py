"""The benchmarks run, and both of their sides compute the same. No test looks at the times."""

import re
import shutil

import browser
import pytest
from conftest import SMALL_REGRESSOR, command

pytest.importorskip('torch')
pytest.importorskip('smplx')

RATIO = r'ours [\d.]+ ms, PyTorch [\d.]+ ms, ratio [\d.]+x \([\d.]+ to [\d.]+\)'


def test_smpl_forward():
    out = command('benchmarks/smpl_forward.py', '--batches=2', '--turns=1')
    for line in ('vertices', 'joints', 'gradient'):
        assert re.search(f'batch 2, {line}: the two sides agree to ', out), out
    for line in ('forward', 'with gradient'):
        assert re.search(f'batch 2, {line}: {RATIO}', out), out


def test_tokenizer_step():
    sizes = {
        'batch_size': 8,
        'codebook.num_codes': 16,
        'model.width': 8,
        'model.code_dim': 4,
        'model.size_mul': 2,
        'model.size_div': 3,
    }
    arguments = [f'--{name}={value}' for name, value in sizes.items()]
    out = command('benchmarks/tokenizer_step.py', '--steps=1', *arguments)
    for mode in ('network only', 'with bodies'):
        for line in ('reconstruction', 'loss', 'norm of the gradient'):
            assert re.search(f'{mode}, {line}: the two sides agree to ', out), out
        assert re.search(f'{mode}: {RATIO}', out), out


def test_vit_forward():
    out = command('benchmarks/vit_forward.py', '--backbone=Ti/64', '--batch=1', '--turns=1')
    label = 'Ti/64, batch 1, float32'
    assert re.search(f'{label}, features: the two sides agree to ', out), out
    assert re.search(f'{label}: {RATIO}', out), out
    assert re.search(rf'{label}: ours [\d.]+ images/s, PyTorch [\d.]+ images/s', out), out


def test_regressor_step():
    arguments = [f'--{name}={value}' for name, value in SMALL_REGRESSOR.items()]
    out = command(
        'benchmarks/regressor_step.py', '--backbone=Ti/16', '--batch=3', '--turns=1', *arguments
    )
    for line in ('loss', 'gradients'):
        assert re.search(f'Ti/16, batch 3, float32, {line}: the two sides agree to ', out), out
    assert re.search(f'Ti/16, batch 3, float32: {RATIO}', out), out


def test_train_step():
    settings = SMALL_REGRESSOR | {'batch_size': 2}
    arguments = [f'--config.{name}={value}' for name, value in settings.items()]
    out = command(
        'benchmarks/train_step.py', '--config=configs/regressor.py:variant=quickstart',
        '--turns=1', '--seconds=0', *arguments,
    )  # fmt: skip
    assert re.search(r'products of float32 matrices: [\d.]+ TFLOP/s', out), out
    rates = r'[\d.]+ ms, [\d.]+ images/s, [\d.e-]+ TFLOP/s, [\d.]+% of the rate of products'
    for side in ('', 'PyTorch, '):
        for what in ('training', 'inference'):
            assert re.search(f'^{side}{what}: {rates}', out, re.MULTILINE), out


def test_crop_stages():
    """Ours and TFDS' records are compared within."""
    out = command('benchmarks/crop_stages.py', '--pictures=4', '--persons=2', '--turns=1')
    assert re.search(r'parse: ours [\d.]+ us, TFDS [\d.]+ us, ratio [\d.]+x', out), out
    assert re.search(r'together: \d+ us; \d+ us hold the lock, \d+%: at most \d+ crops/s', out), out
    assert re.search(r'labels, \w+: [\d.]+ us', out), out


def test_image_pipeline():
    out = command(
        'benchmarks/image_pipeline.py', '--pictures=4', '--persons=2', '--batch_size=2',
        '--seconds=0.1',
    )  # fmt: skip
    assert 'the two sides agree to' in out
    rates = r'\d+ images/s, \d+ workers, \d+ per second of work; main process busy [\d.]+%'
    for side in ('ours alone', 'ours', 'theirs'):
        assert re.search(rf'^{side}: {rates}', out, re.MULTILINE), out
    assert re.search(r'\d+% of \d+ times the rate of one worker\nratio [\d.]+x', out)


def test_worker_start():
    out = command('benchmarks/worker_start.py', '--pictures=4', '--batch_size=2')
    assert re.search(r'first batch: [\d.]+ s by 2 workers .*, [\d.]+ s by this process', out), out
    found = re.findall(r'worker: (\d+) MB resident, [\d:.]+ of processor time', out)
    assert len(found) == 2 and all(20 < int(each) <= 250 for each in found)


def test_pose_pipeline():
    out = command('benchmarks/pose_pipeline.py', '--poses=300', '--batch_size=8', '--seconds=0.1')
    assert re.search(r'one worker: \d+ poses/s; main process busy [\d.]+%', out), out
    assert len(re.findall(r'ratio [\d.]+x', out)) == 2


def test_preparing():
    out = command('benchmarks/preparing.py', '--pictures=2', '--persons=2')
    for persons in (4, 4, 8, 16):
        assert f'{persons} persons: ' in out


def test_kept_memory():
    out = command('benchmarks/kept_memory.py', '--turns=1', '--steps=1', '--batch_size=2')
    for way in ('kept', 'given back'):
        assert re.search(rf'memory {way}: [\d.]+ ms a step', out), out
    assert re.search(r'ratio [\d.]+x', out)


@pytest.mark.slow
@pytest.mark.skipif(not any(map(shutil.which, browser.NAMES)), reason='no headless Chromium here')
def test_page_start():
    out = command('benchmarks/page_start.py', '--frames=6', '--persons=1', '--turns=1')
    assert re.search(r'6 frames, 1 people in each: [\d.]+ MB', out), out
    for name in ('first picture', "main thread's processor time", "Chromium's processor time"):
        assert re.search(rf'{name}: [\d.]+ s \([\d.]+ to [\d.]+\)', out), out
