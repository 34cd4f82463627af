"""Losses beyond one output and one array of labels: combined, of the model itself, of a teacher, of one's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import toolkit as tk
from tests.support.exported import ExportedStep
from tests.support.models import network
from tests.training.small import classifier, clusters
from toolkit.errors import GraphError, InputError, ShapeError, TrainingError
from toolkit.graph import Network

L = tk.losses
X, Y = clusters(20)
Z = np.random.default_rng(4).standard_normal((20, 2)).astype(np.float32)
FLOAT = np.dtype(np.float32)


def two_headed() -> Network:
    return network(
        "net (float[N, 6] x) => (float[N, 3] a, float[N, 2] b) { a = MatMul (x, w1)\n b = MatMul (x, w2) }",
        w1=(6, 3),
        w2=(6, 2),
    )


def with_loss() -> Network:
    return network(
        """net (float[N, 6] x, float[N, 2] t) => (float[N, 2] y, float loss) {
            y = MatMul (x, w)
            d = Sub (y, t)
            s = Mul (d, d)
            loss = ReduceMean <keepdims = 0> (s)
        }""",
        w=(6, 2),
    )


NO_EXPRESSION: Any = 1.0


def trainer(net: Network, loss: tk.losses.Loss, rate: float = 0.05) -> tk.Trainer:
    return tk.Trainer(net, loss=loss, optimizer=tk.optimizers.SGD(rate), threads=1)


def both(**options: Any) -> tk.losses.Combined:
    return L.Combined(
        {"kind": L.SoftmaxCrossEntropy(output="a", ignore_index=-1), "place": L.MeanSquaredError(output="b")}, **options
    )


class TestCombined:
    def test_terms_are_means_of_their_own_over_batches(self):
        made = trainer(two_headed(), both(weights={"place": 0.25}))
        kinds = np.where(np.arange(20) < 5, -1, Y)
        batches = [(X[rows], {"kind": kinds[rows], "place": Z[rows]}) for rows in (slice(0, 6), slice(6, 20))]
        found = made.evaluate(batches)
        y = made.network.run(X)
        log = y["a"] - np.log(np.exp(y["a"]).sum(1, keepdims=True))
        kind, place = -log[np.arange(5, 20), Y[5:]].mean(), ((y["b"] - Z) ** 2).mean()
        assert found["loss.kind"] == pytest.approx(kind, rel=1e-5)
        assert found["loss.place"] == pytest.approx(place, rel=1e-5)
        assert found["loss"] == pytest.approx(kind + 0.25 * place, rel=1e-5)
        assert found["kind.accuracy"] == pytest.approx((y["a"].argmax(1) == Y)[5:].mean())
        history = made.fit(batches, 3, progress=False, metrics={"place.r2": tk.metrics.R2()})
        assert history["loss"][-1] < history["loss"][0]
        assert {"loss.kind", "loss.place", "place.r2"} <= set(history.epochs[0].training)

    def test_losses_may_share_labels(self):
        loss = L.Combined({"a": L.L1(), "b": L.MeanSquaredError()}, labels={"a": "y", "b": "y"})
        net = network("net (float[N, 6] x) => (float[N, 2] y) { y = MatMul (x, w) }", w=(6, 2))
        made = trainer(net, loss)
        whole, _ = made.train_minibatch(X, Z)
        assert made.terms["a"] + made.terms["b"] == pytest.approx(whole, rel=1e-6)
        again = L.Combined({"outer": loss}, labels={"outer": "outer"})
        assert trainer(
            network("net (float[N, 6] x) => (float[N, 2] y) { y = MatMul (x, w) }", w=(6, 2)), again
        ).evaluate([(X, {"outer": {"y": Z}})])["loss.outer.a"] == pytest.approx(made.terms["a"], rel=1e-5)

    @pytest.mark.parametrize(
        ("what", "message"),
        [
            (lambda: L.Combined({}), "Combined requires losses"),
            (lambda: both(weights={"other": 1}), r"weights \['other'\]"),
            (lambda: both(weights={"kind": -1}), r"weights\['kind'\] requires a number in \[0, inf\]"),
            (lambda: trainer(two_headed(), both()).train_minibatch(X, Y), r"labels as a dict by the names"),
            (lambda: trainer(two_headed(), both()).train_minibatch(X, {"kin": Y}), r"got \['kin'\] besides"),
            (
                lambda: trainer(two_headed(), both()).train_minibatch(X, {"kind": Y}),
                r"MeanSquaredError.* requires labels",
            ),
        ],
    )
    def test_what_does_not_fit_is_named(self, what: Callable[[], Any], message: str) -> None:
        with pytest.raises((TrainingError, InputError), match=message):
            what()

    def test_its_step_is_exported(self):
        net, loss = two_headed(), both(weights={"place": 0.25})
        step = tk.training_network(net, loss=loss, batch_size=20)
        assert {"labels.kind", "labels.place"} <= set(step.inputs)
        found = ExportedStep(step).run({"x": X, "labels.kind": Y, "labels.place": Z})
        made = trainer(net, loss)
        for name, grad in made.gradients(X, {"kind": Y, "place": Z}).items():
            np.testing.assert_allclose(found[f"{name}.gradient"], grad, rtol=1e-4, atol=1e-6)
        value, _ = made.train_minibatch(X, {"kind": Y, "place": Z})
        assert found["loss"] == pytest.approx(value, rel=1e-5)
        assert found["loss.place"] == pytest.approx(made.terms["place"], rel=1e-5)


class TestModelOutput:
    @pytest.mark.parametrize(
        ("loss", "batch"),
        [
            (L.ModelOutput("loss"), ({"x": X, "t": Z}, None)),
            (L.ModelOutput("loss", inputs="t"), (X, Z)),
            (L.ModelOutput("loss", inputs=["t"]), ({"x": X}, {"t": Z})),
        ],
    )
    def test_the_loss_of_the_network_is_trained(self, loss: tk.losses.Loss, batch: Any) -> None:
        made, other = trainer(with_loss(), loss), trainer(with_loss(), L.MeanSquaredError(output="y"))
        for _ in range(3):
            expected, _ = other.train_minibatch({"x": X, "t": Z}, Z)
            value, outputs = made.train_minibatch(*batch)
            assert value == pytest.approx(expected, rel=1e-5)
            assert outputs["loss"] == pytest.approx(value)
        assert made.evaluate([batch])["loss"] == pytest.approx(
            other.evaluate([({"x": X, "t": Z}, Z)])["loss"], rel=1e-5
        )

    def test_its_step_is_exported(self):
        step = tk.training_network(with_loss(), loss=L.ModelOutput("loss"), batch_size=20)
        found = ExportedStep(step).run({"x": X, "t": Z})
        grads = trainer(with_loss(), L.ModelOutput("loss")).gradients({"x": X, "t": Z}, None)
        np.testing.assert_allclose(found["w.gradient"], grads["w"], rtol=1e-4, atol=1e-6)

    @pytest.mark.parametrize(
        ("loss", "batch", "message"),
        [
            (L.ModelOutput("loss"), (X, Z), "the network computes its loss, and got labels"),
            (L.ModelOutput("loss", inputs="u"), (X, Z), r"feed the inputs \['u'\]"),
            (L.ModelOutput("loss", inputs="t"), (X, {"u": Z}), r"requires labels as a dict by the names \['t'\]"),
        ],
    )
    def test_what_does_not_fit_is_named(self, loss: tk.losses.Loss, batch: Any, message: str) -> None:
        with pytest.raises(InputError, match=message):
            trainer(with_loss(), loss).train_minibatch(*batch)


class TestDistillation:
    def test_a_student_becomes_its_teacher(self):
        teacher, student = classifier(seed=1), classifier(seed=2)
        before = {name: item.array.copy() for name, item in teacher.parameters.items()}
        made = tk.Trainer(student, loss=L.Distillation(teacher, temperature=2), optimizer=tk.optimizers.Adam(0.02))
        history = made.fit([(X, None)], 60, progress=False)
        assert history["loss.teacher"][-1] < 0.05 * history["loss.teacher"][0]
        assert all(np.array_equal(item, teacher.parameters[name].array) for name, item in before.items())

    def test_the_teacher_is_asked_on_the_batch(self):
        teacher, loss = classifier(seed=1), L.Distillation(classifier(seed=1), L.SoftmaxCrossEntropy(), alpha=0.3)
        made = trainer(classifier(seed=2), loss)
        _, accepted = made.accept(X, Y)
        np.testing.assert_allclose(accepted["labels.teacher"], teacher.run(X)["y"], rtol=1e-5)
        value, _ = made.train_minibatch(X, Y)
        assert value == pytest.approx(0.3 * made.terms["teacher"] + 0.7 * made.terms["labels"], rel=1e-5)
        assert "accuracy" in made.evaluate((X, Y))

    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (lambda: L.Distillation("teacher.onnx"), "requires a Network as teacher"),
            (
                lambda: trainer(classifier(), L.Distillation(classifier(classes=4))).train_minibatch(X, None),
                "teacher gives",
            ),
            (
                lambda: trainer(classifier(), L.Distillation(with_loss(), teacher_output="y")).train_minibatch(X, None),
                r"the network has no \['t'\]",
            ),
        ],
    )
    def test_what_does_not_fit_is_named(self, make: Callable[[], Any], message: str) -> None:
        with pytest.raises((TrainingError, InputError, GraphError), match=message):
            make()


class TestOnesOwn:
    def test_a_function_and_both_subclasses_agree(self):
        class Elements(L.TargetLoss):
            def elements(self, output, target):
                return tk.emit("Log", tk.emit("Cosh", output - target))

        class Whole(L.OutputLoss):
            def labels(self, dtype, shape):
                return FLOAT, shape

            def accept(self, labels, dtype, shape):
                return np.asarray(labels, np.float32).reshape(shape)

            def build(self, output, labels):
                return tk.emit("ReduceMean", tk.emit("Log", tk.emit("Cosh", output - labels)), keepdims=0)

        def log_cosh(output, target):
            return tk.emit("Log", tk.emit("Cosh", output - target))

        y = classifier(classes=2).run(X)["y"]
        expected = np.log(np.cosh(y.astype(np.float64) - Z)).mean()
        grads = []
        for loss in (Elements(), Whole(), L.Custom(log_cosh), L.Custom(log_cosh, lambda dtype, shape: (FLOAT, shape))):
            made = trainer(classifier(classes=2), loss)
            assert made.evaluate((X, Z), batch_size=7)["loss"] == pytest.approx(expected, rel=1e-5)
            grads.append(made.gradients(X, Z)["linear1/weight"])
        for grad in grads[1:]:
            np.testing.assert_allclose(grad, grads[0], rtol=1e-4, atol=1e-7)

    def test_a_function_of_classes(self):
        def picked(output, labels):
            return -tk.emit("GatherElements", output, tk.emit("Unsqueeze", labels, np.array([1])), axis=1)

        made = trainer(classifier(), L.Custom(picked, "classes"))
        found = made.evaluate((X, Y))
        assert found["loss"] == pytest.approx(-classifier().run(X)["y"][np.arange(20), Y].mean(), rel=1e-5)
        assert "accuracy" in found

    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (lambda: L.Custom(3), "Custom requires a function"),
            (
                lambda: trainer(classifier(), L.Custom(lambda y, t: NO_EXPRESSION)).train_minibatch(
                    X, np.zeros((20, 3))
                ),
                "must return an",
            ),
            (
                lambda: L.Custom(max, lambda dtype, shape: (np.dtype(np.int64), shape)).accept([0.5], FLOAT, (1,)),
                "labels must be int64",
            ),
        ],
    )
    def test_what_does_not_fit_is_named(self, make: Callable[[], Any], message: str) -> None:
        with pytest.raises((TrainingError, ShapeError), match=message):
            make()


def test_batch_hard_triplets():
    y, classes = np.random.default_rng(0).standard_normal((8, 3)).astype(np.float32), np.array([0, 0, 1, 1, 1, 2, 0, 3])
    net = network("net (float[N, 3] x) => (float[N, 3] y) { y = MatMul (x, w) }", w=(3, 3))
    net.parameters["w"].assign(np.eye(3, dtype=np.float32))
    distance = np.sqrt(((y[:, None] - y[None] + 1e-6) ** 2).sum(-1))
    alike = classes[:, None] == classes
    costs = [
        max(0.0, 1 + distance[i][alike[i] & (np.arange(8) != i)].max() - distance[i][~alike[i]].min())
        for i in range(8)
        if alike[i].sum() > 1
    ]
    made = trainer(net, L.Triplet())
    assert made.evaluate([(y, classes)])["loss"] == pytest.approx(np.mean(costs), rel=1e-5)
    assert L.Triplet().counts(classes, 8) == {"": 6}
    value, _ = made.train_minibatch(y[:3], np.array([0, 1, 2]))
    assert value == 0, "no class occurs twice"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: L.SoftmaxCrossEntropy(weight=[1, -1]), "weight requires a vector"),
        (lambda: L.SoftmaxCrossEntropy(weight=[1, 1]).labels(FLOAT, (2, 3)), "one number for each of the 3 classes"),
        (lambda: L.SoftmaxCrossEntropy(reduction="none"), "reduction requires one of"),
        (lambda: L.SoftmaxCrossEntropy(label_smoothing=2), r"label_smoothing requires a number in \[0, 1\]"),
        (lambda: L.SoftmaxCrossEntropy().accepted(None, {"y": (FLOAT, (2, 3))}, {}), "requires labels, got none"),
        (lambda: L.BinaryCrossEntropy(pos_weight=[1, 2]).labels(FLOAT, (2, 3)), "pos_weight requires a shape"),
        (lambda: L.BinaryCrossEntropy().accept([[2.0]], FLOAT, (1, 1)), r"must lie in \[0, 1\], got 2"),
        (lambda: L.Hinge(binary=True).accept([[2.0]], FLOAT, (1, 1)), "must be -1 and 1, or 0 and 1, got 2"),
        (lambda: L.Huber(0), "delta requires a number"),
        (lambda: L.KLDivergence(of="logits", axis=3).labels(FLOAT, (2, 3)), "axis=3 is none"),
        (lambda: L.Cosine(axis=0).label_types({"y": (FLOAT, (2, 3))}), "features on axis 0"),
        (lambda: L.Cosine(other="b").label_types({"a": (FLOAT, (2, 3)), "b": (FLOAT, (2, 4))}), "equal shapes"),
        (lambda: L.Triplet(anchor="a"), "requires all of anchor, positive and negative"),
        (lambda: L.Triplet().label_types({"y": (FLOAT, (2, 3, 4))}), r"requires an output \(batch, features\)"),
        (
            lambda: L.Triplet(anchor="a", positive="b", negative="c").accepted(Y, {}, {}),
            "of three outputs has no labels",
        ),
        (lambda: L.CTC(blank="-"), "CTC requires a class number as blank"),
        (lambda: L.CTC().label_types({"y": (FLOAT, (2, 3))}), r"requires an output \(batch, steps, classes\)"),
        (lambda: L.CTC(blank=5).label_types({"y": (FLOAT, (1, 4, 3))}), "blank=5 is none"),
    ],
)
def test_what_no_loss_can_judge_is_named(make: Callable[[], Any], message: str) -> None:
    with pytest.raises((TrainingError, InputError, ShapeError), match=message):
        make()


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (None, "requires labels, or a dict"),
        ({"labels": [[1]], "length": 3}, r"got the names \['length'\]"),
        ([[1], [2]], "there are 1 items of 4 steps, got 2 targets"),
        ({"labels": [[1]], "input_lengths": np.array([5])}, "input_lengths up to 5"),
        ({"labels": [[1]], "target_lengths": [1.5]}, "target_lengths must be integers"),
        ([[1, 2, 1, 2, 1]], "has 5 symbols of 5 given, where 4 fit"),
        ([[1, 3]], r"must be class numbers in \[0, 2\]"),
        ([[1, -1, 2]], "goes on behind a blank or a negative number"),
        ({"labels": [[1, 0]], "target_lengths": [2]}, "holds the blank 0"),
    ],
)
def test_what_is_no_sequence_is_named(labels: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        L.CTC().accepted(labels, {"y": (FLOAT, (1, 4, 3))}, {})
