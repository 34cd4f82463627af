"""What the command line lets a training choose about its layers, and what it says about them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from exporters import diff
from tests.cli.conftest import Cli, classifier

ROUNDED = "g (float[N, 4] x) => (float[N, 3] scores) { a = Gemm(x, w1, b1) h = Round(a) scores = Gemm(h, w2, b2) }"
NORMALISED = """g (float[N, 4] x) => (float[N, 3] scores) {
    a = Gemm(x, w1, b1) n = BatchNormalization(a, s, b, m, v) h = Relu(n) scores = Gemm(h, w2, b2)
}"""


def written(path: Path, text: str, *vectors: str) -> Path:
    """The file of a classifier; ``vectors`` are filled with ones."""
    model = classifier(text)
    for name in vectors:
        model.graph.initializer.append(numpy_helper.from_array(np.ones(8, np.float32), name))
    path.write_bytes(model.SerializeToString())
    return path


def changed(one: Path, other: Path) -> set[str]:
    return {change.name for change in diff(one, other)}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], {"w2", "b2"}),
        (["--straight-through"], {"w1", "b1", "w2", "b2"}),
        (["--straight-through", "Round,Floor"], {"w1", "b1", "w2", "b2"}),
    ],
)
def test_rounding_is_trained_through_where_asked_for(
    cli: Cli, data: Path, tmp_path: Path, words: list[str], expected: set[str]
) -> None:
    model, tuned = written(tmp_path / "rounded.onnx", ROUNDED), tmp_path / "tuned.onnx"
    outcome = cli("finetune", model, "--data", data, "--output", tuned, "--epochs", 1, *words)
    assert outcome.status == 0
    assert changed(model, tuned) == expected
    assert ("straight_through='Round' trains through it" in outcome.err) == (not words)


def test_an_unknown_estimator_is_one_line(cli: Cli, model: Path, data: Path, tmp_path: Path) -> None:
    outcome = cli("finetune", model, "--data", data, "--output", tmp_path / "t.onnx", "--straight-through", "Erf")
    assert outcome.status == 1
    assert "straight_through names ['Erf']" in outcome.complaint


@pytest.mark.parametrize("form", [None, "batch", "running"])
def test_batch_statistics_can_be_chosen(cli: Cli, data: Path, tmp_path: Path, form: str | None) -> None:
    model, tuned = written(tmp_path / "normalised.onnx", NORMALISED, "s", "b", "m", "v"), tmp_path / "tuned.onnx"
    words = [] if form is None else ["--batch-statistics", form]
    assert cli("finetune", model, "--data", data, "--output", tuned, "--epochs", 1, *words).status == 0
    assert changed(model, tuned) & {"m", "v"} == ({"m", "v"} if form == "batch" else set())
    assert {"s", "b"} <= changed(model, tuned)


def test_a_folded_normalisation_is_noted(cli: Cli, tmp_path: Path) -> None:
    text = "g (float[N, 2, 5] x) => (float[N, 3, 5] y) { [stem] y = Conv (x, weight, bias) }"
    model = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["": 21]> {text}')
    for name, shape in (("onnx::Conv_7", (3, 2, 1)), ("onnx::Conv_8", (3,))):
        model.graph.initializer.append(numpy_helper.from_array(np.ones(shape, np.float32), name))
    model.graph.node[0].input[1:] = ["onnx::Conv_7", "onnx::Conv_8"]
    path = tmp_path / "folded.onnx"
    path.write_bytes(model.SerializeToString())
    assert "BatchNormalization seems to be folded into 'stem'" in cli("inspect", path).out
    assert json.loads(cli("inspect", path, "--json").out)["folded_normalization"] == ["stem"]
    np.savez(tmp_path / "images.npz", x=np.ones((6, 2, 5), np.float32), y=np.ones((6, 3, 5), np.float32))
    words = ["--data", tmp_path / "images.npz", "--output", tmp_path / "tuned.onnx", "--epochs", 1]
    outcome = cli("finetune", path, *words)
    assert outcome.status == 0
    assert "trained as they are" in outcome.out
    assert changed(path, tmp_path / "tuned.onnx") == {"onnx::Conv_7", "onnx::Conv_8"}
