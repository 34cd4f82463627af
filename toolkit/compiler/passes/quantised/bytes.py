"""Quantised arithmetic on bytes, where the first backend multiplies them: the last word on what floats held so far.

A tensor of whole numbers between two limits, at most 255 apart, is held as unsigned bytes, counted from the lower one.
Cases, each only where the backend has a kernel:

- GridConv, convolutions and products of such a tensor and a known weight of signed bytes;
- what moves elements;
- OnGrid before them becomes QuantizeLinear; behind bytes it becomes Regrid, and behind a product of bytes, or its sum
  with other bytes, part of it;
- Mul by a number behind a product that nobody else reads becomes part of it, else DequantizeLinear;
- products of bytes above a zero point that the data tells, which comes off the sums, and Mul by the scales behind them.

Everything else reads the tensor as floats, which are made from the bytes where somebody does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from toolkit.compiler.known import is_static, settled_content
from toolkit.compiler.passes.dead_code import remove_dead_code
from toolkit.compiler.passes.fusion import fuse
from toolkit.compiler.passes.quantised.demand import CONVOLUTIONS, PRODUCTS, byte_factor, is_product, wanted_in
from toolkit.compiler.passes.quantised.tensors import (
    FLOAT32,
    LARGEST_EXACT,
    MOVEMENT,
    before_activation,
    moves_whole,
)
from toolkit.compiler.placement import Candidate
from toolkit.compiler.program import Node, Program, Variable
from toolkit.compiler.rewrite import Replacement, rewrite, use_counts
from toolkit.compiler.work import products
from toolkit.operators.derivative import cast
from toolkit.operators.expression import TOOLKIT_DOMAIN, Expression, emit, reshape
from toolkit.operators.standard.convolution import GEOMETRY

UINT8 = np.dtype(np.uint8)
LARGEST = 255
PAIR_VERSION = 13  # of QuantizeLinear and DequantizeLinear: all that one scale needs
LEAST_PRODUCTS = 1 << 20  # multiplications of a layer; small ones are quicker in compiled kernels of floats


class Multiplying(Candidate, Protocol):
    """What the pass has to know of a backend."""

    multiplies_bytes: bool


class Held(NamedTuple):
    """Whole numbers as ``data``, bytes counted from ``low``; ``uses`` is how often the floats are read."""

    data: Variable
    low: float
    high: float
    uses: int


class Scaled(NamedTuple):
    """Floats that are ``held`` times ``scale``."""

    held: Held
    scale: float
    uses: int


class _Sums(NamedTuple):
    """A product of bytes: ``operands`` are those of its node, ``bias`` is added to the integers."""

    op_type: str
    settings: dict[str, Any]
    held: Held
    weight: np.ndarray
    multiplier: np.ndarray
    bias: np.ndarray | None


def hold_bytes(program: Program, backends: Sequence[Multiplying], least: float = LEAST_PRODUCTS) -> None:
    """Apply the above, where products multiply at least so often on average that they repay what is around them."""
    if not backends or not backends[0].multiplies_bytes or not any(map(_is_of_bytes, program.nodes)):
        return
    work = [products(node) for node in program.nodes if is_product(node) and byte_factor(program, node) is not None]
    if not work or sum(work) < least * len(work):
        return
    rewrite(program, lambda node: _without_scale(program, node))
    rules = _Rules(program, backends[0].supports)
    rewrite(program, rules.rule)
    remove_dead_code(program)
    fuse(program, training=False)


def _is_of_bytes(node: Node) -> bool:
    """Whether what a node gives may be held as bytes, whatever it is made of: where none is, no weight is looked at."""
    return node.op_type == "OnGrid" or (node.op_type == "Cast" and node.x.dtype == UINT8)


def _without_scale(program: Program, node: Node) -> Replacement | None:
    """The scale of a convolution's grid as a node of its own, where it may become part of something else."""
    if node.op_type != "GridConv" or len(node.inputs) < 5 or node.inputs[4] is None:
        return None
    made = program.append(node.op_type, node.inputs[:4], node.attributes, domain=TOOLKIT_DOMAIN, layer=node.layer)
    return [(program.expression(made.y) * program.expression(node.inputs[4])).variable]


class _Rules:
    """The rules, with the tensors that are held as bytes so far."""

    def __init__(self, program: Program, supports: Callable[[Node], bool]) -> None:
        self.program, self._supports = program, supports
        self._uses = use_counts(program)
        self._wanted = wanted_in(program)
        self._held: dict[Variable, Held] = {}
        self._scaled: dict[Variable, Scaled] = {}
        self._unscaled: dict[Variable, int] = {}  # products above zero points of the data, by how often they are read

    def rule(self, node: Node) -> Replacement | None:
        """What stands for the outputs of a node, ``None`` to keep it."""
        if node.role != "forward":
            return None
        if node.op_type == "OnGrid":
            return self._on_grid(node)
        if is_product(node):
            return self._product(node)
        if node.domain:
            return None
        if node.op_type == "Mul":
            return self._multiplied(node)
        if node.op_type == "Concat":
            return self._moved(node, list(node.inputs))
        if node.op_type in MOVEMENT and moves_whole(node):
            return self._moved(node, [node.x])
        return None

    # tensors ----------------------------------------------------------------------------------------------------------

    def _kept(self, node: Node, data: Variable, low: float, high: float) -> list[Variable]:
        """The floats that stand for the output of a node whose bytes are there; nothing makes them unless read."""
        return [self._floats(Held(data, low, high, self._uses[node.y]))]

    def _floats(self, held: Held) -> Variable:
        found: Variable = self._times(held, self.program.constant(np.ones((), FLOAT32))).variable
        self._held[found] = held
        return found

    def _times(self, held: Held, scale: Expression) -> Expression:
        data = self.program.expression(held.data)
        if not -LARGEST <= held.low <= 0:
            return (cast(data, FLOAT32) + held.low) * scale
        zero = self.program.constant(np.asarray(-held.low, UINT8))
        found: Expression = emit("DequantizeLinear", data, scale, zero, version=PAIR_VERSION)
        return found

    def _number(self, variable: Variable | None) -> float | None:
        """The content of a tensor of one number that is known."""
        if variable is None or variable.size != 1 or not is_static(variable):
            return None
        content = settled_content(self.program, variable)
        return None if content is None else float(content.reshape(-1)[0])

    def _made(self, op_type: str, operands: list[Any], attributes: dict[str, Any], node: Node) -> Variable | None:
        """The result of a node of bytes in the place of another; ``None``, and no node, where it is not supported."""
        while operands[-1] is None:
            operands.pop()
        made = self.program.append(op_type, operands, attributes, domain=TOOLKIT_DOMAIN, layer=node.layer)
        if not self._supports(made):
            self.program.nodes.remove(made)
            return None
        made.fused = node.fused
        return made.y

    # products ---------------------------------------------------------------------------------------------------------

    def _product(self, node: Node) -> Replacement | None:
        if node.y in self._wanted.gridded and node.op_type in PRODUCTS:
            return None
        sums = self._sums(node)
        if sums is None:
            return self._above_data(node)
        if node.op_type == "GridConv":
            return self._gridded(sums, node, node.attributes["low"], node.attributes["high"])
        made = self._ended(sums, node)
        return None if made is None else [made]

    def _gridded(self, sums: _Sums, node: Node, low: float, high: float) -> Replacement | None:
        """Sums as bytes of the grid from ``low`` to ``high``."""
        made = self._ended(sums, node, least=low, most=high)
        return None if made is None else self._kept(node, made, low, high)

    def _ended(self, sums: _Sums, node: Node, **ending: float) -> Variable | None:
        operands = [sums.held.data, self.program.constant(sums.weight).variable]
        operands += [
            item if item is None else self.program.constant(item.astype(FLOAT32)).variable
            for item in (sums.bias, sums.multiplier)
        ]
        attributes = {**sums.settings, "zero": int(-sums.held.low), **ending}
        return self._made(sums.op_type, operands, attributes, node)

    def _sums(self, node: Node) -> _Sums | None:
        """A product of bytes and a known weight of signed ones; ``None`` where ``node`` is something else."""
        is_convolution = node.op_type in CONVOLUTIONS
        held, scaled, factor = self._held.get(node.x), self._scaled.get(node.x), byte_factor(self.program, node)
        if held is None and scaled is not None:
            held = scaled.held
        if held is None or factor is None or (scaled is None) != (factor.steps is None):
            return None
        inputs = [*node.inputs, None, None]
        numbers = [None if item is None else settled_content(self.program, item) for item in inputs[2:4]]
        if any(given is not None and found is None for given, found in zip(inputs[2:4], numbers, strict=True)):
            return None
        bias, times = numbers[0], np.ones(1)
        if node.op_type == "GridConv" and numbers[1] is not None:
            times = numbers[1].astype(np.float64)
        elif scaled is not None and factor.steps is not None:
            times = scaled.scale * factor.steps.astype(np.float64)
            if not (times > 0).all():
                return None
        outputs = factor.weight.shape[0] if is_convolution else factor.weight.shape[1]
        if bias is not None:
            if bias.size != outputs or bias.shape[-1:] != (outputs,):
                return None
            bias = bias.reshape(-1) if scaled is None else bias.reshape(-1) / times
        settings = {name: node.attributes[name] for name in GEOMETRY} if is_convolution else {}
        op_type = "ByteConv" if is_convolution else "ByteMatMul"
        return _Sums(op_type, settings, held, factor.weight, times, bias)

    def _above_data(self, node: Node) -> Replacement | None:
        """A product of matrices above a zero point that only the data tells: so much less are its exact sums."""
        difference, factor = node.x.producer, byte_factor(self.program, node)
        if node.op_type not in PRODUCTS or difference is None or difference.op_type != "Sub" or factor is None:
            return None
        floats, zero = difference.inputs
        origin = None if floats is None else floats.producer
        if origin is None or zero is None or zero.size != 1 or factor.steps is not None or len(node.inputs) > 2:
            return None
        if origin.op_type != "Cast" or origin.x.dtype != UINT8 or origin.x.shape != node.x.shape:
            return None
        columns = factor.weight.astype(np.float64)
        if LARGEST * np.abs(columns).sum(axis=0).max(initial=0) >= LARGEST_EXACT:
            return None
        less = reshape(self.program.expression(zero), (1,)) * self.program.constant(
            -columns.sum(axis=0).astype(FLOAT32)
        )
        one = self.program.constant(np.ones(1, FLOAT32))
        operands = [origin.x, self.program.constant(factor.weight).variable, less.variable, one.variable]
        made = self._made("ByteMatMul", operands, {}, node)
        if made is None:
            return None
        self._unscaled[made] = self._uses[node.y]
        return [made]

    def _with_scale(self, node: Node, product: Variable, scale: Variable) -> Replacement | None:
        """A product above a zero point of the data, times what only the data tells as well."""
        before = product.producer
        if before is None or self._unscaled.get(product) != 1 or node.y.shape != product.shape:
            return None
        if scale.size != 1 and scale.shape != product.shape[-1:]:
            return None
        by = reshape(self.program.expression(scale), (scale.size,)).variable
        made = self._made("ByteMatMul", [*before.inputs[:3], by], dict(before.attributes), node)
        return None if made is None else [made]

    # grids ------------------------------------------------------------------------------------------------------------

    def _on_grid(self, node: Node) -> Replacement | None:
        low, high, scale = node.attributes["low"], node.attributes["high"], node.inputs[1]
        assert scale is not None
        if node.attributes.get("is_multiplied", 0):
            return self._product_on_grid(node, low, high, scale)
        size = self._number(scale)
        if size is None or not size > 0:
            return None
        source, narrowed = before_activation(node.x, size, {"low": low, "high": high}, self._uses)
        found = self._of_bytes(node, source, size, narrowed["low"], narrowed["high"])
        if found is not None:
            return found
        if node.y not in self._wanted.variables or high - low != LARGEST or not -LARGEST <= low <= 0:
            return None
        step = reshape(self.program.expression(scale), ())
        zero = self.program.constant(np.asarray(-low, UINT8))
        data = emit("QuantizeLinear", self.program.expression(node.x), step, zero, version=PAIR_VERSION)
        return self._kept(node, data.variable, low, high)

    def _product_on_grid(self, node: Node, low: float, high: float, scale: Variable) -> Replacement | None:
        before = node.x.producer
        if before is None or before.op_type not in PRODUCTS or self._uses[node.x] != 1:
            return None
        sums, times = self._sums(before), settled_content(self.program, scale)
        if sums is None or times is None or times.shape not in ((), (1,), (_outputs(sums),)):
            return None
        return self._gridded(sums._replace(multiplier=times.reshape(-1)), node, low, high)

    def _of_bytes(self, node: Node, source: Variable, size: float, low: float, high: float) -> Replacement | None:
        """The bytes of a grid of what is made of bytes: a tensor, or the sum of two."""
        made: Variable | None = None
        scaled = self._scaled.get(source)
        if scaled is not None:
            ending = {"scale": scaled.scale, "step": size, "least": low, "most": high}
            if self._is_alone(scaled):
                made = self._again(scaled, node, ending)
            if made is None:
                made = self._made("Regrid", [scaled.held.data], {"zero": int(-scaled.held.low), **ending}, node)
        elif source.producer is not None and source.producer.op_type == "Add" and self._uses[source] == 1:
            made = self._sum(node, source.producer, size, low, high)
        return None if made is None else self._kept(node, made, low, high)

    def _sum(self, node: Node, addition: Node, size: float, low: float, high: float) -> Variable | None:
        """The sum of a product of bytes, the later one of two, and of other bytes."""
        found = [None if item is None else self._scaled.get(item) for item in addition.inputs]
        pair = [item for item in found if item is not None]
        if len(pair) < 2 or pair[0].held.data.shape != pair[1].held.data.shape:
            return None
        pair.sort(key=lambda item: -self._place(item))
        for own, other in (pair, pair[::-1]):
            if not self._is_alone(own) or own.held.data is other.held.data:
                continue
            ending = {"scale": own.scale, "step": size, "least": low, "most": high}
            added = {"residual_zero": int(-other.held.low), "residual_scale": other.scale}
            made = self._again(own, node, {**ending, **added}, other.held.data)
            if made is not None:
                return made
        return None

    def _place(self, scaled: Scaled) -> int:
        producer = scaled.held.data.producer
        return -1 if producer is None else self.program.nodes.index(producer)

    def _is_alone(self, scaled: Scaled) -> bool:
        """Whether a tensor comes from a product of bytes, and nobody else reads it."""
        producer = scaled.held.data.producer
        is_product = producer is not None and producer.op_type in ("ByteConv", "ByteMatMul")
        return is_product and scaled.uses == 1 and scaled.held.uses == 1 and "low" not in _attributes(producer)

    def _again(
        self, scaled: Scaled, node: Node, ending: dict[str, float], residual: Variable | None = None
    ) -> Variable | None:
        """A product whose bytes nobody else reads, with more behind them."""
        before = scaled.held.data.producer
        assert before is not None
        attributes = dict(before.attributes)
        grid = {"low": attributes.pop("least"), "high": attributes.pop("most")}
        operands = [*before.inputs[:4], residual]
        return self._made(before.op_type, operands, {**attributes, **grid, **ending}, node)

    # floats -----------------------------------------------------------------------------------------------------------

    def _multiplied(self, node: Node) -> Replacement | None:
        for item, other in (node.inputs, node.inputs[::-1]):
            if item in self._unscaled and other is not None:
                return self._with_scale(node, item, other)
            held, scale = (None, None) if item is None else (self._held.get(item), self._number(other))
            if held is None or scale is None or held.data.shape != node.y.shape or other is None:
                continue
            scaled = Scaled(held, scale, self._uses[node.y])
            made = None
            if self._is_alone(scaled) and node.y not in self._wanted.regridded:
                made = self._again(scaled, node, {"scale": scale})
            if made is None:
                made = self._times(held, reshape(self.program.expression(other), ())).variable
            self._scaled[made] = scaled
            return [made]
        return None

    def _moved(self, node: Node, moved: list[Variable | None]) -> Replacement | None:
        held = [None if item is None else self._held.get(item) for item in moved]
        known = [item for item in held if item is not None]
        if len(known) < len(held) or any(item.low != known[0].low for item in known):
            return None
        operands = [*(item.data for item in known), *node.inputs[len(known) :]]
        made = self.program.append(
            node.op_type, operands, node.attributes, version=node.version, outputs=len(node.outputs), layer=node.layer
        )
        high = max(item.high for item in known)
        pairs = zip(node.outputs, made.outputs, strict=True)
        return [
            self._floats(Held(data, known[0].low, high, self._uses[item]))
            for item, data in pairs
            if item is not None and data is not None
        ]


def _outputs(sums: _Sums) -> int:
    return sums.weight.shape[0 if sums.op_type == "ByteConv" else 1]


def _attributes(node: Node | None) -> dict[str, Any]:
    return {} if node is None else node.attributes
