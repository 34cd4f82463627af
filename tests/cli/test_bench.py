"""``bench`` measures engines in processes of their own, and says why one is left out or failed."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.cli.conftest import Cli, classifier
from toolkit.cli import bench_race
from toolkit.cli.bench_engine import own_times
from toolkit.cli.bench_feeds import titles
from toolkit.cli.bench_process import Engine
from toolkit.cli.bench_reason import reason
from toolkit.errors import InputError

QUICK = ["--rounds", "2", "--iterations", "3", "--rest", "0", "--threads", "1", "--engine", "onnxruntime"]


def test_engines_are_compared_by_batch_size(cli: Cli, model: Path):
    outcome = cli("bench", model, "--batch-size", "1,4", "--json", *QUICK)
    assert outcome.status == 0, outcome.err
    (found,) = json.loads(outcome.out)["models"]
    assert [result["batch_size"] for result in found["results"]] == [1, 4]
    for result in found["results"]:
        assert list(result["engines"]) == ["ours", "onnxruntime"]
        assert result["engines"]["ours"]["ratio"] == 1
        assert re.search(r"between steps| on (native|cpu|numpy)", result["engines"]["ours"]["where"])
        for row in result["engines"].values():
            assert 0 < row["minimum_ms"] <= row["median_ms"] <= row["maximum_ms"]
            assert row["ratio_minimum"] <= row["ratio_maximum"]
            assert row["items_per_second"] == pytest.approx(result["batch_size"] / row["median_ms"] * 1e3)
            assert 10 < row["peak_mib"] < 4096
            assert row["largest_difference"] < 1e-5


def test_a_profile_is_a_timeline_and_a_page(cli: Cli, model: Path, tmp_path: Path):
    drawn = ["--profile", tmp_path / "it", "--page", tmp_path / "page.html"]
    outcome = cli("bench", model, "--batch-size", "1,4", *drawn, "--json", *QUICK)
    assert outcome.status == 0, outcome.err
    assert "Throughput of model" in (tmp_path / "page.html").read_text()
    assert sorted(path.name for path in tmp_path.glob("it*")) == [
        "it-b1.html",
        "it-b1.trace.json",
        "it-b4.html",
        "it-b4.trace.json",
    ]
    found = json.loads(outcome.out)["models"][0]["results"][0]["engines"]["ours"]["profile"]
    events = json.loads(Path(found[0]).read_text())["traceEvents"]
    assert len(events) % 3 == 0, "three runs of every step"
    assert all(event["ph"] == "X" and event["dur"] > 0 for event in events)
    assert [event["ts"] for event in events] == sorted(event["ts"] for event in events)
    page = Path(found[1]).read_text()
    assert "Time by layer" in page
    assert "onnxruntime" in page
    assert events[0]["name"] in page


def test_the_table_names_what_was_left_out(cli: Cli, model: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(bench_race.NEEDS, "pytorch", ("onnx2torch_that_nobody_has",))
    outcome = cli("bench", model, *QUICK, "--engine", "pytorch")
    assert outcome.status == 0
    assert "ours / it" in outcome.out
    assert "pytorch was left out: onnx2torch_that_nobody_has is not installed" in outcome.out


def test_pytorch_needs_a_reader_of_onnx_files(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(bench_race, "find_spec", lambda name: None if name == "onnx2torch" else object())
    why = "onnx2torch is not installed (PyTorch reads no ONNX files itself)"
    assert bench_race.lacking_modules(None) == {"pytorch": why}


def test_another_interpreter_is_asked_what_it_has():
    assert bench_race.lacking_modules(sys.executable) == bench_race.lacking_modules(None)
    with pytest.raises(InputError, match="--peer-python no-python: it is no Python interpreter that runs"):
        bench_race.lacking_modules("no-python")


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
    assert found["models"][0]["results"][0]["batch_size"] == 7


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two models with the same file name; beside the first one five recorded items."""
    for name in ("first", "second"):
        (tmp_path / "zoo" / name).mkdir(parents=True)
        (tmp_path / "zoo" / name / "model.onnx").write_bytes(classifier().SerializeToString())
    recorded = {"in:x": np.zeros((5, 4), np.float32), "out:scores": np.zeros((5, 3), np.float32)}
    np.savez(tmp_path / "zoo" / "first" / "recorded.npz", allow_pickle=False, **recorded)
    np.savez(tmp_path / "zoo" / "second" / "other.npz", allow_pickle=False, x=recorded["in:x"])
    return tmp_path / "zoo"


def test_a_folder_is_measured_with_what_is_recorded(cli: Cli, folder: Path, tmp_path: Path):
    outcome = cli("bench", folder, *QUICK, "--page", tmp_path / "all.html")
    assert outcome.status == 0, outcome.err
    rows = [line.split()[:2] for line in outcome.out.splitlines() if line.lstrip().startswith(("first", "second"))]
    assert rows == [["first", "5"], ["second", "1"]]
    assert "2 rows compared: geometric mean" in outcome.out
    page = (tmp_path / "all.html").read_text()
    assert "first, batch 5" in page
    assert "Throughput" not in page


def test_one_of_many_that_fails_is_told_at_the_end(cli: Cli, folder: Path):
    text = "g (string[N] x) => (string[N] y) { y = Identity(x) }"
    (folder / "second" / "model.onnx").write_bytes(classifier(text).SerializeToString())
    outcome = cli("bench", folder, "--json", *QUICK)
    assert outcome.status == 1
    assert "could not run 1 of 2 models: second: Input 'x'" in outcome.complaint
    first, second = json.loads(outcome.out)["models"]
    assert first["results"][0]["engines"]["onnxruntime"]["ratio"] > 0
    assert "pass real data" in second["error"]


def test_a_folder_without_models_is_an_error(cli: Cli, tmp_path: Path):
    assert "There is no .onnx file in the folder" in cli("bench", tmp_path, *QUICK).complaint


def test_data_is_given_to_one_model_only(cli: Cli, folder: Path):
    assert "--input is for one model, there are 2" in cli("bench", folder, "--input", "x.npy", *QUICK).complaint


@pytest.mark.parametrize("rest", ["-1", "soon", "inf"])
def test_a_rest_is_a_time(cli: Cli, model: Path, rest: str):
    outcome = cli("bench", model, f"--rest={rest}")
    assert outcome.status == 2
    assert "a number of seconds of at least 0 is expected" in outcome.complaint


@pytest.mark.parametrize(
    ("paths", "wanted"),
    [
        (["a/x.onnx", "b/y.onnx"], ["x", "y"]),
        (["a/model.onnx", "b/model.onnx"], ["a", "b"]),
        (["a/x.onnx", "b/x.onnx", "b/y.onnx"], ["a/x", "b/x", "b/y"]),
        (["a/model.onnx"], ["model"]),
    ],
    ids=["stems", "folders", "both", "one"],
)
def test_titles_tell_files_apart(paths: list[str], wanted: list[str]):
    assert titles([Path(path) for path in paths]) == wanted


@pytest.mark.parametrize(
    ("steps", "milliseconds", "words"),
    [
        ([("GridSample", "numpy", 7.0), ("Mul", "cpu", 2.0), ("Mul", "cpu", 1.0)], 10.0, "GridSample on numpy 70 %, "
         "2 x Mul on cpu 30 %"),
        ([("Add", "cpu", 2.0)], 10.0, "between steps 80 %"),
        ([("Add", "cpu", 9.5)], 10.0, "Add on cpu 95 %"),
        ([(str(index), "", 1.0) for index in range(9)], 1.0, "0 11 %, 1 11 %, 2 11 %"),
        ([], 1.0, ""),
    ],
    ids=["kinds", "calls", "little-between", "many", "unknown"],
)  # fmt: skip
def test_the_reason_names_what_takes_the_time(steps: list[tuple[str, str, float]], milliseconds: float, words: str):
    assert reason(steps, milliseconds) == words


def test_bodies_are_told_beside_the_layer_they_are_in():
    steps = [("If", "numpy", "a/if", 5.0), ("Add", "cpu", "a/if/add", 3.0), ("Mul", "cpu", "a/mul", 1.0)]
    assert own_times(steps) == [("If", "numpy", 2.0), ("Add", "cpu", 3.0), ("Mul", "cpu", 1.0)]
