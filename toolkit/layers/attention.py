"""Attention, written with elementary operators as exporters write it, and the transformer block around it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from toolkit.errors import ShapeError
from toolkit.graph.value import Dim, Value
from toolkit.layers.activation import GELU
from toolkit.layers.builder import Builder, dtype_of
from toolkit.layers.definition import Definition
from toolkit.layers.dropout import Dropout
from toolkit.layers.initialisers import GLOROT_UNIFORM, STANDARD_NORMAL, Initialiser
from toolkit.layers.joining import Residual
from toolkit.layers.linear import Linear
from toolkit.layers.normalization import LayerNormalization
from toolkit.layers.sequential import Sequential

HIDDEN = -1e4  # added to scores that must not count; representable in every floating-point type


@dataclass(frozen=True)
class MultiHeadAttention(Definition):
    """Scaled dot-product attention in ``heads`` heads (Vaswani et al., 2017).

    - input (batch, time, n), and optionally a memory (batch, other time, m) that keys and values come from, and a mask
      (batch, other time) that is true where the memory counts
    - output (batch, time, n); weights of the four projections (n, n), keys and values (m, n)

    ``causal`` hides later positions from earlier ones. ``dropout`` acts on the attention weights.
    """

    heads: int
    causal: bool = False
    bias: bool = True
    dropout: float = 0.0
    weight_initialiser: Initialiser = GLOROT_UNIFORM
    name: str = ""

    def append(self, builder: Builder, x: Value) -> Value:
        return self.connect(builder, [x])[0]

    def connect(self, builder: Builder, inputs: Sequence[Value]) -> tuple[Value, ...]:
        """The output alone."""
        builder.require_opset(14, "MultiHeadAttention")
        self.require_inputs(builder, inputs, 1, 2, 3)
        x = inputs[0]
        memory = inputs[1] if len(inputs) > 1 else x
        width, dtype = builder.size(x, -1, "MultiHeadAttention"), dtype_of(x)
        batch, time, _ = self._sequence(builder, x)
        _, keys, _ = self._sequence(builder, memory)
        if self.heads < 1 or width % self.heads:
            raise ShapeError(
                f"MultiHeadAttention {builder.path!r} requires a number of heads that divides {width}, the width of "
                f"{x.name!r}, got {self.heads}. Change heads=."
            )
        head = width // self.heads
        query = self._heads(builder, "query", x, width, [0, 2, 1, 3], (batch, self.heads, time, head))
        key = self._heads(builder, "key", memory, width, [0, 2, 3, 1], (batch, self.heads, head, keys))
        value = self._heads(builder, "value", memory, width, [0, 2, 1, 3], (batch, self.heads, keys, head))
        grid = (batch, self.heads, time, keys)
        scores = builder.leaf("MatMul", [query, key], grid, dtype)
        scores = builder.leaf("Mul", [scores, builder.number(head**-0.5, dtype)], grid, dtype)
        if self.causal:
            scores = builder.leaf("Add", [scores, self._later(builder, scores, time, keys)], grid, dtype)
        if len(inputs) > 2:
            scores = self._masked(builder, scores, inputs[2])
        weights = builder.leaf("Softmax", [scores], grid, dtype, axis=-1)
        if self.dropout:
            weights = Dropout(self.dropout).append(builder, weights)
        mixed = builder.leaf("MatMul", [weights, value], (batch, self.heads, time, head), dtype)
        mixed = builder.leaf("Transpose", [mixed], (batch, time, self.heads, head), dtype, perm=[0, 2, 1, 3])
        mixed = builder.leaf("Reshape", [mixed, builder.indices("merged", 0, 0, width)], (batch, time, width), dtype)
        return (self._project(builder, "output", mixed, width),)

    def _sequence(self, builder: Builder, x: Value) -> tuple[Dim, Dim, Dim]:
        shape = builder.shape(x, "MultiHeadAttention")
        if len(shape) != 3:
            raise ShapeError(
                f"MultiHeadAttention {builder.path!r} requires sequences (batch, time, features), got {x.name!r} "
                f"{x.describe()}. Bring it into shape with Reshape."
            )
        return shape[0], shape[1], shape[2]

    def _project(self, builder: Builder, name: str, x: Value, width: int) -> Value:
        with builder.scope(name):
            return Linear(width, bias=self.bias, weight_initialiser=self.weight_initialiser).append(builder, x)

    def _heads(
        self, builder: Builder, name: str, x: Value, width: int, order: list[int], shape: tuple[Dim, ...]
    ) -> Value:
        """A projection of ``x``, split into heads, its axes brought into ``order``."""
        y = self._project(builder, name, x, width)
        split = builder.indices(f"{name}_heads", 0, 0, self.heads, width // self.heads)
        back = sorted(range(4), key=order.__getitem__)
        y = builder.leaf("Reshape", [y, split], tuple(shape[axis] for axis in back), dtype_of(y))
        return builder.leaf("Transpose", [y], shape, dtype_of(y), perm=order)

    def _later(self, builder: Builder, scores: Value, time: Dim, keys: Dim) -> Value:
        """A matrix (time, other time) that is ``HIDDEN`` above the diagonal, whatever the sizes are."""
        dtype = dtype_of(scores)
        sizes = builder.leaf("Shape", [scores], (2,), np.dtype(np.int64), start=2)
        full = builder.leaf("ConstantOfShape", [sizes], (time, keys), dtype, value=np.asarray([HIDDEN], dtype))
        offset = builder.parameter("offset", np.asarray(1, np.int64))
        return builder.leaf("Trilu", [full, offset], (time, keys), dtype, upper=1)

    def _masked(self, builder: Builder, scores: Value, mask: Value) -> Value:
        if mask.dtype != np.dtype(bool):
            raise ShapeError(
                f"MultiHeadAttention {builder.path!r} requires a boolean mask (batch, time), got {mask.name!r} "
                f"{mask.describe()}. Declare the input as bool."
            )
        batch, keys = builder.shape(mask, "MultiHeadAttention")
        axes = builder.indices("mask_axes", 1, 2)
        wide = builder.leaf("Unsqueeze", [mask, axes], (batch, 1, 1, keys), np.dtype(bool))
        hidden = builder.number(HIDDEN, dtype_of(scores))
        return builder.leaf("Where", [wide, scores, hidden], scores.shape, dtype_of(scores))


@dataclass(frozen=True)
class TransformerEncoder(Definition):
    """Self-attention and two linear layers, each beside a shortcut and normalised (Vaswani et al., 2017).

    - input and output (batch, time, n); ``units`` is the width between the two linear layers

    ``normalise_first`` puts the normalisation before what it belongs to instead of behind the sum.
    """

    heads: int
    units: int
    dropout: float = 0.1
    causal: bool = False
    normalise_first: bool = False
    activation: Definition = field(default_factory=GELU)
    name: str = ""

    def append(self, builder: Builder, x: Value) -> Value:
        width = builder.size(x, -1, "TransformerEncoder")
        attention: list[Definition] = [MultiHeadAttention(self.heads, self.causal, dropout=self.dropout)]
        between: list[Definition] = [Linear(self.units), self.activation, Linear(width)]
        for name, layers in (("attention", attention), ("feed_forward", between)):
            if self.dropout:
                layers = [*layers, Dropout(self.dropout)]
            normalisation = LayerNormalization(name="normalisation")
            if self.normalise_first:
                block: list[Definition] = [Residual(Sequential([normalisation, *layers], name="inner"))]
            else:
                block = [Residual(Sequential(layers, name="inner")), normalisation]
            with builder.scope(name):
                x = Sequential(block).append(builder, x)
        return x


@dataclass(frozen=True)
class PositionalEmbedding(Definition):
    """x + one vector for each position: learnt ones, or sines and cosines (Vaswani et al., 2017).

    - input and output (batch, time, n) with time up to ``count``; weight (``count``, n)
    """

    count: int
    sinusoidal: bool = False
    weight_initialiser: Initialiser = STANDARD_NORMAL
    name: str = ""

    def append(self, builder: Builder, x: Value) -> Value:
        builder.require_opset(15, "PositionalEmbedding")
        width, dtype, shape = builder.size(x, -1, "PositionalEmbedding"), dtype_of(x), builder.shape(x, "Position")
        if isinstance(shape[1], int) and shape[1] > self.count:
            raise ShapeError(
                f"PositionalEmbedding {builder.path!r} requires at most {self.count} positions, got {x.name!r} "
                f"{x.describe()}. Raise count=."
            )
        if self.sinusoidal:
            weight = builder.parameter("weight", _waves(self.count, width).astype(dtype), requires_grad=False)
        else:
            weight = builder.weight("weight", self.weight_initialiser, (self.count, width), dtype, self.count, width)
        time = builder.leaf("Shape", [x], (1,), np.dtype(np.int64), start=1, end=2)
        first, axes = builder.indices("first", 0), builder.indices("axes", 0)
        rows = builder.leaf("Slice", [weight, first, time, axes], (shape[1], width), dtype)
        return builder.leaf("Add", [x, rows], shape, dtype)


def _waves(count: int, width: int) -> np.ndarray:
    """Sines on even columns, cosines on odd ones, of wavelengths from 2 pi to 20000 pi."""
    angles = np.arange(count)[:, None] / 10000.0 ** (np.arange(width)[None] // 2 * 2 / width)
    return np.where(np.arange(width) % 2 == 0, np.sin(angles), np.cos(angles))
