"""Structured pruning: whole filters and units leave the network, which becomes smaller and faster in every engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from toolkit.errors import GraphError, InputError
from toolkit.graph.insertion import Insertion, Names
from toolkit.graph.layer import Leaf
from toolkit.graph.network import Network
from toolkit.graph.parameter import Parameter
from toolkit.graph.selection import select
from toolkit.graph.surgery import prune
from toolkit.training.adapters.adapter import registry_of
from toolkit.training.pruning.channels import Channels, Units


def prune_units(network: Network, *patterns: str, share: float = 0.3, multiple_of: int = 1) -> dict[str, np.ndarray]:
    """Take the ``share`` of units that is smallest out of Conv, Gemm and MatMul layers, in place.

    - ``patterns``: of the layers, all by default; those whose outputs are added up lose the same units, judged together
    - ``multiple_of``: how many units stay is a multiple of it (8 and 16 suit vector instructions)

    A unit is judged by the norm of the weights that make it. Everything that reads it shrinks as well. Returns which
    units stay, by the path of the layer. Raises ``GraphError`` when no layer can lose units, telling why,
    ``InputError`` for other options.
    """
    if not 0 <= share < 1 or not isinstance(multiple_of, int) or multiple_of < 1:
        raise InputError(
            f"prune_units requires a share in [0, 1) and multiple_of of at least 1, got {share!r} and {multiple_of!r}."
        )
    with registry_of(network).without():
        graph = network.graph
        wanted = {id(leaf) for leaf in (select(graph, *patterns).layers if patterns else graph.leaves)}
        channels = Channels(network)
        chosen = [item for item in channels.sets() if any(id(leaf) in wanted for leaf, _ in item.made)]
        free = [item for item in chosen if not item.fixed]
        if not free:
            raise GraphError(f"No layer of {list(patterns) or 'the network'} can lose units{_reason(chosen)}.")
        kept = [(item, _largest(network, item, share, multiple_of)) for item in free]
        _cut(network, channels, kept)
    network.revision += 1
    return {leaf.path: indices for item, indices in kept for leaf, _ in item.made}


def _reason(chosen: Sequence[Units]) -> str:
    told = [f"{leaf.path!r} ({item.fixed})" for item in chosen for leaf, _ in item.made[:1]]
    return f": {', '.join(told[:3])}" if told else ": it takes Conv, Gemm or MatMul with a weight that it alone reads"


def _largest(network: Network, units: Units, share: float, multiple_of: int) -> np.ndarray:
    """Which units stay: those of the largest norms, in order."""
    squares = np.zeros(units.count)
    for _, part in units.made:
        array = network.graph.parameters[part.name].array.astype(np.float64)
        rows = np.moveaxis(array, part.axis, 0).reshape(units.count, -1)
        squares += np.square(rows).sum(1) / max(np.square(rows).sum(), np.finfo(np.float64).tiny)
    count = units.count - int(units.count * share)
    count = min(-(-count // multiple_of) * multiple_of, units.count)
    return np.sort(np.argsort(-squares, kind="stable")[: max(count, 1)])


def _cut(network: Network, channels: Channels, kept: Sequence[tuple[Units, np.ndarray]]) -> None:
    graph, names, before = network.graph, Names(network.graph), list(network.graph.leaves)
    arrays = {name: item.array for name, item in graph.parameters.items()}
    changed: set[str] = set()
    for units, indices in kept:
        for part in units.slices:
            places = (indices[:, None] * part.block + np.arange(part.block)).reshape(-1)
            arrays[part.name] = np.take(arrays[part.name], places, part.axis)
            changed.add(part.name)
        for leaf in units.grouped:
            leaf.attributes["group"] = len(indices)
        for leaf, block in units.flattened:
            _reshape(network, leaf, units.count * block, len(indices) * block, names)
    for name in changed:
        graph.parameters[name] = _resized(graph.parameters[name], arrays[name])
        if name in graph.inputs:
            graph.inputs[name] = replace(graph.inputs[name], shape=arrays[name].shape)
    prune(graph, before)
    roots = {id(units): len(indices) for units, indices in kept}
    for name, carried in channels.carried.items():
        value, count = graph.values.get(name), roots.get(id(carried.units.root()))
        if value is not None and value.shape is not None and count is not None:
            sizes = list(value.shape)
            sizes[carried.axis] = count * carried.block
            graph.values[name] = replace(value, shape=tuple(sizes))


def _reshape(network: Network, leaf: Leaf, old: int, new: int, names: Names) -> None:
    """Let a Reshape whose shape says how many features there were say how many there are."""
    graph = network.graph
    held, readers = graph.parameters.get(leaf.inputs[1]), graph.consumers()[leaf.inputs[1]]
    if held is not None and old not in held.array:
        return
    shape = np.array([-1, old], np.int64) if held is None else held.array.copy()
    shape[shape == old] = new
    former = leaf.inputs[1]
    leaf.inputs[1] = Insertion(network, leaf.path, names).parameter("shape", shape, requires_grad=False)
    if held is not None and len(readers) == 1 and former not in graph.outputs:
        del graph.parameters[former]
        graph.inputs.pop(former, None)


def _resized(item: Parameter, array: np.ndarray) -> Parameter:
    held = np.ascontiguousarray(array)
    held.flags.writeable = False
    made = Parameter(item.name, held, requires_grad=item.requires_grad)
    made.role, made.learning_rate = item.role, item.learning_rate
    return made
