"""Which names say that a convolution holds a BatchNormalization."""

from __future__ import annotations

import numpy as np
import pytest

from toolkit.graph import Graph, Leaf, Parameter
from toolkit.graph.folded_normalization import folded_normalization, note_on_folding


def graph(*weights: str, operator: str = "Conv") -> Graph:
    """One layer for every weight."""
    made = Graph("g")
    for name in weights:
        made.leaves.append(Leaf(operator, ["x", name], [f"y {name}"], path=f"layer {name}"))
        made.parameters[name] = Parameter(name, np.zeros(1, np.float32))
    return made


@pytest.mark.parametrize(
    "name",
    [
        "onnx::Conv_123",
        "onnx::ConvTranspose_5",
        "ConvBnFusion_W_stem.weight",
        "model/conv2d/Conv2D_weights_fused_bn",
        "re_lu/Relu;batch_normalization_3/FusedBatchNormV3;conv2d/Conv2D",
    ],
)
def test_exporters_name_what_they_folded(name: str) -> None:
    assert [leaf.path for leaf in folded_normalization(graph(name, "conv.weight"))] == [f"layer {name}"]


@pytest.mark.parametrize("name", ["conv1.weight", "onnx::MatMul_12", "Conv2D/filter:0", "17"])
def test_other_names_say_nothing(name: str) -> None:
    assert not folded_normalization(graph(name))
    assert note_on_folding(graph(name)) == ""


def test_a_number_tells_where_others_are_named_by_modules() -> None:
    assert [leaf.path for leaf in folded_normalization(graph("17", "head.weight"))] == ["layer 17"]


def test_only_convolutions_count() -> None:
    assert not folded_normalization(graph("onnx::Conv_3", operator="MatMul"))


def test_the_note_lists_a_few() -> None:
    note = note_on_folding(graph(*(f"onnx::Conv_{number}" for number in range(5))))
    assert "'layer onnx::Conv_2' and 2 more" in note
