"""Quantised arithmetic in float32: integers of 8 bits, and their sums, are numbers that float32 holds exactly.

A quantised tensor is kept as its distances from the zero point, so that padding is zero, and what works on it becomes
the operator on floats, which every backend has fast: sums of products of bytes are exact in float32 (up to 2^24; what
is beyond rounds by less than a step of any grid). The integers themselves are made only where somebody reads them.

Cases, for inference: QuantizeLinear, DequantizeLinear, QLinearConv and QLinearMatMul with one scale and a known zero
point for each activation; what QuantizeLinear and DequantizeLinear enclose (see ``pairs``); ConvInteger and
MatMulInteger whose sums float32 has exactly, and the Cast behind them; QLinearAdd; MaxPool and what moves elements
between them. Blocks, other types and zero points that data decides stay.
"""

from __future__ import annotations

import numpy as np

from toolkit.compiler.passes.dead_code import remove_dead_code
from toolkit.compiler.passes.quantised.pairs import Pairs
from toolkit.compiler.passes.quantised.tensors import (
    BYTES,
    FLOAT32,
    LARGEST_EXACT,
    MOVEMENT,
    Centred,
    Grids,
    Steps,
    bounds_of,
    is_of_bytes,
    moves_whole,
    weight_of,
    zero_point_of,
)
from toolkit.compiler.program import Node, Program, Variable
from toolkit.compiler.rewrite import Replacement, rewrite
from toolkit.operators.derivative import cast
from toolkit.operators.expression import TOOLKIT_DOMAIN, Expression, emit, reshape
from toolkit.operators.standard.convolution import canonical_convolution


def use_float_arithmetic(program: Program) -> None:
    """Apply the cases above."""
    found = _Rules(program)
    if rewrite(program, found.rule):
        remove_dead_code(program)


class _Rules(Grids):
    """The rules, with what is known of the tensors seen so far."""

    def __init__(self, program: Program) -> None:
        super().__init__(program)
        self._pairs = Pairs(self)
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

    def _quantize(self, node: Node) -> Replacement | None:
        x, scale, zero = (*node.inputs, None)[:3]
        one, zero_point = self.scale(scale), zero_point_of(zero)
        if node.x.dtype != FLOAT32 or node.y.dtype not in BYTES or one is None or zero_point is None or x is None:
            return None
        if node.attributes.get("block_size", 0) or node.attributes.get("precision", 0):
            return None
        found = self._pairs.within(x, scale, zero_point, node.y.dtype)
        if found is None:
            found = self.on_grid(self.program.expression(x), one, zero_point, node.y.dtype, times=False)
        return [found]

    def _dequantize(self, node: Node) -> Replacement | None:
        one, zero_point = self.scale(node.inputs[1]), zero_point_of((*node.inputs, None)[2])
        if node.x not in self.known or one is None or zero_point is None or node.y.dtype != FLOAT32:
            return None
        if node.attributes.get("block_size", 0):
            return None
        centred = Centred(self.centred(node.x, zero_point), zero_point)
        return [self.dequantised(Steps(centred, node.x.dtype, node.inputs[1], one))]

    def _convolution(self, node: Node) -> Replacement | None:
        x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero, *bias = node.inputs
        assert w is not None and w_scale is not None
        weight = weight_of(w, w_zero, 0)
        multiplier = self._multiplier(x_scale, w_scale, y_scale)
        zeros = zero_point_of(x_zero), zero_point_of(y_zero)
        if weight is None or multiplier is None or zeros[0] is None or zeros[1] is None or not is_of_bytes(node):
            return None
        if w_scale.size not in (1, w.shape[0]):
            return None
        assert x is not None
        sums = None if not bias or bias[0] is None else cast(self.program.expression(bias[0]), FLOAT32)
        geometry = canonical_convolution(node.attributes, x.shape, w.shape)
        operands = (self.centred(x, zeros[0]), self.program.constant(weight), sums, multiplier)
        settings = {**geometry, **bounds_of(zeros[1], node.y.dtype)}
        y = emit("GridConv", *operands, domain=TOOLKIT_DOMAIN, **settings)
        return [self.made(y, zeros[1], node.y.dtype)]

    def _product(self, node: Node) -> Replacement | None:
        a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero = node.inputs
        assert a is not None and b is not None and b_scale is not None
        multiplier = self._multiplier(a_scale, b_scale, y_scale)
        zeros = zero_point_of(a_zero), zero_point_of(y_zero)
        is_whole = b_scale.size == 1 or (len(b_scale.shape) == 1 and b_scale.shape[0] == b.shape[-1])
        if multiplier is None or zeros[0] is None or zeros[1] is None or not is_of_bytes(node) or not is_whole:
            return None
        weight, b_zero_point = weight_of(b, b_zero, -1), zero_point_of(b_zero)
        left = self.centred(a, zeros[0])
        if weight is not None:
            right = self.program.constant(weight)
        elif b_zero_point is not None and b.dtype in BYTES:
            right = self.centred(b, b_zero_point)
        else:
            return None
        scale = multiplier if multiplier.shape != (1,) else reshape(multiplier, ())
        return [self.on_grid(left @ right, scale, zeros[1], node.y.dtype, times=True)]

    def _multiplier(self, x: Variable | None, weight: Variable, y: Variable | None) -> Expression | None:
        """The scales of the factors by that of the result, one or one for each output, as a vector."""
        of_x, of_y = self.scale(x), self.scale(y)
        if of_x is None or of_y is None or weight.dtype != FLOAT32:
            return None
        return of_x * reshape(self.program.expression(weight), (weight.size,)) / of_y

    def _integer_sums(self, node: Node) -> Replacement | None:
        x, w, x_zero, w_zero = (*node.inputs, None, None)[:4]
        assert x is not None and w is not None
        is_convolution = node.op_type == "ConvInteger"
        weight = weight_of(w, w_zero, 0 if is_convolution else -1)
        if weight is None or x.dtype not in BYTES or (x_zero is not None and x_zero.size != 1):
            return None
        summed = tuple(range(1, weight.ndim)) if is_convolution else (-2,)
        if weight.ndim < 2 or 255 * np.abs(weight).sum(axis=summed, dtype=np.float64).max(initial=0) >= LARGEST_EXACT:
            return None
        zero_point = zero_point_of(x_zero)
        if zero_point is not None:
            left = self.centred(x, zero_point)
        else:
            assert x_zero is not None
            shift = cast(reshape(self.program.expression(x_zero), ()), FLOAT32)
            left = self.centred(x, 0) - shift
        right = self.program.constant(weight)
        y = emit("Conv", left, right, version=11, **node.attributes) if is_convolution else left @ right
        return [self.made(y, 0, node.y.dtype)]

    def _cast(self, node: Node) -> Replacement | None:
        known = self.known.get(node.x)
        if known is None or node.y.dtype != FLOAT32:
            return None
        return [self.centred(node.x, 0).variable]

    def _movement(self, node: Node) -> Replacement | None:
        """Of integers, or of what they were dequantised to: the scale comes behind it then."""
        known, steps = self.known.get(node.x), self.steps.get(node.x)
        centred = steps.centred if known is None and steps is not None else known
        if centred is None or not moves_whole(node):
            return None
        operands = [centred.value.variable, *node.inputs[1:]]
        made = self.program.append(
            node.op_type, operands, node.attributes, version=node.version, outputs=len(node.outputs)
        )
        moved = [centred._replace(value=self.program.expression(item)) for item in made.outputs if item is not None]
        if known is None and steps is not None:
            return [self.dequantised(steps._replace(centred=item)) for item in moved]
        return [self.made(item.value, item.zero_point, node.x.dtype) for item in moved]

    def _concat(self, node: Node) -> Replacement | None:
        parts = [None if item is None else self.known.get(item) for item in node.inputs]
        known = [item for item in parts if item is not None]
        if len(known) < len(parts) or any(item.zero_point != known[0].zero_point for item in known):
            return None
        value = emit("Concat", *[item.value for item in known], version=node.version, **node.attributes)
        return [self.made(value, known[0].zero_point, node.y.dtype)]

    def _sum(self, node: Node) -> Replacement | None:
        a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero = (*node.inputs, None)[:8]
        assert a is not None and b is not None
        scales = [self.scale(item) for item in (a_scale, b_scale, y_scale)]
        zeros = [zero_point_of(item) for item in (a_zero, b_zero, y_zero)]
        if not is_of_bytes(node) or None in zeros or any(item is None for item in scales):
            return None
        of_a, of_b, of_y = (item for item in scales if item is not None)
        left, right, at = (item for item in zeros if item is not None)
        total = self.centred(a, left) * of_a + self.centred(b, right) * of_b
        return [self.on_grid(total, of_y, at, node.y.dtype, times=False)]
