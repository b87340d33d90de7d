"""Floating-point operations of a JAX function, counted on its jaxpr."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.extend import core


def count_flops(function: Callable, *arguments: Any) -> float:
    """Multiplications and additions of all matrix products and convolutions.

    `arguments` are arrays or their shapes. A loop of known length counts as often as it runs, a
    branch with its larger side, and rematerialised operations count again. Other operations are
    bound by memory, and not counted.
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
    inner = [_count(jaxpr) for jaxpr in core.jaxprs_in_params(params)]
    return max(inner) if name == 'cond' else sum(inner) * params.get('length', 1)
