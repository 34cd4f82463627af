"""Changes of the element type, and Identity. Gradients pass where both types are floating point."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

from toolkit.operators import wire
from toolkit.operators.derivative import cast
from toolkit.operators.expression import Expression
from toolkit.operators.record import Call, operator

SATURATING = frozenset(
    np.dtype(getattr(ml_dtypes, name))
    for name in ("float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float4_e2m1fn")
)


def convert(x: np.ndarray, dtype: np.dtype, saturate: int = 1) -> np.ndarray:
    """``x`` as ``dtype``: floats are truncated to integers, and narrow floats hold their largest value if asked to."""
    if dtype.kind == "O":
        return _to_text(x)
    if x.dtype.kind in "OSU":
        x = np.vectorize(_number, otypes=[np.float64])(x) if x.size else np.zeros(x.shape)
    if dtype in SATURATING and saturate:
        limit = float(ml_dtypes.finfo(dtype).max)
        x = np.clip(x.astype(np.float64), -limit, limit)
    elif dtype in SATURATING or (x.dtype.kind == "V" and dtype.kind in "iub"):
        x = x.astype(np.float32)  # the narrow types convert through float32 only
    with np.errstate(invalid="ignore", over="ignore"):
        return x.astype(dtype)


def _to_text(x: np.ndarray) -> np.ndarray:
    def write(item: Any) -> str:
        if isinstance(item, (str, bytes)):
            return item if isinstance(item, str) else item.decode()
        return str(int(item)) if x.dtype.kind in "iub" else f"{float(item):.8g}"

    return np.array([write(item) for item in x.reshape(-1).tolist()], dtype=object).reshape(x.shape)


def _number(text: str | bytes) -> float:
    return float(text)


def cast_to(x: np.ndarray, *, to: int, saturate: int = 1, round_mode: str = "up") -> np.ndarray:
    """Cast to ONNX's element type ``to``; ``round_mode`` concerns float8e8m0 only, which rounds to nearest here."""
    return convert(x, wire.element_dtype(to), saturate)


def cast_like(x: np.ndarray, target: np.ndarray, *, saturate: int = 1, round_mode: str = "up") -> np.ndarray:
    """Cast to the element type of ``target``."""
    return convert(x, target.dtype, saturate)


def _cast_gradient(call: Call, g: Expression) -> list[Expression | None]:
    is_float = call.x.dtype.kind == "f" or call.x.dtype == ml_dtypes.bfloat16
    return [cast(g, call.x.dtype) if is_float else None, *[None] * (len(call.inputs) - 1)]


operator("Cast", since=6, reference=cast_to, gradient=_cast_gradient)
operator("CastLike", since=15, reference=cast_like, gradient=_cast_gradient)
operator("Identity", since=1, reference=np.array, gradient=lambda call, g: [g], is_view=True)
