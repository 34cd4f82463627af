"""Functions by polynomials: a few units in the last place from the truth, and right where numbers end."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from tests.backends.native.compiled import computed
from toolkit.backends import native
from toolkit.backends.native.assembly import functions
from toolkit.backends.native.assembly.number import Number

if native.unavailable_reason() is not None:
    pytest.skip("needs llvmlite", allow_module_level=True)

erf = np.vectorize(math.erf, otypes=[np.float64])


def gelu_slope(x: np.ndarray) -> np.ndarray:
    return (1 + erf(x / 2**0.5)) / 2 + x * np.exp(-x * x / 2) / (2 * math.pi) ** 0.5


Function = Callable[[Number], Number]
Truth = Callable[[np.ndarray], np.ndarray]

# the function, the truth in float64, the interval, and how many units in the last place (of 1 at least) it may miss it
WITHIN: dict[str, tuple[Function, Truth, tuple[float, float], float, bool]] = {
    "exp": (functions.exponential, np.exp, (-87, 88), 2, True),
    "exp of negative": (functions.exponential_of_negative, np.exp, (-87, 0), 2, True),
    "log": (functions.logarithm, np.log, (1e-30, 1e30), 3, True),
    "log near 1": (functions.logarithm, np.log, (0.5, 2), 3, True),
    "tanh": (functions.hyperbolic_tangent, np.tanh, (-12, 12), 3, True),
    "tanh near 0": (functions.hyperbolic_tangent, np.tanh, (-0.7, 0.7), 3, True),
    "quick tanh": (functions.quick_tangent, np.tanh, (-12, 12), 3, False),
    "erf": (functions.error_function, erf, (-5, 5), 3, False),
    "normal distribution": (functions.normal_distribution, lambda x: (1 + erf(x / 2**0.5)) / 2, (-7, 7), 2, False),
    "slope of Gelu": (functions.gelu_slope, gelu_slope, (-7, 7), 3, False),
    "sigmoid": (functions.sigmoid, lambda x: 1 / (1 + np.exp(-x)), (-80, 80), 4, True),
    "quick sigmoid": (functions.quick_sigmoid, lambda x: 1 / (1 + np.exp(-x)), (-80, 80), 2, False),
    "softplus": (functions.softplus, lambda x: np.logaddexp(0, x), (-80, 80), 4, True),
    "expm1": (functions.exponential_less_one, np.expm1, (-20, 0), 3, True),
}
NAN, INFINITY = math.nan, math.inf
ENDS: dict[str, tuple[Function, Truth]] = {
    "exp": (functions.exponential, np.exp),
    "log": (functions.logarithm, np.log),
    "tanh": (functions.hyperbolic_tangent, np.tanh),
    "erf": (functions.error_function, erf),
    "normal distribution": (functions.normal_distribution, lambda x: (1 + erf(x / 2**0.5)) / 2),
    "sigmoid": (functions.sigmoid, lambda x: 1 / (1 + np.exp(-x))),
    "softplus": (functions.softplus, lambda x: np.logaddexp(0, x)),
}


@pytest.mark.parametrize("name", WITHIN)
def test_float32_is_close_to_the_truth(name: str) -> None:
    function, truth, (low, high), units, is_relative = WITHIN[name]
    random = np.random.default_rng(0)
    if low > 0:
        given = np.exp(random.uniform(math.log(low), math.log(high), 4096)).astype(np.float32)
    else:
        given = random.uniform(low, high, 4096).astype(np.float32)
    expected = truth(given.astype(np.float64))
    unit = np.spacing(np.abs(expected).astype(np.float32) if is_relative else np.float32(1.0))
    missed = np.abs(computed(function, [given], 8).astype(np.float64) - expected) / unit
    assert missed.max() <= units, f"at {given[missed.argmax()]}"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ENDS)
def test_ends_and_what_is_no_number(name: str, dtype: str) -> None:
    function, truth = ENDS[name]
    smallest = np.finfo(dtype).smallest_subnormal
    given = np.array([0.0, -0.0, INFINITY, -INFINITY, NAN, 1000.0, -1000.0, smallest], dtype)
    with np.errstate(all="ignore"):
        expected = truth(given.astype(np.float64)).astype(dtype)
    np.testing.assert_allclose(computed(function, [given], 8), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", ENDS)
def test_float64_is_that_of_the_c_library(name: str) -> None:
    function, truth = ENDS[name]
    given = np.random.default_rng(1).uniform(0.1, 5, 64)
    np.testing.assert_allclose(computed(function, [given], 4), truth(given), rtol=1e-15 * 8)
