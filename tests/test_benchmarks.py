"""The benchmarks run, and both of their sides compute the same. No test looks at the times."""

import re

import pytest
from conftest import command

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
