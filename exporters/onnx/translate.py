"""Network to ModelProto: the inverse of the importer. What the graph does not say comes from the records of origin."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

from google.protobuf.message import Message
from onnx import FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto

from exporters.onnx.attributes import attribute_proto, declared_types
from exporters.onnx.constants import initializers, leaves_with_constants
from exporters.onnx.tensors import NOWHERE, Places, sparse_parameter, sparse_proto, tensor_proto
from exporters.onnx.training import training_proto
from exporters.onnx.versions import opsets_with_new_leaves
from importers.onnx.origin import (
    FunctionOrigin,
    GraphOrigin,
    ModelOrigin,
    NodeOrigin,
    OpsetOrigin,
    SparseOrigin,
)
from importers.onnx.reader import LARGEST_PROTOBUF
from importers.onnx.types import write_value
from toolkit.errors import ModelError
from toolkit.graph import Graph, Leaf, Network


def to_proto(network: Network) -> ModelProto:
    """The network as a ModelProto, complete in itself: external data is taken in. Raises ``ModelError``."""
    dense = initializers(network.graph)
    size = sum(parameter.array.nbytes for parameter in dense.values())
    if size > LARGEST_PROTOBUF:
        raise ModelError(
            f"The weights take {size} bytes, but a ModelProto that can be serialized holds at most {LARGEST_PROTOBUF}. "
            "Write a file, with the weights beside it: save(network, path, external_data='weights.data')."
        )
    model = model_without_weights(network)
    for name, parameter in dense.items():
        what = f"Parameter {name!r}"
        model.graph.initializer.append(tensor_proto(parameter.array, parameter.origin, name, what))
    return model


def model_without_weights(network: Network, places: Places = NOWHERE) -> ModelProto:
    """Everything but the dense initializers of the main graph, which the writer streams.

    Other tensors with external data are taken in, except those whose data file has one of the ``places``.
    """
    origin = network.origin if isinstance(network.origin, ModelOrigin) else ModelOrigin()
    model = ModelProto()
    model.MergeFromString(origin.rest)
    _set(model, origin.explicit, ir_version=network.ir_version)
    model.opset_import.extend(_opsets(opsets_with_new_leaves(network), origin.opsets))
    _write_metadata(model, network, origin)
    _write_graph(network.graph, model.graph, places)
    for key, graph in network.functions.items():
        model.functions.append(_function(key, graph, network.opsets, places))
    model.training_info.extend(training_proto(info, partial(graph_proto, places=places)) for info in network.training)
    return model


def _write_metadata(model: ModelProto, network: Network, origin: ModelOrigin) -> None:
    if origin.metadata is not None:
        for content in origin.metadata:
            model.metadata_props.add().MergeFromString(content)
        if {entry.key: entry.value for entry in model.metadata_props} == network.metadata:
            return
        model.ClearField("metadata_props")
    for key, value in network.metadata.items():
        model.metadata_props.add(key=key, value=value)


def graph_proto(graph: Graph, places: Places = NOWHERE) -> GraphProto:
    """A body of control flow, with its initializers."""
    proto = GraphProto()
    _write_graph(graph, proto, places)
    for name, parameter in initializers(graph).items():
        what = f"Initializer {name!r}"
        proto.initializer.append(tensor_proto(parameter.array, parameter.origin, name, what, places))
    return proto


def _write_graph(graph: Graph, proto: GraphProto, places: Places) -> None:
    origin = graph.origin if isinstance(graph.origin, GraphOrigin) else GraphOrigin()
    proto.MergeFromString(origin.rest)
    _set(proto, origin.explicit, name=graph.name)
    proto.node.extend(_nodes(graph, places))
    proto.input.extend(write_value(value) for value in graph.inputs.values())
    proto.output.extend(write_value(value) for value in graph.outputs.values())
    for name, parameter in graph.parameters.items():
        if isinstance(parameter.origin, SparseOrigin):
            sparse = sparse_parameter(parameter, parameter.origin)
            what = f"Parameter {name!r}"
            proto.sparse_initializer.append(sparse_proto(sparse, parameter.origin, name, what, places))
    _write_declared(graph, origin, proto)


def _write_declared(graph: Graph, origin: GraphOrigin, proto: GraphProto | FunctionProto) -> None:
    infos = [write_value(value) for value in graph.values.values()]
    proto.value_info.extend(infos)
    for position, content in origin.repeated:
        extra = type(proto.value_info.add())()
        del proto.value_info[-1]
        extra.MergeFromString(content)
        proto.value_info.insert(position, extra)


def _nodes(graph: Graph, places: Places) -> list[NodeProto]:
    return [_node(leaf, places) for leaf in leaves_with_constants(graph)]


def _node(leaf: Leaf, places: Places) -> NodeProto:
    fresh = not isinstance(leaf.origin, NodeOrigin)
    origin = NodeOrigin() if fresh else leaf.origin
    node = NodeProto()
    node.MergeFromString(origin.rest)
    node.op_type = leaf.op_type
    node.input.extend(leaf.inputs)
    node.output.extend(origin.renamed.get(name, name) for name in leaf.outputs)
    domain = leaf.domain if origin.domain is None else origin.domain
    _set(node, origin.explicit, name=leaf.name or (leaf.path if fresh else ""), domain=domain, overload=leaf.overload)
    declared = declared_types(leaf) if fresh else {}
    what = f"{leaf.operator} {leaf.path!r}"
    write_graph = partial(graph_proto, places=places)
    for name, value in leaf.attributes.items():
        record = origin.attributes.get(name)
        node.attribute.append(attribute_proto(name, value, record, declared.get(name), write_graph, what, places))
    return node


def _function(key: tuple[str, str, str], graph: Graph, opsets: dict[str, int], places: Places) -> FunctionProto:
    domain, name, overload = key
    origin = graph.origin
    if not isinstance(origin, FunctionOrigin):
        used = {leaf.domain: leaf.version for leaf in graph.walk()}
        origin = FunctionOrigin(GraphOrigin(), tuple(_opset_record(*item) for item in (used or opsets).items()))
    proto = FunctionProto()
    proto.MergeFromString(origin.graph.rest)
    _set(proto, origin.graph.explicit, name=name, domain=domain, overload=overload)
    proto.input.extend(graph.inputs)
    proto.output.extend(graph.outputs)
    for attribute, default in graph.attributes.items():
        if default is None:
            proto.attribute.append(attribute)
        else:
            record = origin.attributes.get(attribute)
            proto.attribute_proto.append(
                attribute_proto(
                    attribute, default, record, None, partial(graph_proto, places=places), f"function {name!r}", places
                )
            )
    proto.node.extend(_nodes(graph, places))
    for item in origin.opsets:
        proto.opset_import.add().MergeFromString(item.content)
    _write_declared(graph, origin.graph, proto)
    return proto


def _opsets(opsets: dict[str, int], records: Iterable[OpsetOrigin]) -> list[OperatorSetIdProto]:
    """The imports: the file's own entries where they still hold, then the domains that were added."""
    imports, written = [], set()
    for record in records:
        if record.domain not in opsets:
            continue
        written.add(record.domain)
        if not record.content and opsets[record.domain] == record.version:
            continue
        item = OperatorSetIdProto()
        item.MergeFromString(record.content)
        item.version = opsets[record.domain]
        imports.append(item)
    imports += [OperatorSetIdProto(domain=name, version=opsets[name]) for name in opsets if name not in written]
    return imports


def _opset_record(domain: str, version: int) -> OpsetOrigin:
    return OpsetOrigin(domain, version, OperatorSetIdProto(domain=domain, version=version).SerializeToString())


def _set(message: Message, explicit: tuple[str, ...], **scalars: Any) -> None:
    """Set the scalars that hold something, or that the file spelled out although they hold nothing."""
    for name, value in scalars.items():
        if value or name in explicit:
            setattr(message, name, value)
