"""TrainingInfoProto is read into static graphs with bindings, made from a network, and written as it was."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import ModelProto, TrainingInfoProto, helper, numpy_helper

import toolkit as tk
from exporters import save, to_proto
from importers import load
from tests.importers.small import assert_round_trip
from tests.support.models import cnn, feed, mlp, network
from toolkit.errors import ModelError, UnsupportedOperatorError
from toolkit.graph import Network, TrainingInfo
from toolkit.training import add_training_info

PREVIEW = "ai.onnx.preview.training"
STEP = """agraph (float[1, 2] t, float r) => (float[2, 2] w_new, float n_new) {
    d = Sub (y, t)
    square = Mul (d, d)
    loss = ReduceMean <keepdims = 0> (square)
    g = ai.onnx.preview.training.Gradient <xs = ["w"], y = "loss"> (w)
    scaled = Mul (r, g)
    w_new = Sub (w, scaled)
    n_new = Add (n, one)
}"""


def model_with_step() -> ModelProto:
    """A linear model and a step that differentiates what the model computes."""
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17, "ai.onnx.preview.training" : 1]>'
        "m (float[1, 2] x, float[2, 2] w) => (float[1, 2] y) { y = MatMul (x, w) }"
    )
    model.graph.initializer.append(numpy_helper.from_array(np.eye(2, dtype=np.float32), "w"))
    info = model.training_info.add()
    info.algorithm.CopyFrom(onnx.parser.parse_graph(STEP))
    for name in ("n", "one"):
        info.algorithm.initializer.append(numpy_helper.from_array(np.ones((), np.float32), name))
    info.initialization.CopyFrom(
        onnx.parser.parse_graph("start () => (float zero) { zero = Constant <value_float = 0.0> () }")
    )
    info.initialization_binding.add(key="n", value="zero")
    for key, value in (("w", "w_new"), ("n", "n_new")):
        info.update_binding.add(key=key, value=value)
    return model


def test_it_is_read_as_graphs_and_bindings(tmp_path: Path) -> None:
    net = assert_round_trip(model_with_step(), tmp_path)
    (info,) = net.training
    assert info.algorithm is not None and info.initialization is not None
    assert list(info.algorithm.inputs) == ["t", "r"]
    assert list(info.algorithm.parameters) == ["n", "one"]
    assert [leaf.operator for leaf in info.algorithm.leaves][3] == f"{PREVIEW}::Gradient"
    assert info.update_binding == {"w": "w_new", "n": "n_new"}
    assert info.initialization_binding == {"n": "zero"}
    assert list(net.graphs()) == [net.graph, info.initialization, info.algorithm]


def test_a_step_that_was_read_can_be_executed() -> None:
    net = load(model_with_step())
    graph = net.training[0].combined(net.graph)
    step = Network(graph, net.opsets, ir_version=net.ir_version)
    x, t = np.array([[1, 2]], np.float32), np.array([[0, 0]], np.float32)
    made = step.run({"x": x, "t": t, "r": np.array(0.5, np.float32)}, backend="numpy")
    np.testing.assert_allclose(made["w_new"], np.eye(2) - 0.5 * np.outer(x, x), rtol=1e-6)


def _twice(info: TrainingInfoProto) -> None:
    info.update_binding.add(key="w", value="n_new")


def _half_an_entry(info: TrainingInfoProto) -> None:
    info.initialization_binding.add(key="one")


def _unknown_field(info: TrainingInfoProto) -> None:
    info.MergeFromString(bytes([0xFA, 0x3F, 3]) + b"abc")


def _empty_algorithm(info: TrainingInfoProto) -> None:
    info.Clear()
    info.algorithm.SetInParent()


@pytest.mark.parametrize("edit", [_twice, _half_an_entry, _unknown_field, _empty_algorithm, TrainingInfoProto.Clear])
def test_what_a_dictionary_cannot_say_survives(edit, tmp_path: Path) -> None:
    model = model_with_step()
    edit(model.training_info[0])
    model.training_info.add().CopyFrom(model.training_info[0])
    assert len(assert_round_trip(model, tmp_path).training) == 2


def test_an_edit_is_what_changes() -> None:
    model = model_with_step()
    _twice(model.training_info[0])
    net = load(model)
    net.training[0].update_binding["w"] = "n_new"
    del net.training[0].update_binding["n"]
    binding = to_proto(net).training_info[0].update_binding
    assert [(entry.key, entry.value) for entry in binding] == [("w", "n_new")]


def test_it_can_be_left_out(tmp_path: Path) -> None:
    model = model_with_step()
    net = load(model)
    save(net, tmp_path / "plain.onnx", training_info=False)
    model.ClearField("training_info")
    assert onnx.load(tmp_path / "plain.onnx") == model
    assert len(net.training) == 1


@pytest.mark.parametrize("part", ["algorithm", "initialization"])
def test_names_that_nothing_provides_are_refused(part: str) -> None:
    model = model_with_step()
    getattr(model.training_info[0], part).node.append(helper.make_node("Neg", ["nowhere"], ["q"]))
    with pytest.raises(ModelError, match=f"The training {part} of .* reads 'nowhere'"):
        load(model)


@pytest.mark.parametrize("optimizer", [tk.optimizers.SGD(0.1, momentum=0.9), tk.optimizers.Adam(1e-2)])
@pytest.mark.parametrize("make", [mlp, cnn])
def test_a_step_can_be_written_into_the_model(make, optimizer, tmp_path: Path) -> None:
    net, loss = make(), tk.losses.SoftmaxCrossEntropy()
    before = to_proto(net)
    add_training_info(net, loss=loss, optimizer=optimizer, batch_size=4)
    save(net, tmp_path / "model.onnx")
    written = onnx.load(tmp_path / "model.onnx")
    onnx.checker.check_model(written, full_check=True)
    assert_round_trip(written, tmp_path)
    written.ClearField("training_info")
    assert written == before, "the model itself stays as it is"

    again = load(tmp_path / "model.onnx")
    (info,) = again.training
    _assert_bound(again, info)
    trainer = tk.Trainer(net, loss=loss, optimizer=optimizer, backend="numpy")
    feeds, labels = feed(net, 4), np.array([0, 1, 2, 3])
    for _ in range(3):
        expected, _ = trainer.train_minibatch(feeds, labels)
        assert _execute(again, info, {**feeds, "labels": labels}) == pytest.approx(expected, rel=1e-4)
    for name, item in again.parameters.items():
        np.testing.assert_allclose(item.array, net.parameters[name].array, rtol=1e-3, atol=1e-5)


def _assert_bound(net: Network, info: TrainingInfo) -> None:
    """Bindings go from initializers to outputs of the right graph."""
    assert info.algorithm is not None and info.initialization is not None
    initializers = {**net.parameters, **info.algorithm.parameters}
    assert set(info.update_binding) <= set(initializers)
    assert set(info.update_binding.values()) <= set(info.algorithm.outputs)
    assert set(info.initialization_binding) <= set(initializers)
    assert set(info.initialization_binding.values()) == set(info.initialization.outputs)


def _execute(net: Network, info: TrainingInfo, feeds: dict[str, np.ndarray]) -> float:
    """One training step as the specification describes it, in onnxruntime; the bound initializers are updated."""
    proto = to_proto(replace(net, graph=info.combined(net.graph), training=[]))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [item.name for item in session.get_outputs()]
    found = dict(zip(names, session.run(names, feeds), strict=True))
    assert info.algorithm is not None
    initializers = {**net.parameters, **info.algorithm.parameters}
    for name, output in info.update_binding.items():
        initializers[name].assign(found[output])
    return float(found["loss"])


def test_the_initialization_gives_what_the_step_begins_with() -> None:
    net = mlp()
    info = add_training_info(net, loss=tk.losses.MeanSquaredError(), optimizer=tk.optimizers.Adam(), batch_size=2)
    assert info.initialization is not None and info.algorithm is not None
    proto = to_proto(Network(info.initialization, net.opsets, ir_version=net.ir_version))
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    found = dict(zip([item.name for item in session.get_outputs()], session.run(None, {}), strict=True))
    for name, output in info.initialization_binding.items():
        np.testing.assert_array_equal(found[output], info.algorithm.parameters[name].array)


def test_names_of_the_model_are_kept_apart() -> None:
    net = network(
        """net (float[N, 3] x) => (float[N, 2] y) {
            loss = MatMul (x, w)
            step = Relu (loss)
            y = Neg (step)
        }""",
        w=(3, 2),
    )
    info = add_training_info(net, loss=tk.losses.MeanSquaredError(), optimizer=tk.optimizers.Adam(), batch_size=2)
    onnx.checker.check_model(to_proto(net), full_check=True)
    assert info.algorithm is not None
    assert next(iter(info.algorithm.outputs)) == "loss#2"
    assert info.update_binding["step#2"] == "step.updated"


def test_what_the_opset_of_the_model_cannot_say_is_refused() -> None:
    net = network("net (float[N, 3] x) => (float[N, 2] y) { y = MatMul (x, w) }", w=(3, 2))
    net.opsets[""] = 11
    with pytest.raises(UnsupportedOperatorError, match=r"SoftmaxCrossEntropyLoss.* cannot be written for opset 11"):
        loss = tk.losses.SoftmaxCrossEntropy()
        add_training_info(net, loss=loss, optimizer=tk.optimizers.SGD(0.1), batch_size=2)
    assert net.training == []


@pytest.mark.parametrize("opset", [9, 11, 13, 17, 21])
def test_a_step_is_written_in_the_opset_of_the_model(opset: int) -> None:
    """Sums have their axes as attributes or as inputs, as the opset says."""
    model = onnx.parser.parse_model(
        f'<ir_version: 8, opset_import: ["" : {opset}]>'
        "m (float[N, 3] x) => (float[N, 2] y) { h = MatMul (x, w) a = Add (h, b) y = Tanh (a) }"
    )
    for name, shape in {"w": (3, 2), "b": (2,)}.items():
        array = np.linspace(-1, 1, int(np.prod(shape)), dtype=np.float32).reshape(shape)
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    net, twin, loss, optimizer = load(model), load(model), tk.losses.MeanSquaredError(), tk.optimizers.Adam(0.1)
    info = add_training_info(net, loss=loss, optimizer=optimizer, batch_size=2)
    onnx.checker.check_model(to_proto(net), full_check=True)
    feeds, labels = feed(net, 2), np.array([[1, 0], [0, 1]], np.float32)
    trainer = tk.Trainer(twin, loss=loss, optimizer=optimizer, backend="numpy")
    for _ in range(2):
        found = _execute(net, info, {**feeds, "labels": labels})
        assert found == pytest.approx(trainer.train_minibatch(feeds, labels)[0], rel=1e-5)
