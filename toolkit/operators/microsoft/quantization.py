"""com.microsoft QuantizeLinear and DequantizeLinear: those of ONNX, for models older than opset 10, 13 or 21."""

from __future__ import annotations

from toolkit.operators.record import operator
from toolkit.operators.standard.quantization import (
    ROUNDS_UNLESS_ASKED,
    dequantize_gradient,
    dequantize_linear,
    infer_dequantized,
    infer_quantized,
    quantize_linear,
)

MICROSOFT = "com.microsoft"

operator(
    "QuantizeLinear",
    domain=MICROSOFT,
    reference=quantize_linear,
    gradient=ROUNDS_UNLESS_ASKED,
    infer=infer_quantized,
)
operator(
    "DequantizeLinear",
    domain=MICROSOFT,
    reference=dequantize_linear,
    gradient=dequantize_gradient,
    infer=infer_dequantized,
)
