"""Cases of ``toolkit.operators.microsoft.quantization``."""

from tests.support.case import Case, constant, integers, uniform, variable

DOMAIN = {"domain": "com.microsoft", "version": 1}

CASES = [
    Case("QuantizeLinear", [uniform("N", 3, 4), constant(0.02), constant(100, "uint8")], **DOMAIN),
    Case("QuantizeLinear", [uniform("N", 3, 4), constant(0.0002), constant(100, "int16")], **DOMAIN, note="16 bits"),
    Case("QuantizeLinear", [uniform("N", 2, 4), constant([0.02, 0.01]), constant([1, 2], "int8")], {"axis": 1},
         **DOMAIN, note="axis"),
    Case("DequantizeLinear", [integers("N", 3, low=0, high=256, dtype="uint8"), variable(0.02), constant(9, "uint8")],
         **DOMAIN),
    Case("DequantizeLinear", [integers("N", 3, low=0, high=256, dtype="uint8"), uniform(3, low=0.1)], {"axis": -1},
         **DOMAIN, note="axis"),
]  # fmt: skip
