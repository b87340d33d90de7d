"""The order of a mixture's records, against Grain's."""

import functools

import grain
import numpy as np
import pytest

from tokenhmr_jax.data import mixing


def by_grain(order):
    shuffled = [
        grain.MapDataset.range(size).seed(order.seed + source).shuffle().repeat()
        for source, size in enumerate(order.sizes)
    ]
    placed = [
        each.map(functools.partial(lambda source, index: (source, index), source))
        for source, each in enumerate(shuffled)
    ]
    return grain.MapDataset.mix(placed, order.weights)


@pytest.mark.parametrize(
    'order',
    [
        mixing.Order((1000,), (1.0,), 3),
        mixing.Order((5, 70_000, 1), (0.2, 0.7, 0.1), 11),
        mixing.Order((300_000, 65_536, 65_538, 17), (0.58, 0.301, 0.118, 0.001), 2**31),
    ],
)
def test_the_order_is_that_of_grain(order):
    positions = np.concatenate([np.arange(200), 10**5 + np.arange(0, 10**5, 997), [10**10 + 7]])
    expected = [by_grain(order)[position] for position in positions.tolist()]
    sources, indices = order.places(positions)
    assert list(zip(sources.tolist(), indices.tolist(), strict=True)) == expected


@pytest.mark.parametrize('size', [1, 2, 100, 16_385, 65_537, 100_000])
def test_every_epoch_is_another_permutation(size):
    """Also of one more than a power of two, where Grain's has one record twice."""
    _, indices = mixing.Order((size,), (1.0,), 0).places(np.arange(3 * size))
    epochs = indices.reshape(3, size)
    assert (np.sort(epochs) == np.arange(size)).all()
    if size > 2:
        assert len({epoch.tobytes() for epoch in epochs}) == 3
