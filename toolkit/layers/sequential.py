"""Sequential: layers one after the other, and the door from authored layers to a network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from toolkit.errors import GraphError
from toolkit.graph.network import Network
from toolkit.graph.surgery import rename_value
from toolkit.graph.value import Dim, Value
from toolkit.layers.assembly import Assembly
from toolkit.layers.builder import OPSET, Builder, dtype_of
from toolkit.layers.definition import Definition


class Sequential(Definition):
    """Layers in a row, each in a scope of its own: its name, or its kind and number (``linear1``, ``relu1``)."""

    def __init__(self, layers: Sequence[Definition], name: str = "") -> None:
        for position, layer in enumerate(layers):
            if not isinstance(layer, Definition):
                raise GraphError(
                    f"Sequential requires layers of toolkit.layers, got {type(layer).__name__} at position {position}. "
                    "Write ReLU(), not ReLU."
                )
        self.layers = list(layers)
        self.name = name

    def __iter__(self) -> Iterator[Definition]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    def __repr__(self) -> str:
        return f"Sequential({self.layers!r}{f', name={self.name!r}' if self.name else ''})"

    def append(self, builder: Builder, x: Value) -> Value:
        counts: Counter[str] = Counter()
        for layer in self.layers:
            counts[layer.kind] += 1
            with builder.scope(layer.name or f"{layer.kind}{counts[layer.kind]}"):
                x = layer.append(builder, x)
        return x

    def network(
        self,
        input_shape: Sequence[Dim],
        *,
        name: str = "network",
        seed: int = 0,
        input_name: str = "input",
        output_name: str = "output",
        dtype: Any = np.float32,
        batch: Dim = "batch",
        opset: int = OPSET,
    ) -> Network:
        """A network of these layers for items of ``input_shape`` (without the batch axis), like an imported one.

        ``seed`` decides every initial weight. ``batch`` is the declared size of the batch axis: a symbol, or a number.
        Raises ``ShapeError`` naming the layer that its input does not fit.
        """
        assembly = Assembly(name, seed=seed, batch=batch, opset=opset)
        x = assembly.input(input_name, input_shape, dtype)
        return assembly.network({output_name: self.append(assembly.builder, x)})


def append_named(layer: Definition, builder: Builder, x: Value, name: str) -> Value:
    """Append ``layer`` behind ``x`` so that its output bears ``name``."""
    y = layer.append(builder, x)
    if y is x:  # nothing was appended: the name still needs a leaf that produces it
        y = builder.leaf("Identity", [x], x.shape, dtype_of(x))
    rename_value(builder.graph, y.name, name)
    builder.graph.values.pop(name, None)
    return Value(name, y.dtype, y.shape, y.batch_axis)
