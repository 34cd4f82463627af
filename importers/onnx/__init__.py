"""Reads ONNX models into networks: nothing is converted, nothing is lost."""

from __future__ import annotations

import os
from collections.abc import Mapping

from onnx import ModelProto

from importers.onnx.batch import find_batch_axes
from importers.onnx.reader import read_model
from importers.onnx.translate import network_from
from toolkit.graph import Network

__all__ = ["load"]


def load(
    source: str | os.PathLike[str] | bytes | ModelProto,
    *,
    batch_axis: Mapping[str, int | None] | None = None,
    folder: str | os.PathLike[str] | None = None,
) -> Network:
    """The network of an ONNX file, of its bytes or of a proto (which stays as it is).

    - ``batch_axis``: ``{input or output name: axis or None}`` where the rules of ``importers.onnx.batch`` guess wrong
    - ``folder``: where external data lies; by default the folder of the file

    Raises ``ModelError`` for anything that is not a usable model; the message names the file, node or tensor.
    """
    parsed = read_model(source)
    network = network_from(parsed, None if folder is None else os.fspath(folder))
    find_batch_axes(network.inputs.values(), network.outputs.values(), batch_axis or {})
    return network
