"""A progress bar with loss, accuracy, items per second and the time left; silent where nobody watches."""

from __future__ import annotations

import sys
from importlib import import_module
from types import TracebackType
from typing import Any


class ProgressBar:
    """One bar per epoch on standard error. It shows nothing when disabled or when that is not a terminal."""

    def __init__(self, enabled: bool = True) -> None:
        self.enabled = enabled and sys.stderr.isatty()
        self._task: Any = None
        self._bar = _bar() if self.enabled else None

    def __enter__(self) -> ProgressBar:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def begin(self, epoch: int, items: int | None) -> None:
        """Open the bar of an epoch of ``items`` items, ``None`` when nobody knows how many there are."""
        if self._bar is not None:
            self._task = self._bar.add_task("", total=items, epoch=epoch, figures="", speed="")

    def advance(self, items: int, figures: dict[str, float]) -> None:
        """Move on by ``items`` and show the means so far."""
        if self._bar is None or self._task is None:
            return
        task = self._bar.tasks[self._task]
        speed = f"{task.speed:,.0f} items/s" if task.speed else ""
        text = "  ".join(f"{name} {value:.4f}" for name, value in figures.items())
        self._bar.update(self._task, advance=items, figures=text, speed=speed)


def _bar() -> Any:
    """The bar itself; its library is imported where somebody watches, to keep the import of the toolkit light."""
    progress = import_module("rich.progress")
    return progress.Progress(
        progress.TextColumn("epoch {task.fields[epoch]}"),
        progress.BarColumn(),
        progress.TextColumn("{task.percentage:>3.0f}%"),
        progress.TextColumn("{task.fields[figures]}"),
        progress.TextColumn("{task.fields[speed]}"),
        progress.TimeRemainingColumn(),
        console=import_module("rich.console").Console(stderr=True),
    )
