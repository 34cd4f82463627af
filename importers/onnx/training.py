"""TrainingInfoProto to TrainingInfo: the graphs of a training algorithm and what they are bound to."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from onnx import GraphProto, StringStringEntryProto, TrainingInfoProto

from importers.onnx.origin import TrainingOrigin
from importers.onnx.residue import remainder, text
from importers.onnx.validate import check_graph
from toolkit.graph import Graph, TrainingInfo

Entries = tuple[bytes, ...]


def read_training(proto: TrainingInfoProto, read_graph: Callable[[GraphProto], Graph]) -> TrainingInfo:
    """One entry of a model's ``training_info``; the message is spent."""
    initialization = read_graph(proto.initialization) if proto.HasField("initialization") else None
    algorithm = read_graph(proto.algorithm) if proto.HasField("algorithm") else None
    updates, update_entries = _binding(proto.update_binding)
    starts, start_entries = _binding(proto.initialization_binding)
    rest = remainder(proto, "initialization", "algorithm", "initialization_binding", "update_binding")
    plain = not rest and update_entries is None and start_entries is None
    origin = None if plain else TrainingOrigin(rest, update_entries, start_entries)
    return TrainingInfo(algorithm, updates, initialization, starts, origin)


def check_training(info: TrainingInfo, main: Graph, label: str) -> None:
    """Known names only: an algorithm may read whatever the network's graph has. Raises ``ModelError``."""
    outer = {*main.inputs, *main.parameters, *main.producers()}
    if info.initialization is not None:
        check_graph(info.initialization, outer, f"The training initialization of {label}")
    if info.algorithm is not None:
        check_graph(info.algorithm, outer, f"The training algorithm of {label}")


def _binding(entries: Iterable[StringStringEntryProto]) -> tuple[dict[str, str], Entries | None]:
    """The entries as a mapping, and as they are where it cannot say them."""
    listed = list(entries)
    mapping = {text(entry.key): text(entry.value) for entry in listed}
    plain = len(mapping) == len(listed) and all(
        entry.HasField("key") and entry.HasField("value") and len(entry.ListFields()) == 2 for entry in listed
    )
    plain = plain and not any(remainder(_copy(entry), "key", "value") for entry in listed)
    return mapping, None if plain else tuple(entry.SerializeToString() for entry in listed)


def _copy(entry: StringStringEntryProto) -> StringStringEntryProto:
    made = StringStringEntryProto()
    made.CopyFrom(entry)
    return made
