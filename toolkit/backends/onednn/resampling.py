"""Resize, Upsample and their gradients: oneDNN's resampling where it means the same elements, else matrix products.

oneDNN knows one way of placing elements (half_pixel) and one of rounding. Whether a node's choices come to the same is
seen from its taps, not from the names of its attributes. Any other linear or cubic map is one product per axis with its
weights as a matrix, made once, in row-major order or channels last. Refused: copies of elements that oneDNN would
choose otherwise, regions of interest that are computed, axes so long that a product is wasteful.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from toolkit.backends.onednn.memory import ACTIVATION_TAGS, dense, descriptor_of, layout_of, tagged
from toolkit.backends.onednn.primitive import (
    DST,
    FORWARD_INFERENCE,
    SRC,
    WEIGHTS,
    Place,
    Primitive,
    PrimitiveKernel,
    chain,
    describe,
    keeping,
    reads,
    try_describe,
    writes,
)
from toolkit.backends.onednn.registry import FLOAT32, kernel
from toolkit.backends.protocol import Buffer, Kernel, Layout, Resources, Step, plain
from toolkit.backends.stretches import Stretches, stretches
from toolkit.compiler.memory import align
from toolkit.compiler.program import Node
from toolkit.operators.expression import TOOLKIT_DOMAIN
from toolkit.operators.standard.interpolation import Taps

NEAREST, LINEAR = 0x2FFF0, 0x2FFF1
LONGEST = 512  # elements of an axis that a product may sum over, of which only two or four count
LARGEST = 1 << 22  # elements of the weights of one axis
CLOSE = 1e-5  # weights that differ by less are the same


def _algorithm(node: Node, canonical: dict[str, Any], steps: Stretches) -> int | None:
    """oneDNN's algorithm that gives the same values; ``None`` where it has none."""
    is_nearest = canonical["mode"] == "nearest"
    if canonical["mode"] == "cubic" or node.op_type == "InterpolationGradient":
        return None
    if len(node.x.shape) not in ACTIVATION_TAGS or any(axis < 2 for axis, _ in steps):
        return None
    for axis, taps in steps:
        size, output = node.x.shape[axis], node.y.shape[axis]
        at = (np.arange(output, dtype=np.float32) + np.float32(0.5)) * np.float32(size) / np.float32(output)
        at -= np.float32(0.5)
        if taps.outside is not None:
            return None
        if is_nearest:
            is_clear = np.abs(at - np.floor(at) - 0.5) > CLOSE * size
            if not (is_clear.all() and np.array_equal(np.rint(at).astype(np.int64), taps.index[:, 0])):
                return None
        elif not _agree(taps, _half_pixel(at, size)):
            return None
    return NEAREST if is_nearest else LINEAR


def _half_pixel(at: np.ndarray, size: int) -> Taps:
    """The two neighbours of each place, which the edge stands in for beyond it."""
    below = np.floor(at)
    index = np.clip(below[:, None] + np.arange(2), 0, size - 1).astype(np.int64)
    return Taps(index, np.stack([1 - (at - below), at - below], axis=1))


def _agree(one: Taps, other: Taps) -> bool:
    """Whether both read the same elements with the same weights, however each of them lists them."""
    weights = [np.ones(taps.index.shape) if taps.weight is None else taps.weight for taps in (one, other)]
    index = np.concatenate([one.index, other.index], axis=1)
    difference = np.concatenate([weights[0], -weights[1]], axis=1)
    for column in range(index.shape[1]):
        left = np.where(index == index[:, column : column + 1], difference, 0).sum(axis=1)
        if np.abs(left).max(initial=0) > CLOSE:
            return False
    return True


def _accepts(node: Node) -> bool:
    if node.x.dtype != FLOAT32 or not node.x.size or not node.y.size:
        return False
    found = stretches(node)
    if found is None or not found[1]:
        return False
    canonical, steps = found
    if _algorithm(node, canonical, steps) is not None:
        return True
    if canonical["mode"] == "nearest" or any(taps.outside is not None for _, taps in steps):
        return False
    sizes = [(node.x.shape[axis], node.y.shape[axis]) for axis, _ in steps]
    return all(source <= LONGEST and source * target <= LARGEST for source, target in sizes)


@kernel("", "Resize", "Upsample", accepts=_accepts)
@kernel(TOOLKIT_DOMAIN, "Interpolation", "InterpolationGradient", accepts=_accepts)
def lower_resampling(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """In the layout of the input; products bring one in blocks to channels last."""
    found, layout = stretches(node), inputs[0]
    assert found is not None and layout is not None
    canonical, steps = found
    others: list[Layout | None] = [None] * (len(node.inputs) - 1)
    algorithm = _algorithm(node, canonical, steps)
    if algorithm is not None:
        made = _primitive(algorithm, layout, node.y.shape, others)
        if made is not None:
            return made
    return _Products(node, layout, steps, others)


def _primitive(algorithm: int, layout: Layout, shape: tuple[int, ...], others: list[Layout | None]) -> Kernel | None:
    """oneDNN's own resampling between tensors that lie alike."""
    for given in (layout, plain(layout.dtype, layout.shape)):
        source = descriptor_of(given)
        tags = [tag for tag in ACTIVATION_TAGS[len(shape)] if tagged(FLOAT32, source.shape, tag) == source]
        if not tags:
            continue
        target = tagged(FLOAT32, shape, tags[0])
        described = try_describe("resampling_forward", FORWARD_INFERENCE, algorithm, None, source, target)
        if described is not None and not described.is_reference:
            operands = [reads(SRC, 0, source), writes(DST, 0, target)]
            return PrimitiveKernel(described, [given, *others], [layout_of(target, shape)], operands)
    return None


class _Products(Kernel):
    """One matrix product per axis; what lies between two of them is in the workspace."""

    def __init__(self, node: Node, layout: Layout, steps: Stretches, others: list[Layout | None]) -> None:
        rank, tags = len(node.x.shape), ACTIVATION_TAGS.get(len(node.x.shape))
        order, is_back = list(range(rank)), node.op_type == "InterpolationGradient"
        self.inputs = [plain(FLOAT32, node.x.shape), *others]
        self.outputs = [plain(FLOAT32, node.y.shape)]
        if not layout.is_plain and tags is not None:
            order = [0, *range(2, rank), 1]
            self.inputs[0] = layout_of(tagged(FLOAT32, node.x.shape, tags[1]))
            self.outputs = [layout_of(tagged(FLOAT32, node.y.shape, tags[1]))]
        sizes = [node.x.shape[axis] for axis in order]
        self._stages: list[_Stage] = []
        for axis, taps in reversed(steps) if is_back else steps:
            weight = taps.matrix((node.y if is_back else node.x).shape[axis])
            stage = _Stage(np.ascontiguousarray(weight.T if is_back else weight, FLOAT32), sizes, order.index(axis))
            sizes[order.index(axis)] = stage.weight.shape[0]
            self._stages.append(stage)
        self.name = "+".join(dict.fromkeys(stage.primitive.implementation for stage in self._stages))
        self._places: list[int] = []
        for stage in self._stages[:-1]:
            self._places.append(self.workspace)
            self.workspace = align(self.workspace + stage.result.nbytes)
        self._scratch = self.workspace
        self.workspace += max(stage.primitive.scratch_nbytes for stage in self._stages)

    def bind(self, inputs: Sequence[Buffer | None], outputs: Sequence[Buffer | None], workspace: Buffer | None) -> Step:
        source, target = inputs[0], outputs[0]
        assert source is not None and target is not None
        base = 0 if workspace is None else workspace.address
        addresses = [source.address, *(base + place for place in self._places), target.address]
        steps = [
            stage.bind(addresses[number], addresses[number + 1], base + self._scratch)
            for number, stage in enumerate(self._stages)
        ]
        return keeping(steps[0] if len(steps) == 1 else chain(steps), self)


class _Stage:
    """The product along one axis: with the weights from the left, or from the right along the innermost axis."""

    def __init__(self, weight: np.ndarray, sizes: Sequence[int], axis: int) -> None:
        before, after = math.prod(sizes[:axis]), math.prod(sizes[axis + 1 :])
        output, size = weight.shape
        self._is_right = after == 1
        shapes: tuple[tuple[int, ...], ...]
        if self._is_right:
            shapes = (before, size), (size, output), (before, output)
        elif before == 1:
            shapes = (output, size), (size, after), (output, after)
        else:
            shapes = (1, output, size), (before, size, after), (before, output, after)
        self._left, self._right, self.result = (dense(FLOAT32, shape) for shape in shapes)
        self.weight = weight
        self._held = np.ascontiguousarray(weight.T) if self._is_right else weight
        self.primitive = Primitive(describe("matmul", self._left, self._right, None, self.result))

    def bind(self, source: int, target: int, scratch: int) -> Step:
        held = self._held.ctypes.data
        left, right = (source, held) if self._is_right else (held, source)
        places: dict[int, Place] = {SRC: (self._left, left), WEIGHTS: (self._right, right), DST: (self.result, target)}
        return self.primitive.bind(places, scratch)
