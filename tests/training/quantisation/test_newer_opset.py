"""Old opsets: layers are written for opset 13 where that means the same, judged by running them."""

import numpy as np
import pytest

from tests.training.quantisation.small import judged, operators, parse, random
from toolkit import quantisation
from toolkit.errors import GraphError

BODIES = {
    "Clip": "a = Clip <min = 0.0, max = 1.0> (c)",
    "Dropout": "a = Dropout <ratio = 0.3> (c)",
    "Pad": "a = Pad <pads = [0, 1, 0, 1], value = 2.0> (c)",
    "ReduceSum": "a = ReduceSum <axes = [1], keepdims = 1> (c)",
    "Slice": "a = Slice <axes = [1], starts = [1], ends = [3]> (c)",
    "Split": "a, rest = Split <axis = 1, split = [1, 2]> (c)",
    "Squeeze": "e = Unsqueeze <axes = [1]> (c) a = Squeeze <axes = [1]> (e)",
    "TopK": "a, places = TopK <k = 2> (c)",
    "Softmax": "a = Softmax (c)",
    "LogSoftmax": "a = LogSoftmax <axis = 1> (c)",
}


@pytest.mark.parametrize("name", BODIES)
def test_layers_mean_the_same_in_the_newer_opset(name, tmp_path):
    network = parse(
        f"g (float[N, 4] x) => (y) {{ c = MatMul (x, w) {BODIES[name]} y = Identity (a) }}",
        9,
        4,
        w=random(4, 3),
    )
    x = random(5, 4, seed=1)
    made = quantisation.quantise(network, x)
    assert made.opsets[""] == 13 and made.ir_version >= 7 and network.opsets[""] == 9
    y = judged(made, tmp_path / "q.onnx", {"x": x})["y"]
    np.testing.assert_allclose(made.run(x)["y"], y, atol=0.02)
    np.testing.assert_allclose(y, network.run(x)["y"], atol=0.1)


def test_what_would_mean_something_else(tmp_path):
    body = "g (float[N, 4] x) => (y) {{ c = MatMul (x, w) [far] a = Softmax (c) y = Identity (a) }}"
    deep = body.format().replace("float[N, 4]", "float[N, 2, 4]")
    x = random(5, 2, 4, seed=1)
    with pytest.raises(GraphError, match=r"written in opset 9, and 'far' cannot be .* took several axes for one"):
        quantisation.quantise(parse(deep, 9, w=random(4, 3)), x)
    made = quantisation.quantise(parse(deep, 11, w=random(4, 3)), x)  # which has what com.microsoft's operators need
    assert made.opsets == {"": 11, "com.microsoft": 1} and "com.microsoft::QuantizeLinear" in operators(made)
    np.testing.assert_allclose(made.run(x)["y"], judged(made, tmp_path / "q.onnx", {"x": x})["y"], atol=0.02)
