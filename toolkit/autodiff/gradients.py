"""Reverse-mode differentiation: gradient nodes are appended to the program that computes the values.

Selection comes first: only variables that lie between what is asked for and what a gradient is given for get one, so
a frozen body costs nothing. Contributions of several readers accumulate. At an operator without a gradient the way back
ends, and all others go on; what is missing for that is told (``stops``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from toolkit.autodiff.stops import NO_RECORD, Gradients, Stop, stop_at, trace
from toolkit.compiler.program import Node, Program, Variable
from toolkit.errors import NotDifferentiableError
from toolkit.graph.parameter import is_trainable_dtype
from toolkit.operators.expression import Expression
from toolkit.operators.record import Call, NotDifferentiable

Cuts = dict[tuple[Node, int], Stop]


def differentiate(program: Program, seeds: Mapping[Variable, Variable], wrt: Iterable[Variable]) -> Gradients:
    """Append the nodes that compute the gradient of every ``wrt`` variable; returns them by that variable.

    ``seeds`` maps variables of the program to their given gradients. A ``wrt`` variable that no gradient leads to is
    left out of the result, whose ``shortfalls`` tell why, and which of the others lack a part.
    """
    wanted = list(dict.fromkeys(wrt))
    relevant = _reached_from(program, wanted)
    parts: dict[Variable, list[Expression]] = {
        variable: [program.expression(grad)] for variable, grad in seeds.items() if variable in relevant
    }
    cuts: Cuts = {}
    nodes = list(program.nodes)
    layer, role = program.layer, program.role
    for node in reversed(nodes):
        if not any(item in parts for item in node.outputs if item is not None):
            continue
        wants = [item is not None and item in relevant for item in node.inputs]
        if not any(wants):
            continue
        program.layer = node.layer
        program.role = "loss backward" if node.role == "loss" else "backward"
        grads = [None if item is None else _accumulated(parts, item) for item in node.outputs]
        _propagate(program, node, wants, grads, parts, cuts)
    grads_of = {}
    for variable in wanted:
        program.layer, program.role = variable.name, "backward"
        grads_of[variable] = _accumulated(parts, variable)
    program.layer, program.role = layer, role
    found = {variable: grad.variable for variable, grad in grads_of.items() if grad is not None}
    return Gradients(found, wanted, relevant, set(parts), *trace(nodes, seeds, set(parts), cuts))


def _propagate(
    program: Program,
    node: Node,
    wants: list[bool],
    grads: list[Expression | None],
    parts: dict[Variable, list[Expression]],
    cuts: Cuts,
) -> None:
    record = node.record
    gradient = NO_RECORD if record is None else record.gradient
    call = Call(
        [None if item is None else program.expression(item) for item in node.inputs],
        [None if item is None else program.expression(item) for item in node.outputs],
        node.attributes,
        wants,
        node.version,
    )
    try:
        given = [gradient] * len(wants) if isinstance(gradient, NotDifferentiable) else gradient(call, *grads)
    except NotDifferentiableError as error:
        given = [NotDifferentiable(str(error))] * len(wants)
    passed = [*given, *[None] * (len(wants) - len(given))]
    for index, (item, wanted, part) in enumerate(zip(node.inputs, wants, passed, strict=False)):
        if item is None or not wanted:
            continue
        if isinstance(part, Expression):
            parts.setdefault(item, []).append(part)
        elif isinstance(part, NotDifferentiable):
            cuts[node, index] = stop_at(node, part)
        else:
            cuts[node, index] = Stop(node.operator, node.layer, f"it passes no gradient to its input {index}", True)


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
    """The floating-point variables to which gradients lead from ``sources``, these included."""
    reached = set(sources)
    for node in program.nodes:
        record = node.record
        if record is None or isinstance(record.gradient, NotDifferentiable):
            continue
        if any(item in reached for item in node.inputs if item is not None):
            reached.update(item for item in node.outputs if item is not None and is_trainable_dtype(item.dtype))
    return reached
