"""The notebook runs, on converted weights, and shows pictures."""

import base64
import os

import cv2
import nbclient
import nbformat
import numpy as np
from conftest import ROOT, quickstart_config

from tokenhmr_jax.convert import convert


def test_predict(files, configs, tmp_path):
    settings = configs['regressor'].to_dict() | {'body': 'mannequin'}
    regressor = quickstart_config('regressor', {})
    regressor.update(settings)
    tokenizer = quickstart_config('tokenizer', {'body': 'mannequin'})
    convert(files / 'tokenhmr.ckpt', tmp_path / 'regressor', regressor, files / 'tokenizer.pth')
    convert(files / 'tokenizer.pth', tmp_path / 'tokenizer', tokenizer)
    notebook = nbformat.read(ROOT / 'notebooks/predict.ipynb', as_version=4)
    assert not any(cell.get('outputs') for cell in notebook.cells), 'stored without its outputs'
    environment = {'TOKENHMR_RUNS': str(tmp_path), 'PYTHONPATH': str(ROOT)}
    client = nbclient.NotebookClient(
        notebook, timeout=600, resources={'metadata': {'path': str(ROOT / 'notebooks')}}
    )
    client.execute(env=os.environ | environment)

    outputs = [output for cell in notebook.cells for output in cell.get('outputs', [])]
    pictures = [output.data['image/png'] for output in outputs if 'data' in output]
    pixels = [np.frombuffer(base64.b64decode(picture), np.uint8) for picture in pictures]
    images = [cv2.imdecode(picture, cv2.IMREAD_COLOR) for picture in pixels]
    assert len(images) == 5 and all(image.std() > 10 for image in images)
    text = ''.join(output.text for output in outputs if 'text' in output)
    assert 'residual_token_probs   (1, 40, 24)' in text
    assert 'is not pose tokens' in text
