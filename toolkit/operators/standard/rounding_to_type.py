"""RoundToType: float32 numbers rounded to those that a type of half width has, kept in float32.

What a machine without arithmetic of half width computes instead of it. Beyond the largest number lies infinity.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from toolkit.operators import wire
from toolkit.operators.derivative import cast
from toolkit.operators.expression import TOOLKIT_DOMAIN, Expression
from toolkit.operators.record import Call, TensorType, not_differentiable, operator


def round_to_type(x: np.ndarray, to: int) -> np.ndarray:
    """``x`` rounded to the nearest number of the element type ``to``, ties to even."""
    with np.errstate(over="ignore"):
        return x.astype(wire.element_dtype(to)).astype(x.dtype)


def _expansion(call: Call) -> list[Expression | None]:
    return [cast(cast(call.x, wire.element_dtype(call.attributes["to"])), call.x.dtype)]


def _same_type(types: Sequence[TensorType | None], attributes: dict[str, Any], constants: Any) -> list[TensorType]:
    assert types[0] is not None
    return [types[0]]


operator(
    "RoundToType",
    domain=TOOLKIT_DOMAIN,
    reference=round_to_type,
    gradient=not_differentiable("precision is chosen behind differentiation, whose nodes round for themselves"),
    infer=_same_type,
    expansion=_expansion,
)
