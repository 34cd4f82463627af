"""Functions that a processor does not have, on vectors of float32: reduced to a short interval, then a polynomial.

The coefficients were fitted for these intervals so that the largest error is smallest; results differ from the true
ones by about two units in the last place, ``error_function``, what is said of the normal distribution, and what is
``quick`` by as much of 1. Float64, and what is not written here, goes lane by lane to the C library.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from toolkit.backends.native.assembly.number import Number

FLOAT32, INT32 = np.dtype(np.float32), np.dtype(np.int32)
MANTISSA, BIAS = 23, 127  # of float32
LOG2_HIGH, LOG2_LOW = 0.693359375, -2.12194440e-4  # the first has so few bits that small multiples of it are exact
LARGEST_EXPONENT, SMALLEST_EXPONENT = 89.0, -104.0  # beyond them exp is infinite, or zero
LEAST_NORMAL = -87.0  # below, powers of e begin to lose bits
TINY = float(np.finfo(np.float32).tiny)

_EXPONENTIAL = (0.50000001, 0.166665129, 0.0416661873, 0.00836959841, 0.00139517172)
_LOGARITHM = (
    *(0.333333106, -0.249999866, 0.200022193, -0.166692453, 0.142187804),
    *(-0.123844943, 0.118723092, -0.117887994, 0.0691557828),
)
_TANGENT = (-0.333332839, 0.133314912, -0.0537434953, 0.020650579, -0.00571703655)
_SMALL_TANGENT = 0.625  # up to here the polynomial, beyond it exponentials
_ERROR = (1.12837917, -0.376126271, 0.112836002, -0.0268544446, 0.00518953534, -0.000802084129, 7.88911955e-05)
_TAIL = (  # the logarithm of 1 - erf
    *(0.000153382098, -1.12939706, -0.633627318, -0.1079057, 0.0248127903),
    *(-0.004013394, 0.000384784689, -1.23298341e-05, -6.62824822e-07),
)
_SMALL_ERROR, _LARGEST_ERROR = 1.0, 4.2
_NORMAL = (  # x P(x^2) / Q(x^2), the coefficients of P and Q; it is exactly 1/2 at _LARGEST_NORMAL
    (0.398942254, 0.0329358533, 0.00462799838, 0.000160335328, 6.37907585e-06, 2.40502869e-08),
    (1.0, 0.24922417, 0.0281388656, 0.00183657608, 7.13526385e-05, 1.23716903e-06),
)
_GELU_SLOPE = (  # as before, and so is this at _LARGEST_SLOPE
    (0.797885345, -0.03097536, 0.0142260686, 1.97513043e-05, 3.58992885e-05, 1.92167294e-07),
    (1.0, 0.294519577, 0.0409837407, 0.00352263748, 0.000192051799, 8.92817121e-06),
)
_QUICK_TANGENT = (  # as before
    (1.0, 0.129792228, 0.00298586069, 9.8786486e-06, -1.47041836e-08, 2.35085094e-11),
    (1.0, 0.463125378, 0.0240279194, 0.000237203058),
)
_LARGEST_NORMAL, _LARGEST_SLOPE, _LARGEST_TANGENT = 5.315, 5.67, 8.0


def _polynomial(x: Number, coefficients: Sequence[float]) -> Number:
    """By Horner's rule, the constant first in ``coefficients``."""
    total = x.like(coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        total = total.times_plus(x, coefficient)
    return total


def _power_of_two(exponent: Number) -> Number:
    return ((exponent + BIAS) << MANTISSA).bits(FLOAT32)


def _within(x: Number, least: float, most: float) -> Number:
    """The number of an interval that is nearest to x; NaN stays what it is. Two instructions."""
    inside = (x > most).choose(x.like(most), x)
    return (inside < least).choose(x.like(least), inside)


def exponential(x: Number) -> Number:
    """e to the x."""
    if x.dtype != FLOAT32:
        return x.of_c_library("exp")
    inside = _within(x, SMALLEST_EXPONENT, LARGEST_EXPONENT)
    turns = (inside * (1 / math.log(2))).rounded()
    rest = turns.times_plus(-LOG2_LOW, turns.times_plus(-LOG2_HIGH, inside))
    value = (rest * rest).times_plus(_polynomial(rest, _EXPONENTIAL), rest) + 1.0
    whole = turns.converted(INT32)
    half = whole >> 1  # twice by half as much: neither factor overflows
    return x.differs(x).choose(x, value * _power_of_two(half) * _power_of_two(whole - half))


def exponential_of_negative(x: Number) -> Number:
    """e to the x for float32 up to zero, in fewer steps; what is below the smallest normal number is zero."""
    inside = (x > LEAST_NORMAL).choose(x, LEAST_NORMAL)
    turns = (inside * (1 / math.log(2))).rounded()
    rest = turns.times_plus(-LOG2_LOW, turns.times_plus(-LOG2_HIGH, x))
    value = (rest * rest).times_plus(_polynomial(rest, _EXPONENTIAL), rest) + 1.0
    return (x < LEAST_NORMAL).choose(x.like(0.0), value * _power_of_two(turns.converted(INT32)))


def logarithm(x: Number) -> Number:
    """The natural logarithm."""
    if x.dtype != FLOAT32:
        return x.of_c_library("log")
    small = x < TINY
    scaled = small.choose(x * float(1 << MANTISSA), x)
    bits = scaled.bits(INT32)
    root = int(np.float32(math.sqrt(0.5)).view(np.int32))
    shifted = bits - root
    exponent = shifted >> MANTISSA
    fraction = ((shifted & ((1 << MANTISSA) - 1)) + root).bits(FLOAT32) - 1.0
    turns = exponent.converted(FLOAT32) - small.choose(x.like(float(MANTISSA)), 0.0)
    square = fraction * fraction
    value = (square * fraction) * _polynomial(fraction, _LOGARITHM)
    value = square.times_plus(-0.5, turns.times_plus(LOG2_LOW, value)) + fraction
    value = turns.times_plus(LOG2_HIGH, value)
    value = x.equals(math.inf).choose(x, value)
    return (x > 0.0).choose(value, x.equals(0.0).choose(x.like(-math.inf), math.nan))


def hyperbolic_tangent(x: Number) -> Number:
    if x.dtype != FLOAT32:
        return x.of_c_library("tanh")
    size, square = x.absolute(), x * x
    small = (x * square).times_plus(_polynomial(square, _TANGENT), x)
    large = 1.0 - 2.0 / (exponential(size + size) + 1.0)
    return (size < _SMALL_TANGENT).choose(small, large.with_sign_of(x))


def error_function(x: Number) -> Number:
    if x.dtype != FLOAT32:
        return x.of_c_library("erf")
    size, square = x.absolute(), x * x
    small = x * _polynomial(square, _ERROR)
    large = 1.0 - exponential(_polynomial(size.smaller(_LARGEST_ERROR), _TAIL))
    return (size < _SMALL_ERROR).choose(small, large.with_sign_of(x))


def _odd_quotient(x: Number, coefficients: Sequence[Sequence[float]], largest: float) -> Number:
    """``x P(x^2) / Q(x^2)``; beyond ``largest`` what it is there."""
    inside = _within(x, -largest, largest)
    above, below = (_polynomial(inside * inside, item) for item in coefficients)
    return inside * above / below


def normal_distribution(x: Number) -> Number:
    """The share of a normal distribution below x."""
    if x.dtype != FLOAT32:
        return (error_function(x * math.sqrt(0.5)) + 1.0) * 0.5
    return _odd_quotient(x, _NORMAL, _LARGEST_NORMAL) + 0.5


def gelu_slope(x: Number) -> Number:
    """The derivative of ``x normal_distribution(x)``."""
    if x.dtype != FLOAT32:
        density = exponential(x * x * -0.5) * (1.0 / math.sqrt(2.0 * math.pi))
        return normal_distribution(x) + x * density
    return _odd_quotient(x, _GELU_SLOPE, _LARGEST_SLOPE) + 0.5


def sign(x: Number) -> Number:
    """-1, 0 or 1; NaN stays what it is."""
    return (x > 0).choose(x.like(1), (x < 0).choose(x.like(-1), x if x.is_float else 0))


def sigmoid(x: Number) -> Number:
    return 1.0 / (exponential(-x) + 1.0)


def quick_tangent(x: Number) -> Number:
    """The hyperbolic tangent in a third of the steps, for sums of many products; never beyond 1."""
    return _odd_quotient(x, _QUICK_TANGENT, _LARGEST_TANGENT) if x.dtype == FLOAT32 else hyperbolic_tangent(x)


def quick_sigmoid(x: Number) -> Number:
    """The same of the sigmoid."""
    return quick_tangent(x * 0.5).times_plus(0.5, 0.5)


def softplus(x: Number) -> Number:
    """``log(1 + exp(x))`` without overflow, exact where the exponential is far below 1."""
    share = exponential(-x.absolute())
    if x.dtype != FLOAT32:
        return x.larger(0.0) + share.of_c_library("log1p")
    total = share + 1.0
    lost = total - 1.0
    small = lost.equals(0.0)
    return x.larger(0.0) + small.choose(share, logarithm(total) * (share / small.choose(x.like(1.0), lost)))


def exponential_less_one(x: Number) -> Number:
    """``exp(x) - 1`` for ``x`` up to zero, exact near it."""
    if x.dtype != FLOAT32:
        return x.of_c_library("expm1")
    near = (x * x).times_plus(_polynomial(x, _EXPONENTIAL), x)
    return (x > -0.5 * math.log(2)).choose(near, exponential(x) - 1.0)
