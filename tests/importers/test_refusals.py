"""Files that are no usable model end in a ModelError that names what is wrong, whatever is wrong with them."""

from __future__ import annotations

import os
import random
from io import FileIO

import numpy as np
import onnx
import pytest
from google.protobuf.message import EncodeError
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from importers import load
from importers.onnx.reader import _fill, _serialized
from importers.onnx.wire import prefix
from tests.importers.small import SHARED, info, linear, model_of, needs_shared
from toolkit.errors import ModelError


def test_missing_file(tmp_path):
    with pytest.raises(ModelError, match=r"absent.onnx' cannot be opened: No such file or directory. Check the path"):
        load(tmp_path / "absent.onnx")


def test_path_with_nul():
    with pytest.raises(ModelError, match=r"cannot be opened: embedded null byte"):
        load("a\0b")


def test_directory(tmp_path):
    with pytest.raises(ModelError, match=r"cannot be opened: Is a directory. Check the path"):
        load(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_named_pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ModelError, match=r"must be an ONNX file, but is no regular file"):
        load(tmp_path / "pipe")


def test_empty_file(tmp_path):
    (tmp_path / "empty.onnx").touch()
    with pytest.raises(ModelError, match=r"is empty"):
        load(tmp_path / "empty.onnx")


@pytest.mark.parametrize(
    "content", [b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(100), b"Just some text, no model.\n" * 5, b"<html></html>"]
)
def test_not_a_protobuf(content, tmp_path):
    (tmp_path / "other.onnx").write_bytes(content)
    with pytest.raises(ModelError, match=r"other.onnx' is no ONNX model, or only a part of one: \d+ bytes"):
        load(tmp_path / "other.onnx")


def test_something_that_is_no_source():
    with pytest.raises(ModelError, match=r"requires a path, bytes or an onnx.ModelProto, got int"):
        load(3)


def test_proto_beyond_two_gibibytes():
    class Huge:
        def SerializeToString(self):  # noqa: N802
            raise EncodeError("Failed to serialize proto")

    with pytest.raises(ModelError, match=r"The model proto cannot be serialized: Failed.*Save it with external data"):
        _serialized(Huge())


def test_empty_bytes():
    with pytest.raises(ModelError, match=r"The model in memory holds no graph"):
        load(b"")


@pytest.mark.parametrize("count", [4, 400])
def test_truncated_anywhere(count):
    content = linear(count).SerializeToString()
    for end in sorted({*range(0, len(content), max(1, len(content) // 300)), *range(len(content) - 20, len(content))}):
        with pytest.raises(ModelError):
            load(content[:end])


@needs_shared
def test_truncated_real_file():
    content = (SHARED / "assets/models/mnist8_cntk/model.onnx").read_bytes()
    for end in range(0, len(content), 397):
        with pytest.raises(ModelError):
            load(content[:end])


def test_file_that_shrinks_while_it_is_read(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"short")
    with FileIO(tmp_path / "model.onnx") as file, pytest.raises(ModelError, match=r"became shorter while it was read"):
        _fill(file, np.empty(10, np.uint8), "The file")


@settings(deadline=None, max_examples=300)
@given(st.randoms(use_true_random=False))
def test_damage_anywhere_is_refused_or_survived(chance: random.Random):
    content = bytearray(linear(400).SerializeToString())
    for _ in range(chance.randint(1, 4)):
        content[chance.choice([chance.randrange(200), chance.randrange(len(content)), -chance.randrange(1, 200)])] = (
            chance.randrange(256)
        )
    try:
        load(bytes(content))
    except ModelError as error:
        assert str(error)


def test_no_opset_import():
    model = linear()
    model.ClearField("opset_import")
    with pytest.raises(ModelError, match=r"imports no operator set; every model must"):
        load(model)


@pytest.mark.parametrize("version", [999, 0, -1])
def test_opset_version_that_nobody_knows(version):
    model = linear()
    model.opset_import[0].version = version
    with pytest.raises(ModelError, match=rf"imports opset {version} of 'ai.onnx'; onnx .* knows 1 to"):
        load(model)


def test_two_versions_of_one_domain():
    model = linear()
    model.opset_import.append(helper.make_opsetid("ai.onnx", 9))
    with pytest.raises(ModelError, match=r"imports 'ai.onnx' as opset 17 and as opset 9; one is required"):
        load(model)


@pytest.mark.parametrize(("version", "remedy"), [(0, "Export the model again"), (999, "Upgrade onnx")])
def test_ir_version_that_nobody_knows(version, remedy):
    model = linear()
    model.ir_version = version
    with pytest.raises(ModelError, match=rf"has IR version {version}; onnx .* reads 1 to .*{remedy}"):
        load(model)


def refuse(model: onnx.ModelProto, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        load(model)


def test_two_producers_of_one_value():
    model = linear()
    model.graph.node[1].output[0] = "h"
    refuse(model, "Add 'layer/add' produces 'h', which is already an input, an initializer or the output of another")


@pytest.mark.parametrize("name", ["x", "w"])
def test_node_that_overwrites(name):
    model = linear()
    model.graph.node.append(helper.make_node("Neg", ["s"], [name]))
    refuse(model, rf"Neg 'Neg_3' produces '{name}', which is already|cycle")


def test_cycle():
    model = linear()
    model.graph.node[0].input[0] = "s"
    refuse(model, "Graph 'small' has a cycle: each of MatMul 'layer/matmul', Add 'layer/add'.* waits for an output")


def test_node_that_reads_its_own_output():
    model = linear()
    model.graph.node[2].input[0] = "y"
    refuse(model, "has a cycle: each of Relu 'relu' waits")


def test_unknown_input_of_a_node():
    model = linear()
    model.graph.node[1].input[1] = "nowhere"
    refuse(model, "Add 'layer/add' reads 'nowhere', which is no input, initializer or output of another node")


def test_unknown_input_inside_a_body():
    then = helper.make_graph([helper.make_node("Neg", ["nowhere"], ["n"])], "then", [], [info("n")])
    node = helper.make_node("If", ["x"], ["y"], then_branch=then, else_branch=then)
    refuse(model_of([node]), "The body of If 'If_0' in The model proto: Neg 'Neg_0' reads 'nowhere'")


def test_output_that_nothing_provides():
    model = linear()
    model.graph.output[0].name = "nowhere"
    refuse(model, "has the output 'nowhere', which no node, input or initializer provides")


def test_names_listed_twice():
    model = linear()
    model.graph.input.append(info("x"))
    refuse(model, "Graph 'small' lists the input 'x' twice")
    model = linear()
    model.graph.initializer.append(model.graph.initializer[0])
    refuse(model, "Graph 'small' has the initializer 'w' twice")


def test_initializer_without_a_name():
    model = linear()
    model.graph.initializer.append(numpy_helper.from_array(np.array([1], np.float32)))
    refuse(model, "has an input or initializer without a name")


def test_node_without_an_operator():
    model = linear()
    model.graph.node[1].op_type = ""
    refuse(model, "Node 'layer/add' names no operator")


@pytest.mark.parametrize("name", [b"/layer/add", b"batch", b"small", b"MatMul", b"h", b"w"])
def test_names_that_are_no_text(name):
    broken = b"\xff" * len(name)
    content = linear().SerializeToString().replace(bytes([len(name)]) + name, bytes([len(name)]) + broken)
    with pytest.raises(ModelError, match=r"has a name that is not UTF-8 text"):
        load(content)


def test_bodies_nested_too_deep():
    graph = b""
    for _ in range(2000):
        attribute = prefix(6, len(graph)) + graph
        node = prefix(5, len(attribute)) + attribute
        graph = prefix(1, len(node)) + node
    with pytest.raises(ModelError, match=r"is no ONNX model, or only a part of one"):
        load(prefix(7, len(graph)) + graph)


def test_bodies_nested_as_deep_as_protobuf_allows():
    graph = helper.make_graph([helper.make_node("Neg", ["x"], ["n"])], "inner", [], [info("n")])
    for _ in range(29):
        node = helper.make_node("If", ["x"], ["n"], then_branch=graph)
        graph = helper.make_graph([node], "inner", [], [info("n")])
    assert len(list(load(model_of([helper.make_node("If", ["x"], ["y"], then_branch=graph)])).graph.walk())) == 31


def function(name: str, calls: list[str]):
    nodes, last = [], "a"
    for number, call in enumerate(calls):
        nodes.append(helper.make_node(call, [last], [f"v{number}"], domain="f"))
        last = f"v{number}"
    nodes.append(helper.make_node("Neg", [last], ["b"]))
    return helper.make_function(
        "f", name, ["a"], ["b"], nodes, [helper.make_opsetid("", 17), helper.make_opsetid("f", 1)]
    )


def calling(functions, name: str = "F0"):
    model = model_of([helper.make_node(name, ["x"], ["y"], domain="f")], functions=functions)
    model.opset_import.append(helper.make_opsetid("f", 1))
    return model


def test_recursive_functions():
    refuse(calling([function("F0", ["F1"]), function("F1", ["F0"])]), "function 'f::F0' calls itself")


def test_functions_nested_too_deep():
    functions = [function(f"F{number}", [f"F{number + 1}"]) for number in range(150)]
    refuse(calling(functions), "nested deeper than 100 calls")


def test_functions_that_explode():
    functions = [function(f"F{number}", [f"F{number + 1}"] * 2) for number in range(40)]
    refuse(calling(functions), r"its functions expand to \d+ nodes, more than 100 times the 121 that")


def test_function_defined_twice():
    refuse(calling([function("F0", []), function("F0", [])]), "defines function f::F0 twice")


@pytest.mark.parametrize("kind", ["input", "output"])
def test_function_that_lists_a_name_twice(kind):
    broken = function("F0", [])
    getattr(broken, kind).append(getattr(broken, kind)[0])
    refuse(calling([broken]), rf"Function f::F0 lists the {kind} '.' twice")


def test_function_that_declares_an_attribute_twice():
    broken = function("F0", [])
    broken.attribute.extend(["p", "p"])
    refuse(calling([broken]), "declares an attribute twice")


def test_function_that_captures():
    broken = function("F0", [])
    broken.node[0].input[0] = "x"
    refuse(calling([broken]), "Function f::F0 of The model proto: Neg 'Neg_0' reads 'x'")


def test_wire_level_oddities_are_left_to_protobuf():
    model = linear(400)
    content = model.SerializeToString()
    group = bytes([0xF3, 0x3F, 0x08, 0x01, 0xF4, 0x3F])  # an unknown group, which the splitter does not read
    network = load(content + group)
    np.testing.assert_array_equal(network.parameters["w"].array, numpy_helper.to_array(model.graph.initializer[0]))


def test_graph_in_two_parts_is_merged_as_protobuf_does():
    model = linear(400)
    second = onnx.ModelProto()
    second.graph.initializer.append(numpy_helper.from_array(np.arange(600, dtype=np.float32), "late"))
    network = load(model.SerializeToString() + second.SerializeToString())
    assert list(network.parameters) == ["w", "b", "late"]
    np.testing.assert_array_equal(network.parameters["late"].array, np.arange(600))


def test_repeated_data_fields_are_merged_as_protobuf_does():
    model = linear()
    tensor = TensorProto(name="t", data_type=TensorProto.FLOAT, dims=[600], raw_data=bytes(2400))
    last = np.arange(600, dtype=np.float32)
    merged = tensor.SerializeToString() + TensorProto(raw_data=last.tobytes()).SerializeToString()
    graph = onnx.GraphProto.FromString(b"\x2a" + bytes([len(merged) & 0x7F | 0x80, len(merged) >> 7]) + merged)
    raw = b"\x2a" + bytes([len(merged) & 0x7F | 0x80, len(merged) >> 7]) + merged
    body = b"\x3a" + bytes([len(raw) & 0x7F | 0x80, len(raw) >> 7]) + raw
    assert graph.initializer[0].raw_data == last.tobytes()
    np.testing.assert_array_equal(load(model.SerializeToString() + body).parameters["t"].array, last)
