"""Exported programs of a regressor."""

import os
import subprocess
import sys

import numpy as np
import pytest
from small_model import picture

from tokenhmr_jax.inference.outputs import results
from tokenhmr_jax.studies import stablehlo


@pytest.mark.slow
@pytest.mark.parametrize('batch', [None, 2])
def test_an_exported_model_needs_no_model_code(small_model, tmp_path, batch):
    """Its loader runs without this package, and gives what the model gives."""
    stablehlo.export_program(small_model, str(tmp_path / 'program'), batch)
    crops = picture(128, 64).reshape(2, 64, 64, 3)
    np.save(tmp_path / 'crops.npy', crops)
    loader = tmp_path / 'program/load.py'
    assert 'tokenhmr' not in loader.read_text()
    arguments = [sys.executable, str(loader), 'crops.npy', 'out.npz']
    subprocess.run(arguments, cwd=tmp_path, check=True, env=os.environ | {'PYTHONPATH': ''})
    found, expected = results.read_arrays(tmp_path / 'out.npz'), small_model.predict_crops(crops)
    np.testing.assert_allclose(found['vertices'], expected.body.vertices, atol=1e-4)
    np.testing.assert_allclose(found['residual_token_probs'], expected.token_probs, atol=1e-4)
