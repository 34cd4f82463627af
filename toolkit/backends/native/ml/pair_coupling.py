"""Class probabilities from those of every pair of classes, as ``toolkit.operators.ml.coupling`` finds them."""

from __future__ import annotations

import numpy as np

from toolkit.backends.native.assembly.code import Code
from toolkit.backends.native.assembly.number import Number
from toolkit.operators.ml.coupling import ACCURACY, ROUNDS, SMALLEST

FLOAT64 = np.dtype(np.float64)


class Coupling:
    """``classes`` probabilities of one row, at ``probability`` once all pairs are ``put`` and it is ``solve``d."""

    def __init__(self, code: Code, classes: int) -> None:
        self._code, self._classes = code, classes
        self.probability = code.scratch(FLOAT64, classes)
        self._pairwise = code.scratch(FLOAT64, classes * classes)
        self._q = code.scratch(FLOAT64, classes * classes)
        self._qp = code.scratch(FLOAT64, classes)
        zero = code.constant(0.0, FLOAT64)
        with code.loop(classes) as at:  # the diagonal, which nobody puts
            code.store(zero, self._pairwise, at * (classes + 1))

    def _get(self, place: str, at: Number) -> Number:
        return self._code.load(place, at, FLOAT64)

    def put(self, i: Number, j: Number, probability: Number) -> None:
        """The probability of class ``i`` against class ``j``."""
        for one, other, value in ((i, j, probability), (j, i, 1.0 - probability)):
            inside = value.larger(SMALLEST).smaller(1 - SMALLEST)
            self._code.store(inside, self._pairwise, one * self._classes + other)

    def solve(self) -> None:
        """Find the probabilities of all classes."""
        code, classes = self._code, self._classes
        self._prepare()
        rounds, zero = code.cell(code.index(0)), code.constant(0.0, FLOAT64)
        total = code.cell(zero)
        with code.repeat() as leave:
            leave(rounds.get() >= ROUNDS)
            rounds.set(rounds.get() + 1)
            total.set(zero)
            with code.loop(classes) as i:
                product = code.cell(zero)
                with code.loop(classes) as j:
                    factor = self._get(self._q, i * classes + j)
                    product.set(product.get() + factor * self._get(self.probability, j))
                code.store(product.get(), self._qp, i)
                total.set(total.get() + self._get(self.probability, i) * product.get())
            farthest = code.cell(zero)
            with code.loop(classes) as i:
                farthest.set(farthest.get().larger((self._get(self._qp, i) - total.get()).absolute()))
            leave(~(farthest.get() >= ACCURACY / classes))
            with code.loop(classes) as i:
                total.set(self._improved(i, total.get()))

    def _prepare(self) -> None:
        """The quadratic form, and equal probabilities to begin with."""
        code, classes = self._code, self._classes
        with code.loop(classes) as i:
            squares = code.cell(code.constant(0.0, FLOAT64))
            with code.loop(classes) as j:
                forth = self._get(self._pairwise, i * classes + j)
                back = self._get(self._pairwise, j * classes + i)
                code.store(-back * forth, self._q, i * classes + j)
                squares.set(squares.get() + back * back)
            code.store(squares.get(), self._q, i * (classes + 1))
            code.store(code.constant(1 / classes, FLOAT64), self.probability, i)

    def _improved(self, index: Number, pqp: Number) -> Number:
        """The class ``index`` gets the probability that is best given the others; returns the new ``pqp``."""
        code, classes = self._code, self._classes
        own, product = self._get(self._q, index * (classes + 1)), self._get(self._qp, index)
        step = (pqp - product) / own
        total = step + 1.0
        code.store(self._get(self.probability, index) + step, self.probability, index)
        with code.loop(classes) as i:
            moved = self._get(self._qp, i) + step * self._get(self._q, index * classes + i)
            code.store(moved / total, self._qp, i)
            code.store(self._get(self.probability, i) / total, self.probability, i)
        return (pqp + step * (step * own + product * 2.0)) / (total * total)
