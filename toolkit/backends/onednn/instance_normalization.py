"""Instance normalisation: batch normalisation of one image, once for each image of the batch.

The images keep the layout in which they lie wherever the library has a fast kernel for it. Refused: anything but
float32.
"""

from __future__ import annotations

from collections.abc import Sequence

from toolkit.backends.onednn.memory import ACTIVATION_TAGS, Descriptor, dense, descriptor_of, layout_of, tagged
from toolkit.backends.onednn.normalization import USE_SCALE, USE_SHIFT
from toolkit.backends.onednn.primitive import (
    DST,
    FORWARD_INFERENCE,
    SCALE,
    SHIFT,
    SRC,
    PrimitiveDescriptor,
    PrimitiveKernel,
    chain,
    describe,
    reads,
    writes,
)
from toolkit.backends.onednn.registry import FLOAT32, is_float32, kernel
from toolkit.backends.protocol import Buffer, Kernel, Layout, Resources, Step, plain
from toolkit.compiler.program import Node

_AFFINE = (SCALE, SHIFT)
_SLOW = ("nspc_bnorm", "ref")  # what converting to row-major order and back is faster than


def _accepts(node: Node) -> bool:
    x = node.x
    vectors = [item is not None and item.shape == x.shape[1:2] for item in node.inputs[1:3]]
    return len(x.shape) in ACTIVATION_TAGS and vectors == [True, True] and is_float32(node)


@kernel("", "InstanceNormalization", accepts=_accepts)
def instance_normalization(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """The statistics are those of the one image that the primitive sees."""
    epsilon = float(node.attributes.get("epsilon", 1e-5))
    tags = ACTIVATION_TAGS[len(node.x.shape)]
    for tag in (_tag(inputs[0], tags), tags[0]):
        image = tagged(FLOAT32, (1, *node.x.shape[1:]), tag)
        described = _describe(image, epsilon)
        if not described.implementation.startswith(_SLOW):
            break
    whole, vector = layout_of(tagged(FLOAT32, node.x.shape, tag)), plain(FLOAT32, node.x.shape[1:2])
    operands = [reads(SRC, 0, image), writes(DST, 0, image)]
    operands += [reads(argument, 1 + index, dense(FLOAT32, vector.shape)) for index, argument in enumerate(_AFFINE)]
    made = _EachImage(described, [whole, vector, vector], [whole], operands, in_place=[(0, 0)])
    made.whole = whole
    return made


def _tag(layout: Layout | None, tags: Sequence[int]) -> int:
    """The tag by which the images lie, that of row-major order where there is none."""
    assert layout is not None
    lies = descriptor_of(layout)
    return next((tag for tag in tags if tagged(FLOAT32, layout.shape, tag) == lies), tags[0])


def _describe(image: Descriptor, epsilon: float) -> PrimitiveDescriptor:
    flags = USE_SCALE | USE_SHIFT
    return describe("batch_normalization_forward", FORWARD_INFERENCE, image, image, epsilon, flags)


class _EachImage(PrimitiveKernel):
    """The primitive of one image on all images of a batch in turn."""

    whole: Layout

    def bind(self, inputs: Sequence[Buffer | None], outputs: Sequence[Buffer | None], workspace: Buffer | None) -> Step:
        scratch = 0 if workspace is None else workspace.address
        steps = []
        for offset in range(0, self.whole.nbytes, self.operands[0].descriptor.nbytes):
            places = {}
            for item in self.operands:
                buffer = (inputs if item.source == "input" else outputs)[item.index]
                assert buffer is not None
                moved = offset if item.argument in (SRC, DST) else 0
                places[item.argument] = (item.descriptor, buffer.address + moved)
            steps.append(self.primitive.bind(places, scratch))
        return steps[0] if len(steps) == 1 else chain(steps)
