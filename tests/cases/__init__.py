"""Tables of operator cases, one module a family; ``all_cases`` finds them by itself.

To add an operator: put a row into the list ``CASES`` of the module named like its family (a new module needs nothing
but that list)::

    from tests.support.case import Case, constant, spread, uniform

    CASES = [
        Case("Relu", [spread("N", 3, 4)], version=14),
        Case("Clip", [spread("N", 5), constant(-0.5), constant(0.5)], note="both bounds"),
        Case("SoftmaxGradient", [uniform("N", 5), uniform("N", 5)], {"axis": -1}, domain="toolkit", version=1,
             judge=lambda g, y, axis: y * (g - (g * y).sum(axis, keepdims=True))),
    ]

``"N"`` is the batch size: every row runs at 1 and at 3. ``tests/operators/test_cases.py`` then checks inferred types,
the values against a judge, and the gradient against finite differences; backends check their kernels on the same rows.
"""

from __future__ import annotations

import pkgutil
from functools import cache
from importlib import import_module

from tests.support.case import Case


@cache
def all_cases() -> tuple[Case, ...]:
    """Every row of every table, in the order of the modules' names."""
    found: list[Case] = []
    for module in sorted(info.name for info in pkgutil.iter_modules(__path__)):
        found.extend(import_module(f"{__name__}.{module}").CASES)
    return tuple(found)
