"""Masks: weights that were pruned stay zero while the others learn on.

Each weight is multiplied by a mask of zeros and ones before its layer reads it, which costs one pass over the weights a
step; what is zeroed gets no gradient. Inference computes the product once. ``finish`` leaves plain weights with zeros:
then the file differs from the original by their numbers alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from toolkit.errors import GraphError, InputError
from toolkit.graph.insertion import Insertion, Names
from toolkit.graph.layer import Leaf
from toolkit.graph.network import Network
from toolkit.graph.parameter import Parameter
from toolkit.training.adapters.adapter import registry_of
from toolkit.training.pruning.report import MASK, Sparsity, is_mask, sparsity, weights
from toolkit.training.pruning.schedule import Gradual

SCOPES = ("global", "layer")


@dataclass(eq=False)
class Pruning:
    """The masks of ``network``, by the names of the weights; ``scope`` is ``global`` or ``layer``."""

    network: Network
    scope: str
    masks: dict[str, Parameter] = field(default_factory=dict)
    _leaves: dict[str, Leaf] = field(default_factory=dict, repr=False)

    @property
    def report(self) -> Sparsity:
        """How many numbers of each weight are zero."""
        return sparsity(self.network, *self.masks)

    def update(self, share: float) -> Pruning:
        """Zero the ``share`` of all weights that are smallest now, of each weight by itself in the scope ``layer``.

        What is zero stays zero. Raises ``InputError`` for shares out of [0, 1).
        """
        _require_share(share)
        found = {name: np.abs(self.network.parameters[name].array) * mask.array for name, mask in self.masks.items()}
        if self.scope == "layer":
            kept = [_keep_largest(item.reshape(-1), share) for item in found.values()]
        else:
            together = _keep_largest(np.concatenate([item.reshape(-1) for item in found.values()]), share)
            kept = np.split(together, np.cumsum([item.size for item in found.values()])[:-1])
        for mask, part in zip(self.masks.values(), kept, strict=True):
            mask.assign(part.reshape(mask.shape).astype(mask.dtype) * mask.array)
        return self

    def during(self, batches: Iterable[Any], schedule: Gradual) -> During:
        """``batches`` as data for ``Trainer.fit``; through all epochs the share of zeros follows a schedule."""
        return During(self, batches, schedule)

    def finish(self) -> Network:
        """Take the masks out and write the zeros into the weights; returns the network.

        Raises ``GraphError`` when that was done before.
        """
        if not self._leaves:
            raise GraphError("The masks of this pruning were taken out before. Prune the network again to go on.")
        graph = self.network.graph
        for name, leaf in self._leaves.items():
            item, mask = graph.parameters[name], self.masks[name]
            item.assign(item.array * mask.array)
            for reader in graph.leaves:
                reader.inputs = [name if read == leaf.outputs[0] else read for read in reader.inputs]
            graph.leaves = [other for other in graph.leaves if other is not leaf]
            del graph.parameters[mask.name]
            graph.inputs.pop(mask.name, None)
        self._leaves = {}
        self.network.revision += 1
        return self.network


@dataclass(eq=False)
class During:
    """Batches between which ``pruning`` follows ``schedule``; ``step`` counts them over all epochs."""

    pruning: Pruning
    batches: Iterable[Any]
    schedule: Gradual
    step: int = 0

    def __iter__(self) -> Iterator[Any]:
        for batch in self.batches:
            share = self.schedule.share(self.step)
            if share is not None:
                self.pruning.update(share)
            self.step += 1
            yield batch


def prune(network: Network, *patterns: str, share: float = 0.5, scope: str = "global") -> Pruning:
    """Zero the ``share`` of weights that is smallest by magnitude, in place, and keep it zero until ``finish``.

    - ``patterns``: of layers or weights, all Conv, ConvTranspose, Gemm and MatMul by default
    - ``scope``: ``global`` compares all weights with each other, ``layer`` prunes each by the same share
    - ``share=0`` masks nothing yet: ``Pruning.during`` lets it grow while the network is trained

    Biases stay. Raises ``GraphError`` when there is no such weight, or it has a mask; ``InputError`` for other options.
    """
    _require_share(share)
    if scope not in SCOPES:
        raise InputError(f"prune requires scope= one of {', '.join(SCOPES)}, got {scope!r}.")
    made = Pruning(network, scope)
    with registry_of(network).without():
        chosen = weights(network, patterns)
        masked = {leaf.inputs[0] for leaf in network.graph.leaves if is_mask(network, leaf.inputs)}
        again = [item.name for item in chosen if item.name in masked]
        if again:
            raise GraphError(f"{again[0]!r} has a mask already: call finish() on its pruning, or update(share) there.")
        names = Names(network.graph)
        for item in chosen:
            made.masks[item.name], made._leaves[item.name] = _insert(network, item, names)
    network.revision += 1
    return made.update(share)


def _insert(network: Network, item: Parameter, names: Names) -> tuple[Parameter, Leaf]:
    graph = network.graph
    insertion = Insertion(network, item.name, names)
    ones = np.ones(item.shape, item.dtype)
    mask = insertion.parameter(MASK, ones, requires_grad=False, role=f"the {MASK} of {item.name!r}")
    readers = [index for index, leaf in enumerate(graph.leaves) if item.name in leaf.inputs]
    product = insertion.leaf("Mul", [item.name, mask])
    for index in readers:
        graph.leaves[index].inputs = [product if name == item.name else name for name in graph.leaves[index].inputs]
    insertion.place(readers[0])
    return graph.parameters[mask], insertion.leaves[0]


def _keep_largest(magnitudes: np.ndarray, share: float) -> np.ndarray:
    """1 for each number, but 0 for the ``share`` of them that is smallest."""
    dropped = round(magnitudes.size * share)
    kept = np.ones(magnitudes.size, magnitudes.dtype)
    if dropped:
        kept[np.argpartition(magnitudes, dropped - 1, axis=None)[:dropped]] = 0
    return kept


def _require_share(share: float) -> None:
    if not 0 <= share < 1:
        raise InputError(f"The share of weights to prune must lie in [0, 1), got {share!r}.")
