"""Pooling: the largest or mean element of each window, channels first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from toolkit.graph.value import Value
from toolkit.layers.builder import Builder, dtype_of
from toolkit.layers.definition import Definition
from toolkit.layers.window import Sizes, Window


@dataclass(frozen=True)
class MaxPool(Definition):
    """The largest element of each window; ``strides`` default to the kernel, sizes as in ``Convolution``.

    - input (batch, channels, d1, ...), output (batch, channels, e1, ...)
    """

    kernel: Sizes
    strides: Sizes | None = None
    pads: Sizes | str = 0
    ceil_mode: bool = False
    name: str = ""

    def append(self, builder: Builder, x: Value) -> Value:
        strides = self.kernel if self.strides is None else self.strides
        window = Window.of(builder, x, "MaxPool", self.kernel, strides, self.pads, ceil_mode=self.ceil_mode)
        if self.ceil_mode:
            builder.require_opset(10, "MaxPool with ceil_mode")
        extra: dict[str, Any] = {"ceil_mode": 1} if self.ceil_mode else {}
        shape = (*builder.shape(x, "MaxPool")[:2], *window.output_sizes())
        return builder.leaf("MaxPool", [x], shape, dtype_of(x), **window.attributes(), **extra)


@dataclass(frozen=True)
class AveragePool(Definition):
    """The mean of each window; ``count_include_pad`` counts padding as zeros. Sizes as in ``MaxPool``.

    - input (batch, channels, d1, ...), output (batch, channels, e1, ...)
    """

    kernel: Sizes
    strides: Sizes | None = None
    pads: Sizes | str = 0
    ceil_mode: bool = False
    count_include_pad: bool = False
    name: str = ""

    def append(self, builder: Builder, x: Value) -> Value:
        strides = self.kernel if self.strides is None else self.strides
        window = Window.of(builder, x, "AveragePool", self.kernel, strides, self.pads, ceil_mode=self.ceil_mode)
        if self.ceil_mode:
            builder.require_opset(10, "AveragePool with ceil_mode")
        extra: dict[str, Any] = {"ceil_mode": 1} if self.ceil_mode else {}
        if self.count_include_pad:
            builder.require_opset(7, "AveragePool with count_include_pad")
            extra["count_include_pad"] = 1
        shape = (*builder.shape(x, "AveragePool")[:2], *window.output_sizes())
        return builder.leaf("AveragePool", [x], shape, dtype_of(x), **window.attributes(), **extra)


@dataclass(frozen=True)
class GlobalAveragePool(Definition):
    """The mean over all spatial axes, which stay with size 1.

    - input (batch, channels, d1, ...), output (batch, channels, 1, ...)
    """

    name: str = ""

    def append(self, builder: Builder, x: Value) -> Value:
        return _over_space(builder, x, "GlobalAveragePool")


@dataclass(frozen=True)
class GlobalMaxPool(Definition):
    """The largest element over all spatial axes, which stay with size 1.

    - input (batch, channels, d1, ...), output (batch, channels, 1, ...)
    """

    name: str = ""

    def append(self, builder: Builder, x: Value) -> Value:
        return _over_space(builder, x, "GlobalMaxPool")


def _over_space(builder: Builder, x: Value, operator: str) -> Value:
    shape = builder.shape(x, operator)
    return builder.leaf(operator, [x], (*shape[:2], *(1 for _ in shape[2:])), dtype_of(x))
