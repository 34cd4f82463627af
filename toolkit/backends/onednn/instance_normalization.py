"""Instance normalisation: batch normalisation of one image, once for each image of the batch.

The primitive sums one number after the other in float32. For images of many positions that is too coarse, so it is
first shown the image with groups of its positions as channels of their own; what it finds of each group is put together
here in float64, and a second primitive applies it. Images keep the layout in which they lie where the library has a
fast kernel for it. Refused: anything but float32, and many positions in a number that has no divisors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from toolkit.backends.onednn.memory import ACTIVATION_TAGS, Descriptor, dense, descriptor_of, layout_of, strided, tagged
from toolkit.backends.onednn.normalization import GLOBAL_STATISTICS, USE_SCALE, USE_SHIFT
from toolkit.backends.onednn.primitive import (
    DST,
    FORWARD_INFERENCE,
    FORWARD_TRAINING,
    MEAN,
    SCALE,
    SHIFT,
    SRC,
    VARIANCE,
    Primitive,
    PrimitiveDescriptor,
    chain,
    describe,
)
from toolkit.backends.onednn.registry import FLOAT32, is_float32, kernel
from toolkit.backends.protocol import Buffer, Kernel, Layout, Resources, Step, plain
from toolkit.compiler.program import Node

AFFINE = USE_SCALE | USE_SHIFT
MANY_POSITIONS = 1 << 12  # that are summed one after the other; the error of a sum grows with them
_SLOW = ("nspc_bnorm", "ref")  # what converting to row-major order and back is faster than


def _positions(node: Node) -> int:
    return math.prod(node.x.shape[2:])


def _group_count(positions: int) -> int:
    """How many groups of as many positions each; groups are about as many as each has positions."""
    if positions <= MANY_POSITIONS:
        return 1
    return next(count for count in range(math.isqrt(positions), 0, -1) if positions % count == 0)


def _accepts(node: Node) -> bool:
    x = node.x
    vectors = [item is not None and item.shape == x.shape[1:2] for item in node.inputs[1:3]]
    if len(x.shape) not in ACTIVATION_TAGS or vectors != [True, True] or not is_float32(node):
        return False
    return _positions(node) // _group_count(_positions(node)) <= MANY_POSITIONS


@kernel("", "InstanceNormalization", accepts=_accepts)
def instance_normalization(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """The statistics are those of the one image that the primitive sees."""
    given, epsilon = inputs[0], float(node.attributes.get("epsilon", 1e-5))
    assert given is not None
    groups = _group_count(_positions(node))
    flags = AFFINE | (GLOBAL_STATISTICS if groups > 1 else 0)
    in_rows, *others = ACTIVATION_TAGS[len(node.x.shape)]
    lying = [tag for tag in (others[:1] if groups > 1 else others) if _lies(given, tag)]
    for tag in (*lying, in_rows):
        image = tagged(FLOAT32, (1, *node.x.shape[1:]), tag)
        described = describe("batch_normalization_forward", FORWARD_INFERENCE, image, image, epsilon, flags)
        if not described.implementation.startswith(_SLOW):
            break
    whole = layout_of(tagged(FLOAT32, node.x.shape, tag))
    return _EachImage(whole, image, described, None if groups == 1 else _Statistics(node, groups, tag == in_rows))


def _lies(layout: Layout, tag: int) -> bool:
    return descriptor_of(layout) == tagged(FLOAT32, layout.shape, tag)


class _Statistics:
    """Mean and variance of the channels of one image, each from those of ``groups`` groups of its positions."""

    def __init__(self, node: Node, groups: int, is_in_rows: bool) -> None:
        channels, count = node.x.shape[1], _positions(node) // groups
        wide = (1, groups * channels, count)
        # in rows, a group is a piece of a channel's row; with channels last, every position at the same distance
        self._image = dense(FLOAT32, wide) if is_in_rows else strided(FLOAT32, wide, (wide[1] * count, 1, wide[1]))
        described = describe("batch_normalization_forward", FORWARD_TRAINING, self._image, self._image, 1.0, 0)
        self._primitive = Primitive(described)
        self.scratch_nbytes = self._primitive.scratch_nbytes
        shape = (channels, groups) if is_in_rows else (groups, channels)
        self._axis = 1 if is_in_rows else 0
        self._means, self._variances = np.empty(shape, np.float32), np.empty(shape, np.float32)
        self.mean, self.variance = np.empty(channels, np.float32), np.empty(channels, np.float32)

    def bind(self, source: int, target: int, scratch: int) -> Step:
        """The call for the image at ``source``; what the primitive writes to ``target`` means nothing."""
        vector = dense(FLOAT32, self._image.shape[1:2])
        parts = {MEAN: (vector, self._means.ctypes.data), VARIANCE: (vector, self._variances.ctypes.data)}
        look = self._primitive.bind({SRC: (self._image, source), DST: (self._image, target), **parts}, scratch)

        def step() -> int:
            status: int = look()
            means = self._means.astype(np.float64)
            self.mean[...] = means.mean(axis=self._axis)
            self.variance[...] = self._variances.mean(axis=self._axis, dtype=np.float64) + means.var(axis=self._axis)
            return status

        return step


class _EachImage(Kernel):
    """One image after the other; in place where it is looked at and written by the same primitive."""

    def __init__(
        self, whole: Layout, image: Descriptor, described: PrimitiveDescriptor, statistics: _Statistics | None
    ) -> None:
        vector = plain(FLOAT32, whole.shape[1:2])
        self.inputs, self.outputs = [whole, vector, vector], [whole]
        self.name, self._primitive = described.implementation, Primitive(described)
        self._whole, self._image, self._statistics = whole, image, statistics
        self.in_place = ((0, 0),) if statistics is None else ()
        self.workspace = max(self._primitive.scratch_nbytes, 0 if statistics is None else statistics.scratch_nbytes)

    def bind(self, inputs: Sequence[Buffer | None], outputs: Sequence[Buffer | None], workspace: Buffer | None) -> Step:
        (x, scale, shift), y = inputs, outputs[0]
        assert x is not None and scale is not None and shift is not None and y is not None
        scratch, vector = 0 if workspace is None else workspace.address, dense(FLOAT32, self._whole.shape[1:2])
        places = {SCALE: (vector, scale.address), SHIFT: (vector, shift.address)}
        if self._statistics is not None:
            known = {MEAN: self._statistics.mean, VARIANCE: self._statistics.variance}
            places |= {argument: (vector, array.ctypes.data) for argument, array in known.items()}
        steps: list[Step] = []
        for offset in range(0, self._whole.nbytes, self._image.nbytes):
            source, target = x.address + offset, y.address + offset
            if self._statistics is not None:
                steps.append(self._statistics.bind(source, target, scratch))
            image = {SRC: (self._image, source), DST: (self._image, target)}
            steps.append(self._primitive.bind({**image, **places}, scratch))
        return steps[0] if len(steps) == 1 else chain(steps)
