"""Networks inside of networks: the same results, weights of their own, names that do not collide."""

import numpy as np
import pytest

from tests.layers.test_assembly import judged
from toolkit import layers
from toolkit.errors import GraphError, ShapeError

X = np.random.default_rng(0).standard_normal((2, 6)).astype(np.float32)


def inner(seed=0, **options):
    stack = [layers.Linear(5), layers.Tanh(), layers.PReLU(), layers.Linear(4)]
    return layers.Sequential(stack).network((6,), seed=seed, **options)


def test_a_network_is_a_layer_like_any_other(tmp_path):
    body = inner()
    whole = layers.Sequential([layers.Nested(body, frozen=True), layers.ReLU(), layers.Linear(3)]).network((6,))
    expected = np.maximum(body.run(X)["output"], 0)
    found = judged(whole, {"input": X}, tmp_path / "net.onnx")["output"]
    head = [whole.parameters[f"linear1/{name}"].array for name in ("weight", "bias")]
    np.testing.assert_allclose(found, expected @ head[0].T + head[1], rtol=1e-4, atol=1e-5)
    learning = [name for name, item in whole.parameters.items() if item.requires_grad]
    assert learning == ["linear1/weight", "linear1/bias"]


def test_one_network_twice_has_weights_of_its_own_each_time(tmp_path):
    body = inner()
    assembly = layers.Assembly()
    x = assembly.input("x", (6,))
    pair = [assembly.add(layers.Nested(body), x) for _ in range(2)]
    network = assembly.network({"sum": assembly.add(layers.Add(), *pair)})
    found = judged(network, {"x": X}, tmp_path / "net.onnx")["sum"]
    np.testing.assert_allclose(found, 2 * body.run(X)["output"], rtol=1e-4, atol=1e-5)
    weights = [name for name in network.parameters if name.endswith("linear1/weight")]
    assert len(weights) == 2
    network.parameters[weights[0]].assign(np.zeros((5, 6), np.float32))
    assert network.parameters[weights[1]].array.any()
    assert body.parameters["linear1/weight"].array.any()


def test_what_cannot_be_nested_is_refused():
    with pytest.raises(GraphError, match=r"PRelu 'prelu1.*' means something else"):
        layers.Sequential([layers.Nested(inner(opset=13))]).network((6,))
    with pytest.raises(ShapeError, match=r"requires float32 \(batch, 6\) for its input 'input', got 'input'"):
        layers.Sequential([layers.Nested(inner())]).network((7,))
    foreign = inner()
    foreign.graph.leaves[1].domain = "com.microsoft"
    with pytest.raises(GraphError, match=r"operators of ai\.onnx alone, this one has com\.microsoft::Tanh"):
        layers.Sequential([layers.Nested(foreign)]).network((6,))
