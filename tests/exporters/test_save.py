"""Saving: atomic, lean in memory, and true to the storage of whatever did not change."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from exporters import diff, save, to_proto
from importers import load
from tests.importers.small import info, linear, model_of
from toolkit.errors import ModelError
from toolkit.graph import Graph, Leaf, Network, Parameter, SparseTensor, Value

FLOAT = np.dtype(np.float32)


def test_only_trained_initializers_differ(tmp_path):
    source, target = tmp_path / "model.onnx", tmp_path / "tuned.onnx"
    source.write_bytes(linear(400).SerializeToString())
    network = load(source)
    weight, bias = network.parameters["w"], network.parameters["b"]
    bias.assign(bias.array + 1)
    save(network, target)
    assert [(change.kind, change.name, change.detail) for change in diff(source, target)] == [
        ("initializer", "b", "values")
    ]
    before, after = (onnx.load(path).graph.initializer for path in (source, target))
    assert before[0] == after[0]
    assert len(after[1].float_data) == 400 and not after[1].HasField("raw_data")
    weight.written_to(lambda: np.zeros((4, 400), np.float32))
    save(network, target)
    assert onnx.load(target).graph.initializer[0].raw_data == bytes(6400)


def test_saved_over_the_file_it_came_from(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(linear(400).SerializeToString())
    os.chmod(path, 0o640)
    network = load(path)
    expected = network.parameters["w"].array.copy()
    network.parameters["b"].assign(np.zeros(400, np.float32))
    save(network, path)
    np.testing.assert_array_equal(network.parameters["w"].array, expected)
    np.testing.assert_array_equal(load(path).parameters["w"].array, expected)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert os.listdir(tmp_path) == ["model.onnx"]


def test_new_files_follow_the_umask(tmp_path):
    previous = os.umask(0o027)
    try:
        save(load(linear()), tmp_path / "model.onnx")
    finally:
        os.umask(previous)
    assert stat.S_IMODE((tmp_path / "model.onnx").stat().st_mode) == 0o640


def test_symbolic_links_stay(tmp_path):
    (tmp_path / "real.onnx").write_bytes(linear().SerializeToString())
    os.symlink("real.onnx", tmp_path / "link.onnx")
    network = load(tmp_path / "link.onnx")
    network.metadata["a"] = "b"
    save(network, tmp_path / "link.onnx")
    assert (tmp_path / "link.onnx").is_symlink()
    assert load(tmp_path / "real.onnx").metadata == {"a": "b"}


def test_a_failure_leaves_the_old_file_and_no_debris(tmp_path, monkeypatch):
    path = tmp_path / "model.onnx"
    path.write_bytes(linear().SerializeToString())
    network = load(path)

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("exporters.onnx.files.os.fsync", full)
    with pytest.raises(ModelError, match=r"cannot be written to .*No space left on device.*nothing was changed"):
        save(network, path)
    assert os.listdir(tmp_path) == ["model.onnx"]
    assert path.read_bytes() == linear().SerializeToString()


def test_an_interruption_leaves_no_debris(tmp_path, monkeypatch):
    def interrupt(descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr("exporters.onnx.files.os.fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save(load(linear()), tmp_path / "model.onnx")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(("target", "reason"), [("absent/model.onnx", "No such file"), (".", "it is a directory")])
def test_places_that_cannot_be_written(target, reason, tmp_path):
    with pytest.raises(ModelError, match=rf"cannot be written to .*: {reason}"):
        save(load(linear()), tmp_path / target)
    assert os.listdir(tmp_path) == []


def test_models_beyond_two_gibibytes(tmp_path):
    network = load(linear())
    zeros = np.zeros(1 << 28, np.float32)  # pages that nobody touches take no memory
    network.parameters.update({name: Parameter(name, zeros) for name in ("p", "q", "r")})
    with pytest.raises(ModelError, match=r"at most 2147483647. Keep the weights beside it: save\(.*external_data="):
        save(network, tmp_path / "model.onnx")
    assert os.listdir(tmp_path) == []


def test_loading_takes_about_one_file_size_of_memory(tmp_path):
    path = tmp_path / "big.onnx"
    weight = np.ones((4, 1 << 22), np.float32)
    model = linear()
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(weight, "w"))
    path.write_bytes(model.SerializeToString())
    script = (
        "import resource, sys; from importers import load; from exporters import save\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024\n"
        "before = peak(); net = load(sys.argv[1]); read = peak() - before\n"
        "save(net, sys.argv[1] + '.out'); print(read, peak() - before)"
    )
    root = Path(__file__).parents[2]
    output = subprocess.run(
        [sys.executable, "-c", script, str(path)], cwd=root, capture_output=True, text=True, check=True
    )
    read, written = map(int, output.stdout.split())
    assert read < 1.3 * path.stat().st_size
    assert written < 1.5 * path.stat().st_size


def test_a_network_made_by_hand_is_a_model(tmp_path):
    leaf = Leaf("Gemm", ["x", "w"], ["y"], {"alpha": 2, "transB": 1}, version=17, path="head/gemm")
    weight = Parameter("w", np.arange(6, dtype=np.float32).reshape(2, 3))
    graph = Graph(
        "made",
        {"x": Value("x", FLOAT, ("batch", 3), 0)},
        {"y": Value("y", FLOAT, ("batch", 2), 0)},
        [leaf],
        {"w": weight},
    )
    save(Network(graph, {"": 17}, metadata={"a": "b"}), tmp_path / "made.onnx")
    onnx.checker.check_model(str(tmp_path / "made.onnx"), full_check=True)
    assert onnx.load(tmp_path / "made.onnx").graph.node[0].name == "head/gemm"
    session = onnxruntime.InferenceSession(tmp_path / "made.onnx")
    x = np.array([[1, 2, 3]], np.float32)
    np.testing.assert_allclose(session.run(None, {"x": x})[0], 2 * x @ weight.array.T)


def test_leaves_of_new_domains_are_imported():
    network = load(linear())
    network.graph.leaves.append(Leaf("Any", ["y"], ["z"], domain="new.domain", version=4, path="any"))
    assert {item.domain: item.version for item in to_proto(network).opset_import} == {"": 17, "new.domain": 4}
    assert network.opsets == {"": 17}


def test_leaves_of_another_opset_are_refused():
    network = load(linear())
    network.graph.leaves.append(Leaf("ReduceSum", ["y"], ["z"], version=11, path="sum"))
    with pytest.raises(ModelError, match=r"ReduceSum 'sum' is written for opset 11, but the model imports opset 17"):
        to_proto(network)


def test_new_functions_import_what_they_use():
    network = load(linear())
    leaf = Leaf("Relu", ["a"], ["b"], version=14, path="relu")
    network.functions["f", "Twice", ""] = Graph("Twice", {"a": Value("a")}, {"b": Value("b")}, [leaf])
    function = to_proto(network).functions[0]
    assert (function.domain, function.name, function.opset_import[0].version) == ("f", "Twice", 14)


def test_attributes_of_new_leaves_have_the_types_of_their_schema():
    network = load(linear())
    axes = Leaf("Squeeze", ["y"], ["z"], {"axes": []}, version=11, path="s")
    network.opsets[""] = 11
    network.graph.leaves = [axes]
    assert to_proto(network).graph.node[0].attribute[0].type == onnx.AttributeProto.INTS
    odd = Leaf("LeakyRelu", ["y"], ["z"], {"alpha": 1}, version=11, path="l")
    network.graph.leaves = [odd]
    assert to_proto(network).graph.node[0].attribute[0].type == onnx.AttributeProto.FLOAT


def test_sparse_attributes_of_new_leaves():
    network = load(model_of([helper.make_node("Identity", ["x"], ["y"])]))
    sparse = SparseTensor(np.array([5], np.float32), np.array([2]), (4,))
    network.graph.leaves.append(Leaf("Constant", [], ["c"], {"sparse_value": sparse}, version=17, path="c"))
    written = to_proto(network).graph.node[1].attribute[0].sparse_tensor
    assert list(written.dims) == [4] and numpy_helper.to_array(written.values) == [5]


def test_dtypes_that_no_tensor_can_have():
    network = load(linear())
    network.parameters["d"] = Parameter("d", np.zeros(2, "datetime64[s]"))
    with pytest.raises(ModelError, match=r"Parameter 'd' has dtype datetime64.*, which no ONNX tensor can have"):
        to_proto(network)


def test_strings_of_numpy_are_strings():
    network = load(model_of([helper.make_node("Identity", ["x"], ["y"])]))
    network.parameters["s"] = Parameter("s", np.array(["a", "bc"]))
    tensor = to_proto(network).graph.initializer[0]
    assert tensor.data_type == TensorProto.STRING and list(tensor.string_data) == [b"a", b"bc"]


def test_a_replaced_parameter_of_another_type_leaves_its_old_storage():
    network = load(linear())
    old = network.parameters["b"]
    network.parameters["b"] = Parameter("b", np.arange(4), origin=old.origin)
    tensor = to_proto(network).graph.initializer[1]
    assert not tensor.float_data
    np.testing.assert_array_equal(numpy_helper.to_array(tensor), np.arange(4))


def test_edited_values_are_written():
    network = load(linear())
    network.graph.values["h"] = Value("h", FLOAT, ("batch", None, 4))
    network.graph.values["u"] = Value("u")
    written = to_proto(network).graph.value_info
    assert written[0] == info("h", ("batch", None, 4))
    assert not written[1].HasField("type")
