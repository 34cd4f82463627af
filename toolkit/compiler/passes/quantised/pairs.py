"""What stands between DequantizeLinear and QuantizeLinear, computed on integers.

Cases, where nobody else reads what lies between:

- Conv, Gemm and MatMul of a dequantised tensor and a dequantised weight, with Relu or Clip behind: sums of integers, on
  the grid of the result, whose limits an activation narrows;
- what moves elements: the grid changes first, and not at all where it is the same.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from toolkit.compiler.known import settled_content
from toolkit.compiler.passes.quantised.tensors import (
    FLOAT32,
    MOVEMENT,
    Factor,
    Grids,
    Steps,
    before_activation,
    bounds_of,
    factor_of,
    moves_whole,
    steps_of,
)
from toolkit.compiler.program import Node, Variable
from toolkit.compiler.rewrite import use_counts
from toolkit.operators.expression import TOOLKIT_DOMAIN, Expression, emit
from toolkit.operators.standard.convolution import canonical_convolution

FAR = 8  # nodes that only move elements, one behind the other
MOVED = tuple(name for name in MOVEMENT if name != "Split")
Bounds = dict[str, float]


class Pairs:
    """The cases above, for the tensors that ``grids`` knows."""

    def __init__(self, grids: Grids) -> None:
        self.grids, self.program = grids, grids.program
        self._uses = use_counts(grids.program)

    def within(self, x: Variable, scale: Variable | None, zero_point: int, dtype: np.dtype) -> Variable | None:
        """The integers of ``x``, which QuantizeLinear reads; ``None`` where nothing above applies."""
        bounds = bounds_of(zero_point, dtype)
        found = self._sums(x, scale, bounds)
        if found is None and self._is_moved(x, FAR):
            found = self._regridded(x, scale, bounds)
        return None if found is None else self.grids.made(found, zero_point, dtype)

    # sums -------------------------------------------------------------------------------------------------------------

    def _sums(self, x: Variable, scale: Variable | None, bounds: Bounds) -> Expression | None:
        step = None if scale is None else settled_content(self.program, scale)
        if step is None or not step.reshape(-1)[0] > 0:
            return None
        size = float(step.reshape(-1)[0])
        source, bounds = before_activation(x, size, bounds, self._uses)
        node = source.producer
        if node is None or node.domain or self._uses[source] != 1 or node.x not in self.grids.steps:
            return None
        given = self.grids.steps[node.x]
        one = settled_content(self.program, given.one.variable)
        factor = factor_of(self.program, node)
        if one is None or factor is None:
            return None
        per_sum = float(one.reshape(-1)[0]) * factor.steps.astype(np.float64)
        if not (per_sum > 0).all():
            return None
        bias = self._bias(node, per_sum)
        if bias is None:
            return None
        multiplier = (per_sum / size).astype(FLOAT32)
        if node.op_type == "Conv":
            return self._convolution(node, given, factor, bias, multiplier, bounds)
        sums = given.centred.value @ self.program.constant(factor.integers)
        if bias.size:
            sums = sums + self.program.constant(bias)
        times = multiplier if multiplier.size > 1 else multiplier.reshape(())
        return steps_of(sums, self.program.constant(times), bounds, times=True)

    def _convolution(
        self, node: Node, given: Steps, factor: Factor, bias: np.ndarray, multiplier: np.ndarray, bounds: Bounds
    ) -> Expression:
        known = self.program.constant
        operands = (given.centred.value, known(factor.integers), known(bias) if bias.size else None, known(multiplier))
        settings = {**canonical_convolution(node.attributes, node.x.shape, factor.integers.shape), **bounds}
        found: Expression = emit("GridConv", *operands, domain=TOOLKIT_DOMAIN, **settings)
        return found

    def _bias(self, node: Node, per_sum: np.ndarray) -> np.ndarray | None:
        """The bias as a number of sums, empty where there is none; ``None`` where it is not known, or no vector."""
        item = node.inputs[2] if len(node.inputs) > 2 else None
        if item is None:
            return np.zeros(0, FLOAT32)
        known = settled_content(self.program, item)
        outputs = node.y.shape[1 if node.op_type == "Conv" else -1]
        if known is None or known.size != outputs or known.shape[-1:] != (outputs,):
            return None
        found: np.ndarray = (known.reshape(-1) / per_sum).astype(FLOAT32)
        return found

    # movement ---------------------------------------------------------------------------------------------------------

    def _is_moved(self, x: Variable, depth: int) -> bool:
        """Whether ``x`` is made of dequantised tensors, of one at least, by moving their elements."""
        if x in self.grids.steps:
            return True
        return any(self._is_moved(item, depth - 1) for item in self._sources(x)) if depth else False

    def _sources(self, x: Variable) -> list[Variable]:
        """The tensors whose elements ``x`` has, if nobody else reads it; none where it is computed."""
        node = x.producer
        if node is None or node.domain or self._uses[x] != 1:
            return []
        if node.op_type == "Concat":
            return [item for item in node.inputs if item is not None]
        return [node.x] if node.op_type in MOVED and moves_whole(node) else []

    def _regridded(self, x: Variable, scale: Variable | None, bounds: Bounds) -> Expression:
        given = self.grids.steps.get(x)
        is_on_it = given is not None and bounds_of(given.centred.zero_point, given.dtype) == bounds
        if given is not None and is_on_it and self._is_same(given.scale, scale):
            return given.centred.value
        sources = self._sources(x)
        if given is not None or not sources:
            one = self.grids.scale(scale)
            assert one is not None
            return steps_of(self.program.expression(x), one, bounds)
        node = x.producer
        assert node is not None
        moved: list[Any] = [self._regridded(item, scale, bounds).variable for item in sources]
        operands = [*moved, *node.inputs[len(moved) :]]
        made = self.program.append(node.op_type, operands, node.attributes, version=node.version, layer=node.layer)
        return self.program.expression(made.y)

    def _is_same(self, one: Variable | None, other: Variable | None) -> bool:
        if one is None or other is None or one is other:
            return one is other
        known = [settled_content(self.program, item) for item in (one, other)]
        return known[0] is not None and known[1] is not None and known[0].reshape(-1)[0] == known[1].reshape(-1)[0]
