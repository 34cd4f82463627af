"""Installing adapters: the leaves of active adapters go into the graph, and come out again without a trace."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from toolkit.graph.insertion import Insertion, Names, position_of
from toolkit.graph.layer import Leaf
from toolkit.graph.network import Network
from toolkit.training.adapters.branches import Branch, append_beside, append_grid, append_inside


@dataclass(frozen=True)
class Active:
    """A branch as it is to be installed: ``scope`` names its leaves, ``scale=None`` leaves out the scaling."""

    branch: Branch
    scope: str
    scale: float | None
    dropout: float = 0.0


@dataclass(eq=False)
class Installation:
    """What installing changed."""

    network: Network
    leaves: list[Leaf] = field(default_factory=list)
    parameters: list[str] = field(default_factory=list)
    outputs: list[tuple[Leaf, str]] = field(default_factory=list)
    inputs: list[tuple[Leaf, int, str]] = field(default_factory=list)

    def undo(self) -> None:
        """Take out everything that was put in; edits that were made since stay."""
        graph = self.network.graph
        added = {id(leaf) for leaf in self.leaves}
        graph.leaves = [leaf for leaf in graph.leaves if id(leaf) not in added]
        for leaf, name in self.outputs:
            leaf.outputs[0] = name
        for leaf, index, name in self.inputs:
            leaf.inputs[index] = name
        for name in self.parameters:
            if graph.parameters.pop(name, None) is not None:
                graph.inputs.pop(name, None)

    def note(self, insertion: Insertion) -> None:
        """Remember what an insertion has added."""
        self.leaves += insertion.leaves
        self.parameters += insertion.parameters


def install(network: Network, wanted: Sequence[Active]) -> Installation:
    """Put branches into the graph of a network that has none; those of layers that are gone are left out."""
    made, names = Installation(network), Names(network.graph)
    present = {id(leaf) for leaf in network.graph.leaves}
    here = [item for item in wanted if id(item.branch.site.leaf) in present and id(item.branch.site.end) in present]
    inside: dict[int, list[Active]] = {}
    beside: dict[int, list[Active]] = {}
    for item in here:
        group, key = (inside, item.branch.site.leaf) if item.branch.is_inside else (beside, item.branch.site.end)
        group.setdefault(id(key), []).append(item)
    for items in inside.values():
        _change_weight(network, items, names, made)
    for items in beside.values():
        _add_to_output(network, items, names, made)
    return made


def _begin(network: Network, item: Active, names: Names) -> Insertion:
    insertion = Insertion(network, item.scope, names)
    for parameter in item.branch.parameters:
        insertion.add(parameter)
    return insertion


def _change_weight(network: Network, items: list[Active], names: Names, made: Installation) -> None:
    site = items[0].branch.site
    weight = site.leaf.inputs[site.weight]
    made.inputs.append((site.leaf, site.weight, weight))
    for item in items:
        insertion = _begin(network, item, names)
        weight = append_inside(insertion, item.branch, weight, item.scale)
        insertion.place(position_of(network.graph, site.leaf))
        made.note(insertion)
    site.leaf.inputs[site.weight] = weight


def _add_to_output(network: Network, items: list[Active], names: Names, made: Installation) -> None:
    site, graph = items[0].branch.site, network.graph
    end, y = site.end, site.end.outputs[0]
    made.outputs.append((end, y))
    base = end.outputs[0] = names.fresh(f"{y}_base")
    position = position_of(graph, end) + 1
    for item in items:
        insertion = _begin(network, item, names)
        if site.y_grid is not None and item is items[0]:
            base = append_grid(insertion, base, site.y_grid, back=False)
        total = y if item is items[-1] and site.y_grid is None else ""
        base = append_beside(insertion, item.branch, base, item.scale, item.dropout, total)
        if site.y_grid is not None and item is items[-1]:
            append_grid(insertion, base, site.y_grid, back=True, output=y)
        insertion.place(position)
        position += len(insertion.leaves)
        made.note(insertion)
