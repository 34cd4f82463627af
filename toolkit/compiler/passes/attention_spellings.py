"""Attention spelled out: products and the softmax between them become one node, where a backend has a kernel for it.

It is done behind placement, for the nodes of one backend, when element types are what will be computed in. Cases, each
only where nobody else reads what is between:

- softmax(alpha * q k' + mask) v on 3 or 4 axes, as ``operand_views`` leaves it; numbers that multiply or divide the
  scores, Casts, and a mask that the product adds are seen through, several masks are added up;
- Where with a number for hidden keys becomes a mask; one that is known and hides what comes later makes the node
  causal, and so does such a mask;
- in training the gradient of it (see ``attention_gradients``), and Dropout on the weights with that.

Refused: masks that learn, other readers of scores and weights.

What a query gets whose keys are all hidden depends on the backend. Keys are hidden by ``FLOOR``, no more: half width
holds it, no score makes up for it, and such a query gets numbers, though not those that it would have got. A backend
that ``is_exact`` adds what the masks say. Then such a query gets what it would have got, and refused is what could not
be so: numbers in the place of scores which are no lower than ``LOW`` and meet other masks, and gradients through them
unless they are known to leave every query a key.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from toolkit.compiler.known import dropped_share
from toolkit.compiler.passes.attention_gradients import (
    Attention,
    Gradient,
    Mask,
    Readers,
    Scores,
    alpha_of,
    find_gradient,
    is_bare,
    is_cast,
    is_seen,
    uncast,
)
from toolkit.compiler.passes.dead_code import remove_dead_code
from toolkit.compiler.passes.operand_views import is_product, scaled
from toolkit.compiler.passes.polynomials import number
from toolkit.compiler.program import Node, Program, Variable
from toolkit.operators.expression import OPSET, TOOLKIT_DOMAIN
from toolkit.operators.standard.fused_attention import ATTENTION, ATTENTION_GRADIENT, DROPPING
from toolkit.operators.standard.linear import swapped

FLOOR = -30000.0
LOW = -1e30  # added to a score, nothing is left of that
HIDDEN = -1e4  # what is added to scores that are to count no more, at the least
FIRST_WITH_ONE_AXIS = 13
FLOAT32 = np.dtype(np.float32)
Accepts = Callable[[Node], bool]


def form_attention(
    program: Program, backend: str, accepts: Accepts, others: Collection[str] = (), *, is_exact: bool = False
) -> None:
    """Apply the cases above to what was placed on ``backend``, where it ``accepts`` the nodes that would be formed.

    Nodes of the ``others``, backends of the same device, are taken too.
    """
    forming = _Forming(program, backend, accepts, others, is_exact)
    for node in program.nodes:
        if node.op_type == "Softmax" and not node.domain and forming.readers.is_mine(node):
            forming.visit(node)
    if forming.instead:
        program.nodes = [item for node in program.nodes for item in forming.instead.get(node, [node])]
        remove_dead_code(program)


class _Forming:
    """``instead`` are the nodes that take the place of others."""

    def __init__(
        self, program: Program, backend: str, accepts: Accepts, others: Collection[str], is_exact: bool
    ) -> None:
        self.program, self.backend, self.accepts, self.is_exact = program, backend, accepts, is_exact
        self.readers = Readers(program, {backend, *others})
        self.instead: dict[Node, list[Node]] = {}
        self._masks: dict[tuple[Mask, ...], Variable] = {}

    def visit(self, softmax: Node) -> None:
        """Form attention around a softmax, if it is that."""
        readers = self.readers.of(softmax.y)
        scores = self._scores(softmax.x, softmax.y.shape) if readers and _is_over_last_axis(softmax) else None
        if readers is None or scores is None:
            return
        dropout = next((node for node in readers if _drops(node)), None)
        if dropout is not None:
            readers = [*(self.readers.of(dropout.y) or ()), *(node for node in readers if node is not dropout)]
        weights = (dropout or softmax).y
        weighted = [node for node in readers if node.role == softmax.role and _is_weighted_sum(node, weights)]
        if len(weighted) != 1 or not _agree(found := Attention(scores, softmax, weighted[0], dropout)):
            return
        others = [node for node in readers if node is not found.weighted]
        gradient = find_gradient(found, others, self.readers) if others else None
        if gradient is None and (others or dropout is not None):
            return
        if self.is_exact:
            kept = _as_they_are(scores, is_learnt=gradient is not None)
            if kept is None:
                return
            found = replace(found, scores=kept)
        self._form(found, gradient)

    # finding ----------------------------------------------------------------------------------------------------------

    def _scores(self, variable: Variable, shape: tuple[int, ...]) -> Scores | None:
        """What scores of that shape are made of."""
        node = self.readers.before(variable)
        if node is None or variable.shape != shape:
            return None
        if is_product(node):
            return _product_of_two(node)
        if is_cast(node):
            return self._scores(node.x, shape)
        step = scaled(node)
        if step is not None:
            found = self._scores(step[0], shape)
            return None if found is None or found.masks else replace(found, scale=found.scale * step[1])
        if node.domain or node.op_type not in ("Add", "Where"):
            return None
        return self._sum(node, shape) if node.op_type == "Add" else self._choice(node, shape)

    def _sum(self, node: Node, shape: tuple[int, ...]) -> Scores | None:
        """Scores and a mask."""
        left, right = node.inputs[:2]
        assert left is not None and right is not None
        for part, mask in ((left, right), (right, left)):
            found = self._scores(part, shape)
            if found is not None:
                is_causal = mask.constant is not None and _hides_later(mask.constant, shape)
                return _masked(found, Mask(mask), is_causal)
        return None

    def _choice(self, node: Node, shape: tuple[int, ...]) -> Scores | None:
        """Scores where a condition holds, or does not, and a number elsewhere."""
        condition, left, right = node.inputs
        assert condition is not None and left is not None and right is not None
        is_turned = number(right) is None
        value, part = (number(left), right) if is_turned else (number(right), left)
        found = self._scores(part, shape)
        if found is None or value is None or value > HIDDEN:
            return None
        mask = Mask(condition, value, is_turned)
        is_causal = condition.constant is not None and _hides_later(_content(mask), shape)
        return replace(_masked(found, mask, is_causal), conditions=(*found.conditions, condition))

    # forming ----------------------------------------------------------------------------------------------------------

    def _form(self, found: Attention, gradient: Gradient | None) -> None:
        scores, weighted = found.scores, found.weighted
        made, mask = self._mask(scores.masks, weighted)
        behind = [] if mask is None else [mask]
        swaps = {f"swap{letter}": 1 for letter, flag in found.swaps.items() if flag}
        attributes: dict[str, Any] = {"scale": scores.scale, **({"is_causal": 1} if scores.is_causal else {}), **swaps}
        dropped = () if found.dropout is None else (found.dropout.layer,)
        if found.dropout is not None:
            attributes["ratio"] = dropped_share(found.dropout)
        kind = DROPPING if dropped else ATTENTION
        node = self._node(kind, [*found.operands, *behind], [weighted.y], weighted, attributes)
        paths = (scores.product.layer, *scores.product.fused, found.softmax.layer, *dropped, *weighted.fused)
        node.fused = tuple(dict.fromkeys(path for path in paths if path != node.layer))
        instead: dict[Node, list[Node]] = {weighted: [*made, node]}
        if gradient is not None:
            rows = (*found.softmax.y.shape[:-1], 1)
            node.outputs.append(Variable(self.program.fresh(f"{weighted.layer}/logarithm"), FLOAT32, rows))
            if found.dropout is not None:
                node.outputs.append(found.dropout.outputs[1])
                instead[found.dropout] = []
            instead |= self._backward(found, gradient, node, behind)
        formed = [item for nodes in instead.values() for item in nodes if item not in made]
        if all(map(self.accepts, formed)):
            self.instead |= instead
            for item in (*made, *formed):
                for variable in item.outputs:
                    if variable is not None:
                        variable.producer = item
            if mask is not None:
                self._masks[scores.masks] = mask

    def _backward(
        self, found: Attention, gradient: Gradient, forward: Node, mask: Sequence[Variable]
    ) -> dict[Node, list[Node]]:
        """The gradient node, where the first of what it replaces stood."""
        products = [item for item in gradient.products if item is not None]
        first = min(products, key=self.program.nodes.index)
        y, logarithm, *kept = forward.outputs
        behind = [*mask, *kept] if mask or not kept else [None, *kept]
        inputs = [gradient.g, *found.operands, y, logarithm, *behind]
        outputs = [None if item is None else item.y for item in gradient.products]
        node = self._node(ATTENTION_GRADIENT, inputs, outputs, first, dict(forward.attributes))
        node.fused = forward.fused
        return {item: [node] if item is first else [] for item in products}

    def _mask(self, masks: tuple[Mask, ...], like: Node) -> tuple[list[Node], Variable | None]:
        """What the masks add up to, and the nodes that compute it if it is not there yet."""
        if not masks or masks in self._masks:
            return [], self._masks.get(masks)
        made: list[Node] = []
        total: Variable | None = None
        for mask in masks:
            part = self._floored(mask, like, made)
            total = part if total is None else self._computed("Add", [total, part], like, made)
        return made, total

    def _floored(self, mask: Mask, like: Node, made: list[Node]) -> Variable:
        """A mask that hides by ``FLOOR`` at the most."""
        item = mask.variable
        floor = -math.inf if self.is_exact else FLOOR
        if mask.hidden is None and self.is_exact:
            return item
        if item.constant is not None:
            content = np.maximum(_content(mask), floor).astype(FLOAT32 if mask.hidden is not None else item.dtype)
            return self.program.constant(content).variable
        if mask.hidden is None:
            return self._computed("Max", [item, self._number(FLOOR, item.dtype)], like, made)
        numbers = [self._number(0.0, FLOAT32), self._number(max(mask.hidden, floor), FLOAT32)]
        return self._computed("Where", [item, *(numbers[::-1] if mask.is_turned else numbers)], like, made)

    def _number(self, value: float, dtype: np.dtype) -> Variable:
        return self.program.constant(np.asarray(value, dtype)).variable

    def _computed(self, op_type: str, inputs: Sequence[Variable], like: Node, made: list[Node]) -> Variable:
        """The result of an elementwise node, which is added to ``made``."""
        shape = np.broadcast_shapes(*(item.shape for item in inputs))
        y = Variable(self.program.fresh(f"{like.layer}/mask"), inputs[-1].dtype, shape)
        made.append(self._node(op_type, inputs, [y], like, {}, domain="", version=OPSET))
        return y

    def _node(
        self,
        op_type: str,
        inputs: Sequence[Variable | None],
        outputs: Sequence[Variable | None],
        like: Node,
        attributes: dict[str, Any],
        domain: str = TOOLKIT_DOMAIN,
        version: int = 1,
    ) -> Node:
        made = Node(op_type, domain, version, [*inputs], [*outputs], attributes, like.layer, role=like.role)
        made.backend = self.backend
        return made


def _masked(found: Scores, mask: Mask, is_causal: bool) -> Scores:
    """Scores with a mask more."""
    if is_causal:
        return replace(found, is_causal=True, later=(*found.later, mask))
    return replace(found, masks=(*found.masks, mask))


def _as_they_are(scores: Scores, *, is_learnt: bool) -> Scores | None:
    """The same scores whose masks are added as they are, ``None`` if a query without keys would get something else."""
    masks = (*scores.masks, *scores.later)
    if len(masks) == 1 and scores.is_causal:
        return scores
    lowest = [mask if mask.hidden is None else replace(mask, hidden=min(mask.hidden, LOW)) for mask in masks]
    if len(masks) > 1 and any(mask.hidden is not None and mask.hidden > LOW for mask in masks):
        return None
    if is_learnt and not all(mask.hidden is None or _leaves_keys(mask) for mask in masks):
        return None
    return replace(scores, is_causal=False, masks=tuple(lowest), later=())


def _leaves_keys(mask: Mask) -> bool:
    """Whether it is known that a choice hides some keys of a query at the most."""
    known = mask.variable.constant
    return known is not None and bool((~known if mask.is_turned else known).any(axis=-1).all())


def _is_over_last_axis(softmax: Node) -> bool:
    """On 3 or 4 axes; before version 13 the axes from the given one on were one."""
    rank = len(softmax.y.shape)
    axis = int(softmax.attributes.get("axis", -1 if softmax.version >= FIRST_WITH_ONE_AXIS else 1))
    return 3 <= rank <= 4 and axis % rank == rank - 1


def _product_of_two(node: Node) -> Scores | None:
    """q k', and the masks that are added on its way out."""
    flags = {name: int(node.attributes.get(name, 0)) for name in ("swapA", "swapB")}
    masks = tuple(Mask(item) for item in node.inputs[2:] if item is not None)
    return Scores(node, alpha_of(node), masks=masks) if is_seen(node, transB=1, **flags) else None


def _drops(node: Node) -> bool:
    """Whether a node is a Dropout whose ratio is known, and which the file gives no seed."""
    is_dropout = node.op_type == "Dropout" and not node.domain and len(node.outputs) > 1
    return is_dropout and "seed" not in node.attributes and dropped_share(node) is not None


def _is_weighted_sum(node: Node, weights: Variable) -> bool:
    """Whether a node is the product of weights and values."""
    flags = {name: int(node.attributes.get(name, 0)) for name in ("swapB", "swapY")}
    is_right = is_seen(node, **flags) and is_bare(node) and alpha_of(node) == 1.0
    return is_right and uncast(node.x) is weights and uncast(node.inputs[1]) is not weights


def _agree(found: Attention) -> bool:
    """Whether q, k and v have the same batch and heads: nothing is broadcast."""
    lead = found.softmax.y.shape[:-2]
    pairs = zip("QKV", found.operands, strict=True)
    return all(swapped(item.shape, found.swaps[letter], letter)[:-2] == lead for letter, item in pairs)


def _content(mask: Mask) -> np.ndarray:
    """What is added by a mask that is known."""
    known = mask.variable.constant
    assert known is not None
    if mask.hidden is None:
        return known
    hides = known if mask.is_turned else ~known
    return np.where(hides, np.float32(mask.hidden), np.float32(0))


def _hides_later(added: np.ndarray, shape: tuple[int, ...]) -> bool:
    """Whether what is added hides the keys behind the query of their number, and leaves all others as they are."""
    if added.shape[-2:] != shape[-2:] or added.size != shape[-2] * shape[-1]:
        return False
    later = np.triu(np.ones(shape[-2:], np.bool_), 1)
    grid = added.reshape(shape[-2:]).astype(FLOAT32)
    return bool((grid[later] <= HIDDEN).all() and not grid[~later].any())
