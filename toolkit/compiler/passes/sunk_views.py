"""Views behind convolutions: axes of size one are dropped, or put in, behind what is elementwise instead of before it.

Exporters write a convolution over one axis as one over two, with a Squeeze behind it. The bias and the activation that
follow are fused only where they meet the convolution itself, and a view costs a copy of what lies in its layout. Cases:

- an activation of such a view, or its sum, product, ... with a constant or parameter, becomes that of the convolution,
  where nobody else reads the view;
- views that lead back to the shape from which they came disappear.
"""

from __future__ import annotations

from collections import Counter

from toolkit.compiler.passes.dead_code import remove_dead_code
from toolkit.compiler.passes.fusion import as_activation
from toolkit.compiler.passes.statistics import VIEWS, made_by, unviewed
from toolkit.compiler.program import Node, Program, Variable
from toolkit.compiler.rewrite import Replacement, rewrite, use_counts
from toolkit.operators.expression import TOOLKIT_DOMAIN, reshape

ARITHMETIC = ("Add", "Div", "Mul", "Sub")


def sink_views(program: Program) -> None:
    """Apply the cases above, to whole chains of them."""
    uses = use_counts(program)
    behind: set[Variable] = set()  # what is elementwise of a convolution by now

    def rule(node: Node) -> Replacement | None:
        if node.role != "forward" or not node.inputs or len(node.outputs) != 1 or node.outputs[0] is None:
            return None
        origin = unviewed(node.y) if made_by(node.y, *VIEWS) is node else node.y
        if origin is not node.y and origin.shape == node.y.shape:
            uses[origin] += uses[node.y] - 1
            return [origin]
        for index, view in enumerate(node.inputs):
            x = None if view is None else _before(view, uses, behind)
            if x is None or view is None:
                continue
            inputs = _inputs(program, node, index, x, view)
            if inputs is None:
                return None
            made = program.append(node.op_type, inputs, node.attributes, domain=node.domain, version=node.version)
            made.fused = node.fused
            behind.add(made.y)
            uses[made.y] = 1
            result: Variable = reshape(program.expression(made.y), node.y.shape).variable
            uses[result] = uses[node.y]
            return [result]
        return None

    if rewrite(program, rule):
        remove_dead_code(program)


def _before(view: Variable, uses: Counter[Variable], behind: set[Variable]) -> Variable | None:
    """The result of a convolution that a variable shows with other axes of size one."""
    x = view
    while (node := made_by(x, *VIEWS)) is not None and uses[x] == 1:
        x = node.x
    maker = x.producer
    is_convolution = maker is not None and maker.op_type == "FusedConv" and maker.domain == TOOLKIT_DOMAIN
    is_found = x is not view and uses[x] == 1 and (is_convolution or x in behind)
    return x if is_found and _long(x) == _long(view) else None


def _long(item: Variable) -> list[int]:
    return [size for size in item.shape if size != 1]


def _inputs(program: Program, node: Node, index: int, x: Variable, view: Variable) -> list[Variable | None] | None:
    """What the node reads where it works on ``x`` in place of its ``view``; ``None`` where it cannot."""
    if view.shape != node.y.shape:
        return None
    if as_activation(node) is not None:
        return [x, *node.inputs[1:]] if index == 0 else None
    if node.domain or node.op_type not in ARITHMETIC or "axis" in node.attributes:
        return None
    other = node.inputs[1 - index]
    if other is None or (other.constant is None and other.parameter is None):
        return None
    padded = (1,) * (len(view.shape) - len(other.shape)) + other.shape
    sizes = iter(size for size, there in zip(padded, view.shape, strict=True) if there != 1)
    shape = [1 if size == 1 else next(sizes) for size in x.shape]
    moved: Variable = reshape(program.expression(other), shape).variable
    return [x, moved] if index == 0 else [moved, x]
