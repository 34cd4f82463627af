"""The history of a training run: what each epoch reached, and why the run ended."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Epoch:
    """One epoch: ``training`` and ``validation`` map ``loss`` and metric names to means over items.

    ``number`` counts from 1 over the whole life of the trainer; ``seconds`` is wall time, validation included.
    ``complete`` is false for an epoch that was interrupted or stopped; ``learning_rate`` is that of its last step.
    """

    number: int
    steps: int
    training: dict[str, float]
    validation: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    complete: bool = True
    learning_rate: float | None = None

    @property
    def judged(self) -> dict[str, float]:
        """What the epoch is judged by: its validation, or its training where there is none."""
        return self.validation or self.training


@dataclass(slots=True)
class History:
    """What ``fit`` returns. ``best_epoch`` is the number of the epoch whose weights the network has now.

    After Ctrl-C ``interrupted`` is true and ``stopped_at`` is (epoch, step), both counted from 1: the last step that
    was finished. ``message`` says in a line how the run ended; ``notes`` say what the figures do not: which parameters
    lacked a gradient.
    """

    epochs: list[Epoch] = field(default_factory=list)
    best_epoch: int | None = None
    interrupted: bool = False
    stopped_at: tuple[int, int] | None = None
    message: str = ""
    notes: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.epochs)

    def __iter__(self) -> Iterator[Epoch]:
        return iter(self.epochs)

    def __getitem__(self, name: str) -> list[float]:
        """One figure per epoch: ``history["loss"]``, or ``history["validation accuracy"]`` for held-out data."""
        if name.startswith("validation "):
            return [epoch.validation[name.removeprefix("validation ")] for epoch in self.epochs if epoch.validation]
        return [epoch.training[name] for epoch in self.epochs]

    def __str__(self) -> str:
        lines = []
        for epoch in self.epochs:
            figures = [f"{name} {value:.4f}" for name, value in epoch.training.items()]
            figures += [f"validation {name} {value:.4f}" for name, value in epoch.validation.items()]
            lines.append(f"epoch {epoch.number}: {', '.join(figures)} ({epoch.seconds:.1f} s)")
        return "\n".join([*lines, *self.notes, self.message])
