"""Large weights stay in their file until somebody needs them; what happens to the file meanwhile does no harm."""

from __future__ import annotations

import copy
import os
import pickle
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from exporters import save
from importers import load
from importers.onnx import reader
from tests.importers.small import info, model_of
from toolkit.errors import ModelError

SIZE = 160  # the weight takes 100 KiB
WEIGHT = np.random.default_rng(0).standard_normal((SIZE, SIZE)).astype(np.float32)
X = np.ones((2, SIZE), np.float32)

pytestmark = pytest.mark.skipif(
    not reader.CAN_LEAVE, reason="files are read whole where a mapped one cannot be replaced"
)


def write(path: Path, weight: np.ndarray = WEIGHT) -> Path:
    """``y = b - x w``: the negated weight is computed once, and nothing else reads it."""
    nodes = [
        helper.make_node("Neg", ["w"], ["n"]),
        helper.make_node("MatMul", ["x", "n"], ["p"]),
        helper.make_node("Add", ["p", "b"], ["y"]),
    ]
    model = model_of(nodes, inputs=[info("x", ["batch", SIZE])], outputs=[info("y", ["batch", SIZE])])
    arrays = {"odd": np.zeros(7, np.int8), "w": weight, "b": np.arange(SIZE, dtype=np.float32)}
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in arrays.items())
    onnx.save(model, path)
    return path


@pytest.fixture
def path(tmp_path, monkeypatch) -> Path:
    """A model file that counts as a large one."""
    monkeypatch.setattr(reader, "LARGE_FILE", 0)
    return write(tmp_path / "model.onnx")


def test_only_a_large_weight_is_left(path):
    parameters = load(path).parameters
    w, b = parameters["w"], parameters["b"]
    assert w.shape == (SIZE, SIZE)
    assert w.dtype == np.float32
    assert w.size == SIZE * SIZE
    assert w.borrowed() is not w.borrowed()
    assert b.borrowed() is b.array
    assert w.array is w.array is w.borrowed()


def test_what_is_fetched_is_aligned_and_read_only(path):
    w = load(path).parameters["w"]
    for array in (w.borrowed(), w.array):
        np.testing.assert_array_equal(array, WEIGHT)
        assert array.flags.aligned
        assert not array.flags.writeable


@pytest.mark.parametrize("backend", ["cpu", "numpy"])
def test_running_and_saving(path, backend):
    network = load(path)
    expected = np.arange(SIZE, dtype=np.float32) - X @ WEIGHT
    np.testing.assert_allclose(network.run(X, backend=backend)["y"], expected, rtol=1e-4, atol=1e-4)
    save(network, path)
    assert onnx.load(path) == onnx.load(write(path.with_name("again.onnx")))
    np.testing.assert_allclose(network.run(X, backend=backend)["y"], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("backend", ["cpu", "numpy"])
def test_a_weight_is_not_kept_beside_what_was_computed_from_it(path, backend):
    network = load(path)
    context = network.context(2, backend=backend)
    w = network.parameters["w"]
    assert w.borrowed() is not w.borrowed()
    os.truncate(path, 10)
    np.testing.assert_allclose(context.run(X)["y"][0], np.arange(SIZE) - WEIGHT.sum(axis=0), rtol=1e-4, atol=1e-3)


def test_writing_a_parameter_takes_precedence(path):
    network = load(path)
    context = network.context(2)
    network.parameters["w"].assign(np.zeros_like(WEIGHT))
    np.testing.assert_array_equal(context.run(X)["y"], np.tile(np.arange(SIZE, dtype=np.float32), (2, 1)))


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda item: pickle.loads(pickle.dumps(item))], ids=["copy", "pickle"]
)
def test_copies_take_the_content_along(path, copied):
    parameter = copied(load(path).parameters["w"])
    os.truncate(path, 10)
    np.testing.assert_array_equal(parameter.array, WEIGHT)


@pytest.mark.parametrize(
    "replace", [os.unlink, lambda path: os.replace(write(path.with_name("other.onnx"), -WEIGHT), path)]
)
def test_a_file_that_is_deleted_or_replaced_stays_readable(path, replace):
    network = load(path)
    replace(path)
    np.testing.assert_array_equal(network.parameters["w"].array, WEIGHT)


@pytest.mark.parametrize(
    "change",
    [lambda path: os.truncate(path, 10), lambda path: os.utime(path, ns=(0, 0)), lambda path: write(path, -WEIGHT)],
)
def test_a_file_that_is_written_into_is_refused(path, change):
    network = load(path)
    change(path)
    with pytest.raises(ModelError, match=r"model.onnx' was changed after it was loaded.*Load it again; to change"):
        network.run(X)
    np.testing.assert_array_equal(network.parameters["b"].array, np.arange(SIZE))


def test_a_file_that_ends_while_it_is_read_is_refused(path, monkeypatch):
    network = load(path)
    monkeypatch.setattr(os, "preadv", lambda *given: 0)
    with pytest.raises(ModelError, match=r"model.onnx' was changed after it was loaded"):
        network.run(X)


def test_a_weight_is_read_whole_where_the_system_reads_it_in_parts(path, monkeypatch):
    read = os.preadv
    monkeypatch.setattr(os, "preadv", lambda file, views, start: read(file, [views[0][:1000]], start))
    np.testing.assert_array_equal(load(path).parameters["w"].array, WEIGHT)


def test_other_element_types_are_read_at_once(path):
    model = onnx.load(path)
    model.graph.initializer[1].CopyFrom(helper.make_tensor("w", TensorProto.INT4, [1 << 17], np.ones(1 << 17, np.int8)))
    del model.graph.node[:]
    model.graph.node.add(op_type="Identity", input=["w"], output=["y"])
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.INT4, [1 << 17]))
    onnx.save(model, path)
    w = load(path).parameters["w"]
    assert w.borrowed() is w.array
    assert (w.array.astype(np.int8) == 1).all()
