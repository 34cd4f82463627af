"""``finetune`` makes the file better, changes only what it may, and ends well when it is interrupted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from exporters import diff
from importers import load
from tests.cli.conftest import Cli

ROOT = Path(__file__).resolve().parents[2]


def changes(one: Path, other: Path) -> list[str]:
    return [str(change) for change in diff(one, other)]


def test_the_file_gets_better_and_differs_in_weights_only(cli: Cli, model: Path, data: Path, tmp_path: Path):
    tuned = tmp_path / "tuned.onnx"
    words = ["--validation", "0.2", "--epochs", "15", "--lr", "0.02", "--batch-size", "16"]
    outcome = cli("finetune", model, "--data", data, "--output", tuned, *words)
    assert (outcome.status, outcome.err) == (0, "")
    assert "120 items to train on, SoftmaxCrossEntropy on 'scores', Adam(0.02" in outcome.out
    assert "judged on 30 items, held out" in outcome.out
    assert f"written to {tuned}: 4 initializers differ from the original, nothing else does" in outcome.out
    assert changes(model, tuned) == [f"initializer '{name}': values" for name in ("w1", "b1", "w2", "b2")]
    arrays = np.load(data)
    before, after = (
        np.mean(onnxruntime.InferenceSession(str(path)).run(None, {"x": arrays["x"]})[0].argmax(1) == arrays["y"])
        for path in (model, tuned)
    )
    assert after > 0.95 > before


def test_json_tells_before_and_after(cli: Cli, model: Path, data: Path, tmp_path: Path):
    words = ["--data", data, "--validation", data, "--output", tmp_path / "t.onnx", "--lr", "0.02", "--json"]
    found = json.loads(cli("finetune", model, *words).out)
    assert found["after"]["loss"] < found["before"]["loss"]
    assert found["after"]["loss"] == pytest.approx(found["epochs"][found["best_epoch"] - 1]["validation"]["loss"])
    assert [epoch["number"] for epoch in found["epochs"]] == [1, 2, 3]
    assert not found["interrupted"]


def test_the_seed_decides_everything(cli: Cli, model: Path, data: Path, tmp_path: Path):
    files = [tmp_path / name for name in ("a.onnx", "b.onnx", "c.onnx")]
    for path, seed in zip(files, (1, 1, 2), strict=True):
        words = ["--data", data, "--output", path, "--seed", seed, "--validation", "0.3", "--threads", "1"]
        assert cli("finetune", model, *words).status == 0
    assert files[0].read_bytes() == files[1].read_bytes()
    assert files[0].read_bytes() != files[2].read_bytes()


@pytest.mark.parametrize(
    ("choice", "trained"),
    [
        (["--freeze", "w1", "--freeze", "b1"], ["w2", "b2"]),
        (["--train", "w*"], ["w1", "w2"]),
        (["--train", "w*", "--freeze", "w1"], ["w2"]),
    ],
)
def test_only_what_may_learn_changes(
    cli: Cli, model: Path, data: Path, tmp_path: Path, choice: list[str], trained: list[str]
):
    tuned = tmp_path / "tuned.onnx"
    assert cli("finetune", model, "--data", data, "--output", tuned, *choice).status == 0
    assert changes(model, tuned) == [f"initializer '{name}': values" for name in trained]


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_every_optimizer_learns(cli: Cli, model: Path, data: Path, tmp_path: Path, optimizer: str):
    words = ["--data", data, "--output", tmp_path / "t.onnx", "--optimizer", optimizer, "--lr", "0.02", "--json"]
    found = json.loads(cli("finetune", model, *words, "--weight-decay", "0.001").out)
    assert found["optimizer"].lower().startswith(optimizer + "(0.02")
    assert found["after"]["loss"] < found["before"]["loss"]


@pytest.mark.parametrize("words", [["1000000"], ["*"], ["Gemm*", "--rematerialise", "*"], ["none"]])
def test_rematerialisation_changes_nothing(cli: Cli, model: Path, data: Path, tmp_path: Path, words: list[str]):
    files = [tmp_path / name for name in ("plain.onnx", "again.onnx")]
    for path, more in zip(files, ([], ["--rematerialise", *words]), strict=True):
        assert cli("finetune", model, "--data", data, "--output", path, "--threads", "1", *more).status == 0
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize("budget", ["10", "0.01"])
def test_a_rematerialisation_out_of_reach_is_told(cli: Cli, model: Path, data: Path, tmp_path: Path, budget: str):
    outcome = cli("finetune", model, "--data", data, "--output", tmp_path / "t.onnx", "--rematerialise", budget)
    assert outcome.status == 1
    assert f"rematerialise={budget}: a step takes" in outcome.err


def test_a_schedule_moves_the_rate(cli: Cli, model: Path, data: Path, tmp_path: Path):
    losses = {}
    for schedule in ("constant", "one_cycle"):
        words = ["--data", data, "--output", tmp_path / f"{schedule}.onnx", "--schedule", schedule, "--json"]
        found = json.loads(cli("finetune", model, *words).out)
        losses[schedule] = [epoch["training"]["loss"] for epoch in found["epochs"]]
        assert losses[schedule][-1] < losses[schedule][0]
    assert losses["constant"] != losses["one_cycle"]


def test_the_model_may_be_replaced_in_place(cli: Cli, model: Path, data: Path):
    before = model.read_bytes()
    outcome = cli("finetune", model, "--data", data, "--output", model)
    assert outcome.status == 0
    assert model.read_bytes() != before
    assert "4 initializers differ" in outcome.out


@pytest.mark.parametrize("cause", ["a huge learning rate", "NaN in the data"])
def test_a_loss_that_is_not_finite_stops_with_step_and_layer(
    cli: Cli, model: Path, data: Path, tmp_path: Path, cause: str
):
    words = ["--output", tmp_path / "tuned.onnx"]
    if cause == "NaN in the data":
        arrays = dict(np.load(data))
        arrays["x"][70, 2] = np.nan
        np.savez(data, allow_pickle=False, **arrays)
        words += ["--batch-size", "150"]
    else:
        words += ["--lr", "1e30", "--optimizer", "sgd", "--epochs", "9"]
    outcome = cli("finetune", model, "--data", data, *words)
    assert outcome.status == 1
    assert "Step " in outcome.complaint
    assert "'Gemm" in outcome.complaint
    assert "learning rate" in outcome.complaint
    assert not (tmp_path / "tuned.onnx").exists()


@pytest.mark.skipif(os.name != "posix", reason="SIGINT is sent as on a POSIX terminal")
def test_ctrl_c_keeps_the_best_weights_and_says_where(cli: Cli, model: Path, data: Path, tmp_path: Path):
    tuned = tmp_path / "tuned.onnx"
    words = ["finetune", model, "--data", data, "--validation", data, "--output", tuned, "--epochs", 10**6]
    process = subprocess.Popen(
        [sys.executable, "-m", "toolkit", *map(str, words), "--lr", "0.01"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        assert process.stdout is not None
        assert "items to train on" in process.stdout.readline()
        time.sleep(3)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 1
    lines = err.splitlines()
    assert len(lines) == 1, err
    assert "Interrupted in epoch" in lines[0]
    assert "kept the weights of epoch" in lines[0]
    assert lines[0].endswith(f"written to {tuned}.")
    assert changes(model, tuned) == [f"initializer '{name}': values" for name in ("w1", "b1", "w2", "b2")]
    figures = [json.loads(cli("evaluate", path, "--data", data, "--json").out)["metrics"] for path in (model, tuned)]
    assert figures[1]["loss"] < figures[0]["loss"]
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_frozen_weights_are_the_very_same(cli: Cli, model: Path, data: Path, tmp_path: Path):
    tuned = tmp_path / "tuned.onnx"
    cli("finetune", model, "--data", data, "--output", tuned, "--freeze", "w1")
    assert load(tuned).parameters["w1"].array.tobytes() == load(model).parameters["w1"].array.tobytes()
