"""Cases of ``toolkit.operators.microsoft.words``; onnxruntime leaves what it gives for an empty word to chance."""

from __future__ import annotations

import numpy as np

from tests.support.case import Case, uniform, variable

WORDS = [[1, 2, 3, 0, 0], [4, 0, 0, 0, 0], [1, 2, 3, 4, 5], [2, 0, 3, 0, 0]]

CASES = [
    Case(
        "WordConvEmbedding",
        [variable(np.asarray(WORDS), "int32"), uniform(3, 1, 2, 4), uniform(3), uniform(6, 4)],
        version=1,
        domain="com.microsoft",
    )
]
