"""Reads ONNX models into networks: nothing is converted, nothing is lost."""

from __future__ import annotations

import os
from collections.abc import Mapping

from onnx import ModelProto

from importers.onnx.batch import find_batch_axes
from importers.onnx.constants import promote_constants
from importers.onnx.reader import read_model
from importers.onnx.translate import network_from
from importers.onnx.weights import candidates, freeze_settings
from toolkit.graph import Network

__all__ = ["load"]


def load(
    source: str | os.PathLike[str] | bytes | ModelProto,
    *,
    batch_axis: Mapping[str, int | None] | None = None,
    folder: str | os.PathLike[str] | None = None,
    constants_as_weights: bool | None = None,
) -> Network:
    """The network of an ONNX file, of its bytes or of a proto (which stays as it is).

    - ``batch_axis``: ``{input or output name: axis or None}`` where the rules of ``importers.onnx.batch`` guess wrong
    - ``folder``: where external data lies; by default the folder of the file
    - ``constants_as_weights``: whether the weights among its Constant nodes become parameters; by default they do when
      the model has no weights elsewhere

    Parameters that are no weights (exponents, epsilons, running statistics, ...) start frozen and say what they are in
    their ``role``; see ``importers.onnx.weights``.

    Raises ``ModelError`` for anything that is not a usable model; the message names the file, node or tensor.
    """
    parsed = read_model(source)
    network = network_from(parsed, None if folder is None else os.fspath(folder))
    find_batch_axes(network.inputs.values(), network.outputs.values(), batch_axis or {})
    found = candidates(network)
    freeze_settings(found)
    promote_constants(found, constants_as_weights)
    for prefix, inner in network.inner_graphs():
        for name, parameter in inner.parameters.items():
            parameter.name = prefix + name
    return network
