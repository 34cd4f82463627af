"""What ``attention_spellings`` forms attention from, and the gradient of it as differentiation spells that.

With P the weights and g the gradient of the result: dV = P' g, dP = g V', dS the gradient of the softmax, with zeros
where keys were hidden, dQ = scale dS K and dK = scale dS' Q. Each of dQ, dK and dV may be missing; those that are there
lie as what they are the gradient of. Where weights are dropped, dV is of those that are left, and dP is masked.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from math import isclose

import numpy as np

from toolkit.compiler.known import dropped_share
from toolkit.compiler.passes.operand_views import is_product, scaled
from toolkit.compiler.program import Node, Program, Variable
from toolkit.operators.precision import HALF_WIDTH

FLOATS = (np.dtype(np.float32), np.dtype(np.float64), *HALF_WIDTH)
FLAGS = ("transA", "transB", "swapA", "swapB", "swapY")


@dataclass(frozen=True, slots=True)
class Mask:
    """What is added to the scores: a tensor, or ``hidden`` where a condition does not hold (``is_turned``: holds)."""

    variable: Variable
    hidden: float | None = None
    is_turned: bool = False


@dataclass(frozen=True, slots=True)
class Scores:
    """The product of queries and keys, and what is done to it before the softmax.

    ``later`` are masks that make it causal, those which hide the keys behind the query of their number.
    """

    product: Node
    scale: float
    is_causal: bool = False
    masks: tuple[Mask, ...] = ()
    conditions: tuple[Variable, ...] = ()
    later: tuple[Mask, ...] = ()


@dataclass(frozen=True, slots=True)
class Attention:
    """Attention as it stands in a program; ``weighted`` is the product of weights and values.

    ``dropout`` is between them where weights are dropped.
    """

    scores: Scores
    softmax: Node
    weighted: Node
    dropout: Node | None = None

    @property
    def weights(self) -> Variable:
        """What the values are multiplied by."""
        return (self.dropout or self.softmax).y

    @property
    def operands(self) -> tuple[Variable, Variable, Variable]:
        """q, k and v."""
        q, k = self.scores.product.inputs[:2]
        v = self.weighted.inputs[1]
        assert q is not None and k is not None and v is not None
        return q, k, v

    @property
    def swaps(self) -> dict[str, int]:
        """By the letters Q, K, V and Y whether the positions lie before the heads."""
        first, second = self.scores.product.attributes, self.weighted.attributes
        flags = first.get("swapA", 0), first.get("swapB", 0), second.get("swapB", 0), second.get("swapY", 0)
        return dict(zip("QKVY", flags, strict=True))


@dataclass(frozen=True, slots=True)
class Gradient:
    """The gradient of the result, and the products that give dQ, dK and dV, as far as there are any."""

    g: Variable
    products: tuple[Node | None, Node | None, Node | None]


class Readers:
    """Who reads what, among the nodes of some backends; Casts between floats are seen through."""

    def __init__(self, program: Program, backends: Collection[str]) -> None:
        self._consumers, self._roots, self._backends = program.consumers(), set(program.roots()), backends

    def is_mine(self, node: Node | None) -> bool:
        """Whether a node may become part of another one."""
        return node is not None and node.backend in self._backends and not node.is_recomputed

    def of(self, variable: Variable) -> list[Node] | None:
        """The readers, ``None`` if there are others than nodes that may become part of another one."""
        if variable in self._roots:
            return None
        found: list[Node] = []
        for node in self._consumers.get(variable, ()):
            behind = self.of(node.y) if is_cast(node) else [node] if self.is_mine(node) else None
            if behind is None:
                return None
            found += behind
        return found

    def before(self, variable: Variable) -> Node | None:
        """The node that makes a variable for one reader, if it may become part of another one."""
        node = variable.producer
        is_only_one = variable not in self._roots and len(self._consumers.get(variable, ())) == 1
        return node if is_only_one and self.is_mine(node) else None


def is_cast(node: Node) -> bool:
    """Whether a node changes between floating-point types."""
    return node.op_type == "Cast" and not node.domain and node.x.dtype in FLOATS and node.y.dtype in FLOATS


def uncast(variable: Variable | None) -> Variable | None:
    """The tensor before its Casts."""
    while variable is not None and variable.producer is not None and is_cast(variable.producer):
        variable = variable.producer.x
    return variable


def alpha_of(node: Node) -> float:
    """What a product multiplies by."""
    return float(node.attributes.get("alpha", 1.0))


def is_seen(node: Node, **flags: int) -> bool:
    """Whether a node is a product without activation whose tensors are seen as the flags say, 0 those not given."""
    values = node.attributes
    if not is_product(node) or values.get("activation"):
        return False
    return all(int(values.get(name, 0)) == flags.get(name, 0) for name in FLAGS)


def is_bare(node: Node) -> bool:
    """Whether a product adds nothing."""
    return all(item is None for item in node.inputs[2:])


def find_gradient(found: Attention, others: list[Node], readers: Readers) -> Gradient | None:
    """The gradient, if ``others``, the further readers of the weights, are all of it and nothing else."""
    dv = next((node for node in others if is_product(node)), None)
    softmax = next((node for node in others if node.op_type == "SoftmaxGradient"), None)
    if len(others) != sum(node is not None for node in (dv, softmax)):
        return None
    grads: list[Variable | None] = []
    slopes: tuple[Node | None, Node | None] = (None, None)
    if dv is not None:
        if not _is_of_values(dv, found):
            return None
        grads.append(dv.inputs[1])
    if softmax is not None:
        product = _product_before(softmax, found, readers)
        pair = _of_queries_and_keys(softmax.y, found, readers)
        if product is None or pair is None:
            return None
        grads.append(product.x)
        slopes = pair
    g = grads[0]
    return None if g is None or grads[-1] is not g else Gradient(g, (*slopes, dv))


def _is_of_values(node: Node, found: Attention) -> bool:
    """Whether a product is dV = P' g."""
    swaps = found.swaps
    is_right = is_seen(node, transA=1, swapB=swaps["Y"], swapY=swaps["V"]) and is_bare(node)
    return is_right and alpha_of(node) == 1.0 and uncast(node.x) is uncast(found.weights)


def _product_before(softmax: Node, found: Attention, readers: Readers) -> Node | None:
    """dP = g V', which a gradient of the softmax begins with."""
    if softmax.attributes.get("log", 0) or uncast(softmax.inputs[1]) is not uncast(found.softmax.y):
        return None
    node = _before_casts(softmax.x, readers)
    if found.dropout is not None:
        if node is None or not _masks(node, found.dropout, readers):
            return None
        node = _before_casts(node.x, readers)
    if node is None or not is_seen(node, transB=1, swapA=found.swaps["Y"], swapB=found.swaps["V"]):
        return None
    is_right = is_bare(node) and alpha_of(node) == 1.0 and uncast(node.inputs[1]) is uncast(found.operands[2])
    return node if is_right else None


def _before_casts(variable: Variable, readers: Readers) -> Node | None:
    node = readers.before(variable)
    while node is not None and is_cast(node):
        node = readers.before(node.x)
    return node


def _masks(node: Node, dropout: Node, readers: Readers) -> bool:
    """Whether a node does to a gradient what the dropout did, and nobody else reads what that kept."""
    share, kept = dropped_share(dropout), (*dropout.outputs, None)[1]
    if share is None or kept is None or node.op_type != "MaskedScale" or readers.of(kept) != [node]:
        return False
    return isclose(float(node.attributes["scale"]), 1.0 / (1.0 - share), rel_tol=1e-5)


def _of_queries_and_keys(
    slopes: Variable, found: Attention, readers: Readers
) -> tuple[Node | None, Node | None] | None:
    """dQ and dK, if nothing else comes of the gradient of the softmax."""
    (q, k, _), swaps = found.operands, found.swaps
    dq = dk = None
    for node, variable, scale in _behind(slopes, found, readers):
        if node is None or not is_bare(node) or uncast(node.x) is not uncast(variable):
            return None
        if not isclose(scale * alpha_of(node), found.scores.scale, rel_tol=1e-5):
            return None
        if dq is None and is_seen(node, swapB=swaps["K"], swapY=swaps["Q"]) and uncast(node.inputs[1]) is uncast(k):
            dq = node
        elif (
            dk is None
            and is_seen(node, transA=1, swapB=swaps["Q"], swapY=swaps["K"])
            and uncast(node.inputs[1]) is uncast(q)
        ):
            dk = node
        else:
            return None
    return dq, dk


def _behind(
    variable: Variable, found: Attention, readers: Readers, scale: float = 1.0
) -> Iterator[tuple[Node | None, Variable, float]]:
    """The products that the gradient of the scores goes into, and what it is multiplied by before; ``None`` for others.

    Zeros where keys were hidden change nothing: the weights are zero there.
    """
    for node in readers.of(variable) or (None,):
        step = None if node is None else scaled(node)
        if node is None or is_product(node):
            yield node, variable, scale
        elif step is not None:
            yield from _behind(node.y, found, readers, scale * step[1])
        elif node.op_type == "Where" and not node.domain and node.inputs[0] in found.scores.conditions:
            yield from _behind(node.y, found, readers, scale)
        else:
            yield None, variable, scale
