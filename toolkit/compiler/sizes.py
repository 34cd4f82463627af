"""Sizes: what a batch size and named dimensions make of the symbolic shapes of a network's inputs."""

from __future__ import annotations

from collections.abc import Mapping

from toolkit.errors import InputError
from toolkit.graph.network import Network
from toolkit.graph.value import Value


def frozen_batch(network: Network) -> int | None:
    """The batch size that the file fixes, ``None`` when it is symbolic or there is no batch axis."""
    for value in network.inputs.values():
        if value.batch_axis is not None and value.shape is not None:
            dim = value.shape[value.batch_axis]
            return dim if isinstance(dim, int) else None
    return None


def input_shapes(
    network: Network, batch_size: int | None, dims: Mapping[str, int]
) -> dict[str, tuple[int, ...] | None]:
    """Concrete shapes of all inputs, ``None`` for those that only the data tells (no tensors, or without a rank).

    Raises ``InputError`` naming the sizes that are still open.
    """
    bound = dict(dims)
    for value in network.inputs.values():
        if batch_size is not None and value.batch_axis is not None and value.shape is not None:
            dim = value.shape[value.batch_axis]
            if isinstance(dim, str):
                bound.setdefault(dim, batch_size)
    shapes: dict[str, tuple[int, ...] | None] = {}
    for name, value in network.inputs.items():
        if value.kind != "tensor" or value.shape is None or value.dtype is None:
            shapes[name] = None
        else:
            shapes[name] = tuple(_bound(value, axis, batch_size, bound) for axis in range(len(value.shape)))
    return shapes


def _bound(value: Value, axis: int, batch_size: int | None, dims: Mapping[str, int]) -> int:
    assert value.shape is not None
    dim = value.shape[axis]
    if axis == value.batch_axis:
        if batch_size is not None:
            return batch_size
        if not isinstance(dim, int):
            raise InputError(f"Input {value.name!r} {value.describe()} needs a batch size: pass batch_size=.")
    if isinstance(dim, int):
        return dim
    key = dim if isinstance(dim, str) else f"{value.name}:{axis}"
    if key not in dims:
        raise InputError(
            f"Input {value.name!r} {value.describe()}: the size of axis {axis} is open. Pass dims={{{key!r}: size}}."
        )
    return int(dims[key])
