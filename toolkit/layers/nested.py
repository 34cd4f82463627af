"""Networks as layers: a trained or imported network becomes a part of a larger one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from toolkit.errors import GraphError, ShapeError
from toolkit.graph.copying import renamed
from toolkit.graph.layer import Graph, reads
from toolkit.graph.network import Network
from toolkit.graph.parameter import Parameter
from toolkit.graph.value import Value
from toolkit.layers.builder import Builder
from toolkit.layers.definition import Definition
from toolkit.operators.inference import since_version


@dataclass(frozen=True)
class Nested(Definition):
    """Another network with its weights, as often as it is appended; inputs and outputs in the network's own order.

    The weights are copied, so the network itself stays as it is; ``frozen`` keeps the copies from learning. Networks
    with functions or operators beside ai.onnx are joined by ``tk.surgery.connect`` instead.
    """

    network: Network
    frozen: bool = False
    name: str = ""

    def append(self, builder: Builder, x: Value) -> Value:
        return self.connect(builder, [x])[0]

    def connect(self, builder: Builder, inputs: Sequence[Value]) -> tuple[Value, ...]:
        """All outputs of the network. Raises ``GraphError`` for one of another opset, ``ShapeError`` for its inputs."""
        graph = self.network.graph
        self.require_inputs(builder, inputs, len(self.network.inputs))
        self._require_same_language(builder)
        for given, taken in zip(inputs, self.network.inputs.values(), strict=True):
            _require_fit(builder, given, taken)
        names = _names(graph)
        fed = dict(zip(self.network.inputs, (value.name for value in inputs), strict=True))
        new = {name: fed[name] if name in fed else builder.name(name.strip("/")) for name in names}
        parameters = {new[name]: self._copy(new[name], item) for name, item in graph.parameters.items()}
        made = renamed(graph, new, parameters, f"{builder.path}/")
        builder.graph.parameters.update(parameters)
        builder.graph.leaves += [replace(leaf, origin=None, version=builder.opset) for leaf in made.leaves]
        builder.graph.values.update({key: replace(item, origin=None) for key, item in made.values.items()})
        outputs = tuple(replace(item, origin=None) for item in made.outputs.values())
        builder.graph.values.update({item.name: item for item in outputs})
        return outputs

    def _copy(self, name: str, item: Parameter) -> Parameter:
        made = Parameter(name, item.array, requires_grad=item.requires_grad and not self.frozen)
        made.role, made.learning_rate = item.role, item.learning_rate
        return made

    def _require_same_language(self, builder: Builder) -> None:
        foreign = [leaf for leaf in self.network.graph.walk() if leaf.domain not in ("", "ai.onnx")]
        if foreign or self.network.functions:
            what = foreign[0].operator if foreign else "::".join(filter(None, next(iter(self.network.functions))))
            raise GraphError(
                f"Nested {builder.path!r} requires a network of operators of ai.onnx alone, this one has {what}. "
                "Join the networks with tk.surgery.connect."
            )
        for leaf in self.network.graph.walk():
            meanings = {since_version("", leaf.op_type, version) for version in (leaf.version, builder.opset)}
            if len(meanings) > 1:
                raise GraphError(
                    f"Nested {builder.path!r} is built in opset {builder.opset}, where {leaf.op_type} {leaf.path!r} "
                    f"means something else than in its own opset {leaf.version}. Build with opset={leaf.version}."
                )


def _names(graph: Graph) -> dict[str, None]:
    """Every name that the graph's own leaves mention, in order."""
    names = dict.fromkeys([*graph.inputs, *graph.parameters])
    for leaf in graph.leaves:
        names.update(dict.fromkeys([*reads(leaf), *leaf.outputs]))
    return {name: None for name in names if name}


def _require_fit(builder: Builder, given: Value, taken: Value) -> None:
    pairs = zip(given.shape or (), taken.shape or (), strict=False)
    clash = [pair for pair in pairs if all(isinstance(dim, int) for dim in pair) and pair[0] != pair[1]]
    ranks = {len(item.shape) for item in (given, taken) if item.shape is not None}
    if clash or len(ranks) > 1 or (given.dtype is not None and given.dtype != taken.dtype):
        raise ShapeError(
            f"Nested {builder.path!r} requires {taken.describe()} for its input {taken.name!r}, got {given.name!r} "
            f"{given.describe()}. Put a layer between them that brings it into shape."
        )
