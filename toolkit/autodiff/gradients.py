"""Reverse-mode differentiation: gradient nodes are appended to the program that computes the values.

Selection comes first: only variables that lie between what is asked for and what a gradient is given for get one, so
a frozen body costs nothing. Contributions of several readers accumulate.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from toolkit.compiler.program import Node, Program, Variable
from toolkit.errors import NotDifferentiableError
from toolkit.graph.parameter import is_trainable_dtype
from toolkit.operators.expression import Expression
from toolkit.operators.record import Call, NotDifferentiable


def differentiate(
    program: Program, seeds: Mapping[Variable, Variable], wrt: Iterable[Variable]
) -> dict[Variable, Variable]:
    """Append the nodes that compute the gradient of every ``wrt`` variable; returns them by that variable.

    ``seeds`` maps variables of the program to their given gradients. A ``wrt`` variable that nothing leads to is left
    out of the result. Raises ``NotDifferentiableError`` naming the layer when an operator without a gradient lies on
    the way.
    """
    wanted = list(dict.fromkeys(wrt))
    relevant = _reached_from(program, wanted)
    parts: dict[Variable, list[Expression]] = {
        variable: [program.expression(grad)] for variable, grad in seeds.items() if variable in relevant
    }
    layer, role = program.layer, program.role
    for node in list(reversed(program.nodes)):
        if not any(item in parts for item in node.outputs if item is not None):
            continue
        wants = [item is not None and item in relevant for item in node.inputs]
        if not any(wants):
            continue
        program.layer = node.layer
        program.role = "loss backward" if node.role == "loss" else "backward"
        grads = [None if item is None else _accumulated(parts, item) for item in node.outputs]
        _propagate(program, node, wants, grads, parts)
    program.layer, program.role = layer, role
    found = {variable: _accumulated(parts, variable) for variable in wanted}
    return {variable: grad.variable for variable, grad in found.items() if grad is not None}


def _propagate(
    program: Program,
    node: Node,
    wants: list[bool],
    grads: list[Expression | None],
    parts: dict[Variable, list[Expression]],
) -> None:
    record = node.record
    if record is None or isinstance(record.gradient, NotDifferentiable):
        reason = "it has no record" if record is None else record.gradient.reason  # type: ignore[union-attr]
        raise NotDifferentiableError(
            f"{node.operator} {node.layer!r} has no gradient ({reason}), and the loss depends on something to train "
            "through it. Freeze what lies before it, or judge another output."
        )
    call = Call(
        [None if item is None else program.expression(item) for item in node.inputs],
        [None if item is None else program.expression(item) for item in node.outputs],
        node.attributes,
        wants,
        node.version,
    )
    for item, wanted, part in zip(node.inputs, wants, record.gradient(call, *grads), strict=False):
        if item is not None and wanted and part is not None:
            parts.setdefault(item, []).append(part)


def _accumulated(parts: dict[Variable, list[Expression]], variable: Variable) -> Expression | None:
    """The sum of all contributions so far, which then counts as the one contribution."""
    found = parts.get(variable)
    if not found:
        return None
    total = found[0]
    for part in found[1:]:
        total = total + part
    parts[variable] = [total]
    return total


def _reached_from(program: Program, sources: Iterable[Variable]) -> set[Variable]:
    """The floating-point variables that depend on ``sources``, these included."""
    reached = set(sources)
    for node in program.nodes:
        if any(item in reached for item in node.inputs if item is not None):
            reached.update(item for item in node.outputs if item is not None and is_trainable_dtype(item.dtype))
    return reached
