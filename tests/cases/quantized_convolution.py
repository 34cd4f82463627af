"""Cases of ``toolkit.operators.standard.quantized_convolution``."""

from tests.cases.quantized_linear import seven_bits, signed, unsigned
from tests.support.case import Case, constant, integers

TWO_SIDED = {"pads": [1, 2, 0, 1], "strides": [2, 1], "dilations": [1, 2]}
BIAS = integers(4, low=-9000, high=9000, dtype="int32", is_constant=True)


def qlinear(x, w, zero="uint8", weight_zero="uint8", *rest):
    return [x, constant(0.02), constant(113 if zero == "uint8" else -7, zero), w, constant(0.01),
            constant(3, weight_zero), constant(0.2), constant(11, zero), *rest]  # fmt: skip


CASES = [
    Case("ConvInteger", [unsigned("N", 2, 6, 5), unsigned(4, 2, 3, 3)], version=10),
    Case("ConvInteger", [unsigned("N", 2, 6, 5), unsigned(4, 2, 3, 2), constant(7, "uint8")], TWO_SIDED, version=10,
         note="padded with the zero point"),
    Case("ConvInteger", [unsigned("N", 4, 6), signed(6, 2, 3), constant(7, "uint8"), constant(3, "int8")],
         {"group": 2, "auto_pad": "SAME_UPPER"}, version=10, note="groups on a line", judge="onnx.reference"),
    Case("ConvInteger", [unsigned("N", 3, 4, 4), unsigned(2, 3, 2, 2), constant(1, "uint8"),
                         constant([3, 8], "uint8")], version=10, note="zero point per channel", judge="onnx.reference"),
    Case("ConvInteger", [unsigned("N", 300, 2, 2), unsigned(2, 300, 1, 1)], version=10, note="beyond float32"),
    Case("QLinearConv", qlinear(unsigned("N", 2, 6, 5), unsigned(4, 2, 3, 3)), version=10),
    Case("QLinearConv", qlinear(unsigned("N", 2, 6, 5), unsigned(4, 2, 3, 2), "uint8", "uint8", BIAS), TWO_SIDED,
         version=10, note="padded with bias"),
    Case("QLinearConv", qlinear(signed("N", 4, 6, 5), seven_bits(4, 1, 3, 3), "int8", "int8", BIAS),
         {"group": 4, "pads": [1, 1, 1, 1]}, version=10, note="depthwise"),
    Case("QLinearConv",
         [unsigned("N", 2, 5, 5), constant([0.02]), constant([7], "uint8"), seven_bits(3, 2, 3, 3),
          constant([0.01, 0.002, 0.03]), constant([0, 0, 0], "int8"), constant(0.1), constant(128, "uint8"),
          integers(3, low=-900, high=900, dtype="int32", is_constant=True)], {"auto_pad": "SAME_LOWER"}, version=10,
         note="per channel"),
    Case("QLinearConv", qlinear(unsigned("N", 2, 4, 3, 3), unsigned(4, 2, 2, 2, 2)), version=10, note="volume"),
    Case("QLinearConv", qlinear(unsigned("N", 2, 9), unsigned(4, 2, 4)), {"strides": [2]}, version=10, note="line"),
]  # fmt: skip
