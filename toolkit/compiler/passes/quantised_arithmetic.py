"""Quantised arithmetic in float32: integers of 8 bits, and their sums, are numbers that float32 holds exactly.

A quantised tensor is kept as its distances from the zero point, so that padding is zero, and what works on it becomes
the operator on floats, which every backend has fast: sums of products of bytes are exact in float32 (up to 2^24; what
is beyond rounds by less than a step of any grid). The integers themselves are made only where somebody reads them.

Cases, for inference: QuantizeLinear, DequantizeLinear, QLinearConv and QLinearMatMul with one scale and a known zero
point for each activation; ConvInteger and MatMulInteger whose sums float32 has exactly, and the Cast behind them;
QLinearAdd; MaxPool and what moves elements between them. Blocks, other types and zero points that data decides stay.
"""

from __future__ import annotations

from math import prod
from typing import Any, NamedTuple

import numpy as np

from toolkit.compiler.passes.dead_code import remove_dead_code
from toolkit.compiler.program import Node, Program, Variable
from toolkit.compiler.rewrite import Replacement, rewrite
from toolkit.operators.derivative import cast
from toolkit.operators.expression import TOOLKIT_DOMAIN, Expression, emit, reshape
from toolkit.operators.standard.convolution import canonical_convolution

FLOAT32 = np.dtype(np.float32)
BYTES = (np.dtype(np.uint8), np.dtype(np.int8))
MOVEMENT = (
    "Flatten",
    "Gather",
    "Identity",
    "MaxPool",
    "Reshape",
    "Slice",
    "Split",
    "Squeeze",
    "Transpose",
    "Unsqueeze",
)
LARGEST_EXACT = 1 << 24


class Centred(NamedTuple):
    """Integers as float32: ``value`` is their distance from ``zero_point``."""

    value: Expression
    zero_point: int


def use_float_arithmetic(program: Program) -> None:
    """Apply the cases above."""
    found = _Rules(program)
    if rewrite(program, found.rule):
        remove_dead_code(program)


class _Rules:
    """The rules, with what is known of the tensors seen so far."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.known: dict[Variable, Centred] = {}
        self._by_operator = {
            ("", "QuantizeLinear"): self._quantize,
            ("", "DequantizeLinear"): self._dequantize,
            ("", "QLinearConv"): self._convolution,
            ("", "QLinearMatMul"): self._product,
            ("", "ConvInteger"): self._integer_sums,
            ("", "MatMulInteger"): self._integer_sums,
            ("", "Cast"): self._cast,
            ("", "Concat"): self._concat,
            ("com.microsoft", "QLinearAdd"): self._sum,
            **{("", name): self._movement for name in MOVEMENT},
        }

    def rule(self, node: Node) -> Replacement | None:
        """What stands for the outputs of a node, ``None`` to keep it."""
        apply = self._by_operator.get((node.domain, node.op_type))
        return None if apply is None or node.role != "forward" else apply(node)

    # what tensors are -------------------------------------------------------------------------------------------------

    def _centred(self, variable: Variable, zero_point: int) -> Expression:
        """The distances of a tensor from a zero point."""
        known = self.known.get(variable)
        if known is not None:
            return known.value if known.zero_point == zero_point else known.value + float(known.zero_point - zero_point)
        if variable.constant is not None:
            return self.program.constant(variable.constant.astype(FLOAT32) - FLOAT32.type(zero_point))
        floats = cast(self.program.expression(variable), FLOAT32)
        return floats - float(zero_point) if zero_point else floats

    def _made(self, value: Expression, zero_point: int, dtype: np.dtype) -> Variable:
        """A tensor of integers that ``value`` centres; nothing computes it unless it is read."""
        shifted = value + float(zero_point) if zero_point else value
        variable: Variable = cast(shifted, dtype).variable
        self.known[variable] = Centred(value, zero_point)
        return variable

    def _on_grid(self, x: Expression, scale: Expression, zero_point: int, dtype: np.dtype, times: bool) -> Variable:
        """The integers nearest to ``x`` in steps of ``scale``, or ``times`` it."""
        bounds = _bounds(zero_point, dtype)
        steps = emit("OnGrid", x, scale, domain=TOOLKIT_DOMAIN, is_multiplied=int(times), **bounds)
        return self._made(steps, zero_point, dtype)

    def _scale(self, variable: Variable | None) -> Expression | None:
        """A scale of a whole tensor as a scalar."""
        if variable is None or variable.size != 1 or variable.dtype != FLOAT32:
            return None
        return reshape(self.program.expression(variable), ())

    # rules ------------------------------------------------------------------------------------------------------------

    def _quantize(self, node: Node) -> Replacement | None:
        x, scale, zero = (*node.inputs, None)[:3]
        one, zero_point = self._scale(scale), _zero_point(zero)
        if node.x.dtype != FLOAT32 or node.y.dtype not in BYTES or one is None or zero_point is None or x is None:
            return None
        if node.attributes.get("block_size", 0) or node.attributes.get("precision", 0):
            return None
        return [self._on_grid(self.program.expression(x), one, zero_point, node.y.dtype, times=False)]

    def _dequantize(self, node: Node) -> Replacement | None:
        one, zero_point = self._scale(node.inputs[1]), _zero_point((*node.inputs, None)[2])
        if node.x not in self.known or one is None or zero_point is None or node.y.dtype != FLOAT32:
            return None
        if node.attributes.get("block_size", 0):
            return None
        return [(self._centred(node.x, zero_point) * one).variable]

    def _convolution(self, node: Node) -> Replacement | None:
        x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero, *bias = node.inputs
        assert w is not None and w_scale is not None
        weight = _weight(w, w_zero, 0)
        multiplier = self._multiplier(x_scale, w_scale, y_scale)
        zeros = _zero_point(x_zero), _zero_point(y_zero)
        if weight is None or multiplier is None or zeros[0] is None or zeros[1] is None or not _is_of_bytes(node):
            return None
        if w_scale.size not in (1, w.shape[0]):
            return None
        assert x is not None
        sums = None if not bias or bias[0] is None else cast(self.program.expression(bias[0]), FLOAT32)
        geometry = canonical_convolution(node.attributes, x.shape, w.shape)
        operands = (self._centred(x, zeros[0]), self.program.constant(weight), sums, multiplier)
        settings = {**geometry, **_bounds(zeros[1], node.y.dtype)}
        y = emit("GridConv", *operands, domain=TOOLKIT_DOMAIN, **settings)
        return [self._made(y, zeros[1], node.y.dtype)]

    def _product(self, node: Node) -> Replacement | None:
        a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero = node.inputs
        assert a is not None and b is not None and b_scale is not None
        multiplier = self._multiplier(a_scale, b_scale, y_scale)
        zeros = _zero_point(a_zero), _zero_point(y_zero)
        is_whole = b_scale.size == 1 or (len(b_scale.shape) == 1 and b_scale.shape[0] == b.shape[-1])
        if multiplier is None or zeros[0] is None or zeros[1] is None or not _is_of_bytes(node) or not is_whole:
            return None
        weight, b_zero_point = _weight(b, b_zero, -1), _zero_point(b_zero)
        left = self._centred(a, zeros[0])
        if weight is not None:
            right = self.program.constant(weight)
        elif b_zero_point is not None and b.dtype in BYTES:
            right = self._centred(b, b_zero_point)
        else:
            return None
        scale = multiplier if multiplier.shape != (1,) else reshape(multiplier, ())
        return [self._on_grid(left @ right, scale, zeros[1], node.y.dtype, times=True)]

    def _multiplier(self, x: Variable | None, weight: Variable, y: Variable | None) -> Expression | None:
        """The scales of the factors by that of the result, one or one for each output, as a vector."""
        of_x, of_y = self._scale(x), self._scale(y)
        if of_x is None or of_y is None or weight.dtype != FLOAT32:
            return None
        return of_x * reshape(self.program.expression(weight), (weight.size,)) / of_y

    def _integer_sums(self, node: Node) -> Replacement | None:
        x, w, x_zero, w_zero = (*node.inputs, None, None)[:4]
        assert x is not None and w is not None
        is_convolution = node.op_type == "ConvInteger"
        weight = _weight(w, w_zero, 0 if is_convolution else -1)
        if weight is None or x.dtype not in BYTES or (x_zero is not None and x_zero.size != 1):
            return None
        summed = tuple(range(1, weight.ndim)) if is_convolution else (-2,)
        if weight.ndim < 2 or 255 * np.abs(weight).sum(axis=summed, dtype=np.float64).max(initial=0) >= LARGEST_EXACT:
            return None
        zero_point = _zero_point(x_zero)
        if zero_point is not None:
            left = self._centred(x, zero_point)
        else:
            assert x_zero is not None
            shift = cast(reshape(self.program.expression(x_zero), ()), FLOAT32)
            left = self._centred(x, 0) - shift
        right = self.program.constant(weight)
        y = emit("Conv", left, right, version=11, **node.attributes) if is_convolution else left @ right
        return [self._made(y, 0, node.y.dtype)]

    def _cast(self, node: Node) -> Replacement | None:
        known = self.known.get(node.x)
        if known is None or node.y.dtype != FLOAT32:
            return None
        return [self._centred(node.x, 0).variable]

    def _movement(self, node: Node) -> Replacement | None:
        known = self.known.get(node.x)
        if known is None or any(item is None for item in node.outputs) or (node.op_type == "MaxPool" and _pads(node)):
            return None
        if node.op_type == "MaxPool" and len(node.outputs) > 1:
            return None
        operands = [known.value.variable, *node.inputs[1:]]
        made = self.program.append(
            node.op_type, operands, node.attributes, version=node.version, outputs=len(node.outputs)
        )
        values = [self.program.expression(item) for item in made.outputs if item is not None]
        return [self._made(value, known.zero_point, node.x.dtype) for value in values]

    def _concat(self, node: Node) -> Replacement | None:
        parts = [None if item is None else self.known.get(item) for item in node.inputs]
        known = [item for item in parts if item is not None]
        if len(known) < len(parts) or any(item.zero_point != known[0].zero_point for item in known):
            return None
        value = emit("Concat", *[item.value for item in known], version=node.version, **node.attributes)
        return [self._made(value, known[0].zero_point, node.y.dtype)]

    def _sum(self, node: Node) -> Replacement | None:
        a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero = (*node.inputs, None)[:8]
        assert a is not None and b is not None
        scales = [self._scale(item) for item in (a_scale, b_scale, y_scale)]
        zeros = [_zero_point(item) for item in (a_zero, b_zero, y_zero)]
        if not _is_of_bytes(node) or None in zeros or any(item is None for item in scales):
            return None
        of_a, of_b, of_y = (item for item in scales if item is not None)
        left, right, at = (item for item in zeros if item is not None)
        total = self._centred(a, left) * of_a + self._centred(b, right) * of_b
        return [self._on_grid(total, of_y, at, node.y.dtype, times=False)]


def _bounds(zero_point: int, dtype: np.dtype) -> dict[str, Any]:
    """The limits of a type, as distances from a zero point."""
    limits = np.iinfo(dtype)
    return {"low": float(limits.min - zero_point), "high": float(limits.max - zero_point)}


def _is_of_bytes(node: Node) -> bool:
    """Whether a node takes and gives integers of 8 bits."""
    return node.x.dtype in BYTES and node.y.dtype in BYTES and prod(node.y.shape) > 0


def _zero_point(variable: Variable | None) -> int | None:
    """A known zero point of a whole tensor, 0 where there is none; ``None`` where it is not one known number."""
    if variable is None:
        return 0
    known = variable.constant
    return int(known.reshape(-1)[0]) if known is not None and known.size == 1 and known.dtype.kind in "iu" else None


def _weight(variable: Variable, zero_point: Variable | None, axis: int) -> Any:
    """A known weight above its zero points, one or one for each index of ``axis``; ``None`` where it has others."""
    if variable.constant is None or variable.dtype not in BYTES:
        return None
    weight = variable.constant.astype(FLOAT32)
    if zero_point is None:
        return weight
    if zero_point.constant is None or zero_point.size not in (1, weight.shape[axis]):
        return None
    shape = [1] * weight.ndim
    shape[axis] = zero_point.size
    return weight - zero_point.constant.reshape(shape).astype(FLOAT32)


def _pads(node: Node) -> bool:
    """Whether a window may see nothing but padding, whose value is that of the integers' type."""
    kernel, pads = node.attributes.get("kernel_shape", ()), node.attributes.get("pads") or ()
    return any(pad >= size for pad, size in zip(pads, (*kernel, *kernel), strict=False))
