"""Matrix products with everything fused into them: scale, bias, residual, activation.

Two primitives serve them. ``inner_product`` multiplies by a matrix that is known beforehand, packed once in the
layout it asks for. ``matmul`` does the rest: batches, operands computed at run time, and all of training, where
packing a weight again after each update costs what it saves. Transposed operands are read through strides, never
copied.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from toolkit.backends.onednn.activation import behind_sums, completed, knows
from toolkit.backends.onednn.library import Handle
from toolkit.backends.onednn.memory import Descriptor, any_format, dense, layout_of
from toolkit.backends.onednn.primitive import (
    ADD,
    BIAS,
    DST,
    FORWARD_INFERENCE,
    LINEAR,
    SCALES,
    SRC,
    WEIGHTS,
    Binary,
    Eltwise,
    Operand,
    PostOp,
    PrimitiveDescriptor,
    PrimitiveKernel,
    Sum,
    attributes,
    later_implementation,
    post_operand,
    reads,
    try_describe,
    writes,
)
from toolkit.backends.onednn.registry import FLOAT32, is_float, kernel
from toolkit.backends.protocol import Kernel, Layout, Resources, plain
from toolkit.compiler.known import is_static
from toolkit.compiler.program import Node, Variable
from toolkit.errors import BackendError
from toolkit.operators.expression import TOOLKIT_DOMAIN

Shape = tuple[int, ...]

# Without AVX-512 the library's kernel for packed weights reads them again for each block of rows, while its general
# product copies rows and columns into the caches first. That gains a tenth to a quarter once a weight outgrows the
# second-level cache and the rows repay the copies. Weights are copied from columns that lie densely: many rows repay
# other strides too, so that those weights stay where the file has them.
BY_BLOCKS = "brgemm:avx2"
MANY_ROWS, VERY_MANY_ROWS, LARGE_WEIGHT = 96, 512, 1 << 20

# With AVX-512 it reads a matrix in rows where it lies, and turns one in columns into packed blocks. Where rows lie far
# apart the general product, which copies both factors, is faster: five to ten percent for the gradients of layers.
IN_PLACE, BY_COPIES = "brg:avx512_core", "gemm:jit:f32"
LEAST_COPIED = 64  # rows, columns, and products for a sum


def _accepts(node: Node) -> bool:
    ranks = [len(item.shape) for item in node.inputs[:2] if item is not None]
    if not is_float(node) or len(ranks) != 2 or min(ranks) < 2 or not knows(node.attributes):
        return False
    usual = (node.y.shape, node.y.shape[-1:])
    if all(item is None or item.shape in usual for item in node.inputs[2:]):
        return True
    described = _Product(node, [None] * len(node.inputs), training=False).choose().described
    return described is not None and not described.is_reference


@kernel("", "MatMul", accepts=_accepts)
@kernel(TOOLKIT_DOMAIN, "FusedMatMul", accepts=_accepts)
def matrix_product(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """``activation(alpha * a @ b + bias + residual)``; an inference residual is overwritten by the result."""
    return _Product(node, inputs, resources.training).kernel()


@dataclass(frozen=True, slots=True)
class _Addend:
    """A tensor added to the product: input ``index``, and its sizes lined up with the product's axes."""

    index: int
    variable: Variable
    shape: Shape


@dataclass(frozen=True, slots=True)
class _Choice:
    """A primitive, whether its weight has the last two axes of ``b`` the other way round, and what is added by it."""

    described: PrimitiveDescriptor | None
    is_turned: bool
    bias: _Addend | None
    accumulates: tuple[int, int] | None
    scales: bool


class _Product:
    """One node on its way to a kernel: first the sizes oneDNN is told, then the operands, then the primitive."""

    def __init__(self, node: Node, inputs: Sequence[Layout | None], training: bool) -> None:
        a, b = node.inputs[:2]
        assert a is not None
        assert b is not None
        self.node, self.given, self.training = node, inputs, training
        self.a, self.b, self.result = a, b, node.y.shape
        self.trans_a, self.trans_b = bool(node.attributes.get("transA")), bool(node.attributes.get("transB"))
        self.swaps = [bool(node.attributes.get(name)) for name in ("swapA", "swapB", "swapY")]
        self.alpha = float(node.attributes.get("alpha", 1.0))
        self.operands: list[Operand] = []
        self.layouts: list[Layout | None] = [None] * len(node.inputs)
        self.addends = self._addends()
        self.is_flat = self._is_flat()
        if self.is_flat:
            self._flatten()

    def _addends(self) -> list[_Addend]:
        rank = len(self.result)
        return [
            _Addend(index, item, (1,) * (rank - len(item.shape)) + item.shape)
            for index, item in enumerate(self.node.inputs[2:4], start=2)
            if item is not None
        ]

    def _is_flat(self) -> bool:
        """Whether all rows of all batches meet the same matrix, so that one product of two matrices does it."""
        if len(self.result) == 2 or any(size != 1 for size in self.b.shape[:-2]) or self.trans_a or any(self.swaps):
            return len(self.result) == 2
        same_rows = len(self.a.shape) == len(self.result)
        return same_rows and all(_flat(item.shape, self.result) is not None for item in self.addends)

    def _flatten(self) -> None:
        self.addends = [
            _Addend(item.index, item.variable, _flat(item.shape, self.result) or item.shape) for item in self.addends
        ]
        rows = 1
        for size in self.result[:-1]:
            rows *= size
        self.result = (rows, self.result[-1])

    def kernel(self) -> Kernel:
        """The node lowered. Raises ``BackendError`` where the library has nothing."""
        choice = self.choose()
        described = choice.described
        if described is None:
            raise BackendError(f"oneDNN has no matrix product for {self.node}; choose the backend 'numpy' for it.")
        weights = described.argument(WEIGHTS)
        self.operands += [reads(WEIGHTS, 1, weights), writes(DST, 0, described.argument(DST))]
        weights = _turned(weights) if choice.is_turned else weights
        self.layouts[1] = layout_of(_swapped(weights) if self.swaps[1] else weights, self.b.shape)
        if choice.bias is not None:
            self.layouts[choice.bias.index] = plain(choice.bias.variable.dtype, choice.bias.variable.shape)
            self.operands.append(reads(BIAS, choice.bias.index, described.argument(BIAS)))
        outputs = [plain(self.node.y.dtype, self.node.y.shape)]
        fixed = {SCALES | SRC: (dense(FLOAT32, (1,)), np.full(1, self.alpha, np.float32))} if choice.scales else None
        accumulates = choice.accumulates
        made = PrimitiveKernel(described, self.layouts, outputs, self.operands, accumulates=accumulates, fixed=fixed)
        return completed(made, self.node)

    def choose(self) -> _Choice:
        """The fastest way to do it; a residual is overwritten in training too where reading it would be slow."""
        choice = self._try(scales=self.alpha != 1.0)
        if self.alpha != 1.0 and (choice.described is None or choice.described.is_reference):
            choice = self._try()
        slow = choice.described is None or choice.described.is_reference
        if slow and self.training and any(item.shape == self.result for item in self.addends):
            choice = self._try(overwrite=True)
        return choice

    def _as_product(self, descriptor: Descriptor) -> Descriptor:
        """What lies as the result does, in the order of the product's axes."""
        return _swapped(descriptor) if self.swaps[2] else descriptor

    def _try(self, overwrite: bool = False, scales: bool = False) -> _Choice:
        """``scales`` multiplies by alpha in the product itself, where the library can, instead of behind it."""
        behind = 1.0 if scales else self.alpha
        bias, post_ops, accumulates = self._after(overwrite, behind)
        target = self._as_product(dense(self.node.y.dtype, self.result))
        masks = {SRC: 0} if scales else None
        described, is_turned = self._describe(target, bias, attributes(post_ops, masks))
        return _Choice(described, is_turned, bias, accumulates, scales)

    # what follows the product -----------------------------------------------------------------------------------------

    def _after(self, overwrite: bool, alpha: float) -> tuple[_Addend | None, list[PostOp], tuple[int, int] | None]:
        """The addend that the primitive takes as its bias, the post-ops, and the input that the result overwrites.

        A scale ``alpha`` among them must come before anything is added, so with one the bias becomes a post-op too. In
        training a residual is usually needed again, so it is read from where it lies unless ``overwrite`` asks
        otherwise.
        """
        bias: _Addend | None = None
        accumulates = None
        sums: list[PostOp] = []
        others: list[PostOp] = [] if alpha == 1.0 else [Eltwise(LINEAR, alpha, 0.0)]
        added: list[_Addend] = []
        self.operands = []
        for item in self.addends:
            is_vector = item.shape == (1,) * (len(self.result) - 1) + self.result[-1:]
            if is_vector and bias is None and alpha == 1.0:
                bias = item
            elif self._may_overwrite(item, overwrite) and accumulates is None and alpha:
                accumulates = (0, item.index)
                sums.append(Sum(1.0 / alpha))
                self.layouts[item.index] = plain(item.variable.dtype, item.variable.shape)
            else:
                added.append(item)
        for item in added:
            descriptor = self._as_product(dense(item.variable.dtype, item.shape))
            self.operands.append(reads(post_operand(len(sums) + len(others)), item.index, descriptor))
            self.layouts[item.index] = plain(item.variable.dtype, item.variable.shape)
            others.append(Binary(ADD, descriptor))
        return bias, [*sums, *others, *behind_sums(self.node)], accumulates

    def _may_overwrite(self, item: _Addend, overwrite: bool) -> bool:
        """Whether the result may take the memory of what is added to it."""
        is_alike = item.shape == self.result and item.variable.dtype == self.node.y.dtype
        return is_alike and (overwrite or not self.training)

    # the primitive ----------------------------------------------------------------------------------------------------

    def _describe(
        self, target: Descriptor, bias: _Addend | None, attribute: Handle
    ) -> tuple[PrimitiveDescriptor | None, bool]:
        """The primitive, and whether its weight has the last two axes of ``b`` the other way round."""
        if self.is_flat and is_static(self.b) and not self.training:
            source = self._operand(0, self.a, self.trans_a)
            if source.is_row_major():
                self.operands.append(reads(SRC, 0, source))
                vector = None if bias is None else dense(bias.variable.dtype, self.result[1:])
                return self._inner_product(source, vector, target, attribute), not self.trans_b
        source, weights = self._operand(0, self.a, self.trans_a), self._operand(1, self.b, self.trans_b)
        self.operands.append(reads(SRC, 0, source))
        row = None if bias is None else dense(bias.variable.dtype, bias.shape)

        def found() -> PrimitiveDescriptor | None:
            return try_describe("matmul", source, weights, row, target, attribute=attribute)

        described = found()
        if described is not None and described.implementation == IN_PLACE and self._repays_copies():
            described = later_implementation(described, BY_COPIES) or found()
        return described, self.trans_b

    def _repays_copies(self) -> bool:
        """Whether the node is nothing but a large product with a matrix that lies in rows."""
        is_bare = not self.addends and not self.node.attributes.get("activation")
        is_large = min(*self.result[-2:], *self.b.shape[-2:]) >= LEAST_COPIED
        return is_bare and is_large and self.is_flat and not self.trans_b and self.alpha == 1.0

    def _inner_product(
        self, source: Descriptor, bias: Descriptor | None, target: Descriptor, attribute: Handle
    ) -> PrimitiveDescriptor | None:
        """The product with a known matrix: packed, or row-major where the library multiplies faster by that."""
        rows, shape, dtype = source.shape[0], (self.result[1], source.shape[1]), self.b.dtype

        def found(weights: Descriptor) -> PrimitiveDescriptor | None:
            arguments = (FORWARD_INFERENCE, source, weights, bias, target)
            return try_describe("inner_product_forward", *arguments, attribute=attribute)

        packed = found(any_format(dtype, shape))
        is_large = shape[0] * shape[1] * dtype.itemsize >= LARGE_WEIGHT
        if packed is None or packed.implementation != BY_BLOCKS or rows < MANY_ROWS or not is_large:
            return packed
        as_given = rows >= VERY_MANY_ROWS and not self.trans_b
        return found(_turned(dense(dtype, shape[::-1])) if as_given else dense(dtype, shape)) or packed

    def _operand(self, index: int, variable: Variable, transposed: bool) -> Descriptor:
        """A factor as a stack of matrices where they lie, turned through strides; row-major if they are blocked."""
        layout = self.given[index]
        shape = variable.shape
        if layout is not None and not layout.is_plain and not self.is_flat and _is_strided(layout.opaque, shape):
            descriptor = layout.opaque
        else:
            layout, descriptor = plain(variable.dtype, shape), dense(variable.dtype, shape)
        wanted = (1,) * (len(self.result) - len(shape)) + shape
        if self.is_flat:
            wanted = (shape[-2], shape[-1]) if index or self.trans_a else (self.result[0], shape[-1])
        viewed = descriptor.reshaped(wanted)
        if viewed is None:
            layout, viewed = plain(variable.dtype, shape), dense(variable.dtype, wanted)
        self.layouts[index] = layout
        viewed = _swapped(viewed) if self.swaps[index] else viewed
        return _turned(viewed) if transposed else viewed


def _flat(shape: Shape, result: Shape) -> Shape | None:
    """``shape`` (aligned with ``result``) with the axes before the last joined; ``None`` if it broadcasts there."""
    lead = shape[:-1]
    if lead == result[:-1]:
        rows = 1
        for size in lead:
            rows *= size
        return rows, shape[-1]
    return (1, shape[-1]) if all(size == 1 for size in lead) else None


def _swapped(descriptor: Descriptor) -> Descriptor:
    axes = list(range(descriptor.rank))
    return descriptor.permuted([*axes[:-3], axes[-2], axes[-3], axes[-1]])


def _turned(descriptor: Descriptor) -> Descriptor:
    axes = list(range(descriptor.rank))
    return descriptor.permuted([*axes[:-2], axes[-1], axes[-2]])


def _is_strided(descriptor: Descriptor, shape: Shape) -> bool:
    """Whether rows or columns lie densely, with a single stride for each axis."""
    loops = descriptor.loops
    if loops is None or descriptor.shape != shape:
        return False
    axes = [axis for axis, _, _ in loops]
    extents = {axis: extent for axis, extent, _ in loops}
    whole = all(extents.get(axis, 1) == size for axis, size in enumerate(shape))
    return whole and len(axes) == len(extents) and bool(loops) and loops[-1][0] >= len(shape) - 2
