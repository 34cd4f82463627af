"""Calibration: running a float network on data to learn the range of every value that is to be quantised.

The values are outputs of one context for each size of batch, so a batch costs one run, however many there are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np

from toolkit.errors import GraphError, InputError
from toolkit.graph.copying import copied
from toolkit.graph.layer import Leaf
from toolkit.graph.network import Network
from toolkit.graph.parameter import Parameter
from toolkit.graph.selection import select
from toolkit.graph.surgery import data_values
from toolkit.graph.value import Value
from toolkit.runtime.feeds import named
from toolkit.training.adapters.adapter import registry_of
from toolkit.training.quantisation.folding import fold
from toolkit.training.quantisation.newer_opset import renew
from toolkit.training.quantisation.observers import Observer, observer_of
from toolkit.training.quantisation.places import CHOSEN, Places, find_places


@dataclass(eq=False)
class Calibration:
    """What quantising a network needs to know, learnt from data; hand it to ``quantise`` as often as you like.

    - ``network``: a copy of the network, of parameters of its own, in which what can be folded is
    - ``layers``: the paths of what will be quantised; ``left_out`` says why others of these operators will not
    """

    network: Network
    places: Places = field(repr=False)
    observers: dict[str, Observer] = field(repr=False)

    @property
    def layers(self) -> list[str]:
        return [leaf.path for leaf in self.places.leaves]

    @property
    def left_out(self) -> dict[str, str]:
        return self.places.left_out

    def range(self, value: str, levels: int = 256) -> tuple[float, float]:
        """The range that the grid of a value covers."""
        low, high = self.observers[value].range(levels)
        least, most = self.places.limits[value]
        return max(low, least), min(high, most)

    def ranges(self, levels: int = 256) -> dict[str, tuple[float, float]]:
        """The range of each value that has a grid of its own."""
        return {name: self.range(name, levels) for name in self.observers}


def calibrate(
    network: Network,
    data: Any,
    *patterns: str,
    skip: Sequence[str] = (),
    method: str | Observer = "min-max",
    batch_size: int = 32,
) -> Calibration:
    """Learn from ``data`` what ranges the values of ``network`` have; the network stays as it is.

    - ``data``: the input as an array, a dict by input name, (x, labels), or an iterable of these as batches; arrays are
      cut into batches of ``batch_size``. A few hundred typical items suffice.
    - ``patterns``: of layers to quantise, all by default; ``skip``: of layers to leave alone
    - ``method``: ``min-max``, ``moving-average``, ``percentile``, ``entropy``, ``mse``, or an observer

    Raises ``GraphError`` when nothing is there to quantise, ``InputError`` for data that does not fit.
    """
    template = observer_of(method)
    with registry_of(network).without():
        floats = detached(network)
        fold(floats)
    wanted = wanted_layers(floats, patterns, skip)
    moving = data_values(floats.graph)
    batches = feeds_of(floats, data, batch_size)
    first = next(batches, None)
    if first is None:
        raise InputError("Calibration requires data, got no batch. Pass an array, a dict, or a list of these.")
    candidates = dict.fromkeys(
        name for leaf in floats.graph.leaves for name in (*leaf.inputs, *leaf.outputs) if name in moving
    )
    seen = probe(floats, candidates).run(_few_items(floats, first))
    arrays = {name: array for name, array in seen.items() if isinstance(array, np.ndarray)}
    known = {name for name, array in arrays.items() if array.dtype == np.float32}
    renew(floats, {name: array.ndim for name, array in arrays.items()})
    places = find_places(floats.graph, wanted, known)
    if not places.weights and not places.made:
        raise GraphError(
            f"Nothing is there to quantise: of {len(wanted)} layers none is of {', '.join(CHOSEN)} in 32-bit floats"
            f"{_first_reason(places)}."
        )
    observers = {name: template.fresh() for name in places.values}
    observed = probe(floats, observers)
    for feeds in chain([first], batches):
        for name, array in observed.run(feeds).items():
            observers[name].observe(array)
    return Calibration(floats, places, observers)


def calibrated(
    network: Network | Calibration, data: Any, patterns: Sequence[str], *, skip: Sequence[str], **options: Any
) -> Calibration:
    """The calibration that was handed over, or that of a network on ``data``. Raises ``InputError``."""
    if not isinstance(network, Calibration):
        return calibrate(network, data, *patterns, skip=skip, **options)
    if data is not None or patterns or skip:
        raise InputError("A Calibration has its data and layers already: pass no others beside it.")
    return network


def _first_reason(places: Places) -> str:
    return next((f" ({path!r}: {reason})" for path, reason in places.left_out.items()), "")


def wanted_layers(network: Network, patterns: Sequence[str], skip: Sequence[str]) -> list[Leaf]:
    """The layers that patterns name, all without patterns, less those to skip."""
    graph = network.graph
    chosen = select(graph, *patterns).layers if patterns else graph.leaves
    spared = {id(leaf) for leaf in select(graph, *skip).layers} if skip else set()
    return [leaf for leaf in chosen if id(leaf) not in spared]


def probe(network: Network, names: Iterable[str]) -> Network:
    """A network over the same parameters whose outputs are the values ``names``; inputs are handed on."""
    made = copied(network)
    made.graph.outputs = {name: network.graph.outputs.get(name, Value(name)) for name in names}
    return made


def detached(network: Network) -> Network:
    """A network of the same layers over parameters of its own; what neither changes is in memory once."""
    made = copied(network)
    made.graph.parameters = {name: _own(item) for name, item in network.graph.parameters.items()}
    return made


def _own(item: Parameter) -> Parameter:
    made = Parameter(item.name, item.array, requires_grad=item.requires_grad, origin=item.origin)
    made.role, made.learning_rate = item.role, item.learning_rate
    return made


def feeds_of(network: Network, data: Any, batch_size: int) -> Iterator[dict[str, np.ndarray]]:
    """``data`` as batches of ``{input name: array}``; labels are dropped."""
    if not isinstance(batch_size, int) or batch_size < 1:
        raise InputError(f"batch_size requires a whole number of at least 1, got {batch_size!r}.")
    if isinstance(data, (np.ndarray, Mapping)) or _is_labelled(data):
        arrays = _feeds(network, data)
        axes = _batch_axes(network, arrays)
        items = max((arrays[name].shape[axis] for name, axis in axes.items()), default=1)
        for start in range(0, items, batch_size):
            yield _part(arrays, axes, slice(start, start + batch_size))
        return
    if not isinstance(data, Iterable) or isinstance(data, (str, bytes)):
        raise InputError(
            f"Calibration data must be an array, a dict by input name, or batches of these, got {type(data).__name__}."
        )
    for item in data:
        yield _feeds(network, item)


def _is_labelled(data: Any) -> bool:
    return isinstance(data, tuple) and len(data) == 2 and isinstance(data[0], (np.ndarray, Mapping))


def _feeds(network: Network, item: Any) -> dict[str, np.ndarray]:
    x = item[0] if _is_labelled(item) else item
    if not isinstance(x, Mapping) and len(network.inputs) == 1:
        x = {next(iter(network.inputs)): x}
    return named(network, x)


def _batch_axes(network: Network, arrays: Mapping[str, np.ndarray]) -> dict[str, int]:
    found = {name: network.inputs[name].batch_axis for name in arrays}
    return {name: axis for name, axis in found.items() if axis is not None}


def _part(arrays: Mapping[str, Any], axes: Mapping[str, int], items: slice) -> dict[str, Any]:
    """Some items of every array that holds a batch, and the other arrays as they are."""
    return {
        name: array[(*[slice(None)] * axes[name], items)] if name in axes else array for name, array in arrays.items()
    }


def _few_items(network: Network, feeds: Mapping[str, Any]) -> dict[str, Any]:
    """The first item alone, or as many as the file fixes: to see types, with every value kept, costs little then."""
    axes = _batch_axes(network, feeds)
    declared = [(network.inputs[name].shape or ())[axis] for name, axis in axes.items()]
    return _part(feeds, axes, slice(0, max((size for size in declared if isinstance(size, int)), default=1)))
