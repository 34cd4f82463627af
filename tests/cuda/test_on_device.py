"""The script for a day with a GPU works: tried on the processor, with a few rows and a network of one layer."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from exporters import save
from tests.cuda import on_device
from toolkit import layers


def test_it_writes_what_it_has_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(layers.Sequential([layers.Linear(2)]).network((3,)), tmp_path / "line.onnx")
    monkeypatch.setattr(on_device, "LEAST_SECONDS", 1e-3)
    options = ["--backend", "cpu", "--limit", "60", "--output", str(tmp_path), "--timed", str(tmp_path / "line.onnx")]
    monkeypatch.setattr(sys, "argv", ["on_device", *options])
    on_device.main()
    found = json.loads(next(tmp_path.glob("cpu-*.json")).read_text())
    assert found["case rows"]["failed"] == {}
    assert found["case rows"]["agree"] > 5
    assert all(max(row.values()) < 1e-5 for row in found["gradients"].values())
    assert len(found["gradients"]["LSTM"]) == 4
    assert found["times"]["line"]["batch 8, float32"]["median"] > 0


def test_a_failure_is_named_and_stops_nothing() -> None:
    assert on_device.attempt(lambda: int("none"))["failed"].startswith("ValueError: invalid literal")
