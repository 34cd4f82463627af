"""Convolution and transposed convolution over any number of spatial axes, channels first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from toolkit.errors import ShapeError
from toolkit.graph.value import Value
from toolkit.layers.builder import Builder, dtype_of
from toolkit.layers.definition import Definition
from toolkit.layers.initialisers import HE_UNIFORM, ZEROS, Initialiser
from toolkit.layers.window import Sizes, Window, per_axis


@dataclass(frozen=True)
class Convolution(Definition):
    """Cross-correlation of ``filters`` kernels with the input.

    - input (batch, channels, d1, ...), output (batch, ``filters``, e1, ...)
    - weight (``filters``, channels / ``groups``, k1, ...), bias (``filters``)

    ``kernel``, ``strides`` and ``dilations`` are one number or one per spatial axis. ``pads`` is one number, one per
    axis, begins followed by ends as ONNX has them, or ``"same"`` (output size = input size / stride, rounded up).
    """

    filters: int
    kernel: Sizes
    strides: Sizes = 1
    pads: Sizes | str = 0
    dilations: Sizes = 1
    groups: int = 1
    bias: bool = True
    weight_initialiser: Initialiser = HE_UNIFORM
    bias_initialiser: Initialiser = ZEROS
    name: str = ""

    def append(self, builder: Builder, x: Value) -> Value:
        dtype = dtype_of(x)
        window = Window.of(builder, x, "Convolution", self.kernel, self.strides, self.pads, self.dilations)
        inputs = _operands(self, builder, x, window, enlarges=False)
        spatial: Sequence[int | str | None] = window.output_sizes()
        batch = builder.shape(x, "Convolution")[0]
        attributes = {**window.attributes(), "dilations": window.dilations, "group": self.groups}
        return builder.leaf("Conv", inputs, (batch, self.filters, *spatial), dtype, **attributes)


@dataclass(frozen=True)
class TransposedConvolution(Definition):
    """The gradient of ``Convolution`` with respect to its input, as a layer: it enlarges.

    - input (batch, channels, d1, ...), output (batch, ``filters``, e1, ...) with e = (d - 1) * stride - begin - end +
      dilation * (kernel - 1) + ``output_padding`` + 1
    - weight (channels, ``filters`` / ``groups``, k1, ...), bias (``filters``)

    Sizes as in ``Convolution``, ``pads`` as numbers.
    """

    filters: int
    kernel: Sizes
    strides: Sizes = 1
    pads: Sizes = 0
    output_padding: Sizes = 0
    dilations: Sizes = 1
    groups: int = 1
    bias: bool = True
    weight_initialiser: Initialiser = HE_UNIFORM
    bias_initialiser: Initialiser = ZEROS
    name: str = ""

    def append(self, builder: Builder, x: Value) -> Value:
        dtype, where = dtype_of(x), f"TransposedConvolution {builder.path!r}"
        window = Window.of(
            builder, x, "TransposedConvolution", self.kernel, self.strides, self.pads, self.dilations, enlarges=True
        )
        extra = per_axis(where, "output_padding", self.output_padding, len(window.kernel))
        inputs = _operands(self, builder, x, window, enlarges=True)
        spatial = window.enlarged_sizes(extra)
        batch = builder.shape(x, "TransposedConvolution")[0]
        attributes = {**window.attributes(), "dilations": window.dilations, "group": self.groups}
        attributes["output_padding"] = extra
        return builder.leaf("ConvTranspose", inputs, (batch, self.filters, *spatial), dtype, **attributes)


def _operands(
    layer: Convolution | TransposedConvolution, builder: Builder, x: Value, window: Window, *, enlarges: bool
) -> list[Value | str]:
    """The input, the weight and the bias; a layer that ``enlarges`` has the channels before the filters."""
    kind, dtype, groups, filters = type(layer).__name__, dtype_of(x), layer.groups, layer.filters
    channels = builder.size(x, 1, kind)
    if channels % groups or filters % groups:
        raise ShapeError(
            f"{kind} {builder.path!r} requires channels and filters that {groups} groups divide, got {channels} "
            f"channels and {filters} filters. Change groups= or filters=."
        )
    taps = int(np.prod(window.kernel))
    fans = channels // groups * taps, filters // groups * taps
    sides = (channels, filters // groups) if enlarges else (filters, channels // groups)
    inputs: list[Value | str] = [
        x,
        builder.weight("weight", layer.weight_initialiser, (*sides, *window.kernel), dtype, *fans),
    ]
    if layer.bias:
        inputs.append(builder.weight("bias", layer.bias_initialiser, (filters,), dtype, *fans))
    return inputs
