"""Opsets of leaves that were not in the file: their domains are imported, and their versions must be the model's."""

from __future__ import annotations

from onnx import defs

from importers.onnx.origin import NodeOrigin
from toolkit.errors import ModelError
from toolkit.graph import Leaf, Network


def opsets_with_new_leaves(network: Network) -> dict[str, int]:
    """The network's opsets and those of leaves from domains it does not import yet.

    Raises ``ModelError`` for a leaf that means something else under the model's opset than under its own.
    """
    opsets = dict(network.opsets)
    graphs = (network.graph, *(graph for info in network.training for graph in info.graphs()))
    for leaf in (leaf for graph in graphs for leaf in graph.walk()):
        if isinstance(leaf.origin, NodeOrigin):
            continue
        imported = opsets.setdefault(leaf.domain, leaf.version)
        if _since(leaf, imported) != _since(leaf, leaf.version):
            raise ModelError(
                f"{leaf.operator} {leaf.path!r} is written for opset {leaf.version}, but the model imports opset "
                f"{imported}, where the operator differs or is missing. Make the layer for opset {imported}."
            )
    return opsets


def _since(leaf: Leaf, version: int) -> int:
    """The version whose definition of the operator holds; 0 for operators that onnx does not know."""
    try:
        return defs.get_schema(leaf.op_type, version, leaf.domain).since_version
    except defs.SchemaError:
        return 0
