"""A progress bar with loss, accuracy, items per second and the time left; silent where nobody watches."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn


class ProgressBar:
    """One bar per epoch on standard error. It shows nothing when disabled or when that is not a terminal."""

    def __init__(self, enabled: bool = True) -> None:
        console = Console(stderr=True)
        self.enabled = enabled and console.is_terminal
        self._task: TaskID | None = None
        self._bar = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TextColumn("{task.fields[figures]}"),
            TextColumn("{task.fields[speed]}"),
            TimeRemainingColumn(),
            console=console,
            disable=not self.enabled,
        )

    def __enter__(self) -> ProgressBar:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def begin(self, epoch: int, items: int | None) -> None:
        """Open the bar of an epoch of ``items`` items, ``None`` when nobody knows how many there are."""
        self._task = self._bar.add_task("", total=items, epoch=epoch, figures="", speed="")

    def advance(self, items: int, figures: dict[str, float]) -> None:
        """Move on by ``items`` and show the means so far."""
        if not self.enabled or self._task is None:
            return
        task = self._bar.tasks[self._task]
        speed = f"{task.speed:,.0f} items/s" if task.speed else ""
        text = "  ".join(f"{name} {value:.4f}" for name, value in figures.items())
        self._bar.update(self._task, advance=items, figures=text, speed=speed)
