"""Datasets written shard by shard: the same for any number of processes and interruptions."""

import dataclasses
import functools
import os
import pathlib
import signal
import subprocess
import sys
import time

import image_records
import numpy as np
import pytest
import real_formats
import tensorflow_datasets as tfds
from conftest import ROOT

from tokenhmr_jax.data import pipeline, records
from tokenhmr_jax.data.workers import num_cores
from tokenhmr_jax.readers import prepare, shards, workers

SIZE = (200, 150)


@functools.cache
def record(key):
    rng = np.random.default_rng(int.from_bytes(key.encode(), 'big') % 2**32)
    return image_records.make(rng, key, SIZE, 80.0, resolution=32)


def read(name, count, corrupt=0, error=None):
    """Yields the records of a unit; the first ones are corrupt, or its end cannot be read."""
    for i in range(count):
        if i < corrupt:
            yield shards.Remark(shards.CORRUPT, f'{name}/{i}: no picture')
        else:
            yield record(f'{name}/{i}')
            yield shards.Remark('not trusted: betas')
    if error:
        raise ValueError(f'{error} is broken')


def unit(name, *arguments):
    return shards.Unit(name, name[0], functools.partial(read, name, *arguments))


@dataclasses.dataclass(frozen=True)
class Settings(shards.BuildSettings):
    table: str = prepare.setting('', 'a file', path_or='')


class Builder(shards.Builder, skip_registration=True):
    name = 'made'
    pkg_dir_path = pathlib.Path(__file__).parent
    VERSION = '1.0.0'
    made = None

    def units(self):
        return self.made


def build(folder, made, **settings):
    """Prepares a dataset of the units of each split."""
    folder.mkdir(exist_ok=True)
    settings = {'num_processes': 1, 'num_shards': 4} | settings
    settings = Settings(manual_dir=str(folder), **settings)
    builder = type('Made', (Builder,), {'made': made}, skip_registration=True)
    prepare.prepare_dataset(builder(settings=settings, data_dir=folder), settings)
    return folder


def keys(folder, split='train'):
    opened = pipeline.open_split(str(folder), f'made/{split}')
    return [opened[i]['key'].decode() for i in range(len(opened))]


def shard_sizes(folder):
    info = tfds.builder_from_directory(folder / 'made/1.0.0').info
    return {split: each.shard_lengths for split, each in info.splits.items()}


def assert_same(one, two, name='made/train'):
    """Both folders hold the same records in the same order."""
    first, second = (pipeline.open_split(str(folder), name) for folder in (one, two))
    assert len(first) == len(second)
    for i in range(len(first)):
        np.testing.assert_equal(first[i], second[i])


@pytest.fixture
def units():
    return [unit(f'{source}{i}', 3) for source in 'ab' for i in range(3)]


def test_every_record_is_there_once_and_counted(tmp_path, units, capsys):
    made = {'train': units, 'heldout': [unit('c0', 2), unit('c1', 0), unit('c2', 0)]}
    folder = build(tmp_path / 'out', made)
    assert keys(folder) == [f'{unit.name}/{i}' for unit in units for i in range(3)]
    assert shard_sizes(folder) == {'train': [3, 6, 3, 6], 'heldout': [2, 0, 0]}
    # A shard may be empty: all its persons were dropped.
    assert keys(folder, 'heldout') == ['c0/0', 'c0/1']
    printed = capsys.readouterr().out
    assert '9 a' in printed and '9 b' in printed and '18 not trusted: betas' in printed
    assert not list(folder.glob('made/partial*'))
    opened = pipeline.open_split(str(folder), 'made/train')
    expected = record('b1/2')
    for name in records.SHAPES:
        np.testing.assert_array_equal(opened[14][name], expected[name])
    assert opened[14]['image'] == expected['image']


@pytest.mark.slow
def test_many_processes_write_the_same_files(tmp_path, units):
    one = build(tmp_path / 'one', {'train': units})
    two = build(tmp_path / 'two', {'train': units}, num_processes=2)
    assert_same(one, two)
    assert shard_sizes(one) == shard_sizes(two)


def test_a_second_run_does_nothing_whatever_the_number_of_processes(tmp_path, units, capsys):
    folder = build(tmp_path / 'out', {'train': units})
    before = {p: p.stat().st_mtime_ns for p in folder.rglob('*') if p.is_file()}
    build(folder, {'train': units}, num_processes=2)
    assert 'already prepared; nothing to do' in capsys.readouterr().out
    assert before == {p: p.stat().st_mtime_ns for p in folder.rglob('*') if p.is_file()}
    with pytest.raises(ValueError, match='prepared with resolution=256'):
        build(folder, {'train': units}, resolution=64)


def test_what_is_finished_is_kept_and_the_rest_written_again(tmp_path, units, capsys):
    """A run that ended at its limit of failures; then the same with the file repaired."""
    broken = [*units[:4], unit('b1', 1, 0, 'b1'), *units[5:]]
    with pytest.raises(ValueError, match=r'1 broken files, .* of 6: b1: b1 is broken'):
        build(tmp_path / 'out', {'train': broken})
    assert not list(tmp_path.glob('out/made/1*'))
    partial = tmp_path / 'out/made/partial_1.0.0'
    kept, cut = sorted(partial.glob('*-00000-*')), sorted(partial.glob('*-00001-*'))
    cut[0].write_bytes(cut[0].read_bytes()[:-10])
    (partial / '.x.partial.array_record').write_bytes(b'left by a run that was killed')
    written = kept[0].stat().st_mtime_ns
    moved = []

    def note(path, folder, move=shards.shutil.move):
        moved.append((pathlib.Path(path).name, os.stat(path).st_mtime_ns))
        return move(path, folder)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards.shutil, 'move', note)
        folder = build(tmp_path / 'out', {'train': units})
    # Of the four shards the second was cut, and the fourth or third had the broken unit.
    assert 'going on: 2 of 4 shards are there' in capsys.readouterr().out
    assert dict(moved)[kept[0].name] == written
    assert_same(folder, build(tmp_path / 'new', {'train': units}))


def test_other_settings_start_anew(tmp_path, units, capsys):
    bad = [*units, unit('x', 0, 0, 'x')]
    with pytest.raises(ValueError, match='x is broken'):
        build(tmp_path / 'out', {'train': bad}, quality=50)
    build(tmp_path / 'out', {'train': units})
    assert 'going on' not in capsys.readouterr().out


def test_a_few_corrupt_records_do_not_make_a_shard_be_written_again(tmp_path, capsys):
    """Too many do: those of the second shard, for which the run ended, have been mended since."""
    made = {'train': [unit('a', 40, 1), unit('b', 4, 2), unit('c', 2)]}
    with pytest.raises(ValueError, match='3 corrupt records'):
        build(tmp_path / 'out', made, max_bad_fraction=0.05)
    made = {'train': [unit('a', 40), unit('b', 4), unit('c', 2)]}
    folder = build(tmp_path / 'out', made, max_bad_fraction=0.05)
    assert 'going on: 1 of 3 shards are there' in capsys.readouterr().out
    assert len(keys(folder)) == 45


def test_a_file_that_was_made_again_makes_another_dataset(tmp_path, units, capsys):
    out, table = tmp_path / 'out', tmp_path / 'table'
    table.write_text('one')
    with pytest.raises(ValueError, match='b2 is broken'):
        build(out, {'train': [*units[:5], unit('b2', 3, 0, 'b2')]}, table=str(table))
    table.write_text('two')
    build(out, {'train': units}, table=str(table))
    assert 'going on' not in capsys.readouterr().out
    build(out, {'train': units}, table=str(table))
    assert 'already prepared' in capsys.readouterr().out
    table.write_text('three')
    with pytest.raises(ValueError, match=r"prepared with table='table sha256:\w+' \(now 'table"):
        build(out, {'train': units}, table=str(table))


def test_too_many_corrupt_records_stop_the_run(tmp_path, capsys):
    made = {'train': [unit('a', 40, 1), unit('b', 40, 2)]}
    with pytest.raises(ValueError, match=r'3 corrupt records, more than max_bad_fraction=0.03'):
        build(tmp_path / 'out', made, max_bad_fraction=0.03)
    folder = build(tmp_path / 'out', made, max_bad_fraction=0.06)
    assert len(keys(folder)) == 77
    printed = capsys.readouterr().out
    assert '3 were skipped' in printed and 'b/1: no picture' in printed


def test_a_dataset_without_records_is_an_error(tmp_path):
    with pytest.raises(ValueError, match='train: no record'):
        build(tmp_path / 'out', {'train': [unit('a', 0)]})


@pytest.fixture
def tars(tmp_path, rng):
    pixels = image_records.person(rng, 70, 100) + np.array([100.0, 30])
    picture = real_formats.encode(real_formats.dotted([pixels], SIZE), '.jpg')
    people = [real_formats.fitted_person(rng, pixels) for _ in range(3)]
    for tar in range(12):
        samples = {f'{tar}_{i}': {'jpg': picture, 'data.pyd': people} for i in range(8)}
        real_formats.write_tar(tmp_path / f'in/mpii-train/{tar:06d}.tar', samples)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize(('number', 'processes'), [(signal.SIGKILL, 1), (signal.SIGINT, 2)])
def test_an_ended_preparation_goes_on(tars, number, processes):
    """Ended after its first shard, by force or by Ctrl-C, the command goes on to the same data."""
    command = [
        sys.executable, 'datasets/pseudo_gt/pseudo_gt_dataset_builder.py', '--set=mpii',
        f'--data_dir={tars / "killed"}', f'--manual_dir={tars / "in"}', '--pose_density=none',
        f'--num_processes={processes}',
    ]  # fmt: skip
    options = {'cwd': ROOT, 'env': os.environ | {'PYTHONPATH': str(ROOT)}}
    killed = subprocess.Popen(
        command, stderr=subprocess.PIPE, start_new_session=True, text=True, **options
    )
    deadline = time.monotonic() + 120
    while not list(tars.glob('killed/pseudo_gt/mpii/partial*/[!.]*.json')):
        assert killed.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(killed.pid, number)  # as a terminal does
    errors = killed.communicate(timeout=30)[1]
    there = len(list(tars.glob('killed/pseudo_gt/mpii/partial*/[!.]*.json')))
    assert 0 < there < 12
    if number == signal.SIGINT:
        assert killed.returncode == 130 and 'Traceback' not in errors
        assert errors.endswith('\ninterrupted; run the same command again to go on\n')
        assert_no_process_is_left(killed.pid)
        (partial,) = tars.glob('killed/pseudo_gt/mpii/*')  # and no incomplete folder
        assert len(list(partial.iterdir())) in (2 * there, 2 * there + 1)  # shard and report
    again = subprocess.run(command, capture_output=True, text=True, **options)
    assert again.returncode == 0, again.stderr
    assert f'going on: {there} of 12 shards are there' in again.stdout
    assert '288 records' in again.stdout
    module = real_formats.load_builder('pseudo_gt')
    settings = module.Settings(
        manual_dir=str(tars / 'in'), set='mpii', pose_density='none', num_processes=1
    )
    prepare.prepare_dataset(module.Builder(settings=settings, data_dir=tars / 'whole'), settings)
    assert_same(tars / 'killed', tars / 'whole', 'pseudo_gt/mpii/train')


def assert_no_process_is_left(group):
    deadline = time.monotonic() + 10
    with pytest.raises(ProcessLookupError):
        while time.monotonic() < deadline:
            os.killpg(group, 0)
            time.sleep(0.05)


def test_cores_are_counted_where_the_system_does_not_tell_which(monkeypatch):
    """As macOS does not."""
    monkeypatch.delattr(os, 'sched_getaffinity', raising=False)
    monkeypatch.setattr(os, 'cpu_count', lambda: 7)
    assert num_cores() == 7
    with workers.start_pool(0):  # starts none before there is work
        pass


WORKER = """
import multiprocessing, time
from tokenhmr_jax.readers import workers

def work():
    workers._start(lambda: print('working', flush=True), ())
    time.sleep(30)

multiprocessing.get_context('fork').Process(target=work).start()
time.sleep(30)
"""


def test_workers_end_with_a_killed_builder():
    """Forked, which is faster than `workers.start_pool` but no different once they are there."""
    options = {'stdout': subprocess.PIPE, 'text': True, 'cwd': ROOT}
    builder = subprocess.Popen([sys.executable, '-c', WORKER], **options)
    assert builder.stdout.readline() == 'working\n'
    builder.kill()
    start = time.monotonic()
    builder.communicate()  # until nobody can write any more
    assert time.monotonic() - start < 15


def test_on_beam(tmp_path, units):
    pytest.importorskip('apache_beam')
    here = build(tmp_path / 'here', {'train': units})
    there = build(tmp_path / 'there', {'train': units}, beam='--runner=DirectRunner')
    assert_same(here, there)
