"""Cases of ``toolkit.operators.microsoft.quantized_embedding``."""

from tests.cases.microsoft_quantization import DOMAIN
from tests.cases.quantized_linear import unsigned
from tests.support.case import Case, constant, integers

SCALE, ZERO = constant(0.02), constant(120, "uint8")
WORDS, SEGMENTS = integers("N", 3, low=0, high=7, dtype="int32"), integers("N", 3, low=0, high=2, dtype="int32")
TABLE, POSITIONS, SEGMENT_TABLE, ROW = unsigned(7, 8), unsigned(5, 8), unsigned(2, 8), unsigned(8)
MASK = constant(lambda n: [[1, 1, 0]] * n, "int32")

CASES = [
    Case("QEmbedLayerNormalization",
         [WORDS, SEGMENTS, TABLE, POSITIONS, SEGMENT_TABLE, ROW, ROW, MASK, *[SCALE] * 5, *[ZERO] * 5], **DOMAIN,
         outputs=2, tolerance=1e-4),
    Case("QEmbedLayerNormalization",
         [WORDS, None, TABLE, POSITIONS, None, ROW, ROW, None, SCALE, SCALE, None, SCALE, SCALE, ZERO, ZERO, None, ZERO,
          ZERO], {"epsilon": 0.1}, **DOMAIN, outputs=2, tolerance=1e-4, note="no segments"),
]  # fmt: skip
