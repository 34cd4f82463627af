"""What an authored layer is: a description that appends ONNX leaves and parameters to a graph. It owns no tensor."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod

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

    @property
    def kind(self) -> str:
        """The default stem of the layer's name: ``max_pool`` for ``MaxPool``."""
        return re.sub(r"(?<=[a-z])(?=[A-Z][a-z])", "_", type(self).__name__).lower()
