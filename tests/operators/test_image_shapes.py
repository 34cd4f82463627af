"""What the operators that rearrange or convolve images refuse: CenterCropPad, Col2Im, MaxUnpool, DeformConv."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.support.interpret import apply
from toolkit.operators.record import lookup

COLUMNS = np.zeros((1, 4, 9), np.float32)
POOLED = np.zeros((1, 1, 2, 2), np.float32)
PLACES = np.arange(4).reshape(1, 1, 2, 2)
KERNEL = {"kernel_shape": [2, 2], "strides": [2, 2]}
IMAGE, WEIGHT, OFFSET = np.zeros((1, 2, 3, 3)), np.zeros((1, 2, 2, 2)), np.zeros((1, 8, 2, 2))


@pytest.mark.parametrize(
    ("operator", "inputs", "attributes", "message"),
    [
        ("CenterCropPad", [POOLED, np.array([1])], {}, "shape must hold 4 sizes of 0 or more, one per axis"),
        ("CenterCropPad", [POOLED, np.array([-1])], {"axes": [2]}, "shape must hold 1 sizes of 0 or more"),
        ("Col2Im", [COLUMNS, np.array([4, 4]), np.array([2])], {}, "image and block must have the same axes"),
        ("Col2Im", [COLUMNS, np.array([5, 4]), np.array([2, 2])], {}, r"must be \(batch, channels \* 4, 12\)"),
        ("MaxUnpool", [POOLED[0, 0], PLACES[0, 0]], KERNEL, r"must be \(batch, channels, spatial...\), got 2 axes"),
        ("MaxUnpool", [POOLED, PLACES], {**KERNEL, "pads": [3, 0, 3, 0]}, "leave no output"),
        ("MaxUnpool", [POOLED, PLACES + 13], KERNEL, r"lie in \[0, 15\]"),
        ("MaxUnpool", [POOLED, PLACES, np.array([1, 1, 3, 4])], KERNEL, "output_shape must be at least"),
        ("DeformConv", [IMAGE, WEIGHT, OFFSET], {"offset_group": 3}, "offset_group 3 must divide the 2 input channels"),
        ("DeformConv", [IMAGE, WEIGHT, OFFSET[:, :4]], {}, r"the offset must have the shape \(1, 8, 2, 2\)"),
        ("DeformConv", [IMAGE, WEIGHT, OFFSET, None, OFFSET], {}, r"the mask must have the shape \(1, 4, 2, 2\)"),
    ],
)
def test_what_does_not_fit_is_refused(
    operator: str, inputs: list[np.ndarray | None], attributes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        apply("", operator, 22, inputs, attributes)


def test_a_crop_of_text_pads_with_empty_text() -> None:
    words = np.array(["a", "b"], dtype=object)
    assert apply("", "CenterCropPad", 18, [words, np.array([4])], {})[0].tolist() == ["", "a", "b", ""]


def test_a_bias_of_another_length_is_refused() -> None:
    record = lookup("", "DeformConv", 22)
    assert record is not None and record.infer is not None
    types = [(np.dtype(np.float32), array.shape) for array in (IMAGE, WEIGHT, OFFSET, np.zeros(2))]
    with pytest.raises(ValueError, match="the bias must be a vector of 1 output channels"):
        record.infer(types, {}, [None] * 4)
