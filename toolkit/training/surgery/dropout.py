"""Dropout where a network has none: a fine-tuned network of few data forgets it less."""

from __future__ import annotations

import numpy as np

from toolkit.errors import GraphError
from toolkit.graph.insertion import Insertion, Names, opset_of, position_of
from toolkit.graph.network import Network
from toolkit.graph.selection import select
from toolkit.graph.surgery import data_values
from toolkit.training.adapters.adapter import registry_of

RATIO_INPUT = 12  # the opset from which Dropout takes its ratio as an input
LEAST_OPSET = 7  # before it, Dropout acts unless is_test says otherwise


def insert_dropout(network: Network, *patterns: str, ratio: float = 0.1) -> Network:
    """Put a Dropout behind each layer that ``patterns`` name, in place; returns the network.

    It zeroes a share ``ratio`` of a layer's first output while training, and does nothing elsewhere, in other engines
    included. Raises ``GraphError`` when a layer gives nothing that data reaches, and for ratios out of [0, 1).
    """
    if not 0 <= ratio < 1:
        raise GraphError(f"insert_dropout requires a ratio in [0, 1), got {ratio!r}.")
    if opset_of(network) < LEAST_OPSET:
        raise GraphError(
            f"insert_dropout needs opset {LEAST_OPSET}, the network is written in opset {opset_of(network)}. "
            "Export the model again in a newer opset."
        )
    with registry_of(network).without():
        graph = network.graph
        data, chosen = data_values(graph), select(graph, *patterns).layers
        for leaf in chosen:
            if not leaf.outputs or leaf.outputs[0] not in data:
                raise GraphError(
                    f"{leaf.operator} {leaf.path!r} cannot be followed by Dropout: its output does not depend on an "
                    "input of the network. Name layers that data passes."
                )
        if not chosen:
            raise GraphError(f"insert_dropout requires layers, but {list(patterns)} names parameters alone.")
        names = Names(graph)
        for leaf in chosen:
            insertion = Insertion(network, leaf.path, names)
            y = leaf.outputs[0]
            leaf.outputs[0] = names.fresh(f"{y}_kept")
            if insertion.opset < RATIO_INPUT:
                insertion.leaf("Dropout", [leaf.outputs[0]], output=y, ratio=float(ratio))
            else:
                array = np.array(ratio, np.float32)
                held = insertion.parameter("ratio", array, requires_grad=False, role="the ratio in Dropout")
                insertion.leaf("Dropout", [leaf.outputs[0], held], output=y)
            insertion.place(position_of(graph, leaf) + 1)
    network.revision += 1
    return network
