"""Operands as they lie: what only moves or scales a factor of a matrix product becomes part of the product.

Cases, on float32 and float64 (a half-width product would round elsewhere):

- a Transpose before a factor, where its last two axes, or heads and positions (the third last and the second last), or
  both are exchanged, becomes the product's ``trans`` and ``swap`` flags, which backends read as strides;
- a Transpose behind a product that exchanges heads and positions becomes its ``swapY``;
- a factor multiplied or divided by a number, or a product without addends that is, becomes the product's ``alpha``.

So attention, in whatever order an exporter writes its transpositions and scalings, copies nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from toolkit.compiler.passes.dead_code import remove_dead_code
from toolkit.compiler.passes.polynomials import number
from toolkit.compiler.program import Node, Program, Variable
from toolkit.compiler.rewrite import Replacement, rewrite, use_counts
from toolkit.operators.expression import TOOLKIT_DOMAIN


def absorb_views(program: Program) -> None:
    """Apply the cases above to every FusedMatMul."""
    uses = use_counts(program)

    def rule(node: Node) -> Replacement | None:
        if node.outputs[0] is None or node.y.dtype.name not in ("float32", "float64"):
            return None
        if is_product(node):
            return _with_factors(program, node, uses)
        if node.domain or node.op_type not in ("Transpose", "Mul", "Div"):
            return None
        return _with_result(program, node, uses)

    if rewrite(program, rule):
        remove_dead_code(program)


def is_product(node: Node | None) -> bool:
    """Whether the node is a FusedMatMul."""
    return node is not None and node.op_type == "FusedMatMul" and node.domain == TOOLKIT_DOMAIN


def _with_factors(program: Program, node: Node, uses: Counter[Variable]) -> Replacement | None:
    attributes, inputs = dict(node.attributes), list(node.inputs)
    for index, letter in enumerate("AB"):
        while (found := _peeled(inputs, index, letter, attributes)) is not None:
            inputs[index], changes = found
            attributes.update(changes)
    if inputs == node.inputs:
        return None
    made = program.append("FusedMatMul", inputs, attributes, domain=TOOLKIT_DOMAIN)
    made.fused, made.is_recomputed = node.fused, node.is_recomputed
    uses[made.y] = uses[node.y]
    return made.outputs


def _peeled(
    inputs: Sequence[Variable | None], index: int, letter: str, attributes: dict[str, Any]
) -> tuple[Variable, dict[str, Any]] | None:
    """What a factor is a view or a multiple of, and the attributes that say how."""
    factor, other = inputs[index], inputs[1 - index]
    assert factor is not None and other is not None
    before = factor.producer
    if before is None or before.domain:
        return None
    if before.op_type == "Transpose":
        flags = _as_flags(_order(before), attributes.get(f"swap{letter}", 0), attributes.get(f"trans{letter}", 0))
        if flags is None or (
            flags[0] and (len(other.shape) != len(factor.shape) or other.shape[:-3] != factor.shape[:-3])
        ):
            return None
        return before.x, {f"swap{letter}": flags[0], f"trans{letter}": flags[1]}
    multiple = scaled(before)
    if multiple is None or multiple[0].shape != factor.shape:
        return None
    return multiple[0], {"alpha": float(attributes.get("alpha", 1.0)) * multiple[1]}


def _order(node: Node) -> list[int]:
    return list(node.attributes.get("perm") or range(len(node.x.shape))[::-1])


def _exchange(order: Sequence[int], swap: int, trans: int) -> list[int]:
    result = list(order)
    if swap:
        result[-3], result[-2] = result[-2], result[-3]
    if trans:
        result[-2], result[-1] = result[-1], result[-2]
    return result


def _as_flags(order: Sequence[int], swap: int, trans: int) -> tuple[int, int] | None:
    """The swap and trans that say what a permutation followed by those two says; ``None`` where none do."""
    rank = len(order)
    if rank < 2:
        return None
    wanted = _exchange(order, swap, trans)
    for flags in ((0, 0), (0, 1), (1, 0), (1, 1)):
        if (rank > 2 or not flags[0]) and _exchange(range(rank), *flags) == wanted:
            return flags
    return None


def scaled(node: Node | None) -> tuple[Variable, float] | None:
    """The tensor and the number that a node multiplies."""
    if node is None or node.domain or node.op_type not in ("Mul", "Div") or "axis" in node.attributes:
        return None
    for index, other in enumerate(reversed(node.inputs)):
        factor, tensor = number(other), node.inputs[index]
        if factor is None or tensor is None or tensor.constant is not None:
            continue
        if node.op_type == "Mul" or (index == 0 and factor):
            return tensor, factor if node.op_type == "Mul" else 1.0 / factor
    return None


def _with_result(program: Program, node: Node, uses: Counter[Variable]) -> Replacement | None:
    """The product before a node that moves or scales its result, changed to do that itself."""
    if node.op_type == "Transpose":
        before = node.x.producer
        if not is_product(before) or _as_flags(_order(node), 0, 0) != (1, 0):
            return None
        assert before is not None
        if any(len(item.shape) != 1 for item in before.inputs[2:] if item is not None):
            return None
        change: dict[str, Any] = {"swapY": int(not before.attributes.get("swapY", 0))}
    else:
        multiple = scaled(node)
        before = None if multiple is None else multiple[0].producer
        if multiple is None or not is_product(before) or multiple[0].shape != node.y.shape:
            return None
        assert before is not None
        if before.attributes.get("activation") or len(before.inputs) > 2:
            return None
        change = {"alpha": float(before.attributes.get("alpha", 1.0)) * multiple[1]}
    if uses[before.y] != 1 or before.role != node.role or before.is_recomputed != node.is_recomputed:
        return None
    attributes = {**before.attributes, **change}
    made = program.append("FusedMatMul", before.inputs, attributes, domain=TOOLKIT_DOMAIN, layer=before.layer)
    made.fused, made.is_recomputed = (*before.fused, node.layer), node.is_recomputed
    uses[made.y] = uses[node.y]
    return made.outputs
