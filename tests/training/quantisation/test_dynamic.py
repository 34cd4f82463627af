"""Dynamic quantisation: ranges by run, judged by onnxruntime."""

import numpy as np
import pytest

from exporters import save
from tests.training.quantisation.small import judged, operators, parse, random
from toolkit import quantisation
from toolkit.errors import GraphError


def network(opset=13):
    return parse(
        """g (float[N, 6] x) => (float[N, 3] y, float[N, 3] z) {
            [first] a = Gemm <transB = 1> (x, w, b)
            [second] t = Tanh (a)
            [third] y = MatMul (t, v)
            [fourth] z = MatMul (t, u)
        }""",
        opset,
        w=random(8, 6),
        b=random(8, seed=1),
        v=random(8, 3, seed=2),
        u=random(8, 3, seed=3),
    )


@pytest.mark.parametrize("per_channel", [True, False])
def test_products_of_bytes_come_close(per_channel, tmp_path):
    made, x = quantisation.quantise_dynamically(network(), per_channel=per_channel), random(7, 6, seed=4) * 3
    found = operators(made)
    assert (found["MatMulInteger"], found["DynamicQuantizeLinear"]) == (3, 2)  # y and z share what they read
    assert {item.dtype.name for name, item in made.parameters.items() if name.endswith("quantised")} == {"int8"}
    assert "w" not in made.parameters and made.parameters["b"].array is not None
    expected, y = judged(made, tmp_path / "d.onnx", {"x": x}), made.run(x)
    for name, exact in network().run(x).items():
        np.testing.assert_allclose(y[name], expected[name], atol=0.1)
        np.testing.assert_allclose(y[name], exact, atol=0.25)


def test_the_file_shrinks(tmp_path):
    big = parse("g (float[N, 64] x) => (float[N, 64] y) { y = MatMul (x, w) }", w=random(64, 64))
    save(big, tmp_path / "float.onnx")
    save(quantisation.quantise_dynamically(big), tmp_path / "bytes.onnx")
    assert (tmp_path / "bytes.onnx").stat().st_size < 0.4 * (tmp_path / "float.onnx").stat().st_size


def test_what_cannot_be():
    with pytest.raises(GraphError, match="none of the layers is one of Gemm, MatMul with a weight"):
        quantisation.quantise_dynamically(network(), "second")
    with pytest.raises(GraphError, match="needs opset 11, the network is written in opset 9"):
        quantisation.quantise_dynamically(network(9))
