"""Optimizer steps for any number of parameters at once: ElementwiseUpdate, and SumOfSquares for what needs norms.

The numbers of a step (rates, corrections) come as one float32 vector, so a schedule changes numbers, not the program.
Half-width tensors are updated in float32, because the numbers are float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from toolkit.errors import ShapeError
from toolkit.operators.derivative import cast
from toolkit.operators.expression import OPSET, TOOLKIT_DOMAIN, Expression, as_expression, emit
from toolkit.operators.precision import HALF_WIDTH
from toolkit.operators.record import Call, TensorType, lookup, not_differentiable, operator
from toolkit.operators.standard.update_rule import Rule, rule_of

FLOAT32 = np.dtype(np.float32)
Groups = list[Sequence[Any]]


def _groups(tensors: Sequence[Any], count: int) -> Groups:
    """The tensors in groups of ``count``: parameters, updates, then one group per slot."""
    return [tensors[start : start + count] for start in range(0, len(tensors), count)]


def _apply(op_type: str, *operands: np.ndarray) -> np.ndarray:
    record = lookup("", op_type, OPSET)
    assert record is not None
    assert record.reference is not None
    made: np.ndarray = record.reference(*operands)[...]  # never a scalar
    return made


def _update(
    numbers: np.ndarray,
    *tensors: np.ndarray,
    count: int,
    rule: Sequence[str],
    results: Sequence[str],
    targets: Sequence[int],
) -> tuple[np.ndarray, ...]:
    """Numbers, then the tensors group by group -> the results, group by group, in the types of what they replace."""
    parsed, made = rule_of(rule, results, targets), []
    for given in zip(*_groups(tensors, count), strict=True):
        dtype = np.dtype(np.float64) if given[0].dtype == np.float64 else FLOAT32
        constant = partial(np.asarray, dtype=dtype, like=given[0])
        wide = [item.astype(dtype, copy=False) for item in given]
        found = parsed.evaluate(wide, list(numbers.astype(dtype)), constant, _apply)
        made.append([item.astype(given[at].dtype) for item, at in zip(found, targets, strict=True)])
    return tuple(np.asarray(item, like=tensors[0]) for group in zip(*made, strict=True) for item in group)


def _infer_update(inputs: Sequence[TensorType | None], attributes: dict[str, Any], _: Any) -> list[TensorType]:
    first, *tensors = inputs
    count, targets = int(attributes["count"]), attributes["targets"]
    if first is None or len(first[1]) != 1:
        raise ShapeError(f"the numbers of a step must be a vector, got {None if first is None else first[1]}")
    groups = 1 + max(item.index for item in _tensors_of(_rule(attributes)))
    if len(tensors) % count or len(tensors) < count * groups or any(item is None for item in tensors):
        raise ShapeError(f"{count} parameters take {count * groups} tensors in {groups} groups, got {len(tensors)}")
    found = _groups(tensors, count)
    for group in found[1:]:
        for parameter, item in zip(found[0], group, strict=True):
            if item[1] != parameter[1]:
                raise ShapeError(f"a parameter of shape {parameter[1]} came with a tensor of shape {item[1]}")
    return [item for at in targets for item in found[at]]


def _rule(attributes: dict[str, Any]) -> Rule:
    return rule_of(attributes["rule"], attributes["results"], attributes["targets"])


def _tensors_of(rule: Rule) -> list[Any]:
    read = [item for line in rule.lines for item in line.operands] + list(rule.results)
    return [item for item in read if item.kind == "t"]


def _update_expansion(call: Call) -> list[Expression | None]:
    parsed = _rule(call.attributes)
    numbers, *tensors = (item for item in call.inputs if item is not None)
    made = []
    for given in zip(*_groups(tensors, int(call.attributes["count"])), strict=True):
        wide = [cast(item, FLOAT32) if item.dtype in HALF_WIDTH else item for item in given]
        like = wide[0]
        known = [cast(emit("Gather", numbers, np.asarray(at)), like.dtype) for at in range(numbers.shape[0])]
        found = parsed.evaluate(wide, known, partial(as_expression, like=like), emit)
        # what comes back untouched still needs a node of its own, to be told apart from what it was
        kept = [emit("Identity", item) if item in wide else item for item in found]
        made.append([cast(item, given[at].dtype) for item, at in zip(kept, parsed.targets, strict=True)])
    return [item for group in zip(*made, strict=True) for item in group]


def _sum_of_squares(*tensors: np.ndarray) -> np.ndarray:
    """The sum of the squares of all elements of all tensors, added up in float64."""
    total = sum(np.sum(np.square(item, dtype=np.float64)) for item in tensors)
    return np.asarray(total, np.float64 if tensors[0].dtype == np.float64 else FLOAT32, like=tensors[0])


def _infer_sum(inputs: Sequence[TensorType | None], attributes: dict[str, Any], _: Any) -> list[TensorType]:
    first = inputs[0]
    assert first is not None
    return [(np.dtype(np.float64) if first[0] == np.float64 else FLOAT32, ())]


def _sum_expansion(call: Call) -> list[Expression | None]:
    dtype = call.y.dtype
    parts = [emit("ReduceSumSquare", cast(item, dtype), keepdims=0) for item in call.inputs if item is not None]
    total = parts[0]
    for item in parts[1:]:
        total = total + item
    return [total]


STEP = not_differentiable("an optimizer step ends a training iteration; nothing is learned through it")

operator(
    "ElementwiseUpdate",
    domain=TOOLKIT_DOMAIN,
    reference=_update,
    gradient=STEP,
    infer=_infer_update,
    expansion=_update_expansion,
)
operator(
    "SumOfSquares",
    domain=TOOLKIT_DOMAIN,
    reference=_sum_of_squares,
    gradient=STEP,
    infer=_infer_sum,
    expansion=_sum_expansion,
)
