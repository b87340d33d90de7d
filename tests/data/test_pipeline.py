"""Mixtures of prepared datasets: which records come, in which batch, on which host."""

import itertools
import json
import pathlib
import shutil

import numpy as np
import pytest

from tokenhmr_jax.data import pipeline
from tokenhmr_jax.data.workers import Workers, start_workers

TRAIN, HELD_OUT = 'amass/procedural', 'amass/procedural_heldout'


def stream(prepared, mixture=None, **options):
    options = {'batch_size': 32, 'seed': 5, 'num_threads': 2} | options
    return pipeline.train_batches(str(prepared), mixture or {TRAIN: 1.0}, **options)


def _keys(column):
    return [key.decode() for key in column.tolist()]


def take(iterator, count):
    return [_keys(next(iterator)['key']) for _ in range(count)]


def test_batches_depend_on_the_seed_alone(prepared):
    first = take(stream(prepared), 5)
    assert first == take(stream(prepared, num_threads=1), 5)
    assert first != take(stream(prepared, seed=6), 5)
    with Workers(2) as workers:
        assert first == take(stream(prepared, workers=workers), 5)


def test_an_epoch_holds_every_record_once_and_the_next_is_in_another_order(prepared):
    size = len(pipeline.open_split(str(prepared), TRAIN))
    batches = stream(prepared, batch_size=size)
    first, second = take(batches, 2)
    assert len(set(first)) == size
    assert set(first) == set(second)
    assert first != second


def test_single_records_of_several_splits(prepared):
    splits = [pipeline.open_split(str(prepared), name) for name in (HELD_OUT, TRAIN)]
    size = len(splits[0])
    taken = pipeline.take(splits, np.array([size, 0, size - 1]))
    expected = [splits[1][0], splits[0][0], splits[0][size - 1]]
    assert taken['key'].tolist() == [record['key'] for record in expected]


def test_weights_are_the_shares_of_every_stretch(prepared):
    mixture = {TRAIN: 0.75, HELD_OUT: 0.25}
    held_out = len(pipeline.open_split(str(prepared), HELD_OUT))
    batches = take(stream(prepared, mixture, batch_size=40), 50)
    keys = list(itertools.chain(*batches))
    from_held_out = [key for key in keys if '/1-' in key]
    # 500 draws from a split of fewer records: it is repeated, never waited for.
    assert len(from_held_out) == 500 > held_out
    assert len(set(from_held_out)) == held_out
    for start in range(0, 2000, 200):
        share = sum('/1-' in key for key in keys[start : start + 200]) / 200
        assert abs(share - 0.25) < 0.02


@pytest.mark.fault(9, 'the same global records on 1, 2, 4 hosts')
@pytest.mark.parametrize('hosts', [2, 4])
def test_any_number_of_hosts_sees_the_same_global_batches(prepared, hosts):
    alone = take(stream(prepared), 4)
    shares = [
        take(stream(prepared, process_index=host, process_count=hosts), 4) for host in range(hosts)
    ]
    for step, batch in enumerate(alone):
        parts = [share[step] for share in shares]
        assert {len(part) for part in parts} == {32 // hosts}
        assert list(itertools.chain(*parts)) == batch


def test_a_position_is_restored_to_the_record(prepared):
    batches = stream(prepared)
    take(batches, 3)
    position = json.loads(json.dumps(batches.get_state()))
    expected = take(batches, 3)
    fresh = stream(prepared)
    take(fresh, 1)
    fresh.set_state(position)
    assert take(fresh, 3) == expected


def test_a_batch_that_hosts_cannot_share_is_refused(prepared):
    with pytest.raises(ValueError, match='batch_size=32 does not divide over 3 hosts'):
        stream(prepared, process_count=3)


@pytest.mark.parametrize('hosts', [1, 2])
@pytest.mark.parametrize('limit', [None, 50])
def test_evaluation_reads_every_record_exactly_once(prepared, hosts, limit):
    records = pipeline.open_split(str(prepared), HELD_OUT)
    seen, shapes = [], set()
    for host in range(hosts):
        batches = pipeline.eval_batches(
            records, batch_size=32, num_threads=2, limit=limit,
            process_index=host, process_count=hosts,
        )  # fmt: skip
        for columns, valid in batches:
            shapes.add(columns['body_pose'].shape)
            seen += _keys(columns['key'][valid])
    assert shapes == {(32 // hosts, 21, 3)}
    assert len(seen) == len(set(seen)) == (limit or len(records))


def test_poses_are_what_was_stored(prepared):
    records = pipeline.open_split(str(prepared), TRAIN)
    stored = {
        record['key'].decode(): record['body_pose']
        for record in map(records.__getitem__, range(40))
    }
    batch = next(stream(prepared, batch_size=len(records)))
    assert batch['body_pose'].dtype == np.float32
    found = dict(zip(_keys(batch['key']), batch['body_pose'], strict=True))
    for key, pose in stored.items():
        np.testing.assert_array_equal(found[key], pose)


@pytest.mark.parametrize(
    ('mixture', 'message'),
    [
        ({TRAIN: 0.5}, r'sum to 0\.5'),
        ({TRAIN: 1.5, HELD_OUT: -0.5}, 'above 0'),
        ({}, 'empty'),
        ({'amass/Nowhere': 1.0}, r'amass/Nowhere.*procedural.*procedural_heldout'),
    ],
)
def test_a_mixture_that_makes_no_sense_is_refused(prepared, mixture, message):
    with pytest.raises(ValueError, match=message):
        pipeline.train_batches(str(prepared), mixture, batch_size=8, seed=0, num_threads=1)


def test_an_unknown_dataset_is_refused_with_what_there_is(prepared):
    with pytest.raises(FileNotFoundError, match=r"bedlam: no prepared dataset.*\['amass'\]"):
        stream(prepared, {'bedlam/train': 1.0})


def test_a_version_that_was_put_aside_is_passed_over(prepared, tmp_path):
    folder = tmp_path / 'amass/1.1.0'
    shutil.copytree(prepared / 'amass/1.1.0', folder)
    shutil.copytree(folder, tmp_path / 'amass/1.1.0-old')
    assert len(pipeline.open_split(str(tmp_path), HELD_OUT)) == 150
    shutil.rmtree(folder)
    with pytest.raises(FileNotFoundError, match=r'no prepared dataset; .* holds \[\]'):
        pipeline.open_split(str(tmp_path), HELD_OUT)


@pytest.mark.fault(11, 'a data shard is missing or corrupt')
def test_a_missing_shard_is_named(prepared, tmp_path):
    copy = shutil.copytree(prepared, tmp_path / 'data')
    shard = next(pathlib.Path(copy).glob('amass/*/amass-procedural.array_record*'))
    shard.unlink()
    with pytest.raises(FileNotFoundError, match=shard.name):
        stream(copy)


@pytest.mark.fault(11, 'a data shard is missing or corrupt')
@pytest.mark.parametrize('num_workers', [0, 4])
def test_a_corrupt_shard_is_named(prepared, tmp_path, num_workers):
    copy = shutil.copytree(prepared, tmp_path / 'data')
    shard = next(pathlib.Path(copy).glob('amass/*/amass-procedural.array_record*'))
    content = bytearray(shard.read_bytes())
    for i in range(1000, len(content) - 70_000, 500):
        content[i] ^= 0xFF
    shard.write_bytes(content)
    message = rf'^amass/procedural: record .*{shard.name} is broken'
    with start_workers(num_workers) as workers, pytest.raises(ValueError, match=message):
        take(stream(copy, workers=workers), 20)


def test_a_position_that_is_none_is_refused(prepared):
    with pytest.raises(ValueError, match=r"position in the data .*'workers_state'.*next_index"):
        stream(prepared).set_state({'workers_state': [1, 2]})
