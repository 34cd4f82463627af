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
        channels = builder.size(x, 1, "Convolution")
        if channels % self.groups or self.filters % self.groups:
            raise ShapeError(
                f"Convolution {builder.path!r} requires channels and filters that {self.groups} groups divide, got "
                f"{channels} channels and {self.filters} filters. Change groups= or filters=."
            )
        taps = int(np.prod(window.kernel))
        fan_in, fan_out = channels // self.groups * taps, self.filters // self.groups * taps
        shape = (self.filters, channels // self.groups, *window.kernel)
        inputs: list[Value | str] = [
            x,
            builder.weight("weight", self.weight_initialiser, shape, dtype, fan_in, fan_out),
        ]
        if self.bias:
            inputs.append(builder.weight("bias", self.bias_initialiser, (self.filters,), dtype, fan_in, fan_out))
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
        channels = builder.size(x, 1, "TransposedConvolution")
        if channels % self.groups or self.filters % self.groups:
            raise ShapeError(
                f"{where} requires channels and filters that {self.groups} groups divide, got {channels} channels and "
                f"{self.filters} filters. Change groups= or filters=."
            )
        taps = int(np.prod(window.kernel))
        fan_in, fan_out = channels // self.groups * taps, self.filters // self.groups * taps
        shape = (channels, self.filters // self.groups, *window.kernel)
        inputs: list[Value | str] = [
            x,
            builder.weight("weight", self.weight_initialiser, shape, dtype, fan_in, fan_out),
        ]
        if self.bias:
            inputs.append(builder.weight("bias", self.bias_initialiser, (self.filters,), dtype, fan_in, fan_out))
        spatial = window.enlarged_sizes(extra)
        batch = builder.shape(x, "TransposedConvolution")[0]
        attributes = {**window.attributes(), "dilations": window.dilations, "group": self.groups}
        attributes["output_padding"] = extra
        return builder.leaf("ConvTranspose", inputs, (batch, self.filters, *spatial), dtype, **attributes)
