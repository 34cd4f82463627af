"""com.microsoft matrix products: with factors transposed on the fly, with an activation behind, or both."""

from __future__ import annotations

from typing import Any

from toolkit.operators.composed import argument, composed, required
from toolkit.operators.expression import Expression, emit, transpose
from toolkit.operators.microsoft.quantization import MICROSOFT
from toolkit.operators.record import Call

NUMBERS = {  # what an activation's parameters are called, in the order in which fused operators list them
    "LeakyRelu": ("alpha",),
    "Elu": ("alpha",),
    "HardSigmoid": ("alpha", "beta"),
    "Selu": ("alpha", "gamma"),
    "ThresholdedRelu": ("alpha",),
    "Celu": ("alpha",),
}


def activated(x: Expression, name: str | None, numbers: dict[str, float]) -> Expression:
    """An ONNX activation by its name; ``numbers`` are the parameters that are given."""
    if not name:
        return x
    if name == "Clip":
        low, high = numbers.get("alpha"), numbers.get("beta")
        found: Expression = emit("Clip", x, low, high)
        return found
    if name == "Gelu":
        return gelu(x)
    chosen: dict[str, Any] = {key: numbers[key] for key in NUMBERS.get(name, ()) if key in numbers}
    made: Expression = emit(name, x, **chosen)
    return made


def gelu(x: Expression, approximate: str | None = None) -> Expression:
    """Gelu, by the error function or its ``tanh`` approximation."""
    found: Expression = emit("Gelu", x, approximate=approximate)
    return found


def _numbers(call: Call) -> dict[str, float]:
    names = ("alpha", "beta", "gamma")
    return {
        name: float(call.attributes[f"activation_{name}"]) for name in names if f"activation_{name}" in call.attributes
    }


def _factor(x: Expression, trans: Any, trans_batch: Any) -> Expression:
    """``trans_batch`` moves the first axis before the last, ``trans`` then exchanges the last two."""
    if x.ndim > 2 and trans_batch:
        x = transpose(x, [*range(1, x.ndim - 1), 0, x.ndim - 1])
    return transpose(x, [*range(x.ndim - 2), x.ndim - 1, x.ndim - 2]) if x.ndim > 1 and trans else x


def _product(call: Call) -> Expression:
    a, b = (
        _factor(required(call, index, name), call.attribute(f"trans{name}", 0), call.attribute(f"transBatch{name}", 0))
        for index, name in enumerate("AB")
    )
    alpha, product = float(call.attribute("alpha", 1.0)), a @ b
    return product if alpha == 1.0 else product * alpha


def _fused_matmul(call: Call) -> list[Expression | None]:
    return [_product(call)]


def _fused_matmul_activation(call: Call) -> list[Expression | None]:
    return [activated(_product(call), call.attribute("activation"), _numbers(call))]


def _fused_gemm(call: Call) -> list[Expression | None]:
    plain = {name: call.attributes[name] for name in ("alpha", "beta", "transA", "transB") if name in call.attributes}
    product = emit("Gemm", required(call, 0, "A"), required(call, 1, "B"), argument(call, 2), **plain)
    return [activated(product, call.attribute("activation"), _numbers(call))]


def _gemm_fast_gelu(call: Call) -> list[Expression | None]:
    product, bias = required(call, 0, "X") @ required(call, 1, "W"), argument(call, 2)
    return [gelu(product if bias is None else product + bias, "tanh")]


composed("FusedMatMul", _fused_matmul, domain=MICROSOFT)
composed("TransposeMatMul", _fused_matmul, domain=MICROSOFT)
composed("FusedMatMulActivation", _fused_matmul_activation, domain=MICROSOFT)
composed("FusedGemm", _fused_gemm, domain=MICROSOFT)
composed("GemmFastGelu", _gemm_fast_gelu, domain=MICROSOFT)
