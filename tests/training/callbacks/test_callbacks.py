"""Callbacks: which events come when, what they see, how they stop a run; early stopping; the bar."""

import io
from functools import partial

import numpy as np
import pytest
from rich.console import Console

import toolkit as tk
from tests.training.small import classifier, clusters, weights
from toolkit.errors import TrainingError
from toolkit.training.best import rises
from toolkit.training.callbacks.callback import EVENTS
from toolkit.training.progress import ProgressBar


def trainer_of(rate=0.1):
    optimizer = tk.optimizers.SGD(rate)
    return tk.Trainer(classifier(), loss=tk.losses.SoftmaxCrossEntropy(), optimizer=optimizer, backend="numpy")


class Diary(tk.callbacks.Callback):
    """Writes down every event with where the run is."""

    def __init__(self):
        self.told, self.rates = [], []
        for event in EVENTS:
            setattr(self, event, partial(self._note, event))

    def _note(self, event, run):
        self.told.append((event, run.epoch, run.batch))
        self.rates.append(run.learning_rate)

    def close(self):
        self.told.append(("close",))


def test_events_come_in_their_order():
    diary = Diary()
    trainer_of().fit(clusters(20), 2, clusters(8), batch_size=10, callbacks=[diary])
    epochs = [
        [
            ("epoch_begins", epoch, 0),
            ("batch_ends", epoch, 1),
            ("batch_ends", epoch, 2),
            ("validation_ends", epoch, 2),
            ("epoch_ends", epoch, 0),
        ]
        for epoch in (1, 2)
    ]
    assert diary.told == [("fit_begins", 0, 0), *epochs[0], *epochs[1], ("fit_ends", 2, 0), ("close",)]


def test_a_callback_sees_figures_outputs_and_the_rate():
    class Look(tk.callbacks.Callback):
        def batch_ends(self, run):
            assert run.items == 10 and run.outputs["y"].shape == (10, 3) and run.batches_an_epoch == 2
            assert run.figures.keys() == {"loss", "accuracy"} and (run.batch > 1 or run.figures["loss"] == run.loss)

        def validation_ends(self, run):
            self.held_out = run.validation_figures

    look, diary = Look(), Diary()
    schedule = tk.schedules.multistep([2], 0.5)
    history = trainer_of().fit(clusters(20), 2, clusters(8), batch_size=10, callbacks=[look, diary], schedule=schedule)
    assert look.held_out == history.epochs[-1].validation
    steps = [rate for rate, (event, *_) in zip(diary.rates, diary.told, strict=False) if event == "batch_ends"]
    assert steps == [0.1, 0.1, 0.05, 0.05]
    assert [epoch.learning_rate for epoch in history] == [0.1, 0.05]


@pytest.mark.parametrize(("event", "steps", "complete"), [("batch_ends", 1, False), ("epoch_ends", 2, True)])
def test_a_callback_stops_a_run(event, steps, complete):
    stopping = tk.callbacks.Callback()
    setattr(stopping, event, lambda run: run.stop("it was enough"))
    trainer = trainer_of()
    history = trainer.fit(clusters(20), 5, clusters(8), batch_size=10, callbacks=[stopping])
    (epoch,) = history.epochs
    assert (trainer.steps, epoch.steps, epoch.complete) == (steps, steps, complete) and epoch.validation
    assert history.message.startswith("Stopped in epoch 1, because it was enough: kept the weights ")


def test_what_is_no_callback_is_named():
    with pytest.raises(TrainingError, match=r"callbacks requires objects of tk.callbacks.Callback, got <class"):
        trainer_of().fit(clusters(20), callbacks=[tk.callbacks.EarlyStopping])


def test_an_error_closes_every_callback():
    class Broken(tk.callbacks.Callback):
        def epoch_ends(self, run):
            raise ZeroDivisionError("of a callback")

        def close(self):
            raise OSError("of closing")

    diary, trainer = Diary(), trainer_of()
    with pytest.raises(OSError, match="of closing"):
        trainer.fit(clusters(20), callbacks=[diary, Broken()])
    assert diary.told[-1] == ("close",) and trainer.steps == 1
    assert len(trainer.fit(clusters(20), 2)) == 2


class TestEarlyStopping:
    def run(self, figures, **options):
        given = iter(figures)
        metric = {"quality": lambda output, labels: (next(given), 1.0)}
        stopping = tk.callbacks.EarlyStopping(**options)
        trainer = trainer_of()
        return trainer.fit(
            clusters(8), len(figures), metrics=metric, monitor="quality", callbacks=[stopping], batch_size=8
        )

    @pytest.mark.parametrize(
        ("figures", "options", "epochs"),
        [
            ([1, 2, 3, 4, 5], {"patience": 1}, 5),
            ([1, 2, 2, 3, 2, 2, 2, 9], {"patience": 3}, 7),
            ([1, 1.05, 1.1, 5], {"patience": 2, "min_delta": 0.2}, 3),
            ([5, 4, 3, 3, 1], {"patience": 1, "mode": "min"}, 4),
            ([np.nan, np.nan, 1, 2], {"patience": 2}, 2),
        ],
    )
    def test_it_waits_as_long_as_it_was_told(self, figures, options, epochs):
        history = self.run(figures, **options)
        assert len(history) == epochs
        assert ("was no better for" in history.message) == (epochs < len(figures))

    def test_the_best_weights_stay(self):
        trainer, held_out = trainer_of(0.5), clusters(60, seed=1)
        wrong = held_out[0], (held_out[1] + 1) % 3
        before = weights(trainer.network)
        history = trainer.fit(
            clusters(60), 50, wrong, monitor="loss", callbacks=[tk.callbacks.EarlyStopping(2, monitor="loss")]
        )
        assert len(history) < 50 and history.best_epoch == 0
        assert all(np.array_equal(array, before[name]) for name, array in weights(trainer.network).items())

    def test_it_begins_anew_with_every_fit(self):
        stopping, trainer = tk.callbacks.EarlyStopping(1, min_delta=100.0), trainer_of()
        assert [len(trainer.fit(clusters(20), 9, callbacks=[stopping])) for _ in range(2)] == [2, 2]

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"patience": 0}, "patience requires a count of epochs from 1, got 0"),
            ({"min_delta": -1}, "min_delta requires a number of at least 0, got -1"),
            ({"mode": "least"}, "EarlyStopping: mode requires 'min' or 'max', got 'least'"),
        ],
    )
    def test_options_that_are_none_are_named(self, options, message):
        with pytest.raises(TrainingError, match=message):
            tk.callbacks.EarlyStopping(**options)

    def test_a_figure_that_is_not_there_is_named(self):
        with pytest.raises(TrainingError, match=r"EarlyStopping: monitor must be one of the figures \['loss'"):
            trainer_of().fit(clusters(20), callbacks=[tk.callbacks.EarlyStopping(monitor="f1")])


@pytest.mark.parametrize(
    ("name", "larger_is_better"),
    [
        ("loss", False),
        ("loss.mask", False),
        ("mean_absolute_error", False),
        ("rmse", False),
        ("accuracy", True),
        ("f1.cat", True),
        ("auc", True),
    ],
)
def test_names_tell_what_is_better(name, larger_is_better):
    assert rises(name) == larger_is_better


def test_the_mode_of_a_fit_decides_what_is_best():
    figures = iter([3.0, 1.0, 2.0])
    metrics = {"quality": lambda output, labels: (next(figures), 1.0)}
    history = trainer_of().fit(clusters(8), 3, metrics=metrics, monitor="quality", mode="min")
    assert history.best_epoch == 2
    with pytest.raises(TrainingError, match="fit: mode requires 'min' or 'max', got 'up'"):
        trainer_of().fit(clusters(8), mode="up")


def test_the_bar_shows_loss_throughput_and_the_time_left():
    text = io.StringIO()
    bar = ProgressBar(Console(file=text, force_terminal=True, width=160, color_system=None))
    trainer_of().fit(clusters(80), 2, clusters(20), batch_size=4, callbacks=[bar])
    shown = text.getvalue()
    for part in ("epoch 1/2", "epoch 2/2", "loss 0.", "validation accuracy", "items/s", "100%", "0:00:00"):
        assert part in shown, part
