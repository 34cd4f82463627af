"""Proves what differs between two models: nothing but the trained initializers, or exactly the surgery."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from google.protobuf.message import Message
from onnx import FunctionProto, ModelProto, NodeProto, TensorProto

from importers.onnx.external import DataFolder
from importers.onnx.reader import ParsedModel, read_model
from importers.onnx.residue import remainder, text
from importers.onnx.tensors import STORAGES, read_tensor

Source = str | os.PathLike[str] | bytes | ModelProto


@dataclass(frozen=True, slots=True)
class Change:
    """One difference.

    - ``kind``: initializer, sparse_initializer, constant (a Constant node, named by its output, whose numbers alone
      differ), node, input, output, value_info, function, graph or model
    - ``name``: which one of them
    - ``detail``: added, removed, order, values (only the numbers), type, storage, or the name of a field
    """

    kind: str
    name: str
    detail: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name!r}: {self.detail}"


def diff(first: Source, second: Source) -> list[Change]:
    """Every difference between two models, external data included; empty when they are equal.

    Raises ``ModelError`` when one of them cannot be read.
    """
    left, right = read_model(first), read_model(second)
    changes = _initializers(left, right)
    one, other = left.proto, right.proto
    for graph in (one.graph, other.graph):
        graph.ClearField("initializer")
    for field in ("sparse_initializer", "node", "input", "output", "value_info"):
        changes += _repeated(field, getattr(one.graph, field), getattr(other.graph, field))
    changes += _repeated("function", one.functions, other.functions)
    taken_apart = {"initializer", "sparse_initializer", "node", "input", "output", "value_info"}
    changes += _fields("graph", one.graph, other.graph, taken_apart)
    changes += _fields("model", one, other, {"graph", "functions"})
    return changes


def _initializers(left: ParsedModel, right: ParsedModel) -> list[Change]:
    arrays = [_arrays(parsed) for parsed in (left, right)]
    headers = [{tensor.name: tensor for tensor in parsed.proto.graph.initializer} for parsed in (left, right)]
    changes = _presence("initializer", headers[0], headers[1])
    for name in headers[0]:
        if name not in headers[1]:
            continue
        if headers[0][name] != headers[1][name]:
            changes.append(Change("initializer", name, "storage"))
        one, other = arrays[0][name], arrays[1][name]
        if one.dtype != other.dtype or one.shape != other.shape:
            changes.append(Change("initializer", name, "type"))
        elif not _same_bits(one, other):
            changes.append(Change("initializer", name, "values"))
    return changes


def _arrays(parsed: ParsedModel) -> dict[str, np.ndarray]:
    """The arrays by name; the messages keep what is left, without names and data."""
    folder = DataFolder(os.path.dirname(parsed.source) if parsed.source is not None else None)
    arrays = {}
    for position, tensor in enumerate(parsed.proto.graph.initializer):
        name, dims = tensor.name, list(tensor.dims)
        code, storage = tensor.data_type, _storage(tensor, parsed, position)
        arrays[name], _ = read_tensor(tensor, folder, f"Initializer {name!r}", parsed.weights.get(position))
        tensor.name, tensor.data_type = name, code
        tensor.dims.extend(dims)
        tensor.metadata_props.add(key="storage", value=storage)
    return arrays


def _storage(tensor: TensorProto, parsed: ParsedModel, position: int) -> str:
    cut = parsed.weights.get(position)
    return cut.storage if cut is not None else ",".join(field.name for field, _ in tensor.ListFields())


def _same_bits(one: np.ndarray, other: np.ndarray) -> bool:
    if one.dtype == np.object_:
        return bool((one == other).all())
    return np.array_equal(one.reshape(-1).view(np.uint8), other.reshape(-1).view(np.uint8))


def _repeated(kind: str, one: Iterable[Message], other: Iterable[Message]) -> list[Change]:
    """Messages matched by what identifies them."""
    first, second = _keyed(one), _keyed(other)
    changes = _presence(kind, first, second)
    for name, message in first.items():
        if name not in second or message == second[name]:
            continue
        if isinstance(message, NodeProto) and _differ_in_numbers(message, second[name]):
            changes.append(Change("constant", message.output[0], "values"))
        else:
            changes += _fields(kind, message, second[name], set(), name)
    return changes


def _differ_in_numbers(one: NodeProto, other: Message) -> bool:
    """Whether two nodes are Constants that hold other numbers of the same type in the same storage."""
    if one.op_type != "Constant" or one.domain or not one.output:
        return False
    forms = []
    for message in (one, other):
        form = NodeProto()
        form.CopyFrom(message)
        for attribute in form.attribute:
            sizes = [len(getattr(attribute.t, name)) for name in STORAGES] + [len(attribute.floats)]
            for name in STORAGES:
                attribute.t.ClearField(name)
            attribute.ClearField("floats")
            attribute.doc_string += f" {sizes}"
        forms.append(form)
    return forms[0] == forms[1]


def _presence(kind: str, first: Mapping[str, object], second: Mapping[str, object]) -> list[Change]:
    changes = [Change(kind, name, "removed") for name in first if name not in second]
    changes += [Change(kind, name, "added") for name in second if name not in first]
    if not changes and list(first) != list(second):
        changes.append(Change(kind, "", "order"))
    return changes


def _keyed(messages: Iterable[Message]) -> dict[str, Message]:
    keyed: dict[str, Message] = {}
    for message in messages:
        key = _identity(message)
        number = 2
        name = key
        while name in keyed:
            name, number = f"{key}#{number}", number + 1
        keyed[name] = message
    return keyed


def _identity(message: Message) -> str:
    if isinstance(message, NodeProto):
        outputs = ",".join(map(text, message.output))
        return text(message.name) or f"{text(message.op_type)} -> {outputs}"
    if isinstance(message, FunctionProto):
        return "::".join(part for part in map(text, (message.domain, message.name, message.overload)) if part)
    values = getattr(message, "values", message)
    return text(values.name)


def _fields(kind: str, one: Message, other: Message, skipped: set[str], name: str = "") -> list[Change]:
    """The fields in which two messages differ; the messages are spent."""
    changes = []
    for field in one.DESCRIPTOR.fields:
        if field.name in skipped:
            continue
        present = field.is_repeated or (one.HasField(field.name), other.HasField(field.name))
        if present in ((True, False), (False, True)) or getattr(one, field.name) != getattr(other, field.name):
            changes.append(Change(kind, name or field.name, field.name))
    known = [field.name for field in one.DESCRIPTOR.fields]
    if remainder(one, *known) != remainder(other, *known):
        changes.append(Change(kind, name, "unknown fields"))
    return changes
