"""From nothing to the demo's page, with a small network that learned nothing."""

import importlib.util
import shutil

import cv2
import numpy as np
import pytest
from conftest import command
from PIL import Image
from small_model import picture

from tokenhmr_jax import demo
from tokenhmr_jax.body import smpl
from tokenhmr_jax.checkpoints.compatibility import describe_run
from tokenhmr_jax.checkpoints.store import Checkpoints
from tokenhmr_jax.inference.outputs import results
from tokenhmr_jax.inference.prediction import PredictSettings

CARRIED = {'astronaut.png', 'grace_hopper.jpg', 'group.png'}


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / 'photos'
    folder.mkdir()
    Image.fromarray(picture(60, 80)).save(folder / 'mine.jpg')
    (folder / 'notes.txt').write_text('no picture')
    return folder


def test_pictures_are_collected_once(photos, tmp_path):
    pytest.importorskip('skimage')
    pytest.importorskip('matplotlib')
    folder = tmp_path / 'pictures'
    assert demo.collect_pictures(folder)
    assert {path.name for path in folder.iterdir()} == CARRIED
    assert not demo.collect_pictures(folder)
    assert demo.collect_pictures(folder, photos)
    assert {path.name for path in folder.iterdir()} == CARRIED | {'mine.jpg'}
    assert (folder / 'mine.jpg').read_bytes() == (photos / 'mine.jpg').read_bytes()
    assert cv2.imread(str(folder / 'group.png')).shape == (640, 960, 3)
    assert demo.collect_pictures(folder)  # without the user's, again
    assert {path.name for path in folder.iterdir()} == CARRIED


def test_a_folder_of_something_else_stays_as_it_is(photos):
    with pytest.raises(ValueError, match='holds other files: expected another --out'):
        demo.collect_pictures(photos)
    assert {path.name for path in photos.iterdir()} == {'mine.jpg', 'notes.txt'}


def test_wrong_photos_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match='no such folder'):
        demo.collect_pictures(tmp_path / 'pictures', tmp_path / 'none')
    with pytest.raises(FileNotFoundError, match='no pictures; expected'):
        demo.collect_pictures(tmp_path / 'pictures', tmp_path)


def test_without_a_detector_one_line_of_advice(monkeypatch, tmp_path):
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(ImportError, match=r'pip install "tokenhmr_jax\[photos\]"') as raised:
        demo.run_demo('bundled', tmp_path / 'out')
    assert '\n' not in str(raised.value)
    assert not (tmp_path / 'out').exists()


def test_rows_of_the_sheet(rng):
    """Aspects 1.5, 1 and 2: the first two share a row 1000 / 2.5 pixels high, then 500."""
    shapes = ((200, 300), (100, 100), (300, 600), (100, 50))
    images = [np.full((*shape, 3), 50 + 50 * i, np.uint8) for i, shape in enumerate(shapes)]
    sheet = demo.overlay_rows(images)
    assert sheet.shape == (400 + 500 + 500, 1000, 3)
    assert sheet[200, [10, 590, 610, 990], 0].tolist() == [50, 50, 100, 100]
    assert (sheet[400:900] == 150).all()
    assert sheet[1000, [10, 240, 260], 0].tolist() == [200, 200, 255]  # white beside the last


@pytest.mark.slow
def test_the_demo(small_parts, photos, tmp_path):
    """One person who fills each picture stands for the detector; run again, and with less."""
    config, _, params, state, body = small_parts
    workdir, out = tmp_path / 'run', tmp_path / 'out'
    with Checkpoints(str(workdir)) as saved:
        saved.save_converted(7, params, state, describe_run(config, smpl.topology(body)))
    settings = PredictSettings(boxes='image')
    page = demo.run_demo(str(workdir), out, photos, settings)
    assert page == (out / 'result/view.html').resolve() and page.stat().st_size > 100_000
    names = {path.stem for path in results.frame_paths(out / 'result')}
    assert {'group', 'mine'} <= names
    assert cv2.imread(str(out / 'demo.jpg')).shape[1] == 1000
    before = (out / 'result/frames/group.npz').stat().st_mtime_ns
    demo.run_demo(str(workdir), out, photos, settings)
    assert (out / 'result/frames/group.npz').stat().st_mtime_ns == before
    demo.run_demo(str(workdir), out, None, settings)
    assert {path.stem for path in results.frame_paths(out / 'result')} == names - {'mine'}
    shutil.copytree(workdir, tmp_path / 'other')
    with pytest.raises(ValueError, match='holds another result'):
        demo.run_demo(str(tmp_path / 'other'), out, None, settings)


@pytest.mark.slow
def test_the_command_names_what_is_missing(tmp_path):
    printed = command(
        '-m', 'tokenhmr_jax.demo', f'--out={tmp_path}/out', f'--photos={tmp_path}/none', expect=1
    )
    assert printed.startswith('error: ') and 'Traceback' not in printed
