"""Un-folding: a convolution that swallowed its BatchNormalization gets one back, which changes nothing at first.

Nobody can tell what the statistics were that an exporter multiplied into a weight. They need not be known: with the
mean and variance of what the layer gives on data, and these very numbers as bias and scale, a BatchNormalization is the
identity. From there it can be trained, with the statistics of each batch if that is wanted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from toolkit.errors import GraphError
from toolkit.graph.copying import copied
from toolkit.graph.folded_normalization import folded_normalization
from toolkit.graph.insertion import Insertion, Names, opset_of, position_of
from toolkit.graph.layer import Leaf
from toolkit.graph.network import Network
from toolkit.graph.selection import select
from toolkit.graph.value import Value
from toolkit.training.adapters.adapter import registry_of

OPERATORS = ("Conv", "ConvTranspose", "Gemm")
EPSILON = 1e-5
LEAST_OPSET = 7  # the first in which the running statistics alone decide
Feeds = Mapping[str, Any] | np.ndarray


def unfold_batch_normalization(network: Network, *patterns: str, data: Feeds | Iterable[Feeds]) -> Network:
    """Put BatchNormalization behind convolutions and Gemm layers, in place; outputs stay. Returns the network.

    - ``patterns``: of Conv, ConvTranspose and Gemm layers; by default those whose weights are named as exporters name
      folded ones
    - ``data``: what the statistics are taken of: the input as an array, a dict by input name, or several of these

    Scale and bias learn; the statistics move where training asks for it
    (``network.select(...).unfreeze_statistics()``). Raises ``GraphError`` where nothing can be un-folded.
    """
    if opset_of(network) < LEAST_OPSET:
        raise GraphError(
            f"unfold_batch_normalization needs opset {LEAST_OPSET}, the network is written in opset "
            f"{opset_of(network)}. Export the model again in a newer opset."
        )
    with registry_of(network).without():
        chosen = _chosen(network, patterns)
        statistics = _statistics(network, [leaf.outputs[0] for leaf in chosen], data)
        names = Names(network.graph)
        for leaf in chosen:
            _append(network, leaf, *statistics[leaf.outputs[0]], names)
    network.revision += 1
    return network


def _chosen(network: Network, patterns: tuple[str, ...]) -> list[Leaf]:
    graph = network.graph
    if not patterns:
        found = [leaf for leaf in folded_normalization(graph) if leaf.op_type in OPERATORS and not leaf.domain]
        if not found:
            raise GraphError(
                "No convolution is named like one that holds a BatchNormalization. Name the layers to un-fold: "
                "unfold_batch_normalization(network, 'features/*', data=...)."
            )
        return found
    meant = select(graph, *patterns).layers
    found = [leaf for leaf in meant if leaf.op_type in OPERATORS and not leaf.domain]
    if not found:
        raise GraphError(
            f"Of the layers that {list(patterns)} names none can have held a BatchNormalization: that takes "
            f"{', '.join(OPERATORS)}, got {sorted({leaf.operator for leaf in meant})[:5]}."
        )
    return found


def _statistics(network: Network, names: list[str], data: Any) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Mean and variance of each channel (axis 1) of each value over all of ``data``, in double precision."""
    probe = copied(network)
    probe.graph.outputs = {name: network.graph.outputs.get(name, Value(name)) for name in names}
    whole = isinstance(data, (np.ndarray, Mapping))
    moments: dict[str, tuple[int, np.ndarray, np.ndarray]] = {}
    for feeds in (data,) if whole else data:
        for name, array in probe.run(feeds).items():
            moments[name] = _joined(moments.get(name), array.astype(np.float64))
    if not moments:
        raise GraphError("unfold_batch_normalization requires data, got no batch. Pass an array, a dict, or a list.")
    return {name: (mean, squares / count) for name, (count, mean, squares) in moments.items()}


def _joined(before: tuple[int, np.ndarray, np.ndarray] | None, array: np.ndarray) -> tuple[int, np.ndarray, np.ndarray]:
    """Count, mean and summed squares about it, of what came before and of one more array (Chan et al. 1979)."""
    rows = np.moveaxis(array, 1, 0).reshape(array.shape[1], -1)
    count, mean = rows.shape[1], rows.mean(axis=1)
    squares = np.square(rows - mean[:, None]).sum(axis=1)
    if before is None:
        return count, mean, squares
    total, shift = before[0] + count, mean - before[1]
    return (
        total,
        before[1] + shift * (count / total),
        before[2] + squares + np.square(shift) * (before[0] * count / total),
    )


def _append(network: Network, leaf: Leaf, mean: np.ndarray, variance: np.ndarray, names: Names) -> None:
    insertion = Insertion(network, leaf.path, names)
    weight = network.graph.parameters.get(leaf.inputs[1])
    dtype = np.dtype(np.float32) if weight is None else weight.dtype
    mean, variance = mean.astype(dtype), variance.astype(dtype)
    scale = np.sqrt(variance.astype(np.float64) + np.float32(EPSILON)).astype(dtype)
    y = leaf.outputs[0]
    leaf.outputs[0] = names.fresh(f"{y}_folded")
    inputs = [
        leaf.outputs[0],
        insertion.parameter("scale", scale),
        insertion.parameter("bias", mean),
        insertion.parameter("running_mean", mean, requires_grad=False, role="the running mean"),
        insertion.parameter("running_var", variance, requires_grad=False, role="the running variance"),
    ]
    insertion.leaf("BatchNormalization", inputs, output=y, epsilon=EPSILON)
    insertion.place(position_of(network.graph, leaf) + 1)
