"""Numbers of a step: hyper-parameters and what follows from them and the step's count.

Each is written once, in arithmetic that both a ``float`` and an expression understand: a trainer computes floats before
every step, an exported step computes the same in its graph (in float64).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from toolkit.errors import TrainingError
from toolkit.operators.expression import Expression, as_expression, emit, where

Number = float | Expression


@dataclass(frozen=True, slots=True)
class Moment:
    """``rate`` of one group of parameters now, ``step`` counted from 1, ``decay``: the group's factor on decay."""

    rate: Any
    step: Any
    decay: Any = 1.0


def power(base: Any, exponent: Any) -> Any:
    """base ** exponent."""
    if isinstance(base, Expression) or isinstance(exponent, Expression):
        return emit("Pow", base, exponent)
    return base**exponent


def root(x: Any) -> Any:
    """The square root; 0 for what is below 0, so that a branch not taken does no harm."""
    if isinstance(x, Expression):
        return emit("Sqrt", emit("Max", x, 0.0))
    return math.sqrt(max(x, 0.0))


def floor(x: Any) -> Any:
    """The whole number at or below."""
    return emit("Floor", x) if isinstance(x, Expression) else float(x // 1)


def running(decay: float) -> tuple[float, float]:
    """The two numbers of ``mean_of`` for a running mean that keeps ``decay`` of its past."""
    return decay, 1.0 - decay


def running_square(decay: float) -> tuple[float, ...]:
    """The numbers of ``mean_square_of``."""
    return (decay, (1.0 - decay) / decay) if decay else ()


def mean_of(value: Expression, past: Expression, numbers: Sequence[Expression]) -> Expression:
    """decay * past + (1 - decay) * value: one pass over memory where ``value`` lies in it."""
    return past * numbers[0] + value * numbers[1]


def mean_square_of(value: Expression, past: Expression, numbers: Sequence[Expression]) -> Expression:
    """decay * past + (1 - decay) * value^2, as (value^2 * (1 - decay) / decay + past) * decay: one pass over memory."""
    square = value * value
    return (square * numbers[1] + past) * numbers[0] if numbers else square


def least(a: Any, b: Any) -> Any:
    """The smaller of two numbers."""
    return emit("Min", a, b) if isinstance(a, Expression) or isinstance(b, Expression) else min(a, b)


def above(x: Any, bound: float, yes: Any, no: Any) -> Any:
    """``yes`` where x > bound, else ``no``."""
    if isinstance(x, Expression):
        return where(emit("Greater", x, bound), as_expression(yes, x), as_expression(no, x))
    return yes if x > bound else no


def entry(table: Sequence[float] | np.ndarray, index: Any) -> Any:
    """The number of ``table`` at ``index``, the last one beyond its end."""
    if isinstance(index, Expression):
        at = emit("Cast", emit("Min", index, float(len(table) - 1)), to=7)
        return emit("Gather", as_expression(np.asarray(table, np.float64), index), at)
    return float(table[min(int(index), len(table) - 1)])


def finite(owner: str, name: str, value: Any) -> float:
    """``value`` as a float. Raises ``TrainingError`` naming the owner and the option for anything else."""
    if not isinstance(value, (int, float, np.number)) or isinstance(value, bool) or not math.isfinite(value):
        raise TrainingError(f"{owner}: {name} requires a finite number, got {value!r}. Pass a float such as 0.001.")
    return float(value)


def at_least_zero(owner: str, name: str, value: Any) -> float:
    """As ``finite``, and not below 0."""
    number = finite(owner, name, value)
    if number < 0:
        raise TrainingError(f"{owner}: {name} requires 0 or more, got {value}. Drop the sign.")
    return number


def above_zero(owner: str, name: str, value: Any) -> float:
    """As ``finite``, and above 0."""
    number = finite(owner, name, value)
    if number <= 0:
        raise TrainingError(f"{owner}: {name} requires more than 0, got {value}.")
    return number


def share(owner: str, name: str, value: Any) -> float:
    """A number in [0, 1), such as a decay of a running mean."""
    number = finite(owner, name, value)
    if not 0 <= number < 1:
        raise TrainingError(f"{owner}: {name} requires a number in [0, 1), got {value}. Usual is 0.9 or 0.999.")
    return number


def two_shares(owner: str, betas: Any) -> tuple[float, float]:
    """Two numbers in [0, 1). Raises ``TrainingError`` for anything else."""
    if not isinstance(betas, (tuple, list)) or len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
        raise TrainingError(f"{owner}: betas requires two numbers in [0, 1), got {betas!r}. Usual are (0.9, 0.999).")
    return float(betas[0]), float(betas[1])
