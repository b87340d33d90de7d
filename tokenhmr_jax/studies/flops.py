"""Floating-point operations of a JAX function, counted on its jaxpr."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.extend import core


def count_flops(function: Callable, *arguments: Any) -> float:
    """Multiplications and additions of all matrix products and convolutions.

    A loop of known length counts as often as it runs, rematerialised operations count again, and a
    branch counts with its larger side. Other operations are bound by memory, and not counted.

    Args:
      function: traceable by JAX.
      arguments: arrays, or their shapes.
    """
    return _count(jax.make_jaxpr(function)(*arguments).jaxpr)


def _count(jaxpr: core.Jaxpr) -> float:
    return sum(_count_equation(equation) for equation in jaxpr.eqns)


def _count_equation(equation: core.JaxprEqn) -> float:
    name, params = equation.primitive.name, equation.params
    if name == 'dot_general':
        (contracted, _), _ = params['dimension_numbers']
        left, out = equation.invars[0].aval.shape, equation.outvars[0].aval.shape
        return 2.0 * np.prod(out) * np.prod([left[axis] for axis in contracted])
    if name == 'conv_general_dilated':
        kernel, out = equation.invars[1].aval.shape, equation.outvars[0].aval.shape
        outputs = kernel[params['dimension_numbers'].rhs_spec[0]]
        return 2.0 * np.prod(out) * np.prod(kernel) / outputs
    inner = [_count(jaxpr) for jaxpr in _inner(params)]
    if name == 'cond':
        return max(inner)
    return sum(inner) * params.get('length', 1)


def _inner(params: dict) -> list[core.Jaxpr]:
    """Functions that an operation calls, such as the body of a loop."""
    found = []
    for value in params.values():
        for each in value if isinstance(value, tuple | list) else [value]:
            if isinstance(each, core.ClosedJaxpr):
                found.append(each.jaxpr)
            elif isinstance(each, core.Jaxpr):
                found.append(each)
    return found
