"""Changes of the element type (Cast, CastLike, BitCast), and Identity. Gradients pass between floating-point types.

Out of range, floats become integers in whichever way the machine converts them, and integers keep their low bits, as
ONNX has it. Texts become integers without a detour through floats, so 64 bits survive.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ml_dtypes
import numpy as np
from onnx import TensorProto

from toolkit.operators import wire
from toolkit.operators.derivative import cast
from toolkit.operators.expression import Expression
from toolkit.operators.record import Call, TensorType, not_differentiable, operator

POWER_OF_TWO = np.dtype(ml_dtypes.float8_e8m0fnu)
SATURATING = frozenset(
    np.dtype(getattr(ml_dtypes, name))
    for name in ("float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz")
)
BITS = {  # of the element types that do not fill the bytes they are held in
    np.dtype(getattr(ml_dtypes, name)): bits
    for name, bits in (
        ("int2", 2),
        ("uint2", 2),
        ("int4", 4),
        ("uint4", 4),
        ("float4_e2m1fn", 4),
        ("float6_e2m3fn", 6),
        ("float6_e3m2fn", 6),
    )
}
ELEMENT_TYPES = frozenset(name for name, number in TensorProto.DataType.items() if number)
ROUND_MODES = ("up", "down", "nearest")


def convert(x: np.ndarray, dtype: np.dtype, saturate: int = 1, round_mode: str = "up") -> np.ndarray:
    """``x`` as ``dtype``: floats are truncated to integers, and float8 holds its largest value if asked to saturate."""
    if dtype.kind == "O":
        return _to_text(x)
    if x.dtype.kind in "OSU":
        x = _from_text(x, dtype)
    if dtype == POWER_OF_TWO:
        return _to_power_of_two(x, saturate, round_mode)
    with np.errstate(invalid="ignore", over="ignore"):
        if dtype in SATURATING and saturate:
            limit = float(ml_dtypes.finfo(dtype).max)
            x = np.clip(x.astype(np.float64), -limit, limit)
        elif "V" in (x.dtype.kind, dtype.kind) and not (x.dtype.kind in "iu" and dtype in BITS):
            x = x.astype(np.float32, copy=False)  # which narrow types convert through; integers would lose high bits
        return x.astype(dtype)


def _to_text(x: np.ndarray) -> np.ndarray:
    written = [_text(item, x.dtype.kind in "iub") for item in x.reshape(-1).tolist()]
    return np.array(written, dtype=object).reshape(x.shape)


def _text(item: Any, is_integer: bool) -> str:
    if isinstance(item, (str, bytes)):
        return item if isinstance(item, str) else item.decode()
    if is_integer:
        return str(int(item))
    text = f"{float(item):.8g}"
    return {"nan": "NaN", "inf": "INF", "-inf": "-INF"}.get(text, text)


def _from_text(x: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """The numbers that the texts write; raises ``ValueError`` for other texts."""
    items = [item if isinstance(item, str) else item.decode() for item in x.reshape(-1).tolist()]
    if dtype.kind not in "iu":
        return np.array([float(item) for item in items], np.float64).reshape(x.shape)
    bits = dtype.itemsize * 8
    values = [_integer(item) % (1 << bits) for item in items]
    return np.array(values, dtype=np.dtype(f"u{dtype.itemsize}")).astype(dtype).reshape(x.shape)


def _integer(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        return int(float(text))


def _to_power_of_two(x: np.ndarray, saturate: int, round_mode: str) -> np.ndarray:
    """float8e8m0, which holds the powers from -127 to 127 of 2 and NaN; negative numbers become NaN.

    Numbers out of range, 0 and infinity among them, become the end of the range if saturated, else NaN.
    """
    if round_mode not in ROUND_MODES:
        raise ValueError(f"round_mode must be one of {', '.join(ROUND_MODES)}, got {round_mode!r}")
    wide = x.astype(np.float32).astype(np.float64)
    fraction, exponent = np.frexp(wide)  # fraction in [0.5, 1)
    goes_up = {"up": fraction > 0.5, "down": np.False_, "nearest": fraction >= 0.75}[round_mode]
    power = exponent - 1 + goes_up
    power = np.where(wide == 0, -1000, np.where(np.isinf(wide), 1000, power))
    is_missing = np.isnan(wide) | (wide < 0)
    if not saturate:
        is_missing |= np.abs(power) > 127
    coded = np.where(is_missing, 255, np.clip(power, -127, 127) + 127)
    return coded.astype(np.uint8).view(POWER_OF_TWO)


def cast_to(x: np.ndarray, *, to: int, saturate: int = 1, round_mode: str = "up") -> np.ndarray:
    """Cast to ONNX's element type number ``to``; ``round_mode`` (up, down, nearest) concerns float8e8m0 only."""
    return convert(x, wire.element_dtype(to), saturate, round_mode)


def cast_like(x: np.ndarray, target: np.ndarray, *, saturate: int = 1, round_mode: str = "up") -> np.ndarray:
    """Cast to the element type of ``target``."""
    return convert(x, target.dtype, saturate, round_mode)


def cast_to_named(x: np.ndarray, *, to: str) -> np.ndarray:
    """Cast-1, which writes the element type as text (``FLOAT``)."""
    return convert(x, _named(to))


def _named(name: str | bytes) -> np.dtype:
    text = (name.decode() if isinstance(name, bytes) else name).upper()
    if text not in ELEMENT_TYPES:
        raise ValueError(f"to must name an element type of ONNX (FLOAT, INT64, BOOL, ...), got {name!r}")
    return wire.element_dtype(TensorProto.DataType.Value(text))


def _infer_named(types: Sequence[TensorType | None], attributes: dict[str, Any], _: Any) -> list[TensorType]:
    assert types[0] is not None
    return [(_named(attributes["to"]), types[0][1])]


def bit_cast(x: np.ndarray, *, to: int) -> np.ndarray:
    """The same bits read as another element type of the same width."""
    dtype = wire.element_dtype(to)
    if _width(x.dtype) != _width(dtype):
        raise ValueError(
            f"both element types must be of the same width, got {x.dtype.name} ({_width(x.dtype)} bits) and "
            f"{dtype.name} ({_width(dtype)} bits). Cast instead, or choose another type"
        )
    if dtype in BITS:
        return (x.view(np.uint8) & np.uint8((1 << BITS[dtype]) - 1)).view(dtype)
    return x.copy().view(dtype)


def _width(dtype: np.dtype) -> int:
    return BITS.get(dtype, dtype.itemsize * 8)


def _is_float(dtype: np.dtype) -> bool:
    return dtype.kind == "f" or dtype == ml_dtypes.bfloat16


def _cast_gradient(call: Call, g: Expression) -> list[Expression | None]:
    return [cast(g, call.x.dtype) if _is_float(call.x.dtype) else None, *[None] * (len(call.inputs) - 1)]


def identity(x: Any) -> Any:
    """The same value: an array, a sequence or an optional."""
    return np.array(x) if isinstance(x, (np.ndarray, np.generic)) else x


operator("Cast", since=1, reference=cast_to_named, gradient=_cast_gradient, infer=_infer_named)
operator("Cast", since=6, reference=cast_to, gradient=_cast_gradient)
operator("CastLike", since=15, reference=cast_like, gradient=_cast_gradient)
operator(
    "BitCast", since=26, reference=bit_cast, gradient=not_differentiable("the bits of a number jump as it changes")
)
operator("Identity", since=1, reference=identity, gradient=lambda call, g: [g], is_view=True)
