"""Networks with any connections: several inputs and outputs, joints, recurrent states, attention to a memory."""

import numpy as np
import onnxruntime
import pytest

from exporters import save
from toolkit import layers
from toolkit.errors import GraphError, ShapeError


def judged(network, feeds, path):
    """The outputs of a network here, after onnxruntime has agreed."""
    save(network, path)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    ours, names = network.run(feeds), list(network.outputs)
    for name, theirs in zip(names, session.run(names, feeds), strict=True):
        np.testing.assert_allclose(ours[name], theirs, rtol=1e-4, atol=1e-5)
        assert network.outputs[name].unit_shape == theirs.shape[1:]
    return ours


def test_branches_meet_and_part(tmp_path):
    assembly = layers.Assembly(seed=1)
    image = assembly.input("image", (3, 8, 8))
    extra = assembly.input("extra", (4,))
    body = assembly.add(layers.Sequential([layers.Convolution(6, 3), layers.ReLU(), layers.Flatten()]), image)
    both = assembly.add(layers.Concatenate(), body, extra, name="meeting")
    kind = assembly.add(layers.Linear(5), both)
    scaled = assembly.add(layers.Multiply(), kind, assembly.add(layers.Linear(5), extra))
    total = assembly.add(layers.Add(), kind, scaled, kind)
    network = assembly.network({"kind": kind, "total": total, "the same again": kind, "echo": extra})
    feeds = {
        "image": np.random.default_rng(0).standard_normal((2, 3, 8, 8)).astype(np.float32),
        "extra": np.ones((2, 4), np.float32),
    }
    found = judged(network, feeds, tmp_path / "net.onnx")
    np.testing.assert_array_equal(found["echo"], feeds["extra"])
    np.testing.assert_array_equal(found["kind"], found["the same again"])
    assert len(list(network.select("meeting"))) == 1


@pytest.mark.parametrize(
    "layer", [layers.LSTM(4, 2, True), layers.GRU(4), layers.RNN(4, 2)], ids=["lstm", "gru", "rnn"]
)
def test_states_go_in_and_come_out(layer, tmp_path):
    """A sequence in two halves, the states handed over, gives what the whole sequence gives (one way)."""
    assembly = layers.Assembly(seed=2)
    x = assembly.input("x", (3, 5))
    rows = layer.layers * layer.directions
    states = [assembly.input(name, (rows, 4)) for name in ("h", "c")[: layer.states]]
    y, *last = assembly.connect(layer, x, *states)
    network = assembly.network({"y": y, **{f"last {item.name}": end for item, end in zip(states, last, strict=True)}})
    random = np.random.default_rng(3)
    zeros = {item.name: np.zeros((2, rows, 4), np.float32) for item in states}
    first, second = (random.standard_normal((2, 3, 5)).astype(np.float32) for _ in range(2))
    half = judged(network, {"x": first, **zeros}, tmp_path / "net.onnx")
    carried = {item.name: half[f"last {item.name}"] for item in states}
    rest = network.run({"x": second, **carried})["y"]
    assert not np.allclose(rest, network.run({"x": second, **zeros})["y"], atol=1e-3)
    if layer.bidirectional:
        return
    stateless = layers.Assembly(seed=2)
    whole = stateless.network({"y": stateless.add(layer, stateless.input("x", (6, 5)))})
    for name, parameter in network.parameters.items():
        if name in whole.parameters and parameter.shape == whole.parameters[name].shape:
            whole.parameters[name].assign(parameter.array)
    together = whole.run({"x": np.concatenate([first, second], axis=1)})["y"]
    np.testing.assert_allclose(together, np.concatenate([half["y"], rest], axis=1), rtol=1e-4, atol=1e-5)


def test_attention_looks_at_a_memory_behind_a_mask(tmp_path):
    assembly = layers.Assembly(seed=4)
    x, memory = assembly.input("x", (3, 8)), assembly.input("memory", (5, 6))
    mask = assembly.input("mask", (5,), bool)
    network = assembly.network({"y": assembly.add(layers.MultiHeadAttention(2), x, memory, mask)})
    random = np.random.default_rng(0)
    feeds = {
        "x": random.standard_normal((2, 3, 8)).astype(np.float32),
        "memory": random.standard_normal((2, 5, 6)).astype(np.float32),
        "mask": np.array([[True, True, True, False, False]] * 2),
    }
    y = judged(network, feeds, tmp_path / "net.onnx")["y"]
    changed = feeds["memory"].copy()
    changed[:, 3:] += 1
    np.testing.assert_allclose(network.run({**feeds, "memory": changed})["y"], y, rtol=1e-5, atol=1e-6)
    changed[:, :3] += 1
    assert not np.allclose(network.run({**feeds, "memory": changed})["y"], y, atol=1e-3)


def test_causal_attention_sees_nothing_of_what_comes_later():
    network = layers.Sequential([layers.MultiHeadAttention(2, causal=True)]).network((6, 8), seed=5)
    x = np.random.default_rng(0).standard_normal((1, 6, 8)).astype(np.float32)
    later = x.copy()
    later[:, 4:] += 1
    y, changed = network.run(x)["output"], network.run(later)["output"]
    np.testing.assert_allclose(y[:, :4], changed[:, :4], rtol=1e-5, atol=1e-6)
    assert not np.allclose(y[:, 4:], changed[:, 4:], atol=1e-3)


REFUSED: dict[str, tuple[layers.Definition, list[tuple[int, ...]], str]] = {
    "one input for a sum": (layers.Add(), [(4,)], "Add 'add' requires two inputs or more"),
    "three inputs for a product of sizes that clash": (layers.Multiply(), [(4,), (3,)], "shapes that broadcast"),
    "other sizes beside the axis": (layers.Concatenate(), [(4, 2), (4, 3)], "equal sizes on all axes but 1"),
    "other ranks": (layers.Concatenate(), [(4,), (4, 3)], "equal ranks"),
    "two inputs for one": (layers.Linear(3), [(4,), (4,)], r"Linear 'linear' requires 1 input\(s\), got 2"),
    "no sequence": (layers.LSTM(3), [(4,)], "LSTM 'lstm' requires a sequence"),
    "states of another size": (layers.GRU(3), [(2, 4), (1, 5)], r"requires states \(batch, 1, 3\)"),
    "one state of two": (layers.LSTM(3), [(2, 4), (1, 3)], r"requires 1 or 3 input\(s\), got 2"),
    "skipping to another width": (layers.RNN(3, skip_input=True), [(2, 4)], "as wide as its 3 units"),
    "an unknown activation": (layers.RNN(3, activation="Sin"), [(2, 4)], "'Tanh' or 'Relu', got 'Sin'"),
    "heads that do not divide": (layers.MultiHeadAttention(3), [(2, 8)], "a number of heads that divides 8"),
    "attention to a vector": (layers.MultiHeadAttention(2), [(8,)], "requires sequences"),
    "a mask of numbers": (layers.MultiHeadAttention(2), [(2, 8), (3, 8), (3,)], "requires a boolean mask"),
    "more positions than vectors": (layers.PositionalEmbedding(3), [(4, 8)], "at most 3 positions"),
    "groups that do not divide": (layers.GroupNormalization(4), [(6, 2)], "groups that divide the 6 channels"),
    "transposed groups that do not divide": (layers.TransposedConvolution(4, 3, groups=4), [(6, 5)], "4 groups divide"),
    "half an order of axes": (layers.Transpose((1,)), [(4, 3)], r"an order of the axes \[1, 2\]"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_refused(name):
    layer, shapes, message = REFUSED[name]
    assembly = layers.Assembly()
    inputs = [assembly.input(f"x{index}", shape) for index, shape in enumerate(shapes)]
    with pytest.raises(ShapeError, match=message):
        assembly.add(layer, *inputs)


def test_names_and_outputs_are_checked():
    assembly = layers.Assembly()
    assembly.input("x", (3,))
    with pytest.raises(GraphError, match="names that differ, got 'x' twice"):
        assembly.input("x", (3,))
    with pytest.raises(GraphError, match="Output 'y' requires a value of this assembly, got str"):
        assembly.network({"y": "x"})  # type: ignore[dict-item]


def test_old_opsets_write_what_they_can(tmp_path):
    for opset in (14, 17, 18, 23):
        network = layers.Sequential([layers.RMSNormalization(), layers.GRU(3)]).network((4, 5), opset=opset, seed=1)
        judged(network, {"input": np.ones((2, 4, 5), np.float32)}, tmp_path / f"{opset}.onnx")
    with pytest.raises(GraphError, match="LSTM 'lstm1' needs opset 14"):
        layers.Sequential([layers.LSTM(3)]).network((4, 5), opset=13)
