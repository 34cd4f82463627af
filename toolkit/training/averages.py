"""Figures over many batches: the loss as a mean over real items, term by term, and what the metrics say."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np

from toolkit.errors import InputError
from toolkit.runtime.training_program import Labels
from toolkit.training.losses.loss import ONLY, Loss
from toolkit.training.metrics.metric import AnyMetric, Metric
from toolkit.training.state import recall, remembered

LOSS = "loss"


class Averages:
    """Accumulates batches of ``loss`` and ``metrics`` by name.

    A name ``term.metric`` judges the output and the labels of that term, where the loss has several; other names judge
    the first. ``apart=True`` accumulates in copies of the metrics, so that the objects given stay as they are.
    """

    def __init__(self, loss: Loss, metrics: Mapping[str, AnyMetric], *, apart: bool = False) -> None:
        self._loss = loss
        self._objects = {
            name: copy.deepcopy(item) if apart else item for name, item in metrics.items() if isinstance(item, Metric)
        }
        self._functions = {name: item for name, item in metrics.items() if not isinstance(item, Metric)}
        for item in self._objects.values():
            item.start()
        self._terms = dict.fromkeys(loss.weights, (0.0, 0.0))
        self._means = dict.fromkeys(self._functions, (0.0, 0.0))

    def add(self, terms: Mapping[str, float], outputs: Mapping[str, np.ndarray], labels: Labels, items: int) -> None:
        """Take in one batch of ``items``: the terms of its loss, its outputs, and its labels as they were accepted."""
        for name, count in self._loss.counts(labels, items).items():
            # Nothing real in the batch: whatever its mean was said to be does not count.
            self._terms[name] = _plus(self._terms[name], terms[name] * count if count else 0.0, count)
        if not self._functions and not self._objects:
            return
        judgements = self._loss.judgements(outputs, labels)
        for name, function in self._functions.items():
            self._means[name] = _plus(self._means[name], *function(*_judged(name, judgements)))
        for name, item in self._objects.items():
            item.update(*_judged(name, judgements))

    def running(self) -> dict[str, float]:
        """What costs nothing to know: the loss, its terms, and the metrics that are means."""
        terms = {name: _mean(*pair) for name, pair in self._terms.items()}
        loss = sum(weight * terms[name] for name, weight in self._loss.weights.items())
        parts = {f"{LOSS}.{name}": term for name, term in terms.items() if name != ONLY}
        return {LOSS: loss, **parts, **{name: _mean(*pair) for name, pair in self._means.items()}}

    def result(self) -> dict[str, float]:
        """Every figure so far; NaN where nothing was counted."""
        figures = self.running()
        for name, item in self._objects.items():
            found = item.result()
            if isinstance(found, Mapping):
                figures |= {f"{name}.{key}": float(value) for key, value in found.items()}
            else:
                figures[name] = float(found)
        return figures

    # for a checkpoint ---------------------------------------------------------------------------------------------

    def state(self, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
        """What was taken in so far, for JSON; arrays of metrics are put into ``arrays``."""
        metrics = {name: remembered(item, arrays, f"metrics/{name}") for name, item in self._objects.items()}
        return {"terms": self._terms, "means": self._means, "metrics": metrics}

    def recall(self, state: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        """Go on from ``state``, as far as it is of the same loss and metrics."""
        for mine, found in ((self._terms, state["terms"]), (self._means, state["means"])):
            mine |= {name: (float(pair[0]), float(pair[1])) for name, pair in found.items() if name in mine}
        for name, item in self._objects.items():
            if name in state["metrics"]:
                recall(item, state["metrics"][name], arrays)


def _judged(name: str, judgements: Mapping[str, Any]) -> Any:
    term, dot, _ = name.partition(".")
    found = judgements.get(term if dot and term in judgements else ONLY)
    if found is None:
        raise InputError(
            f"Metric {name!r}: the loss has no output with labels beside it that a metric could compare. "
            f"Leave the metric out{', or name a term: ' + ', '.join(judgements) if judgements else ''}."
        )
    return found


def _plus(pair: tuple[float, float], total: float, count: float) -> tuple[float, float]:
    return pair[0] + total, pair[1] + count


def _mean(total: float, count: float) -> float:
    return total / count if count else float("nan")
