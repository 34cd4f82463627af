"""Optional values: ``None`` is the empty one, every other value is its own element.

Whether an element is there is known only at run time, so no rule here tells a type.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from toolkit.operators.record import data_dependent, not_differentiable, operator, resolved_by_binding

UNRESOLVED = resolved_by_binding(
    "optional values are differentiated only when their operations can be resolved while the program is bound"
)
AN_OPTIONAL = data_dependent("what an optional holds")


def optional(element: Any = None, *, type: Any = None) -> Any:
    """The optional that holds the element; without one, the empty optional of a type."""
    return element


def optional_has_element(element: Any = None) -> np.ndarray:
    """Whether there is an element; tensors and sequences are their own elements."""
    return np.asarray(element is not None)


def optional_get_element(element: Any) -> Any:
    """The element. Raises ``ValueError`` when there is none."""
    if element is None:
        raise ValueError("the optional is empty: ask OptionalHasElement before taking its element")
    return element


operator("Optional", since=15, reference=optional, gradient=UNRESOLVED, infer=AN_OPTIONAL)
operator(
    "OptionalHasElement",
    since=15,
    reference=optional_has_element,
    gradient=not_differentiable("its result is a truth value"),
    infer=AN_OPTIONAL,
)
operator("OptionalGetElement", since=15, reference=optional_get_element, gradient=UNRESOLVED, infer=AN_OPTIONAL)
