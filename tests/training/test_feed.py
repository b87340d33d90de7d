"""How long steps wait for data: measured, written, and warned of once."""

import itertools
import json
import time

import ml_collections
import numpy as np
import pytest

from tokenhmr_jax.data import pipeline
from tokenhmr_jax.training import feed as feeding
from tokenhmr_jax.training.feed import Feed
from tokenhmr_jax.training.log import MetricWriter, Progress


class Busy:
    """An output of a device that takes some time."""

    def __init__(self, seconds):
        self._until = time.monotonic() + seconds

    def block_until_ready(self):
        time.sleep(max(self._until - time.monotonic(), 0))
        return self


def slow_data(seconds):
    for number in itertools.count():
        time.sleep(seconds)
        yield number


def waited(data_seconds, step_seconds, steps=4):
    with Feed(slow_data(data_seconds), pipeline.no_records()) as feed:
        for _ in range(steps):
            next(feed)
            feed.ran(Busy(step_seconds))
        return feed.take_waited()


def test_only_idle_devices_count():
    """The first batch comes while programs are compiled."""
    assert 0.3 < waited(0.2, 0) < 1.5  # three times 0.2
    assert 0 < waited(0.4, 0.3) < 0.9  # three times 0.1
    assert waited(0.05, 1.0) == 0


class Data:
    """A stream of two workers."""

    num_workers, rate = 2, 900.0


def test_the_advice_names_what_to_change(monkeypatch):
    data = Data()
    feed = Feed(iter(()), data)
    monkeypatch.setattr(feeding, 'num_cores', lambda: 8)
    assert feed.advice(0.1) is None
    assert feed.advice(0.25) == (
        'the steps wait for data 25% of the time (its workers make 900 examples/s): set '
        'data.num_workers above 2, this machine has 8 cores'
    )
    monkeypatch.setattr(feeding, 'num_cores', lambda: 3)
    assert 'data.num_workers=2 take all 3 cores' in feed.advice(0.25)
    data.num_workers, data.rate = 0, None
    assert 'data.num_workers=0 is for debugging' in feed.advice(0.25)


@pytest.mark.parametrize('seconds', [0.0, 0.03])
def test_waiting_is_written_and_warned_of_once(tmp_path, caplog, seconds):
    config = ml_collections.ConfigDict(
        {'num_steps': 13, 'batch_size': 2, 'log_every': 3, 'max_skipped_steps': 1}
    )
    logs = {'loss': 1.0, 'skipped': 0.0}
    with (
        Feed(slow_data(seconds), Data()) as feed,
        MetricWriter(tmp_path, 0) as writer,
        Progress(writer, 0, config, feed) as progress,
    ):
        for step in range(1, 14):
            next(feed)
            if not seconds:
                time.sleep(0.05)  # the step's own
            feed.ran(logs)
            progress.add(step, np.array([b'a', b'b']), logs)
    lines = [json.loads(line) for line in (tmp_path / 'metrics.jsonl').read_text().splitlines()]
    assert [line['step'] for line in lines] == [3, 6, 9, 12]
    assert all(line['examples_made_per_second'] == 900 for line in lines)
    warnings = [r.getMessage() for r in caplog.records if 'wait for data' in r.getMessage()]
    if seconds:
        assert all(0.5 < line['waits_for_data'] <= 1 for line in lines)
        assert len(warnings) == 1
    else:
        assert all(line['waits_for_data'] < 0.1 for line in lines) and not warnings
