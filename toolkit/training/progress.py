"""A progress bar with loss, metrics, items per second and the time left; silent where nobody watches."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

from toolkit.training.callbacks.callback import Callback
from toolkit.training.run import Run


class ProgressBar(Callback):
    """One bar per epoch, on standard error or on a ``rich.console.Console``."""

    def __init__(self, console: Any = None) -> None:
        self._console = console
        self._bar: Any = None
        self._task: Any = None

    def epoch_begins(self, run: Run) -> None:
        if self._bar is None:
            self._bar = _bar(self._console)
            self._bar.start()
        done, total = run.batch * run.batches.batch_size, run.batches.items
        title = f"epoch {run.epoch}/{run.last_epoch}"
        self._task = self._bar.add_task(title, total=total, completed=done, figures="", speed="")

    def batch_ends(self, run: Run) -> None:
        task = self._bar.tasks[self._task]
        speed = f"{task.speed:,.0f} items/s" if task.speed else ""
        self._bar.update(self._task, advance=run.items, figures=_told(run.figures), speed=speed)

    def epoch_ends(self, run: Run) -> None:
        epoch = run.history.epochs[-1]
        held_out = {f"validation {name}": value for name, value in epoch.validation.items()}
        done = self._bar.tasks[self._task].completed
        speed = f"{done / epoch.seconds:,.0f} items/s" if epoch.seconds else ""
        self._bar.update(self._task, total=done, figures=_told({**epoch.training, **held_out}), speed=speed)
        self._bar.stop_task(self._task)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def is_watched() -> bool:
    """Whether somebody sees what is shown on standard error."""
    return sys.stderr.isatty()


def _told(figures: dict[str, float]) -> str:
    return "  ".join(f"{name} {value:.4f}" for name, value in figures.items())


def _bar(console: Any) -> Any:
    """The bar itself; its library is imported where somebody watches, to keep the import of the toolkit light."""
    progress = import_module("rich.progress")
    return progress.Progress(
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.TextColumn("{task.percentage:>3.0f}%"),
        progress.TextColumn("{task.fields[figures]}"),
        progress.TextColumn("{task.fields[speed]}"),
        progress.TimeRemainingColumn(),
        console=console or import_module("rich.console").Console(stderr=True),
    )
