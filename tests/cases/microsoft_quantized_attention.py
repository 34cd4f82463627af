"""Cases of ``toolkit.operators.microsoft.quantized_attention``."""

from tests.cases.microsoft_quantization import DOMAIN
from tests.cases.quantized_linear import seven_bits, unsigned
from tests.support.case import Case, constant, uniform

HEADS = {"num_heads": 2}


def given(mask=None, weight="uint8", scale=0.004, past=None):
    """Input, weight and bias of two heads of four each, with what is said of the mask and the past."""
    zero_point = constant(130 if weight == "uint8" else 1, weight)
    return [unsigned("N", 3, 6), (unsigned if weight == "uint8" else seven_bits)(6, 24, is_constant=True), uniform(24),
            constant(0.01), constant(scale), mask, constant(120, "uint8"), zero_point, past]  # fmt: skip


CASES = [
    Case("QAttention", given()[:5], HEADS, **DOMAIN, tolerance=1e-4, note="no zero points"),
    Case("QAttention", given(), HEADS, **DOMAIN, tolerance=1e-4, outputs=2, note="with present"),
    Case("QAttention", given(weight="int8"), {**HEADS, "unidirectional": 1}, **DOMAIN, tolerance=1e-4, outputs=2,
         note="unidirectional"),
    Case("QAttention", given(past=uniform(2, "N", 2, 2, 4)), {**HEADS, "unidirectional": 1}, **DOMAIN, outputs=2,
         tolerance=1e-4, note="past"),
    Case("QAttention", given(constant(lambda n: [2] * n, "int32")), HEADS, **DOMAIN, tolerance=1e-4, note="ends"),
    Case("QAttention", given(constant(lambda n: [3] * n + [1] * n, "int32")), HEADS, **DOMAIN, tolerance=1e-4,
         note="ends and beginnings"),
    Case("QAttention", given(constant(lambda n: [[0, 1, 1]] * n, "int32")), HEADS, **DOMAIN, tolerance=1e-4,
         note="mask"),
    Case("QAttention", given(constant(lambda n: [[[1, 0, 1], [1, 1, 0], [0, 0, 0]]] * n, "int32")),
         {**HEADS, "mask_filter_value": -50.0}, **DOMAIN, tolerance=1e-4, note="mask per query"),
    Case("QAttention", given(constant(lambda n: [[0, 1, 1]] * n, "int32")), {**HEADS, "unidirectional": 1},
         **DOMAIN, tolerance=1e-4, note="mask and unidirectional"),
    Case("QAttention", given(scale=[0.004] * 8 + [0.005] * 16, weight="int8")[:6], {**HEADS, "scale": 0.3}, **DOMAIN,
         tolerance=1e-4, note="per column"),
]  # fmt: skip
