"""Losses beside PyTorch: gradients of the first step, and the loss of each of 50 steps, as PyTorch recorded them."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest

import toolkit as tk
from tests.support.models import network
from tests.training.loss_rows import (
    BATCHES,
    FEATURES,
    HIDDEN,
    POSITIVE,
    RATE,
    ROWS,
    SCALED,
    STEPS,
    WEIGHT,
    WIDTH,
    Row,
    inputs,
    parameters,
    part,
)
from tests.training.record_losses import PATH, record
from toolkit.graph import Network

L = tk.losses
RECORDED = json.loads(PATH.read_text(encoding="utf-8"))


def student(row: Row) -> Network:
    """The network of the comparison, its outputs called y0, y1, ..."""
    steps = f"{row.steps}, " if row.steps else ""
    names = [f"y{index}" for index in range(row.outputs)]
    declared = ", ".join(f"float[N, {steps}{WIDTH}] {name}" for name in names)
    split = f"{', '.join(names)} = Split <axis = -1, num_outputs = {row.outputs}> (o)"
    made = network(
        f"""net (float[N, {steps}{FEATURES}] x) => ({declared}) {{
            m1 = MatMul (x, w1)
            a1 = Add (m1, b1)
            h = Tanh (a1)
            m2 = MatMul (h, w2)
            {"o" if row.outputs > 1 else "y0"} = Add (m2, b2)
            {split if row.outputs > 1 else ""}
        }}""",
        **{name: array.shape for name, array in parameters(row).items()},
    )
    for name, array in parameters(row).items():
        made.parameters[name].assign(array)
    assert parameters(row)["w1"].shape == (FEATURES, HIDDEN)
    return made


def with_log_softmax(row: Row) -> Network:
    made = network(
        f"""net (float[N, {FEATURES}] x) => (float[N, {WIDTH}] y0) {{
            m1 = MatMul (x, w1)
            a1 = Add (m1, b1)
            h = Tanh (a1)
            m2 = MatMul (h, w2)
            o = Add (m2, b2)
            y0 = LogSoftmax <axis = 1> (o)
        }}""",
        **{name: array.shape for name, array in parameters(row).items()},
    )
    for name, array in parameters(row).items():
        made.parameters[name].assign(array)
    return made


def combined() -> tk.losses.Loss:
    return L.Combined({"kind": L.SoftmaxCrossEntropy(output="y0"), "place": L.L1(output="y1")}, weights={"place": 0.5})


def scaled(loss: tk.losses.Loss, name: str) -> tk.losses.Loss:
    return L.Combined({"whole": loss}, weights={"whole": SCALED[name]}, labels={"whole": "y"})


OURS: dict[str, Callable[[], tk.losses.Loss]] = {
    "cross-entropy": L.SoftmaxCrossEntropy,
    "cross-entropy sum": lambda: scaled(L.SoftmaxCrossEntropy(reduction="sum"), "cross-entropy sum"),
    "cross-entropy weighted": lambda: L.SoftmaxCrossEntropy(weight=WEIGHT),
    "cross-entropy smoothed": lambda: L.SoftmaxCrossEntropy(label_smoothing=0.2),
    "cross-entropy with gaps": lambda: L.SoftmaxCrossEntropy(weight=WEIGHT, label_smoothing=0.2, ignore_index=-100),
    "cross-entropy over steps": lambda: L.SoftmaxCrossEntropy(axis=-1, label_smoothing=0.1),
    "cross-entropy of soft labels": lambda: L.SoftmaxCrossEntropy(soft_labels=True),
    "cross-entropy of soft labels weighted": lambda: L.SoftmaxCrossEntropy(
        soft_labels=True, weight=WEIGHT, label_smoothing=0.2
    ),
    "likelihood": L.NegativeLogLikelihood,
    "likelihood weighted": lambda: L.NegativeLogLikelihood(weight=WEIGHT, ignore_index=-100),
    "binary": L.BinaryCrossEntropy,
    "binary weighted": lambda: L.BinaryCrossEntropy(weight=WEIGHT, pos_weight=POSITIVE),
    "squares": L.MeanSquaredError,
    "squares with gaps": L.MeanSquaredError,
    "distances": L.L1,
    "huber": lambda: L.Huber(0.7),
    "hinge": L.Hinge,
    "hinge squared": lambda: L.Hinge(0.8, 2, weight=WEIGHT),
    "hinge binary": lambda: L.Hinge(binary=True),
    "hinge binary squared": lambda: L.Hinge(power=2, binary=True),
    "divergence": L.KLDivergence,
    "divergence of the batch": lambda: L.KLDivergence(reduction="batchmean"),
    "divergence of logarithms": lambda: L.KLDivergence(reduction="batchmean", log_target=True),
    "cosine": L.Cosine,
    "cosine of two": lambda: L.Cosine(output="y0", other="y1", margin=0.2),
    "triplet": lambda: L.Triplet(anchor="y0", positive="y1", negative="y2"),
    "triplet swapped": lambda: L.Triplet(0.5, anchor="y0", positive="y1", negative="y2", power=3, swap=True),
    "focal": L.Focal,
    "focal weighted": lambda: L.Focal(1.5, WEIGHT),
    "focal binary": lambda: L.Focal(alpha=0.25, binary=True),
    "dice": lambda: L.Dice(axis=-1),
    "dice binary": lambda: L.Dice(binary=True),
    "ctc": lambda: L.CTC(longest=3),
    "ctc sum": lambda: scaled(L.CTC(longest=3, reduction="sum"), "ctc sum"),
    "distillation": lambda: L.Distillation(
        student(ROWS["distillation"]), L.SoftmaxCrossEntropy(), temperature=3, alpha=0.7
    ),
    "combined": combined,
}
LOGARITHMS = ("likelihood", "likelihood weighted", "divergence", "divergence of the batch", "divergence of logarithms")
EVERY_ROW = pytest.mark.parametrize("name", ROWS)


def labels_of(name: str, rows: slice) -> object:
    labels = part(ROWS[name].labels, rows)
    if name == "divergence of logarithms":
        return np.log(labels)
    return {"y": labels} if name == "ctc sum" else labels


def trainer_of(name: str, **options: str) -> tk.Trainer:
    row = ROWS[name]
    net = with_log_softmax(row) if name in LOGARITHMS else student(row)
    return tk.Trainer(net, loss=OURS[name](), optimizer=tk.optimizers.SGD(RATE), **{"threads": 1, **options})


@pytest.mark.parametrize(
    "backends", [{"backend": "cpu"}, {"backend": "cpu", "loss_backend": "numpy"}], ids=["", "apart"]
)
@EVERY_ROW
def test_every_step_is_that_of_torch(name: str, backends: dict[str, str]) -> None:
    trainer, x = trainer_of(name, **backends), inputs(ROWS[name])
    for parameter, grad in trainer.gradients(x[BATCHES[0]], labels_of(name, BATCHES[0])).items():
        expected = np.asarray(RECORDED[name]["gradients"][parameter]).reshape(grad.shape)
        np.testing.assert_allclose(grad, expected, rtol=2e-4, atol=2e-6, err_msg=parameter)
    losses = [
        trainer.train_minibatch(x[BATCHES[step % 2]], labels_of(name, BATCHES[step % 2]))[0] for step in range(STEPS)
    ]
    np.testing.assert_allclose(losses, RECORDED[name]["losses"], rtol=2e-4, atol=2e-6)
    assert losses[-2] < losses[0], "50 steps on one batch make its loss smaller"


@EVERY_ROW
def test_evaluation_is_that_of_the_first_step(name: str) -> None:
    trainer, x = trainer_of(name), inputs(ROWS[name])
    found = trainer.evaluate([(x[BATCHES[0]], labels_of(name, BATCHES[0]))], metrics={})
    assert found["loss"] == pytest.approx(RECORDED[name]["losses"][0], rel=5e-5)


@EVERY_ROW
def test_the_record_is_what_torch_says_now(name: str) -> None:
    torch = pytest.importorskip("torch", reason="renewing the record needs PyTorch")
    found = record(torch, ROWS[name])
    np.testing.assert_allclose(found["losses"], RECORDED[name]["losses"], rtol=1e-5)
