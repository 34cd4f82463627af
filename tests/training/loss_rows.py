"""What losses are compared on: outputs, labels, and what PyTorch makes of them. It needs numpy alone.

A row's labels are for ``ITEMS`` items; ``torch(torch, outputs, labels)`` is the mean loss of a batch of them, where
outputs is a list of tensors and labels an array or a dict of arrays.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

ITEMS, FEATURES, HIDDEN, WIDTH = 11, 6, 8, 3
BATCHES = (slice(0, 7), slice(7, ITEMS))  # the second is smaller
STEPS, RATE = 50, 0.1
WEIGHT, POSITIVE = [0.5, 2.0, 1.25], [0.5, 3.0, 1.0]

_random = np.random.default_rng(5)
CLASSES = _random.integers(0, WIDTH, ITEMS)
GAPS = np.where(np.arange(ITEMS) % 4 == 1, -100, CLASSES)
TARGETS = _random.standard_normal((ITEMS, WIDTH)).astype(np.float32)
SOME_TARGETS = np.where(_random.random((ITEMS, WIDTH)) < 0.2, np.float32(np.nan), TARGETS)
YES = _random.integers(0, 2, (ITEMS, WIDTH)).astype(np.float32)
SIGNS = np.where(_random.random(ITEMS) < 0.5, -1, 1).astype(np.float32)
SHARES = _random.dirichlet(np.ones(WIDTH), ITEMS).astype(np.float32)
POSITIONS = _random.integers(0, WIDTH, (ITEMS, 5))  # a class for each of 5 steps
SPELT = {
    "labels": np.where(np.arange(3) < (np.arange(ITEMS) % 4)[:, None], _random.integers(1, WIDTH, (ITEMS, 3)), -1),
    "input_lengths": 3 + np.arange(ITEMS) % 3,
    "target_lengths": np.arange(ITEMS) % 4,
}
SPELT["labels"][:, 1] = np.where(SPELT["labels"][:, 1] > 0, 3 - SPELT["labels"][:, 0], -1)  # no repetitions
SPELT["input_lengths"][SPELT["target_lengths"] == 3] = 5
Labels = Any


@dataclass(frozen=True)
class Row:
    """``outputs`` is how many there are, ``steps`` the size of an axis between items and classes (0: none)."""

    labels: Labels
    torch: Callable[[Any, list[Any], Any], Any]
    outputs: int = 1
    steps: int = 0


def parameters(row: Row) -> dict[str, np.ndarray]:
    """The weights that every comparison starts from."""
    random = np.random.default_rng(1)
    shapes = {
        "w1": (FEATURES, HIDDEN),
        "b1": (HIDDEN,),
        "w2": (HIDDEN, WIDTH * row.outputs),
        "b2": (WIDTH * row.outputs,),
    }
    return {name: (random.standard_normal(shape) * 0.5).astype(np.float32) for name, shape in shapes.items()}


def inputs(row: Row) -> np.ndarray:
    middle = (row.steps,) if row.steps else ()
    return np.random.default_rng(2).standard_normal((ITEMS, *middle, FEATURES)).astype(np.float32)


def part(labels: Labels, rows: slice) -> Labels:
    """The labels of some items."""
    if isinstance(labels, dict):
        return {name: array[rows] for name, array in labels.items()}
    return None if labels is None else labels[rows]


def _function(name: str, **options: Any) -> Callable[[Any, list[Any], Any], Any]:
    """``torch.nn.functional.name(output, labels)``; options that are lists become tensors."""

    def loss(torch: Any, outputs: list[Any], labels: Any) -> Any:
        given = {key: torch.tensor(item) if isinstance(item, list) else item for key, item in options.items()}
        return getattr(torch.nn.functional, name)(outputs[0], torch.tensor(labels), **given)

    return loss


def _over_steps(torch: Any, outputs: list[Any], labels: Any) -> Any:
    return torch.nn.functional.cross_entropy(outputs[0].transpose(1, 2), torch.tensor(labels), label_smoothing=0.1)


def _likelihood(**options: Any) -> Callable[[Any, list[Any], Any], Any]:
    inner = _function("nll_loss", **options)
    return lambda torch, outputs, labels: inner(torch, [outputs[0].log_softmax(1)], labels)


def _squares(torch: Any, outputs: list[Any], labels: Any) -> Any:
    real = torch.tensor(~np.isnan(labels))
    return ((outputs[0][real] - torch.tensor(labels)[real]) ** 2).mean()


def _divergence(reduction: str, log_target: bool = False) -> Callable[[Any, list[Any], Any], Any]:
    def loss(torch: Any, outputs: list[Any], labels: Any) -> Any:
        target = torch.tensor(np.log(labels) if log_target else labels)
        log = outputs[0].log_softmax(1)
        return torch.nn.functional.kl_div(log, target, reduction=reduction, log_target=log_target)

    return loss


def _signed(power: int) -> Callable[[Any, list[Any], Any], Any]:
    return lambda torch, outputs, labels: (
        (1 - (2 * torch.tensor(labels) - 1) * outputs[0]).clamp(min=0) ** power
    ).mean()


def _cosine(torch: Any, outputs: list[Any], labels: Any) -> Any:
    ones = torch.ones(len(labels))
    return torch.nn.functional.cosine_embedding_loss(outputs[0], torch.tensor(labels), ones)


def _cosine_of_two(torch: Any, outputs: list[Any], labels: Any) -> Any:
    return torch.nn.functional.cosine_embedding_loss(outputs[0], outputs[1], torch.tensor(labels), margin=0.2)


def _triplet(**options: Any) -> Callable[[Any, list[Any], Any], Any]:
    return lambda torch, outputs, labels: torch.nn.functional.triplet_margin_loss(*outputs, **options)


def _focal(gamma: float, alpha: list[float] | None) -> Callable[[Any, list[Any], Any], Any]:
    def loss(torch: Any, outputs: list[Any], labels: Any) -> Any:
        classes = torch.tensor(labels)
        each = torch.nn.functional.cross_entropy(outputs[0], classes, reduction="none")
        weight = 1.0 if alpha is None else torch.tensor(alpha)[classes]
        return (weight * (1 - torch.exp(-each)) ** gamma * each).mean()

    return loss


def _binary_focal(torch: Any, outputs: list[Any], labels: Any) -> Any:
    yes, score = torch.tensor(labels), outputs[0]
    each = torch.nn.functional.binary_cross_entropy_with_logits(score, yes, reduction="none")
    right = torch.sigmoid(score) * yes + (1 - torch.sigmoid(score)) * (1 - yes)
    return ((0.25 * yes + 0.75 * (1 - yes)) * (1 - right) ** 2 * each).mean()


def _dice(torch: Any, outputs: list[Any], labels: Any) -> Any:
    marked, label = outputs[0].softmax(2), torch.nn.functional.one_hot(torch.tensor(labels), WIDTH)
    return (1 - (2 * (marked * label).sum(1) + 1) / ((marked + label).sum(1) + 1)).mean()


def _binary_dice(torch: Any, outputs: list[Any], labels: Any) -> Any:
    marked, label = outputs[0].sigmoid(), torch.tensor(labels)
    return (1 - (2 * (marked * label).sum(1) + 1) / ((marked + label).sum(1) + 1)).mean()


def _ctc(reduction: str) -> Callable[[Any, list[Any], Any], Any]:
    def loss(torch: Any, outputs: list[Any], labels: Any) -> Any:
        log = outputs[0].log_softmax(2).transpose(0, 1)
        targets, lengths = (
            torch.tensor(np.maximum(labels["labels"], 0)),
            (labels["input_lengths"], labels["target_lengths"]),
        )
        return torch.nn.functional.ctc_loss(log, targets, *map(torch.tensor, lengths), reduction=reduction)

    return loss


def _distilled(torch: Any, outputs: list[Any], labels: Any) -> Any:
    taught = (torch.tensor(labels["labels.teacher"]) / 3).softmax(1)
    soft = torch.nn.functional.kl_div((outputs[0] / 3).log_softmax(1), taught, reduction="batchmean")
    return 0.7 * 9 * soft + 0.3 * torch.nn.functional.cross_entropy(outputs[0], torch.tensor(labels["labels"]))


def _combined(torch: Any, outputs: list[Any], labels: Any) -> Any:
    kind = torch.nn.functional.cross_entropy(outputs[0], torch.tensor(labels["kind"]))
    return kind + 0.5 * torch.nn.functional.l1_loss(outputs[1], torch.tensor(labels["place"]))


ROWS = {
    "cross-entropy": Row(CLASSES, _function("cross_entropy")),
    "cross-entropy sum": Row(CLASSES, lambda *given: _function("cross_entropy", reduction="sum")(*given) * 0.1),
    "cross-entropy weighted": Row(CLASSES, _function("cross_entropy", weight=WEIGHT)),
    "cross-entropy smoothed": Row(CLASSES, _function("cross_entropy", label_smoothing=0.2)),
    "cross-entropy with gaps": Row(
        GAPS, _function("cross_entropy", weight=WEIGHT, label_smoothing=0.2, ignore_index=-100)
    ),
    "cross-entropy over steps": Row(POSITIONS, _over_steps, steps=5),
    "cross-entropy of soft labels": Row(SHARES, _function("cross_entropy")),
    "cross-entropy of soft labels weighted": Row(
        SHARES, _function("cross_entropy", weight=WEIGHT, label_smoothing=0.2)
    ),
    "likelihood": Row(CLASSES, _likelihood()),
    "likelihood weighted": Row(GAPS, _likelihood(weight=WEIGHT, ignore_index=-100)),
    "binary": Row(YES, _function("binary_cross_entropy_with_logits")),
    "binary weighted": Row(YES, _function("binary_cross_entropy_with_logits", weight=WEIGHT, pos_weight=POSITIVE)),
    "squares": Row(TARGETS, _function("mse_loss")),
    "squares with gaps": Row(SOME_TARGETS, _squares),
    "distances": Row(TARGETS, _function("l1_loss")),
    "huber": Row(TARGETS, _function("huber_loss", delta=0.7)),
    "hinge": Row(CLASSES, _function("multi_margin_loss")),
    "hinge squared": Row(CLASSES, _function("multi_margin_loss", p=2, margin=0.8, weight=WEIGHT)),
    "hinge binary": Row(YES, _signed(1)),
    "hinge binary squared": Row(YES, _signed(2)),
    "divergence": Row(SHARES, _divergence("mean")),
    "divergence of the batch": Row(SHARES, _divergence("batchmean")),
    "divergence of logarithms": Row(SHARES, _divergence("batchmean", log_target=True)),
    "cosine": Row(TARGETS, _cosine),
    "cosine of two": Row(SIGNS, _cosine_of_two, outputs=2),
    "triplet": Row(None, _triplet(), outputs=3),
    "triplet swapped": Row(None, _triplet(p=3.0, margin=0.5, swap=True), outputs=3),
    "focal": Row(CLASSES, _focal(2.0, None)),
    "focal weighted": Row(CLASSES, _focal(1.5, WEIGHT)),
    "focal binary": Row(YES, _binary_focal),
    "dice": Row(POSITIONS, _dice, steps=5),
    "dice binary": Row(YES, _binary_dice),
    "ctc": Row(SPELT, _ctc("mean"), steps=5),
    "ctc sum": Row(SPELT, lambda *given: _ctc("sum")(*given) * 0.1, steps=5),
    "distillation": Row({"labels": CLASSES, "labels.teacher": TARGETS}, _distilled),
    "combined": Row({"kind": CLASSES, "place": TARGETS}, _combined, outputs=2),
}
SCALED = {"cross-entropy sum": 0.1, "ctc sum": 0.1}  # sums are taken times this, so that the same rate suits
