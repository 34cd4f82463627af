"""``run`` and ``evaluate``: arrays in, outputs and figures out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from tests.cli.conftest import Cli, classifier
from toolkit.cli.arrays import read, write_npz


@pytest.fixture
def expected(model: Path, arrays: dict[str, np.ndarray]) -> np.ndarray:
    scores = onnxruntime.InferenceSession(str(model)).run(["scores"], {"x": arrays["x"]})[0]
    assert isinstance(scores, np.ndarray)
    return scores


@pytest.mark.parametrize("batch_size", [None, 64, 1])
def test_outputs_are_written_by_name(
    cli: Cli, model: Path, tmp_path: Path, arrays: dict[str, np.ndarray], expected: np.ndarray, batch_size: int | None
):
    np.savez(tmp_path / "in.npz", x=arrays["x"])
    batches = ["--batch-size", batch_size] if batch_size else []
    outcome = cli("run", model, "--input", tmp_path / "in.npz", "--output", tmp_path / "out.npz", *batches)
    assert (outcome.status, outcome.err) == (0, "")
    assert "(150, 3)" in outcome.out
    found = np.load(tmp_path / "out.npz")
    assert found.files == ["scores"]
    np.testing.assert_allclose(found["scores"], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("form", ["npy", "x=npy", "csv", "csv with a header"])
def test_inputs_come_in_every_form(
    cli: Cli, model: Path, tmp_path: Path, arrays: dict[str, np.ndarray], expected: np.ndarray, form: str
):
    if "npy" in form:
        source = tmp_path / "in.npy"
        np.save(source, arrays["x"])
    else:
        source = tmp_path / "in.csv"
        np.savetxt(
            source, arrays["x"], delimiter=",", header="a,b,c,d" if "header" in form else "", comments="", fmt="%.9g"
        )
    words = f"x={source}" if form.startswith("x=") else source
    assert cli("run", model, "--input", words, "--output", tmp_path / "out.npz").status == 0
    np.testing.assert_allclose(np.load(tmp_path / "out.npz")["scores"], expected, rtol=1e-5, atol=1e-5)


def test_json_summarises_the_outputs(cli: Cli, model: Path, data: Path, tmp_path: Path, expected: np.ndarray):
    np.save(tmp_path / "in.npy", np.load(data)["x"])
    found = json.loads(cli("run", model, "--input", tmp_path / "in.npy", "--json").out)
    assert found["outputs"]["scores"]["shape"] == [150, 3]
    assert found["outputs"]["scores"]["maximum"] == pytest.approx(float(expected.max()), abs=1e-5)


def test_several_inputs_are_named(cli: Cli, tmp_path: Path):
    path = tmp_path / "two.onnx"
    text = "g (float[N, 2] a, float[N, 2] b) => (float[N, 2] y) { y = Sub(a, b) }"
    path.write_bytes(classifier(text).SerializeToString())
    a, b = np.full((3, 2), 5, np.float32), np.full((3, 2), 2, np.float32)
    np.save(tmp_path / "a.npy", a)
    np.save(tmp_path / "b.npy", b)
    np.savez(tmp_path / "both.npz", b=b, a=a)
    named = [f"--input=a={tmp_path / 'a.npy'}", f"--input=b={tmp_path / 'b.npy'}"]
    for words in (named, ["--input", tmp_path / "both.npz"]):
        assert cli("run", path, *words, "--output", tmp_path / "y.npz").status == 0
        np.testing.assert_array_equal(np.load(tmp_path / "y.npz")["y"], a - b)


def test_evaluate_gives_loss_and_accuracy(
    cli: Cli, model: Path, data: Path, arrays: dict[str, np.ndarray], expected: np.ndarray
):
    found = json.loads(cli("evaluate", model, "--data", data, "--json").out)
    shifted = expected - expected.max(1, keepdims=True)
    log_probability = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    assert found["metrics"]["loss"] == pytest.approx(-log_probability[np.arange(150), arrays["y"]].mean(), rel=1e-5)
    assert found["metrics"]["accuracy"] == pytest.approx(np.mean(expected.argmax(1) == arrays["y"]))
    assert found["items"] == 150
    assert "SoftmaxCrossEntropy on 'scores'" in cli("evaluate", model, "--data", data).out


@pytest.mark.parametrize(
    ("last", "labels", "loss"),
    [
        ("y = Identity(z)", "classes", "SoftmaxCrossEntropy on"),
        ("y = Softmax(z)", "classes", "SoftmaxCrossEntropy of probabilities on"),
        ("s = Softmax(z) y = Identity(s)", "classes", "SoftmaxCrossEntropy of probabilities on"),
        ("y = LogSoftmax(z)", "classes", "NegativeLogLikelihood on"),
        ("y = Identity(z)", "targets", "MeanSquaredError on"),
    ],
)
def test_the_loss_follows_from_the_last_layer_and_the_labels(
    cli: Cli, tmp_path: Path, last: str, labels: str, loss: str
):
    path = tmp_path / "model.onnx"
    path.write_bytes(classifier(f"g (float[N, 3] x) => (float[N, 3] y) {{ z = Neg(x) {last} }}").SerializeToString())
    x = np.random.default_rng(0).standard_normal((6, 3)).astype(np.float32)
    np.savez(tmp_path / "d.npz", x=x, y=np.arange(6) % 3 if labels == "classes" else x * 2)
    outcome = cli("evaluate", path, "--data", tmp_path / "d.npz")
    assert outcome.status == 0, outcome.err
    assert loss in outcome.out


def test_a_csv_column_holds_the_labels(
    cli: Cli, model: Path, data: Path, tmp_path: Path, arrays: dict[str, np.ndarray]
):
    table = np.column_stack([arrays["x"][:, :2], arrays["y"], arrays["x"][:, 2:]])
    np.savetxt(tmp_path / "d.csv", table, delimiter=",", header="a,b,species,c,d", comments="", fmt="%.9g")
    from_csv = json.loads(cli("evaluate", model, "--data", tmp_path / "d.csv", "--y", "species", "--json").out)
    from_npz = json.loads(cli("evaluate", model, "--data", data, "--json").out)
    assert from_csv["metrics"] == pytest.approx(from_npz["metrics"])


def test_written_archives_hold_text_and_odd_names(tmp_path: Path):
    path = tmp_path / "out.npz"
    write_npz(str(path), {"file": np.arange(3), "a/b": np.array(["x", "longer"], object)})
    found = read(str(path))
    assert isinstance(found, dict)
    assert found["file"].tolist() == [0, 1, 2]
    assert found["a/b"].tolist() == ["x", "longer"]
    assert [item.name for item in tmp_path.iterdir()] == ["out.npz"]
