"""Weights in Constant nodes: some exporters keep all of them there.

They become parameters like any other, so that they can be selected, frozen and trained; the exporter writes each back
as the Constant node that it was, with its new values. The numbers of formulas stay leaves (``weights`` tells them from
weights), and so does every Constant of a model that keeps weights in initializers: there it is what its author wrote
down, not what was learnt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from importers.onnx.origin import AttributeOrigin, ConstantOrigin, FunctionOrigin, GraphOrigin, NodeOrigin
from importers.onnx.weights import SETTINGS, Candidate
from toolkit.graph import Graph, Leaf, Parameter

STATISTICS = tuple(SETTINGS["BatchNormalization"].values())  # settings, but ones that training may move


def promote_constants(found: Sequence[Candidate], wanted: bool | None) -> None:
    """Make parameters of the weights among the Constant leaves.

    ``wanted=None`` does so in models that have no weight among their initializers.
    """
    has_weights = any(isinstance(item.source, Parameter) and item.is_read and not item.role for item in found)
    if wanted is False or (wanted is None and has_weights):
        return
    by_graph: dict[int, list[Candidate]] = {}
    for item in found:
        if isinstance(item.source, Leaf) and _is_weight(item, item.source):
            by_graph.setdefault(id(item.graph), []).append(item)
    for items in by_graph.values():
        _promote(items[0].graph, items)


def _is_weight(item: Candidate, leaf: Leaf) -> bool:
    """Single numbers, what nobody reads, outputs and leaves that the importer had to rename stay as they are."""
    is_plain = isinstance(leaf.origin, NodeOrigin) and not leaf.origin.renamed and not leaf.origin.synthetic
    is_array = len(item.tensor.shape) > 0 and item.tensor.size > 1 and item.name not in item.graph.outputs
    return is_plain and is_array and item.is_read and (not item.role or item.role.startswith(STATISTICS))


def _promote(graph: Graph, items: Sequence[Candidate]) -> None:
    for position, each in enumerate(graph.leaves):
        if each.origin.position is None:
            each.origin = replace(each.origin, position=position)
    records = {}
    for item in items:
        assert isinstance(item.source, Leaf)
        leaf = item.source
        (attribute,) = leaf.attributes
        kept = Leaf(leaf.op_type, [], leaf.outputs, {}, leaf.domain, leaf.version, leaf.name, leaf.path, leaf.origin)
        records[item.name] = ConstantOrigin(kept, attribute)
        record = leaf.origin.attributes.get(attribute)
        stored = record.elements[0] if isinstance(record, AttributeOrigin) and record.elements else None
        parameter = Parameter(item.name, item.array, requires_grad=not item.role, origin=stored)
        parameter.role = item.role
        item.array.flags.writeable = False
        graph.parameters[item.name] = parameter
    origin = graph.origin
    if isinstance(origin, FunctionOrigin):
        graph.origin = replace(origin, graph=replace(origin.graph, constants=records))
    else:
        graph.origin = replace(origin if isinstance(origin, GraphOrigin) else GraphOrigin(), constants=records)
    gone = {id(item.source) for item in items}
    graph.leaves = [leaf for leaf in graph.leaves if id(leaf) not in gone]
