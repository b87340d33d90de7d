"""The notebooks run, and are stored with their outputs.

One takes the bundled networks. One trains a network, or takes runs, here converted weights. To
store them anew: `jupyter execute --inplace notebooks/*.ipynb`.
"""

import base64
import json
import os
import pathlib
import re

import cv2
import nbclient
import nbformat
import numpy as np
import pytest
from conftest import ROOT, quickstart_config

from tokenhmr_jax.convert import convert_weights

pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def runs(files, configs, tmp_path_factory) -> pathlib.Path:
    """A folder with two regressors of the mannequin."""
    folder = tmp_path_factory.mktemp('runs')
    regressor = quickstart_config('regressor', {})
    regressor.update(configs['regressor'].to_dict() | {'body': 'mannequin'})
    convert_weights(
        files / 'tokenhmr.ckpt', folder / 'regressor', regressor, files / 'tokenizer.pth'
    )
    convert_weights(files / 'hmr2.ckpt', folder / 'hmr2', regressor)
    return folder


def read_notebook(name: str):
    return nbformat.read(ROOT / f'notebooks/{name}.ipynb', as_version=4)


def outputs_of(notebook) -> tuple[list[np.ndarray], str]:
    """The pictures and the text of a notebook's outputs."""
    outputs = [output for cell in notebook.cells for output in cell.get('outputs', [])]
    found = [data for output in outputs for data in output.get('data', {}).items()]
    pictures = [content for kind, content in found if kind.startswith('image/')]
    pixels = [np.frombuffer(base64.b64decode(picture), np.uint8) for picture in pictures]
    images = [cv2.imdecode(picture, cv2.IMREAD_COLOR) for picture in pixels]
    return images, ''.join(output.text for output in outputs if 'text' in output)


def execute(name: str, environment: dict[str, str], **changed) -> tuple[list[np.ndarray], str]:
    """The outputs of a notebook that runs anew, with texts of its code changed."""
    notebook = read_notebook(name)
    for cell in notebook.cells:
        for was, now in changed.items():
            cell.source = cell.source.replace(was, now)
    client = nbclient.NotebookClient(
        notebook, timeout=1800, resources={'metadata': {'path': str(ROOT / 'notebooks')}}
    )
    client.execute(env=os.environ | {'PYTHONPATH': str(ROOT)} | environment)
    return outputs_of(notebook)


@pytest.mark.parametrize('name, pictures', [('predict', 4), ('checkpoints', 2)])
def test_stored_outputs(name, pictures):
    """All code ran in order, without errors and warnings, and no path of a machine is left."""
    notebook = read_notebook(name)
    cells = [cell for cell in notebook.cells if cell.cell_type == 'code']
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    kinds = {(o.output_type, o.get('name')) for cell in cells for o in cell.outputs}
    assert kinds <= {('stream', 'stdout'), ('display_data', None), ('execute_result', None)}
    images, text = outputs_of(notebook)
    assert len(images) == pictures and not re.search(r"(^|[\s'\"(])/\w", text)
    assert (ROOT / f'notebooks/{name}.ipynb').stat().st_size < 1_500_000


def test_predict():
    """Single tokens move each limb by 20 cm or more."""
    images, text = execute('predict', {})
    assert len(images) == 4 and all(image.std() > 10 for image in images)
    moved = [int(cm) for cm in re.findall(r'(?:wrist|ankle): (\d+) cm by code', text)]
    assert len(moved) == 4 and min(moved) >= 20


def test_checkpoints(runs):
    lines = [{'step': 10 * i, 'eval/mpjpe_mm': 300 / i} for i in (1, 2, 3)]
    (runs / 'regressor/metrics.jsonl').write_text('\n'.join(map(json.dumps, lines)))
    names = f'{runs}/regressor@best {runs}/regressor@last {runs}/hmr2@best'
    (bodies, curves), text = execute('checkpoints', {'TOKENHMR_CHECKPOINTS': names})
    assert (curves.min(axis=2) < 200).any()
    assert f'{runs}/hmr2: no evaluations' in text
    # Under a title each, the bodies of two checkpoints: what is one step is shown once.
    assert bodies.shape == (2 * (40 + 320), 480 + 160, 3)
    assert text.count(' mm, mean ') == 2


def test_checkpoints_of_a_run_that_is_trained(tmp_path):
    """In three steps, which learn nothing; the package's own network comes last."""
    settings = {'(50, 150, 500)': '(1, 2, 3)', 'runs/checkpoints': str(tmp_path)}
    settings |= {'num_procedural=8000': 'num_procedural=200', 'eval.every=50': 'eval.every=1'}
    (bodies, curves), text = execute('checkpoints', {}, **settings)
    assert bodies.shape == (4 * (40 + 320), 480 + 160, 3) and (curves.min(axis=2) < 200).any()
    means = [float(mean) for mean in re.findall(r'mm, mean ([\d.]+) mm', text)]
    assert len(means) == 4 and means[3] < min(means[:3])
