"""Logs: lines of JSON, tables and event files hold what the history says, also when a run is resumed."""

import csv
import json
import sys
from importlib import import_module

import numpy as np
import pytest

import toolkit as tk
from tests.training.small import classifier, clusters
from toolkit.errors import TrainingError


class CutOffError(Exception):
    pass


class CutOff(tk.callbacks.Callback):
    def batch_ends(self, run):
        if run.trainer.steps == 11:
            raise CutOffError


def fit(*callbacks, **options):
    trainer = tk.Trainer(
        classifier(), loss=tk.losses.SoftmaxCrossEntropy(), optimizer=tk.optimizers.SGD(0.1), backend="numpy"
    )
    return trainer.fit(clusters(40), 3, clusters(20), batch_size=8, callbacks=callbacks, **options)


def interrupted(log, path):
    """A run that is cut off in its third epoch, behind its last checkpoint, and resumed."""
    options = {"checkpoint": path, "checkpoint_every": 4, "resume": True}
    with pytest.raises(CutOffError):
        fit(log(), CutOff(), **options)
    return fit(log(), **options)


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_lines_of_json(tmp_path):
    path = tmp_path / "log.jsonl"
    history = fit(tk.callbacks.JsonLines(path, every=2))
    lines = lines_of(path)
    assert [(line["event"], line["epoch"], line["step"]) for line in lines[:3]] == [
        ("step", 1, 2),
        ("step", 1, 4),
        ("epoch", 1, 5),
    ]
    epochs = [line for line in lines if line["event"] == "epoch"]
    for line, epoch in zip(epochs, history, strict=True):
        assert line["training"] == epoch.training and line["validation"] == epoch.validation
        assert line["complete"] and line["learning_rate"] == 0.1 and line["seconds"] >= 0


def test_what_is_not_finite_is_null(tmp_path):
    path = tmp_path / "log.jsonl"
    fit(tk.callbacks.JsonLines(path), metrics={"odd": lambda output, labels: (np.nan, 1.0)}, monitor="loss")
    assert lines_of(path)[0]["training"]["odd"] is None


def test_tables(tmp_path):
    path = tmp_path / "log.csv"
    history = fit(tk.callbacks.Csv(path))
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == [5, 10, 15]
    for row, epoch in zip(rows, history, strict=True):
        assert float(row["loss"]) == epoch.training["loss"]
        assert float(row["validation accuracy"]) == epoch.validation["accuracy"]


@pytest.mark.parametrize("kind", [lambda path: tk.callbacks.JsonLines(path, every=1), tk.callbacks.Csv])
def test_a_resumed_run_goes_on_in_its_file(kind, tmp_path):
    fit(kind(tmp_path / "unbroken"))
    interrupted(lambda: kind(tmp_path / "resumed"), tmp_path / "run")

    def told(name):
        return [line for line in (tmp_path / name).read_text().splitlines() if '"epoch"' not in line or "step" in line]

    unbroken, resumed = told("unbroken"), told("resumed")
    assert len(unbroken) == len(resumed)
    assert [line.split(",")[:2] for line in unbroken] == [line.split(",")[:2] for line in resumed]


def test_a_new_run_replaces_the_file(tmp_path):
    path = tmp_path / "log.csv"
    log = tk.callbacks.Csv(path)
    fit(log)
    fit(log)
    assert len(path.read_text().splitlines()) == 4


@pytest.mark.parametrize("kind", [tk.callbacks.JsonLines, tk.callbacks.TensorBoard])
def test_how_often_must_be_a_count(kind, tmp_path):
    if kind is tk.callbacks.TensorBoard:
        pytest.importorskip("tensorboardX", reason="the writer of event files is an extra")
    with pytest.raises(TrainingError, match=rf"{kind.__name__}: every requires a count of batches from 1, or None"):
        kind(tmp_path / "x", every=0)


class TestTensorBoard:
    @pytest.fixture(autouse=True)
    def library(self):
        pytest.importorskip("tensorboardX", reason="the writer of event files is an extra")

    def scalars(self, folder):
        """What the event files hold, by name: (step, value), those behind a purged step left out."""
        event_of = import_module("tensorboardX.proto.event_pb2").Event.FromString
        found: dict[str, list[tuple[int, float]]] = {}
        for path in sorted(folder.glob("events.*"), key=lambda path: path.stat().st_mtime_ns):
            data, at = path.read_bytes(), 0
            while at < len(data):
                length = int.from_bytes(data[at : at + 8], "little")
                event = event_of(data[at + 12 : at + 12 + length])
                at += 16 + length
                if event.session_log.status == 1:
                    found = {name: [pair for pair in pairs if pair[0] < event.step] for name, pairs in found.items()}
                for value in event.summary.value:
                    found.setdefault(value.tag, []).append((event.step, value.simple_value))
        return found

    def test_event_files_hold_the_history(self, tmp_path):
        history = fit(tk.callbacks.TensorBoard(tmp_path, every=1))
        found = self.scalars(tmp_path)
        for kind in ("training", "validation"):
            for name in ("loss", "accuracy"):
                expected = [getattr(epoch, kind)[name] for epoch in history]
                assert [step for step, _ in found[f"{kind}/{name}"]] == [5, 10, 15]
                np.testing.assert_allclose([value for _, value in found[f"{kind}/{name}"]], expected, rtol=1e-6)
        assert len(found["step/loss"]) == 15
        assert [value for _, value in found["learning_rate"]] == pytest.approx([0.1] * 3)

    def test_a_resumed_run_has_every_step_once(self, tmp_path):
        interrupted(lambda: tk.callbacks.TensorBoard(tmp_path / "events", every=1), tmp_path / "run")
        found = self.scalars(tmp_path / "events")
        assert [step for step, _ in found["step/loss"]] == list(range(1, 16))

    def test_a_missing_library_is_named_with_the_remedy(self, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "tensorboardX", None)
        with pytest.raises(TrainingError, match=r"pip install 'onnx-toolkit\[tensorboard\]'"):
            tk.callbacks.TensorBoard(tmp_path)
