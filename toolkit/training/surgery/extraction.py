"""A part of a network as a network of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from toolkit.errors import GraphError
from toolkit.graph.copying import copied
from toolkit.graph.layer import Graph, Leaf, reads
from toolkit.graph.network import Network
from toolkit.training.surgery.shapes import values_of


def extract(
    network: Network, inputs: Sequence[str], outputs: Sequence[str], *, dims: Mapping[str, int] | None = None
) -> Network:
    """The part of ``network`` that computes the values ``outputs`` from the values ``inputs``, as a network.

    The original stays as it is; both hold the same parameters, so training one trains the other. Shapes that the file
    does not declare are told by binding, with ``dims`` for symbols that must have certain sizes. Raises ``GraphError``
    for values that there are not, for outputs that need further inputs, and for inputs that nothing reads.
    """
    made = copied(network)
    graph = made.graph
    _require_values(graph, inputs, outputs)
    kept, needed = _between(graph, set(inputs), outputs)
    own = set(graph.parameters)
    open_inputs = [name for name in graph.inputs if name in needed and name not in own and name not in inputs]
    if open_inputs:
        raise GraphError(
            f"What leads to {list(outputs)} also reads the inputs {open_inputs}. Add them to inputs=, or values that "
            "are computed from them."
        )
    idle = [name for name in inputs if name not in needed]
    if idle:
        raise GraphError(f"Nothing between {list(inputs)} and {list(outputs)} reads {idle}. Leave them out of inputs=.")
    types = values_of(network, [*inputs, *outputs], dims)
    listed = {name: value for name, value in graph.inputs.items() if name in own and name in needed}
    produced = {name for leaf in kept for name in leaf.outputs}
    graph.leaves = kept
    graph.parameters = {name: item for name, item in graph.parameters.items() if name in needed}
    graph.inputs = {**{name: replace(types[name]) for name in inputs}, **listed}
    graph.outputs = {name: replace(types[name]) for name in outputs}
    inside = produced - set(outputs) | set(graph.parameters)
    graph.values = {name: value for name, value in graph.values.items() if name in inside}
    made.training = []
    return made


def _require_values(graph: Graph, inputs: Sequence[str], outputs: Sequence[str]) -> None:
    produced = set(graph.producers())
    for what, names, known in (("inputs", inputs, produced | set(graph.inputs)), ("outputs", outputs, produced)):
        wrong = [name for name in names if name not in known or name in graph.parameters]
        if wrong or not names or len(set(names)) < len(names):
            examples = ", ".join(repr(leaf.outputs[0]) for leaf in graph.leaves[:3])
            raise GraphError(
                f"extract requires as {what} different values that the network computes (such as {examples}), got "
                f"{list(names)}."
            )


def _between(graph: Graph, inputs: set[str], outputs: Sequence[str]) -> tuple[list[Leaf], set[str]]:
    """The leaves that ``outputs`` need when ``inputs`` are given, and everything that they read."""
    wanted, needed, kept = set(outputs), set(), []
    for leaf in reversed(graph.leaves):
        if any(name in wanted and name not in inputs for name in leaf.outputs if name):
            kept.append(leaf)
            wanted.update(reads(leaf))
            needed.update(reads(leaf))
    return kept[::-1], needed
