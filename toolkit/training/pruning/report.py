"""The report of sparsity: how many of the numbers of each weight are zero."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from toolkit.errors import GraphError
from toolkit.graph.layer import reads
from toolkit.graph.network import Network
from toolkit.graph.parameter import Parameter
from toolkit.graph.selection import select

MASK = "mask"  # the last part of the name of a mask
PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


@dataclass(frozen=True)
class Sparsity:
    """``zeros`` and ``sizes`` by the name of the weight; ``share`` is the part of all numbers that are zero."""

    zeros: dict[str, int] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)

    @property
    def share(self) -> float:
        return sum(self.zeros.values()) / max(sum(self.sizes.values()), 1)

    def __str__(self) -> str:
        width = max((len(name) for name in self.sizes), default=0)
        lines = [
            f"{name.ljust(width)}  {self.zeros[name]:>10,} of {size:>10,} zero  {self.zeros[name] / size:6.1%}"
            for name, size in self.sizes.items()
        ]
        return "\n".join([*lines, f"{'all'.ljust(width)}  {self.share:.1%} zero"])


def sparsity(network: Network, *patterns: str) -> Sparsity:
    """How many numbers are zero in the weights of the layers that ``patterns`` name, in all by default.

    Masks count as applied. Raises ``GraphError`` when a pattern matches nothing.
    """
    report = Sparsity()
    masks = {leaf.inputs[0]: leaf.inputs[1] for leaf in network.graph.leaves if is_mask(network, leaf.inputs)}
    for item in weights(network, patterns):
        array = item.array
        if item.name in masks:
            array = array * network.graph.parameters[masks[item.name]].array
        report.zeros[item.name], report.sizes[item.name] = int(array.size - np.count_nonzero(array)), array.size
    return report


def is_mask(network: Network, inputs: list[str]) -> bool:
    """Whether a leaf of these inputs multiplies a weight by a mask."""
    held = network.graph.parameters.get(inputs[1]) if len(inputs) == 2 else None
    return held is not None and held.role.startswith(f"the {MASK} of ")


def weights(network: Network, patterns: tuple[str, ...]) -> list[Parameter]:
    """The weights (floating-point tensors of two axes and more) that products read, by layers or by their own names.

    Raises ``GraphError`` when there are none.
    """
    graph = network.graph
    masked = {leaf.outputs[0]: leaf.inputs[0] for leaf in graph.leaves if is_mask(network, leaf.inputs)}
    known = {
        masked.get(name, name): name
        for leaf in graph.leaves
        if leaf.op_type in PRODUCTS and not leaf.domain
        for name in leaf.inputs[:2]
    }
    items = [graph.parameters[name] for name in known if name in graph.parameters]
    items = [item for item in items if item.dtype.kind == "f" and len(item.shape) > 1 and item.size]
    if patterns:
        selection = select(graph, *patterns)
        read = {masked.get(name, name) for leaf in selection.layers for name in reads(leaf)}
        items = [item for item in items if item.name in selection.parameters or item.name in read]
    if not items:
        raise GraphError(
            f"{list(patterns) or 'The network'} names no weight of {', '.join(PRODUCTS)} in floating-point numbers. "
            "Look at network.summary()."
        )
    return items
