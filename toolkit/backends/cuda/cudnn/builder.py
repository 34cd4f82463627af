"""Writing a graph: each method appends an operation and gives the tensor that it writes.

Results are virtual, on the chip only, unless the tensor that takes them is given as ``into``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from toolkit.backends.cuda.cudnn.descriptors import Typed
from toolkit.backends.cuda.cudnn.graph import Graph, Record, Shape, Tensor, record, row_major
from toolkit.backends.cuda.cudnn.graph_constants import (
    AttributeType,
    ConvolutionMode,
    DataType,
    PaddingMode,
    PointwiseMode,
    ReductionOperator,
    ResampleMode,
)

FLOAT = DataType.FLOAT


@dataclass(frozen=True, slots=True)
class Window:
    """Where a window stands, one number per spatial axis; ``size`` matters to pooling alone."""

    strides: Shape
    begins: Shape
    ends: Shape
    dilations: Shape = ()
    size: Shape = ()


class Builder:
    """A graph under construction."""

    def __init__(self) -> None:
        self._operations: list[Record] = []
        self._count = 0

    def graph(self) -> Graph:
        """What has been appended so far."""
        return Graph(tuple(self._operations))

    # tensors ----------------------------------------------------------------------------------------------------------

    def tensor(self, dtype: DataType, shape: Sequence[int], strides: Sequence[int] | None = None) -> Tensor:
        """A tensor in device memory, row-major unless ``strides`` (in elements) say otherwise."""
        self._count += 1
        return Tensor(self._count, dtype, tuple(shape), tuple(row_major(shape) if strides is None else strides))

    def virtual(self, shape: Sequence[int], strides: Sequence[int], dtype: DataType = FLOAT) -> Tensor:
        """A tensor that is never in memory."""
        self._count += 1
        return Tensor(self._count, dtype, tuple(shape), tuple(strides), is_virtual=True)

    def number(self, value: float, rank: int) -> Tensor:
        """A float32 number that broadcasts to tensors of ``rank`` axes."""
        self._count += 1
        return Tensor(self._count, FLOAT, (1,) * rank, (1,) * rank, value=value)

    # operations -------------------------------------------------------------------------------------------------------

    def convolution(self, x: Tensor, w: Tensor, into: Tensor, window: Window) -> Tensor:
        """``x`` (batch, channels, ...) by ``w`` (out channels, channels of a group, ...)."""
        form = _convolution(window)
        self._append(record("OPERATION_CONVOLUTION_FORWARD", x=x, w=w, y=into, alpha=1.0, beta=0.0, conv_desc=form))
        return into

    def convolution_input_gradient(self, dy: Tensor, w: Tensor, into: Tensor, window: Window) -> Tensor:
        """The gradient of a convolution by its input; also a transposed convolution of ``dy``."""
        kind, prefix = "OPERATION_CONVOLUTION_BACKWARD_DATA", "OPERATION_CONVOLUTION_BWD_DATA"
        self._append(record(kind, prefix, dy=dy, w=w, dx=into, alpha=1.0, beta=0.0, conv_desc=_convolution(window)))
        return into

    def convolution_weight_gradient(self, x: Tensor, dy: Tensor, into: Tensor, window: Window) -> Tensor:
        """The gradient of a convolution by its weight."""
        kind, prefix = "OPERATION_CONVOLUTION_BACKWARD_FILTER", "OPERATION_CONVOLUTION_BWD_FILTER"
        self._append(record(kind, prefix, x=x, dy=dy, dw=into, alpha=1.0, beta=0.0, conv_desc=_convolution(window)))
        return into

    def pointwise(
        self,
        mode: PointwiseMode,
        x: Tensor,
        other: Tensor | None = None,
        into: Tensor | None = None,
        *,
        chooser: Tensor | None = None,
        dtype: DataType = FLOAT,
        numbers: Mapping[str, float] | None = None,
    ) -> Tensor:
        """``mode`` of each element of ``x`` and the one of ``other``, which may broadcast.

        ``numbers`` are parameters by the name of their attribute (``elu_alpha``); ``chooser`` is the condition of a
        selection; ``dtype`` that of a virtual result.
        """
        if into is None:
            like = x if other is None or x.value is None else other
            into = self.virtual(like.shape, like.strides, dtype)
        settings: dict[str, Any] = {
            name: Typed(AttributeType.DOUBLE, (value,)) for name, value in (numbers or {}).items()
        }
        form = record("POINTWISE", mode=mode, math_prec=FLOAT, **settings)
        kind = "OPERATION_POINTWISE"
        self._append(record(kind, pw_descriptor=form, xdesc=x, bdesc=other, tdesc=chooser, ydesc=into))
        return into

    def matmul(self, a: Tensor, b: Tensor, into: Tensor) -> Tensor:
        """The product of the last two axes."""
        self._append(record("OPERATION_MATMUL", adesc=a, bdesc=b, cdesc=into, desc=record("MATMUL", comp_type=FLOAT)))
        return into

    def position(self, like: Tensor, axis: int) -> Tensor:
        """The number of each element's place along an axis."""
        into = self.virtual(like.shape, like.strides, DataType.INT32)
        form = record("POINTWISE", mode=PointwiseMode.GEN_INDEX, math_prec=DataType.INT32, axis=axis)
        self._append(record("OPERATION_POINTWISE", pw_descriptor=form, xdesc=like, ydesc=into))
        return into

    def comparison(self, mode: PointwiseMode, x: Tensor, other: Tensor) -> Tensor:
        """The truth values of a comparison."""
        into = self.virtual(x.shape, x.strides, DataType.BOOLEAN)
        form = record("POINTWISE", mode=mode, math_prec=DataType.BOOLEAN)
        self._append(record("OPERATION_POINTWISE", pw_descriptor=form, xdesc=x, bdesc=other, ydesc=into))
        return into

    def turned(self, x: Tensor, dtype: DataType) -> Tensor:
        """The last two axes exchanged, the elements where they are, as numbers of another type."""
        order = [*range(len(x.shape) - 2), len(x.shape) - 1, len(x.shape) - 2]
        into = self.virtual([x.shape[axis] for axis in order], [x.strides[axis] for axis in order], dtype)
        self._append(record("OPERATION_RESHAPE", xdesc=x, ydesc=into))
        return into

    def reduction(self, operator: ReductionOperator, x: Tensor, into: Tensor) -> Tensor:
        """``x`` over the axes in which ``into`` has the size 1."""
        form = record("REDUCTION", operator=operator, comp_type=FLOAT)
        self._append(record("OPERATION_REDUCTION", xdesc=x, ydesc=into, desc=form))
        return into

    def pooling(
        self, mode: ResampleMode, x: Tensor, into: Tensor, window: Window, selected: Tensor | None = None
    ) -> Tensor:
        """A maximum or mean over windows; ``selected`` takes which element of each window was the largest."""
        form = _resample(mode, window)
        self._append(record("OPERATION_RESAMPLE_FWD", xdesc=x, ydesc=into, idxdesc=selected, desc=form))
        return into

    def pooling_gradient(
        self, mode: ResampleMode, dy: Tensor, into: Tensor, window: Window, selected: Tensor | None = None
    ) -> Tensor:
        """The gradient of ``pooling`` by its input."""
        form = _resample(mode, window)
        self._append(record("OPERATION_RESAMPLE_BWD", dydesc=dy, dxdesc=into, idxdesc=selected, desc=form))
        return into

    def _append(self, operation: Record) -> None:
        self._operations.append(operation)


def _convolution(window: Window) -> Record:
    return record(
        "CONVOLUTION",
        spatial_dims=len(window.strides),
        comp_type=FLOAT,
        conv_mode=ConvolutionMode.CROSS_CORRELATION,
        pre_paddings=window.begins,
        post_paddings=window.ends,
        dilations=window.dilations,
        filter_strides=window.strides,
    )


def _resample(mode: ResampleMode, window: Window) -> Record:
    return record(
        "RESAMPLE",
        mode=mode,
        comp_type=FLOAT,
        spatial_dims=len(window.size),
        padding_mode=PaddingMode.NEG_INF_PAD if mode is ResampleMode.MAXPOOL else PaddingMode.ZERO_PAD,
        window_dims=window.size,
        strides=window.strides,
        pre_paddings=window.begins,
        post_paddings=window.ends,
    )
