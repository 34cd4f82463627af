"""The softmax cross entropy of (batch, classes) scores, and its gradient: a pass over the rows, by all threads.

Refused: positions beside the batch, class weights, labels that count nowhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from toolkit.backends.native.assembly.code import Code
from toolkit.backends.native.assembly.folding import SUM, folded, joined_lanes, lanes_for
from toolkit.backends.native.assembly.functions import exponential
from toolkit.backends.native.assembly.number import FLOATS, INDEX, Number
from toolkit.backends.native.assembly.team import Team
from toolkit.backends.native.kernel import CompiledKernel, plain_layouts
from toolkit.backends.native.normalization.rows import softmax_row
from toolkit.backends.native.registry import kernel
from toolkit.backends.protocol import Kernel, Layout, Resources
from toolkit.compiler.program import Node
from toolkit.operators.expression import TOOLKIT_DOMAIN
from toolkit.operators.standard.loss import require_known_labels

WORTH_A_THREAD = 1 << 12  # scores from which others help
WHOLE = (np.dtype(np.int32), np.dtype(np.int64))


def _is_plain(node: Node, scores: int) -> bool:
    """Whether input ``scores`` is a matrix, and its labels all count the same."""
    given, labels, weight = (*node.inputs, None)[scores : scores + 3]
    if given is None or labels is None or given.dtype not in FLOATS or len(given.shape) != 2 or not given.size:
        return False
    is_alike = node.y.dtype == given.dtype and labels.dtype in WHOLE
    return is_alike and weight is None and node.attributes.get("ignore_index") is None


def _label(code: Code, labels: str, row: Number, dtype: np.dtype) -> Number:
    return code.load(labels, row, dtype).converted(INDEX)


def _within(label: Number, classes: int) -> Number:
    """A class, whatever the label is: what is none is refused later."""
    return label.larger(0).smaller(classes - 1)


def _refuse_unknown(code: Code, labels: str, rows: int, classes: int, dtype: np.dtype) -> None:
    with code.loop(rows) as row:
        label = _label(code, labels, row, dtype)
        code.refuse((label < 0) | (label >= classes))


def _explain(classes: int, at: int, *arrays: np.ndarray) -> None:
    require_known_labels(arrays[at], classes, None)


@kernel("", "SoftmaxCrossEntropyLoss", accepts=lambda node: _is_plain(node, 0))
def lower_loss(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """The loss of each row by a team, their sum or mean by one thread."""
    scores, labels = node.x, node.inputs[1]
    assert labels is not None
    (rows, classes), dtype = scores.shape, scores.dtype
    reduction = node.attributes.get("reduction", "mean")
    keeps = len(node.outputs) > 1 and node.outputs[1] is not None
    wants = [reduction != "none", not keeps]  # of scratch memory: losses, log-probabilities
    sizes = [count * is_wanted for count, is_wanted in zip((rows, rows * classes), wants, strict=True)]

    def places(code: Code) -> tuple[str, str, str, str, str]:
        """Scores, labels, the result, log-probabilities, the loss of each row."""
        given, numbers, result, *others = code.places
        log_probability = others[0] if keeps else code.address(others[-1], sizes[0], dtype)
        return given, numbers, result, log_probability, others[-1] if wants[0] else result

    count = 3 + int(keeps) + int(any(sizes))
    code = Code(count)
    begin, end = Team(code, resources.threads if scores.size >= WORTH_A_THREAD else 1).share(rows)
    given, numbers, _, log_probability, each = places(code)
    with code.loop(end, start=begin) as row:
        start = row * classes
        softmax_row(code, given, log_probability, start, classes, dtype, is_log=True)
        at = start + _within(_label(code, numbers, row, labels.dtype), classes)
        code.store(-code.load(log_probability, at, dtype), each, row)

    after = Code(count)
    _, numbers, result, _, each = places(after)
    _refuse_unknown(after, numbers, rows, classes, labels.dtype)
    if reduction != "none":
        lanes = lanes_for(rows, dtype)
        read = partial(_read, after, each, dtype, lanes)
        total = joined_lanes(SUM, folded(after, SUM, rows, read, lanes, dtype))
        after.store(total / float(rows) if reduction == "mean" else total, result, 0)
    return CompiledKernel(
        code,
        plain_layouts(node.inputs),
        plain_layouts(node.outputs),
        workspace=sum(sizes) * dtype.itemsize,
        explain=partial(_explain, classes, 1),
        after=[after],
    )


def _read(code: Code, place: str, dtype: np.dtype, lanes: int, position: Number, count: int) -> Number:
    return code.load_some(place, position, dtype, count, lanes)


@kernel(TOOLKIT_DOMAIN, "SoftmaxCrossEntropyGradient", accepts=lambda node: _is_plain(node, 1))
def lower_loss_gradient(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """Probabilities, less one at the label, times what the gradient of the loss gives each row."""
    labels = node.inputs[2]
    assert labels is not None
    (rows, classes), dtype = node.y.shape, node.y.dtype
    reduction = node.attributes.get("reduction", "mean")
    code, after, lanes = Code(4), Code(4), lanes_for(classes, dtype)
    slope, log_probability, numbers, target = code.places
    begin, end = Team(code, resources.threads if node.y.size >= WORTH_A_THREAD else 1).share(rows)
    with code.loop(end, start=begin) as row:
        start = row * classes
        share = code.load(slope, row if reduction == "none" else 0, dtype)
        factor = share / float(rows) if reduction == "mean" else share

        def piece(position: Number, count: int, start: Number = start, factor: Number = factor) -> None:
            found = exponential(code.load_some(log_probability, start + position, dtype, count, lanes))
            code.store_some(found * factor.spread(lanes), target, start + position, count)

        code.pieces(classes, lanes, piece)
        at = start + _within(_label(code, numbers, row, labels.dtype), classes)
        code.store(code.load(target, at, dtype) - factor, target, at)
    _refuse_unknown(after, after.places[2], rows, classes, labels.dtype)
    told = partial(_explain, classes, 2)
    return CompiledKernel(
        code, plain_layouts(node.inputs), plain_layouts(node.outputs), in_place=[(0, 1)], explain=told, after=[after]
    )
