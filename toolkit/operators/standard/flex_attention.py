"""FlexAttention of ONNX's preview domain: attention whose scores and probabilities pass through bodies of the node.

The bodies arrive as functions of arrays. Without them the operator is attention like any other and has a gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from toolkit.errors import NotDifferentiableError, ShapeError
from toolkit.operators import wire
from toolkit.operators.composed import composed, required
from toolkit.operators.derivative import cast
from toolkit.operators.expression import Expression
from toolkit.operators.record import Call, TensorType
from toolkit.operators.standard.scaled_dot_product import similarity, softmax, weighted_sum


def _flex_attention(call: Call) -> list[Expression | None]:
    query, key, value = (required(call, index, name) for index, name in enumerate("QKV"))
    scale = call.attribute("scale")
    wide = np.dtype(np.float64 if query.dtype == np.float64 else np.float32)
    precision = call.attribute("softmax_precision")
    exact = wide if precision is None else wire.element_dtype(int(precision))
    scores = similarity(cast(query, exact), cast(key, exact), None if scale is None else float(scale))
    weights = _modified(call, "prob_mod", softmax(_modified(call, "score_mod", scores)))
    return [cast(weighted_sum(cast(weights, value.dtype), value), query.dtype)]


def _modified(call: Call, name: str, x: Expression) -> Expression:
    body = call.attribute(name)
    if body is None:
        return x
    if x.value is None:
        raise NotDifferentiableError(
            f"FlexAttention has no gradient through its body {name!r}: write the attention with MatMul and Softmax."
        )
    (changed,) = body(x.value)
    if changed.shape != x.shape:
        raise ValueError(f"{name} must keep the shape {x.shape}, gave {changed.shape}")
    return x.emitter.constant(np.asarray(changed, dtype=x.dtype))


def _infer(inputs: Sequence[TensorType | None], attributes: dict[str, Any], _: Any) -> list[TensorType]:
    shapes = [item[1] for item in inputs if item is not None]
    if len(shapes) != 3 or any(len(shape) != 4 for shape in shapes):
        raise ShapeError("Q, K and V must each have 4 axes: batch, heads, length and head size")
    query, key, value = shapes
    if key[1] == 0 or query[1] % key[1] or key[:3] != value[:3] or query[3] != key[3] or query[0] != key[0]:
        raise ShapeError(
            f"Q {query}, K {key} and V {value} must agree in batch, head size, length, and multiples of heads"
        )
    assert inputs[0] is not None
    return [(inputs[0][0], (*query[:3], value[3]))]


composed("FlexAttention", _flex_attention, domain="ai.onnx.preview", infer=_infer)
