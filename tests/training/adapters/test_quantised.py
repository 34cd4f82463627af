"""Adapters over quantised weights: the base stays as it is, gradients pass through it, onnxruntime agrees.

Weights of 7 bits: without special instructions onnxruntime's sums of 8-bit products saturate.
"""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_dynamic, quantize_static

from exporters import diff, save, save_adapter
from importers import load
from tests.training.adapters.small import LABELS, image_classifier, parse, random, session_of, trained
from toolkit import adapters
from toolkit.errors import GraphError

FORMS = {
    "dynamic": {"ConvInteger", "MatMulInteger"},
    "operators": {"QLinearConv", "com.microsoft::QGemm"},
    "operators per channel": {"QLinearConv", "com.microsoft::QGemm"},
    "pairs": {"Conv", "Gemm"},
    "pairs per channel": {"Conv", "Gemm"},
}


class Reader(CalibrationDataReader):
    def __init__(self, x):
        self.batches = [{"x": x * 3}, {"x": x}]

    def get_next(self):
        return self.batches.pop() if self.batches else None


@pytest.fixture(scope="module")
def quantised(tmp_path_factory):
    """The image classifier in every form of quantisation, as files."""
    folder = tmp_path_factory.mktemp("quantised")
    network, x = image_classifier(opset=17)
    save(network, folder / "float.onnx")
    paths = {name: folder / f"{name}.onnx" for name in FORMS}
    quantize_dynamic(folder / "float.onnx", paths["dynamic"], reduce_range=True)
    for name in list(FORMS)[1:]:
        style = QuantFormat.QDQ if "pairs" in name else QuantFormat.QOperator
        options = {"quant_format": style, "per_channel": "channel" in name, "reduce_range": True}
        quantize_static(folder / "float.onnx", paths[name], Reader(x), **options)
    return paths, x


def packed(tmp_path):
    """Two products around one with a weight of 4 bits."""
    numbers = np.random.default_rng(0).integers(0, 256, (16, 2, 8)).astype(np.uint8)
    made = parse(
        """g (float[N, 4] x) => (float[N, 3] y) {
            ["first"] a = MatMul (x, w1) t = Tanh (a)
            ["bits"] m = com.microsoft.MatMulNBits <N = 16, K = 32, bits = 4, block_size = 16> (t, b, s)
            u = Tanh (m) ["last"] y = MatMul (u, w2)
        }""",
        w1=random(4, 32),
        b=numbers,
        s=np.full(32, 0.05, np.float32),
        w2=random(16, 3),
    )
    save(made, tmp_path / "packed.onnx")
    return tmp_path / "packed.onnx", random(6, 4)


@pytest.mark.parametrize("form", ["dynamic", "operators per channel", "pairs", "packed"])
def test_the_base_stays_quantised_and_the_adapter_learns(form, quantised, tmp_path):
    path, x = packed(tmp_path) if form == "packed" else (quantised[0][form], quantised[1])
    network = load(str(path))
    base = network.run(x)["y"]
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    step = 0.0 if form == "packed" else 0.05  # of the quantised output: rounding may fall to either side
    np.testing.assert_allclose(session.run(["y"], {"x": x})[0], base, rtol=1e-4, atol=step + 1e-4)
    adapter = adapters.lora(network, "*", rank=2, alpha=4)
    kinds = {branch.site.leaf.operator for branch in adapter.branches}
    assert kinds == FORMS.get(form, {"MatMul", "com.microsoft::MatMulNBits"})
    np.testing.assert_allclose(network.run(x)["y"], base, rtol=1e-5, atol=step + 1e-5)
    first = trained(network, x, steps=1, straight_through=True).evaluate((x, LABELS))["loss"]
    trainer = trained(network, x, steps=5, rate=0.02, straight_through=True)
    assert trainer.evaluate((x, LABELS))["loss"] < first
    assert trainer.shortfalls == {}
    tuned = network.run(x)["y"]
    judged = session_of(network, tmp_path / "apart.onnx").run(["y"], {"x": x})[0]
    np.testing.assert_allclose(judged, tuned, rtol=1e-4, atol=3 * step + 1e-4)
    changes = diff(path, tmp_path / "apart.onnx")
    assert {change.detail for change in changes if change.kind == "initializer"} == {"added"}
    save_adapter(adapter, tmp_path / "a.onnx_adapter")
    loaded, options = onnxruntime.LoraAdapter(), onnxruntime.RunOptions()
    loaded.Load(str(tmp_path / "a.onnx_adapter"))
    options.add_active_adapter(loaded)
    exposed = session_of(adapters.exposed(network), tmp_path / "exposed.onnx")
    np.testing.assert_allclose(exposed.run(["y"], {"x": x}, options)[0], judged, rtol=1e-4, atol=3 * step + 1e-4)
    with pytest.raises(
        GraphError, match=r"cannot take its adapter into the weight: its weight (is quantised|comes from)"
    ):
        adapters.merged(network)


@pytest.mark.parametrize("forms", [("operators", "pairs"), ("operators per channel", "pairs per channel")])
def test_gradients_through_products_of_integers_are_those_of_pairs(forms, quantised):
    """QLinearConv and QGemm are the fused form of DequantizeLinear, Conv or Gemm, QuantizeLinear: so are gradients."""
    paths, x = quantised
    g = random(6, 3, seed=4)
    found = []
    for form in forms:
        options = {"backend": "numpy", "straight_through": True, "input_gradients": True}
        context = load(str(paths[form])).context(6, training=True, **options)
        context.forward({"x": x})
        found.append(context.backward({"y": g})["inputs"]["x"])
    assert abs(found[1]).max() > 0
    np.testing.assert_allclose(found[0], found[1], rtol=1e-3, atol=1e-3 * abs(found[1]).max())


def test_dora_takes_dequantised_weights_and_refuses_packed_ones(quantised, tmp_path):
    paths, x = quantised
    network = load(str(paths["pairs per channel"]))
    base = network.run(x)["y"]
    adapters.dora(network, "linear*", rank=2)
    np.testing.assert_allclose(network.run(x)["y"], base, atol=0.1)
    path, _ = packed(tmp_path)
    with pytest.raises(GraphError, match=r"MatMulNBits 'bits' cannot take an adapter: DoRA needs a weight in floating"):
        adapters.dora(load(str(path)), "bits")


def test_quantised_layers_that_cannot_take_an_adapter():
    sums = "g (uint8[N, 4] x) => (int32[N, 3] y) { [one] y = MatMulInteger (x, w) }"
    with pytest.raises(
        GraphError, match=r"MatMulInteger 'one' cannot take an adapter: what was quantised for it is not"
    ):
        adapters.lora(parse(sums, w=np.ones((4, 3), np.int8)), "one")
    shared = """g (float[N, 4] x) => (float[N, 3] y, int32[N, 3] s) {
        q, scale, zero = DynamicQuantizeLinear (x) [one] s = MatMulInteger (q, w, zero) y = Cast <to = 1> (s)
    }"""
    with pytest.raises(GraphError, match=r"its integer sums must be read by Cast alone, they are by Cast"):
        adapters.lora(parse(shared, w=np.ones((4, 3), np.int8)), "one")


def test_a_dynamically_quantised_product_of_one_operator(tmp_path):
    network = parse(
        "g (float[N, 4] x) => (float[N, 3] y) { [one] y = com.microsoft.DynamicQuantizeMatMul (x, w, s, z, b) }",
        w=np.random.default_rng(0).integers(-60, 60, (4, 3)).astype(np.int8),
        s=np.array([0.02, 0.03, 0.01], np.float32),
        z=np.zeros(3, np.int8),
        b=random(3),
    )
    x = random(6, 4)
    adapters.lora(network, "one", rank=2)
    trained(network, x, straight_through=True)
    judged = session_of(network, tmp_path / "n.onnx").run(["y"], {"x": x})[0]
    np.testing.assert_allclose(judged, network.run(x)["y"], rtol=1e-4, atol=1e-4)
    context = network.context(6, training=True, backend="numpy", straight_through=True, input_gradients=True)
    context.forward({"x": x})
    grad = context.backward({"y": np.ones((6, 3), np.float32)})["inputs"]["x"]
    merged = adapters.installed(network)["default"].branches[0]
    weight = network.parameters["w"].array * network.parameters["s"].array + merged.a.array @ merged.b.array
    np.testing.assert_allclose(grad, np.ones((6, 3)) @ weight.T, rtol=1e-3, atol=1e-3)
    onnx.checker.check_model(str(tmp_path / "n.onnx"))
