"""Shapes of values inside of a network, with the symbols that the inputs have.

A file often declares nothing between its inputs and outputs. Binding tells sizes; binding twice, with other sizes for
every symbol, tells which of them are the symbol's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from toolkit.compiler.bind import bind
from toolkit.compiler.program import Variable
from toolkit.compiler.sizes import frozen_batch
from toolkit.errors import ToolkitError
from toolkit.graph.layer import Graph
from toolkit.graph.network import Network
from toolkit.graph.surgery import ancestors
from toolkit.graph.value import Dim, Value

ROUNDS = ((2, 31), (3, 37))  # batch size and first of the sizes that symbols without a given size get
_Round = tuple[dict[str, Variable], dict[str, int]]


def values_of(network: Network, names: Sequence[str], dims: Mapping[str, int] | None = None) -> dict[str, Value]:
    """Type, shape and batch axis of the values ``names``; ``dims`` are sizes that symbols must have, where they must.

    What is declared is taken as it is. Raises what binding raises.
    """
    graph = network.graph
    declared = {**graph.inputs, **graph.values, **graph.outputs}
    batch = next((v.shape[v.batch_axis] for v in network.inputs.values() if v.batch_axis is not None and v.shape), None)
    found = {name: _with_batch(declared[name], batch) for name in names if _is_whole(declared.get(name))}
    open_names = [name for name in names if name not in found]
    if not open_names:
        return found
    outputs = {name: declared.get(name, Value(name)) for name in open_names}
    body = Graph(graph.name, graph.inputs, outputs, ancestors(graph, open_names), graph.parameters, graph.values)
    inside = Network(body, network.opsets, network.functions)
    first, *rest = _bound(inside, frozen_batch(network), dict(dims or {}), _symbols(network, batch))
    for name in open_names:
        shape = tuple(
            _symbol([(found_in[name].shape[axis], sizes) for found_in, sizes in (first, *rest)])
            for axis in range(len(first[0][name].shape))
        )
        found[name] = _with_batch(Value(name, first[0][name].dtype, shape), batch)
    return {name: found[name] for name in names}


def _bound(inside: Network, frozen: int | None, dims: dict[str, int], symbols: list[Dim]) -> list[_Round]:
    """The outputs of each round with the sizes that the symbols had; one round where another does not bind."""
    made: list[_Round] = []
    batch_symbol, others = symbols[0], [symbol for symbol in symbols[1:] if isinstance(symbol, str)]
    for batch, start in ROUNDS:
        given = {symbol: dims.get(symbol, start + index) for index, symbol in enumerate(others)}
        sizes = {**given, batch_symbol: batch} if isinstance(batch_symbol, str) else given
        try:
            made.append((bind(inside, frozen or batch, given).outputs, sizes))
        except ToolkitError:
            if not made:
                raise
    return made


def _symbols(network: Network, batch: Dim) -> list[Dim]:
    """The symbol of the batch, then the others."""
    dims = [dim for value in network.inputs.values() for dim in value.shape or () if isinstance(dim, str)]
    return [batch, *dict.fromkeys(dim for dim in dims if dim != batch)]


def _symbol(seen: list[tuple[int, dict[str, int]]]) -> Dim:
    """What a size is: the symbol that had it each time, the same number each time, or not known."""
    (size, sizes), *rest = seen
    if rest and all(other == size for other, _ in rest):
        return size
    for symbol in sizes:
        if all(of[symbol] == found for found, of in seen):
            return symbol
    return None if rest else size


def _is_whole(value: Value | None) -> bool:
    return value is not None and value.dtype is not None and value.shape is not None and None not in value.shape


def _with_batch(value: Value, batch: Dim) -> Value:
    """The value with its batch axis: where the symbol of the batch stands, or a fixed batch comes first."""
    if value.batch_axis is not None or value.shape is None or batch is None:
        return value
    axes = [axis for axis, dim in enumerate(value.shape) if dim == batch]
    is_told = bool(axes) and (isinstance(batch, str) or axes[0] == 0)
    return replace(value, batch_axis=axes[0]) if is_told else value
