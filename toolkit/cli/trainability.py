"""Which layers gradients pass, which parameters training could change, and why not the others: told before a training.

The answer is not guessed: the network is bound and differentiated as for training, so what counts is what the
gradients of its operators reach.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from toolkit.autodiff import Gradients, differentiate, expand_gradients
from toolkit.compiler.bind import bind
from toolkit.compiler.program import Node, Program
from toolkit.compiler.settled import Settled
from toolkit.compiler.training_pipeline import prepare_for_training
from toolkit.errors import DataDependentShapeError, InputError
from toolkit.graph import Network, Parameter
from toolkit.graph.parameter import is_trainable_dtype
from toolkit.graph.surgery import ancestors

DIFFERENTIABLE, BLOCKED, NO_GRADIENT, FROZEN = "differentiable", "blocked", "no gradient", "frozen"
MERGED, CONSTANT, UNUSED = "merged", "constant", "unused"
STATES = (DIFFERENTIABLE, BLOCKED, NO_GRADIENT, FROZEN, MERGED, CONSTANT, UNUSED)  # the first of several outputs counts


@dataclass(slots=True)
class Verdict:
    """What training can do with a parameter.

    ``outputs``: those through which a loss reaches it. ``reason``: why there is none, else empty. ``missing``: which
    part of its gradient is left out all the same.
    """

    outputs: list[str] = field(default_factory=list)
    reason: str = ""
    missing: str = ""

    @property
    def can_train(self) -> bool:
        return bool(self.outputs)


@dataclass(frozen=True, slots=True)
class LayerState:
    """What becomes of gradients in a layer.

    - differentiable: they pass it, or go to its parameters
    - blocked: it has no gradient although its results move with what lies before it, or lies before such a layer
    - no gradient: there is none to have: shapes, positions, comparisons, steps
    - frozen: none is computed, because nothing in it or before it gets one
    - merged: the compiler leaves it to an equal layer, or has found it to do nothing
    - constant: it is computed once, from sizes and what the file holds
    - unused: no floating-point output depends on it
    """

    state: str
    reason: str = ""


NOTHING = LayerState(UNUSED, "no floating-point output depends on it")


@dataclass(slots=True)
class Trainability:
    """Verdicts by the names of parameters, states by the paths of layers; ``problems`` by the outputs that have any."""

    parameters: dict[str, Verdict]
    layers: dict[str, LayerState] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)

    def layer(self, path: str) -> LayerState:
        """The state of a layer, for one with bodies or a function the best one inside."""
        own = self.layers.get(path)
        inside = [state for name, state in self.layers.items() if name.startswith(f"{path}/")]
        found = [*([] if own is None else [own]), *inside]
        return min(found, key=lambda item: STATES.index(item.state), default=NOTHING)

    def see(self, path: str, state: LayerState) -> None:
        """Note a state, unless one that counts more is known."""
        known = self.layers.get(path)
        if known is None or STATES.index(state.state) < STATES.index(known.state):
            self.layers[path] = state


def trainability(network: Network, batch_size: int, dims: Mapping[str, int], output: str | None = None) -> Trainability:
    """A verdict for every parameter and layer of ``network``, at the sizes given.

    A loss may judge any of the outputs, or only ``output``; an output that cannot be bound without data is a problem of
    that output only. Raises what binding raises: ``InputError`` for open sizes, ``UnsupportedOperatorError``,
    ``ShapeError``.
    """
    if output is not None and output not in network.outputs:
        raise InputError(f"The network has no output {output!r}; its outputs are {list(network.outputs)}.")
    found = Trainability({name: Verdict(reason=_reason_of_itself(item)) for name, item in network.parameters.items()})
    for name in network.outputs if output is None else [output]:
        try:
            program = expand_gradients(bind(network, batch_size, dims, outputs=[name]))
        except DataDependentShapeError as error:
            found.problems[name] = str(error)
            continue
        judged = program.outputs[name]
        if is_trainable_dtype(judged.dtype):
            for leaf in ancestors(network.graph, [name]):
                found.see(leaf.path, LayerState(CONSTANT, "it is computed once, from sizes and what the file holds"))
            for node in program.nodes:
                found.see(node.layer, LayerState(MERGED, "an equal layer does its work, or there is none to do"))
            _judge(prepare_for_training(program), name, found)
    unknown = "; ".join(f"output {name!r} cannot be judged: {problem}" for name, problem in found.problems.items())
    for verdict in found.parameters.values():
        if verdict.can_train:
            verdict.reason = ""
        elif not verdict.reason:
            verdict.reason = unknown or "no output of floating-point numbers depends on it"
    return found


def _judge(program: Program, output: str, found: Trainability) -> None:
    forward, judged = list(program.nodes), program.outputs[output]
    seed = program.constant(np.ones(judged.shape, judged.dtype)).variable
    grads = differentiate(program, {judged: seed}, program.trainable())
    shortfalls = grads.shortfalls()
    for item in grads.wanted:
        assert item.parameter is not None
        verdict = found.parameters[item.parameter.name]
        if item in grads:
            verdict.outputs.append(output)
            verdict.missing = verdict.missing or (str(shortfalls[item]) if item in shortfalls else "")
        elif item in shortfalls and not verdict.reason:
            verdict.reason = str(shortfalls[item])
    for node in forward:
        state = _state(node, grads, program.settled)
        for path in (node.layer, *node.fused):
            found.see(path, state)


def _state(node: Node, grads: Gradients, settled: Settled) -> LayerState:
    made = [item for item in node.outputs if item is not None and item in grads.influential]
    if not made:
        return NOTHING
    given = [item for item in node.inputs if item is not None and item in grads.relevant]
    if not given:
        return LayerState(FROZEN, _why_frozen(node, settled))
    end = grads.ends.get(node)
    if end is not None and not end.is_exact:
        return LayerState(BLOCKED, end.reason)
    if any(item in grads.reached for item in made) and any(item in grads.reached for item in given):
        return LayerState(DIFFERENTIABLE)
    behind = [stop for item in made for stop in grads.stops.get(item, ())]
    for stop in behind:
        if not stop.is_exact:
            return LayerState(BLOCKED, f"every way to the output leads through {stop}")
    if end is not None:
        return LayerState(NO_GRADIENT, end.reason)
    return LayerState(NO_GRADIENT, f"every way to the output leads through {behind[0]}" if behind else "none is left")


def _why_frozen(node: Node, settled: Settled) -> str:
    owners = [item.parameter or settled.owner(item.constant) for item in node.inputs if item is not None]
    own = [
        f"{item.name!r} is {item.role or 'frozen'}"
        for item in owners
        if item is not None and not item.requires_grad and is_trainable_dtype(item.dtype)
    ]
    return "; ".join([*own, "nothing before it gets a gradient"])


def _reason_of_itself(parameter: Parameter) -> str:
    if is_trainable_dtype(parameter.dtype):
        if parameter.requires_grad:
            return ""
        return f"frozen: it is {parameter.role}" if parameter.role else "frozen"
    kind = "text" if parameter.dtype == object else parameter.dtype.name
    return f"{kind} values: indices, shapes and classes are not learnt"
