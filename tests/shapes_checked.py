"""The run-time type checker of the tests, for jaxtyping's import hook."""

from collections.abc import Callable

import beartype

_CONF = beartype.BeartypeConf(is_pep484_tower=True)  # an int is a float too


def checked(function: Callable) -> Callable:
    """Checks what a function takes and returns against its annotations.

    Constructors are exempt: a pytree of arrays may also hold shapes or shardings.
    """
    return function if function.__name__ == '__init__' else beartype.beartype(function, conf=_CONF)
