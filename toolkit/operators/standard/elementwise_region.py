"""ElementwiseRegion: several elementwise nodes that a backend computes in one pass over memory.

A region holds its nodes as lines. Values are numbered: first the inputs of the region, then the results of its lines in
order. All lines have results of one shape. Regions appear behind placement only, so they are never differentiated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from toolkit.operators.expression import TOOLKIT_DOMAIN, Expression, emit
from toolkit.operators.record import Call, TensorType, lookup, not_differentiable, operator

REGION = "ElementwiseRegion"


@dataclass(frozen=True, slots=True, eq=False)
class Line:
    """One operator on values; ``operands`` are their numbers, ``None`` where an optional one is left out."""

    op_type: str
    domain: str
    version: int
    attributes: Mapping[str, Any]
    operands: tuple[int | None, ...]
    types: tuple[TensorType | None, ...]  # of the results


def _evaluate(*inputs: Any, lines: Sequence[Line], results: Sequence[int], shapes: Any = None) -> tuple[Any, ...]:
    """The values that ``results`` name; ``shapes`` are how backends align the inputs, references do it themselves."""
    values = list(inputs)
    for line in lines:
        record = lookup(line.domain, line.op_type, line.version)
        assert record is not None and record.reference is not None
        operands = [None if item is None else values[item] for item in line.operands]
        made = record.reference(*operands, **line.attributes)
        found = made if isinstance(made, tuple) else (made,)
        for item, kind in zip(found, line.types, strict=False):
            values.append(None if kind is None else item[...])  # never a scalar
    return tuple(values[item] for item in results)


def _infer(types: Sequence[TensorType | None], attributes: dict[str, Any], _: Any) -> list[TensorType]:
    made = [*types, *(kind for line in attributes["lines"] for kind in line.types)]
    return [made[item] for item in attributes["results"]]


def _expansion(call: Call) -> list[Expression | None]:
    values: list[Expression | None] = list(call.inputs)
    for line in call.attributes["lines"]:
        operands = [None if item is None else values[item] for item in line.operands]
        made = emit(
            line.op_type,
            *operands,
            domain=line.domain,
            version=line.version,
            outputs=len(line.types),
            **line.attributes,
        )
        values += made if isinstance(made, list) else [made]
    return [values[item] for item in call.attributes["results"]]


operator(
    REGION,
    domain=TOOLKIT_DOMAIN,
    reference=_evaluate,
    gradient=not_differentiable("regions are formed behind differentiation"),
    infer=_infer,
    expansion=_expansion,
)
