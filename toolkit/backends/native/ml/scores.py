"""Scores of one row on the stack, made into the answers of ``ai.onnx.ml``: who wins, and what a transform makes of all.

Served are all transforms but PROBIT, and labels that are numbers.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from toolkit.backends.native.assembly import functions
from toolkit.backends.native.assembly.code import Code
from toolkit.backends.native.assembly.number import BOOLEAN, INDEX, Number
from toolkit.operators.ml.post_transform import NEARLY_ZERO

FLOAT32 = np.dtype(np.float32)
TRANSFORMS = ("NONE", "LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO")
MOST_SCORES = 4096  # of a row: they lie on the stack


class Scores:
    """``count`` numbers of ``dtype``, and whether anything was said of each; ``given`` keeps that where it is asked."""

    def __init__(
        self, code: Code, count: int, dtype: np.dtype, *, keeps_given: bool = False, place: str | None = None
    ) -> None:
        self.code, self.count, self.dtype = code, count, dtype
        self.place = place or code.scratch(dtype, count)
        self.given = code.scratch(BOOLEAN, count) if keeps_given else ""

    def narrowed(self, dtype: np.dtype) -> Scores:
        """As many scores of a type, of which as much was said; these themselves where they are of that type."""
        if dtype == self.dtype:
            return self
        found = Scores(self.code, self.count, dtype)
        found.given = self.given
        return found

    def take(self, others: Scores) -> None:
        """Become what others are, in this type."""
        with self.code.loop(self.count) as at:
            self.set(at, others.get(at).converted(self.dtype))

    def clear(self, start: float = 0.0) -> None:
        """Nothing was said of any, and all are ``start``."""
        with self.code.loop(self.count) as at:
            self.code.store(self.code.constant(start, self.dtype), self.place, at)
            if self.given:
                self.code.store(self.code.constant(False, BOOLEAN), self.given, at)

    def get(self, at: Number | int) -> Number:
        return self.code.load(self.place, at, self.dtype)

    def set(self, at: Number | int, value: Number) -> None:
        self.code.store(value, self.place, at)

    def is_given(self, at: Number | int) -> Number:
        """Whether anything was said of one."""
        return self.code.load(self.given, at, BOOLEAN) if self.given else self.code.constant(True, BOOLEAN)

    def say(self, at: Number, said: Number) -> None:
        """Note whether something was said of one."""
        self.code.store(self.is_given(at) | said, self.given, at)

    def change(self, function: Callable[[Number, Number], Number]) -> None:
        """Replace every score by a function of its place and itself."""
        with self.code.loop(self.count) as at:
            self.set(at, function(at, self.get(at)))

    def winner(self) -> Number:
        """The first of the highest scores of which something was said; a NaN is the highest."""
        code = self.code
        best, place = code.cell(code.constant(-np.inf, self.dtype)), code.cell(code.index(0))
        with code.loop(self.count) as at:
            is_number = best.get().equals(best.get())
            better = is_number & ~(self.get(at) <= best.get()) & self.is_given(at)
            place.set(better.choose(at, place.get()))
            best.set(better.choose(self.get(at), best.get()))
        return place.get()

    def transform(self, name: str) -> None:
        """Apply a transform; a single score stays as it is."""
        if name == "NONE" or self.count == 1:
            return
        if name == "LOGISTIC":
            self.change(lambda at, score: functions.sigmoid(score))
            return
        code = self.code
        highest, total = code.cell(self.get(0)), code.cell(code.constant(0, self.dtype))
        with code.loop(self.count) as at:
            highest.set(highest.get().larger(self.get(at)))
        with code.loop(self.count) as at:
            power = functions.exponential(self.get(at) - highest.get())
            if name == "SOFTMAX_ZERO":
                power = (self.get(at).absolute() <= NEARLY_ZERO).choose(power.like(0.0), power)
            self.set(at, power)
            total.set(total.get() + power)
        self.change(lambda at, score: score / total.get())

    def write(self, place: str, start: Number, dtype: np.dtype = FLOAT32) -> None:
        """All scores in a type, from ``start`` on."""
        with self.code.loop(self.count) as at:
            self.code.store(self.get(at).converted(dtype), place, start + at)


def with_opposite(score: Number, name: str, is_probability: bool) -> tuple[Number, Number]:
    """Two scores from the one of the second of two classes."""
    if name == "LOGISTIC":
        second = functions.sigmoid(score)
        return 1.0 - second, second
    return (1.0 - score if is_probability else -score), score


def put_label(code: Code, labels: str, winner: Number, target: str, row: Number) -> None:
    """Write the label of a class."""
    code.store(code.load(labels, winner, INDEX), target, row)
