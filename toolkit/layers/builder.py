"""The builder appends leaves and parameters of authored layers to a graph, under names that nothing there has yet.

It knows the opset the graph is written in and owns the random source of the initialisers. It never changes what is in
the graph already.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from toolkit.errors import GraphError, ShapeError
from toolkit.graph.layer import Graph, Leaf, reads
from toolkit.graph.parameter import Parameter
from toolkit.graph.value import Shape, Value
from toolkit.layers.initialisers import Initialiser

OPSET = 21  # the opset, and
IR_VERSION = 10  # the IR version, of authored networks


class Builder:
    """Where layers append what they consist of. ``opset`` is the version of ai.onnx that the leaves are written in."""

    def __init__(self, graph: Graph, *, opset: int = OPSET, seed: int | Sequence[int] = 0) -> None:
        self.graph = graph
        self.opset = opset
        self.random = np.random.default_rng(seed)
        self._scopes: list[str] = []
        self._taken = set(graph.inputs) | set(graph.outputs) | set(graph.parameters) | set(graph.values)
        for leaf in graph.walk():
            self._taken.update((leaf.path, leaf.name, *leaf.outputs, *reads(leaf)))

    @contextmanager
    def scope(self, name: str) -> Iterator[str]:
        """Put what is appended meanwhile below ``name``, changed to be unique; yields the whole path."""
        path = self._unique("/".join([*self._scopes[-1:], name.strip("/")]))
        self._scopes.append(path)
        try:
            yield path
        finally:
            self._scopes.pop()

    @property
    def path(self) -> str:
        """The path of the layer that is being appended, for messages."""
        return self._scopes[-1] if self._scopes else ""

    def leaf(
        self,
        op_type: str,
        inputs: Sequence[str | Value],
        shape: Shape | None,
        dtype: np.dtype,
        *,
        further_outputs: Sequence[str] = (),
        batch_axis: int = 0,
        **attributes: Any,
    ) -> Value:
        """Append one operator of ai.onnx; returns its first output, of ``shape`` and ``dtype``."""
        path = self._unique("/".join([*self._scopes[-1:], op_type]))
        output = self._unique(f"{path}_output")
        names = [item.name if isinstance(item, Value) else item for item in inputs]
        self.graph.leaves.append(
            Leaf(op_type, names, [output, *further_outputs], attributes, version=self.opset, name=path, path=path)
        )
        value = Value(output, np.dtype(dtype), shape, batch_axis=batch_axis if shape else None)
        self.graph.values[output] = value
        return value

    def parameter(self, name: str, array: np.ndarray, *, requires_grad: bool | None = None) -> str:
        """Add a tensor below the current scope; returns its unique name."""
        name = self._unique("/".join([*self._scopes[-1:], name]))
        array = np.array(array, order="C")
        array.flags.writeable = False
        self.graph.parameters[name] = Parameter(name, array, requires_grad=requires_grad)
        return name

    def number(self, content: float, dtype: np.dtype) -> Value:
        """A number that belongs to a formula: it is no parameter."""
        return self.leaf("Constant", [], (), dtype, value=np.asarray(content, dtype))

    def indices(self, name: str, *content: int) -> str:
        """Add a list of int64, such as axes or a shape; returns its unique name."""
        return self.parameter(name, np.asarray(content, np.int64))

    def weight(
        self, name: str, initialiser: Initialiser, shape: tuple[int, ...], dtype: np.dtype, fan_in: int, fan_out: int
    ) -> str:
        """Add a tensor that ``initialiser`` draws; returns its unique name."""
        return self.parameter(name, initialiser.draw(self.random, shape, fan_in, fan_out).astype(dtype))

    def name(self, stem: str) -> str:
        """A name below the current scope that nothing has yet."""
        return self._unique("/".join([*self._scopes[-1:], stem]))

    def require_opset(self, opset: int, operator: str) -> None:
        """Raise ``GraphError`` when the graph is written in an older opset than ``operator`` needs."""
        if self.opset < opset:
            raise GraphError(
                f"{operator} {self.path!r} needs opset {opset}, the network is written in opset {self.opset}. "
                "Use another layer here, or a network of a newer opset."
            )

    def size(self, x: Value, axis: int, operator: str) -> int:
        """The size of an axis that a layer must know. Raises ``ShapeError`` when it is open."""
        shape = self.shape(x, operator)
        dim = shape[axis] if -len(shape) <= axis < len(shape) else None
        if not isinstance(dim, int):
            raise ShapeError(
                f"{operator} {self.path!r} requires a known size of axis {axis}, got {x.name!r} {x.describe()}. "
                "Declare it, or bring the data into shape with Flatten or Reshape first."
            )
        return dim

    def shape(self, x: Value, operator: str) -> Shape:
        """The shape of ``x``. Raises ``ShapeError`` when its rank is not known."""
        if x.shape is None:
            raise ShapeError(
                f"{operator} {self.path!r} requires an input of known rank, got {x.name!r} {x.describe()}. "
                "Declare the shape of the value."
            )
        return x.shape

    def _unique(self, stem: str) -> str:
        name, count = stem, 1
        while name in self._taken:
            name, count = f"{stem}_{count}", count + 1
        self._taken.add(name)
        return name


def dtype_of(x: Value) -> np.dtype:
    """The element type of ``x``, float32 where none is declared."""
    return np.dtype(np.float32) if x.dtype is None else x.dtype
