"""Loss scaling: gradients computed larger than they are, so that small ones survive numbers of half width.

The scale is an input of the compiled step, and the update divides by it: nothing is compiled again when it moves.
"""

from __future__ import annotations

from toolkit.errors import TrainingError


class DynamicLossScale:
    """Doubles after ``interval`` good steps; halves, and the step is skipped, when gradients overflow.

    ``skipped`` counts the steps that were. At a scale of 1 an overflow is an error of the batch, not of the scale.
    """

    def __init__(
        self, initial: float = 65536.0, growth: float = 2.0, backoff: float = 0.5, interval: int = 2000
    ) -> None:
        if not initial >= 1 or not growth > 1 or not 0 < backoff < 1 or interval < 1:
            raise TrainingError(
                "DynamicLossScale requires an initial scale of 1 or more, growth above 1, backoff between 0 and 1 and "
                f"an interval of 1 or more steps, got {initial}, {growth}, {backoff} and {interval}."
            )
        self.value, self.good, self.skipped = float(initial), 0, 0
        self._growth, self._backoff, self._interval = growth, backoff, interval

    def succeeded(self) -> None:
        """Note a step whose gradients are finite."""
        self.good += 1
        if self.good == self._interval:
            self.value, self.good = min(self.value * self._growth, 2.0**100), 0

    def overflowed(self) -> bool:
        """Note a step whose gradients are not; whether the scale can have been the reason, and is lower now."""
        if self.value <= 1:
            return False
        self.value, self.good, self.skipped = max(1.0, self.value * self._backoff), 0, self.skipped + 1
        return True
