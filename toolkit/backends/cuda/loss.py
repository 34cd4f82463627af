"""Classification losses and their gradient: softmax, logarithm and choice of the label in one pass over the scores.

A label that is no class cannot raise on the device: it makes the loss NaN, which training notices.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from toolkit.backends.cuda.launch import NOTHING, Argument, Input, Launch, Output, Scratch, SourceKernel, in_one_row
from toolkit.backends.cuda.layouts import on_device
from toolkit.backends.cuda.registry import kernel
from toolkit.backends.cuda.source import FLOAT_TYPES, INTEGER_TYPES, Function, type_name, wide_name
from toolkit.backends.protocol import Kernel, Layout, Resources
from toolkit.compiler.program import Node, Variable
from toolkit.operators.expression import TOOLKIT_DOMAIN

HEADERS = ("reduction", "rows", "loss")
MANY_CLASSES = 1024


def _judges(scores: Variable | None, labels: Variable | None, weight: Variable | None) -> bool:
    if scores is None or labels is None or scores.dtype not in FLOAT_TYPES or labels.dtype not in INTEGER_TYPES:
        return False
    return scores.size > 0 and (weight is None or weight.dtype == scores.dtype)


def _is_loss(node: Node) -> bool:
    return _judges(*(*node.inputs, None)[:3]) and node.outputs[0] is not None


def _is_gradient(node: Node) -> bool:
    return _judges(*(*node.inputs[1:], None)[:3])


def _ignored(node: Node) -> str:
    label = node.attributes.get("ignore_index")
    return "false, 0" if label is None else f"true, {int(label)}ll"


def _laid(items: Sequence[Variable | None]) -> list[Layout | None]:
    return [None if item is None else on_device(item.dtype, item.shape) for item in items]


def _reduction(node: Node) -> str:
    return str(node.attributes.get("reduction", "mean"))


@kernel("", "SoftmaxCrossEntropyLoss", "NegativeLogLikelihoodLoss", accepts=_is_loss)
def lower_loss(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    scores, labels = node.inputs[0], node.inputs[1]
    assert scores is not None and labels is not None
    classes, inner, positions = scores.shape[1], math.prod(scores.shape[2:]), labels.size
    kind, wide = type_name(scores.dtype), wide_name(scores.dtype)
    is_each = _reduction(node) == "none"
    parameters = [f"const {kind}* scores", f"const {type_name(labels.dtype)}* labels", f"const {kind}* weight"]
    weight: Argument = Input(2) if len(node.inputs) > 2 and node.inputs[2] is not None else NOTHING
    arguments: list[Argument] = [Input(0), Input(1), weight]
    numbers = f"{classes}ull, {inner}ull, {positions}ull, {_ignored(node)}"
    half = -(-positions * np.dtype(wide).itemsize // 256) * 256
    losses: tuple[Argument, Argument] = (NOTHING, NOTHING) if is_each else (Scratch(), Scratch(half))
    tail = (f"{kind}* each", f"{wide}* losses", f"{wide}* counts")
    if node.op_type == "SoftmaxCrossEntropyLoss":
        parameters.append(f"{kind}* logarithms")
        has_second = len(node.outputs) > 1 and node.outputs[1] is not None
        arguments.append(Output(1) if has_second else NOTHING)
        lanes = 32 if classes <= MANY_CLASSES else 256
        rows = 256 // lanes
        call = f"cross_entropy<{lanes}, {rows}>(scores, labels, weight, logarithms, each, losses, counts, {numbers})"
        blocks, threads = -(-positions // rows), (lanes, rows, 1)
    else:
        call = f"likelihood(scores, labels, weight, each, losses, counts, {numbers})"
        blocks, threads = -(-positions // 256), (256, 1, 1)
    function = Function(node.op_type, (*parameters, *tail), f"    loss::{call};", HEADERS)
    arguments += [Output(0) if is_each else NOTHING, *losses]
    launches = [Launch(function, (blocks, 1, 1), threads, tuple(arguments))]
    if not is_each:
        is_mean = "true" if _reduction(node) == "mean" else "false"
        body = f"    loss::finish(losses, counts, y, {positions}ull, {is_mean});"
        finish = Function(
            "finish_loss", (f"const {wide}* losses", f"const {wide}* counts", f"{kind}* y"), body, HEADERS
        )
        launches.append(Launch(finish, (1, 1, 1), (256, 1, 1), (*losses, Output(0))))
    made = _laid(node.outputs)
    return SourceKernel("loss", launches, _laid(node.inputs), made, resources, workspace=2 * half)


@kernel(TOOLKIT_DOMAIN, "SoftmaxCrossEntropyGradient", accepts=_is_gradient)
def lower_loss_gradient(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    scores, labels = node.inputs[1], node.inputs[2]
    assert scores is not None and labels is not None
    classes, inner, positions = scores.shape[1], math.prod(scores.shape[2:]), labels.size
    kind, wide, label = type_name(scores.dtype), wide_name(scores.dtype), type_name(labels.dtype)
    weight: Argument = Input(3) if len(node.inputs) > 3 and node.inputs[3] is not None else NOTHING
    is_each, is_mean = _reduction(node) == "none", _reduction(node) == "mean"
    launches = []
    if is_mean:
        body = f"    loss::add_counts(labels, weight, total, {classes}ull, {positions}ull, {_ignored(node)});"
        counting = Function(
            "add_counts", (f"const {label}* labels", f"const {kind}* weight", f"{wide}* total"), body, HEADERS
        )
        launches.append(Launch(counting, (1, 1, 1), (256, 1, 1), (Input(2), weight, Scratch())))
    flags = ", ".join("true" if flag else "false" for flag in (is_each, is_mean))
    numbers = f"{classes}ull, {inner}ull, {scores.size}ull, {_ignored(node)}, {flags}"
    parameters = (
        f"const {kind}* g",
        f"const {kind}* logarithms",
        f"const {label}* labels",
        f"const {kind}* weight",
        f"const {wide}* total",
        f"{kind}* dx",
    )
    body = f"    loss::gradient(g, logarithms, labels, weight, total, dx, {numbers});"
    function = Function("SoftmaxCrossEntropyGradient", parameters, body, HEADERS)
    total: Argument = Scratch() if is_mean else NOTHING
    arguments = (Input(0), Input(1), Input(2), weight, total, Output(0))
    launches.append(in_one_row(function, scores.size, arguments))
    return SourceKernel(
        "loss", launches, _laid(node.inputs), _laid(node.outputs), resources, workspace=8 if is_mean else 0
    )
