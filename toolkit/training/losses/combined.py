"""Several losses at once, weighted, each on an output and with labels of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from toolkit.errors import InputError, TrainingError
from toolkit.operators.expression import Expression
from toolkit.operators.record import TensorType
from toolkit.runtime.training_program import LABELS, Labels, label_arrays
from toolkit.training.losses.loss import ONLY, Arrays, Judgement, Loss, require_number
from toolkit.training.metrics.metric import AnyMetric


class Combined(Loss):
    """The weighted sum of ``losses`` by name.

        loss = tk.losses.Combined(
            {"kind": tk.losses.SoftmaxCrossEntropy(output="logits"), "place": tk.losses.L1(output="box")},
            weights={"place": 0.5},
        )
        trainer.fit((x, {"kind": kinds, "place": places}))

    - ``weights``: how much each counts, 1 by default
    - labels: a dict by the names of the losses. ``labels={"kind": "y", "auxiliary": "y"}`` says which losses read
      labels of another name than their own: then ``{"y": ...}`` serves both. A single array serves losses that all read
      one.

    ``evaluate`` and ``fit`` report ``loss`` and ``loss.name`` for each, and their metrics as ``name.accuracy``. The
    labels in a compiled step are called ``labels.name``.
    """

    def __init__(
        self,
        losses: Mapping[str, Loss],
        weights: Mapping[str, float] | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> None:
        self.losses, weights = dict(losses), dict(weights or {})
        self._reads = {name: name for name in self.losses} | dict(labels or {})
        unknown = [name for name in (*weights, *self._reads) if name not in self.losses]
        wrong = [name for name in self.losses if not name or "." in name or not isinstance(self.losses[name], Loss)]
        if not self.losses or unknown or wrong:
            raise TrainingError(
                f"Combined requires losses of tk.losses by names without dots, and weights and labels for these names, "
                f"got losses {list(self.losses)}, weights {list(weights)}, labels {list(labels or {})}. "
                'Write for example Combined({"a": L1(output="x")}, weights={"a": 0.5}).'
            )
        factors = {
            name: require_number("Combined", f"weights[{name!r}]", weights.get(name, 1.0), 0) for name in self.losses
        }
        self._weights = {
            _joined(name, term): factors[name] * weight
            for name, loss in self.losses.items()
            for term, weight in loss.weights.items()
        }

    @property
    def weights(self) -> Mapping[str, float]:
        return self._weights

    def judged(self, outputs: Sequence[str]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for loss in self.losses.values() for name in loss.judged(outputs)))

    def label_types(self, types: Mapping[str, TensorType]) -> dict[str, TensorType]:
        return {
            _outer(key, name): kind
            for name, loss in self.losses.items()
            for key, kind in loss.label_types(self._part(name, types)).items()
        }

    def terms(self, outputs: Mapping[str, Expression], labels: Mapping[str, Expression]) -> dict[str, Expression]:
        return {
            _joined(name, term): value
            for name, loss in self.losses.items()
            for term, value in loss.terms(self._part(name, outputs), _inner(labels, name)).items()
        }

    def accepted(self, labels: Any, types: Mapping[str, TensorType], feeds: Arrays) -> Labels:
        given = self._given(labels)
        found: dict[str, np.ndarray] = {}
        for name, loss in self.losses.items():
            accepted = label_arrays(loss.accepted(given[name], self._part(name, types), feeds))
            found |= {_outer(key, name): array for key, array in accepted.items()}
        return found

    def counts(self, labels: Labels, items: int) -> dict[str, float]:
        arrays = label_arrays(labels)
        return {
            _joined(name, term): count
            for name, loss in self.losses.items()
            for term, count in loss.counts(_inner(arrays, name), items).items()
        }

    def feeds(self, x: Any, labels: Any, inputs: Sequence[str]) -> tuple[Any, Any]:
        for loss in self.losses.values():
            x, labels = loss.feeds(x, labels, inputs)
        return x, labels

    def judgements(self, outputs: Mapping[str, np.ndarray], labels: Labels) -> dict[str, Judgement]:
        arrays = label_arrays(labels)
        found: dict[str, Judgement] = {}
        for name, loss in self.losses.items():
            parts = loss.judgements(self._part(name, outputs), _inner(arrays, name))
            found |= {_joined(name, term): part for term, part in parts.items()}
        return {ONLY: next(iter(found.values())), **found} if found else {}

    def metrics(self) -> Mapping[str, AnyMetric]:
        return {
            f"{name}.{title}": metric for name, loss in self.losses.items() for title, metric in loss.metrics().items()
        }

    def _part(self, name: str, items: Mapping[str, Any]) -> dict[str, Any]:
        return {output: items[output] for output in self.losses[name].judged(list(items))}

    def _given(self, labels: Any) -> dict[str, Any]:
        """The labels of each loss; ``None`` for one that gets none."""
        if isinstance(labels, Mapping) and labels and all(str(key).startswith(f"{LABELS}.") for key in labels):
            return {name: _sole(_inner(labels, name)) for name in self.losses}  # accepted already
        keys = set(self._reads.values())
        if not isinstance(labels, Mapping):
            if labels is not None and len(keys) > 1:
                raise InputError(
                    f"{self._name} requires labels as a dict by the names {sorted(keys)}, got {type(labels).__name__}. "
                    "Pass one array for each."
                )
            return dict.fromkeys(self.losses, labels)
        if unknown := set(labels) - keys:
            raise InputError(f"{self._name}: labels have the names {sorted(keys)}, got {sorted(unknown)} besides.")
        return {name: labels.get(key) for name, key in self._reads.items()}


def _joined(name: str, term: str) -> str:
    return f"{name}.{term}" if term else name


def _outer(key: str, name: str) -> str:
    """What the labels ``key`` of a loss are called in the combination that has it by ``name``."""
    return f"{LABELS}.{name}{key.removeprefix(LABELS)}"


def _inner(labels: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The labels of one loss, by the names that it gave them."""
    prefix = f"{LABELS}.{name}"
    return {
        f"{LABELS}{key.removeprefix(prefix)}": item
        for key, item in labels.items()
        if key == prefix or key.startswith(f"{prefix}.")
    }


def _sole(labels: dict[str, Any]) -> Any:
    """Accepted labels as their loss takes them again."""
    return labels[LABELS] if list(labels) == [LABELS] else labels
