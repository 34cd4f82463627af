"""What may be chosen about an exported training step, and which opset it is written for; onnxruntime judges."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx.parser
import pytest

import toolkit as tk
from importers import load
from tests.support.exported import ExportedStep
from tests.support.models import network
from toolkit.errors import DataDependentShapeError, InputError, NotDifferentiableError, UnsupportedOperatorError
from toolkit.graph import Network

MODELS = Path(__file__).parents[3] / "shared" / "assets" / "models"
LOSS = tk.losses.MeanSquaredError()
Feeds = dict[str, np.ndarray]


def assert_same_steps(net: Network, feeds: Feeds, labels: np.ndarray, steps: int = 3, **options: Any) -> Network:
    """The exported step, which gives in onnxruntime the gradients and losses that a trainer with ``options`` gives."""
    optimizer = tk.optimizers.SGD(0.01)
    step = tk.training_network(net, loss=LOSS, optimizer=optimizer, example=feeds, **options)
    exported = ExportedStep(step)
    trainer = tk.Trainer(net, loss=LOSS, optimizer=optimizer, backend="numpy", **options)
    grads = trainer.gradients(feeds, labels)
    largest = max(float(np.abs(grad).max(initial=0)) for grad in grads.values())
    for number in range(steps):
        found = exported.run({**{key: feeds[key] for key in feeds if key in step.graph.inputs}, "labels": labels})
        assert float(found["loss"]) == pytest.approx(trainer.train_minibatch(feeds, labels)[0], rel=1e-4)
        for name, grad in grads.items() if number == 0 else ():
            np.testing.assert_allclose(found[f"{name}.gradient"], grad, rtol=1e-4, atol=1e-5 * largest, err_msg=name)
    return step


def drawn(*shape: int) -> np.ndarray:
    return np.random.default_rng(7).standard_normal(shape).astype(np.float32)


def fake_quantised() -> Network:
    """A linear layer between two fake quantisations, whose step size learns, and Round."""
    net = network(
        """net (float[N, 4] x) => (float[N, 3] y) {
            a = MatMul (x, w)
            zero = Constant <value = int8 {3}> ()
            q = QuantizeLinear (a, scale, zero)
            d = DequantizeLinear (q, scale, zero)
            e = Mul (d, v)
            y = Round (e)
        }""",
        w=(4, 3),
        v=(3,),
        scale=(),
    )
    net.parameters["scale"].assign(np.float32(0.05))
    net.select("*").unfreeze(settings=True)
    return net


def test_quantised_layers_learn_as_they_do_in_the_trainer() -> None:
    net = fake_quantised()
    step = assert_same_steps(net, {"x": drawn(5, 4) * 9}, drawn(5, 3), straight_through=True)
    assert {"w.gradient", "v.gradient", "scale.gradient"} <= set(step.outputs)
    with pytest.raises(NotDifferentiableError, match="Nothing to train"):
        tk.training_network(net, loss=LOSS, batch_size=5)


@pytest.mark.skipif(not MODELS.is_dir(), reason="needs the assets beside the repository (../shared/assets)")
def test_a_quantised_model_that_others_trained() -> None:
    net = load(str(MODELS / "micro_kws_qdq" / "model.onnx"))
    feeds = {
        name: drawn(*(size if isinstance(size, int) else 1 for size in item.shape or ()))
        for name, item in net.inputs.items()
    }
    assert_same_steps(net, feeds, np.eye(10, dtype=np.float32)[[3]], straight_through=True)


def test_batch_statistics_are_chosen() -> None:
    text = """net (float[N, 3] x) => (float[N, 3] y) {
        h = Mul (x, w)
        y = BatchNormalization (h, scale, shift, mean, variance)
    }"""
    for choice, moves in (("batch", True), ("running", False)):
        net = network(text, w=(3,), scale=(3,), shift=(3,), mean=(3,), variance=(3,))
        net.parameters["variance"].assign(np.ones(3, np.float32))
        step = assert_same_steps(net, {"x": drawn(6, 3)}, drawn(6, 3), batch_statistics=choice)
        assert ("mean.updated" in step.outputs) == moves
    with pytest.raises(InputError, match="batch_statistics must be 'batch', 'running' or None"):
        tk.training_network(net, loss=LOSS, batch_size=2, batch_statistics="moving")


BRANCHES = """net (float[N, 3] x) => (float[M, 2] y) {
    total = ReduceSum <keepdims = 0> (x)
    zero = Constant <value_float = 0.0> ()
    positive = Greater (total, zero)
    h = If (positive) <
        then_branch = one () => (a) { a = MatMul (x, w1) },
        else_branch = other () => (b) { b = MatMul (x, w2) }
    >
    large = Greater (h, zero)
    axis = Constant <value_ints = [1]> ()
    both = Cast <to = 6> (large)
    rows = ReduceMax <keepdims = 0> (both, axis)
    kept = Cast <to = 9> (rows)
    y = Compress <axis = 0> (h, kept)
}"""


def test_an_example_decides_what_only_data_can_tell() -> None:
    net = network(BRANCHES, w1=(3, 2), w2=(3, 2))
    x = np.abs(drawn(6, 3))
    for feeds, learns in (({"x": x}, "w1"), ({"x": -x}, "w2")):
        kept = net.run(feeds)["y"]
        assert len(kept) > 0
        step = assert_same_steps(net, feeds, np.zeros_like(kept), steps=1)
        assert [name for name in step.outputs if name.endswith(".gradient")] == [f"{learns}.gradient"]


def test_without_an_example_what_data_decides_is_refused_with_the_remedy() -> None:
    net = network(BRANCHES, w1=(3, 2), w2=(3, 2))
    with pytest.raises(DataDependentShapeError, match=r"If .* Give example=, the inputs of one batch"):
        tk.training_network(net, loss=LOSS, batch_size=6)


def test_an_example_tells_the_sizes() -> None:
    net = network("net (float[N, 3] x) => (float[N, 3] y) { y = Mul (x, w) }", w=(3,))
    assert tk.training_network(net, loss=LOSS, example=drawn(4, 3)).inputs["x"].shape == (4, 3)
    with pytest.raises(InputError, match=r"takes its sizes from example=: leave out batch_size= and dims="):
        tk.training_network(net, loss=LOSS, example=drawn(4, 3), batch_size=4)


def in_opset(opset: int, layers: str, shape: str = "4, 3", **weights: Any) -> Network:
    model = onnx.parser.parse_model(
        f'<ir_version: 10, opset_import: ["" : {opset}]> g (float[{shape}] x) => (float[M, K] y) {{ {layers} }}'
    )
    for name, array in {"w": np.full(3, 0.5, np.float32), **weights}.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(array), name))
    return load(model)


OPSETS = {  # of the network, its layers, and that of the step
    "an old one": (13, "y = Mul (x, w)", 21),
    "a newer one that says nothing new": (22, "h = Mul (x, w) y = Softplus (h)", 21),
    "drawn numbers": (22, "r = RandomNormalLike <scale = 1.0e-20> (x) h = Mul (x, w) y = Add (h, r)", 21),
    "an operator that came later": (23, "h = Mul (x, w) y = RMSNormalization (h, w)", 23),
    "an attribute that came later": (
        24,
        'h = Mul (x, w) i = Cast <to = 10, round_mode = "up"> (h) f = Cast <to = 1> (i) y = Mul (f, w)',
        24,
    ),
}


@pytest.mark.parametrize("name", OPSETS)
def test_a_step_is_written_for_an_opset_that_engines_know(name: str) -> None:
    opset, layers, written = OPSETS[name]
    net = in_opset(opset, layers)
    step = assert_same_steps(net, {"x": drawn(4, 3)}, drawn(4, 3), steps=1)
    assert step.opsets[""] == written
    assert net.opsets[""] == opset


def test_sums_of_very_many_numbers_are_exact_in_other_engines() -> None:
    net = network("net (float[N, 64, 512] x) => (float[N, 64, 512] y) { y = Mul (x, w) }", w=(512,))
    x = np.full((160, 64, 512), 0.1, np.float32)
    labels = np.full_like(x, 0.7)
    found = ExportedStep(tk.training_network(net, loss=LOSS, batch_size=160)).run({"x": x, "labels": labels})
    exact = np.mean((x.astype(np.float64) * net.parameters["w"].array - labels) ** 2)
    assert float(found["loss"]) == pytest.approx(exact, rel=1e-6)


FRAMES = {  # what STFT is given beside the signal and the frame step
    "a window": ", window",
    "a length": ", , length",
    "nothing": "",
}


@pytest.mark.parametrize("name", FRAMES)
def test_spectra_of_frames(name: str) -> None:
    net = network(
        f"""net (float[N, 16, 1] x) => (float[N, F, B, 2] y) {{
            h = Mul (x, w)
            step = Constant <value_int = 4> ()
            length = Constant <value_int = 5> ()
            y = STFT (h, step{FRAMES[name]})
        }}""",
        w=(16, 1),
        window=(6,),
    )
    feeds = {"x": drawn(3, 16, 1)}
    assert_same_steps(net, feeds, drawn(*net.run(feeds)["y"].shape))


REGIONS = {
    "average": "RoiAlign <output_height = 2, output_width = 2> (c, regions, images)",
    "maximum": 'RoiAlign <output_height = 2, output_width = 2, sampling_ratio = 2, mode = "max"> (c, regions, images)',
    "whole elements": "MaxRoiPool <pooled_shape = [2, 2]> (c, numbered)",
}
CORNERS = np.array([[0, 0.5, 4.5, 3], [1, 2, 5, 5], [-2, -1, 3, 8]], np.float32)


def pooling(layer: str) -> Network:
    net = in_opset(
        22,
        f"c = Conv (x, kernel) p = {layer} y = Flatten (p)",
        "2, 2, 6, 6",
        kernel=drawn(2, 2, 1, 1),
        regions=CORNERS,
        images=np.array([0, 1, 0]),
        numbered=np.concatenate([np.array([[0], [1], [0]], np.float32), CORNERS], axis=1),
    )
    for name in ("regions", "numbered"):
        net.parameters[name].requires_grad = False
    return net


@pytest.mark.parametrize("name", REGIONS)
def test_regions_of_interest(name: str) -> None:
    assert assert_same_steps(pooling(REGIONS[name]), {"x": drawn(2, 2, 6, 6)}, drawn(3, 8)).opsets[""] == 21


def test_maxima_of_as_many_samples_as_a_region_asks_for_are_refused() -> None:
    net = pooling(REGIONS["maximum"].replace("sampling_ratio = 2, ", ""))
    with pytest.raises(UnsupportedOperatorError, match=r"RoiAlignMaximumGradient .* set sampling_ratio"):
        tk.training_network(net, loss=LOSS)
