"""Post-training quantisation: what a file then holds, judged by onnxruntime, and what it costs in accuracy."""

import numpy as np
import onnx
import pytest

import toolkit as tk
from exporters import diff, save
from importers import load
from tests.training.quantisation.small import images, judged, operators, parse, random, residual
from tests.training.test_real_models import ASSETS, mnist, normalised, raw
from toolkit import quantisation
from toolkit.errors import GraphError, InputError

pytestmark = pytest.mark.slow
needs_assets = pytest.mark.skipif(not ASSETS.exists(), reason="needs the assets beside the repository")


@pytest.fixture(scope="module")
def calibration():
    return quantisation.calibrate(residual(), images(64), method="min-max")


def test_every_product_reads_and_gives_integers_and_limits_are_kept(calibration):
    assert calibration.layers == ["first", "depthwise", "second", "sum", "pool", "flat", "hidden", "last"]
    ranges = calibration.ranges()
    assert list(ranges) == ["x", "t", "r1", "k2", "c3", "r2", "h", "o"]
    assert ranges["r1"][0] == 0 and ranges["k2"] == (0, 6) and ranges["c3"][0] < 0
    made = quantisation.quantise(calibration)
    assert "BatchNormalization" not in operators(made) and operators(made)["QuantizeLinear"] == 10
    held = {name: (item.dtype.name, item.shape) for name, item in made.parameters.items()}
    assert held["w2/quantised"] == ("int8", (8, 1, 3, 3)) and held["w4/scale"] == ("float32", (12,))
    assert held["b4/quantised"] == ("int32", (12,)) and held["w5/scale"] == ("float32", (5,)) and "w1" not in held
    scale = made.parameters["w4/scale"].array
    back = made.parameters["w4/quantised"].array * scale[:, None]
    assert (np.abs(back - residual().parameters["w4"].array) <= 0.5001 * scale[:, None]).all()


@pytest.mark.parametrize(
    ("options", "tolerance"),
    [
        ({}, 0.1),
        ({"activations": "int8"}, 0.1),
        ({"per_channel": False}, 0.1),
        ({"activations": "uint16"}, 0.06),
        ({"weights": "int4"}, 0.6),
        ({"activations": "uint4"}, 0.6),
    ],
)
def test_onnxruntime_computes_the_same(calibration, options, tolerance, tmp_path):
    made, x = quantisation.quantise(calibration, **options), images(16, seed=5)
    y = made.run(x)["y"]
    is_narrow = "uint4" in options.values() or options.get("activations") == "uint16"
    expected = judged(made, tmp_path / "q.onnx", {"x": x}, optimised=not is_narrow)["y"]
    onnx.checker.check_model(str(tmp_path / "q.onnx"))
    assert np.mean(np.abs(y - expected) > 0.01) < 0.1  # a number between two of the grid may fall either way
    np.testing.assert_allclose(y, expected, atol=tolerance)
    np.testing.assert_allclose(y, residual().run(x)["y"], atol=tolerance)


def test_the_file_differs_by_the_surgery_and_the_network_stays(tmp_path):
    network = residual()
    before = {name: item.array for name, item in network.parameters.items()}
    save(network, tmp_path / "float.onnx")
    made = quantisation.quantise(network, images(), "second", "hidden")
    save(made, tmp_path / "quantised.onnx")
    changes = diff(tmp_path / "float.onnx", tmp_path / "quantised.onnx")
    gone = {change.name for change in changes if change.detail == "removed"}
    assert gone == {"w1", "s1", "h1", "m1", "v1", "norm", "w3", "b3", "w4", "b4"} - {"w1"}
    assert {change.name for change in changes if change.detail in ("input", "output", "values")} >= {"first", "second"}
    assert all(item is before[name] for name, item in ((n, p.array) for n, p in network.parameters.items()))
    assert len(network.graph.leaves) == 15 and network.revision == 0


def test_skipped_layers_compute_in_floats():
    made = quantisation.quantise(residual(), images(), skip=["second", "sum", "pool", "flat", "hidden", "last"])
    second = next(leaf for leaf in made.graph.leaves if leaf.path == "second")
    assert second.inputs[1:] == ["w3", "b3"] and operators(made)["QuantizeLinear"] == 3


@pytest.mark.parametrize("kind", ["array", "dict", "labelled", "batches", "labelled batches"])
def test_data_may_come_in_any_form(kind):
    x = images(8)
    data = {
        "array": x,
        "dict": {"x": x},
        "labelled": (x, np.zeros(8)),
        "batches": [x[:3], {"x": x[3:]}],
        "labelled batches": iter([(x[:3], np.zeros(3)), ({"x": x[3:]}, np.zeros(5))]),
    }[kind]
    network = residual()
    expected = quantisation.calibrate(network, x, batch_size=3).ranges()
    found = quantisation.calibrate(network, data).ranges()
    np.testing.assert_allclose(list(found.values()), list(expected.values()), rtol=1e-5, atol=1e-6)


FORMS = {
    "a weight by which data is multiplied from the left": ("y = MatMul (w, x)", {"w": random(3, 6)}, (6, 2), False),
    "an untransposed Gemm": ("y = Gemm (x, w, b)", {"w": random(4, 3), "b": random(3)}, (5, 4), True),
    "a factor in Gemm": ("y = Gemm <alpha = 0.5> (x, w, b)", {"w": random(4, 3), "b": random(3)}, (5, 4), True),
    "data by data": ("t = Transpose (x) y = MatMul (x, t)", {}, (5, 4), False),
    "joined": ("s = Sigmoid (x) c = Concat <axis = 0> (x, s) y = Mul (c, c)", {}, (5, 4), False),
    "a transposed convolution": ("y = ConvTranspose (x, w)", {"w": random(4, 3, 2, 2)}, (2, 4, 5, 5), True),
    "an average": ("y = GlobalAveragePool (x)", {}, (2, 4, 5, 5), False),
    "a computed weight": ("v = Transpose (w) y = MatMul (x, v)", {"w": random(3, 4)}, (5, 4), True),
    "one weight read twice": ("a = MatMul (x, w) y = MatMul (a, w)", {"w": random(4, 4)}, (5, 4), True),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("opset", [12, 17])
def test_forms_of_layers(form, opset, tmp_path):
    body, parameters, shape, by_channel = FORMS[form]
    declared = ", ".join(map(str, shape))
    network = parse(f"g (float[{declared}] x) => (float[] y) {{ {body} }}", opset, **parameters)
    network.outputs["y"].shape = None
    x = random(*shape, seed=7)
    made = quantisation.quantise(network, [x])
    if parameters:
        scales = [item.shape for name, item in made.parameters.items() if item.role.startswith("the step size of 'w")]
        scales += [item.shape for name, item in made.parameters.items() if item.role.startswith("the step size of 'v")]
        assert len(scales) == 1 and (len(scales[0]) == 1) == by_channel
    y, expected = made.run(x)["y"], network.run(x)["y"]
    np.testing.assert_allclose(y, expected, atol=0.06 * np.abs(expected).max())
    np.testing.assert_allclose(judged(made, tmp_path / "q.onnx", {"x": x})["y"], y, atol=0.02 * np.abs(y).max())


def test_what_cannot_be_quantised_is_said():
    network = parse(
        """g (float[N, 4] x) => (y, z, u) {
            [plus] y = Add (x, c)
            [weighted] z = MatMul (x, d)
            [wide] b = Cast <to = 11> (x)
            [double] w = MatMul (b, e)
            [constant] u = Add (c, c)
        }""",
        c=random(4),
        d=random(4, 3),
        e=np.ones((4, 2)),
    )
    network.graph.outputs["w"] = tk.Value("w")
    left_out = quantisation.calibrate(network, random(5, 4)).left_out
    assert left_out == {
        "plus": "one of what it joins is a constant",
        "double": "'b' is not of 32-bit floats",
        "constant": "nothing that it reads depends on data",
    }
    with pytest.raises(GraphError, match=r"Nothing is there to quantise: of 1 layers .* \('plus': one of what"):
        quantisation.quantise(network, random(5, 4), "plus")


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ([[]], {}, r"Calibration requires data, got no batch"),
        (["text"], {}, r"must be an array, a dict by input name, or batches of these, got str"),
        ([images()], {"method": "guess"}, r"method= requires one of min-max, .* got 'guess'"),
        ([images()], {"weights": "uint8"}, r"weights= requires one of int8, int4, got 'uint8'"),
        ([images()], {"activations": "int2"}, r"activations= requires one of uint8, .* got 'int2'"),
        ([images()], {"batch_size": 0}, r"batch_size requires a whole number of at least 1, got 0"),
    ],
)
def test_data_and_options_that_do_not_fit(arguments, options, message):
    with pytest.raises(InputError, match=message):
        quantisation.quantise(residual(), *arguments, **options)


def test_a_calibration_has_its_data(calibration):
    with pytest.raises(InputError, match="A Calibration has its data and layers already"):
        quantisation.quantise(calibration, images())


@needs_assets
@pytest.mark.parametrize(
    ("model", "prepare", "loss", "size"),
    [("mnist8_cntk", raw, 0.005, 0.5), ("mnist_cnn_torch11", normalised, 0.005, 0.35)],
)
def test_real_models_keep_their_accuracy(model, prepare, loss, size, tmp_path):
    path = ASSETS / "models" / model / "model.onnx"
    network, (x, labels) = load(str(path)), mnist("t10k", prepare)
    x, labels = x[:1000], labels[:1000]
    output = next(iter(network.outputs))
    calibration = quantisation.calibrate(network, mnist("train", prepare)[0][:128])
    made = quantisation.quantise(calibration)
    assert made.opsets[""] == 13  # written for opset 8 and 9, which cannot quantise by channel
    y = made.run(x)[output]
    found = (y.argmax(1) == labels).mean()
    assert found >= (network.run(x)[output].argmax(1) == labels).mean() - loss
    name = next(iter(network.inputs))
    save(made, tmp_path / "q.onnx")
    assert (tmp_path / "q.onnx").stat().st_size < size * path.stat().st_size
    step = float(made.parameters[f"{calibration.places.values[-1]}/scale"].array)
    expected = [judged(made, tmp_path / "q.onnx", {name: x[row : row + 1]})[output] for row in range(40)]
    assert abs(y[:40] - np.concatenate(expected)).max() <= 1.01 * step


@needs_assets
def test_a_keyword_spotter_is_quantised_as_its_makers_did(tmp_path):
    network = load(str(ASSETS / "models" / "micro_kws_fp32" / "model.onnx"))
    x = np.abs(random(64, 1960, seed=1)) * 8
    made = quantisation.quantise(network, x, method="percentile")
    output = next(iter(network.outputs))
    agree = made.run(x)[output].argmax(1) == network.run(x)[output].argmax(1)
    assert agree.mean() > 0.9
    theirs = load(str(ASSETS / "models" / "micro_kws_qdq" / "model.onnx"))
    kinds = [
        {item.shape: item.dtype.name for item in one.parameters.values() if len(item.shape) > 1}
        for one in (made, theirs)
    ]
    assert {shape for shape, kind in kinds[0].items() if kind == "int8"} == {
        shape for shape, kind in kinds[1].items() if kind == "int8"
    }
