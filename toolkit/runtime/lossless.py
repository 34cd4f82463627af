"""What a network takes: one batch of inputs by name, converted only where nothing is lost (uint8 pixels to float32).

Anything else is the caller's decision.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from toolkit.errors import InputError
from toolkit.graph.network import Network
from toolkit.runtime.feeds import arrayed, named, sizes


def feeds_of(network: Network, x: Any) -> dict[str, np.ndarray]:
    """``x`` as ``{input name: array}``, converted where nothing is lost.

    Raises ``InputError`` for missing and unknown names, types that do not convert without loss, and shapes that do not
    fit; sizes are checked against the network's declaration.
    """
    if not isinstance(x, Mapping) and len(network.inputs) == 1:
        x = {next(iter(network.inputs)): x}
    if isinstance(x, Mapping):
        x = {name: _lossless(network, name, item) for name, item in x.items()}
    arrays = named(network, x)
    batch, _ = sizes(network, arrays)
    if batch == 0:
        raise InputError("The batch holds no items: leave empty batches out.")
    return arrays


def _lossless(network: Network, name: str, given: Any) -> Any:
    if hasattr(given, "__dlpack__"):
        given = arrayed(given)
    value = network.inputs.get(name)
    if value is None or value.dtype is None or not isinstance(given, np.ndarray) or given.dtype == value.dtype:
        return given
    return given.astype(value.dtype) if np.can_cast(given.dtype, value.dtype, "safe") else given
