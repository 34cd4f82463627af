"""What is done to every file of the corpus: load, write, load again, build a context, run on zeros.

``examine`` returns normally or raises; whatever it raises that is not a ``ToolkitError`` is a defect of the toolkit.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto

from exporters import diff, save, to_proto
from importers import load
from importers.onnx.origin import TensorOrigin
from toolkit.graph import Network, Value

LARGEST_RUN = 1 << 14  # elements of an input; what is larger is not what the corpus is about
PATIENCE = 0.05
SIZE = 2  # of every open dimension


class EndlessError(BaseException):
    """A Loop was still running after a while, as it may: how often it does is the model's affair."""


class UnfaithfulError(Exception):
    """A file was accepted, but comes back from the exporter as another one."""


def examine(source: bytes | str, folder: Path) -> None:
    """Put one file through everything; ``folder`` is a place to write, and holds external data."""
    network = load(source, folder=None if isinstance(source, str) else folder)
    if not isinstance(source, str):
        require_faithful(network, source)
    written = folder / "written.onnx"
    save(network, written)
    try:
        load(os.fspath(written), folder=folder)
    finally:
        written.unlink()
    feeds = zeros(network)
    if feeds is not None:
        with limited(any(leaf.op_type == "Loop" for leaf in network.graph.walk())):
            network.run(feeds, threads=1)
    else:
        dims = {dim: SIZE for value in network.inputs.values() for dim in value.shape or () if isinstance(dim, str)}
        network.context(SIZE, dims=dims, threads=1)


@contextlib.contextmanager
def limited(has_loop: bool) -> Iterator[None]:
    """Give up on networks with a loop after ``PATIENCE`` seconds of processor time."""
    if not has_loop:
        yield
        return
    signal.signal(signal.SIGVTALRM, _give_up)
    signal.setitimer(signal.ITIMER_VIRTUAL, PATIENCE)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)


def _give_up(*interruption: object) -> None:
    raise EndlessError


def require_faithful(network: Network, source: bytes) -> None:
    """What was read must be what is written, field by field."""
    if any(isinstance(p.origin, TensorOrigin) and p.origin.external for p in network.parameters.values()):
        return  # a proto takes external data in
    assert diff(source, source) == []
    one, other = ModelProto.FromString(source), to_proto(network)
    if one.SerializeToString(deterministic=True) != other.SerializeToString(deterministic=True):
        raise UnfaithfulError("the network does not give back the model it was read from")


def zeros(network: Network) -> dict[str, Any] | None:
    """Small feeds for every input; ``None`` when one is declared to be large."""
    feeds = {name: _zero(value) for name, value in network.inputs.items()}
    return None if any(item is None for item in feeds.values()) else feeds


def _zero(value: Value) -> Any:
    shape = [SIZE if not isinstance(dim, int) else dim for dim in value.shape or ()]
    if np.prod([max(float(size), 1) for size in shape]) > LARGEST_RUN or len(shape) > 64:
        return None
    dtype = value.dtype if value.dtype is not None else np.dtype(np.float32)
    array = np.full(shape, "", object) if dtype.kind == "O" else np.zeros(shape, dtype)
    if value.kind == "sequence":
        return [array, array]
    return {} if value.kind == "map" else array
