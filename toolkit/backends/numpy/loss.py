"""Direct numpy kernels of the softmax cross entropy of (batch, classes) scores, and of its gradient.

The loss of small networks costs as much as their layers, so what nobody asked for is not computed. Refused, so left to
the reference: positions beside the batch, class weights, labels that count nowhere.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from toolkit.backends.numpy.bound import FLOATS, Arrays, Direct, Lower
from toolkit.backends.protocol import Step
from toolkit.compiler.program import Node
from toolkit.operators.expression import TOOLKIT_DOMAIN
from toolkit.operators.standard.loss import require_known_labels


def _is_plain(node: Node, scores: int) -> bool:
    """Whether input ``scores`` is a non-empty matrix, and its labels all count the same."""
    given, labels = node.inputs[scores : scores + 2]
    if given is None or labels is None or given.dtype not in FLOATS or len(given.shape) != 2 or not given.size:
        return False
    is_weighted = len(node.inputs) > scores + 2 and node.inputs[scores + 2] is not None
    return labels.dtype in (np.int32, np.int64) and not is_weighted and node.attributes.get("ignore_index") is None


class _Labels:
    """The places of the labels in the flat matrix of the scores, found anew in every run."""

    def __init__(self, labels: np.ndarray, classes: int) -> None:
        self._labels, self._classes = labels, classes
        self._unsigned = labels.view(labels.dtype.name.replace("int", "uint"))  # negative ones are beyond all classes
        self._starts = np.arange(labels.size) * classes
        self._places = np.empty(labels.size, np.int64)

    def places(self) -> np.ndarray:
        if np.maximum.reduce(self._unsigned) >= self._classes:
            require_known_labels(self._labels, self._classes, None)
        return np.add(self._starts, self._labels, out=self._places)


def _loss(node: Node) -> Direct | None:
    if not _is_plain(node, 0):
        return None
    (count, classes), dtype = node.x.shape, node.x.dtype
    reduction = node.attributes.get("reduction", "mean")

    def bind(inputs: Arrays, outputs: Arrays) -> Step:
        scores, labels, loss = inputs[0], _Labels(inputs[1], classes), outputs[0]
        log_probability = outputs[1] if len(outputs) > 1 and outputs[1] is not None else np.empty_like(scores)
        flat, powers = log_probability.reshape(-1), np.empty_like(scores)
        line, chosen = np.empty((count, 1), dtype), np.empty(count, dtype)

        def step() -> None:
            np.maximum.reduce(scores, axis=1, keepdims=True, out=line)
            np.subtract(scores, line, out=log_probability)
            np.exp(log_probability, out=powers)
            np.add.reduce(powers, axis=1, keepdims=True, out=line)
            np.log(line, out=line)
            np.subtract(log_probability, line, out=log_probability)
            flat.take(labels.places(), out=chosen, mode="clip")
            if reduction == "none":
                np.negative(chosen, out=loss)
                return
            np.add.reduce(chosen, out=loss)
            np.divide(loss, -count if reduction == "mean" else -1, out=loss)

        return step

    return Direct(bind)


def _gradient(node: Node) -> Direct | None:
    if not _is_plain(node, 1):
        return None
    (count, classes), dtype = node.y.shape, node.y.dtype
    reduction = node.attributes.get("reduction", "mean")

    def bind(inputs: Arrays, outputs: Arrays) -> Step:
        (g, log_probability, given), y = inputs[:3], outputs[0]
        labels, flat, chosen = _Labels(given, classes), y.reshape(-1), np.empty(count, dtype)
        factor: Any = g if reduction != "none" else g[:, None]
        share = np.empty((), dtype) if reduction == "mean" else None

        def step() -> None:
            places = labels.places()
            np.exp(log_probability, out=y)
            flat.take(places, out=chosen, mode="clip")
            np.subtract(chosen, 1, out=chosen)
            flat[places] = chosen
            np.multiply(y, factor if share is None else np.divide(g, count, out=share), out=y)

        return step

    return Direct(bind, in_place=((0, 1),))


LOSSES: dict[tuple[str, str], Lower] = {
    ("", "SoftmaxCrossEntropyLoss"): _loss,
    (TOOLKIT_DOMAIN, "SoftmaxCrossEntropyGradient"): _gradient,
}
