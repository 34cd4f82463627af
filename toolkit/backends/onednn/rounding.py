"""Rounding to types of half width, and changes between them and float32, in whatever layout the tensor lies.

RoundToType works on flat memory in blocks that stay in the cache. oneDNN converts element types where the processor has
instructions for it; its plain loops, which it has everywhere, are a hundred times slower than numpy and refused.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence

import ml_dtypes
import numpy as np

from toolkit.backends.onednn.library import load
from toolkit.backends.onednn.memory import dense, descriptor_of, retyped
from toolkit.backends.onednn.primitive import DST, SRC, PrimitiveKernel, reads, try_describe, writes
from toolkit.backends.onednn.registry import FLOAT32, kernel
from toolkit.backends.protocol import Buffer, Kernel, Layout, Resources, Step
from toolkit.compiler.program import Node
from toolkit.operators import wire
from toolkit.operators.expression import TOOLKIT_DOMAIN
from toolkit.operators.precision import HALF_WIDTH

BLOCK = 1 << 15  # elements: what is read and written twice stays in the second cache
_SIGN, _EXPONENT = np.uint32(0x80000000), np.uint32(0x7F800000)
_SMALLEST_NORMAL, _TOO_LARGE = np.uint32(0x38800000), np.uint32(0x47800000)  # 2**-14 and 2**16
_THIRTEEN = np.uint32(13 << 23)  # a float32 has 13 bits more than a float16
_LARGEST = np.float32(65504)
Rounding = Callable[[np.ndarray, np.ndarray], None]


@kernel(TOOLKIT_DOMAIN, "RoundToType", accepts=lambda node: node.x.dtype == FLOAT32 and _half(node) is not None)
def round_to_type(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """In the layout of the input, padding included: zeros stay zeros."""
    layout, dtype = inputs[0], _half(node)
    assert layout is not None
    assert dtype is not None
    return _Rounding(layout, dtype)


def _half(node: Node) -> np.dtype | None:
    if "to" not in node.attributes:  # a file can hold anything; the reference refuses it
        return None
    dtype = wire.element_dtype(node.attributes["to"])
    return dtype if dtype in HALF_WIDTH else None


class _Rounding(Kernel):
    """One sweep over all bytes of a tensor, in place where nobody reads the input later."""

    in_place = ((0, 0),)

    def __init__(self, layout: Layout, dtype: np.dtype) -> None:
        self.inputs, self.outputs = [layout], [layout]
        self._count = layout.nbytes // FLOAT32.itemsize
        self.name = f"round to {dtype.name}"
        self._make = _to_bfloat16 if dtype == ml_dtypes.bfloat16 else _to_float16

    def bind(self, inputs: Sequence[Buffer | None], outputs: Sequence[Buffer | None], workspace: Buffer | None) -> Step:
        count = self._count
        source, target = (_floats(places[0], count) for places in (inputs, outputs))
        rounding = self._make(min(count, BLOCK))
        blocks = [(source[start : start + BLOCK], target[start : start + BLOCK]) for start in range(0, count, BLOCK)]

        def step() -> None:
            with np.errstate(over="ignore", invalid="ignore"):
                for given, result in blocks:
                    rounding(given, result)

        return step


def _floats(buffer: Buffer | None, count: int) -> np.ndarray:
    assert buffer is not None
    return np.ctypeslib.as_array((ctypes.c_float * count).from_address(buffer.address))


def _to_bfloat16(size: int) -> Rounding:
    scratch = np.empty(size, ml_dtypes.bfloat16)

    def rounding(given: np.ndarray, result: np.ndarray) -> None:
        narrow = scratch[: given.size]
        np.copyto(narrow, given, casting="unsafe")
        np.copyto(result, narrow)

    return rounding


def _to_float16(size: int) -> Rounding:
    """Adding, and taking away again, a number whose last bit is worth what the last one of a float16 is.

    numpy's own conversion goes through each number's bits one by one, and takes ten times as long.
    """
    bits, magnitude = np.empty(size, np.uint32), np.empty(size, np.float32)

    def rounding(given: np.ndarray, result: np.ndarray) -> None:
        large, size_of = bits[: given.size], magnitude[: given.size]
        np.abs(given, out=size_of)
        np.clip(size_of.view(np.uint32), _SMALLEST_NORMAL, _TOO_LARGE, out=large)
        large &= _EXPONENT
        large += _THIRTEEN
        size_of += large.view(np.float32)
        size_of -= large.view(np.float32)
        np.copyto(size_of, np.inf, where=size_of > _LARGEST)
        np.copysign(size_of, given, out=result)

    return rounding


def _converts(node: Node) -> bool:
    pair = node.x.dtype, node.y.dtype
    if not all(dtype == FLOAT32 or dtype in HALF_WIDTH for dtype in pair) or pair[0] == pair[1] or not node.x.size:
        return False
    engine, shape = load().engine, (node.x.size,)
    described = try_describe("reorder", dense(pair[0], shape), engine, dense(pair[1], shape), engine)
    return described is not None and not described.implementation.startswith(("ref", "simple"))


@kernel("", "Cast", accepts=_converts)
def convert(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """In the layout of the input where the other type has one like it, else in row-major order."""
    given = inputs[0]
    assert given is not None
    source, target = retyped(given, given.dtype), retyped(given, node.y.dtype)
    engine, at, to = load().engine, descriptor_of(source), descriptor_of(target)
    described = try_describe("reorder", at, engine, to, engine)
    assert described is not None, "_converts has asked for this pair"
    return PrimitiveKernel(described, [source], [target], [reads(SRC, 0, at), writes(DST, 0, to)])
