"""Errors by the distance of the person."""

import numpy as np

from tokenhmr_jax.inference.fitting.label_changes import by_distance
from tokenhmr_jax.studies.by_distance import table


def test_errors_are_means_within_ranges_of_distance():
    distance = np.array([1.3, 1.5, 1.99, 7.0])
    text = table(distance, {'none': np.array([10.0, 20, 40, 80]), 'tals': np.ones(4)})
    lines = [[cell.strip() for cell in line.strip('|').split('|')] for line in text.splitlines()]
    assert lines[0] == ['metres', 'persons', 'none', 'tals']
    assert lines[2:] == [
        ['0 to 1.5', '1', '10', '1'],
        ['1.5 to 2', '2', '30', '1'],
        ['6 to inf', '1', '80', '1'],
        ['all', '4', '37.5', '1'],
    ]


def test_everybody_is_in_one_range(rng):
    distance = rng.uniform(0.5, 12, 200)
    *ranges, (title, everybody) = by_distance(distance)
    assert title == 'all' and everybody.all()
    assert (np.sum([inside for _, inside in ranges], axis=0) == 1).all()
