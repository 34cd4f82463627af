"""The script for a day with a GPU works: tried on the processor, with a few rows and a network of one layer."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from exporters import save
from tests.cuda import on_device, race
from tests.cuda.sanitizer import FOUND, sanitized
from toolkit import layers

MODELS = Path(__file__).parents[3] / "shared" / "assets" / "models"


def test_it_writes_what_it_has_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(layers.Sequential([layers.Linear(2)]).network((3,)), tmp_path / "line.onnx")
    monkeypatch.setattr(on_device, "LEAST_SECONDS", 1e-3)
    options = ["--backend", "cpu", "--limit", "200", "--output", str(tmp_path), "--timed", str(tmp_path / "line.onnx")]
    monkeypatch.setattr(sys, "argv", ["on_device", *options])
    on_device.main()
    found = json.loads(next(tmp_path.glob("cpu-*.json")).read_text())
    assert found["case rows"]["failed"] == {}
    assert found["case rows"]["agree"] > 5
    assert all(max(row.values()) < 1e-5 for row in found["gradients"].values())
    assert len(found["gradients"]["LSTM"]) == 4
    assert found["times"]["line"]["batch 8, float32"]["median"] > 0


@pytest.mark.skipif(not MODELS.exists(), reason="needs the assets beside the repository (../shared/assets)")
def test_models_are_compared_by_precision_and_in_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_device, "PRECISIONS", ("float32", "mixed"))
    for name in ("mnist_mlp_onnxmlir", "rf_iris"):
        values = on_device._values("cpu", MODELS / name)
        assert max(item for item in values["float32"].values() if isinstance(item, float)) < 1e-4
        assert values.keys() == {"float32", "mixed"}
    learned = on_device._training("cpu", MODELS / "mnist_mlp_onnxmlir")
    assert learned["gradients"] < 1e-4
    assert learned["losses"] < 1e-4
    assert "nothing" in on_device._training("cpu", MODELS / "rf_iris")


def test_what_the_sanitizer_finds_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "not on PATH" in sanitized(["--limit", "1"])["failed"]
    program = tmp_path / "compute-sanitizer"
    said = "========= ERROR SUMMARY: 1 error"
    program.write_text(f"#!{sys.executable}\nprint({said!r})\nraise SystemExit({FOUND})\n")
    program.chmod(0o755)
    found = sanitized(["--limit", "1"], ("memcheck",))
    assert found == {"memcheck": {"clean": False, "status": FOUND, "report": [said]}}


def test_engines_take_turns_in_processes_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(race, "LEAST_SECONDS", 1e-3)
    save(layers.Sequential([layers.Linear(3)]).network((8,)), tmp_path / "tiny.onnx")
    np.savez(tmp_path / "tiny_2.npz", input=np.ones((2, 8), np.float32))
    specification = {"model": "tiny", "is_training": False, "batch": 2, "precision": "float32", "device": "cpu"}
    pythons = {"ours": sys.executable, "torch": sys.executable}
    found = race.heat({**specification, "folder": str(tmp_path)}, ["ours", "torch.graphs"], pythons)
    assert found["ours"]["median"] > 0
    assert found["ours"]["host MiB"] > 10
    assert "failed" in found["torch.graphs"], "neither PyTorch nor a GPU is here"


def test_a_summary_compares_the_best_with_the_best_and_with_the_floor() -> None:
    times = {"ours": 2.0, "ours.stream": 1.0, "torch": 4.0, "torch.compile": 2.0, "torch.graphs.resident": 1.25}
    found = {name: {"median": time} for name, time in times.items()} | {"torch.graphs": {"failed": "no GPU"}}
    assert race.summary(found, 0.5) == {
        "floor": 0.5,
        "ratio": 0.5,
        "ratio to resident inputs": 0.8,
        "ratio to the floor": 2.0,
    }
    assert race.summary({"torch": {"median": 1.0}}, 0.5) == {"floor": 0.5}
    facts = {"parameters": 1e9, "forward operations": 780e9, "training operations": 3 * 780e9}
    assert race.floor(facts, 1, "bfloat16", is_training=False) == pytest.approx(1.0)
    assert race.floor(facts, 1, "mixed", is_training=True) == pytest.approx(1e3 * 7 * 4e9 / 4.3e12)


def test_a_failure_is_named_and_stops_nothing() -> None:
    assert on_device.attempt(lambda: int("none"))["failed"].startswith("ValueError: invalid literal")
