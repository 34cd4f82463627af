"""What is a weight and what is a setting, told on import; and weights in Constant nodes, which are parameters too."""

from __future__ import annotations

import copy

import numpy as np
import onnx
import onnx.parser
import pytest

import toolkit as tk
from exporters import diff, save, to_proto
from importers import load
from tests.importers.small import SHARED
from toolkit import layers

HEADER = '<ir_version: 10, opset_import: ["" : 21, "com.microsoft" : 1, "own" : 1]>\n'


def model(text: str, functions: str = "", **weights: np.ndarray) -> onnx.ModelProto:
    made = onnx.parser.parse_model(f"{HEADER}{text}\n{functions}")
    for name, array in weights.items():
        made.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(array, np.float32), name))
    return made


def role(line: str, **shapes: tuple[int, ...]) -> str:
    """The role of ``p`` in a graph with that line, which reads the input ``x`` (N, 4) and other weights ``w``."""
    values = {name: np.full(shape, 0.5) for name, shape in shapes.items()}
    network = load(model(f"g (float[N, 4] x, float[N, 4] z) => (float[N, 4] y) {{ {line} y = Identity(q) }}", **values))
    assert network.parameters["p"].requires_grad == (not network.parameters["p"].role)
    assert all(item.requires_grad for name, item in network.parameters.items() if name != "p")
    return network.parameters["p"].role


@pytest.mark.parametrize(
    ("line", "shapes", "expected"),
    [
        ("q = Pow(x, p)", {"p": ()}, "the exponent in Pow 'Pow_0'"),
        ("e = Cast <to = 1> (p) q = Pow(x, e)", {"p": (4,)}, "the exponent in Pow 'Pow_1'"),
        ("a = MatMul(x, w) q = Clip(a, p)", {"p": (), "w": (4, 4)}, "a bound in Clip 'Clip_1'"),
        ("a = MatMul(x, w) q = Mul(a, p)", {"p": (), "w": (4, 4)}, "a number in Mul 'Mul_1'"),
        ("a = MatMul(x, w) q = Div(a, p)", {"p": (1,), "w": (4, 4)}, "a number in Div 'Div_1'"),
        ("a = MatMul(x, w) q = Mul(a, p)", {"p": (4,), "w": (4, 4)}, ""),
        ("a = MatMul(x, w) q = Sub(a, p)", {"p": (4,), "w": (4, 4)}, ""),
        ("a = MatMul(x, w) q = Add(a, p)", {"p": (1,), "w": (4, 1)}, ""),
        ("a = MatMul(x, w) q = PRelu(a, p)", {"p": (1,), "w": (4, 4)}, ""),
        ("q = Sub(x, p)", {"p": (4,)}, "the normalisation of the data in Sub 'Sub_0'"),
        (
            "k = Constant <value = float {2}> () a = Mul(x, k) q = Div(a, p)",
            {"p": (4,)},
            "the normalisation of the data",
        ),
        ("a = MatMul(x, w) q = Gemm(a, w, p)", {"p": (1,), "w": (4, 4)}, ""),
        ("q = Where(z_is, x, p)", {"p": ()}, "a number in Where 'Where_1'"),
        ("a = Add(p, x) q = Pow(a, p)", {"p": (4,)}, "the exponent in Pow 'Pow_1'"),
        ("s = Shape(x) b = Expand(p, s) q = Mul(x, b)", {"p": (1, 4)}, ""),
        ("q = com.microsoft.QuickGelu(p)", {"p": (1,)}, ""),
    ],
)
def test_roles(line, shapes, expected):
    line = "z_is = Greater(z, x) " + line if "z_is" in line else line
    found = role(line, **shapes)
    assert found.startswith(expected) and bool(found) == bool(expected)


def test_masks_are_told_by_their_numbers():
    line = "g (float[N, 2, 2] x) => (float[N, 2, 2] y) { a = Add(x, m) b = Add(a, n) c = Add(b, w) y = Softmax(c) }"
    mask = np.array([[0, -1e4], [0, 0]])
    network = load(model(line, m=mask, n=np.where(mask < 0, -np.inf, 0), w=np.array([[0, -1e4], [0.5, 0]])))
    assert [item.role for item in network.parameters.values()] == ["a mask in Add 'Add_0'", "a mask in Add 'Add_1'", ""]


def test_statistics_and_steps_are_settings():
    text = """g (float[N, 2, 3] x) => (float[N, 2, 3] y) {
        a = BatchNormalization(x, scale, shift, mean, variance)
        q = QuantizeLinear(a, step) b = DequantizeLinear(q, step) y = Add(b, w)
    }"""
    arrays = {name: np.ones(2) for name in ("scale", "shift", "mean", "variance")}
    network = load(model(text, **arrays, step=np.asarray(0.1), w=np.ones(3)))
    assert [name for name, item in network.parameters.items() if item.requires_grad] == ["scale", "shift", "w"]
    assert network.parameters["mean"].role == "the running mean in BatchNormalization 'BatchNormalization_0'"
    assert network.parameters["step"].role == "the step size in QuantizeLinear 'QuantizeLinear_1'"


CONSTANTS = """g (float[N, 2] x) => (float[N, 2] y) {
    w = Constant <value = float[2, 2] {1, 2, 3, 4}> ()
    h = MatMul(x, w)
    half = Constant <value = float {0.5}> ()
    b = Constant <value_floats = [1.0, 2.0]> ()
    i = Mul(h, half)
    y = Add(i, b)
}"""


def test_weights_in_constant_nodes_are_parameters_and_go_back_to_them(tmp_path):
    original = model(CONSTANTS)
    network = load(original)
    assert list(network.parameters) == ["w", "b"]
    assert [leaf.op_type for leaf in network.graph.leaves] == ["MatMul", "Constant", "Mul", "Add"]
    assert to_proto(network) == original
    x = np.array([[1, -1]], np.float32)
    np.testing.assert_array_equal(network.run(x)["y"], [[0, 1]])
    trainer = tk.Trainer(network, loss=tk.losses.MeanSquaredError(), optimizer=tk.optimizers.SGD(0.1))
    first, _ = trainer.train_minibatch(x, np.ones((1, 2), np.float32))
    assert trainer.train_minibatch(x, np.ones((1, 2), np.float32))[0] < first
    save(network, tmp_path / "tuned.onnx")
    assert [str(change) for change in diff(original, tmp_path / "tuned.onnx")] == [
        "constant 'w': values",
        "constant 'b': values",
    ]
    again = load(tmp_path / "tuned.onnx")
    np.testing.assert_array_equal(again.parameters["b"].array, network.parameters["b"].array)
    np.testing.assert_array_equal(copy.deepcopy(again).run(x)["y"], network.run(x)["y"])


def test_constants_stay_where_weights_are_initializers_unless_asked_for():
    text = CONSTANTS.replace("y = Add(i, b)", "j = Add(i, b) y = MatMul(j, v)")
    original = model(text, v=np.eye(2))
    assert list(load(original).parameters) == ["v"]
    network = load(original, constants_as_weights=True)
    assert list(network.parameters) == ["v", "w", "b"]
    assert to_proto(network) == original
    assert list(load(model(CONSTANTS), constants_as_weights=False).parameters) == []


def test_settings_and_outputs_stay_constants():
    text = """g (float[N, 2] x) => (float[N, 2] y, float[2] k) {
        e = Constant <value = float[2] {2, 3}> () k = Constant <value = float[2] {1, 1}> ()
        a = Pow(x, e) y = Mul(a, k) unread = Constant <value = float[2] {1, 1}> ()
    }"""
    assert list(load(model(text)).parameters) == []


def test_constants_of_bodies_and_functions_are_parameters_under_their_place():
    text = """g (float[N, 2] x, bool on) => (float[N, 2] y) {
        a = own.layer(x)
        b = own.layer(a)
        [pick] y = If (on) <
            then_branch = t () => (float[N, 2] u) { s = Constant <value = float[2] {3, 4}> () u = Mul(b, s) },
            else_branch = e () => (float[N, 2] v) { s = Constant <value = float[2] {5, 6}> () v = Mul(b, s) }
        >
    }"""
    function = """<opset_import: ["" : 21], domain: "own"> layer (x) => (y) {
        w = Constant <value = float[2, 2] {1, 0, 0, 2}> () y = MatMul(x, w)
    }"""
    original = model(text, function)
    network = load(original)
    assert list(network.parameters) == ["pick/then_branch/s", "pick/else_branch/s", "own::layer/w"]
    assert all(name == item.name for name, item in network.parameters.items())
    assert to_proto(network) == original
    assert list(network.select("pick").parameters) == ["pick/then_branch/s", "pick/else_branch/s"]
    x = np.ones((1, 2), np.float32)
    np.testing.assert_array_equal(network.run({"x": x, "on": np.array(True)})["y"], [[3, 16]])
    network.parameters["own::layer/w"].assign(np.eye(2, dtype=np.float32))
    np.testing.assert_array_equal(network.run({"x": x, "on": np.array(True)})["y"], [[3, 4]])
    assert {change.name for change in diff(original, to_proto(network))} == {"own::layer"}


def test_a_function_that_is_called_twice_has_one_parameter():
    text = "g (float[N, 2] x) => (float[N, 2] y) { a = own.layer(x) y = own.layer(a) }"
    function = """<opset_import: ["" : 21], domain: "own"> layer (x) => (y) {
        w = Constant <value = float[2] {3, 5}> () y = Mul(x, w)
    }"""
    context = load(model(text, function)).context(1, training=True)
    context.forward(np.ones((1, 2), np.float32))
    grads = context.backward({"y": np.ones((1, 2), np.float32)})["parameters"]
    np.testing.assert_allclose(grads["own::layer/w"], [6, 10])


def test_a_new_head_on_weights_in_constant_nodes(tmp_path):
    original = model(
        CONSTANTS.replace(
            "y = Add(i, b)", "j = Add(i, b) v = Constant <value = float[2, 2] {1, 0, 0, 1}> () y = MatMul(j, v)"
        )
    )
    network = load(original)
    tk.replace_head(network, layers.Linear(3))
    assert "v" not in network.parameters
    save(network, tmp_path / "new.onnx")
    written = onnx.load(tmp_path / "new.onnx")
    onnx.checker.check_model(written)
    assert [node.op_type for node in written.graph.node[:2]] == ["Constant", "MatMul"]
    np.testing.assert_array_equal(load(written).run(np.ones((1, 2), np.float32))["y"].shape, (1, 3))


def test_a_new_layer_before_the_constant_that_it_reads():
    network = load(model(CONSTANTS))
    network.graph.leaves.insert(0, tk.Leaf("Add", ["x", "b"], ["shifted"], version=21, path="shift"))
    network.graph.leaves[1].inputs[0] = "shifted"
    written = to_proto(network)
    onnx.checker.check_model(written)
    assert [node.op_type for node in written.graph.node] == [
        "Constant",
        "Add",
        "Constant",
        "MatMul",
        "Constant",
        "Mul",
        "Add",
    ]


@pytest.mark.skipif(not SHARED.exists(), reason="the shared assets are not beside the repository")
@pytest.mark.parametrize(
    ("name", "weights"), [("ppocr_en_number_rec", 229), ("jax_function", 16), ("silero_vad_v62", 28)]
)
def test_real_models_with_weights_in_constant_nodes(name, weights, tmp_path):
    path = SHARED / "assets" / "models" / name / "model.onnx"
    network = load(path)
    assert len(network.parameters) == weights
    changed = next(item for item in network.parameters.values() if item.requires_grad)
    changed.assign(changed.array + 1)
    save(network, tmp_path / "model.onnx")
    assert len(diff(path, tmp_path / "model.onnx")) == 1
