"""Rounding to fewer bits: quantisation to integers and back, to half width, and the straight-through forms of both.

All but DynamicQuantizeLinear are elementwise and join whatever is fused around them; this module says them. Scales and
zero points are one for the tensor or one for each index of an axis. Refused: blocks, and grids of 32 bits and of less
than 8.
"""

from __future__ import annotations

import numpy as np

from toolkit.backends.cuda.source import FLOAT_TYPES, literal, wide_type
from toolkit.backends.cuda.spelling import SPELLINGS, Spelling, Spoken, call, converted, widened
from toolkit.backends.elementwise_work import aligned_shapes
from toolkit.compiler.program import Node
from toolkit.operators import wire
from toolkit.operators.expression import TOOLKIT_DOMAIN
from toolkit.operators.precision import HALF_WIDTH
from toolkit.operators.standard.quantization import type_of_quotients

GRIDS = frozenset(map(np.dtype, ("int8", "uint8", "int16", "uint16")))
STORED = GRIDS | {np.dtype(np.int32)}
FLOAT32, FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)
FIRST_WITH_PRECISION = 23


def _round_to_type(spoken: Spoken) -> list[str]:
    half = wire.element_dtype(spoken.attributes["to"])
    return [converted(converted(spoken.operands[0], spoken.dtype, half), wide_type(half), spoken.dtype)]


def _rounds_to_half(node: Node) -> bool:
    return "to" in node.attributes and wire.element_dtype(node.attributes["to"]) in HALF_WIDTH


def _on_grid(spoken: Spoken) -> list[str]:
    x, scale = spoken.operands
    steps = call("multiply" if spoken.attributes.get("is_multiplied", 0) else "divide", x, scale)
    limits = (literal(spoken.attributes[name], spoken.dtype) for name in ("low", "high"))
    return [call("on_grid", steps, *limits)]


def _quotient(spoken: Spoken, dtype: np.dtype) -> str:
    """The first operand in steps of the second, rounded to ``dtype``."""
    pair = [
        converted(text, wide_type(given), dtype)
        for text, given in zip(spoken.operands[:2], spoken.types[:2], strict=True)
        if given is not None
    ]
    return converted(call("divide", *pair), wide_type(dtype), dtype)


def _grid_operands(spoken: Spoken, dtype: np.dtype, target: np.dtype) -> list[str]:
    """The steps, the zero point and the limits of ``target``, all in the type that ``dtype`` is computed in."""
    at = wide_type(dtype)
    zero_point = literal(0, at)
    if spoken.has(2):
        given = spoken.types[2]
        assert given is not None
        zero_point = widened(spoken.operands[2], given, at)
    limits = np.iinfo(target)
    return [_quotient(spoken, dtype), zero_point, literal(limits.min, at), literal(limits.max, at)]


def _quantize(spoken: Spoken) -> list[str]:
    dtype, scale = FLOAT32, spoken.types[1]
    assert scale is not None
    if spoken.version >= FIRST_WITH_PRECISION:
        dtype = type_of_quotients(scale, int(spoken.attributes.get("precision", 0)))
    steps = call("quantised", *_grid_operands(spoken, dtype, spoken.result))
    return [converted(steps, wide_type(dtype), spoken.result)]


def _quantize_straight_through(spoken: Spoken) -> list[str]:
    number = int(spoken.attributes.get("quotient", 0))
    dtype = wire.element_dtype(number) if number else spoken.result
    operands = _grid_operands(spoken, dtype, wire.element_dtype(spoken.attributes["to"]))
    steps = converted(call("quantised", *operands), wide_type(dtype), spoken.result)
    return [steps, call("is_inside", *operands)]


def _dequantize(spoken: Spoken) -> list[str]:
    """Differences from an int32 zero point are exact, then everything is float32 or float64."""
    scale = spoken.types[1]
    assert scale is not None
    at = FLOAT64 if scale == FLOAT64 else FLOAT32
    x, zero_point = spoken.operands[0], spoken.operands[2] if spoken.has(2) else ""
    if zero_point and spoken.dtype == np.int32:
        centred = converted(f"((int64){x} - (int64){zero_point})", np.dtype(np.int64), at)
    else:
        centred = converted(x, spoken.dtype, at)
        if zero_point:
            given = spoken.types[2]
            assert given is not None
            centred = f"({centred} - {converted(zero_point, given, at)})"
    product = call("multiply", centred, widened(spoken.operands[1], scale, at))
    return [converted(product, at, spoken.result)]


def _dequantize_straight_through(spoken: Spoken) -> list[str]:
    scale = spoken.types[1]
    assert scale is not None
    x, at = spoken.operands[0], wide_type(spoken.dtype)
    if spoken.has(2):
        given = spoken.types[2]
        assert given is not None
        x = call("subtract", x, widened(spoken.operands[2], given, at))
    product = call("multiply", x, widened(spoken.operands[1], scale, at))
    return [converted(product, at, spoken.result)]


def _has_grid(node: Node) -> bool:
    """Whether the integers are of a type that float32 holds exactly, and nothing comes in blocks."""
    if aligned_shapes(node) is None:
        return False
    zero_point = node.inputs[2] if len(node.inputs) > 2 else None
    if node.op_type == "QuantizeLinear":
        return node.y.dtype in GRIDS and node.inputs[1] is not None and node.inputs[1].dtype in FLOAT_TYPES
    if node.op_type == "DequantizeLinear":
        return node.x.dtype in STORED and node.y.dtype in FLOAT_TYPES
    if node.op_type == "QuantizeStraightThrough":
        return wire.element_dtype(node.attributes["to"]) in GRIDS and (zero_point is None or zero_point.dtype in GRIDS)
    return node.y.dtype in FLOAT_TYPES and (zero_point is None or zero_point.dtype in GRIDS)


FLOATS_AND_INT32 = FLOAT_TYPES | {np.dtype(np.int32)}
SPELLINGS.update(
    {
        (TOOLKIT_DOMAIN, "RoundToType"): Spelling(_round_to_type, {FLOAT32}, _rounds_to_half),
        (TOOLKIT_DOMAIN, "OnGrid"): Spelling(_on_grid, {FLOAT32, FLOAT64}),
        ("", "QuantizeLinear"): Spelling(_quantize, FLOATS_AND_INT32, _has_grid),
        ("", "DequantizeLinear"): Spelling(_dequantize, STORED, _has_grid),
        (TOOLKIT_DOMAIN, "QuantizeStraightThrough"): Spelling(_quantize_straight_through, FLOAT_TYPES, _has_grid),
        (TOOLKIT_DOMAIN, "DequantizeStraightThrough"): Spelling(_dequantize_straight_through, FLOAT_TYPES, _has_grid),
    }
)
