"""External data on the way out: which tensor lies where in which file, and what those files contain.

A data file keeps its layout: the content it was read with, changed tensors written over their old places. Next to
another model it never overwrites that model's weights: unless the model is saved to where it came from, a data file
that exists with other content stays, and ours is named after the model. Nothing here brings a file into memory.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from onnx import TensorProto

from exporters.onnx.files import PORTION, Chunk, CopiedFile
from exporters.onnx.tensors import Place, Places, StoredTensor, sparse_parameter, store
from importers.onnx.origin import (
    AttributeOrigin,
    ExternalFile,
    ExternalRange,
    FunctionOrigin,
    NodeOrigin,
    SparseOrigin,
)
from toolkit.errors import ModelError
from toolkit.graph import Graph, Network, SparseTensor

PAGE = 4096  # bytes; offsets at page borders can be mapped
SMALLEST_MOVED = 1024  # bytes; smaller tensors stay in the model
Files = dict[str, list[Chunk]]


class External(NamedTuple):
    """A tensor with external data: its range, its bytes of today, and the name messages call it by."""

    span: ExternalRange
    raw: np.ndarray
    header: TensorProto
    what: str


def place_data_files(network: Network, path: str, source: str | None) -> tuple[dict[ExternalFile, Place], Files]:
    """Where the data files of a network go when it is saved to ``path``, and the contents to write, by path."""
    by_location: dict[str, list[External]] = {}
    for tensor in _external_tensors(network):
        by_location.setdefault(os.path.normpath(tensor.span.file.location), []).append(tensor)
    places: dict[ExternalFile, Place] = {}
    files: Files = {}
    returning = source is not None and os.path.realpath(source) == os.path.realpath(path)
    for number, tensors in enumerate(by_location.values()):
        location = tensors[0].span.file.location
        content = _overlaid(tensors)
        target = os.path.join(os.path.dirname(path), location)
        is_there = os.path.exists(target) and _has_content(target, content)
        renamed = os.path.exists(target) and not is_there and not returning
        if renamed:
            location = os.path.basename(path) + (f".{number}" if number else "") + ".data"
        if not is_there:
            files[os.path.join(os.path.dirname(path), location)] = [content]
        has_digest = any(entry.key == "checksum" for tensor in tensors for entry in tensor.header.external_data)
        digest = _digest(content) if content.changes and has_digest else None
        for file in {tensor.span.file for tensor in tensors}:
            places[file] = Place(location if renamed else file.location, digest)
    return places, files


def move_out(tensors: list[StoredTensor], location: str) -> list[Chunk]:
    """Move the raw data of ``tensors`` (changed in place) to a new data file; returns its content."""
    chunks: list[Chunk] = []
    offset = 0
    for position, (header, raw, _) in enumerate(tensors):
        if raw is None or raw.size < SMALLEST_MOVED:
            continue
        padding = -offset % PAGE
        chunks += [bytes(padding), raw]
        offset += padding
        header.data_location = TensorProto.EXTERNAL
        for key, value in (("location", location), ("offset", str(offset)), ("length", str(raw.size))):
            header.external_data.add(key=key, value=value)
        tensors[position] = StoredTensor(header, None, None)
        offset += raw.size
    return chunks


def moved_path(location: str, path: str, places: Places) -> str:
    """The path of a new data file beside the model. Raises ``ModelError`` for names that it cannot have."""
    if not location or os.path.basename(location) != location or location in (".", "..", os.path.basename(path)):
        raise ModelError(
            f"external_data must be the name of a file next to the model, other than the model's, got {location!r}."
        )
    if location in {os.path.normpath(place.location) for place in places.values()}:
        raise ModelError(f"external_data={location!r} is a data file of this model already. Choose another name.")
    return os.path.join(os.path.dirname(path), location)


def _external_tensors(network: Network) -> Iterator[External]:
    """Every tensor with external data: initializers, those of bodies and functions, attributes."""
    for graph in network.graphs():
        yield from _of_graph(graph)


def _of_graph(graph: Graph) -> Iterator[External]:
    for name, parameter in graph.parameters.items():
        origin, what = parameter.origin, f"Parameter {name!r}"
        if isinstance(origin, SparseOrigin):
            if origin.values.external is not None or origin.positions.external is not None:
                yield from _of_tensor(sparse_parameter(parameter, origin), origin, what)
        elif getattr(origin, "external", None) is not None:
            yield from _of_tensor(parameter.array, origin, what)
    if isinstance(graph.origin, FunctionOrigin):
        yield from _of_attributes(graph.attributes, graph.origin.attributes, f"function {graph.name!r}")
    for leaf in graph.leaves:
        if isinstance(leaf.origin, NodeOrigin):
            yield from _of_attributes(leaf.attributes, leaf.origin.attributes, f"{leaf.operator} {leaf.path!r}")
        for body in leaf.bodies:
            yield from _of_graph(body)


def _of_attributes(
    attributes: Mapping[str, Any], records: Mapping[str, AttributeOrigin], where: str
) -> Iterator[External]:
    for name, record in records.items():
        value = attributes.get(name)
        for item, origin in zip(value if isinstance(value, list) else [value], record.elements, strict=False):
            yield from _of_tensor(item, origin, f"Attribute {name!r} of {where}")


def _of_tensor(value: Any, origin: object, what: str) -> Iterator[External]:
    if isinstance(value, SparseTensor) and isinstance(origin, SparseOrigin):
        yield from _of_tensor(value.values, origin.values, what)
        yield from _of_tensor(value.indices, origin.positions, what)
    elif isinstance(value, np.ndarray) and not isinstance(origin, SparseOrigin):
        header, raw, span = store(value, origin, "", what)
        if span is not None and raw is not None:
            yield External(span, raw, header, what)


def _overlaid(tensors: list[External]) -> CopiedFile:
    """The content of a data file with the tensors of today."""
    file = tensors[0].span.file
    changes = []
    for span, raw, _, what in tensors:
        if raw.size != span.length:
            raise ModelError(
                f"{what} now has {raw.size} bytes, but its place in {file.location!r} has {span.length}. "
                "Clear its origin to store it in the model."
            )
        old = span.file.content[span.offset : span.offset + span.length]
        if not np.shares_memory(old, raw) and not _same(old, raw):
            changes.append((span.offset, raw))
    return CopiedFile(file.content, file.handle, tuple(changes))


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    return all(
        np.array_equal(one[start : start + PORTION], other[start : start + PORTION])
        for start in range(0, one.size, PORTION)
    )


def _has_content(path: str, content: CopiedFile) -> bool:
    status = os.stat(path)
    if status.st_size != len(content):
        return False
    if (
        content.handle is not None
        and not content.changes
        and os.path.samestat(status, os.fstat(content.handle.fileno()))
    ):
        return True
    if not len(content):
        return True
    there = np.memmap(path, np.uint8, "r")
    return all(np.array_equal(there[start : start + part.size], part) for start, part in _portions(content))


def _digest(content: CopiedFile) -> str:
    """The SHA-1 digest that the format asks for."""
    digest = hashlib.sha1(usedforsecurity=False)
    for _, part in _portions(content):
        digest.update(part.data)
    return digest.hexdigest()


def _portions(content: CopiedFile) -> Iterator[tuple[int, np.ndarray]]:
    """The content with its changes, a piece at a time."""
    for start in range(0, len(content), PORTION):
        part = content.content[start : start + PORTION]
        inside = [(at, raw) for at, raw in content.changes if at < start + part.size and at + raw.size > start]
        if inside:
            part = part.copy()
        for at, raw in inside:
            first, end = max(at, start), min(at + raw.size, start + part.size)
            part[first - start : end - start] = raw[first - at : end - at]
        yield start, part
