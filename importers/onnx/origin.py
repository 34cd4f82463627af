"""What an ONNX file says that the static graph has no field for; importers write these records, exporters read them.

A record holds residues only, never the message it was read from. ``rest`` is the serialized remainder of a message
after every field that the graph owns was taken out: doc strings, metadata, annotations, unknown fields. ``explicit``
names the owned fields that the file spelled out although they hold their default (protobuf tells the two apart).
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from toolkit.graph import Dim, Leaf, SparseTensor


class DataHandle:
    """An open file, closed when nobody refers to it any more."""

    __slots__ = ("_descriptor",)

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def fileno(self) -> int:
        """The descriptor, which the handle owns."""
        return self._descriptor

    def __del__(self) -> None:
        os.close(self._descriptor)


@dataclass(frozen=True, slots=True, eq=False)
class ExternalFile:
    """A data file next to the model: ``location`` as the model spells it, and its content, mapped into memory.

    ``handle`` is the open file, from which exporters copy without reading it. Copies of a network share the file.
    """

    location: str
    content: np.ndarray
    handle: DataHandle | None = None

    def __deepcopy__(self, memo: object) -> ExternalFile:
        return self

    def __reduce__(self) -> tuple[type[ExternalFile], tuple[str, np.ndarray]]:
        return ExternalFile, (self.location, self.content)


class ExternalRange(NamedTuple):
    """Where a tensor lies in its data file; bytes."""

    file: ExternalFile
    offset: int
    length: int


class TensorOrigin(NamedTuple):
    """How the file stored a tensor.

    ``storage`` is the field of TensorProto with the data, ``""`` when a tensor without elements had none.
    ``stored`` is the content of that field where encoding the array would not give it back (padding bits that are not
    zero, integers beyond the element type); it counts as long as the tensor is still the array ``decoded``.
    """

    storage: str = "raw_data"
    name: str = ""
    rest: bytes = b""
    explicit: tuple[str, ...] = ()
    stored: np.ndarray | None = None
    decoded: np.ndarray | None = None
    external: ExternalRange | None = None


class SparseOrigin(NamedTuple):
    """How the file stored a sparse tensor. A parameter's array is dense, so for one ``content`` is what the file had;

    it counts as it is while the parameter is still the array ``decoded``, and for its indices afterwards.
    """

    values: TensorOrigin
    positions: TensorOrigin
    rest: bytes = b""
    content: SparseTensor | None = None
    decoded: np.ndarray | None = None


class TypeOrigin(NamedTuple):
    """A serialized TypeProto that says more than kind, element type and shape; it counts while those are ``key``."""

    content: bytes
    key: tuple[str, np.dtype | None, tuple[Dim, ...] | None]


class ValueOrigin(NamedTuple):
    """Residue of a ValueInfoProto.

    ``name`` is the file's name where the graph needed another one: a graph that lists one value as several outputs.
    """

    rest: bytes = b""
    type: TypeOrigin | None = None
    explicit: tuple[str, ...] = ()
    name: str | None = None


class AttributeOrigin(NamedTuple):
    """Residue of an AttributeProto: its type (an empty list has no other), and the records of the tensors in it."""

    kind: int
    typed: bool = True
    present: bool = True
    rest: bytes = b""
    explicit: tuple[str, ...] = ()
    elements: tuple[TensorOrigin | SparseOrigin, ...] = ()


@dataclass(frozen=True, slots=True)
class NodeOrigin:
    """Residue of a NodeProto. ``synthetic`` marks a leaf that the importer added and the exporter leaves out.

    ``domain`` is the file's spelling where it is an alias (``ai.onnx``), ``position`` the place among the nodes of a
    file that does not have them in execution order, ``renamed`` gives the file's names of outputs by the graph's.
    """

    rest: bytes = b""
    explicit: tuple[str, ...] = ()
    attributes: dict[str, AttributeOrigin] = field(default_factory=dict)
    domain: str | None = None
    synthetic: bool = False
    position: int | None = None
    renamed: dict[str, str] = field(default_factory=dict)


class ConstantOrigin(NamedTuple):
    """The Constant node that a parameter is in the file: the ``leaf`` without the ``attribute`` that has its values."""

    leaf: Leaf
    attribute: str


@dataclass(frozen=True, slots=True)
class GraphOrigin:
    """Residue of a GraphProto; ``repeated`` are further declarations of a value, by position among them all.

    ``constants`` names the parameters that the file keeps in Constant nodes.
    """

    rest: bytes = b""
    explicit: tuple[str, ...] = ()
    repeated: tuple[tuple[int, bytes], ...] = ()
    constants: dict[str, ConstantOrigin] = field(default_factory=dict)


class OpsetOrigin(NamedTuple):
    """One serialized OperatorSetIdProto; empty for the import that files of the first IR versions imply."""

    domain: str
    version: int
    content: bytes


@dataclass(frozen=True, slots=True)
class FunctionOrigin:
    """Residue of a FunctionProto, beyond that of a graph: its opset imports and the records of its default values."""

    graph: GraphOrigin
    opsets: tuple[OpsetOrigin, ...]
    attributes: dict[str, AttributeOrigin] = field(default_factory=dict)


class TrainingOrigin(NamedTuple):
    """Residue of a TrainingInfoProto; the serialized entries of bindings that their dictionaries cannot say."""

    rest: bytes = b""
    updates: tuple[bytes, ...] | None = None
    starts: tuple[bytes, ...] | None = None


class ModelOrigin(NamedTuple):
    """Residue of a ModelProto.

    ``metadata`` keeps the serialized entries where the dictionary cannot say them (repeated keys, absent values).
    ``source`` is the absolute path the model came from, ``None`` for bytes and protos.
    """

    rest: bytes = b""
    explicit: tuple[str, ...] = ()
    opsets: tuple[OpsetOrigin, ...] = ()
    metadata: tuple[bytes, ...] | None = None
    source: str | None = None
