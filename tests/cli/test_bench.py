"""``bench`` measures engines in processes of their own, and says why one is left out or failed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.cli.conftest import Cli, classifier
from toolkit.cli import bench
from toolkit.cli.bench_process import Engine

QUICK = ["--rounds", "2", "--iterations", "3", "--threads", "1", "--engine", "onnxruntime"]


def test_engines_are_compared_by_batch_size(cli: Cli, model: Path):
    outcome = cli("bench", model, "--batch-size", "1,4", "--json", *QUICK)
    assert outcome.status == 0, outcome.err
    found = json.loads(outcome.out)
    assert [result["batch_size"] for result in found["results"]] == [1, 4]
    for result in found["results"]:
        assert list(result["engines"]) == ["ours", "onnxruntime"]
        assert result["engines"]["ours"]["ratio"] == 1
        for row in result["engines"].values():
            assert 0 < row["minimum_ms"] <= row["median_ms"] <= row["maximum_ms"]
            assert row["ratio_minimum"] <= row["ratio_maximum"]
            assert row["items_per_second"] == pytest.approx(result["batch_size"] / row["median_ms"] * 1e3)
            assert 10 < row["peak_mib"] < 4096
            assert row["largest_difference"] < 1e-5


def test_a_profile_is_a_timeline_and_a_page(cli: Cli, model: Path, tmp_path: Path):
    outcome = cli("bench", model, "--batch-size", "1,4", "--profile", tmp_path / "it", "--json", *QUICK)
    assert outcome.status == 0, outcome.err
    assert sorted(path.name for path in tmp_path.glob("it*")) == [
        "it-b1.html",
        "it-b1.trace.json",
        "it-b4.html",
        "it-b4.trace.json",
    ]
    found = json.loads(outcome.out)["results"][0]["profile"]
    events = json.loads(Path(found[0]).read_text())["traceEvents"]
    assert len(events) % 3 == 0, "three runs of every step"
    assert all(event["ph"] == "X" and event["dur"] > 0 for event in events)
    assert [event["ts"] for event in events] == sorted(event["ts"] for event in events)
    page = Path(found[1]).read_text()
    assert "Time by layer" in page
    assert "onnxruntime" in page
    assert events[0]["name"] in page


def test_the_table_names_what_was_left_out(cli: Cli, model: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(bench.NEEDS, "pytorch", ("onnx2torch_that_nobody_has",))
    outcome = cli("bench", model, *QUICK, "--engine", "pytorch")
    assert outcome.status == 0
    assert "ours / it" in outcome.out
    assert "pytorch was left out: onnx2torch_that_nobody_has is not installed" in outcome.out


def test_pytorch_needs_a_reader_of_onnx_files(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(bench, "find_spec", lambda name: None if name == "onnx2torch" else object())
    assert bench._missing("pytorch") == "onnx2torch is not installed (PyTorch reads no ONNX files itself)"
    assert bench._missing("openvino") == ""


def test_an_engine_that_cannot_is_reported(tmp_path: Path):
    np.savez(tmp_path / "feeds.npz", x=np.zeros((1, 4), np.float32))
    text = "g (float[N, 4] x) => (float[N, 4] y) { y = com.example.Unknown(x) }"
    (tmp_path / "model.onnx").write_bytes(classifier(text).SerializeToString())
    specification = {
        "model": str(tmp_path / "model.onnx"),
        "feeds": str(tmp_path / "feeds.npz"),
        "outputs": str(tmp_path / "out.npz"),
        "threads": 1,
    }
    engine = Engine("onnxruntime", specification)
    try:
        engine.wait_until_ready()
        engine.take_turn(1)
    finally:
        engine.close()
    assert "Unknown" in engine.error
    assert engine.rounds == []


def test_a_model_that_we_cannot_run_is_an_error(cli: Cli, tmp_path: Path):
    text = "g (float[N, 4] x) => (float[N, 4] y) { y = com.example.Unknown(x) }"
    (tmp_path / "model.onnx").write_bytes(classifier(text).SerializeToString())
    outcome = cli("bench", tmp_path / "model.onnx", *QUICK)
    assert outcome.status == 1
    assert "could not run the model" in outcome.complaint
    assert "com.example::Unknown" in outcome.complaint


@pytest.mark.parametrize("sizes", ["0", "1,x", "", "-1"])
def test_batch_sizes_are_whole_numbers(cli: Cli, model: Path, sizes: str):
    outcome = cli("bench", model, f"--batch-size={sizes}", *QUICK)
    assert outcome.status == 1
    assert "whole numbers of at least 1" in outcome.complaint


def test_text_inputs_need_real_data(cli: Cli, tmp_path: Path):
    text = "g (string[N] x) => (string[N] y) { y = Identity(x) }"
    (tmp_path / "model.onnx").write_bytes(classifier(text).SerializeToString())
    assert "pass real data with --input" in cli("bench", tmp_path / "model.onnx", *QUICK).complaint


def test_given_data_is_used(cli: Cli, model: Path, tmp_path: Path):
    np.save(tmp_path / "x.npy", np.zeros((7, 4), np.float32))
    found = json.loads(cli("bench", model, "--input", tmp_path / "x.npy", "--json", *QUICK).out)
    assert found["results"][0]["batch_size"] == 7
