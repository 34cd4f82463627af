"""Cases of ``toolkit.operators.microsoft.quantized_linear``."""

import numpy as np

from tests.cases.microsoft_quantization import DOMAIN
from tests.cases.quantized_linear import seven_bits, signed, unsigned
from tests.support.case import Case, constant, integers, uniform, variable

COLUMNS = [0.01, 0.02, 0.005, 0.03]
BIAS = integers(4, low=-900, high=900, dtype="int32", is_constant=True)


def gemm(a="uint8", b="uint8", transposed=False):
    """The six inputs of a quantised product of (N, 7) and (7, 4)."""
    left, right = unsigned if a == "uint8" else signed, unsigned if b == "uint8" else seven_bits
    return [left("N", 7), constant(0.02), constant(5, a), right(*((4, 7) if transposed else (7, 4))), constant(0.03),
            constant(9, b)]  # fmt: skip


CASES = [
    Case("MatMulIntegerToFloat", [unsigned("N", 3, 7), seven_bits(7, 4), variable(0.02), variable(0.03)], **DOMAIN),
    Case("MatMulIntegerToFloat",
         [unsigned("N", 7), unsigned(7, 4), constant(0.02), constant(0.03), constant(113, "uint8"),
          constant(99, "uint8"), uniform(4)], **DOMAIN, note="zero points and bias"),
    Case("MatMulIntegerToFloat",
         [signed("N", 7), seven_bits(7, 4), variable([0.02]), variable(COLUMNS), constant(11, "int8"),
          constant([3, -2, 1, 0], "int8")], **DOMAIN, note="per column"),
    Case("MatMulIntegerToFloat",
         [unsigned("N", 7), signed(7, 4), constant(0.02, "float16"), constant(0.03, "float16")], **DOMAIN, note="half",
         tolerance=1e-3, judge=lambda a, b, s, t: (a.astype(int) @ b * float(s) * float(t)).astype(np.float16)),
    Case("DynamicQuantizeMatMul", [uniform("N", 3, 7), seven_bits(7, 4), constant(0.03)], **DOMAIN),
    Case("DynamicQuantizeMatMul",
         [uniform("N", 7), unsigned(7, 4), constant(COLUMNS), constant([3, 128, 255, 0], "uint8"), uniform(4)],
         **DOMAIN, note="per column"),
    Case("DynamicQuantizeMatMul", [uniform("N", 2, 7), seven_bits("N", 7, 4), constant(0.03), constant(3, "int8")],
         **DOMAIN, note="batch"),
    Case("MatMulInteger16", [integers("N", 7, low=-9000, high=9000, dtype="int16"),
                             integers(7, 4, low=-9000, high=9000, dtype="int16")], **DOMAIN),
    Case("MatMulInteger16", [integers("N", 2, low=0, high=40000, dtype="uint16"),
                             integers(2, 4, low=0, high=50000, dtype="uint16")], **DOMAIN, note="unsigned",
         judge=lambda a, b: a.astype(np.uint32) @ b.astype(np.uint32)),
    Case("QGemm", gemm(), **DOMAIN, note="to floats"),
    Case("QGemm", [*gemm("uint8", "int8"), BIAS, constant(0.9), constant(130, "uint8")], {"alpha": 0.7}, **DOMAIN,
         note="quantised"),
    Case("QGemm", [*gemm("int8", "int8", True), BIAS, constant(0.9), constant(-3, "int8")], {"transB": 1}, **DOMAIN,
         note="transposed weight"),
    Case("QGemm",
         [signed(7, "N"), constant(0.02), constant(5, "int8"), seven_bits(7, 4), constant(COLUMNS),
          constant([0, 1, 2, 3], "int8"), None, constant(0.9), constant(-3, "int8")], {"transA": 1}, **DOMAIN,
         note="transposed input per column"),
]  # fmt: skip
