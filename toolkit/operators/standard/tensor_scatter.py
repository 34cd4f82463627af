"""TensorScatter (since 24): new keys or values written into a cache, at a place of its own for each sample."""

from __future__ import annotations

import numpy as np

from toolkit.operators.axes import normalised
from toolkit.operators.composed import argument, composed, required
from toolkit.operators.expression import Expression, as_expression, emit, expand, reshape
from toolkit.operators.record import Call


def _tensor_scatter(call: Call) -> list[Expression | None]:
    cache, update = required(call, 0, "past_cache"), required(call, 1, "update")
    (axis,) = normalised(int(call.attribute("axis", -2)), cache.ndim)
    if axis == 0:
        raise ValueError("axis 0 counts the samples: write along another one")
    length, longest = update.shape[axis], cache.shape[axis]
    if length > longest:
        raise ValueError(f"an update of length {length} does not fit into a cache of length {longest}")
    steps = np.arange(length).reshape([length if number == axis else 1 for number in range(cache.ndim)])
    starts = argument(call, 2)
    if starts is None:
        places = as_expression(steps, cache)
    else:
        places = reshape(starts, (starts.shape[0], *(1,) * (cache.ndim - 1))) + steps
    if call.attribute("mode", "linear") == "circular":
        places = emit("Mod", places, np.asarray(longest))
    return [emit("ScatterElements", cache, expand(places, update.shape), update, axis=axis)]


composed("TensorScatter", _tensor_scatter, since=24)
