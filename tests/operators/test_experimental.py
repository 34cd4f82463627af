"""What the experimental operators of old opsets refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.support.interpret import apply

IMAGE = np.zeros((1, 3, 4, 4), np.float32)


@pytest.mark.parametrize(
    ("operator", "inputs", "attributes", "message"),
    [
        ("ImageScaler", [IMAGE], {"bias": [1.0, 2.0]}, "bias must hold 3 numbers"),
        ("ImageScaler", [IMAGE[0]], {}, r"must be \(batch, channels, height, width\), got 3 axes"),
        ("Crop", [IMAGE], {"border": [3, 0, 3, 0]}, "does not lie in 4 x 4"),
        ("Crop", [IMAGE], {"border": [1, 1, 0, 0], "scale": [4, 2]}, "does not lie in 4 x 4"),
        ("DynamicSlice", [IMAGE, None, None], {}, "input 'starts' is required"),
        ("ConstantFill", [], {}, "attribute 'shape' is required"),
        ("GivenTensorFill", [], {"values": [1.0], "shape": [2]}, r"the 1 values must fill the shape \(2,\)"),
    ],
)
def test_what_does_not_fit_is_refused(
    operator: str, inputs: list[np.ndarray | None], attributes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        apply("", operator, 7, inputs, attributes)
