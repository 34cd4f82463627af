"""Small models that say unusual things, for the tests of reading and writing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from exporters import save, to_proto
from importers import load
from toolkit import graph as tg

SHARED = Path(__file__).parents[3] / "shared"


def info(name: str, shape: Sequence[int | str | None] | None = ("batch", 4), kind: int = TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, kind, shape)


def model_of(nodes, inputs=None, outputs=None, initializers=(), opset: int = 17, **options) -> onnx.ModelProto:
    """A model around nodes; input ``x`` and output ``y`` unless told otherwise."""
    graph = helper.make_graph(
        list(nodes),
        "small",
        [info("x")] if inputs is None else inputs,
        [info("y")] if outputs is None else outputs,
        list(initializers),
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10, **options)


def linear(count: int = 4) -> onnx.ModelProto:
    """``y = relu(x w + b)`` with a weight large enough to be cut out of the file."""
    weight = np.arange(4 * count, dtype=np.float32).reshape(4, count)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"], name="/layer/matmul"),
        helper.make_node("Add", ["h", "b"], ["s"], name="/layer/add"),
        helper.make_node("Relu", ["s"], ["y"], name="/relu"),
    ]
    initializers = [
        numpy_helper.from_array(weight, "w"),
        helper.make_tensor("b", TensorProto.FLOAT, [count], np.linspace(0, 1, count).tolist()),
    ]
    return model_of(nodes, outputs=[info("y", ("batch", count))], initializers=initializers)


def assert_round_trip(model: onnx.ModelProto, tmp_path: Path) -> tg.Network:
    """Both ways back, through a file and as a proto, give the model again; returns the network."""
    source, target = tmp_path / "source.onnx", tmp_path / "target.onnx"
    source.write_bytes(model.SerializeToString())
    network = load(source)
    assert to_proto(network) == model
    save(network, target)
    assert onnx.load(target, load_external_data=False) == model
    assert to_proto(load(model)) == model
    return network


needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the shared assets are not beside the repository")
