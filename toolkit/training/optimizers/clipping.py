"""Clipping: gradients that are too large, by value or by the norm of all of them together."""

from __future__ import annotations

from collections.abc import Sequence

from toolkit.operators.expression import TOOLKIT_DOMAIN, Expression, emit
from toolkit.runtime.update_part import Part
from toolkit.training.optimizers.numbers import above_zero
from toolkit.training.optimizers.transform import Transform


class ClipByValue(Transform):
    """Every element of the update, bounded to [-limit, limit]."""

    def __init__(self, limit: float) -> None:
        self.limit = above_zero("ClipByValue", "limit", limit)

    def update(self, part: Part) -> Expression:
        return emit("Min", emit("Max", part.update, -self.limit), self.limit)


class ClipByGlobalNorm(Transform):
    """All updates scaled down together where their common norm exceeds ``limit``, as PyTorch's clip_grad_norm_ does."""

    is_shared = True

    def __init__(self, limit: float) -> None:
        self.limit = above_zero("ClipByGlobalNorm", "limit", limit)

    def shared(self, updates: Sequence[Expression]) -> Sequence[Expression]:
        norm = emit("Sqrt", emit("SumOfSquares", *updates, domain=TOOLKIT_DOMAIN))
        return (emit("Min", self.limit / (norm + 1e-6), 1.0),)

    def update(self, part: Part) -> Expression:
        return part.update * part.numbers[0]
