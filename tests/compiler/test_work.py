"""How much a node multiplies."""

from __future__ import annotations

import numpy as np
import pytest

from toolkit.compiler.program import Program, Variable
from toolkit.compiler.work import products

FLOAT = np.dtype(np.float32)


@pytest.mark.parametrize("widens", [True, False])
def test_a_block_multiplies_as_its_convolutions_do(widens: bool) -> None:
    program, x = Program(), Variable("x", FLOAT, (2, 4, 6, 8))
    wide = 12 if widens else 4
    first = Variable("first", FLOAT, (wide, 4, 1, 1)) if widens else None
    middle, last = Variable("middle", FLOAT, (wide, 1, 3, 3)), Variable("last", FLOAT, (5, wide, 1, 1))
    geometry = {"strides": [2, 2], "pads": [1] * 4}
    numbers = {name: [0.0] * 3 for name in ("activation_alpha", "activation_beta")}
    inputs = [x, first, None, middle, None, last]
    block = program.append(
        "InvertedResidual", inputs, {**geometry, "activations": [""] * 3, **numbers}, domain="toolkit"
    )

    apart = [] if first is None else [program.append("Conv", [x, first], {}, version=11)]
    apart.append(program.append("Conv", [apart[0].y if apart else x, middle], {**geometry, "group": wide}, version=11))
    apart.append(program.append("Conv", [apart[-1].y, last], {}, version=11))
    assert products(block) == sum(map(products, apart))
