"""Contractions of labelled tensors: sums of products, two operands at a time, each a matrix product where it can be.

A label stands for one axis. The steps are written once over a small vocabulary, on arrays (``ArrayTerms``, what a
reference computes) and on expressions (``ExpressionTerms``, the standard operators that an expansion consists of).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from toolkit.operators import expression
from toolkit.operators.expression import Expression, emit

Labels = str  # one character an axis


class ArrayTerms:
    """The vocabulary on numpy arrays."""

    transpose = staticmethod(np.transpose)
    reshape = staticmethod(np.reshape)
    multiply = staticmethod(np.multiply)
    product = staticmethod(np.matmul)

    @staticmethod
    def total(x: np.ndarray, axes: Sequence[int]) -> np.ndarray:
        """The sum over ``axes``, which disappear; the element type is kept."""
        return np.asarray(x.sum(axis=tuple(axes), dtype=x.dtype))

    @staticmethod
    def diagonal(x: np.ndarray, first: int, second: int) -> np.ndarray:
        """``x`` where two axes have one index; the second disappears."""
        return np.moveaxis(np.diagonal(x, axis1=first, axis2=second), -1, first)


class ExpressionTerms:
    """The vocabulary on expressions."""

    transpose = staticmethod(expression.transpose)
    reshape = staticmethod(expression.reshape)
    multiply = staticmethod(lambda a, b: a * b)
    product = staticmethod(lambda a, b: a @ b)

    @staticmethod
    def total(x: Expression, axes: Sequence[int]) -> Expression:
        return expression.reduce_sum(x, axes, keepdims=False)

    @staticmethod
    def diagonal(x: Expression, first: int, second: int) -> Expression:
        size = x.shape[first]
        along = [size if axis in (first, second) else 1 for axis in range(x.ndim)]
        mask = np.eye(size, dtype=bool).reshape(along)
        kept = emit("Where", x.emitter.constant(mask), x, np.zeros((), x.dtype))
        return expression.reduce_sum(kept, [second], keepdims=False)


@dataclass(frozen=True, slots=True)
class Term:
    """A tensor and the labels of its axes."""

    value: Any
    labels: Labels

    def size(self, label: str) -> int:
        size: int = self.value.shape[self.labels.index(label)]
        return size


def contract(terms: Sequence[Term], output: Labels, m: Any) -> Any:
    """The product of all terms, summed over every label that ``output`` lacks, with the axes of ``output``.

    A size of 1 stretches to that of the same label elsewhere. Operands are taken from left to right.
    """
    todo = [_without_repeats(term, m) for term in terms]
    found = todo[0]
    for index, term in enumerate(todo[1:], 1):
        keep = {*output, *(label for later in todo[index + 1 :] for label in later.labels)}
        found = _contract_pair(found, term, keep, m)
    found = _summed(found, set(output), m)
    return m.transpose(found.value, [found.labels.index(label) for label in output])


def _without_repeats(term: Term, m: Any) -> Term:
    """The diagonal where a label occurs twice."""
    value, labels = term.value, term.labels
    while len(set(labels)) < len(labels):
        second = next(place for place, label in enumerate(labels) if label in labels[:place])
        value = m.diagonal(value, labels.index(labels[second]), second)
        labels = labels[:second] + labels[second + 1 :]
    return Term(value, labels)


def _summed(term: Term, keep: set[str], m: Any) -> Term:
    """``term`` summed over the labels that nobody else needs."""
    axes = [axis for axis, label in enumerate(term.labels) if label not in keep]
    if not axes:
        return term
    return Term(m.total(term.value, axes), "".join(label for label in term.labels if label in keep))


def _without_stretched(term: Term, other: Term, m: Any) -> Term:
    """``term`` without the axes of size 1 that ``other`` has larger: they say nothing."""
    gone = [label for label in term.labels if term.size(label) == 1 != _size_in(other, label)]
    if not gone:
        return term
    labels = "".join(label for label in term.labels if label not in gone)
    return Term(m.reshape(term.value, [term.size(label) for label in labels]), labels)


def _size_in(term: Term, label: str) -> int:
    return term.size(label) if label in term.labels else 1


def _contract_pair(a: Term, b: Term, keep: set[str], m: Any) -> Term:
    a, b = _without_stretched(a, b, m), _without_stretched(b, a, m)
    a, b = _summed(a, keep | set(b.labels), m), _summed(b, keep | set(a.labels), m)
    batch = "".join(label for label in a.labels if label in b.labels and label in keep)
    inner = "".join(label for label in a.labels if label in b.labels and label not in keep)
    rows = "".join(label for label in a.labels if label not in b.labels)
    columns = "".join(label for label in b.labels if label not in a.labels)
    lead, deep = [a.size(label) for label in batch], math.prod(a.size(label) for label in inner)
    heights, widths = [a.size(label) for label in rows], [b.size(label) for label in columns]
    left, right = _in_order(a, batch + rows + inner, m), _in_order(b, batch + inner + columns, m)
    if inner:
        left = m.reshape(left, [*lead, math.prod(heights), deep])
        right = m.reshape(right, [*lead, deep, math.prod(widths)])
        value = m.reshape(m.product(left, right), [*lead, *heights, *widths])
    else:
        value = m.multiply(
            m.reshape(left, [*lead, *heights, *[1] * len(widths)]),
            m.reshape(right, [*lead, *[1] * len(heights), *widths]),
        )
    return Term(value, batch + rows + columns)


def _in_order(term: Term, labels: Labels, m: Any) -> Any:
    return m.transpose(term.value, [term.labels.index(label) for label in labels])
