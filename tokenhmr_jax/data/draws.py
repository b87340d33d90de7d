"""Random numbers for code that needs many small draws on the device."""

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from tokenhmr_jax.types import Array


class Draws:
    """Hands out the random numbers of one key, made in two blocks.

    The compiler takes a second for each draw of its own. Raises ValueError when a block is used up.
    """

    def __init__(self, key: jax.Array, count: int):
        of_uniform, of_normal = jax.random.split(key)
        self._uniform = jax.random.uniform(of_uniform, (count,))
        self._normal = jax.random.normal(of_normal, (count,))
        self._count, self._used = count, {'uniform': 0, 'normal': 0}

    def normal(self, shape: tuple[int, ...] = ()) -> Float[Array, '...']:
        """Standard normal deviates."""
        return self._take('normal', self._normal, shape)

    def between(self, low: float, high: float, shape: tuple[int, ...] = ()) -> Float[Array, '...']:
        """Uniform deviates."""
        return low + (high - low) * self._take('uniform', self._uniform, shape)

    def chance(
        self, share: float | Float[Array, ''], shape: tuple[int, ...] = ()
    ) -> Bool[Array, '...']:
        """True in a share of cases."""
        return self._take('uniform', self._uniform, shape) < share

    def index(self, count: int) -> Int[Array, '']:
        """A number below `count`."""
        return jnp.minimum(jnp.int32(count * self.between(0.0, 1.0)), count - 1)

    def _take(self, kind, block, shape) -> Array:
        start, size = self._used[kind], 1
        for length in shape:
            size *= length
        if start + size > self._count:
            raise ValueError(f'more than {self._count} {kind} numbers of one key')
        self._used[kind] = start + size
        return block[start : start + size].reshape(shape)
