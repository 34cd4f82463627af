"""TrainingInfo to TrainingInfoProto: the inverse of the importer's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from onnx import GraphProto, TrainingInfoProto

from importers.onnx.origin import TrainingOrigin
from toolkit.graph import Graph, TrainingInfo


def training_proto(info: TrainingInfo, write_graph: Callable[[Graph], GraphProto]) -> TrainingInfoProto:
    """One entry of a model's ``training_info``."""
    origin = info.origin if isinstance(info.origin, TrainingOrigin) else TrainingOrigin()
    proto = TrainingInfoProto()
    proto.MergeFromString(origin.rest)
    if info.initialization is not None:
        proto.initialization.CopyFrom(write_graph(info.initialization))
    if info.algorithm is not None:
        proto.algorithm.CopyFrom(write_graph(info.algorithm))
    _write_binding(proto.initialization_binding, info.initialization_binding, origin.starts)
    _write_binding(proto.update_binding, info.update_binding, origin.updates)
    return proto


def _write_binding(field: Any, binding: dict[str, str], entries: tuple[bytes, ...] | None) -> None:
    """``binding``; as the file had it where it still says the same."""
    for content in entries or ():
        field.add().MergeFromString(content)
    if entries is not None and {entry.key: entry.value for entry in field} == binding:
        return
    del field[:]
    for key, value in binding.items():
        field.add(key=key, value=value)
