"""Explicit geometry of convolution and pooling, and the errors where shapes and attributes do not fit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from toolkit.compiler.program import Program, Variable
from toolkit.errors import InputError, ShapeError
from toolkit.operators import lookup
from toolkit.operators.standard.convolution import canonical_convolution
from toolkit.operators.standard.pooling import canonical_pooling
from toolkit.operators.standard.transposed_convolution import canonical_transposed_convolution


def append(
    op_type: str, *shapes: tuple[int, ...] | None, domain: str = "", version: int = 23, **attributes: Any
) -> Any:
    """A node on float32 inputs of these shapes."""
    inputs = [None if shape is None else Variable("x", np.dtype(np.float32), shape) for shape in shapes]
    return Program().append(op_type, inputs, attributes, domain=domain, version=version, layer="stem")


def own(op_type: str, *shapes: tuple[int, ...] | None, **attributes: Any) -> Any:
    return append(op_type, *shapes, domain="toolkit", version=1, **attributes)


def test_defaults_become_explicit() -> None:
    expected = {"strides": [1, 1], "pads": [0, 0, 0, 0], "dilations": [1, 1], "group": 1}
    assert canonical_convolution({}, (2, 3, 9, 8), (4, 3, 3, 3)) == expected


@pytest.mark.parametrize(("mode", "pads"), [("SAME_UPPER", [0, 1, 1, 1]), ("SAME_LOWER", [1, 1, 0, 1])])
def test_same_padding_puts_the_odd_one_where_its_name_says(mode: str, pads: list[int]) -> None:
    given = {"auto_pad": mode, "strides": [2, 1]}
    assert canonical_convolution(given, (1, 1, 8, 5), (1, 1, 3, 3))["pads"] == pads
    assert canonical_pooling({**given, "kernel_shape": [3, 3]}, (1, 1, 8, 5))["pads"] == pads


def test_transposed_padding_follows_from_the_output_shape() -> None:
    found = canonical_transposed_convolution({"strides": [2], "output_shape": [8]}, (1, 2, 4), (2, 1, 3))
    assert (found["pads"], found["output_shape"]) == ([1, 0], [8])


GEOMETRY = {"strides": [1], "pads": [0, 0], "dilations": [1], "group": 1}
GRID = {**GEOMETRY, "low": 0.0, "high": 255.0}
UPDATE = {"count": 1, "rule": ("Add t1 t2",), "results": ("v0",), "targets": (2,)}
BOX = {"kernel_shape": [2], "strides": [1], "pads": [0, 0], "dilations": [1], "ceil_mode": 0}
REFUSED: list[tuple[str, Any]] = [
    (r"Conv-23 'stem'.*expects 3 input channels.*got 32.*transpose", lambda: append("Conv", (1, 32, 9), (4, 3, 3))),
    ("must both be", lambda: append("Conv", (1, 3, 9), (4, 3, 3, 3))),
    ("kernel_shape", lambda: append("Conv", (1, 3, 9), (4, 3, 3), kernel_shape=[5])),
    ("bias must be a vector of 4", lambda: append("Conv", (1, 3, 9), (4, 3, 3), (3,))),
    ("does not fit spatial axis 0 of 2 elements", lambda: append("Conv", (1, 3, 2), (4, 3, 3))),
    ("pads must be 2 numbers", lambda: append("Conv", (1, 3, 9), (4, 3, 3), pads=[1, 1, 1, 1])),
    ("strides must be 1 positive", lambda: append("Conv", (1, 3, 9), (4, 3, 3), strides=[0])),
    ("auto_pad must be", lambda: append("Conv", (1, 3, 9), (4, 3, 3), auto_pad="SAME")),
    ("residual must have", lambda: own("FusedConv", (1, 3, 9), (4, 3, 3), None, (1, 4, 9), **GEOMETRY)),
    ("vectors of 4 channels", lambda: own("GridConv", (1, 3, 9), (4, 3, 3), None, (3,), **GRID)),
    ("scale must be a number, got", lambda: own("GridConv", (1, 3, 9), (4, 3, 3), None, (4,), (1,), **GRID)),
    ("must both be", lambda: append("ConvTranspose", (1, 3, 9), (3, 4, 3, 3))),
    ("expects 4 input channels.*got 3", lambda: append("ConvTranspose", (1, 3, 9), (4, 3, 3))),
    ("output_padding must be", lambda: append("ConvTranspose", (1, 3, 9), (3, 4, 3), output_padding=[-1])),
    ("leave no output", lambda: append("ConvTranspose", (1, 3, 1), (3, 4, 3), pads=[2, 2])),
    ("bias must be a vector of 4", lambda: append("ConvTranspose", (1, 3, 9), (3, 4, 3), (3,))),
    ("convolution's shape", lambda: own("ConvInputGradient", (1, 4, 9), (4, 3, 3), input_shape=[1, 3, 9], **GEOMETRY)),
    (
        "convolution's shape",
        lambda: own("ConvWeightGradient", (1, 3, 9), (1, 4, 9), weight_shape=[4, 3, 3], **GEOMETRY),
    ),
    ("batch, channels, spatial", lambda: append("MaxPool", (3, 9), kernel_shape=[2])),
    ("'kernel_shape' is required", lambda: append("AveragePool", (1, 3, 9))),
    ("kernel_shape must be 1", lambda: append("AveragePool", (1, 3, 9), kernel_shape=[2, 2])),
    ("pooling's shape", lambda: own("AveragePoolGradient", (1, 3, 9), input_shape=[1, 3, 9], **BOX)),
    ("at least 2 axes", lambda: own("FusedMatMul", (3,), (3, 4))),
    ("inner sizes must agree, got 3 .* 4", lambda: own("FusedMatMul", (2, 3), (4, 5))),
    ("bias must broadcast", lambda: own("FusedMatMul", (2, 3), (3, 5), (4,))),
    ("swapA exchanges .* got a tensor of shape", lambda: own("FusedMatMul", (2, 3), (3, 5), swapA=1)),
    ("activation must be one of", lambda: own("ActivationGradient", (3,), (3,), activation="Sine")),
    ("same shape", lambda: own("ActivationGradient", (3,), (4,), activation="Relu")),
    (
        "does not follow from its output",
        lambda: own("ActivationGradient", (3,), (3,), activation="Gelu", from_output=1),
    ),
    ("same shape", lambda: own("SoftmaxGradient", (3,), (4,))),
    ("residual must have", lambda: own("BatchNormalizationTraining", (2, 3), *[(3,)] * 4, (2, 1))),
    ("input's shape", lambda: own("BatchNormalizationGradient", (2, 3), (2, 3), *[(3,)] * 4, (2, 4))),
    (r"batch, channels, \.\.\.", lambda: own("BatchNormalizationTraining", (3,), *[(3,)] * 4)),
    ("vectors of 3 channels", lambda: own("BatchNormalizationTraining", (2, 3), *[(4,)] * 4)),
    ("'', 'Relu' or 'Clip'", lambda: own("BatchNormalizationTraining", (2, 3), *[(3,)] * 4, activation="Tanh")),
    ("vectors of the channels", lambda: own("BatchNormalizationRepeated", (2, 3), *[(4,)] * 4)),
    ("'' or 'Relu'", lambda: own("BatchNormalizationRepeated", (2, 3), *[(3,)] * 4, activation="Clip")),
    ("input's shape", lambda: own("BatchNormalizationGradient", (2, 4), (2, 3), *[(3,)] * 3)),
    ("needs its mask", lambda: own("BatchNormalizationGradient", (2, 3), (2, 3), *[(3,)] * 3, activation="Relu")),
    ("input's shape", lambda: own("LayerNormalizationGradient", (2, 4), (2, 3), (3,), (2, 1), (2, 1))),
    (r"must have the shape \(2, 1\)", lambda: own("LayerNormalizationGradient", (2, 3), (2, 3), (3,), (2,), (2,))),
    ("divide into 3 groups", lambda: append("GroupNormalization", (2, 4, 3), (4,), (4,), num_groups=3)),
    (r"must be a vector, got \(1, 1\)", lambda: own("ElementwiseUpdate", (1, 1), (2,), (2,), **UPDATE)),
    ("take 3 tensors in 3 groups, got 2", lambda: own("ElementwiseUpdate", (1,), (2,), (2,), **UPDATE)),
    (r"shape \(2,\) came with a .* \(3,\)", lambda: own("ElementwiseUpdate", (1,), (2,), (3,), (2,), **UPDATE)),
    ("reduction must be one of", lambda: append("NegativeLogLikelihoodLoss", (2, 3), (2,), reduction="median")),
    ("labels must have the shape", lambda: append("NegativeLogLikelihoodLoss", (2, 3), (3,))),
    ("vector of 3 classes", lambda: own("SoftmaxCrossEntropyGradient", (), (2, 3), (2,), (4,))),
    ("the loss's shape", lambda: own("SoftmaxCrossEntropyGradient", (2,), (2, 3), (2,))),
]


@pytest.mark.parametrize(("message", "make"), REFUSED, ids=[str(index) for index in range(len(REFUSED))])
def test_what_does_not_fit_is_refused(message: str, make: Any) -> None:
    with pytest.raises(ShapeError, match=message):
        make()


@pytest.mark.parametrize("label", [-1, 3])
def test_a_label_without_a_class_is_named(label: int) -> None:
    record = lookup("", "SoftmaxCrossEntropyLoss", 13)
    assert record is not None
    assert record.reference is not None
    with pytest.raises(InputError, match=f"label {label} is none of the 3 classes.*ignore_index"):
        record.reference(np.zeros((2, 3), np.float32), np.array([0, label]))


def test_a_loss_in_which_nothing_counts_is_not_a_number() -> None:
    record = lookup("", "SoftmaxCrossEntropyLoss", 13)
    assert record is not None
    assert record.reference is not None
    loss, _ = record.reference(np.zeros((2, 3), np.float32), np.array([9, 9]), ignore_index=9)
    assert np.isnan(loss)
