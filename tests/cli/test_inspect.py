"""``inspect`` tells layers, shapes and parameters, and is right about what can be trained."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from onnx import numpy_helper

import toolkit as tk
from importers import load
from tests.cli.conftest import Cli, classifier
from toolkit.cli.trainability import trainability
from toolkit.operators import REGISTRY


def write(path: Path, text: str, **parameters: np.ndarray) -> Path:
    model = classifier(text)
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in parameters.items())
    path.write_bytes(model.SerializeToString())
    return path


def test_the_tree_has_shapes_and_counts(cli: Cli, model: Path):
    outcome = cli("inspect", model, "--batch-size", "5")
    assert (outcome.status, outcome.err) == (0, "")
    assert "input 'x' float32 (N, 4), batch on axis 0" in outcome.out
    rows = [line.split() for line in outcome.out.splitlines()]
    assert ["Gemm_0", "Gemm-13", "5x8", "40", "40"] in rows
    assert "4 parameter tensors, 67 numbers, 67 of them in tensors that can be trained" in outcome.out


def test_json_holds_the_same(cli: Cli, model: Path):
    found = json.loads(cli("inspect", model, "--json").out)
    assert found["inputs"] == {"x": {"kind": "tensor", "dtype": "float32", "shape": ["N", 4], "batch_axis": 0}}
    assert found["parameters"]["w1"] == {
        "dtype": "float32",
        "shape": [4, 8],
        "trainable": True,
        "through": ["scores"],
        "reason": "",
    }
    assert [row["operator"] for row in found["layers"]] == ["Gemm-13", "Relu-14", "Gemm-13"]
    assert found["layers"][2]["outputs"] == {"scores": [1, 3]}
    assert found["can_run"]
    assert found["problem"] is None


def test_every_way_of_not_being_trainable_has_its_reason(cli: Cli, tmp_path: Path):
    path = write(
        tmp_path / "mixed.onnx",
        "g (float[N, 4] x) => (float[N, 1] picked, float[N, 4] shifted) "
        "{ a = Mul(x, scale) b = ArgMax<axis: int = 1>(a) c = Cast<to: int = 1>(b) picked = Mul(c, factor) "
        "d = Reshape(x, shape) shifted = Add(d, bias) }",
        scale=np.ones(4, np.float32),
        factor=np.ones(1, np.float32),
        bias=np.zeros(4, np.float32),
        unused=np.zeros(2, np.float32),
        shape=np.array([-1, 4]),
    )
    verdicts = json.loads(cli("inspect", path, "--json").out)["parameters"]
    assert [name for name, verdict in verdicts.items() if verdict["trainable"]] == ["factor", "bias"]
    assert verdicts["factor"]["through"] == ["picked"]
    assert verdicts["bias"]["through"] == ["shifted"]
    assert "only through ArgMax 'ArgMax" in verdicts["scale"]["reason"]
    assert "int64 results carry no gradient" in verdicts["scale"]["reason"]
    assert verdicts["unused"]["reason"] == "no output of floating-point numbers depends on it"
    assert "int64 values" in verdicts["shape"]["reason"]
    shown = cli("inspect", path).out
    assert "no: int64 values" in shown
    assert "yes, through picked" not in shown
    assert "yes, through picked" in cli("inspect", path, "--parameters").out


def test_an_operator_without_a_gradient_is_named(tmp_path: Path):
    path = write(
        tmp_path / "walled.onnx",
        "g (float[N, 4] x) => (float[N, 4] y) { a = Mul(x, before) b = com.example.Wall(a) y = Mul(b, after) }",
        before=np.ones(4, np.float32),
        after=np.ones(4, np.float32),
    )
    tk.operator(
        "Wall",
        domain="com.example",
        since=1,
        reference=lambda x: x,
        gradient=tk.not_differentiable("it is a wall"),
        infer=lambda types, attributes, constants: [kind for kind in types if kind is not None],
    )
    try:
        verdicts = trainability(load(path), 2, {})
    finally:
        del REGISTRY["com.example", "Wall"]
    assert verdicts["after"].outputs == ["y"]
    assert not verdicts["before"].can_train
    assert "only through com.example::Wall" in verdicts["before"].reason
    assert verdicts["before"].reason.endswith("which has no gradient: it is a wall")


@pytest.mark.parametrize("name", ["scale", "w1"])
def test_the_verdict_agrees_with_a_training_run(name: str, tmp_path: Path, model: Path):
    text = "g (float[N, 4] x) => (float[N, 3] y) { a = Mul(x, scale) b = Round(a) c = Add(b, x) y = MatMul(c, m) }"
    ones, m = np.ones(4, np.float32), np.ones((4, 3), np.float32)
    path = model if name == "w1" else write(tmp_path / "round.onnx", text, scale=ones, m=m)
    network = load(path)
    verdict = trainability(network, 3, {})[name]
    for parameter in network.parameters.values():
        parameter.requires_grad = parameter.name == name
    trainer = tk.Trainer(network, loss=tk.losses.MeanSquaredError(), optimizer=tk.optimizers.SGD(0.1))
    batch = np.ones((3, 4), np.float32), np.zeros((3, 3), np.float32)
    if verdict.can_train:
        assert trainer.gradients(*batch).keys() == {name}
    else:
        with pytest.raises(tk.NotDifferentiableError, match=r"no gradient|Nothing to train"):
            trainer.gradients(*batch)


def test_open_sizes_are_asked_for(cli: Cli, tmp_path: Path):
    path = write(tmp_path / "open.onnx", "g (float[N, seq] x) => (float[N, seq] y) { y = Relu(x) }")
    assert "Not everything is known: Input 'x' float32 (N, seq): the size of axis 1 is open" in cli("inspect", path).out
    assert "On the command line: --dim NAME=SIZE." in cli("inspect", path).out
    assert "On the command line: --dim NAME=SIZE." in cli("bench", path).complaint
    closed = cli("inspect", path, "--dim", "seq=7")
    assert "Not everything" not in closed.out
    assert "1x7" in closed.out


def test_a_model_that_cannot_run_is_shown_with_all_that_is_missing(cli: Cli, tmp_path: Path):
    text = (
        "g (float[N, 4] x) => (float[N, 4] y) "
        "{ a = com.example.Unknown(x) b = com.example.Other(a) y = com.example.Unknown(b) }"
    )
    outcome = cli("inspect", write(tmp_path / "unknown.onnx", text))
    assert outcome.status == 0
    assert "It cannot be run" in outcome.out
    assert "com.example::Other-1 (1x" in outcome.out
    assert "com.example::Unknown-1 (2x" in outcome.out
