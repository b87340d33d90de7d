"""The commands from pictures to a page, as a user types them."""

import json
import random
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
from conftest import ROOT, command
from PIL import Image
from small_model import picture

from tokenhmr_jax.body import smpl
from tokenhmr_jax.checkpoints.compatibility import describe_run
from tokenhmr_jax.checkpoints.store import Checkpoints
from tokenhmr_jax.inference import summary
from tokenhmr_jax.inference.outputs import results
from tokenhmr_jax.predict import main


@pytest.fixture(scope='module')
def checkpoint(small_parts, tmp_path_factory):
    config, _, params, state, body = small_parts
    workdir = tmp_path_factory.mktemp('checkpoint') / 'run'
    with Checkpoints(str(workdir)) as saved:
        saved.save_converted(7, params, state, describe_run(config, smpl.topology(body)))
    return workdir


@pytest.mark.slow
def test_the_commands(checkpoint, tmp_path):
    """From a checkpoint and a picture to a page."""
    Image.fromarray(picture(60, 80)).save(tmp_path / 'a.png')
    printed = command(
        '-m', 'tokenhmr_jax.predict', f'--checkpoint={checkpoint}', f'--input={tmp_path}/a.png',
        f'--out={tmp_path}/r', '--boxes=image', f'--compilation_cache={tmp_path}/cache',
    )  # fmt: skip
    assert 'persons: one in each image' in printed and '1 picture, 0 left out' in printed
    assert list((tmp_path / 'cache').iterdir())
    command('-m', 'tokenhmr_jax.view', '--nobrowser', tmp_path / 'r')
    assert (tmp_path / 'r/view.html').stat().st_size > 100_000


@pytest.mark.slow
def test_an_interrupted_prediction_leaves_whole_files(checkpoint, tmp_path):
    """Ctrl-C between the first frames and the last: one line, and the same command goes on."""
    pictures, out = tmp_path / 'pictures', tmp_path / 'r'
    pictures.mkdir()
    for i in range(400):
        Image.fromarray(picture(60, 80)).save(pictures / f'{i:03d}.png')
    process = subprocess.Popen(
        [
            sys.executable, '-m', 'tokenhmr_jax.predict', f'--checkpoint={checkpoint}',
            f'--input={pictures}', f'--out={out}', '--boxes=image',
        ],
        cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while process.poll() is None and not (out / 'frames/003.npz').exists():
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, printed = process.communicate(timeout=120)
    assert process.returncode == 130, printed
    assert printed.splitlines()[-1] == 'interrupted; run the same command again to go on'
    assert 'Traceback' not in printed
    assert not list(out.rglob('*.partial*'))
    done = results.frame_paths(out)
    assert 4 <= len(done) < 400
    for path in done:
        assert len(results.read_arrays(path)['boxes']) == 1
        assert (out / f'overlays/{path.stem}.jpg').exists()
        assert (out / f'meshes/{path.stem}_0.glb').exists()


def contents(folder):
    """All files of a result by name; result.json without its seconds."""
    found = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob('*') if p.is_file()}
    summary = json.loads(found['result.json'])
    assert summary.pop('seconds')['all'] > 0
    return found | {'result.json': summary}


@pytest.mark.slow
@pytest.mark.parametrize('source', ['pictures', 'whole.avi'])
def test_killed_at_random_moments_a_prediction_ends_as_an_unbroken_one(
    checkpoint, clip, source, tmp_path
):
    """To the byte, with boxes of two persons in each frame, so that batches span frames."""
    shutil.copytree(clip, tmp_path / 'in')
    (tmp_path / 'in/pictures').mkdir()
    for i in range(12):
        Image.fromarray(picture(64 + i, 96)).save(tmp_path / f'in/pictures/{i}.png')
    moments = random.Random(time.time_ns())

    def run(out):
        return subprocess.Popen(
            [
                sys.executable, '-m', 'tokenhmr_jax.predict', f'--checkpoint={checkpoint}',
                f'--input={tmp_path}/in/{source}', f'--out={tmp_path}/{out}', '--batch_size=4',
                f'--boxes={tmp_path}/in/boxes.csv',
            ],
            cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def done(out):
        return len(results.frame_paths(tmp_path / out))

    unbroken = run('unbroken')
    assert unbroken.communicate(timeout=300)[1].count('12/12 frames') >= 1
    for kill in range(4):
        process, before = run('r'), done('r')
        while process.poll() is None and done('r') == before < 12:
            time.sleep(0.01)
        time.sleep(moments.uniform(0, 0.2 if before < 12 else 5))
        process.send_signal(signal.SIGINT if kill == 1 else signal.SIGKILL)
        _, printed = process.communicate(timeout=300)
        assert process.returncode in (0, 130, -signal.SIGINT, -signal.SIGKILL), printed
        assert 'Traceback' not in printed
    last = run('r')
    last.communicate(timeout=300)
    assert last.returncode == 0
    ours, expected = contents(tmp_path / 'r'), contents(tmp_path / 'unbroken')
    assert ours.keys() == expected.keys()
    assert [name for name in ours if ours[name] != expected[name]] == []


def run_here(*arguments) -> str:
    """The error of the command, run in this process."""
    with pytest.raises(SystemExit) as ended:
        main(list(map(str, arguments)))
    return str(ended.value.code)


def test_what_is_missing_is_said(checkpoint, tmp_path, capsys):
    """Nothing that can be read ends with an error; nobody found is the last line."""
    (tmp_path / 'in').mkdir()
    (tmp_path / 'in/torn.png').write_bytes(b'no picture')
    arguments = f'--checkpoint={checkpoint}', f'--input={tmp_path}/in', f'--out={tmp_path}/r'
    text = run_here(*arguments, '--boxes=image')
    assert re.fullmatch(r'error: .*/in: nothing could be read: .*torn\.png: [^\n]+', text)
    Image.fromarray(picture(60, 80)).save(tmp_path / 'in/a.png')
    main([*arguments, '--boxes=image'])
    printed = capsys.readouterr().out
    assert '1 person in 1 picture\n' in printed
    assert printed.splitlines()[-2] == 'left out: torn'
    (tmp_path / 'boxes.csv').write_text('image,left,top,right,bottom\nother,0,0,9,9\n')
    main([*arguments[:2], f'--out={tmp_path}/nobody', f'--boxes={tmp_path}/boxes.csv'])
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith('NO PERSON in 1 picture: the names in ') and 'boxes.csv' in last
    (tmp_path / 'file').write_text('')
    assert 'file is a file: expected a folder' in run_here(
        *arguments[:2], f'--out={tmp_path}/file', '--boxes=image'
    )


def test_counts_of_a_video(film, capsys):
    summary.report(film[1], 'r')
    frames = film[1]['frames']
    assert f'{2 * frames} detections of 2 persons in {frames} frames\n' in capsys.readouterr().out
    summary.report(film[1] | {'persons': 1, 'detections': 1, 'frames': 1}, 'r')
    assert '1 detection of 1 person in 1 frame\n' in capsys.readouterr().out
