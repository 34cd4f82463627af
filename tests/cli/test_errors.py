"""Bad input: exit status 1 and one clear line, never a traceback; a wrong command line: exit status 2 and a hint."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.cli.conftest import Cli, classifier
from toolkit.cli import inspect, run

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = {
    "inspect": [],
    "run": ["--input", "x.npy"],
    "evaluate": ["--data", "d.npz"],
    "finetune": ["--data", "d.npz", "--output", "t.onnx"],
    "bench": [],
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "model.onnx"),
        (b"", "model.onnx"),
        (b"this is not a protobuf at all", "model.onnx"),
        ("truncated", "model.onnx"),
    ],
    ids=["missing", "empty", "not a protobuf", "truncated"],
)
def test_files_that_are_no_models(cli: Cli, tmp_path: Path, command: str, content: bytes | str | None, said: str):
    path = tmp_path / "model.onnx"
    if content is not None:
        whole = classifier().SerializeToString()
        path.write_bytes(whole[: len(whole) // 2] if isinstance(content, str) else content)
    outcome = cli(command, path, *COMMANDS[command])
    assert outcome.status == 1
    assert outcome.complaint.startswith("onnx-toolkit: ")
    assert said in outcome.complaint
    assert outcome.out == ""


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"wrong": np.zeros((2, 4), np.float32), "x": np.zeros((2, 4), np.float32)}, "unknown ['wrong']"),
        ({"x": np.zeros((2, 4), np.float64)}, "Input 'x' is float32 (N, 4), got float64 (2, 4)"),
        ({"x": np.zeros((2, 5), np.float32)}, "Input 'x' is float32 (N, 4), got an array of shape (2, 5)"),
        ({"x": np.zeros((2, 4, 1), np.float32)}, "got an array of shape (2, 4, 1)"),
        ({"x": np.zeros((0, 4), np.float32)}, "no items"),
        ({"a": np.zeros(1), "b": np.zeros(1)}, "missing ['x'] and unknown ['a', 'b']"),
    ],
    ids=["name", "dtype", "shape", "rank", "empty", "names"],
)
def test_arrays_that_do_not_fit(cli: Cli, model: Path, tmp_path: Path, arrays: dict[str, np.ndarray], said: str):
    np.savez(tmp_path / "in.npz", allow_pickle=False, **arrays)
    outcome = cli("run", model, "--input", tmp_path / "in.npz", "--output", tmp_path / "out.npz")
    assert outcome.status == 1
    assert said in outcome.complaint
    assert not (tmp_path / "out.npz").exists()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("in.npz", None, "There is no file"),
        ("in.npz", b"PK no archive", "cannot be read"),
        ("in.npz", pickle.dumps({"x": 1}), "cannot be read"),
        ("in.npy", b"\x93NUMPY", "cannot be read"),
        ("in.npy", pickle.dumps(os.getcwd), "cannot be read"),
        ("in.txt", b"1 2 3", "data is read from .npz, .npy and .csv"),
        ("in.csv", b"a,b,c,d\n1,2,3,4\n1,2,x,4\n", "row 3: 4 numbers are expected, got 'x'"),
        ("in.csv", b"1,2,3,4\n1,2\n", "row 2: 4 numbers are expected, got 2 cells"),
        ("in.csv", b"", "no rows of numbers"),
        ("in.csv", b"a,b\n", "no rows of numbers"),
        ("in.csv", b"\xff\xfe\x00", "cannot be read"),
        ("in.csv", b"1,2,3\n", "3 columns of features, input 'x' float32 (N, 4) takes 4 numbers per item"),
    ],
)
def test_data_files_that_cannot_be_read(
    cli: Cli, model: Path, tmp_path: Path, name: str, content: bytes | None, said: str
):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    outcome = cli("run", model, "--input", tmp_path / name)
    assert outcome.status == 1
    assert said in outcome.complaint


def test_archives_of_objects_are_not_unpickled(cli: Cli, model: Path, tmp_path: Path):
    np.savez(tmp_path / "in.npz", x=np.array([{"code": "any"}], object))
    assert "cannot be read" in cli("run", model, "--input", tmp_path / "in.npz").complaint


@pytest.mark.parametrize(
    ("change", "words", "said"),
    [
        ({"y": None}, [], "the labels cannot be told: the file holds ['x']"),
        ({}, ["--y", "z"], "the labels should be 'z', which the file lacks"),
        ({}, ["--x", "z"], "for input 'x' should be 'z', which the file lacks"),
        ({"y": np.full(150, 3)}, [], "must lie in [0, 2]"),
        ({"y": np.arange(10)}, [], "same number of items"),
        ({"y": np.zeros((150, 5))}, [], "labels must have the shape"),
        ({}, ["--loss-output", "z"], "there is no output 'z'; the outputs are ['scores']"),
        ({}, ["--backend", "tpu"], "no backend 'tpu'"),
        ({}, ["--validation", "1.5"], "a part between 0 and 1"),
        ({}, ["--validation", "none.npz"], "There is no file 'none.npz'"),
        ({}, ["--freeze", "nothing*"], "Nothing matches 'nothing*'"),
        ({}, ["--freeze", "*"], "Nothing to train"),
        ({}, ["--lr", "-1"], "learning_rate requires 0 or more"),
        ({}, ["--epochs", "0"], "epochs"),
    ],
)
def test_training_that_cannot_start(
    cli: Cli, model: Path, data: Path, tmp_path: Path, change: dict[str, np.ndarray | None], words: list[str], said: str
):
    arrays = {name: array for name, array in {**np.load(data), **change}.items() if array is not None}
    np.savez(data, allow_pickle=False, **arrays)
    outcome = cli("finetune", model, "--data", data, "--output", tmp_path / "t.onnx", *words)
    assert outcome.status in (1, 2)
    assert said in outcome.complaint
    assert not (tmp_path / "t.onnx").exists()


def test_an_output_that_cannot_be_written(cli: Cli, model: Path, data: Path, tmp_path: Path):
    for words in (["run", model, "--input", data], ["finetune", model, "--data", data]):
        if words[0] == "run":
            np.savez(tmp_path / "in.npz", x=np.load(data)["x"])
            words[3] = tmp_path / "in.npz"
        outcome = cli(*words, "--output", tmp_path / "nowhere" / "file")
        assert outcome.status == 1
        assert "nowhere" in outcome.complaint


def test_unknown_operators_are_listed_at_once(cli: Cli, tmp_path: Path):
    text = "g (float[N, 4] x) => (float[N, 4] y) { a = com.example.First(x) b = Relu(a) y = com.example.Second(b) }"
    (tmp_path / "model.onnx").write_bytes(classifier(text).SerializeToString())
    np.save(tmp_path / "x.npy", np.zeros((2, 4), np.float32))
    complaint = cli("run", tmp_path / "model.onnx", "--input", tmp_path / "x.npy").complaint
    assert "com.example::First-1" in complaint
    assert "com.example::Second-1" in complaint
    assert "Relu" not in complaint


def test_the_batch_axis_may_be_said(cli: Cli, model: Path):
    assert "input 'x' float32 (N, 4), batch on axis 1" in cli("inspect", model, "--batch-axis", "x=1").out
    assert "input 'x' float32 (N, 4)\n" in cli("inspect", model, "--batch-axis", "x=none").out
    assert "'z'" in cli("inspect", model, "--batch-axis", "z=0").complaint


def test_several_outputs_need_a_choice(cli: Cli, tmp_path: Path, data: Path):
    text = "g (float[N, 4] x) => (float[N, 4] one, float[N, 4] two) { one = Relu(x) two = Neg(x) }"
    (tmp_path / "model.onnx").write_bytes(classifier(text).SerializeToString())
    complaint = cli("evaluate", tmp_path / "model.onnx", "--data", data).complaint
    assert "Name one with --loss-output" in complaint


def test_batches_need_a_batch_axis(cli: Cli, tmp_path: Path):
    text = "g (float[N, 4] x, float[7, 4] bias) => (float[N, 4] y) { a = ReduceSum(bias) y = Add(x, a) }"
    (tmp_path / "model.onnx").write_bytes(classifier(text).SerializeToString())
    np.savez(tmp_path / "in.npz", x=np.zeros((2, 4), np.float32), bias=np.zeros((7, 4), np.float32))
    outcome = cli("run", tmp_path / "model.onnx", "--input", tmp_path / "in.npz", "--batch-size", "2")
    assert outcome.status == 1
    assert "['bias'] have no batch axis to cut along" in outcome.complaint


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["inspekt", "m"], "There is no command 'inspekt' (did you mean inspect?)"),
        (["finetune", "m", "--data", "d", "--ouput", "t"], "There is no option --ouput (did you mean --output?)"),
        (["run", "m", "--imput=x"], "There is no option --imput (did you mean --input?)"),
        (["run", "m", "--batch-size", "0", "--input", "x"], "a whole number of at least 1 is expected, got '0'"),
        (["inspect", "m", "--dim", "seq"], "NAME=SIZE is expected, got 'seq'"),
        (["inspect", "m", "--batch-axis", "x=last"], "NAME=AXIS or NAME=none is expected, got 'x=last'"),
        (["evaluate", "m"], "the following arguments are required: --data"),
        ([], "the following arguments are required: COMMAND"),
    ],
)
def test_wrong_command_lines(cli: Cli, words: list[str], said: str):
    outcome = cli(*words)
    assert outcome.status == 2
    assert said in outcome.complaint
    assert "--help" in outcome.complaint


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(cli: Cli, command: str):
    outcome = cli(command, "--help")
    assert outcome.status == 0
    assert "--json" in outcome.out


def test_defects_keep_their_traceback(cli: Cli, model: Path, monkeypatch: pytest.MonkeyPatch):
    def defective(*_: object) -> int:
        raise KeyError("a defect")

    monkeypatch.setattr(inspect, "execute", defective)
    with pytest.raises(KeyError, match="a defect"):
        cli("inspect", model)


@pytest.mark.parametrize(
    ("error", "said"),
    [(KeyboardInterrupt(), "nothing was written"), (MemoryError("2 TiB"), "smaller --batch-size")],
)
def test_what_may_happen_anywhere(
    cli: Cli, model: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, said: str
):
    def interrupted(*_: object) -> int:
        raise error

    monkeypatch.setattr(run, "execute", interrupted)
    outcome = cli("run", model, "--input", "x.npy")
    assert outcome.status == 1
    assert said in outcome.complaint


def test_the_module_is_the_program(model: Path):
    done = subprocess.run(
        [sys.executable, "-m", "toolkit", "run", str(model), "--input", "none.npy"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == "onnx-toolkit: There is no file 'none.npy': check the path.\n"


@pytest.mark.skipif(os.name != "posix", reason="pipes as a POSIX shell makes them")
def test_a_reader_may_leave_early(model: Path):
    process = subprocess.Popen(
        [sys.executable, "-m", "toolkit", "inspect", str(model)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert "Traceback" not in process.stderr.read()
    assert process.wait(timeout=60) == 1
    process.stderr.close()
