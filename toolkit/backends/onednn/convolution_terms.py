"""How the library is told of a convolution: which axes, which layouts, and which of its implementations.

oneDNN takes the axes and layouts that a model has literally, and its first choice is not always the fastest of its
own. Both are decided here, by sizes and by the names of implementations. Nothing here knows of nodes or kernels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from toolkit.backends.onednn.library import Handle
from toolkit.backends.onednn.memory import ACTIVATION_TAGS, Descriptor, any_format, dense, layout_of, tagged, vector
from toolkit.backends.onednn.primitive import (
    FORWARD_INFERENCE,
    FORWARD_TRAINING,
    PostOp,
    PrimitiveDescriptor,
    attributes,
    describe,
    later_implementation,
)
from toolkit.backends.onednn.registry import FLOAT32
from toolkit.backends.protocol import Layout

DIRECT = 1
DIRECT_AVX2, BY_COLUMNS = "jit:avx2", "x64:gemm:jit"
DIRECT_KERNELS = (DIRECT_AVX2, "jit:avx512_core")
FEW_CHANNELS = 4  # of an image, as sensors give them
MANY_CHANNELS = 64  # from which on all sizes are multiples of the blocks that images come in
OUTRUN = {"brdgmm_dw:avx2": "jit_dw:avx2", "brgconv_1x1:avx2": "jit_1x1:avx2"}  # by older kernels, with channels last
# Of kernels for channels last, what outruns them with blocks of 16; those for windows of one position come first.
IN_BLOCKS = {
    "brgconv_strided:avx512_core": ("jit_1x1:avx512_core", "jit:avx512_core"),
    "brgconv:avx512_core_bf16": ("jit_bf16:avx512_core_bf16",),
    "brgconv_1x1:avx512_core_bf16": ("jit_bf16_1x1:avx512_core_bf16",),
    "brgconv_strided:avx512_core_bf16": (
        "jit_bf16_1x1:avx512_core_bf16",
        "jit_bf16:avx512_core_bf16",
        "jit_dw:avx512_core_bf16",
    ),
}
Shape = tuple[int, ...]
Types = tuple[np.dtype, np.dtype, np.dtype]
Arrange = Callable[[np.dtype, Sequence[int]], Descriptor]


@dataclass(frozen=True, slots=True)
class Geometry:
    """Where the window of a convolution stands, one number per spatial axis."""

    strides: Shape
    dilations: Shape
    begins: Shape
    ends: Shape
    group: int

    @classmethod
    def of(cls, values: dict[str, Any], rank: int) -> Geometry:
        """From the attributes of a node with ``rank`` spatial axes."""
        pads = tuple(values.get("pads") or (0,) * 2 * rank)
        return cls(
            tuple(values.get("strides") or (1,) * rank),
            tuple(values.get("dilations") or (1,) * rank),
            pads[:rank],
            pads[rank:],
            int(values.get("group", 1)),
        )

    def along(self, axes: Sequence[int | None]) -> Geometry:
        """The same window along some spatial axes, with one position along each ``None``."""
        steps = [tuple(1 if axis is None else item[axis] for axis in axes) for item in (self.strides, self.dilations)]
        pads = [tuple(0 if axis is None else item[axis] for axis in axes) for item in (self.begins, self.ends)]
        return Geometry(steps[0], steps[1], pads[0], pads[1], self.group)

    def vectors(self) -> tuple[Any, ...]:
        """Strides, dilations and pads as oneDNN takes them, which calls an undilated window 0."""
        return (
            vector(self.strides),
            vector([step - 1 for step in self.dilations]),
            vector(self.begins),
            vector(self.ends),
        )

    def grouped(self, weight_shape: Sequence[int]) -> Shape:
        """The sizes of a weight as oneDNN sees them: groups have an axis of their own."""
        if self.group == 1:
            return tuple(weight_shape)
        return (self.group, weight_shape[0] // self.group, *weight_shape[1:])


@dataclass(frozen=True, slots=True)
class Terms:
    """A convolution as the library is told of it. ``axes`` are the spatial axes of the tensors that it hears of.

    An image of one column is a sequence: the kernels vectorise along the last axis, and take half the time. A sequence
    whose channels are convolved one by one is an image of one row, for which alone there are kernels of that kind
    (they take a tenth of the time).
    """

    x: Shape
    weight: Shape
    y: Shape
    geometry: Geometry
    axes: tuple[int | None, ...]

    @classmethod
    def of(cls, x: Sequence[int], weight: Sequence[int], y: Sequence[int], values: dict[str, Any]) -> Terms:
        """From the sizes of the tensors and the attributes that ``Geometry`` reads."""
        given = Geometry.of(values, len(x) - 2)
        axes = _told_axes(x, weight, y, given)
        return cls(_along(axes, x), _along(axes, weight), _along(axes, y), given.along(axes), axes)

    def told(self, shape: Sequence[int]) -> Shape:
        """The sizes of a tensor (batch, channels, spatial axes), which may broadcast, as the library hears of them."""
        return _along(self.axes, shape)

    def layout(self, descriptor: Descriptor, shape: Sequence[int]) -> Layout:
        """Where a tensor of ``shape`` lies that the library has arranged as ``descriptor``."""
        return layout_of(descriptor.reshaped(shape) or descriptor, shape)

    @property
    def grouped_weight(self) -> Shape:
        return self.geometry.grouped(self.weight)

    def forward(
        self,
        bias: np.dtype | None,
        training: bool,
        post_ops: Sequence[PostOp] = (),
        types: Types = (FLOAT32, FLOAT32, FLOAT32),
        lies: Layout | None = None,
        attribute: Handle | None = None,
    ) -> PrimitiveDescriptor:
        """The convolution of tensors of these ``types``, with a bias of type ``bias`` if there is one.

        ``lies`` is how ``x`` does already, where that is known; ``attribute`` stands for more than post-ops.
        """
        kind = FORWARD_TRAINING if training else FORWARD_INFERENCE
        attribute = attributes(post_ops) if attribute is None else attribute

        def laid(arrange: Arrange) -> PrimitiveDescriptor:
            return describe(
                "convolution_forward",
                kind,
                DIRECT,
                arrange(types[0], self.x),
                any_format(types[1], self.grouped_weight),
                None if bias is None else dense(bias, (self.weight[0],)),
                arrange(types[2], self.y),
                *self.geometry.vectors(),
                attribute=attribute,
            )

        return self._fastest(laid, training, training or self._stays_in_blocks(lies))

    def backward_data(self, types: Types) -> PrimitiveDescriptor:
        """The gradient by ``x``; ``types`` are those of x, weight and y.

        AVX-512's older kernels for steps of several positions take 0.75 to 0.98 of the time of those that oneDNN likes
        better. They read and write blocks, as convolutions beside them do, so nothing is copied between.
        """
        forward = self.forward(None, True, (), (types[2],) * 3)

        def laid(arrange: Arrange) -> PrimitiveDescriptor:
            return describe(
                "convolution_backward_data",
                DIRECT,
                arrange(types[0], self.x),
                any_format(types[1], self.grouped_weight),
                arrange(types[2], self.y),
                *self.geometry.vectors(),
                forward,
            )

        return _in_blocks(laid, laid(any_format))

    def backward_weights(self, bias: np.dtype | None, types: Types) -> PrimitiveDescriptor:
        """The gradient by the weight, and by the bias where that has a type."""
        forward = self.forward(None if bias is None else types[0], True, (), (types[0],) * 3)

        def laid(arrange: Arrange) -> PrimitiveDescriptor:
            return describe(
                "convolution_backward_weights",
                DIRECT,
                arrange(types[0], self.x),
                any_format(types[1], self.grouped_weight),
                None if bias is None else dense(bias, (self.weight[0],)),
                arrange(types[2], self.y),
                *self.geometry.vectors(),
                forward,
            )

        return self._single_channel(laid, laid(any_format))

    def _stays_in_blocks(self, lies: Layout | None) -> bool:
        """Whether images come in blocks that are full, in a network of which that may be said further on as well."""
        if lies is None or min(self.x[1], self.y[1]) < MANY_CHANNELS:
            return False
        return lies.opaque is not None and lies.opaque == tagged(
            lies.dtype, lies.shape, ACTIVATION_TAGS[len(lies.shape)][2]
        )

    def _fastest(
        self, laid: Callable[[Arrange], PrimitiveDescriptor], training: bool, in_blocks: bool
    ) -> PrimitiveDescriptor:
        """The implementation that takes the least time.

        - On AVX2 older kernels take 0.6 of the time channel by channel, and 0.85 to 0.95 for windows of one position,
          of what oneDNN likes better.
        - Products of copied windows, which remain for few channels and wide windows: their columns are copied and
          written faster with channels last (66 ms instead of 134: 3 channels of 720 x 720, 16 windows of 9 x 9).
        - Of half width, what likes channels last takes 1.05 to 1.4 times as long as what likes blocks, but a change of
          layout costs more than that: it is chosen where ``in_blocks`` says that images lie so. Strided gradients of
          single channels take 20 times as long.
        - A first convolution, of few channels, likes to write blocks, which all that follow do not: MobileNetV2 takes
          0.92 of the time where they come last from the beginning (AVX2; LeNet-5 of 32 images 0.92 on AVX-512).
        """
        described = laid(any_format)
        if in_blocks:
            described = _in_blocks(laid, described)
        if described.implementation in OUTRUN:
            return later_implementation(laid(_channels_last), OUTRUN[described.implementation]) or described
        if described.implementation == BY_COLUMNS and self.geometry.group == 1 and max(self.geometry.strides) == 1:
            return laid(_channels_last)
        if training:
            return self._single_channel(laid, described)
        if described.implementation in DIRECT_KERNELS and self.x[1] <= FEW_CHANNELS and len(self.x) == 4:
            written = laid(self._written_channels_last)
            return written if written.implementation == described.implementation else described
        return described

    def _written_channels_last(self, dtype: np.dtype, shape: Sequence[int]) -> Descriptor:
        return _channels_last(dtype, shape) if tuple(shape) == self.y else any_format(dtype, shape)

    def _single_channel(
        self, laid: Callable[[Arrange], PrimitiveDescriptor], described: PrimitiveDescriptor
    ) -> PrimitiveDescriptor:
        """The primitive in the layout that oneDNN likes, but with channels last for images of a single channel.

        AVX2's gradient by the weight of such a convolution takes 1.0 ms instead of 7.3 that way (128 images of
        28 x 28, 20 windows of 5 x 5), and the convolution itself as long as before. With three channels blocks are
        faster.
        """
        return laid(_channels_last) if self.x[1] == 1 and described.implementation == DIRECT_AVX2 else described


def _in_blocks(laid: Callable[[Arrange], PrimitiveDescriptor], described: PrimitiveDescriptor) -> PrimitiveDescriptor:
    """What outruns an implementation with blocks, where the library has it; the same where it has not."""
    for name in IN_BLOCKS.get(described.implementation, ()):
        found = later_implementation(laid(any_format), name)
        if found is not None:
            return found
    return described


def _along(axes: Sequence[int | None], shape: Sequence[int]) -> Shape:
    return (*shape[:2], *(1 if axis is None else shape[2 + axis] for axis in axes))


def _told_axes(x: Sequence[int], weight: Sequence[int], y: Sequence[int], given: Geometry) -> tuple[int | None, ...]:
    rank = len(x) - 2

    def is_idle(axis: int) -> bool:
        sizes = {shape[2 + axis] for shape in (x, weight, y)}
        return sizes == {1} and given.begins[axis] == given.ends[axis] == 0

    axes: tuple[int | None, ...] = tuple(range(rank))
    moving = tuple(axis for axis in range(rank) if not is_idle(axis))
    if moving and is_idle(rank - 1):
        axes = moving
    is_one_by_one = given.group == weight[0] > 1 == weight[1]
    return (None, *axes) if is_one_by_one and len(axes) == 1 else axes


def _channels_last(dtype: np.dtype, shape: Sequence[int]) -> Descriptor:
    return tagged(dtype, tuple(shape), ACTIVATION_TAGS[len(shape)][1])
