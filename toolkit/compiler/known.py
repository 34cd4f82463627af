"""What is known of a node before it runs: settings that older operators have as attributes and newer ones as inputs."""

from __future__ import annotations

from typing import Any

import numpy as np

from toolkit.compiler.folding import evaluate
from toolkit.compiler.program import Node, Program, Variable
from toolkit.operators.standard.slicing import slices

FAR = 12  # nodes in a row: a weight that is scaled by statistics, which are computed from others, and quantised


def known_input(node: Node, name: str, index: int) -> tuple[bool, Any]:
    """Whether an attribute, or the input that newer versions have instead, is known or absent; and its content."""
    if name in node.attributes:
        return True, node.attributes[name]
    item = node.inputs[index] if index < len(node.inputs) else None
    return (True, None) if item is None else (item.constant is not None, item.constant)


def known_slices(node: Node) -> tuple[slice, ...] | None:
    """What a Slice cuts of each axis; ``None`` where only the data tells."""
    found = [known_input(node, name, index + 1) for index, name in enumerate(("starts", "ends", "axes", "steps"))]
    if not all(is_known for is_known, _ in found):
        return None
    return slices(node.x.shape, *(content for _, content in found))


def dropped_share(node: Node) -> float | None:
    """The share of elements that a Dropout drops; ``None`` where it may drop nothing, or all, or it is not known."""
    ratio, live = (*node.inputs[1:3], None, None)[:2]
    if ratio is None or ratio.constant is None or live is None or live.constant is None or not bool(live.constant):
        return None
    share = float(ratio.constant.reshape(-1)[0])
    return share if 0.0 < share < 1.0 else None


def is_static(variable: Variable, depth: int = FAR) -> bool:
    """Whether the content follows from constants and parameters alone (looking ``depth`` nodes back)."""
    if variable.constant is not None or variable.parameter is not None:
        return True
    if variable.producer is None or depth == 0:
        return False
    return all(item is None or is_static(item, depth - 1) for item in variable.producer.inputs)


def settled_content(program: Program, variable: Variable, depth: int = FAR) -> np.ndarray | None:
    """The content of what follows from constants and parameters, which the program takes for constant from now on."""
    if variable.constant is not None:
        return variable.constant
    if variable.parameter is not None:
        return program.settled.take(variable.parameter)
    node = variable.producer
    if node is None or depth == 0 or not is_static(variable, depth):
        return None
    inputs = [None if item is None else _settled(program, item, depth - 1) for item in node.inputs]
    made = evaluate(node.domain, node.op_type, node.version, inputs, node.attributes, node.layer)
    return None if made is None else made[node.outputs.index(variable)]


def _settled(program: Program, item: Variable, depth: int) -> Variable:
    return Variable(item.name, item.dtype, item.shape, constant=settled_content(program, item, depth))
