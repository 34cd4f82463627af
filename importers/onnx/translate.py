"""ModelProto to Network: graphs, nodes and functions, one to one. It takes the parsed proto apart while it reads."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from typing import Any

from onnx import FunctionProto, GraphProto, NodeProto, TensorProto, ValueInfoProto

from importers.onnx.attributes import AttributeReader
from importers.onnx.external import DataFolder
from importers.onnx.order import sort_leaves
from importers.onnx.origin import (
    AttributeOrigin,
    FunctionOrigin,
    GraphOrigin,
    ModelOrigin,
    NodeOrigin,
)
from importers.onnx.paths import SCOPES_KEY, NodeNames, leaf_paths
from importers.onnx.reader import ParsedModel
from importers.onnx.residue import explicit_defaults, remainder, text
from importers.onnx.tensors import Content, densified, read_sparse, read_tensor
from importers.onnx.tolerance import add_outputs, rename_shadowed_constants
from importers.onnx.training import check_training, read_training
from importers.onnx.types import read_value
from importers.onnx.validate import check_functions, check_graph, check_producers
from importers.onnx.versions import check_ir_version, plain_domain, read_opsets, version_of
from toolkit.errors import ModelError
from toolkit.graph import Graph, Leaf, Network, Parameter, Value


def network_from(parsed: ParsedModel, folder: str | None) -> Network:
    """Translate a parsed model; ``folder`` holds its external data. Raises ``ModelError``."""
    model, label = parsed.proto, parsed.label
    if not model.HasField("graph"):
        raise ModelError(f"{label} holds no graph: it is no ONNX model, or only a part of one. Check what it contains.")
    check_ir_version(model.ir_version, label)
    opsets, opset_records = read_opsets(model.opset_import, label, model.ir_version)
    if folder is None and parsed.source is not None:
        folder = os.path.dirname(parsed.source)
    data = DataFolder(folder)
    reader = _GraphReader(opsets, data, False)
    graph = reader.read(model.graph, parsed.weights)
    training = [read_training(proto, reader.read) for proto in model.training_info]
    functions: dict[tuple[str, str, str], Graph] = {}
    for proto in model.functions:
        key = (plain_domain(text(proto.domain)), text(proto.name), text(proto.overload))
        if key in functions:
            raise ModelError(f"{label} defines function {proto.domain}::{proto.name} twice. Export the model again.")
        functions[key] = _read_function(proto, data, label)
    metadata = {text(entry.key): text(entry.value) for entry in model.metadata_props}
    entries = tuple(entry.SerializeToString() for entry in model.metadata_props)
    plain = len(metadata) == len(entries) and all(
        entry.HasField("key") and entry.HasField("value") and len(entry.ListFields()) == 2
        for entry in model.metadata_props
    )
    ir_version = model.ir_version
    explicit = explicit_defaults(model, "ir_version")
    rest = remainder(model, "ir_version", "opset_import", "graph", "metadata_props", "functions", "training_info")
    origin = ModelOrigin(rest, explicit, opset_records, None if plain else entries, parsed.source)
    network = Network(graph, opsets, functions, metadata, ir_version, origin, training=training)
    check_graph(graph, (), label)
    for info in training:
        check_training(info, graph, label)
    for key, function in functions.items():
        check_graph(function, (), f"Function {'::'.join(part for part in key if part)} of {label}")
    check_functions(network, label)
    return network


class _GraphReader:
    """Reads graphs and their bodies under one set of opset imports."""

    def __init__(self, opsets: dict[str, int], folder: DataFolder, in_function: bool) -> None:
        self.opsets = opsets
        self.folder = folder
        self.attributes = AttributeReader(folder, self.read, in_function)

    def read(self, proto: GraphProto, weights: dict[int, Content] | None = None) -> Graph:
        """One graph; ``weights`` holds data that was cut out of its initializers."""
        graph = Graph(name=text(proto.name))
        where = f"Graph {proto.name!r}"
        graph.leaves = self.leaves(proto.node)
        graph.parameters = self._parameters(proto, weights or {}, where)
        for info in proto.input:
            value = read_value(info, f"{where}: input")
            if value.name in graph.inputs:
                raise ModelError(
                    f"{where} lists the input {value.name!r} twice; names must differ. Rename one of them."
                )
            graph.inputs[value.name] = value
        outputs = [read_value(info, f"{where}: output") for info in proto.output]
        rename_shadowed_constants(graph)
        add_outputs(graph, outputs, version_of("", self.opsets))
        check_producers(graph, where)
        sort_leaves(graph, where)
        repeated = read_declared(graph, proto.value_info, where)
        explicit = explicit_defaults(proto, "name")
        owned = ("node", "name", "initializer", "sparse_initializer", "input", "output", "value_info")
        graph.origin = GraphOrigin(remainder(proto, *owned), explicit, repeated)
        return graph

    def leaves(self, nodes: Sequence[NodeProto]) -> list[Leaf]:
        """The nodes as leaves, in order."""
        paths = leaf_paths([NodeNames(text(node.name), text(node.op_type), _scopes(node)) for node in nodes])
        return [self._leaf(node, path) for node, path in zip(nodes, paths, strict=True)]

    def _leaf(self, node: NodeProto, path: str) -> Leaf:
        title = f"{node.op_type} {path!r}"
        if not node.op_type:
            raise ModelError(f"Node {path!r} names no operator; every node must. Export the model again.")
        domain = plain_domain(text(node.domain))
        leaf = Leaf(
            node.op_type,
            [text(name) for name in node.input],
            [text(name) for name in node.output],
            domain=domain,
            version=version_of(domain, self.opsets),
            name=node.name,
            path=path,
            overload=text(node.overload),
        )
        records: dict[str, AttributeOrigin] = {}
        for attribute in node.attribute:
            name = text(attribute.name)
            if name in leaf.attributes:
                raise ModelError(f"{title} has the attribute {name!r} twice; each must be given once. Remove one.")
            leaf.attributes[name], record = self.attributes.read(attribute, title)
            if record is not None:
                records[name] = record
        explicit = explicit_defaults(node, "name", "domain", "overload")
        alias = node.domain if node.domain != domain else None
        rest = remainder(node, "op_type", "domain", "name", "input", "output", "attribute", "overload")
        leaf.origin = NodeOrigin(rest, explicit, records, alias)
        return leaf

    def _parameters(self, proto: GraphProto, weights: dict[int, Content], where: str) -> dict[str, Parameter]:
        parameters: dict[str, Parameter] = {}
        for position, tensor in enumerate(proto.initializer):
            title = _claim(parameters, tensor, where)
            name = text(tensor.name)
            cut = weights.pop(position, None)
            array, origin = read_tensor(tensor, self.folder, title, cut, named=True)
            fetch = None if cut is None or cut.file is None else partial(cut.file.fetch, array)
            parameters[name] = Parameter(name, array, origin=origin, fetch=fetch)
        for sparse in proto.sparse_initializer:
            title = _claim(parameters, sparse.values, where)
            name = text(sparse.values.name)
            content, sparse_origin = read_sparse(sparse, self.folder, title)
            array = densified(content, title)
            sparse_origin = sparse_origin._replace(content=content, decoded=array)
            parameters[name] = Parameter(name, array, requires_grad=False, origin=sparse_origin)
        return parameters


def read_declared(graph: Graph, infos: Sequence[ValueInfoProto], where: str) -> tuple[tuple[int, bytes], ...]:
    """Declarations of values in between; repeated ones are returned by position, the first of a name counts."""
    repeated = []
    for position, info in enumerate(infos):
        if text(info.name) in graph.values:
            repeated.append((position, info.SerializeToString()))
        else:
            value = read_value(info, f"{where}: value")
            graph.values[value.name] = value
    return tuple(repeated)


def _read_function(proto: FunctionProto, folder: DataFolder, label: str) -> Graph:
    where = f"Function {proto.domain}::{proto.name}"
    opsets, records = read_opsets(proto.opset_import, f"{where} of {label}")
    reader = _GraphReader(opsets, folder, True)
    graph = Graph(name=proto.name, leaves=reader.leaves(proto.node))
    for kind, names, mapping in (("input", proto.input, graph.inputs), ("output", proto.output, graph.outputs)):
        for name in map(text, names):
            if name in mapping:
                raise ModelError(f"{where} lists the {kind} {name!r} twice; names must differ. Rename one of them.")
            mapping[name] = Value(name)
    attributes: dict[str, Any] = dict.fromkeys(map(text, proto.attribute))
    defaults: dict[str, AttributeOrigin] = {}
    for attribute in proto.attribute_proto:
        name = text(attribute.name)
        attributes[name], record = reader.attributes.read(attribute, where)
        if record is not None:
            defaults[name] = record
    if len(attributes) != len(proto.attribute) + len(proto.attribute_proto):
        raise ModelError(f"{where} declares an attribute twice; names must differ. Remove one of them.")
    graph.attributes = attributes
    check_producers(graph, where)
    sort_leaves(graph, where)
    repeated = read_declared(graph, proto.value_info, where)
    explicit = explicit_defaults(proto, "name", "domain", "overload")
    scalars = ("name", "domain", "overload")
    owned = ("input", "output", "attribute", "attribute_proto", "node", "opset_import", "value_info")
    graph.origin = FunctionOrigin(
        GraphOrigin(remainder(proto, *scalars, *owned), explicit, repeated), records, defaults
    )
    return graph


def _claim(parameters: dict[str, Parameter], tensor: TensorProto, where: str) -> str:
    if tensor.name in parameters:
        raise ModelError(f"{where} has the initializer {tensor.name!r} twice; names must differ. Rename one of them.")
    return f"Initializer {tensor.name!r}"


def _scopes(node: NodeProto) -> str:
    return next((text(entry.value) for entry in node.metadata_props if entry.key == SCOPES_KEY), "")
