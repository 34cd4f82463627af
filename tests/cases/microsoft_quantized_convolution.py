"""Cases of ``toolkit.operators.microsoft.quantized_convolution``."""

from tests.cases.microsoft_quantization import DOMAIN
from tests.cases.quantized_convolution import BIAS, TWO_SIDED, qlinear
from tests.cases.quantized_linear import seven_bits, signed, unsigned
from tests.support.case import Case

CASES = [
    Case("QLinearConv", qlinear(unsigned("N", 2, 6, 5), unsigned(4, 2, 3, 2), "uint8", "uint8", BIAS), TWO_SIDED,
         **DOMAIN),
    Case("QLinearConv", qlinear(unsigned("N", 6, 5, 2), seven_bits(4, 2, 3, 2), "uint8", "int8", BIAS),
         {**TWO_SIDED, "channels_last": 1}, **DOMAIN, note="channels last"),
    Case("QLinearConv", qlinear(signed("N", 6, 5, 4), seven_bits(4, 1, 3, 3), "int8", "int8"),
         {"group": 4, "channels_last": 1, "auto_pad": "SAME_UPPER"}, **DOMAIN, note="depthwise channels last"),
]  # fmt: skip
