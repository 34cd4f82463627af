"""What an authored layer is: a description that appends ONNX leaves and parameters to a graph. It owns no tensor."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence

from toolkit.errors import ShapeError
from toolkit.graph.value import Value
from toolkit.layers.builder import Builder


class Definition(ABC):
    """A layer by description; one may be appended any number of times, each time with fresh parameters.

    ``name`` is the scope of what it appends; without one it is called after its kind.
    """

    name: str = ""

    @abstractmethod
    def append(self, builder: Builder, x: Value) -> Value:
        """Append the layer behind ``x`` in the builder's current scope; returns its output.

        Raises ``ShapeError`` when ``x`` does not fit, ``GraphError`` when the graph's opset lacks the operator.
        """

    def connect(self, builder: Builder, inputs: Sequence[Value]) -> tuple[Value, ...]:
        """Append the layer behind any number of values; returns all of its outputs. Here there is one of each."""
        self.require_inputs(builder, inputs, 1)
        return (self.append(builder, inputs[0]),)

    def require_inputs(self, builder: Builder, inputs: Sequence[Value], *counts: int) -> None:
        """Raise ``ShapeError`` unless the number of ``inputs`` is among ``counts``."""
        if len(inputs) not in counts:
            wanted = " or ".join(str(count) for count in counts)
            raise ShapeError(
                f"{type(self).__name__} {builder.path!r} requires {wanted} input(s), got {len(inputs)}: "
                f"{[item.name for item in inputs]}. Connect it to as many values."
            )

    @property
    def kind(self) -> str:
        """The default stem of the layer's name: ``max_pool`` for ``MaxPool``."""
        return re.sub(r"(?<=[a-z])(?=[A-Z][a-z])", "_", type(self).__name__).lower()
