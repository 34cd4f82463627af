"""Predictions of a classifier by name, and labels by name: what the names of classes in a model's metadata are for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from toolkit.errors import GraphError, InputError
from toolkit.graph.class_names import class_names
from toolkit.graph.network import Network
from toolkit.training.data import feeds_of

SHOWN = 5


def predict(network: Network, x: Any, *, output: str | None = None, batch_size: int = 64) -> np.ndarray:
    """The likeliest class of each item: its name where the model's metadata has names, else its index.

    - ``x``: an array, or a dict of arrays by input name; ``batch_size`` items are run at a time
    - ``output``: scores with the classes on axis 1, needed where there are several outputs

    Raises ``GraphError`` for an output that has no classes, ``InputError`` for data that does not fit.
    """
    names = list(network.outputs)
    if output not in names and (output is not None or len(names) != 1):
        raise GraphError(f"predict(output={output!r}): the network has the outputs {names}. Name one with output=.")
    chosen = names[0] if output is None else output
    feeds = feeds_of(network, x)
    items = max((len(array) for array in feeds.values() if array.ndim), default=0)
    found = []
    for start in range(0, items, batch_size):
        part = {name: array[start : start + batch_size] for name, array in feeds.items()}
        scores = network.run(part, outputs=[chosen])[chosen]
        if scores.ndim < 2:
            raise GraphError(
                f"predict requires scores (batch, classes, ...), got {chosen!r} of shape {scores.shape}. Name another "
                "output, or run the network: network.run(x)."
            )
        found.append(scores.argmax(1))
    indices = np.concatenate(found)
    called = class_names(network, chosen)
    return indices if called is None else np.array(called)[indices]


def indices_of_names(network: Network, labels: Any, outputs: Sequence[str]) -> Any:
    """``labels`` as class indices where they are names of the classes of the one output that is judged.

    Labels that are no text pass as they are, and so do names where the model has none: the loss says what it needs.
    Raises ``InputError`` for a name that no class has.
    """
    if isinstance(labels, Mapping) or len(outputs) != 1:
        return labels
    array = np.asarray(labels)
    if array.dtype.kind not in "UO" or not all(isinstance(item, str) for item in array.reshape(-1)):
        return labels
    called = class_names(network, outputs[0])
    if called is None:
        return labels
    known = {name: index for index, name in enumerate(called)}
    unknown = sorted({str(item) for item in array.reshape(-1)} - known.keys())
    if unknown:
        raise InputError(
            f"Labels must be names of classes of {outputs[0]!r} ({', '.join(map(repr, called[:SHOWN]))}"
            f"{', ...' if len(called) > SHOWN else ''}) or their indices, got {unknown[:SHOWN]}."
        )
    return np.array([known[item] for item in array.reshape(-1)], np.int64).reshape(array.shape)
