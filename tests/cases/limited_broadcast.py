"""Cases of ``toolkit.operators.standard.limited_broadcast``: the operators of opsets 1 to 6, element by element."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.support.case import Case, booleans, integers, spread, uniform

FUNCTIONS: dict[str, Callable[[Any, Any], Any]] = {
    "Add": lambda a, b: a + b,
    "Sub": lambda a, b: a - b,
    "Mul": lambda a, b: a * b,
    "Div": lambda a, b: a / b,
    "Pow": lambda a, b: a**b,
    "And": lambda a, b: bool(a) and bool(b),
    "Or": lambda a, b: bool(a) or bool(b),
    "Xor": lambda a, b: bool(a) != bool(b),
    "Equal": lambda a, b: a == b,
    "Greater": lambda a, b: a > b,
    "Less": lambda a, b: a < b,
}
TRUTH = ("And", "Or", "Xor", "Equal", "Greater", "Less")
A = uniform("N", 3, 4, 2, low=0.5)
NUMBERS, FLAGS = integers("N", 3, 4, low=0, high=3), booleans("N", 3, 4)


def judge(operator: str) -> Callable[..., Any]:
    """Every element with the one of ``b`` that stands at its place on the axes that ``b`` has."""

    def answer(a: Any, b: Any, *, axis: int | None = None, broadcast: int = 0, consumed_inputs: Any = None) -> Any:
        first = a.ndim - b.ndim if axis is None else axis % a.ndim
        y = np.empty(a.shape, bool if operator in TRUTH else a.dtype)
        for place in np.ndindex(a.shape):
            there = place[first : first + b.ndim]
            other = b.reshape(-1)[0] if b.size == 1 else b[tuple(min(i, n - 1) for i, n in zip(there, b.shape))]  # noqa: B905
            y[place] = FUNCTIONS[operator](a[place], other)
        return y

    return answer


def judge_slope(x: Any, slope: Any, *, consumed_inputs: Any = None) -> Any:
    """One slope for all, or one a channel."""
    y = x.copy()
    for place in np.ndindex(x.shape):
        if x[place] < 0:
            y[place] *= slope.reshape(-1)[0 if slope.size == 1 else place[1]]
    return y


def case(operator: str, *inputs: Any, note: str, version: int = 6, tolerance: float = 1e-5, **attributes: Any) -> Case:
    """One row judged element by element."""
    return Case(operator, inputs, attributes, version=version, judge=judge(operator), note=note, tolerance=tolerance)


CASES = [
    *(case(name, A, uniform(3, 4, low=0.5), note="middle", broadcast=1, axis=1) for name in ("Add", "Sub", "Mul")),
    *(case(name, A, uniform(4, 2, low=0.5), note="end", broadcast=1) for name in ("Add", "Div", "Pow")),
    *(case(name, A, uniform(3, low=0.5), note="channel", broadcast=1, axis=1) for name in ("Add", "Div", "Pow")),
    case("Add", A, uniform("N", 3, 4, 2), note="equal", version=1, consumed_inputs=[0, 0]),
    case("Add", A, uniform(3, 4), note="negative axis", broadcast=1, axis=-3),
    case("Mul", A, uniform(), note="number", broadcast=1, axis=0),
    case("Sub", A, uniform(1, 1), note="one element", broadcast=1, version=1),
    case("Add", A, uniform(1, 2), note="stretched", broadcast=1),
    *(case(name, FLAGS, booleans(3), note="channel", broadcast=1, axis=1) for name in ("And", "Or", "Xor")),
    *(case(name, NUMBERS, integers(3, 4, low=0, high=3), note="end", broadcast=1) for name in ("Equal", "Greater")),
    case("Less", NUMBERS, integers("N", 3, 4, low=0, high=3), note="equal", version=1),
    Case("PRelu", [spread("N", 3, 4), uniform(3)], version=6, judge=judge_slope),
    Case("PRelu", [spread("N", 3), uniform(3)], {"consumed_inputs": [0, 0]}, version=1, judge=judge_slope),
    Case("PRelu", [spread("N", 3, 4), uniform(1)], version=6, judge=judge_slope, note="one slope"),
]
