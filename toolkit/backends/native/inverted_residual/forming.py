"""Three convolutions in a row that widen, filter by channel and narrow again become one node."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from toolkit.compiler.program import Node, Program, Variable
from toolkit.operators.expression import TOOLKIT_DOMAIN
from toolkit.operators.standard.inverted_residual import INVERTED_RESIDUAL

LEAST_WIDENING = 2  # times as many channels, from which what is not written to memory repays going row by row
LEAST_NBYTES = 1 << 20  # of an image that is filtered as it is, from which it would go through the last cache
Accepts = Callable[[Node], bool]


def form_inverted_residuals(program: Program, backend: str, accepts: Accepts, others: tuple[str, ...]) -> None:
    """Form blocks of convolutions that ``others`` have, where nobody else reads what lies between, for the backend.

    Only in programs that compute forward alone: gradients need what lies between.
    """
    if any(node.role != "forward" for node in program.nodes):
        return
    readers, roots = program.consumers(), set(program.roots())

    def made_inside(item: Variable, reader: Node) -> Node | None:
        """The convolution that gives what nobody but one node reads."""
        node = item.producer
        if node is None or item in roots or readers[item] != [reader]:
            return None
        return node if _is_convolution(node, others) else None

    gone: set[Node] = set()
    instead: dict[Node, Node] = {}
    for last in program.nodes:
        if not _is_convolution(last, others) or not _is_pointwise(last):
            continue
        middle = made_inside(last.x, last)
        if middle is None or not _is_depthwise(middle):
            continue
        first = made_inside(middle.x, middle)
        if first is not None and (first in instead or not _is_pointwise(first) or len(first.inputs) > 3):
            first = None
        found = _block(last, middle, first, backend)
        if _wins(found, middle) and accepts(found):
            gone.update(node for node in (first, middle) if node is not None)
            instead[last] = found
    for node, block in instead.items():
        node.y.producer = block
    if instead:
        program.nodes = [instead.get(node, node) for node in program.nodes if node not in gone]


def _wins(block: Node, middle: Node) -> bool:
    """Whether the wide image is larger than the one that is widened, or than the second cache."""
    return middle.x.size >= LEAST_WIDENING * block.x.size or middle.x.nbytes >= LEAST_NBYTES


def _block(last: Node, middle: Node, first: Node | None, backend: str) -> Node:
    nodes = [first, middle, last]
    inputs: list[Variable | None] = [middle.x if first is None else first.x]
    for node in nodes:
        inputs += [None, None] if node is None else (*node.inputs[1:3], None)[:2]
    inputs += last.inputs[3:]
    attributes: dict[str, Any] = {name: middle.attributes[name] for name in ("strides", "pads")}
    attributes["activations"] = ["" if node is None else node.attributes.get("activation", "") for node in nodes]
    for name in ("activation_alpha", "activation_beta"):
        attributes[name] = [0.0 if node is None else float(node.attributes.get(name, 0.0)) for node in nodes]
    block = Node(INVERTED_RESIDUAL, TOOLKIT_DOMAIN, 1, inputs, last.outputs, attributes, last.layer)
    block.backend = backend
    block.fused = tuple(dict.fromkeys(name for node in nodes if node is not None for name in (node.layer, *node.fused)))
    return block


def _is_convolution(node: Node, others: tuple[str, ...]) -> bool:
    is_one = (node.op_type, node.domain) == ("FusedConv", TOOLKIT_DOMAIN) and node.backend in others
    return is_one and len(node.x.shape) == 4 and node.role == "forward"


def _is_pointwise(node: Node) -> bool:
    values, weight = node.attributes, node.inputs[1]
    assert weight is not None
    is_plain = values["group"] == 1 and set(weight.shape[2:]) == {1} and set(values["strides"]) == {1}
    return is_plain and not any(values["pads"])


def _is_depthwise(node: Node) -> bool:
    values, weight = node.attributes, node.inputs[1]
    assert weight is not None
    is_alone = values["group"] == weight.shape[0] == node.x.shape[1] and len(node.inputs) < 4
    return is_alone and set(values["dilations"]) == {1}
