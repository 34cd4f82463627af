"""Which parameters a file keeps in initializers, and which in Constant nodes: each is written back where it was."""

from __future__ import annotations

from importers.onnx.origin import ConstantOrigin, FunctionOrigin, GraphOrigin, NodeOrigin, SparseOrigin
from toolkit.graph import Graph, Leaf, Parameter
from toolkit.graph.layer import reads


def initializers(graph: Graph) -> dict[str, Parameter]:
    """The parameters that are dense initializers."""
    constants = _records(graph)
    return {
        name: parameter
        for name, parameter in graph.parameters.items()
        if name not in constants and not isinstance(parameter.origin, SparseOrigin)
    }


def leaves_with_constants(graph: Graph) -> list[Leaf]:
    """The leaves in the order of the file, parameters that it keeps in Constant nodes among them.

    Leaves that came later stay behind the one they follow; a Constant that such a leaf reads comes before it.
    """
    placed: list[tuple[int, Leaf]] = []
    position = -1
    for leaf in graph.leaves:
        if isinstance(leaf.origin, NodeOrigin) and leaf.origin.position is not None:
            position = leaf.origin.position
        if not (isinstance(leaf.origin, NodeOrigin) and leaf.origin.synthetic):
            placed.append((position, leaf))
    waiting = {}
    for name, record in _records(graph).items():
        if name in graph.parameters:
            waiting[name] = _filled(record, graph.parameters[name])
            placed.append((record.leaf.origin.position, waiting[name]))
    placed.sort(key=lambda item: item[0])
    if not waiting:
        return [leaf for _, leaf in placed]
    ordered: list[Leaf] = []
    for _, leaf in placed:
        early = [] if isinstance(leaf.origin, NodeOrigin) else [name for name in reads(leaf) if name in waiting]
        ordered += [waiting.pop(name) for name in early]
        is_constant = leaf.op_type == "Constant" and leaf.outputs[0] in graph.parameters
        if not is_constant or waiting.pop(leaf.outputs[0], None) is not None:
            ordered.append(leaf)
    return ordered


def _records(graph: Graph) -> dict[str, ConstantOrigin]:
    origin = graph.origin.graph if isinstance(graph.origin, FunctionOrigin) else graph.origin
    return origin.constants if isinstance(origin, GraphOrigin) else {}


def _filled(record: ConstantOrigin, parameter: Parameter) -> Leaf:
    leaf, array = record.leaf, parameter.array
    value = array if record.attribute == "value" else [float(number) for number in array]
    attributes = {record.attribute: value}
    return Leaf(
        leaf.op_type, [], leaf.outputs, attributes, leaf.domain, leaf.version, leaf.name, leaf.path, leaf.origin
    )
