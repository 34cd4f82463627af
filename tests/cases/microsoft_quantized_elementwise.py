"""Cases of ``toolkit.operators.microsoft.quantized_elementwise``."""

import numpy as np

from tests.cases.microsoft_quantization import DOMAIN
from tests.cases.quantized_linear import signed, unsigned
from tests.support.case import Case, booleans, constant

GRIDS = {"uint8": [(0.02113, 113), (0.03137, 7), (0.04729, 131)], "int8": [(0.02113, -13), (0.03137, 7), (0.04729, 1)]}


def grid(number, kind):
    """Scale and zero point."""
    scale, zero_point = GRIDS[kind][number]
    return [constant(scale), constant(zero_point, kind)]


def added(a, a_scale, _, b, b_scale, __, c_scale):
    """A sum without zero points, which onnxruntime refuses."""
    return np.clip(np.rint((a * a_scale + b * b_scale) / c_scale), 0, 255).astype(np.uint8)


CASES = [
    *[
        Case(name, [make("N", 3, 4), *grid(0, kind), make(3, 1), *grid(1, kind), *grid(2, kind)], **DOMAIN, note=kind)
        for name in ("QLinearAdd", "QLinearMul")
        for kind, make in (("uint8", unsigned), ("int8", signed))
    ],
    Case("QLinearAdd", [unsigned("N", 3), constant(0.021), None, unsigned("N", 3), constant(0.03), None,
                        constant(0.0473)], **DOMAIN, note="no zero points", judge=added),
    Case("QLinearAdd", [signed("N", 40), *grid(0, "int8"), signed("N", 40), *grid(1, "int8"), *grid(2, "int8")],
         **DOMAIN, note="long"),
    *[
        Case("QLinearLeakyRelu", [make("N", 70), *grid(0, kind), *grid(1, kind)], {"alpha": alpha}, **DOMAIN,
             note=f"{kind} {alpha}")
        for alpha in (0.01, 0.3)
        for kind, make in (("uint8", unsigned), ("int8", signed))
    ],
    Case("QLinearLeakyRelu", [unsigned("N", 70), constant(0.02), None, constant(0.03)], **DOMAIN,
         note="no zero points", judge=lambda x, s, z, t, **_: np.rint(x * (s / t)).astype(np.uint8)),
    Case("QLinearSigmoid", [unsigned("N", 70), *grid(0, "uint8"), constant(0.0039), constant(0, "uint8")], **DOMAIN),
    Case("QLinearSigmoid", [signed("N", 70), *grid(0, "int8"), constant(0.0039), constant(-128, "int8")], **DOMAIN,
         note="signed"),
    Case("QLinearSoftmax", [unsigned("N", 9), *grid(0, "uint8"), constant(0.00390625), constant(0, "uint8")],
         {"opset": 13}, **DOMAIN),
    Case("QLinearSoftmax", [signed("N", 3, 5), *grid(0, "int8"), constant(0.00390625), constant(-128, "int8")],
         {"opset": 13, "axis": 1}, **DOMAIN, note="middle axis"),
    Case("QLinearSoftmax", [unsigned("N", 3, 5), *grid(0, "uint8"), constant(0.00390625), constant(0, "uint8")],
         {"opset": 12, "axis": 1}, **DOMAIN, note="all axes from one on"),
    Case("QLinearWhere", [booleans("N", 3, 4), unsigned(3, 4), *grid(0, "uint8"), unsigned("N", 1, 4),
                          *grid(1, "uint8"), *grid(2, "uint8")], **DOMAIN),
    Case("QLinearWhere", [booleans("N", 1), signed("N", 4), *grid(0, "int8"), signed(1, 1), *grid(0, "int8"),
                          *grid(0, "int8")], **DOMAIN, note="one grid"),
    Case("QLinearConcat", [*grid(2, "uint8"), unsigned("N", 3), *grid(0, "uint8"), unsigned("N", 2),
                           *grid(1, "uint8")], {"axis": 1}, **DOMAIN),
    Case("QLinearConcat", [*grid(2, "int8"), signed("N", 3, 2), *grid(0, "int8"), signed("N", 1, 2), *grid(2, "int8"),
                           signed("N", 2, 2), *grid(1, "int8")], {"axis": -2}, **DOMAIN, note="three"),
    Case("MulInteger", [unsigned("N", 3), constant(9, "uint8"), unsigned(3), constant(200, "uint8")], **DOMAIN,
         judge=lambda a, za, b, zb: (a.astype(np.int32) - 9) * (b.astype(np.int32) - 200)),
    Case("MulInteger", [signed("N", 3), None, signed(1, 1)], **DOMAIN, note="no zero points",
         judge=lambda a, za, b: a.astype(np.int32) * b),
]  # fmt: skip
