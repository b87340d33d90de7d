"""Checkpoints that are broken: named, set aside, and the newest good one is gone on from."""

import json
import shutil

import pytest
from conftest import command, train_arguments
from etils import epath
from training_runs import FULL, assert_identical, losses, saved_arrays, steps_of

from tokenhmr_jax.checkpoints import checksums
from tokenhmr_jax.checkpoints.store import Checkpoints


def files_of(folder):
    """All files of a checkpoint that hold something."""
    return sorted(path for path in folder.rglob('*') if path.is_file() and path.stat().st_size)


def flip(path, content: bytes) -> None:
    """Write a file's content with one bit of one byte the other way."""
    # Of Orbax' last words, in the name of a key: what follows it, the time, is not summed up.
    place = content.find(b'success') if path.name.startswith('commit') else len(content) // 3
    if path.name == '_CHECKPOINT_METADATA':
        place = 2
    path.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])


@pytest.mark.fault(4, 'one byte flipped, in every file of a checkpoint')
def test_a_flipped_byte_in_any_file_is_named(trained, tmp_path, record_property):
    step = steps_of(trained)[-1]
    folder = tmp_path / str(step)
    shutil.copytree(trained / f'checkpoints/{step}', folder)
    checksums.check_checksums(epath.Path(folder))
    files = files_of(folder)
    assert len(files) > 10
    for path in files:
        content = path.read_bytes()
        flip(path, content)
        with pytest.raises(ValueError, match=path.name):
            checksums.check_checksums(epath.Path(folder))
        path.write_bytes(content)
    checksums.check_checksums(epath.Path(folder))
    (folder / 'model/added').write_text('x')
    with pytest.raises(ValueError, match='added'):
        checksums.check_checksums(epath.Path(folder))
    record_property('seen', f'{len(files)} files, each named')


DAMAGES = ['a byte flipped', 'truncated', 'emptied', 'deleted']


@pytest.mark.fault(5, 'the newest step flipped, truncated, emptied, deleted')
@pytest.mark.parametrize('damage', DAMAGES)
def test_a_broken_step_is_set_aside_for_the_newest_good_one(
    trained, prepared, tmp_path, damage, caplog
):
    run = shutil.copytree(trained, tmp_path / 'run')
    *_, before, newest = steps_of(run)
    folder = run / f'checkpoints/{newest}'
    largest = max(files_of(folder), key=lambda path: path.stat().st_size)
    content = largest.read_bytes()
    if damage == 'a byte flipped':
        flip(largest, content)
    elif damage == 'truncated':
        largest.write_bytes(content[: len(content) // 2])
    else:
        shutil.rmtree(folder)
    if damage == 'emptied':
        folder.mkdir()
    with Checkpoints(str(run), 'mpjpe_mm') as saved:
        assert saved.newest_good() == before
        assert saved.find('last') == before
    if damage != 'deleted':
        assert f'going on from step {before}' in caplog.text
        assert str(folder) in caplog.text
        assert any((run / 'broken').iterdir())
    if FULL:
        assert f'going on from step {before}' in command(*train_arguments(prepared, run))
        assert_identical(saved_arrays(run, newest), saved_arrays(trained, newest))
        losses(run)


@pytest.mark.fault(5, 'no good step')
def test_no_good_step_is_said_so_and_nothing_is_touched(trained, prepared, tmp_path):
    run = shutil.copytree(trained, tmp_path / 'run')
    for step in steps_of(run):
        (run / f'checkpoints/{step}/{checksums.NAME}').unlink()
    with (
        Checkpoints(str(run), 'mpjpe_mm') as saved,
        pytest.raises(ValueError, match='every checkpoint is broken'),
    ):
        saved.newest_good()
    assert steps_of(run) == steps_of(trained)
    if FULL:
        printed = command(*train_arguments(prepared, run), expect=1)
        assert 'every checkpoint is broken' in printed.splitlines()[-1]


def test_what_a_dead_run_was_saving_is_cleared_away(trained, tmp_path):
    run = shutil.copytree(trained, tmp_path / 'run')
    half = run / 'checkpoints/15.orbax-checkpoint-tmp'
    half.mkdir()
    with Checkpoints(str(run), 'mpjpe_mm') as saved:
        assert saved.newest_good() == 12
    assert not half.exists()
    assert json.loads((run / f'checkpoints/12/{checksums.NAME}').read_text())
