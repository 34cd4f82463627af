"""The sliding window that convolution and pooling share: its sizes per spatial axis, and the output sizes it gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from toolkit.errors import ShapeError
from toolkit.graph.value import Dim, Value
from toolkit.layers.builder import Builder

Sizes = int | Sequence[int]


@dataclass(frozen=True, slots=True)
class Window:
    """Every size written out per spatial axis; ``pads`` are begins followed by ends."""

    sizes: tuple[Dim, ...]
    kernel: list[int]
    strides: list[int]
    pads: list[int]
    dilations: list[int]
    ceil_mode: bool = False

    @classmethod
    def of(
        cls,
        builder: Builder,
        x: Value,
        operator: str,
        kernel: Sizes,
        strides: Sizes,
        pads: Sizes | str,
        dilations: Sizes = 1,
        ceil_mode: bool = False,
        enlarges: bool = False,
    ) -> Window:
        """Write the sizes out for the input ``x``. Raises ``ShapeError`` when rank or counts do not fit.

        ``enlarges`` is for windows that slide over the output instead.
        """
        shape = builder.shape(x, operator)
        if len(shape) < 3:
            raise ShapeError(
                f"{operator} {builder.path!r} requires an input (batch, channels, sizes ...), got {x.name!r} "
                f"{x.describe()}. Add the missing axes with Reshape."
            )
        sizes = shape[2:]
        ndim = len(sizes)
        where = f"{operator} {builder.path!r}"
        widths = per_axis(where, "kernel", kernel, ndim, least=1)
        steps = per_axis(where, "strides", strides, ndim, least=1)
        gaps = per_axis(where, "dilations", dilations, ndim, least=1)
        if isinstance(pads, str):
            padding = _same(where, pads, sizes, widths, steps, gaps)
        elif not isinstance(pads, int) and len(pads) == 2 * ndim:
            padding = per_axis(where, "pads", pads, 2 * ndim)
        else:
            padding = per_axis(where, "pads", pads, ndim) * 2
        window = cls(sizes, widths, steps, padding, gaps, ceil_mode)
        if not enlarges and any(isinstance(size, int) and size < 1 for size in window.output_sizes()):
            raise ShapeError(
                f"{where} requires an input at least as large as its window, got kernel {widths}, dilations {gaps} and "
                f"pads {padding} on {x.name!r} {x.describe()}. Use a smaller kernel or more pads."
            )
        return window

    def attributes(self) -> dict[str, Any]:
        """The ONNX attributes that convolution and pooling have in common."""
        return {"kernel_shape": self.kernel, "strides": self.strides, "pads": self.pads}

    def output_sizes(self) -> tuple[Dim, ...]:
        """The spatial sizes behind the window; open where the input's are."""
        return tuple(self._output_size(axis) for axis in range(len(self.sizes)))

    def enlarged_sizes(self, extra: Sequence[int]) -> tuple[Dim, ...]:
        """The spatial sizes that a transposed convolution gives, ``extra`` added at the ends."""
        ndim = len(self.sizes)
        found: list[Dim] = []
        for axis, size in enumerate(self.sizes):
            reach = self.dilations[axis] * (self.kernel[axis] - 1) + 1
            lost = self.pads[axis] + self.pads[axis + ndim]
            known = isinstance(size, int)
            found.append((size - 1) * self.strides[axis] + reach - lost + extra[axis] if known else None)  # type: ignore[operator]
        return tuple(found)

    def _output_size(self, axis: int) -> Dim:
        size = self.sizes[axis]
        if not isinstance(size, int):
            return None
        before, after = self.pads[axis], self.pads[axis + len(self.sizes)]
        room = size + before + after - self.dilations[axis] * (self.kernel[axis] - 1) - 1
        count = room // self.strides[axis] + 1
        if self.ceil_mode and room % self.strides[axis] and count * self.strides[axis] < size + before:
            count += 1  # a window that starts in the end padding does not count
        return count


def per_axis(where: str, name: str, given: Sizes, count: int, least: int = 0) -> list[int]:
    """One number for each of ``count`` axes. Raises ``ShapeError`` when another count is given, or less than least."""
    sizes = [given] * count if isinstance(given, int) else [int(item) for item in given]
    if len(sizes) != count or min(sizes) < least:
        raise ShapeError(
            f"{where}: {name} requires one number or {count} of them, each at least {least}, got {given!r}. "
            "Give one number per spatial axis."
        )
    return sizes


def _same(
    where: str, pads: str, sizes: Sequence[Dim], kernel: list[int], strides: list[int], dilations: list[int]
) -> list[int]:
    """Pads for an output of size / stride rounded up; an odd one goes to the end."""
    if pads != "same":
        raise ShapeError(f"{where}: pads requires numbers or 'same', got {pads!r}. Write pads='same'.")
    begins, ends = [], []
    for size, width, stride, dilation in zip(sizes, kernel, strides, dilations, strict=True):
        reach = dilation * (width - 1) + 1
        if stride == 1:
            total = reach - 1
        elif isinstance(size, int):
            total = max(0, (-(-size // stride) - 1) * stride + reach - size)
        else:
            raise ShapeError(
                f"{where}: pads='same' with stride {stride} requires known spatial sizes, got {tuple(sizes)}. "
                "Give the pads as numbers."
            )
        begins.append(total // 2)
        ends.append(total - total // 2)
    return begins + ends
