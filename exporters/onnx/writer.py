"""Streams a network to an ONNX file: the small remainder is serialized, weights go from their arrays to the disk."""

from __future__ import annotations

import os
from dataclasses import replace

from exporters.onnx.constants import initializers
from exporters.onnx.external import move_out, moved_path, place_data_files
from exporters.onnx.files import Chunk, write_together
from exporters.onnx.tensors import Places, StoredTensor, store
from exporters.onnx.translate import model_without_weights
from importers.onnx.origin import ModelOrigin
from importers.onnx.reader import LARGEST_PROTOBUF
from importers.onnx.wire import GRAPH, INITIALIZER, RAW_DATA, prefix
from toolkit.errors import ModelError
from toolkit.graph import Network


def save(
    network: Network,
    path: str | os.PathLike[str],
    *,
    external_data: str | None = None,
    training_info: bool = True,
) -> None:
    """Write the network; the file at ``path`` is replaced at once or not at all, and may be the one it was read from.

    - ``external_data``: name of a file beside the model for its weights; models above 2 GiB need one
    - ``training_info``: whether to write what the network says about training (``network.training``)

    Raises ``ModelError`` when the network does not fit a file, or the file cannot be written.
    """
    path = os.fspath(path)
    if not training_info:
        network = replace(network, training=[])
    source = network.origin.source if isinstance(network.origin, ModelOrigin) else None
    places, files = place_data_files(network, path, source)
    tensors = [
        store(parameter.array, parameter.origin, name, f"Parameter {name!r}", places)
        for name, parameter in initializers(network.graph).items()
    ]
    tensors = [StoredTensor(header, raw if span is None else None, None) for header, raw, span in tensors]
    if external_data is not None:
        files[moved_path(external_data, path, places)] = move_out(tensors, external_data)
    chunks = _model_chunks(network, tensors, places)
    size = sum(len(chunk) for chunk in chunks)
    if size > LARGEST_PROTOBUF:
        raise ModelError(
            f"The model takes {size} bytes, but an ONNX file holds at most {LARGEST_PROTOBUF}. "
            "Keep the weights beside it: save(network, path, external_data='weights.data')."
        )
    write_together({**files, path: chunks})


def _model_chunks(network: Network, tensors: list[StoredTensor], places: Places) -> list[Chunk]:
    """The serialized model in pieces; fields of a message may come in any order."""
    model = model_without_weights(network, places)
    graph = model.graph.SerializeToString()
    model.ClearField("graph")
    pieces: list[Chunk] = []
    for header, raw, _ in tensors:
        small = header.SerializeToString()
        if raw is None:
            pieces += [prefix(INITIALIZER, len(small)) + small]
        else:
            key = prefix(RAW_DATA, raw.size)
            pieces += [prefix(INITIALIZER, len(small) + len(key) + raw.size) + small + key, raw]
    length = len(graph) + sum(len(piece) for piece in pieces)
    return [model.SerializeToString() + prefix(GRAPH, length) + graph, *pieces]
