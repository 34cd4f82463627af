"""What the compiler makes of quantised arithmetic on processors with dot products of bytes: bytes in, bytes out.

``ByteConv`` and ``ByteMatMul`` multiply unsigned bytes above a zero point by signed ones and add up exactly. The sums
go on in float32: plus ``bias``, times ``multiplier`` (one, or one for each output); then, in turn,

- with ``low`` and ``high``: within these limits and rounded half to even, which is a grid of its own;
- times ``scale``, plus the ``residual`` above its zero point times its scale, by ``step``;
- with ``least`` and ``most``: within these limits and rounded, as bytes counted from ``least``. Without them the result
  is float32.

``Regrid`` moves bytes to another grid: those above ``zero`` times ``scale`` by ``step``, and on as before.
``compiler.passes.quantised`` puts them in.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from toolkit.errors import ShapeError
from toolkit.operators.derivative import cast
from toolkit.operators.expression import TOOLKIT_DOMAIN, Expression, emit, reshape
from toolkit.operators.record import Call, TensorType, operator
from toolkit.operators.standard.convolution import GEOMETRY, convolve, convolved_shape, per_channel
from toolkit.operators.standard.quantization import ROUNDS

FLOAT32, UINT8 = np.dtype(np.float32), np.dtype(np.uint8)


def byte_conv(
    x: np.ndarray,
    w: np.ndarray,
    bias: np.ndarray | None,
    multiplier: np.ndarray,
    residual: np.ndarray | None = None,
    *,
    strides: Sequence[int],
    pads: Sequence[int],
    dilations: Sequence[int],
    group: int,
    zero: int = 0,
    **ending: float,
) -> np.ndarray:
    """The convolution of ``x`` above ``zero``, which is what padding is, ended as the module says."""
    geometry = {"strides": strides, "pads": pads, "dilations": dilations, "group": group}
    sums = convolve(x.astype(np.float64) - zero, w.astype(np.float64), geometry).astype(FLOAT32)
    if bias is not None:
        sums += per_channel(bias, sums.ndim)
    return _ended(sums * per_channel(multiplier, sums.ndim), residual, **ending)


def byte_matmul(
    x: np.ndarray,
    w: np.ndarray,
    bias: np.ndarray | None,
    multiplier: np.ndarray,
    residual: np.ndarray | None = None,
    *,
    zero: int = 0,
    **ending: float,
) -> np.ndarray:
    """The product of the rows of ``x`` above ``zero`` and a matrix, ended as the module says."""
    sums = ((x.astype(np.float64) - zero) @ w.astype(np.float64)).astype(FLOAT32)
    if bias is not None:
        sums += bias
    return _ended(sums * multiplier, residual, **ending)


def _ended(
    y: np.ndarray,
    residual: np.ndarray | None,
    *,
    low: float | None = None,
    high: float | None = None,
    scale: float = 1.0,
    residual_zero: float = 0.0,
    residual_scale: float = 0.0,
    step: float = 1.0,
    least: float | None = None,
    most: float | None = None,
) -> np.ndarray:
    number = FLOAT32.type
    if low is not None and high is not None:
        y = np.rint(np.clip(y, number(low), number(high)))
    y = y * number(scale)
    if residual is not None:
        y = y + (residual.astype(FLOAT32) - number(residual_zero)) * number(residual_scale)
    y = y / number(step)
    if least is None or most is None:
        return y
    return (np.rint(np.clip(y, number(least), number(most))) - number(least)).astype(UINT8)


def regrid(x: np.ndarray, *, zero: int, scale: float, step: float, least: float, most: float) -> np.ndarray:
    """``x`` on another grid."""
    return _ended(x.astype(FLOAT32) - FLOAT32.type(zero), None, scale=scale, step=step, least=least, most=most)


def _infer_convolution(types: Sequence[TensorType | None], attributes: dict[str, Any], _: Any) -> list[TensorType]:
    x, w = types[:2]
    assert x is not None and w is not None
    return _infer(types, attributes, convolved_shape(attributes, x[1], w[1]), w[1][0])


def _infer_product(types: Sequence[TensorType | None], attributes: dict[str, Any], _: Any) -> list[TensorType]:
    x, w = types[:2]
    assert x is not None and w is not None
    if len(w[1]) != 2 or len(x[1]) < 2 or x[1][-1] != w[1][0]:
        raise ShapeError(f"rows of {w[1][0]} numbers are multiplied by a matrix, got the shapes {x[1]} and {w[1]}")
    return _infer(types, attributes, (*x[1][:-1], w[1][1]), w[1][1])


def _infer(
    types: Sequence[TensorType | None], attributes: dict[str, Any], shape: tuple[int, ...], outputs: int
) -> list[TensorType]:
    bias, multiplier, residual = (*types[2:], None)[:3]
    assert multiplier is not None
    if multiplier[1] not in ((1,), (outputs,)) or (bias is not None and bias[1] != (outputs,)):
        raise ShapeError(f"bias and multiplier must be vectors of {outputs} outputs, got {bias} and {multiplier[1]}")
    if residual is not None and residual[1] != shape:
        raise ShapeError(f"residual must have the output's shape {shape}, got {residual[1]}")
    return [(FLOAT32 if attributes.get("most") is None else UINT8, shape)]


def _convolution_expansion(call: Call) -> list[Expression | None]:
    geometry = {name: call.attributes[name] for name in GEOMETRY}
    sums = emit("Conv", *_factors(call), **geometry)
    return _expanded(call, sums, lambda item: reshape(item, (item.shape[0], *(1,) * (sums.ndim - 2))))


def _product_expansion(call: Call) -> list[Expression | None]:
    left, right = _factors(call)
    return _expanded(call, left @ right, lambda item: item)


def _factors(call: Call) -> tuple[Expression, Expression]:
    weight = call.inputs[1]
    assert weight is not None
    return cast(call.x, FLOAT32) - float(call.attribute("zero", 0)), cast(weight, FLOAT32)


def _expanded(call: Call, sums: Expression, by_output: Any) -> list[Expression | None]:
    bias, multiplier, residual = (*call.inputs[2:], None)[:3]
    assert multiplier is not None
    if bias is not None:
        sums = sums + by_output(bias)
    y = sums * by_output(multiplier)
    if call.attribute("low") is not None:
        y = emit("Round", emit("Clip", y, call.attribute("low"), call.attribute("high")))
    y = y * call.attribute("scale", 1.0)
    if residual is not None:
        above = cast(residual, FLOAT32) - float(call.attribute("residual_zero", 0))
        y = y + above * call.attribute("residual_scale", 0.0)
    return [_brought(call, y)]


def _brought(call: Call, y: Expression) -> Expression:
    y, least = y / call.attribute("step", 1.0), call.attribute("least")
    if least is None:
        return y
    return cast(emit("Round", emit("Clip", y, least, call.attribute("most"))) - least, UINT8)


def _regrid_expansion(call: Call) -> list[Expression | None]:
    return [_brought(call, (cast(call.x, FLOAT32) - float(call.attributes["zero"])) * call.attributes["scale"])]


def _infer_regrid(types: Sequence[TensorType | None], attributes: dict[str, Any], _: Any) -> list[TensorType]:
    assert types[0] is not None
    return [(UINT8, types[0][1])]


operator(
    "ByteConv",
    domain=TOOLKIT_DOMAIN,
    reference=byte_conv,
    gradient=ROUNDS,
    infer=_infer_convolution,
    expansion=_convolution_expansion,
)
operator(
    "ByteMatMul",
    domain=TOOLKIT_DOMAIN,
    reference=byte_matmul,
    gradient=ROUNDS,
    infer=_infer_product,
    expansion=_product_expansion,
)
operator(
    "Regrid",
    domain=TOOLKIT_DOMAIN,
    reference=regrid,
    gradient=ROUNDS,
    infer=_infer_regrid,
    expansion=_regrid_expansion,
)
