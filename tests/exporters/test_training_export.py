"""A training step is a network like any other: exported, it takes the same steps in onnxruntime as the trainer."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx.parser
import pytest

import toolkit as tk
from exporters import save
from importers import load
from tests.support.exported import ExportedStep
from tests.support.models import cnn, feed, mlp, network
from toolkit.errors import GraphError, NotDifferentiableError, TrainingError
from toolkit.graph import Network
from toolkit.runtime.feeds import named, sizes

MODELS = Path(__file__).parents[3] / "shared" / "assets" / "models"
STEPS = 20


def normalised_cnn() -> Network:
    """Batch statistics in training mode, with and without a Relu behind them, and both poolings."""
    return network(
        """net (float[N, 3, 8, 8] x) => (float[N, 4] y) {
            c1 = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (x, w1)
            n1, m1, v1 = BatchNormalization <training_mode = 1> (c1, scale1, shift1, mean1, variance1)
            r1 = Relu (n1)
            c2 = Conv <pads = [0, 1, 1, 0], dilations = [1, 2], group = 2> (r1, w2)
            n2, m2, v2 = BatchNormalization <training_mode = 1, momentum = 0.8> (c2, scale2, shift2, mean2, variance2)
            p1 = MaxPool <kernel_shape = [2, 2], pads = [0, 1, 0, 0]> (n2)
            p2 = AveragePool <kernel_shape = [2, 2], ceil_mode = 1, strides = [2, 2]> (p1)
            f = Flatten (p2)
            y = Gemm <transB = 1> (f, w3, b3)
        }""",
        w1=(6, 3, 3, 3),
        w2=(8, 3, 2, 2),
        w3=(4, 32),
        b3=(4,),
        **{f"{name}{number}": (size,) for number, size in ((1, 6), (2, 8)) for name in ("scale", "shift", "mean")},
        variance1=(6,),
        variance2=(8,),
    )


def lstm() -> Network:
    """Both directions of an LSTM, and the mean over the steps."""
    return network(
        """net (float[5, batch, 3] x) => (float[batch, 4] y) {
            zero = Constant <value_ints = [0]> ()
            s, h, c = LSTM <hidden_size = 4, direction = "bidirectional"> (x, w, r, b)
            m = ReduceMean <keepdims = 0> (s, zero)
            t = Transpose <perm = [1, 0, 2]> (m)
            f = Flatten (t)
            y = Gemm (f, w2, b2)
        }""",
        w=(2, 16, 3),
        r=(2, 16, 4),
        b=(2, 32),
        w2=(8, 4),
        b2=(4,),
    )


def transformer() -> Network:
    """One head of attention, a residual, two normalisations and a Gelu between linear layers."""
    return network(
        """net (float[N, 5, 6] x) => (float[N, 4] y) {
            n1 = LayerNormalization (x, scale1, shift1)
            q = MatMul (n1, wq)
            k = MatMul (n1, wk)
            v = MatMul (n1, wv)
            kt = Transpose <perm = [0, 2, 1]> (k)
            scores = MatMul (q, kt)
            shares = Softmax (scores)
            a = MatMul (shares, v)
            r1 = Add (x, a)
            n2 = LayerNormalization <axis = 2> (r1, scale2, shift2)
            h = MatMul (n2, w1)
            g = Gelu (h)
            o = MatMul (g, w2)
            r2 = Add (r1, o)
            one = Constant <value_ints = [1]> ()
            m = ReduceMean <keepdims = 0> (r2, one)
            y = Gemm (m, w3, b3)
        }""",
        **dict.fromkeys(("wq", "wk", "wv"), (6, 6)),
        **dict.fromkeys(("scale1", "shift1", "scale2", "shift2"), (6,)),
        w1=(6, 12),
        w2=(12, 6),
        w3=(6, 4),
        b3=(4,),
    )


OPTIMIZERS: dict[str, Callable[[], tk.optimizers.Optimizer]] = {
    "sgd": lambda: tk.optimizers.SGD(0.05),
    "momentum": lambda: tk.optimizers.SGD(0.05, momentum=0.9, dampening=0.3, weight_decay=1e-2),
    "nesterov": lambda: tk.optimizers.SGD(0.05, momentum=0.9, nesterov=True),
    "adam": lambda: tk.optimizers.Adam(3e-3, weight_decay=1e-2),
    "adamw": lambda: tk.optimizers.AdamW(3e-3),
    "nadam": lambda: tk.optimizers.NAdam(3e-3),
    "radam": lambda: tk.optimizers.RAdam(3e-3, betas=(0.9, 0.8)),
    "rmsprop": lambda: tk.optimizers.RMSprop(3e-3, momentum=0.9, centered=True),
    "adadelta": lambda: tk.optimizers.Adadelta(),
    "lion": lambda: tk.optimizers.Lion(3e-3, weight_decay=0.1),
    "lamb": lambda: tk.optimizers.LAMB(3e-3),
    "adafactor": lambda: tk.optimizers.Adafactor(weight_decay=0.1),
    "onnx adagrad": lambda: tk.optimizers.OnnxAdagrad(1e-2, decay_factor=0.1),
    "onnx adam": lambda: tk.optimizers.OnnxAdam(3e-3, norm_coefficient_post=1e-3),
    "chain": lambda: tk.optimizers.chain(
        tk.optimizers.ClipByGlobalNorm(0.05), tk.optimizers.Adam(3e-3), tk.optimizers.ExponentialAverage(0.5)
    ),
}
LOSSES: dict[str, Callable[[], tk.losses.Loss]] = {
    "cross entropy": tk.losses.SoftmaxCrossEntropy,
    "cross entropy with gaps": lambda: tk.losses.SoftmaxCrossEntropy(ignore_index=1),
    "squares": tk.losses.MeanSquaredError,
}
ROWS = [
    (mlp, "cross entropy", "momentum"),
    (mlp, "cross entropy with gaps", "sgd"),
    (mlp, "squares", "adamw"),
    (mlp, "squares", "nesterov"),
    (cnn, "cross entropy", "adam"),
    (normalised_cnn, "cross entropy", "momentum"),
    (normalised_cnn, "squares", "adamw"),
    (lstm, "cross entropy", "adam"),
    (transformer, "cross entropy", "adamw"),
    (transformer, "squares", "momentum"),
    *((mlp, "cross entropy", name) for name in list(OPTIMIZERS)[5:]),
]


def data(net: Network, loss: tk.losses.Loss, size: int = 6) -> tuple[dict[str, np.ndarray], np.ndarray]:
    random = np.random.default_rng(1)
    shape = net.inputs["x"].shape or ()
    x = random.standard_normal([size if isinstance(dim, str) else int(dim or 0) for dim in shape]).astype(np.float32)
    if isinstance(loss, tk.losses.MeanSquaredError):
        return {"x": x}, random.standard_normal((size, 4)).astype(np.float32)
    return {"x": x}, random.integers(0, 4, size)


def positive(net: Network) -> Network:
    """Running variances and scales as they are in life."""
    for name, item in net.parameters.items():
        if name.startswith(("variance", "scale")):
            item.assign(np.abs(item.array) + 0.5)
    return net


@pytest.mark.parametrize(("make", "loss_name", "optimizer_name"), ROWS)
def test_the_exported_step_is_the_trainers(make: Callable[[], Network], loss_name: str, optimizer_name: str) -> None:
    net = positive(make())
    loss, optimizer = LOSSES[loss_name](), OPTIMIZERS[optimizer_name]()
    feeds, labels = data(net, loss)
    exported = ExportedStep(tk.training_network(net, loss=loss, optimizer=optimizer, batch_size=6))
    trainer = tk.Trainer(net, loss=loss, optimizer=optimizer, backend="numpy")
    grads = trainer.gradients(feeds, labels)
    for step in range(STEPS):
        found = exported.run({**feeds, "labels": labels})
        expected, outputs = trainer.train_minibatch(feeds, labels)
        assert float(found["loss"]) == pytest.approx(expected, rel=1e-4)
        np.testing.assert_allclose(found["y"], outputs["y"], rtol=2e-3, atol=2e-4)
        if step == 0:
            for name, grad in grads.items():
                np.testing.assert_allclose(found[f"{name}.gradient"], grad, rtol=1e-4, atol=1e-6)
    assert exported.fed_back["step"] == STEPS + 1
    moved = {name: item for name, item in net.parameters.items() if name in exported.fed_back}
    assert set(grads) <= set(moved)
    for name, item in moved.items():
        np.testing.assert_allclose(exported.fed_back[name], item.array, rtol=2e-3, atol=3e-4, err_msg=name)


def test_gradients_alone() -> None:
    net, loss = mlp(), tk.losses.MeanSquaredError()
    feeds, labels = data(net, loss)
    step = tk.training_network(net, loss=loss, batch_size=6)
    assert list(step.inputs) == ["x", "labels"]
    assert list(step.outputs) == ["y", "loss", *(f"{name}.gradient" for name in ("w1", "b1", "w2", "b2"))]
    exported = ExportedStep(step)
    expected = tk.Trainer(net, loss=loss, optimizer=tk.optimizers.SGD(1.0), backend="numpy").gradients(feeds, labels)
    for name, grad in expected.items():
        np.testing.assert_allclose(exported.run({**feeds, "labels": labels})[f"{name}.gradient"], grad, rtol=1e-5)
    zero = {name: np.zeros_like(item.array) for name, item in net.parameters.items()}
    assert np.all(exported.run({**feeds, "labels": labels, **zero})["y"] == 0), "parameters are inputs too"


def test_running_statistics_alone_move_without_an_optimizer() -> None:
    step = tk.training_network(positive(normalised_cnn()), loss=tk.losses.MeanSquaredError(), batch_size=6)
    moved = [name for name in step.outputs if name.endswith(".updated")]
    assert moved == [f"{name}{number}.updated" for number in (1, 2) for name in ("mean", "variance")]


def test_frozen_parameters_and_learning_rates() -> None:
    net, loss, optimizer = mlp(), tk.losses.SoftmaxCrossEntropy(), tk.optimizers.Adam(1e-2)
    net.parameters["w1"].requires_grad = False
    net.parameters["b2"].learning_rate = 10.0
    feeds, labels = data(net, loss)
    step = tk.training_network(net, loss=loss, optimizer=optimizer, batch_size=6)
    assert "w1.gradient" not in step.outputs
    assert "w1" not in step.graph.inputs
    exported, trainer = ExportedStep(step), tk.Trainer(net, loss=loss, optimizer=optimizer, backend="numpy")
    for _ in range(3):
        exported.run({**feeds, "labels": labels})
        trainer.train_minibatch(feeds, labels)
    for name in ("b1", "w2", "b2"):
        np.testing.assert_allclose(exported.fed_back[name], net.parameters[name].array, rtol=1e-4, atol=1e-6)


def test_the_learning_rate_is_an_input() -> None:
    net, loss = mlp(), tk.losses.SoftmaxCrossEntropy()
    feeds, labels = data(net, loss)
    exported = ExportedStep(tk.training_network(net, loss=loss, optimizer=tk.optimizers.SGD(0.1), batch_size=6))
    found = exported.run({**feeds, "labels": labels, "learning_rate": np.array(0, np.float32)})
    np.testing.assert_array_equal(found["w1.updated"], net.parameters["w1"].array)


def test_the_step_runs_in_the_toolkit_and_round_trips(tmp_path: Path) -> None:
    net, loss = positive(normalised_cnn()), tk.losses.SoftmaxCrossEntropy()
    feeds, labels = data(net, loss)
    step = tk.training_network(net, loss=loss, optimizer=tk.optimizers.SGD(0.1, momentum=0.5), batch_size=6)
    save(step, tmp_path / "step.onnx")
    again = load(tmp_path / "step.onnx")
    theirs = ExportedStep(again).run({**feeds, "labels": labels})
    ours = again.run({**feeds, "labels": labels}, backend="numpy")
    assert set(ours) == set(theirs)
    for name, array in theirs.items():
        np.testing.assert_allclose(ours[name], array, rtol=1e-3, atol=1e-5, err_msg=name)


def test_the_network_stays_as_it_is() -> None:
    net = mlp()
    before = {name: item.array.copy() for name, item in net.parameters.items()}
    step = tk.training_network(net, loss=tk.losses.MeanSquaredError(), optimizer=tk.optimizers.Adam(), batch_size=2)
    assert list(net.outputs) == ["y"] and list(net.inputs) == ["x"]
    for name, array in before.items():
        np.testing.assert_array_equal(net.parameters[name].array, array)
    assert step.opsets == {"": 21}


OLD = """<ir_version: 5, opset_import: ["" : 9]>
old (float[N, 2, 4, 4] x) => (float[N, 6] y) {
    u = Upsample <mode = "nearest"> (x, scales)
    c = Conv <pads = [1, 1, 1, 1]> (u, w1)
    k = Clip <min = -0.5, max = 0.7> (c)
    p = Pad <pads = [0, 0, 1, 0, 0, 0, 0, 2], value = 0.5> (k)
    s = Slice <axes = [2, 3], starts = [0, 1], ends = [8, 9]> (p)
    m = ReduceMean <axes = [3], keepdims = 1> (s)
    q = Squeeze <axes = [3]> (m)
    a, b = Split <axis = 1, split = [1, 2]> (q)
    t = ReduceMax <axes = [1], keepdims = 0> (b)
    r = Unsqueeze <axes = [1]> (t)
    j = Concat <axis = 1> (a, r)
    l = LogSoftmax <axis = 1> (j)
    f = Flatten (l)
    d = Dropout <ratio = 0.0> (f)
    y = Gemm <transB = 1> (d, w2, b2)
}"""


def test_layers_of_an_old_opset_are_said_in_the_new_one() -> None:

    model = onnx.parser.parse_model(OLD)
    random = np.random.default_rng(0)
    for name, shape in {"w1": (3, 2, 3, 3), "w2": (6, 16), "b2": (6,)}.items():
        array = (random.standard_normal(shape) * 0.3).astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "scales"))
    net, loss, optimizer = load(model), tk.losses.SoftmaxCrossEntropy(), tk.optimizers.SGD(0.1)
    feeds, labels = feed(net, 3), np.array([0, 5, 2])
    exported = ExportedStep(tk.training_network(net, loss=loss, optimizer=optimizer, batch_size=3))
    trainer = tk.Trainer(net, loss=loss, optimizer=optimizer, backend="numpy")
    for _ in range(3):
        found = exported.run({**feeds, "labels": labels})
        assert float(found["loss"]) == pytest.approx(trainer.train_minibatch(feeds, labels)[0], rel=1e-5)


@pytest.mark.skipif(not MODELS.is_dir(), reason="needs the assets beside the repository (../shared/assets)")
@pytest.mark.parametrize(
    "name", ["mnist_cnn_torch11", "mnist8_cntk", "cifar10_winml", "tiny_bert_optimum", "silero_vad_v2", "trt_resblock"]
)
def test_models_that_others_trained(name: str) -> None:
    net = load(str(MODELS / name / "model.onnx"))
    with np.load(MODELS / name / "ort_ref.npz", allow_pickle=True) as found:
        feeds = {key.removeprefix("in:"): found[key] for key in found.files if key.startswith("in:")}
    output = next(key for key, value in net.outputs.items() if value.dtype is not None and value.dtype.kind == "f")
    loss, optimizer = tk.losses.MeanSquaredError(output=output), tk.optimizers.AdamW(1e-4)
    batch, dims = sizes(net, named(net, feeds))
    step = tk.training_network(net, loss=loss, optimizer=optimizer, batch_size=batch, dims=dims)
    shape = step.inputs["labels"].shape
    labels = np.random.default_rng(0).standard_normal([size for size in shape if isinstance(size, int)])
    exported, trainer = ExportedStep(step), tk.Trainer(net, loss=loss, optimizer=optimizer, backend="numpy")
    given = {key: array for key, array in feeds.items() if key in step.graph.inputs}
    for _ in range(3):
        made = exported.run({**given, "labels": labels.astype(np.float32)})
        assert float(made["loss"]) == pytest.approx(trainer.train_minibatch(feeds, labels)[0], rel=1e-3)


def test_a_network_without_anything_to_learn_is_refused() -> None:
    net = mlp()
    for item in net.parameters.values():
        item.requires_grad = False
    with pytest.raises(NotDifferentiableError, match="Nothing to train"):
        tk.training_network(net, loss=tk.losses.MeanSquaredError(), batch_size=2)


def test_a_name_that_the_step_needs_is_refused() -> None:
    net = network("net (float[N, 2] labels) => (float[N, 3] y) { y = MatMul (labels, w) }", w=(2, 3))
    with pytest.raises(GraphError, match="has a value 'labels', which a training step needs"):
        tk.training_network(net, loss=tk.losses.MeanSquaredError(), batch_size=2)


def test_an_optimizer_of_ones_own_must_compute_its_numbers_as_a_graph_can() -> None:
    class Halving(tk.optimizers.SGD):
        def numbers(self, now: tk.optimizers.Moment) -> list[float]:
            return [-now.rate * math.pow(0.5, now.step)]

    with pytest.raises(TrainingError, match=r"SGD\(0.1.* in a way that a graph cannot .* optimizer=None"):
        tk.training_network(mlp(), loss=tk.losses.MeanSquaredError(), optimizer=Halving(0.1), batch_size=2)


FORMER = {
    "sampling": (16, 'grid = Tanh (w) y = GridSample <mode = "bilinear"> (x, grid)', (3, 4, 4, 2)),
    "groups": (18, "y = GroupNormalization <num_groups = 2> (x, w, w)", (2,)),
    "norm": (22, "h = Mul (x, w) p = GlobalLpPool (h) one = Shape (x) y = Expand (p, one)", (4, 4)),
}


@pytest.mark.parametrize("name", FORMER)
def test_what_engines_read_in_another_form_is_written_so(name: str) -> None:
    opset, layers, shape = FORMER[name]
    text = (
        f'<ir_version: 8, opset_import: ["" : {opset}]> g (float[3, 4, 4, 4] x) => (float[3, 4, 4, 4] y) {{ {layers} }}'
    )
    model, random = onnx.parser.parse_model(text), np.random.default_rng(0)
    w = random.uniform(0.1, 0.9, shape).astype(np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(w, "w"))
    net, loss = load(model), tk.losses.MeanSquaredError()
    feeds = {"x": random.standard_normal((3, 4, 4, 4)).astype(np.float32)}
    labels = random.standard_normal((3, 4, 4, 4)).astype(np.float32)
    expected = tk.Trainer(net, loss=loss, optimizer=tk.optimizers.SGD(1.0), backend="numpy").gradients(feeds, labels)
    found = ExportedStep(tk.training_network(net, loss=loss, batch_size=3)).run({**feeds, "labels": labels})
    np.testing.assert_allclose(found["w.gradient"], expected["w"], rtol=1e-4, atol=1e-6)
