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
        for parameter in self.parameters.values():
            parameter.requires_grad = is_trainable_dtype(parameter.dtype) and (settings or not parameter.role)
        return self

    def learning_rate(self, multiplier: float) -> Selection:
        """Scale the optimizer's learning rate for the selected parameters."""
        for parameter in self.parameters.values():
            parameter.learning_rate = multiplier
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
        hit = [leaf for leaf in graph.leaves if _matches(leaf.path, wanted) or _matches(leaf.name, wanted)]
        named = {name: item for name, item in known.items() if _matches(name, wanted)}
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


def _matches(name: str, pattern: str) -> bool:
    name = name.strip("/")
    return fnmatchcase(name, pattern) or (not _is_pattern(pattern) and name.startswith(pattern + "/"))


def _is_pattern(text: str) -> bool:
    return any(mark in text for mark in "*?[")


def _examples(names: list[str]) -> str:
    return ", ".join(repr(name) for name in names[:3]) or "(none)"
