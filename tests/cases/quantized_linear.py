"""Cases of ``toolkit.operators.standard.quantized_linear``."""

import numpy as np

from tests.support.case import Case, constant, integers, uniform


def qlinear_matmul(a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero):
    """Row and column parameters, from float64 products."""

    def rows(p):
        return p.astype(np.float64)[:, None] if p.ndim == 1 and p.size > 1 else p.astype(np.float64)

    y = (rows(a_scale) * (a - rows(a_zero))) @ (b_scale.astype(np.float64) * (b - b_zero.astype(np.float64)))
    return np.clip(np.rint(y / y_scale) + y_zero, -128, 127).astype(np.int8)


def signed(*shape, **rest):
    return integers(*shape, low=-128, high=128, dtype="int8", **rest)


def seven_bits(*shape, **rest):
    """int8 for right operands that onnxruntime multiplies: without VNNI it adds pairs of products in 16 bits, and more
    than seven bits saturate."""
    return integers(*shape, low=-64, high=65, dtype="int8", **rest)


def unsigned(*shape, **rest):
    return integers(*shape, low=0, high=256, dtype="uint8", **rest)


def scales(a, b, y):
    return constant(a), constant(b), constant(y)


CASES = [
    Case("MatMulInteger", [unsigned("N", 3, 7), unsigned(7, 2)], version=10, note="no zero points"),
    Case("MatMulInteger", [unsigned("N", 3, 7), signed(7, 2), constant(12, "uint8"), constant(-3, "int8")],
         version=10, note="zero points", judge="onnx.reference"),
    Case("MatMulInteger", [signed("N", 3, 7), seven_bits(7, 2), constant(12, "int8"), constant([5, -3], "int8")],
         version=10, note="per column"),
    Case("MatMulInteger", [unsigned(3, 7), unsigned(7, 2), constant([1, 2, 3], "uint8")], version=10, note="per row",
         judge=lambda a, b, z: ((a.astype(int) - z.astype(int)[:, None]) @ b.astype(int)).astype(np.int32)),
    Case("MatMulInteger", [unsigned("N", 900), unsigned(900, 2)], version=10, note="beyond float32"),
    Case("MatMulInteger", [unsigned(7), unsigned("N", 7, 2)], version=10, note="vector", judge="onnx.reference"),
    *[
        Case("QLinearMatMul",
             [unsigned("N", 3, 7), constant(0.01), constant(113, "uint8"), unsigned(7, 4), constant(0.02),
              constant(130, "uint8"), constant(0.03), constant(99, "uint8")], version=version)
        for version in (10, 21)
    ],
    Case("QLinearMatMul",
         [signed("N", 5, 300), constant(0.01), constant(-4, "int8"), seven_bits("N", 300, 4), constant(0.02),
          constant(3, "int8"), constant(0.3), constant(9, "int8")], version=10, note="batch"),
    Case("QLinearMatMul",
         [unsigned("N", 9), constant([0.01]), constant([4], "uint8"), seven_bits(9, 3), constant([0.02, 0.03, 0.01]),
          constant([0, 0, 0], "int8"), constant(0.3), constant(9, "uint8")], version=10, note="per column"),
    Case("QLinearMatMul",
         [signed(2, 9), constant([0.01, 0.05]), constant([4, -1], "int8"), signed(9, 3), constant([0.02, 0.03, 0.01]),
          constant([1, 0, 2], "int8"), constant(0.3), constant(9, "int8")], version=10, note="per row",
         judge=qlinear_matmul),
    Case("QLinearMatMul",
         [uniform("N", 3, 5, dtype="float8_e4m3fn"), constant(0.5, "float16"), constant(0, "float8_e4m3fn"),
          uniform(5, 2, dtype="float8_e4m3fn"), constant(2.0, "float16"), constant(0, "float8_e4m3fn"),
          constant(0.25, "float16"), constant(0, "float8_e4m3fn")], version=21, note="float8",
         judge=lambda a, sa, za, b, sb, zb, sy, zy:
             (a.astype(np.float32) @ b.astype(np.float32) * 4.0).astype(zy.dtype)),
]  # fmt: skip
