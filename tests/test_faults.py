"""What a run survives: signals, broken files, a second run in its folder."""

import json
import shutil
import signal
import subprocess
import sys
import time

import pytest
from conftest import ROOT, command, train_arguments
from etils import epath
from test_train import assert_identical, read_metrics, saved_arrays, steps_of

from tokenhmr_jax import checkpoints, checksums, preemption, workdir


def start(*arguments):
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_for(condition, process, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_told_to_stop_a_run_saves_and_goes_on_bit_identical(trained, prepared, tmp_path):
    """SIGTERM while it trains: no step is lost, none is done twice."""
    process = start(*train_arguments(prepared, tmp_path))
    wait_for(lambda: (tmp_path / 'metrics.jsonl').exists() and read_metrics(tmp_path), process)
    process.send_signal(signal.SIGTERM)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == preemption.EXIT_CODE, printed
    (stopped,) = [line for line in printed.splitlines() if 'told to stop, saved at step' in line]
    last = int(stopped.split()[-1])
    assert max(steps_of(tmp_path)) == last == read_metrics(tmp_path)[-1]['step']
    printed = command(*train_arguments(prepared, tmp_path))
    assert f'going on from step {last}' in printed
    assert_identical(saved_arrays(tmp_path, 12), saved_arrays(trained, 12))


def files_of(folder):
    return sorted(path for path in folder.rglob('*') if path.is_file())


def test_a_flipped_byte_in_any_file_is_named(trained, tmp_path):
    step = max(steps_of(trained))
    folder = tmp_path / str(step)
    shutil.copytree(trained / f'checkpoints/{step}', folder)
    checksums.check(epath.Path(folder))
    files = files_of(folder)
    assert len(files) > 10
    for path in files:
        content = path.read_bytes()
        if not content:
            continue
        flipped = bytearray(content)
        # Of Orbax' last words, the name of a key: what follows it, the time, is not summed up.
        flipped[content.find(b'success') if path.name.startswith('commit') else 2] ^= 4
        path.write_bytes(flipped)
        with pytest.raises(ValueError, match=path.name):
            checksums.check(epath.Path(folder))
        path.write_bytes(content[:-1] if 'commit' not in path.name else b'')
        with pytest.raises(ValueError, match=path.name):
            checksums.check(epath.Path(folder))
        path.write_bytes(content)
    checksums.check(epath.Path(folder))
    (folder / 'model/added').write_text('x')
    with pytest.raises(ValueError, match='added'):
        checksums.check(epath.Path(folder))


@pytest.mark.parametrize('damage', ['flipped', 'truncated', 'emptied', 'deleted'])
def test_a_broken_step_is_set_aside_for_the_newest_good_one(trained, tmp_path, damage, caplog):
    run = shutil.copytree(trained, tmp_path / 'run')
    *_, before, newest = steps_of(run)
    folder = run / f'checkpoints/{newest}'
    largest = max(files_of(folder), key=lambda path: path.stat().st_size)
    content = largest.read_bytes()
    if damage == 'flipped':
        largest.write_bytes(content[:100] + bytes([content[100] ^ 1]) + content[101:])
    elif damage == 'truncated':
        largest.write_bytes(content[: len(content) // 2])
    else:
        shutil.rmtree(folder)
    if damage == 'emptied':
        folder.mkdir()
    with checkpoints.Checkpoints(str(run), 'mpjpe_mm') as saved:
        assert saved.newest_good() == before
        assert saved.find('last') == before
    if damage != 'deleted':
        assert f'going on from step {before}' in caplog.text
        assert str(folder) in caplog.text
        assert any((run / 'broken').iterdir())


def test_no_good_step_is_said_so_and_nothing_is_touched(trained, tmp_path):
    run = shutil.copytree(trained, tmp_path / 'run')
    for step in steps_of(run):
        (run / f'checkpoints/{step}/{checksums.NAME}').unlink()
    with (
        checkpoints.Checkpoints(str(run), 'mpjpe_mm') as saved,
        pytest.raises(ValueError, match='every checkpoint is broken'),
    ):
        saved.newest_good()
    assert steps_of(run) == steps_of(trained)


def test_a_second_run_in_a_folder_ends_at_once(tmp_path):
    with workdir.locked(str(tmp_path)):
        code = (
            'import sys, time; from tokenhmr_jax.workdir import locked\nwith locked(sys.argv[1]): 0'
        )
        second = subprocess.run(
            [sys.executable, '-c', code, tmp_path], cwd=ROOT, capture_output=True, text=True
        )
        assert 'another run is writing here, process' in second.stderr
    holder = start('-c', f'{code[:-1]}\n print(1, flush=True); time.sleep(60)', tmp_path)
    assert holder.stdout.readline() == '1\n'
    with pytest.raises(ValueError, match=f'process {holder.pid} on'), workdir.locked(str(tmp_path)):
        pass
    holder.kill()
    holder.wait()
    with workdir.locked(str(tmp_path)):  # a lock whose holder died
        pass


def test_what_a_dead_run_was_saving_is_cleared_away(trained, tmp_path):
    run = shutil.copytree(trained, tmp_path / 'run')
    half = run / 'checkpoints/15.orbax-checkpoint-tmp'
    half.mkdir()
    with checkpoints.Checkpoints(str(run), 'mpjpe_mm') as saved:
        assert saved.newest_good() == 12
    assert not half.exists()
    assert json.loads((run / f'checkpoints/12/{checksums.NAME}').read_text())
