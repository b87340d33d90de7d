"""Order of the records of a mixture: a function of the seed and a record's position alone.

Any position is computed without the ones before it, many at once. The order is that of Grain's
`MapDataset.mix` of shuffled, repeated datasets.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

_SMALLEST_SHARE = 100
_ROUNDS = 4
_LEAST_BITS = 16
_BLOCK = 1 << 14  # of an epoch, shuffled at once


class Order(NamedTuple):
    """A mixture of endlessly repeated datasets, each shuffled anew in every epoch.

    sizes: numbers of records of the datasets, at least 1.
    weights: shares of the datasets, above 0.
    """

    sizes: tuple[int, ...]
    weights: tuple[float, ...]
    seed: int

    def places(
        self, positions: Int[np.ndarray, ' N']
    ) -> tuple[Int[np.ndarray, ' N'], Int[np.ndarray, ' N']]:
        """The dataset of the record at each position of the mixture, and its index there."""
        sources, counts = _take_turns(self.weights, positions)
        indices = np.empty_like(counts)
        for source, size in enumerate(self.sizes):
            ours = sources == source
            indices[ours] = _shuffle(size, self.seed + source, counts[ours])
        return sources, indices


def _take_turns(weights: Sequence[float], positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The dataset of each position, and how many of its records come before.

    Dataset by dataset, from all positions those of its share are taken, evenly spread; the rest is
    left to the next ones.
    """
    scale = _SMALLEST_SHARE / min(weights)
    shares = [int(weight * scale) for weight in weights]
    left = sum(shares)
    here = np.asarray(positions, np.int64)
    after = here + 1
    sources = np.full(here.shape, -1, np.int32)
    counts = np.zeros(here.shape, np.int64)
    for source, share in enumerate(shares):
        rest, rest_after = here * (left - share) // left, after * (left - share) // left
        found = (sources < 0) & (here - rest != after - rest_after)
        sources[found], counts[found] = source, (here - rest)[found]
        here, after, left = rest, rest_after, left - share
    return sources, counts


def _shuffle(size: int, seed: int, counts: np.ndarray) -> np.ndarray:
    """Indices of the records at some places of the shuffled epochs of a dataset."""
    epochs, places = np.divmod(counts, size)
    blocks = epochs * (1 + size // _BLOCK) + places // _BLOCK
    found = np.empty_like(places)
    for block in np.unique(blocks):
        ours = blocks == block
        epoch, begin = int(epochs[ours][0]), int(places[ours][0]) // _BLOCK * _BLOCK
        order = _permuted(size, (_derived(seed) + epoch) % 2**32, begin)
        found[ours] = order[places[ours] - begin]
    return found


@functools.lru_cache(maxsize=256)
def _permuted(size: int, seed: int, begin: int) -> np.ndarray:
    """A block of a permutation of the numbers below `size`: a block cipher, cycle-walking."""
    if size == 1:
        return np.zeros(1, np.uint32)
    bits = max(_LEAST_BITS, (size - 1).bit_length())
    half = np.uint32((bits + 1) // 2)
    numbers = np.arange(begin, min(begin + _BLOCK, size), dtype=np.uint32)
    if bits > _LEAST_BITS:
        images = _encrypt(numbers, half, seed)
        while (outside := images >= size).any():
            images[outside] = _encrypt(images[outside], half, seed)
        return images
    # Most images lie outside: all walks at once, twice as many steps each time.
    step = _encrypt(np.arange(1 << _LEAST_BITS, dtype=np.uint32), half, seed)
    images = step[numbers]
    step[:size] = np.arange(size)  # where walks end
    while (images >= size).any():
        images = step[images]
        step = step[step]
    return images


def _encrypt(numbers: np.ndarray, half: np.uint32, seed: int) -> np.ndarray:
    """Numbers of two halves through four rounds of Simon (Beaulieu et al., 2013)."""
    mask = np.uint32((1 << int(half)) - 1)

    def turn(word, by):
        return (word << np.uint32(by)) | (word >> (half - np.uint32(by)))

    def mix(word, key):
        return ((turn(word, 1) & turn(word, 8)) ^ turn(word, 2) ^ np.uint32(key)) & mask

    high, low = numbers >> half, numbers & mask
    keys = _keys(seed)
    for first, second in zip(keys[::2], keys[1::2], strict=True):
        high = high ^ mix(low, first)
        low = low ^ mix(high, second)
    return (high << half) | low


@functools.lru_cache(maxsize=1024)
def _derived(seed: int) -> int:
    """The seed of a dataset's first epoch."""
    return int(np.random.SeedSequence((seed, 1)).generate_state(1, np.uint32)[0])


@functools.lru_cache(maxsize=1024)
def _keys(seed: int) -> tuple[int, ...]:
    """The cipher's round keys: C++'s `std::seed_seq` of one number (ISO C++, rand.util.seedseq)."""
    count = _ROUNDS
    keys = [0x8B8B8B8B] * count
    t = (count - 1) // 2
    p, q = (count - t) // 2, (count + t) // 2

    def hashed(k):
        x = keys[k % count] ^ keys[(k + p) % count] ^ keys[(k - 1) % count]
        return x ^ (x >> 27)

    for k in range(count):
        first = 1664525 * hashed(k) % 2**32
        second = (first + (1 if k == 0 else k % count + (seed if k == 1 else 0))) % 2**32
        keys[(k + p) % count] = (keys[(k + p) % count] + first) % 2**32
        keys[(k + q) % count] = (keys[(k + q) % count] + second) % 2**32
        keys[k % count] = second
    for k in range(count, 2 * count):
        x = (keys[k % count] + keys[(k + p) % count] + keys[(k - 1) % count]) % 2**32
        first = 1566083941 * (x ^ (x >> 27)) % 2**32
        second = (first - k % count) % 2**32
        keys[(k + p) % count] ^= first
        keys[(k + q) % count] ^= second
        keys[k % count] = second
    return tuple(keys)
