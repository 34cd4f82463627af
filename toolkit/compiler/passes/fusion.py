"""Fusion: what follows a convolution or a matrix product elementwise is done while its result is still in registers.

Cases, each only where nobody else reads the intermediate value:

- Add of a per-channel (convolution) or per-column (matrix product) vector becomes the bias;
- Add of a tensor of the output's shape becomes the residual;
- an activation becomes the activation; afterwards nothing more is fused;
- Mul of a quantised convolution by a number becomes the scale of its grid.

In training only activations whose gradient follows from their output are taken, so that nothing extra must be kept.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from toolkit.compiler.passes.dead_code import remove_dead_code
from toolkit.compiler.program import Node, Program, Variable
from toolkit.compiler.rewrite import Replacement, rewrite, use_counts
from toolkit.operators.expression import TOOLKIT_DOMAIN, reshape

FUSIBLE = ("FusedConv", "FusedMatMul")
FROM_OUTPUT = ("Relu", "LeakyRelu", "Clip", "Sigmoid", "Tanh", "Elu")
ACTIVATIONS = (*FROM_OUTPUT, "HardSigmoid", "HardSwish", "Gelu", "GeluTanh", "Silu")


def fuse(program: Program, *, training: bool) -> None:
    """Fuse biases, residuals and activations into the nodes that produce what they work on."""
    uses = use_counts(program)

    def rule(node: Node) -> Replacement | None:
        if node.role != "forward":
            return None
        if node.op_type == "Add" and not node.domain:
            return _fuse_add(program, node, uses)
        if node.op_type == "Mul" and not node.domain:
            return _fuse_scale(program, node, uses)
        activation = as_activation(node)
        if activation is None or (training and activation["activation"] not in FROM_OUTPUT):
            return None
        before = _fusible(node.x, uses)
        return None if before is None else _merge(program, before, node, before.inputs, activation, uses)

    if rewrite(program, rule):
        remove_dead_code(program)


def as_activation(node: Node) -> dict[str, Any] | None:
    """The activation attributes of a fused operator that say what ``node`` does; ``None`` if it is no activation."""
    if node.op_type == "Clip" and not node.domain:
        low, high = _bounds(node)
        if low is None or high is None:
            return None
        return {"activation": "Clip", "activation_alpha": low, "activation_beta": high}
    if node.op_type == "Gelu":
        name = "GeluTanh" if node.attributes.get("approximate", "none") == "tanh" else "Gelu"
        return {"activation": name}
    if node.op_type not in ACTIVATIONS or node.domain not in ("", TOOLKIT_DOMAIN):
        return None
    defaults = {"LeakyRelu": (0.01, 0.0), "Elu": (1.0, 0.0), "HardSigmoid": (0.2, 0.5)}.get(node.op_type, (0.0, 0.0))
    alpha = float(node.attributes.get("alpha", defaults[0]))
    if node.op_type == "LeakyRelu" and alpha < 0:
        return None
    beta = float(node.attributes.get("beta", defaults[1]))
    return {"activation": node.op_type, "activation_alpha": alpha, "activation_beta": beta}


def _bounds(node: Node) -> tuple[float | None, float | None]:
    if node.version < 11:
        limit = float(np.finfo(np.float32).max)
        return float(node.attributes.get("min", -limit)), float(node.attributes.get("max", limit))
    bounds = (*node.inputs[1:3], None, None)[:2]
    defaults = (-float(np.finfo(np.float32).max), float(np.finfo(np.float32).max))
    found = [
        default if item is None else (None if item.constant is None else float(item.constant.reshape(-1)[0]))
        for item, default in zip(bounds, defaults, strict=True)
    ]
    return found[0], found[1]


def _fusible(variable: Variable | None, uses: Any) -> Node | None:
    if variable is None or uses[variable] != 1 or variable.producer is None:
        return None
    node = variable.producer
    if node.op_type not in FUSIBLE or node.domain != TOOLKIT_DOMAIN or node.attributes.get("activation"):
        return None
    return node


def _fuse_add(program: Program, node: Node, uses: Any) -> Replacement | None:
    left, right = node.inputs
    pairs = [(left, right), (right, left)]
    found = [(made, other) for mine, other in pairs if (made := _fusible(mine, uses)) is not None and other is not mine]
    if len(found) > 1:  # what is computed last has the other at hand
        found.sort(key=lambda pair: -program.nodes.index(pair[0]))
    for before, other in found:
        if other is None or before.y.shape != node.y.shape:
            continue
        bias = before.inputs[2] if len(before.inputs) > 2 else None
        residual = before.inputs[3] if len(before.inputs) > 3 else None
        vector = _as_bias(program, before, other) if bias is None and residual is None else None
        if vector is not None:
            return _merge(program, before, node, [*before.inputs[:2], vector], {}, uses)
        if residual is None and other.shape == node.y.shape and other.dtype == node.y.dtype:
            return _merge(program, before, node, [*before.inputs[:2], bias, other], {}, uses)
    return None


def _fuse_scale(program: Program, node: Node, uses: Any) -> Replacement | None:
    for made, other in (node.inputs, node.inputs[::-1]):
        before = None if made is None else made.producer
        if made is None or other is None or before is None or before.op_type != "GridConv" or uses[made] != 1:
            continue
        if len(before.inputs) < 5 and other.size == 1 and made.shape == node.y.shape:
            scale = reshape(program.expression(other), ()).variable
            return _merge(program, before, node, [*before.inputs, scale], {}, uses)
    return None


def _as_bias(program: Program, before: Node, other: Variable) -> Variable | None:
    """``other`` as the bias vector of ``before``, ``None`` if it is not one."""
    if other.producer is not None and not all(item is None or item.producer is None for item in other.producer.inputs):
        return None
    if other.parameter is None and other.constant is None and other.producer is None:
        return None
    rank, axis = len(before.y.shape), 1 if before.op_type == "FusedConv" else len(before.y.shape) - 1
    channels = before.y.shape[axis]
    padded = (1,) * (rank - len(other.shape)) + other.shape
    if padded != tuple(channels if index == axis else 1 for index in range(rank)):
        return None
    return reshape(program.expression(other), (channels,)).variable


def _merge(
    program: Program,
    before: Node,
    node: Node,
    inputs: list[Variable | None],
    attributes: dict[str, Any],
    uses: Any,
) -> Replacement:
    made = program.append(
        before.op_type, inputs, {**before.attributes, **attributes}, domain=TOOLKIT_DOMAIN, layer=before.layer
    )
    made.fused = (*before.fused, node.layer)
    uses[made.y] = uses[node.y]
    return [made.y]
