"""How many floating-point operations a function of arrays does, counted before it is compiled."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.extend import core


def count_flops(function: Callable, *arguments: Any) -> float:
    """Operations of all matrix products and convolutions, a multiplication and an addition each.

    Loops of known length count as often as they run, and what rematerialisation computes again
    counts again; of a branch's sides the larger one. All else is left out: it is memory that it
    takes, hardly arithmetic.

    Args:
      function: traceable by JAX.
      arguments: arrays, or their shapes.
    """
    return _of(jax.make_jaxpr(function)(*arguments).jaxpr)


def _of(jaxpr: core.Jaxpr) -> float:
    return sum(_of_equation(equation) for equation in jaxpr.eqns)


def _of_equation(equation: core.JaxprEqn) -> float:
    name, params = equation.primitive.name, equation.params
    if name == 'dot_general':
        (contracted, _), _ = params['dimension_numbers']
        left, out = equation.invars[0].aval.shape, equation.outvars[0].aval.shape
        return 2.0 * np.prod(out) * np.prod([left[axis] for axis in contracted])
    if name == 'conv_general_dilated':
        kernel, out = equation.invars[1].aval.shape, equation.outvars[0].aval.shape
        outputs = kernel[params['dimension_numbers'].rhs_spec[0]]
        return 2.0 * np.prod(out) * np.prod(kernel) / outputs
    inner = [_of(jaxpr) for jaxpr in _inner(params)]
    if name == 'cond':
        return max(inner)
    return sum(inner) * params.get('length', 1)


def _inner(params: dict) -> list[core.Jaxpr]:
    """The functions that an operation calls: a loop's body, a branch's sides."""
    found = []
    for value in params.values():
        for each in value if isinstance(value, tuple | list) else [value]:
            if isinstance(each, core.ClosedJaxpr):
                found.append(each.jaxpr)
            elif isinstance(each, core.Jaxpr):
                found.append(each)
    return found
