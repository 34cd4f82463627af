"""The schedule of pruning: how the share of zeros grows (Zhu & Gupta 2017)."""

from __future__ import annotations

from dataclasses import dataclass

from toolkit.errors import TrainingError


@dataclass(frozen=True)
class Gradual:
    """From ``begin`` to ``end`` (steps) the share of zeros grows from ``initial`` to ``final``, every ``every`` steps.

    s = final + (initial - final) * (1 - progress) ** power. The power 3 prunes fast while there is much to spare, and
    slowly towards the end; 1 is linear. Raises ``TrainingError`` for numbers that are no schedule.
    """

    final: float
    end: int
    begin: int = 0
    initial: float = 0.0
    every: int = 1
    power: float = 3.0

    def __post_init__(self) -> None:
        if not 0 <= self.initial <= self.final < 1:
            raise TrainingError(
                f"Gradual requires shares 0 <= initial <= final < 1, got initial={self.initial} and final={self.final}."
            )
        if not 0 <= self.begin <= self.end or self.every < 1 or self.power <= 0:
            raise TrainingError(
                f"Gradual requires 0 <= begin <= end, every >= 1 and a power above 0, got begin={self.begin}, "
                f"end={self.end}, every={self.every}, power={self.power}."
            )

    def share(self, step: int) -> float | None:
        """The share of zeros from ``step`` on, counted from 0; ``None`` where nothing changes."""
        if step < self.begin or step > self.end or (step != self.end and (step - self.begin) % self.every):
            return None
        progress = (step - self.begin) / (self.end - self.begin) if self.end > self.begin else 1.0
        return self.final + (self.initial - self.final) * (1 - progress) ** self.power
