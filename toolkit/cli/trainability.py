"""Which parameters training could change, and why it could not change the others: told before anybody trains.

The answer is not guessed: the network is bound and differentiated as for training, so what counts is what the
gradients of its operators reach.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from toolkit.autodiff import differentiate
from toolkit.compiler.bind import bind
from toolkit.compiler.pipeline import prepare_for_training
from toolkit.compiler.program import Node, Program, Variable
from toolkit.graph import Network, Parameter
from toolkit.graph.parameter import is_trainable_dtype
from toolkit.operators.record import NotDifferentiable


@dataclass(slots=True)
class Verdict:
    """``outputs``: those through which a loss reaches the parameter. ``reason``: why there is none, else empty."""

    outputs: list[str] = field(default_factory=list)
    reason: str = ""

    @property
    def can_train(self) -> bool:
        return bool(self.outputs)


def trainability(network: Network, batch_size: int, dims: Mapping[str, int]) -> dict[str, Verdict]:
    """A verdict for every parameter of ``network``, at the sizes given.

    Raises what binding raises: ``InputError`` for open sizes, ``UnsupportedOperatorError``, ``ShapeError``.
    """
    verdicts = {name: Verdict(reason=_reason_of_type(item)) for name, item in network.parameters.items()}
    for output in network.outputs:
        program = prepare_for_training(bind(network, batch_size, dims, outputs=[output]))
        judged = program.outputs[output]
        if is_trainable_dtype(judged.dtype):
            _judge(program, output, judged, verdicts)
    for verdict in verdicts.values():
        if verdict.can_train:
            verdict.reason = ""
        elif not verdict.reason:
            verdict.reason = "no output of floating-point numbers depends on it"
    return verdicts


def _judge(program: Program, output: str, judged: Variable, verdicts: dict[str, Verdict]) -> None:
    blocked, severed = _walls(program, judged)
    read = {
        item.parameter.name: item
        for node in program.nodes
        for item in node.inputs
        if item is not None and item.parameter is not None and is_trainable_dtype(item.dtype)
    }
    for name in read.keys() & verdicts.keys():
        if read[name] in blocked:
            verdicts[name].reason = f"only through {blocked[read[name]]}"
    open_ways = [item for name, item in read.items() if item not in blocked and name in verdicts]
    seed = program.constant(np.ones(judged.shape, judged.dtype)).variable
    reached = differentiate(program, {judged: seed}, open_ways)
    for item in open_ways:
        assert item.parameter is not None
        verdict = verdicts[item.parameter.name]
        if item in reached:
            verdict.outputs.append(output)
        elif not verdict.reason:
            cut = severed.get(item)
            verdict.reason = f"only through {cut}" if cut else f"{_readers(program, item)} passes no gradient to it"


def _walls(program: Program, judged: Variable) -> tuple[dict[Variable, str], dict[Variable, str]]:
    """What stands between variables and ``judged``: two mappings from a variable to the operator that does.

    - blocked: an operator without a gradient; differentiating through it is an error
    - severed: an operator whose results are no floating-point numbers; gradients silently end there
    """
    live: set[Variable] = {judged}
    blocked: dict[Variable, str] = {}
    severed: dict[Variable, str] = {}
    for node in reversed(program.nodes):
        made = [item for item in node.outputs if item is not None]
        given = [item for item in node.inputs if item is not None]
        wall = next((blocked[item] for item in made if item in blocked), None)
        if wall is None and any(item in live for item in made):
            reason = _no_gradient(node)
            wall = None if reason is None else f"{node.operator} {node.layer!r}, which has no gradient: {reason}"
            if wall is None:
                live.update(item for item in given if is_trainable_dtype(item.dtype))
                severed.update((item, _results(item)) for item in given if not is_trainable_dtype(item.dtype))
        if wall is not None:
            for item in given:
                if is_trainable_dtype(item.dtype):
                    blocked.setdefault(item, wall)
        cut = next((severed[item] for item in made if item in severed), None)
        if cut is not None:
            for item in given:
                severed.setdefault(item, cut)
    return blocked, severed


def _results(item: Variable) -> str:
    if item.producer is None:
        return f"{item.name!r}"
    return f"{item.producer.operator} {item.producer.layer!r}, whose {item.dtype.name} results carry no gradient"


def _no_gradient(node: Node) -> str | None:
    record = node.record
    if record is None:
        return "nobody has written one"
    return record.gradient.reason if isinstance(record.gradient, NotDifferentiable) else None


def _readers(program: Program, item: Variable) -> str:
    readers = [node for node in program.nodes if node.role == "forward" and item in node.inputs]
    return " and ".join(dict.fromkeys(f"{node.operator} {node.layer!r}" for node in readers))


def _reason_of_type(parameter: Parameter) -> str:
    if is_trainable_dtype(parameter.dtype):
        return ""
    kind = "text" if parameter.dtype == object else parameter.dtype.name
    return f"{kind} values: indices, shapes and classes are not learnt"
