"""Logs of a run: means of its steps, and the batches that were skipped."""

import json

import ml_collections
import numpy as np
import pytest

from tokenhmr_jax.data import pipeline
from tokenhmr_jax.training.feed import Feed
from tokenhmr_jax.training.log import MetricWriter, Progress

CONFIG = ml_collections.ConfigDict(
    {'num_steps': 9, 'batch_size': 2, 'log_every': 2, 'max_skipped_steps': 1}
)


def run(folder, losses, part=np.nan):
    """Feed the losses of steps; those that are not finite count as skipped. The lines written."""
    keys = np.array([b'a', b'b'])
    feed = Feed(iter(()), pipeline.no_records())
    with MetricWriter(folder, 0) as writer, Progress(writer, 0, CONFIG, feed) as progress:
        for step, loss in enumerate(losses, start=1):
            skipped = float(not np.isfinite(loss))
            progress.add(step, keys, {'loss': loss, 'part': part, 'skipped': skipped})
        progress.flush()
    return [json.loads(line) for line in (folder / 'metrics.jsonl').read_text().splitlines()]


def test_means_are_of_the_steps_that_were_taken(tmp_path):
    first, skipped, second = run(tmp_path, [1.0, 3.0, np.nan, 7.0])
    assert (first['step'], first['loss'], first['skipped']) == (2, 2, 0)
    assert skipped == {'step': 3, 'skipped_keys': ['a', 'b']}
    assert (second['step'], second['loss'], second['skipped']) == (4, 7, 1)
    assert 'part' not in first  # it was no number in any step


def test_only_steps_in_a_row_stop_a_run(tmp_path):
    run(tmp_path, [np.nan, 1.0, np.inf, 1.0])
    with pytest.raises(FloatingPointError, match=r'steps 2 to 3: .* 2 times in a row .*\'a\''):
        run(tmp_path, [1.0, np.nan, np.nan, 1.0])


def test_lines_of_steps_that_were_not_saved_are_dropped(tmp_path):
    with MetricWriter(tmp_path, 0) as writer:
        for step in (1, 2, 3):
            writer.write(step, {'loss': 1.0})
    with open(tmp_path / 'metrics.jsonl', 'a') as file:
        file.write('{"step": 2, "lo')  # killed here
    with MetricWriter(tmp_path, 2) as writer:
        writer.write(3, {'loss': 2.0})
    lines = (tmp_path / 'metrics.jsonl').read_text().splitlines()
    assert [(line['step'], line['loss']) for line in map(json.loads, lines)] == [
        (1, 1.0), (2, 1.0), (3, 2.0),
    ]  # fmt: skip
