"""What the passes over quantised arithmetic know of tensors: integers as floats, and the grids that they lie on."""

from __future__ import annotations

from collections import Counter
from math import prod
from typing import Any, NamedTuple

import numpy as np

from toolkit.compiler.known import settled_content
from toolkit.compiler.passes.fusion import as_activation
from toolkit.compiler.program import Node, Program, Variable
from toolkit.operators.derivative import cast
from toolkit.operators.expression import TOOLKIT_DOMAIN, Expression, emit, reshape

FLOAT32 = np.dtype(np.float32)
BYTES = (np.dtype(np.uint8), np.dtype(np.int8))
LARGEST_EXACT = 1 << 24  # sums that float32 holds
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


class Centred(NamedTuple):
    """Integers as float32: ``value`` is their distance from ``zero_point``."""

    value: Expression
    zero_point: int


class Steps(NamedTuple):
    """Floats as integers of ``dtype`` times the ``scale`` of a file, one number: ``one`` is it as a scalar."""

    centred: Centred
    dtype: np.dtype
    scale: Variable | None
    one: Expression


class Factor(NamedTuple):
    """A weight above its zero points, and the size of its steps: one, or one for each output."""

    integers: np.ndarray
    steps: np.ndarray


class Grids:
    """The tensors of integers of a program that were seen so far (``known``), and the floats that are ``steps``."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.known: dict[Variable, Centred] = {}
        self.steps: dict[Variable, Steps] = {}

    def centred(self, variable: Variable, zero_point: int) -> Expression:
        """The distances of a tensor from a zero point."""
        known = self.known.get(variable)
        if known is not None:
            return known.value if known.zero_point == zero_point else known.value + float(known.zero_point - zero_point)
        if variable.constant is not None:
            return self.program.constant(variable.constant.astype(FLOAT32) - FLOAT32.type(zero_point))
        floats = cast(self.program.expression(variable), FLOAT32)
        return floats - float(zero_point) if zero_point else floats

    def made(self, value: Expression, zero_point: int, dtype: np.dtype) -> Variable:
        """A tensor of integers that ``value`` centres; nothing computes it unless it is read."""
        shifted = value + float(zero_point) if zero_point else value
        variable: Variable = cast(shifted, dtype).variable
        self.known[variable] = Centred(value, zero_point)
        return variable

    def dequantised(self, steps: Steps) -> Variable:
        """The floats that ``steps`` says."""
        variable: Variable = (steps.centred.value * steps.one).variable
        self.steps[variable] = steps
        return variable

    def on_grid(self, x: Expression, scale: Expression, zero_point: int, dtype: np.dtype, times: bool) -> Variable:
        """The integers nearest to ``x`` in steps of ``scale``, or ``times`` it."""
        return self.made(steps_of(x, scale, bounds_of(zero_point, dtype), times), zero_point, dtype)

    def scale(self, variable: Variable | None) -> Expression | None:
        """A scale of a whole tensor as a scalar."""
        if variable is None or variable.size != 1 or variable.dtype != FLOAT32:
            return None
        return reshape(self.program.expression(variable), ())


def steps_of(x: Expression, scale: Expression, bounds: dict[str, float], times: bool = False) -> Expression:
    """``x`` in steps of ``scale``, or ``times`` it, as whole numbers within ``bounds``."""
    settings: dict[str, Any] = {**bounds, "is_multiplied": int(times)}
    found: Expression = emit("OnGrid", x, scale, domain=TOOLKIT_DOMAIN, **settings)
    return found


def bounds_of(zero_point: int, dtype: np.dtype) -> dict[str, float]:
    """The limits of a type, as distances from a zero point."""
    limits = np.iinfo(dtype)
    return {"low": float(limits.min - zero_point), "high": float(limits.max - zero_point)}


def before_activation(
    x: Variable, size: float, bounds: dict[str, float], uses: Counter[Variable]
) -> tuple[Variable, dict[str, float]]:
    """What Relu and Clip before a grid with steps of ``size`` work on, and the limits of the grid that they narrow.

    Rounding keeps the order of numbers, so that it is the same to round the limits.
    """
    node = x.producer
    while node is not None and uses[x] == 1:
        activation = as_activation(node)
        if activation is None or activation["activation"] not in ("Relu", "Clip"):
            break
        low, high = 0.0, np.inf
        if activation["activation"] == "Clip":
            low, high = activation["activation_alpha"], activation["activation_beta"]
        ends = [float(np.clip(np.rint(end / size), bounds["low"], bounds["high"])) for end in (low, high)]
        x, bounds = node.x, {"low": ends[0], "high": max(ends)}
        node = x.producer
    return x, bounds


def is_of_bytes(node: Node) -> bool:
    """Whether a node takes and gives integers of 8 bits."""
    return node.x.dtype in BYTES and node.y.dtype in BYTES and prod(node.y.shape) > 0


def zero_point_of(variable: Variable | None) -> int | None:
    """A known zero point of a whole tensor, 0 where there is none; ``None`` where it is not one known number."""
    if variable is None:
        return 0
    known = variable.constant
    return int(known.reshape(-1)[0]) if known is not None and known.size == 1 and known.dtype.kind in "iu" else None


def weight_of(variable: Variable, zero_point: Variable | None, axis: int) -> Any:
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


def factor_of(program: Program, node: Node) -> Factor | None:
    """The dequantised weight of a product: outputs first for a convolution, last for a product of matrices."""
    is_convolution = node.op_type in ("Conv", "FusedConv")
    if not is_convolution and node.op_type not in ("Gemm", "MatMul", "FusedMatMul"):
        return None
    if node.attributes.get("transA", 0) or any(node.attributes.get(name, 1.0) != 1.0 for name in ("alpha", "beta")):
        return None
    held = None if node.inputs[1] is None else node.inputs[1].producer
    if held is None or (held.domain, held.op_type) != ("", "DequantizeLinear") or held.attributes.get("block_size"):
        return None
    rank, is_turned = len(held.x.shape), bool(node.attributes.get("transB", 0))
    if rank != 2 and not is_convolution:
        return None
    axis = 0 if is_convolution or is_turned else rank - 1
    scale, zero = (*held.inputs[1:], None)[:2]
    integers = weight_of(held.x, zero, axis)
    steps = None if scale is None else settled_content(program, scale)
    if integers is None or steps is None or held.y.dtype != FLOAT32:
        return None
    if steps.size > 1 and (steps.ndim != 1 or held.attributes.get("axis", 1) % rank != axis):
        return None
    return Factor(np.ascontiguousarray(integers.T) if is_turned else integers, steps.reshape(-1))


def moves_whole(node: Node) -> bool:
    """Whether a node of ``MOVEMENT`` gives elements of its first input alone, and says nothing more of them."""
    if any(item is None for item in node.outputs):
        return False
    return node.op_type != "MaxPool" or (len(node.outputs) == 1 and not _pads(node))


def _pads(node: Node) -> bool:
    """Whether a window may see nothing but padding, whose value is that of the integers' type."""
    kernel, pads = node.attributes.get("kernel_shape", ()), node.attributes.get("pads") or ()
    return any(pad >= size for pad, size in zip(pads, (*kernel, *kernel), strict=False))
