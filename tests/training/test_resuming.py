"""Resuming: a run that was cut off anywhere ends as the unbroken one, bit for bit."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import toolkit as tk
from tests.training.small import classifier, clusters, weights
from toolkit import layers
from toolkit.errors import InputError, TrainingError
from toolkit.training import load_checkpoint

ROOT = Path(__file__).resolve().parents[2]
KILLS = 20


class CutOffError(Exception):
    """The end of a process, as far as one process can imitate it."""


class CutOff(tk.callbacks.Callback):
    """Ends a run after ``at`` updates of this process."""

    def __init__(self, at):
        self.left = at

    def batch_ends(self, run):
        if self.left == 0:
            raise CutOffError
        self.left -= 1


def without_times(line):
    return {name: value for name, value in json.loads(line).items() if name != "seconds"}


def same_arrays(first, second):
    assert first.keys() == second.keys()
    for name, array in first.items():
        assert array.tobytes() == second[name].tobytes(), name


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked here, so that twenty of them are quick")
def test_a_run_killed_twenty_times_ends_as_the_unbroken_one(tmp_path):
    runs = {}
    for name, kills in (("unbroken", 0), ("killed", KILLS)):
        folder = tmp_path / name
        folder.mkdir()
        command = [sys.executable, "-m", "tests.training.killed", str(folder), str(kills), "3"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-2000:]
        runs[name] = load_checkpoint(folder / "final")
    steps = json.loads((tmp_path / "killed" / "kills.json").read_text())
    assert len(steps) == KILLS and len(set(steps)) > KILLS / 4, steps
    unbroken, killed = runs["unbroken"], runs["killed"]
    same_arrays(unbroken.parameters, killed.parameters)
    same_arrays(unbroken.state, killed.state)
    assert unbroken.progress == killed.progress
    assert unbroken.run == killed.run
    logs = [(tmp_path / name / "log.jsonl").read_text().splitlines() for name in runs]
    first, second = [[without_times(line) for line in log] for log in logs]
    assert first == second
    assert sorted(item.name for item in (tmp_path / "killed").iterdir()) == ["final", "kills.json", "log.jsonl", "run"]


def trainer_of(optimizer, *last, backend="numpy", **options):
    network = classifier(*last)
    return tk.Trainer(network, loss=tk.losses.SoftmaxCrossEntropy(), optimizer=optimizer(), backend=backend, **options)


def momentum():
    return tk.optimizers.SGD(0.1, momentum=0.9)


CASES: dict[str, Any] = {
    "plain": lambda: (trainer_of(lambda: tk.optimizers.SGD(0.1)), {}),
    "dropout": lambda: (trainer_of(tk.optimizers.Adam, layers.Dropout(0.3)), {}),
    "layouts": lambda: (trainer_of(tk.optimizers.Adam, backend="cpu", threads=2), {}),
    "accumulate": lambda: (trainer_of(momentum, accumulate=3), {}),
    "averages": lambda: (
        trainer_of(lambda: tk.optimizers.chain(tk.optimizers.AdamW(0.01), tk.optimizers.StochasticAverage())),
        {},
    ),
    "scaled": lambda: (trainer_of(momentum, loss_scale=tk.training.loss_scale.DynamicLossScale(interval=3)), {}),
    "schedule": lambda: (trainer_of(momentum), {"schedule": tk.schedules.warm_up(5, tk.schedules.cosine())}),
    "plateau": lambda: (trainer_of(momentum), {"schedule": tk.schedules.ReduceOnPlateau(0.5, 0, threshold=0.5)}),
    "unfreezing": lambda: (
        trainer_of(tk.optimizers.Adam, layers.Dropout(0.3)),
        {"unfreezing": tk.training.unfreezing.GradualUnfreezing(["linear2", "*"])},
    ),
    "metrics": lambda: (
        trainer_of(momentum),
        {"metrics": {"f1": tk.metrics.F1(window=20), "auc": tk.metrics.RocAuc(), "top": tk.metrics.TopK(2)}},
    ),
    "drawn": lambda: (trainer_of(momentum), {"data": tk.data.Batches(clusters(50), 8, weights="balanced")}),
    "stopping": lambda: (trainer_of(momentum), {"callbacks": [tk.callbacks.EarlyStopping(2, min_delta=10.0)]}),
    "worse": lambda: (trainer_of(momentum), {"validation": (clusters(30)[0], (clusters(30)[1] + 1) % 3)}),
}


@pytest.mark.parametrize("name", CASES)
def test_a_run_cut_off_within_epochs_ends_as_the_unbroken_one(name, tmp_path):
    ends = []
    for cuts in ((), (5, 2, 9)):
        path = tmp_path / f"run{len(cuts)}"
        for cut in (*cuts, None):
            trainer, options = CASES[name]()
            data = options.pop("data", clusters(50))
            options = {"validation": clusters(30, seed=1), **options}
            callbacks = [*options.pop("callbacks", ()), *([] if cut is None else [CutOff(cut)])]
            options |= {"checkpoint": path, "checkpoint_every": 2, "resume": True, "callbacks": callbacks}
            if cut is None:
                history = trainer.fit(data, epochs=4, batch_size=8, **options)
            else:
                with pytest.raises(CutOffError):
                    trainer.fit(data, epochs=4, batch_size=8, **options)
        figures = [(epoch.number, epoch.steps, epoch.training, epoch.validation) for epoch in history]
        ends.append((trainer.checkpoint(), repr(figures), history.message, trainer.optimizer.learning_rate))
    (first, *told), (second, *told_too) = ends
    same_arrays(first.parameters, second.parameters)
    same_arrays(first.state, second.state)
    assert first.progress == second.progress and told == told_too


def test_the_first_batch_decides_layouts_in_a_resumed_run_too(tmp_path):
    options = {"batch_size": 8, "checkpoint": tmp_path / "run", "checkpoint_every": 1}
    with pytest.raises(CutOffError):
        trainer_of(momentum).fit(clusters(10), 2, callbacks=[CutOff(1)], **options)
    resumed = trainer_of(momentum)
    resumed.fit(clusters(10), 1, resume=True, **options)
    assert resumed.steps == 2
    assert [key.partition(",")[0] for key in resumed._session._plans] == ["((8", "((2"]


def test_a_finished_run_is_not_trained_again(tmp_path):
    path, data = tmp_path / "run", clusters(40)
    trainer = trainer_of(momentum)
    trainer.fit(data, epochs=2, checkpoint=path)
    before = weights(trainer.network)
    again = trainer_of(momentum)
    history = again.fit(data, epochs=2, checkpoint=path, resume=True)
    assert len(history) == 2 and again.steps == trainer.steps
    same_arrays(before, weights(again.network))
    assert len(again.fit(data, epochs=3, checkpoint=path, resume=True)) == 3


def test_the_last_checkpoints_are_kept(tmp_path):
    path = tmp_path / "run"
    trainer_of(momentum).fit(clusters(40), epochs=5, checkpoint=path, keep_checkpoints=3)
    assert sorted(item.name for item in tmp_path.iterdir()) == ["run", "run.1", "run.2"]
    found = [load_checkpoint(tmp_path / name).progress["epochs"] for name in ("run", "run.1", "run.2")]
    assert found == [5, 4, 3]


def test_what_a_killed_process_left_is_removed(tmp_path):
    (tmp_path / ".run.0123456789ab").write_bytes(b"half")
    (tmp_path / ".other.0123456789ab").write_bytes(b"somebody else's")
    trainer_of(momentum).fit(clusters(20), checkpoint=tmp_path / "run", resume=True)
    assert sorted(item.name for item in tmp_path.iterdir()) == [".other.0123456789ab", "run"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resume": True}, r"resume=True\) requires the file to go on from"),
        ({"checkpoint_every": 3}, "checkpoint_every requires a checkpoint to write"),
        ({"checkpoint": "run", "checkpoint_every": 0}, "checkpoint_every requires a whole number of at least 1, got 0"),
        ({"checkpoint": "run", "keep_checkpoints": 1.5}, "keep_checkpoints requires a whole number .* got 1.5"),
    ],
)
def test_options_that_are_none_are_named(options, message):
    with pytest.raises(TrainingError, match=message):
        trainer_of(momentum).fit(clusters(20), **options)


def test_another_optimizer_and_other_data_are_refused(tmp_path):
    path = tmp_path / "run"
    with pytest.raises(CutOffError):
        trainer_of(momentum).fit(clusters(50), batch_size=8, checkpoint=path, checkpoint_every=1, callbacks=[CutOff(3)])
    with pytest.raises(TrainingError, match="was saved with another optimizer"):
        trainer_of(tk.optimizers.Adam).fit(clusters(50), batch_size=8, checkpoint=path, resume=True)
    with pytest.raises(InputError, match="The state belongs to other batches"):
        trainer_of(momentum).fit(clusters(51), batch_size=8, checkpoint=path, resume=True)


def test_ctrl_c_saves_where_it_came(tmp_path):
    class CtrlC(tk.callbacks.Callback):
        def batch_ends(self, run):
            if run.trainer.steps == 10:
                os.kill(os.getpid(), signal.SIGINT)

    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        options = {"epochs": 3, "batch_size": 8, "checkpoint": tmp_path / "run"}
        history = trainer_of(momentum).fit(clusters(50), callbacks=[CtrlC()], **options)
    finally:
        signal.signal(signal.SIGINT, previous)
    assert history.stopped_at == (2, 3) and load_checkpoint(tmp_path / "run").progress["steps"] == 10
    resumed, unbroken = trainer_of(momentum), trainer_of(momentum)
    again = resumed.fit(clusters(50), resume=True, **options)
    assert repr(again["loss"]) == repr(unbroken.fit(clusters(50), epochs=3, batch_size=8)["loss"])
    same_arrays(weights(unbroken.network), weights(resumed.network))


def test_an_error_leaves_trainer_and_checkpoint_usable(tmp_path):
    path = tmp_path / "run"
    trainer = trainer_of(momentum)
    options = {"epochs": 2, "batch_size": 8, "checkpoint": path, "checkpoint_every": 1}
    with pytest.raises(CutOffError):
        trainer.fit(clusters(50), callbacks=[CutOff(9)], schedule=tk.schedules.poly(), **options)
    assert trainer.optimizer.learning_rate == 0.1 and trainer.steps == 10
    assert load_checkpoint(path).progress["steps"] == 9
    trainer.fit(clusters(50), resume=True, schedule=tk.schedules.poly(), **options)
    unbroken = trainer_of(momentum)
    unbroken.fit(clusters(50), epochs=2, batch_size=8, schedule=tk.schedules.poly())
    same_arrays(weights(unbroken.network), weights(trainer.network))

    def broken():
        yield clusters(8)
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        trainer.fit(broken())
    assert np.isfinite(trainer.train_minibatch(*clusters(8))[0])
