"""Random numbers in blocks."""

import jax
import numpy as np
import pytest

from tokenhmr_jax.data.draws import Draws


def test_no_number_is_handed_out_twice_and_a_used_up_block_is_an_error():
    draws = Draws(jax.random.key(0), 10)
    numbers = [*np.asarray(draws.normal((2, 3))).ravel(), *np.asarray(draws.normal((4,)))]
    assert len(set(map(float, numbers))) == 10
    with pytest.raises(ValueError, match='more than 10 normal'):
        draws.normal()


def test_ranges_and_shares():
    draws = Draws(jax.random.key(1), 30_000)
    between = np.asarray(draws.between(-2.0, 3.0, (10_000,)))
    assert between.min() > -2 and between.max() < 3 and abs(between.mean() - 0.5) < 0.05
    assert abs(np.asarray(draws.chance(0.2, (10_000,))).mean() - 0.2) < 0.02
    assert {int(draws.index(3)) for _ in range(40)} == {0, 1, 2}
