"""Classification losses of ONNX: SoftmaxCrossEntropyLoss and NegativeLogLikelihoodLoss.

Scores are (batch, classes, positions...), labels (batch, positions...) of class numbers. Labels equal to
``ignore_index`` count nowhere; ``weight`` has one number per class; ``mean`` divides by the weights that counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from toolkit.errors import InputError, ShapeError
from toolkit.operators.composed import gradient_through
from toolkit.operators.expression import TOOLKIT_DOMAIN, Expression, as_expression, emit, reduce_sum, reshape, where
from toolkit.operators.precision import in_float32
from toolkit.operators.record import Call, TensorType, operator
from toolkit.operators.standard.softmax import log_softmax, softmax_gradient

REDUCTIONS = ("mean", "sum", "none")


def _label_weights(
    labels: np.ndarray, classes: int, weight: np.ndarray | None, ignore_index: int | None, dtype: np.dtype
) -> tuple[np.ndarray, np.ndarray]:
    """Labels that index classes safely, and how much each one counts. Raises ``InputError`` for an unknown class.

    Labels on a device are not looked at, which would keep it waiting: there an unknown one makes the loss NaN.
    """
    is_ignored = np.zeros(labels.shape, bool, like=labels) if ignore_index is None else labels == ignore_index
    safe = np.where(is_ignored, 0, labels)
    if not isinstance(labels, np.ndarray):
        is_known = (safe >= 0) & (safe < classes)
        safe = np.clip(safe, 0, classes - 1)
        counts = np.ones(labels.shape, dtype, like=labels) if weight is None else weight[safe]
        return safe, np.where(is_ignored, dtype.type(0), np.where(is_known, counts, dtype.type(np.nan)))
    require_known_labels(safe, classes, ignore_index)
    counts = np.ones(labels.shape, dtype) if weight is None else weight[safe]
    return safe, np.where(is_ignored, dtype.type(0), counts)


def require_known_labels(labels: np.ndarray, classes: int, ignore_index: int | None) -> None:
    """Raise ``InputError`` for a label that is no class; those that count nowhere are any class here."""
    if labels.size and (labels.min() < 0 or labels.max() >= classes):
        wrong = labels.min() if labels.min() < 0 else labels.max()
        raise InputError(
            f"label {wrong} is none of the {classes} classes (0 to {classes - 1}). "
            f"Number them from 0, or set ignore_index (now {ignore_index}) to it."
        )


def _reduced(losses: np.ndarray, counts: np.ndarray, reduction: str) -> np.ndarray:
    if reduction == "none":
        return losses
    total = losses.sum()
    if reduction == "sum":
        return np.asarray(total, like=losses)
    with np.errstate(invalid="ignore"):  # nothing counted: the mean of nothing is NaN, as ONNX and PyTorch have it
        return np.asarray(total / counts.sum(), like=losses)


@in_float32
def _negative_log_likelihood(
    log_probability: np.ndarray,
    labels: np.ndarray,
    weight: np.ndarray | None = None,
    *,
    ignore_index: int | None = None,
    reduction: str = "mean",
) -> np.ndarray:
    safe, counts = _label_weights(labels, log_probability.shape[1], weight, ignore_index, log_probability.dtype)
    chosen = np.take_along_axis(log_probability, safe[:, None], axis=1)[:, 0]
    return _reduced(-chosen * counts, counts, reduction)


@in_float32
def _softmax_cross_entropy(
    scores: np.ndarray,
    labels: np.ndarray,
    weight: np.ndarray | None = None,
    *,
    ignore_index: int | None = None,
    reduction: str = "mean",
) -> tuple[np.ndarray, np.ndarray]:
    log_probability = log_softmax(scores, 1)
    loss = _negative_log_likelihood(log_probability, labels, weight, ignore_index=ignore_index, reduction=reduction)
    return loss, log_probability


@in_float32
def _softmax_cross_entropy_gradient(
    g: np.ndarray,
    log_probability: np.ndarray,
    labels: np.ndarray,
    weight: np.ndarray | None = None,
    *,
    reduction: str = "mean",
    ignore_index: int | None = None,
) -> np.ndarray:
    """(softmax - one at the label) times how much the label counts in the loss."""
    safe, counts = _label_weights(labels, log_probability.shape[1], weight, ignore_index, log_probability.dtype)
    if reduction == "mean":
        with np.errstate(invalid="ignore", divide="ignore"):
            counts = counts / counts.sum()
    factor = (counts * g)[:, None]
    grad = np.exp(log_probability) * factor
    places = safe[:, None]
    np.put_along_axis(grad, places, np.take_along_axis(grad, places, axis=1) - factor, axis=1)
    return grad.astype(log_probability.dtype, copy=False)


def _checked(scores: TensorType, labels: TensorType | None, weight: TensorType | None, reduction: str) -> None:
    if reduction not in REDUCTIONS:
        raise ShapeError(f"reduction must be one of {', '.join(REDUCTIONS)}, got {reduction!r}")
    if len(scores[1]) < 2 or labels is None or labels[1] != (scores[1][0], *scores[1][2:]):
        expected = (scores[1][0], *scores[1][2:])
        raise ShapeError(
            f"labels must have the shape {expected} of the scores without classes, got {labels and labels[1]}"
        )
    if weight is not None and weight[1] != scores[1][1:2]:
        raise ShapeError(f"weight must be a vector of {scores[1][1]} classes, got {weight[1]}")


def _infer_loss(inputs: Sequence[TensorType | None], attributes: dict[str, Any], _: Any) -> list[TensorType]:
    scores, labels, weight = (*inputs, None)[:3]
    assert scores is not None
    reduction = attributes.get("reduction", "mean")
    reduction = reduction.decode() if isinstance(reduction, bytes) else reduction
    _checked(scores, labels, weight, reduction)
    assert labels is not None
    return [(scores[0], labels[1] if reduction == "none" else ()), scores]


def _infer_gradient(inputs: Sequence[TensorType | None], attributes: dict[str, Any], _: Any) -> list[TensorType]:
    g, scores, labels, weight = (*inputs, None)[:4]
    assert scores is not None
    reduction = attributes.get("reduction", "mean")
    _checked(scores, labels, weight, reduction)
    assert labels is not None
    expected = labels[1] if reduction == "none" else ()
    if g is None or g[1] != expected:
        raise ShapeError(f"the gradient must have the loss's shape {expected}, got {g and g[1]}")
    return [scores]


def _softmax_cross_entropy_rule(
    call: Call, g: Expression | None, log_grad: Expression | None = None
) -> list[Expression | None]:
    """Weights of classes are part of the question, not of the answer: they get no gradient."""
    scores, labels, weight = (*call.inputs, None)[:3]
    assert scores is not None
    log_probability = call.outputs[1] if len(call.outputs) > 1 else None
    if log_probability is None:
        log_probability = emit("LogSoftmax", scores, axis=1)
    parts = []
    if g is not None:
        attributes = {"reduction": call.attribute("reduction", "mean"), "ignore_index": call.attribute("ignore_index")}
        inputs = [g, log_probability, labels, *([] if weight is None else [weight])]
        parts.append(emit("SoftmaxCrossEntropyGradient", *inputs, domain=TOOLKIT_DOMAIN, **attributes))
    if log_grad is not None:
        parts.append(softmax_gradient(log_grad, log_probability, axis=1, log=1))
    return [sum(parts[1:], parts[0]) if parts else None]


def _selection(call: Call) -> Expression:
    """(batch, classes, positions...): how much each class of each position counts, zero for all but its label."""
    scores, labels, weight = (*call.inputs, None)[:3]
    assert scores is not None
    assert labels is not None
    classes, rank = scores.shape[1], scores.ndim
    by_class = (1, classes, *(1,) * (rank - 2))
    spread = reshape(labels, (labels.shape[0], 1, *labels.shape[1:]))
    is_label = emit("Equal", spread, np.arange(classes, dtype=labels.dtype).reshape(by_class))
    ignored = call.attribute("ignore_index")
    if ignored is not None:
        is_label = emit("And", is_label, emit("Not", emit("Equal", spread, int(ignored))))
    count = as_expression(1.0, scores) if weight is None else reshape(weight, by_class)
    return where(is_label, count, 0.0)


def _likelihood_rule(call: Call, g: Expression) -> list[Expression | None]:
    """Minus the selection, over its sum for a mean; weights of classes get no gradient."""
    selection, reduction = _selection(call), call.attribute("reduction", "mean")
    if reduction == "none":
        return [-(selection * reshape(g, (g.shape[0], 1, *g.shape[1:])))]
    if reduction == "mean":
        g = g / reduce_sum(selection, list(range(selection.ndim)), keepdims=False)
    return [-(selection * g)]


def _expansion(call: Call) -> list[Expression | None]:
    g, *rest = call.inputs
    log_probability = rest[0]
    assert g is not None and log_probability is not None
    selection = _selection(Call(rest, [], call.attributes, [], call.version))
    counts = reduce_sum(selection, [1])
    if call.attribute("reduction", "mean") == "mean":
        counts = counts / reduce_sum(selection, list(range(selection.ndim)), keepdims=False)
    factor = counts * (reshape(g, counts.shape) if g.shape else g)
    is_label = _selection(Call(rest[:2], [], {}, [], call.version))
    return [emit("Exp", log_probability) * factor - is_label * factor]


operator(
    "SoftmaxCrossEntropyLoss",
    since=12,
    reference=_softmax_cross_entropy,
    gradient=_softmax_cross_entropy_rule,
    infer=_infer_loss,
)
operator(
    "NegativeLogLikelihoodLoss",
    since=12,
    reference=_negative_log_likelihood,
    gradient=_likelihood_rule,
    infer=_infer_loss,
)
operator(
    "SoftmaxCrossEntropyGradient",
    domain=TOOLKIT_DOMAIN,
    reference=_softmax_cross_entropy_gradient,
    gradient=gradient_through(_expansion),
    infer=_infer_gradient,
    expansion=_expansion,
)
