"""An assembly is a network in the making: named inputs, layers connected at will, named outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from toolkit.errors import GraphError
from toolkit.graph.layer import Graph
from toolkit.graph.network import Network
from toolkit.graph.surgery import rename_value
from toolkit.graph.value import Dim, Value
from toolkit.layers.builder import IR_VERSION, OPSET, Builder, dtype_of
from toolkit.layers.definition import Definition


class Assembly:
    """Builds a network whose layers form any graph.

        assembly = Assembly()
        image = assembly.input("image", (3, 32, 32))
        body = assembly.add(Sequential([Convolution(16, 3), ReLU(), Flatten()]), image)
        network = assembly.network({"kind": assembly.add(Linear(10), body), "age": assembly.add(Linear(1), body)})

    ``seed`` decides every initial weight; ``batch`` is the declared size of the batch axis, a symbol or a number;
    ``opset`` is the version of ai.onnx that the network is written in.
    """

    def __init__(self, name: str = "network", *, seed: int = 0, batch: Dim = "batch", opset: int = OPSET) -> None:
        self._graph = Graph(name)
        self._batch = batch
        self.builder = Builder(self._graph, opset=opset, seed=seed)

    def input(self, name: str, unit_shape: Sequence[Dim], dtype: Any = np.float32) -> Value:
        """Declare an input for items of ``unit_shape``. Raises ``GraphError`` when the name is taken."""
        if self.builder.name(name) != name:
            raise GraphError(f"An assembly requires names that differ, got {name!r} twice. Name the input otherwise.")
        value = Value(name, np.dtype(dtype), (self._batch, *unit_shape), batch_axis=0)
        self._graph.inputs[name] = value
        return value

    def add(self, layer: Definition, *inputs: Value, name: str = "") -> Value:
        """Append a layer behind ``inputs``; returns its first output. ``name`` is the scope, its own by default."""
        return self.connect(layer, *inputs, name=name)[0]

    def connect(self, layer: Definition, *inputs: Value, name: str = "") -> tuple[Value, ...]:
        """Like ``add``, returning all outputs of the layer. Raises ``ShapeError`` naming a layer that does not fit."""
        with self.builder.scope(name or layer.name or layer.kind):
            return layer.connect(self.builder, inputs)

    def network(self, outputs: Mapping[str, Value]) -> Network:
        """The network that computes ``outputs``, like an imported one; nothing can be added afterwards."""
        names: dict[str, str] = {}
        for name, value in outputs.items():
            names[name] = self._as_output(value, name, names).name
        for name, old in names.items():
            given = self._graph.values.pop(old)
            rename_value(self._graph, old, name)
            self._graph.outputs[name] = Value(name, given.dtype, given.shape, given.batch_axis)
        return Network(self._graph, opsets={"": self.builder.opset}, ir_version=IR_VERSION)

    def _as_output(self, value: Value, name: str, taken: Mapping[str, str]) -> Value:
        """``value``, or a copy of it where it has a name that must stay: that of an input or of another output."""
        if not isinstance(value, Value):
            raise GraphError(f"Output {name!r} requires a value of this assembly, got {type(value).__name__}.")
        if value.name in self._graph.values and value.name not in taken.values():
            return value
        return self.builder.leaf("Identity", [value], value.shape, dtype_of(value))
