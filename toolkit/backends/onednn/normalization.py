"""Batch and layer normalisation, forward and backward, with a Relu fused where the operator carries one.

Scale, shift and statistics are vectors in row-major order. oneDNN keeps the variance where ONNX's LayerNormalization
keeps its inverse root, and leaves the moving of running statistics to us; both are small vector sums done by numpy.
It sums the batch's statistics one number after the other, too coarsely for large images: those are better left to a
backend that does it otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from toolkit.backends.onednn.memory import Descriptor, dense, descriptor_of, strided
from toolkit.backends.onednn.primitive import (
    BACKWARD,
    DIFF_DST,
    DIFF_SCALE,
    DIFF_SHIFT,
    DIFF_SRC,
    DST,
    FORWARD_INFERENCE,
    FORWARD_TRAINING,
    MEAN,
    SCALE,
    SHIFT,
    SRC,
    VARIANCE,
    WORKSPACE,
    PrimitiveDescriptor,
    PrimitiveKernel,
    describe,
    reads,
    writes,
)
from toolkit.backends.onednn.registry import is_float, is_float32, kernel
from toolkit.backends.protocol import Buffer, Kernel, Layout, Resources, Step, plain
from toolkit.compiler.program import Node
from toolkit.operators.expression import TOOLKIT_DOMAIN

GLOBAL_STATISTICS, USE_SCALE, USE_SHIFT, FUSE_RELU = 1, 2, 4, 8
_AFFINE = USE_SCALE | USE_SHIFT


def _is_image(node: Node) -> bool:
    floats = [item for item in (*node.inputs, *node.outputs) if item is not None and item.dtype == np.float32]
    return len(node.y.shape) in (3, 4, 5) and len(floats) >= 4 and all(item.size > 0 for item in floats)


def _is_table(node: Node) -> bool:
    """Whether the tensor is rows of channels, which oneDNN takes for an image of as many positions."""
    return len(node.y.shape) == 2 and is_float32(node)


def _is_per_channel(node: Node) -> bool:
    """Whether given statistics, one per channel, are applied: not the batch's own, nor one per element (spatial=0)."""
    if not (_is_image(node) or _is_table(node)) or any(item is not None for item in node.outputs[1:]):
        return False
    channels = (node.x.shape[1],)
    is_given = not node.attributes.get("training_mode", 0)
    return is_given and is_float(node) and all(item is not None and item.shape == channels for item in node.inputs[1:])


def _trains(node: Node) -> bool:
    has_residual = any(item is not None for item in node.inputs[5:])
    return _is_image(node) and node.attributes.get("activation", "") in ("", "Relu") and not has_residual


def _knows_mask(node: Node) -> bool:
    """Whether the mask, whose bytes only oneDNN understands, is one of its own."""
    mask = node.inputs[5] if len(node.inputs) > 5 else None
    made = None if mask is None else mask.producer
    if any(item is not None for item in (*node.inputs[6:], *node.outputs[3:])):
        return False
    return _is_image(node) and (mask is None or (made is not None and made.op_type == "BatchNormalizationTraining"))


def _vectors(count: int, channels: int) -> list[Layout | None]:
    return [plain(np.dtype(np.float32), (channels,)) for _ in range(count)]


@kernel("", "BatchNormalization", accepts=_is_per_channel)
@kernel(TOOLKIT_DOMAIN, "BatchNormalizationRepeated", accepts=_is_per_channel)
def lower_batch_normalization(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    source = inputs[0]
    assert source is not None
    source = plain(source.dtype, source.shape) if _is_table(node) else source
    given = _row_by_row(source) if _is_table(node) else descriptor_of(source)
    channels, epsilon = node.x.shape[1], float(node.attributes.get("epsilon", 1e-5))
    flags = GLOBAL_STATISTICS | _AFFINE | (FUSE_RELU if node.attributes.get("activation") == "Relu" else 0)
    described = describe("batch_normalization_forward", FORWARD_INFERENCE, given, given, epsilon, flags)
    vector = dense(np.dtype(np.float32), (channels,))
    operands = [reads(SRC, 0, given), writes(DST, 0, given)]
    operands += [reads(argument, 1 + index, vector) for index, argument in enumerate((SCALE, SHIFT, MEAN, VARIANCE))]
    return PrimitiveKernel(described, [source, *_vectors(4, channels)], [source], operands, in_place=[(0, 0)])


def _row_by_row(table: Layout) -> Descriptor:
    """A table as one image whose positions are its rows: its channels lie last, for which the library has kernels."""
    rows, channels = table.shape
    return strided(table.dtype, (1, channels, rows), (rows * channels, 1, channels))


def _training_forward(node_attributes: dict[str, Any], given: Descriptor) -> PrimitiveDescriptor:
    flags = _AFFINE | (FUSE_RELU if node_attributes.get("activation") == "Relu" else 0)
    epsilon = float(node_attributes["epsilon"])
    return describe("batch_normalization_forward", FORWARD_TRAINING, given, given, epsilon, flags)


class _BatchStatistics(PrimitiveKernel):
    """Normalise by the batch, then move the running statistics towards what it had."""

    momentum: float

    def bind(self, inputs: Sequence[Buffer | None], outputs: Sequence[Buffer | None], workspace: Buffer | None) -> Step:
        normalise = super().bind(inputs, outputs, workspace)
        arrays = [None if item is None else item.array for item in (*inputs[3:5], *outputs[1:5])]
        moves = [(arrays[0], arrays[4], arrays[2]), (arrays[1], arrays[5], arrays[3])]
        return _then(normalise, _mover(moves, self.momentum))


def _mover(moves: Sequence[tuple[Any, Any, Any]], momentum: float) -> Callable[[], None]:
    def move() -> None:
        for running, batch, moved in moves:
            np.subtract(running, batch, out=moved)
            np.multiply(moved, momentum, out=moved)
            np.add(moved, batch, out=moved)

    return move


def _then(first: Step, second: Callable[[], None]) -> Step:
    def run() -> Any:
        status = first()
        second()
        return status

    return run


@kernel(TOOLKIT_DOMAIN, "BatchNormalizationTraining", accepts=_trains)
def lower_batch_normalization_training(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    source = inputs[0]
    assert source is not None
    given, channels = descriptor_of(source), node.x.shape[1]
    described = _training_forward(node.attributes, given)
    vector = dense(np.dtype(np.float32), (channels,))
    operands = [reads(SRC, 0, given), reads(SCALE, 1, vector), reads(SHIFT, 2, vector)]
    operands += [writes(DST, 0, given), writes(MEAN, 3, vector), writes(VARIANCE, 4, vector)]
    layouts: list[Layout | None] = [source, *_vectors(4, channels)]
    if len(node.outputs) > 5:
        mask = described.workspace
        layouts.append(None if node.outputs[5] is None or mask is None else _opaque(mask, node.y.shape))
        if layouts[5] is not None and mask is not None:
            operands.append(writes(WORKSPACE, 5, mask))
    made = _BatchStatistics(described, [source, *_vectors(4, channels)], layouts, operands, in_place=[(0, 0)])
    made.momentum = float(node.attributes["momentum"])
    return made


def _opaque(workspace: Descriptor, shape: tuple[int, ...]) -> Layout:
    """The layout of what only the matching backward primitive can read."""
    return Layout(np.dtype(np.uint8), tuple(shape), workspace.nbytes, workspace)


@kernel(TOOLKIT_DOMAIN, "BatchNormalizationGradient", accepts=_knows_mask)
def lower_batch_normalization_gradient(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    source = inputs[1]
    assert source is not None
    given, channels = descriptor_of(source), node.x.shape[1]
    forward = _training_forward(node.attributes, given)
    has_mask = node.attributes.get("activation") == "Relu"
    flags = _AFFINE | (FUSE_RELU if has_mask else 0)
    epsilon = float(node.attributes["epsilon"])
    described = describe("batch_normalization_backward", BACKWARD, given, given, given, epsilon, flags, forward)
    vector = dense(np.dtype(np.float32), (channels,))
    operands = [reads(DIFF_DST, 0, given), reads(SRC, 1, given), reads(SCALE, 2, vector)]
    operands += [reads(MEAN, 3, vector), reads(VARIANCE, 4, vector)]
    operands += [writes(DIFF_SRC, 0, given), writes(DIFF_SCALE, 1, vector), writes(DIFF_SHIFT, 2, vector)]
    layouts: list[Layout | None] = [source, source, *_vectors(3, channels)]
    if len(node.inputs) > 5:
        mask = forward.workspace
        layouts.append(None if mask is None or not has_mask else _opaque(mask, node.y.shape))
        if mask is not None and has_mask:
            operands.append(reads(WORKSPACE, 5, mask))
    results: list[Layout | None] = [source, *_vectors(2, channels)]
    return PrimitiveKernel(described, layouts, results, operands, in_place=[(0, 0)])


def _is_last_axis(node: Node) -> bool:
    """Whether one axis is normalised, with a scale and shift of exactly its size (ONNX lets them broadcast).

    All but the data is float32, as oneDNN wants it whatever the data is.
    """
    is_gradient = node.op_type == "LayerNormalizationGradient"
    x = node.inputs[1] if is_gradient else node.inputs[0]
    if x is None or not (is_float32 if is_gradient else is_float)(node) or not 2 <= len(x.shape) <= 5:
        return False
    vectors = node.inputs[2:3] if is_gradient else node.inputs[1:3]
    small = [item for item in (*vectors, *node.outputs[1:]) if item is not None]
    if any(item.dtype != np.float32 for item in small):
        return False
    if any(item is not None and item.shape != x.shape[-1:] for item in vectors):
        return False
    if int(node.attributes.get("axis", -1)) % len(x.shape) != len(x.shape) - 1:
        return False
    wanted = [item is not None for item in node.outputs[1:]]
    return wanted == [True, True] or not any(wanted)


@kernel("", "LayerNormalization", accepts=_is_last_axis)
def lower_layer_normalization(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    source = plain(node.x.dtype, node.x.shape)
    given, vector = descriptor_of(source), dense(np.dtype(np.float32), node.x.shape[-1:])
    statistics = dense(np.dtype(np.float32), node.x.shape[:-1])
    has_shift = len(node.inputs) > 2 and node.inputs[2] is not None
    keeps = any(item is not None for item in node.outputs[1:])
    kind = FORWARD_TRAINING if keeps else FORWARD_INFERENCE
    epsilon = float(node.attributes.get("epsilon", 1e-5))
    flags = USE_SCALE | (USE_SHIFT if has_shift else 0)
    described = describe("layer_normalization_forward", kind, given, given, statistics, epsilon, flags)
    operands = [reads(SRC, 0, given), reads(SCALE, 1, vector), writes(DST, 0, given)]
    operands += [reads(SHIFT, 2, vector)] if has_shift else []
    layouts = [None if item is None else plain(item.dtype, item.shape) for item in node.inputs]
    results = [None if item is None else plain(item.dtype, item.shape) for item in node.outputs]
    if not keeps:
        return PrimitiveKernel(described, layouts, results, operands, in_place=[(0, 0)])
    operands += [writes(MEAN, 1, statistics), writes(VARIANCE, 2, statistics)]
    made = _InverseDeviation(described, layouts, results, operands)
    made.epsilon = epsilon
    return made


class _InverseDeviation(PrimitiveKernel):
    """Normalise, then turn the variance into the inverse standard deviation that ONNX asks for."""

    epsilon: float

    def bind(self, inputs: Sequence[Buffer | None], outputs: Sequence[Buffer | None], workspace: Buffer | None) -> Step:
        kept = outputs[2]
        assert kept is not None
        array, epsilon = kept.array, self.epsilon

        def invert() -> None:
            np.add(array, epsilon, out=array)
            np.sqrt(array, out=array)
            np.reciprocal(array, out=array)

        return _then(super().bind(inputs, outputs, workspace), invert)


_EPSILON = 1e-5  # any will do: the variance is handed over such that variance + epsilon is what the forward pass had


@kernel(TOOLKIT_DOMAIN, "LayerNormalizationGradient", accepts=_is_last_axis)
def lower_layer_normalization_gradient(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    x = node.inputs[1]
    assert x is not None
    given, vector = dense(x.dtype, x.shape), dense(x.dtype, x.shape[-1:])
    statistics = dense(x.dtype, x.shape[:-1])
    forward = describe("layer_normalization_forward", FORWARD_TRAINING, given, given, statistics, _EPSILON, _AFFINE)
    described = describe(
        "layer_normalization_backward", BACKWARD, given, given, given, statistics, _EPSILON, _AFFINE, forward
    )
    variance = np.empty(x.shape[:-1], np.float32)
    operands = [reads(DIFF_DST, 0, given), reads(SRC, 1, given), reads(SCALE, 2, vector), reads(MEAN, 3, statistics)]
    operands += [reads(SHIFT, 2, vector)]  # oneDNN insists on a shift whose values nothing depends on
    operands += [writes(DIFF_SRC, 0, given), writes(DIFF_SCALE, 1, vector), writes(DIFF_SHIFT, 2, vector)]
    layouts = [None if item is None else plain(item.dtype, item.shape) for item in node.inputs]
    results = [None if item is None else plain(item.dtype, item.shape) for item in node.outputs]
    fixed = {VARIANCE: (statistics, variance)}
    return _FromInverseDeviation(described, layouts, results, operands, in_place=[(0, 0)], fixed=fixed)


class _FromInverseDeviation(PrimitiveKernel):
    """Recover the variance from the inverse standard deviation, then propagate."""

    def bind(self, inputs: Sequence[Buffer | None], outputs: Sequence[Buffer | None], workspace: Buffer | None) -> Step:
        kept = inputs[4]
        assert kept is not None
        inverse, variance = kept.array.reshape(self.fixed[VARIANCE][1].shape), self.fixed[VARIANCE][1]
        propagate = super().bind(inputs, outputs, workspace)

        def run() -> Any:
            np.multiply(inverse, inverse, out=variance)
            np.reciprocal(variance, out=variance)
            np.subtract(variance, _EPSILON, out=variance)
            return propagate()

        return run
