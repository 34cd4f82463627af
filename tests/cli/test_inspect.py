"""``inspect`` tells layers, shapes and parameters, and is right about what can be trained."""

from __future__ import annotations

import json
from collections.abc import Iterator
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
        "missing": "",
        "role": "",
    }
    assert [row["operator"] for row in found["layers"]] == ["Gemm-13", "Relu-14", "Gemm-13"]
    assert found["layers"][2]["outputs"] == {"scores": [1, 3]}
    assert found["can_run"]
    assert found["problem"] is None


def test_every_way_of_not_being_trainable_has_its_reason(cli: Cli, tmp_path: Path):
    path = write(
        tmp_path / "mixed.onnx",
        "g (float[N, 4] x) => (float[N, 4] picked, float[N, 4] shifted) "
        "{ a = Mul(x, scale) b = ArgMax<axis: int = 1>(a) c = Cast<to: int = 1>(b) s = Pow(c, exponent) "
        "picked = Mul(s, factor) d = Reshape(x, shape) shifted = Add(d, bias) }",
        scale=np.ones(4, np.float32),
        exponent=np.asarray(2, np.float32),
        factor=np.ones(4, np.float32),
        bias=np.zeros(4, np.float32),
        unused=np.zeros(2, np.float32),
        shape=np.array([-1, 4]),
    )
    verdicts = json.loads(cli("inspect", path, "--json").out)["parameters"]
    assert [name for name, verdict in verdicts.items() if verdict["trainable"]] == ["factor", "bias"]
    assert verdicts["factor"]["through"] == ["picked"]
    assert verdicts["bias"]["through"] == ["shifted"]
    assert "every way to the result leads through ArgMax 'ArgMax_1'" in verdicts["scale"]["reason"]
    assert "its result is positions" in verdicts["scale"]["reason"]
    assert verdicts["exponent"]["reason"] == "frozen: it is the exponent in Pow 'Pow_3'"
    assert verdicts["exponent"]["role"] == "the exponent in Pow 'Pow_3'"
    assert verdicts["unused"]["reason"] == "no output of floating-point numbers depends on it"
    assert "int64 values" in verdicts["shape"]["reason"]
    shown = cli("inspect", path).out
    assert "no: int64 values" in shown
    assert "yes, through picked" not in shown
    assert "yes, through picked" in cli("inspect", path, "--parameters").out


@pytest.fixture
def wall() -> Iterator[None]:
    """An operator without a gradient."""
    tk.operator(
        "Wall",
        domain="com.example",
        since=1,
        reference=lambda x: x,
        gradient=tk.not_differentiable("it is a wall"),
        infer=lambda types, attributes, constants: [kind for kind in types if kind is not None],
    )
    yield
    del REGISTRY["com.example", "Wall"]


def walled(path: Path) -> Path:
    ones = {name: np.ones(4, np.float32) for name in ("before", "after", "side")}
    return write(
        path,
        "g (float[N, 4] x) => (float[N, 4] y, float[N, 4] z) { n = Neg(x) a = Mul(n, before) b = com.example.Wall(a) "
        "y = Mul(b, after) c = Mul(n, side) d = Shape(c) e = com.example.Wall(c) f = Reshape(e, d) z = Add(c, f) }",
        **ones,
    )


def test_an_operator_without_a_gradient_is_named(wall: None, tmp_path: Path):
    verdicts = trainability(load(walled(tmp_path / "walled.onnx")), 2, {}).parameters
    assert verdicts["after"].outputs == ["y"]
    assert not verdicts["before"].can_train
    assert verdicts["before"].reason == (
        "no gradient, because every way to the result leads through com.example::Wall 'Wall_2' (it is a wall)"
    )
    assert verdicts["side"].outputs == ["z"]
    assert "a part of the gradient is missing, the one through com.example::Wall 'Wall_6'" in verdicts["side"].missing


def test_every_layer_says_what_training_does_with_it(wall: None, cli: Cli, tmp_path: Path):
    path = walled(tmp_path / "walled.onnx")
    found = json.loads(cli("inspect", path, "--train", "--json").out)
    assert {row["name"]: (row["training"], row["why"]) for row in found["layers"]} == {
        "Neg_0": ("frozen", "nothing before it gets a gradient"),
        "Mul_1": ("blocked", "every way to the output leads through com.example::Wall 'Wall_2' (it is a wall)"),
        "Wall_2": ("blocked", "it is a wall"),
        "Mul_3": ("differentiable", ""),
        "Mul_4": ("differentiable", ""),
        "Shape_5": ("constant", "it is computed once, from sizes and what the file holds"),
        "Wall_6": ("blocked", "it is a wall"),
        "Reshape_7": ("merged", "an equal layer does its work, or there is none to do"),
        "Add_8": ("differentiable", ""),
    }
    shown = cli("inspect", path, "--train").out
    assert [line.split()[0] for line in shown.splitlines() if " blocked " in line] == ["Mul_1", "Wall_2", "Wall_6"]
    assert [line.split()[0] for line in shown.splitlines() if " frozen " in line] == ["Neg_0"]
    assert "yes, through z, but a part of the gradient is missing" in shown.replace("\n", "")
    assert "training" not in cli("inspect", path).out.split("\n\n")[0]


def test_one_output_may_be_judged(wall: None, cli: Cli, tmp_path: Path):
    path = walled(tmp_path / "walled.onnx")
    found = json.loads(cli("inspect", path, "--train", "z", "--json").out)
    states = {row["name"]: row["training"] for row in found["layers"]}
    assert (states["Mul_3"], states["Mul_4"]) == ("unused", "differentiable")
    assert found["parameters"]["after"]["reason"] == "no output of floating-point numbers depends on it"
    outcome = cli("inspect", path, "--train", "w")
    assert outcome.status == 1
    assert "--train w: the network has no such output; its outputs are ['y', 'z']" in outcome.complaint


def test_frozen_layers_say_what_is_frozen(tmp_path: Path):
    path = write(
        tmp_path / "frozen.onnx",
        "g (float[N, 4] x) => (float[N, 4] y) { a = Pow(x, two) b = Mul(a, first) c = Floor(b) d = Mul(x, second) "
        "e = Add(c, d) y = Abs(e) }",
        two=np.asarray(2, np.float32),
        first=np.ones(4, np.float32),
        second=np.ones(4, np.float32),
    )
    network = load(path)
    network.select("second").freeze()
    found = trainability(network, 2, {})
    assert found.layer("Pow_0").reason == "'two' is the exponent in Pow 'Pow_0'; nothing before it gets a gradient"
    assert found.layer("Mul_3").reason == "'second' is frozen; nothing before it gets a gradient"
    assert found.layer("Floor_2").state == "no gradient"
    assert found.layer("Mul_1").state == "no gradient"
    assert "leads through Floor 'Floor_2' (it is constant between its steps" in found.layer("Mul_1").reason
    assert found.layer("Abs_5").reason == "nothing before it gets a gradient"
    assert not any(verdict.can_train for verdict in found.parameters.values())
    assert found.parameters["second"].reason == "frozen"


def test_an_output_that_only_data_tells_does_not_hide_the_others(cli: Cli, tmp_path: Path):
    path = write(
        tmp_path / "two.onnx",
        "g (float[N, 4] x) => (float[N, 4] y, int64[2, M] z) { y = Mul(x, w) z = NonZero(y) }",
        w=np.ones(4, np.float32),
    )
    found = json.loads(cli("inspect", path, "--train", "--json").out)
    assert found["parameters"]["w"]["through"] == ["y"]
    assert list(found["outputs_that_cannot_be_judged"]) == ["z"]
    assert "Output 'z' cannot be judged: NonZero" in cli("inspect", path).out


@pytest.mark.parametrize("name", ["scale", "w1"])
def test_the_verdict_agrees_with_a_training_run(name: str, tmp_path: Path, model: Path):
    text = "g (float[N, 4] x) => (float[N, 3] y) { a = Mul(x, scale) b = Round(a) c = Add(b, x) y = MatMul(c, m) }"
    ones, m = np.ones(4, np.float32), np.ones((4, 3), np.float32)
    path = model if name == "w1" else write(tmp_path / "round.onnx", text, scale=ones, m=m)
    network = load(path)
    verdict = trainability(network, 3, {}).parameters[name]
    for parameter in network.parameters.values():
        parameter.requires_grad = parameter.name == name
    trainer = tk.Trainer(network, loss=tk.losses.MeanSquaredError(), optimizer=tk.optimizers.SGD(0.1))
    batch = np.ones((3, 4), np.float32), np.zeros((3, 3), np.float32)
    if verdict.can_train:
        assert trainer.gradients(*batch).keys() == {name}
    else:
        with pytest.raises(tk.NotDifferentiableError, match="Nothing to train"):
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
