"""Recurrent layers over sequences (batch, time, features), in one or two directions, one or more on top of each other.

What differs between cells is their operator and how many gates and states it has; everything else is said once, in
``Recurrent``. Weights have ONNX's layout and order of gates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from toolkit.errors import ShapeError
from toolkit.graph.value import Dim, Value
from toolkit.layers.builder import Builder, dtype_of
from toolkit.layers.definition import Definition
from toolkit.layers.initialisers import FAN_IN_UNIFORM, Initialiser


@dataclass(frozen=True)
class Recurrent(Definition):
    """Layers of one kind of cell.

    - input (batch, time, n); output (batch, time, directions * ``units``), or (batch, directions * ``units``) of the
      last step (for the backward direction: the first) with ``sequence=False``
    - states (batch, ``layers`` * directions, ``units``), layer by layer, forward before backward: they may be given as
      further inputs (zeros otherwise) and are the further outputs; an LSTM has two, hidden and cell
    - weights W (directions, gates * ``units``, n), R (directions, gates * ``units``, ``units``), B (directions,
      2 * gates * ``units``)

    ``skip_input`` adds the input to the gates as it is, without weights; it must be as wide as the units. ``dropout``
    acts between the layers.
    """

    units: int
    layers: int = 1
    bidirectional: bool = False
    dropout: float = 0.0
    skip_input: bool = False
    sequence: bool = True
    weight_initialiser: Initialiser = FAN_IN_UNIFORM
    name: str = ""

    operator: ClassVar[str]
    gates: ClassVar[int]
    states: ClassVar[int] = 1

    def append(self, builder: Builder, x: Value) -> Value:
        return self.connect(builder, [x])[0]

    def connect(self, builder: Builder, inputs: Sequence[Value]) -> tuple[Value, ...]:
        """The output, then the states after the last step."""
        builder.require_opset(14, type(self).__name__)
        self.require_inputs(builder, inputs, 1, 1 + self.states)
        x, *given = inputs
        shape = builder.shape(x, self.operator)
        if len(shape) != 3:
            raise ShapeError(
                f"{self.operator} {builder.path!r} requires a sequence (batch, time, features), got {x.name!r} "
                f"{x.describe()}. Bring it into shape with Reshape or Transpose."
            )
        batch, time = shape[0], shape[1]
        first = self._states_of_layers(builder, given)
        y = builder.leaf("Transpose", [x], (time, batch, shape[2]), dtype_of(x), perm=[1, 0, 2], batch_axis=1)
        finals: list[list[Value]] = []
        for index in range(self.layers):
            with builder.scope(f"layer{index + 1}"):
                if index and self.dropout:
                    y = self._drop(builder, y)
                y, last = self._layer(builder, y, batch, time, first[index])
                finals.append(last)
        states = [self._joined(builder, [item[at] for item in finals], batch) for at in range(self.states)]
        if not self.sequence:
            return (self._flat(builder, finals[-1][0], batch), *states)
        shape_out = (batch, time, self.directions * self.units)
        return (builder.leaf("Transpose", [y], shape_out, dtype_of(y), perm=[1, 0, 2]), *states)

    @property
    def directions(self) -> int:
        return 2 if self.bidirectional else 1

    def attributes(self) -> dict[str, Any]:
        """What the operator is told beside the number of units and the direction."""
        return {}

    def _layer(
        self, builder: Builder, x: Value, batch: Dim, time: Dim, first: list[Value] | None
    ) -> tuple[Value, list[Value]]:
        """One layer on (time, batch, n): its output in the same layout, and its states after the last step."""
        dtype, count, width = dtype_of(x), self.directions, builder.size(x, 2, self.operator)
        rows = self.gates * self.units
        if self.skip_input and width != self.units:
            raise ShapeError(
                f"{self.operator} {builder.path!r} with skip_input requires an input as wide as its {self.units} "
                f"units, got {x.name!r} {x.describe()}. Put a Linear({self.units}) before it."
            )
        if self.skip_input:
            identity = np.tile(np.eye(self.units, dtype=dtype), (count, self.gates, 1))
            weight = builder.parameter("W", identity, requires_grad=False)
        else:
            weight = builder.weight("W", self.weight_initialiser, (count, rows, width), dtype, self.units, self.units)
        draw, fan = self.weight_initialiser, self.units
        recurrence = builder.weight("R", draw, (count, rows, self.units), dtype, fan, fan)
        bias = builder.weight("B", draw, (count, 2 * rows), dtype, fan, fan)
        inputs = [x.name, weight, recurrence, bias, "", *(item.name for item in first or ())]
        names = [builder.name(stem) for stem in ("Y_h", "Y_c")[: self.states]]
        attributes = {"hidden_size": self.units, **self.attributes()}
        if self.bidirectional:
            attributes["direction"] = "bidirectional"
        shape = (time, count, batch, self.units)
        y = builder.leaf(
            self.operator,
            inputs[: 5 + len(first or ())],
            shape,
            dtype,
            further_outputs=names,
            batch_axis=2,
            **attributes,
        )
        last = [Value(name, dtype, (count, batch, self.units), batch_axis=1) for name in names]
        builder.graph.values.update((item.name, item) for item in last)
        if count == 1:
            axes = builder.indices("axes", 1)
            return builder.leaf("Squeeze", [y, axes], (time, batch, self.units), dtype, batch_axis=1), last
        turned = builder.leaf(
            "Transpose", [y], (time, batch, count, self.units), dtype, perm=[0, 2, 1, 3], batch_axis=1
        )
        whole = (time, batch, count * self.units)
        shape_of = builder.indices("shape", 0, 0, count * self.units)
        return builder.leaf("Reshape", [turned, shape_of], whole, dtype, batch_axis=1), last

    def _drop(self, builder: Builder, x: Value) -> Value:
        ratio = builder.parameter("ratio", np.asarray(self.dropout, np.float32), requires_grad=False)
        return builder.leaf("Dropout", [x, ratio], x.shape, dtype_of(x), batch_axis=1)

    def _states_of_layers(self, builder: Builder, given: Sequence[Value]) -> list[list[Value] | None]:
        """The given states, split by layer and brought into ONNX's order (directions, batch, units)."""
        if not given:
            return [None] * self.layers
        split: list[list[Value]] = [[] for _ in range(self.layers)]
        rows = self.layers * self.directions
        for item in given:
            shape, dtype = builder.shape(item, self.operator), dtype_of(item)
            if len(shape) != 3 or shape[1:] != (rows, self.units):
                raise ShapeError(
                    f"{self.operator} {builder.path!r} requires states (batch, {rows}, {self.units}), got "
                    f"{item.name!r} {item.describe()}. One row for each layer and direction."
                )
            turned = (rows, shape[0], self.units)
            whole = builder.leaf("Transpose", [item], turned, dtype, perm=[1, 0, 2], batch_axis=1)
            for index in range(self.layers):
                bounds = [builder.indices(f"bound{index}", at * self.directions) for at in (index, index + 1)]
                axes = builder.indices("axes", 0)
                part = (self.directions, shape[0], self.units)
                split[index].append(builder.leaf("Slice", [whole, *bounds, axes], part, dtype, batch_axis=1))
        return list(split)

    def _joined(self, builder: Builder, parts: list[Value], batch: Dim) -> Value:
        """The states of all layers as (batch, layers * directions, units)."""
        rows, dtype = self.layers * self.directions, dtype_of(parts[0])
        whole = parts[0]
        if len(parts) > 1:
            whole = builder.leaf("Concat", parts, (rows, batch, self.units), dtype, axis=0, batch_axis=1)
        return builder.leaf("Transpose", [whole], (batch, rows, self.units), dtype, perm=[1, 0, 2])

    def _flat(self, builder: Builder, last: Value, batch: Dim) -> Value:
        """The last states of one layer as (batch, directions * units)."""
        dtype, width = dtype_of(last), self.directions * self.units
        turned = builder.leaf("Transpose", [last], (batch, self.directions, self.units), dtype, perm=[1, 0, 2])
        return builder.leaf("Reshape", [turned, builder.indices("shape", 0, width)], (batch, width), dtype)


@dataclass(frozen=True)
class LSTM(Recurrent):
    """Long short-term memory (Hochreiter & Schmidhuber, 1997); gates in the order input, output, forget, cell.

    Shapes and options are those of ``Recurrent``, with two states: hidden and cell.
    """

    operator = "LSTM"
    gates = 4
    states = 2


@dataclass(frozen=True)
class GRU(Recurrent):
    """Gated recurrent unit (Cho et al., 2014) with the reset gate behind the recurrent product, as cuDNN has it.

    Shapes and options are those of ``Recurrent``.
    """

    operator = "GRU"
    gates = 3

    def attributes(self) -> dict[str, Any]:
        return {"linear_before_reset": 1}


@dataclass(frozen=True)
class RNN(Recurrent):
    """The plain recurrent layer, h = activation(W x + R h + b), with ``activation`` ``"Tanh"`` or ``"Relu"``.

    Shapes and options are those of ``Recurrent``.
    """

    activation: str = "Tanh"
    operator = "RNN"
    gates = 1

    def attributes(self) -> dict[str, Any]:
        if self.activation not in ("Tanh", "Relu"):
            raise ShapeError(f"RNN requires the activation 'Tanh' or 'Relu', got {self.activation!r}. Change it.")
        return {"activations": [self.activation] * self.directions}
