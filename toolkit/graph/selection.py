"""Selections: the layers and parameters of a network that match a pattern; freezing is an attribute of a selection."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase

from toolkit.errors import GraphError
from toolkit.graph.layer import Graph, Leaf, reads
from toolkit.graph.parameter import Parameter, is_trainable_dtype


class Selection:
    """Leaves and parameters picked by path or name, in graph order. Iterating yields the leaves."""

    def __init__(self, leaves: list[Leaf], parameters: dict[str, Parameter]) -> None:
        self.layers = leaves
        self.parameters = parameters

    def __iter__(self) -> Iterator[Leaf]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    def freeze(self) -> Selection:
        """Exclude the selected parameters from training: nothing is computed for them any more."""
        for parameter in self.parameters.values():
            parameter.requires_grad = False
        return self

    def unfreeze(self, *, settings: bool = False) -> Selection:
        """Let training change the selected parameters (floating-point ones) again.

        ``settings=True`` includes what is no weight: exponents, bounds, running statistics, ... (``Parameter.role``).
        """
        wanted = self.unfreezable(settings=settings)
        for name, parameter in self.parameters.items():
            parameter.requires_grad = name in wanted
        return self

    def unfreezable(self, *, settings: bool = False) -> dict[str, Parameter]:
        """Those of the selected parameters that ``unfreeze`` lets training change."""
        return {
            name: item
            for name, item in self.parameters.items()
            if is_trainable_dtype(item.dtype) and (settings or not item.role)
        }

    def last(self, count: int) -> Selection:
        """The last ``count`` of the selected layers with weights, and what stands between and behind them.

        A weight is a floating-point tensor of two axes or more; biases and normalisations go with the layer before.
        Raises ``GraphError`` when there are not so many.
        """
        places = self._weighted(count)
        return self._part(self.layers[places[-count] :])

    def first(self, count: int) -> Selection:
        """The first ``count`` of the selected layers with weights, and what stands before and between them."""
        places = self._weighted(count)
        return self._part(self.layers[: places[count]] if count < len(places) else self.layers)

    def _weighted(self, count: int) -> list[int]:
        """Where the layers with weights stand among the selected ones."""
        weights = {name for name, item in self.unfreezable().items() if len(item.shape) > 1}
        places = [index for index, leaf in enumerate(self.layers) if not weights.isdisjoint(reads(leaf))]
        if not isinstance(count, int) or not 1 <= count <= len(places):
            raise GraphError(
                f"The selection has {len(places)} layers with weights, so a number from 1 to {len(places)} can be "
                f"chosen, got {count!r}."
            )
        return places

    def _part(self, leaves: list[Leaf]) -> Selection:
        read = {name for leaf in leaves for name in reads(leaf)}
        return Selection(leaves, {name: item for name, item in self.parameters.items() if name in read})

    def learning_rate(self, multiplier: float) -> Selection:
        """Scale the optimizer's learning rate for the selected parameters."""
        for parameter in self.parameters.values():
            parameter.learning_rate = multiplier
        return self

    def weight_decay(self, multiplier: float) -> Selection:
        """Scale the optimizer's weight decay for the selected parameters; 0 exempts them, as is usual for biases."""
        for parameter in self.parameters.values():
            parameter.weight_decay = multiplier
        return self

    def freeze_statistics(self) -> Selection:
        """Let the selected BatchNormalization layers train with their running statistics, which then stay."""
        return self._use_statistics("running")

    def unfreeze_statistics(self) -> Selection:
        """Let the selected BatchNormalization layers use the statistics of each batch, and move the running ones."""
        return self._use_statistics("batch")

    def _use_statistics(self, form: str) -> Selection:
        chosen = [leaf for leaf in self.layers if leaf.op_type == "BatchNormalization" or leaf.domain]
        if not chosen:
            raise GraphError(
                f"None of the {len(self.layers)} selected layers is a BatchNormalization: there are no statistics to "
                "choose. A network without any has them folded into its convolutions, where they stay fixed."
            )
        for leaf in chosen:
            leaf.statistics = form
        return self

    def __repr__(self) -> str:
        return f"Selection({len(self.layers)} layers, {len(self.parameters)} parameters)"


def select(graph: Graph, *patterns: str, among: Mapping[str, Parameter] | None = None) -> Selection:
    """Match shell patterns against leaf paths, leaf names and parameter names; ``*`` crosses ``/``.

    A leaf that matches brings the parameters that it reads or that its bodies hold. ``among`` are the parameters to
    choose from, those of the graph by default. Raises ``GraphError`` when a pattern matches nothing.
    """
    known = graph.parameters if among is None else among
    leaves: dict[int, Leaf] = {}
    parameters: dict[str, Parameter] = {}
    for pattern in patterns:
        wanted = pattern.strip("/")
        hit = [leaf for leaf in graph.leaves if matches(leaf.path, wanted) or matches(leaf.name, wanted)]
        named = {name: item for name, item in known.items() if matches(name, wanted)}
        if not hit and not named:
            raise GraphError(
                f"Nothing matches {pattern!r}. Layers are named like {_examples([leaf.path for leaf in graph.leaves])}"
                f", parameters like {_examples(list(known))}."
            )
        leaves.update((id(leaf), leaf) for leaf in hit)
        for leaf in hit:
            parameters.update((name, known[name]) for name in reads(leaf) if name in known)
            if any(leaf.bodies):
                inside = f"{leaf.path}/"
                parameters.update((name, item) for name, item in known.items() if name.startswith(inside))
        parameters.update(named)
    return Selection(
        [leaf for leaf in graph.leaves if id(leaf) in leaves],
        {name: item for name, item in known.items() if name in parameters},
    )


def matches(name: str, pattern: str) -> bool:
    """Whether a path or name is meant by a shell pattern; a pattern without wildcards also means what is below it."""
    name = name.strip("/")
    return fnmatchcase(name, pattern) or (not is_pattern(pattern) and name.startswith(pattern + "/"))


def is_pattern(text: str) -> bool:
    """Whether a pattern has wildcards."""
    return any(mark in text for mark in "*?[")


def _examples(names: list[str]) -> str:
    return ", ".join(repr(name) for name in names[:3]) or "(none)"
