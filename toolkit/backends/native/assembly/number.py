"""Numbers in registers: one, or a vector of them, with Python's arithmetic, each operation one line of LLVM assembly.

Integers wrap around, floats follow IEEE 754 without any liberty. A Python number beside a ``Number`` becomes a
constant of its type.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, Protocol

import ml_dtypes
import numpy as np

from toolkit.backends.native.compilation.compiler import compiler

BOOLEAN = np.dtype(bool)
FLOAT32, BFLOAT16 = np.dtype(np.float32), np.dtype(ml_dtypes.bfloat16)
INDEX = np.dtype(np.int64)
FLOATS: dict[np.dtype, str] = {np.dtype(np.float32): "float", np.dtype(np.float64): "double"}
INTEGERS: dict[np.dtype, str] = {
    np.dtype(f"{kind}{bits}"): f"i{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)
}
# In memory: what is computed with is converted first. LLVM cannot move its own bfloat about on every processor.
HALVES: dict[np.dtype, str] = {np.dtype(np.float16): "half", BFLOAT16: "i16"}
NUMBERS: dict[np.dtype, str] = {**FLOATS, **INTEGERS}
_SUFFIX = {"float": "f32", "double": "f64"}
_COMPARISONS = {"<": "lt", "<=": "le", ">": "gt", ">=": "ge", "==": "eq", "!=": "ne"}


def computed(dtype: np.dtype) -> np.dtype:
    """The type in which numbers are computed with that lie in memory as ``dtype``."""
    return FLOAT32 if dtype == BFLOAT16 else dtype


class Writer(Protocol):
    """Where lines are appended: ``Code``."""

    def result(self, text: str) -> str: ...

    def call(self, function: str, result: str, arguments: Sequence[Number]) -> str: ...


def register_type(dtype: np.dtype, lanes: int) -> str:
    """LLVM's name of a type in registers, where a truth has one bit."""
    kind = "i1" if dtype == BOOLEAN else HALVES[dtype] if dtype in HALVES else NUMBERS[dtype]
    return kind if lanes == 1 else f"<{lanes} x {kind}>"


def literal(value: Any, dtype: np.dtype) -> str:
    """One number, exactly as it is once rounded to the type."""
    if dtype == BOOLEAN:
        return "true" if value else "false"
    if dtype in HALVES:
        bits = int(np.asarray(value).astype(dtype).view(np.uint16))
        return str(bits) if dtype == BFLOAT16 else f"0xH{bits:04X}"
    if dtype in FLOATS:
        with np.errstate(over="ignore", invalid="ignore"):
            rounded = float(np.asarray(value).astype(dtype))
        return f"0x{struct.unpack('<Q', struct.pack('<d', rounded))[0]:016X}"
    return str(int(value))


class Number:
    """``lanes`` numbers of one type in a register called ``name``."""

    __slots__ = ("code", "dtype", "lanes", "name")

    def __init__(self, code: Writer, name: str, dtype: np.dtype, lanes: int) -> None:
        self.code, self.name, self.dtype, self.lanes = code, name, dtype, lanes

    @classmethod
    def constant(cls, code: Writer, value: Any, dtype: np.dtype, lanes: int) -> Number:
        """The same known number in each lane."""
        text = literal(value, dtype)
        if lanes != 1:
            text = f"splat ({register_type(dtype, 1)} {text})"
        return cls(code, text, dtype, lanes)

    @property
    def type(self) -> str:
        return register_type(self.dtype, self.lanes)

    @property
    def typed(self) -> str:
        """The register as an argument."""
        return f"{self.type} {self.name}"

    @property
    def nbytes(self) -> int:
        return self.lanes * self.dtype.itemsize

    @property
    def is_float(self) -> bool:
        return self.dtype in FLOATS or self.dtype in HALVES

    def like(self, value: Any) -> Number:
        """A known number of this type, in as many lanes."""
        return value if isinstance(value, Number) else Number.constant(self.code, value, self.dtype, self.lanes)

    def _made(self, text: str, dtype: np.dtype | None = None) -> Number:
        return Number(self.code, self.code.result(text), self.dtype if dtype is None else dtype, self.lanes)

    # arithmetic -------------------------------------------------------------------------------------------------------

    def _binary(self, other: Any, of_floats: str, of_integers: str) -> Number:
        name = of_floats if self.is_float else of_integers
        return self._made(f"{name} {self.type} {self.name}, {self.like(other).name}")

    def __add__(self, other: Any) -> Number:
        return self._binary(other, "fadd", "add")

    def __sub__(self, other: Any) -> Number:
        return self._binary(other, "fsub", "sub")

    def __mul__(self, other: Any) -> Number:
        return self._binary(other, "fmul", "mul")

    def __truediv__(self, other: Any) -> Number:
        return self._binary(other, "fdiv", "sdiv" if self.dtype.kind == "i" else "udiv")

    __radd__, __rmul__ = __add__, __mul__

    def __rsub__(self, other: Any) -> Number:
        return self.like(other) - self

    def __rtruediv__(self, other: Any) -> Number:
        return self.like(other) / self

    def __neg__(self) -> Number:
        return self._made(f"fneg {self.typed}") if self.is_float else self.like(0) - self

    def __and__(self, other: Any) -> Number:
        return self._binary(other, "and", "and")

    def __or__(self, other: Any) -> Number:
        return self._binary(other, "or", "or")

    def __xor__(self, other: Any) -> Number:
        return self._binary(other, "xor", "xor")

    def __invert__(self) -> Number:
        return self ^ (True if self.dtype == BOOLEAN else -1)

    def __lshift__(self, other: Any) -> Number:
        return self._binary(other, "shl", "shl")

    def __rshift__(self, other: Any) -> Number:
        return self._binary(other, "ashr", "ashr" if self.dtype.kind == "i" else "lshr")

    def times_plus(self, factor: Any, addend: Any) -> Number:
        """``self * factor + addend``, rounded once where the processor can; floats only."""
        return self._intrinsic("fma", self.like(factor), self.like(addend))

    def plus_pairs(self, one: Number, other: Number) -> Number:
        """Float32, and to each the products of two pairs of bfloat16, which two words of 32 bits hold, added at once.

        Only where the processor ``multiplies_bfloat16``, and for whole vectors. Numbers too small to be normal are 0.
        """
        count = 2 * self.lanes
        names = [self.code.result(f"bitcast {item.typed} to <{count} x bfloat>") for item in (one, other)]
        factors = [_Bfloats(self.code, name, BFLOAT16, count) for name in names]
        name = f"llvm.x86.avx512bf16.dpbf16ps.{self.nbytes * 8}"
        return Number(self.code, self.code.call(name, self.type, (self, *factors)), self.dtype, self.lanes)

    # comparisons ------------------------------------------------------------------------------------------------------

    def _compared(self, other: Any, sign: str) -> Number:
        word = _COMPARISONS[sign]
        if self.is_float:
            text = f"fcmp {'une' if sign == '!=' else f'o{word}'}"
        elif sign in ("==", "!="):
            text = f"icmp {word}"
        else:
            text = f"icmp {'s' if self.dtype.kind == 'i' else 'u'}{word}"
        return self._made(f"{text} {self.type} {self.name}, {self.like(other).name}", BOOLEAN)

    def __lt__(self, other: Any) -> Number:
        return self._compared(other, "<")

    def __le__(self, other: Any) -> Number:
        return self._compared(other, "<=")

    def __gt__(self, other: Any) -> Number:
        return self._compared(other, ">")

    def __ge__(self, other: Any) -> Number:
        return self._compared(other, ">=")

    def equals(self, other: Any) -> Number:
        """Lane by lane; NaN equals nothing."""
        return self._compared(other, "==")

    def differs(self, other: Any) -> Number:
        """Lane by lane; NaN differs from everything, itself included."""
        return self._compared(other, "!=")

    def choose(self, yes: Number, no: Any) -> Number:
        """``yes`` where this truth holds, else ``no``."""
        other = yes.like(no)
        kind = "i1" if self.lanes == 1 else self.type
        return yes._made(f"select {kind} {self.name}, {yes.typed}, {other.typed}")

    def smaller(self, other: Any) -> Number:
        """The smaller of two; NaN where one is."""
        return self._extreme(other, ">", "minimum", "min")

    def larger(self, other: Any) -> Number:
        """The larger of two; NaN where one is."""
        return self._extreme(other, "<", "maximum", "max")

    def _extreme(self, other: Any, worse: str, of_floats: str, of_integers: str) -> Number:
        if self.is_float and not isinstance(other, Number):  # one instruction: an intrinsic looks for NaN in both
            return self._compared(other, worse).choose(self.like(other), self)
        if self.is_float:
            return self._intrinsic(of_floats, self.like(other))
        return self._intrinsic(f"{'s' if self.dtype.kind == 'i' else 'u'}{of_integers}", self.like(other))

    # functions --------------------------------------------------------------------------------------------------------

    def _intrinsic(self, name: str, *others: Number) -> Number:
        suffix = _SUFFIX[NUMBERS[self.dtype]] if self.is_float else NUMBERS[self.dtype]
        width = "" if self.lanes == 1 else f"v{self.lanes}"
        found = self.code.call(f"llvm.{name}.{width}{suffix}", self.type, (self, *others))
        return Number(self.code, found, self.dtype, self.lanes)

    def absolute(self) -> Number:
        if self.is_float:
            return self._intrinsic("fabs")
        return self if self.dtype.kind == "u" else (self < 0).choose(-self, self)

    def square_root(self) -> Number:
        return self._intrinsic("sqrt")

    def rounded_down(self) -> Number:
        return self._intrinsic("floor")

    def rounded_up(self) -> Number:
        return self._intrinsic("ceil")

    def rounded(self) -> Number:
        """To the nearest whole number, of two the even one."""
        return self._intrinsic("roundeven")

    def with_sign_of(self, other: Any) -> Number:
        return self._intrinsic("copysign", self.like(other))

    def of_c_library(self, name: str, *others: Number) -> Number:
        """A function of the C library on doubles, lane by lane; numbers of less are widened for it."""
        double = np.dtype(np.float64)
        wide = [item.converted(double) for item in (self, *others)]
        found = []
        for lane in range(self.lanes):
            given = [item.lane(lane) for item in wide]
            found.append(Number(self.code, self.code.call(name, "double", given), double, 1))
        return joined(found).converted(self.dtype)

    # conversions ------------------------------------------------------------------------------------------------------

    def converted(self, dtype: np.dtype) -> Number:
        """In another type; floats lose their fraction, and too large ones become what the processor makes of them."""
        dtype = np.dtype(dtype)
        if dtype == self.dtype:
            return self
        if dtype == BOOLEAN:
            return self.differs(0)
        if dtype == BFLOAT16:
            return self.converted(FLOAT32)._rounded_to_bfloat16()
        if self.dtype == BFLOAT16:
            upper = self.bits(np.dtype(np.uint16)).converted(np.dtype(np.uint32)) << 16
            return upper.bits(FLOAT32).converted(dtype)
        target = register_type(dtype, self.lanes)
        if self.dtype == BOOLEAN:
            word = "uitofp" if dtype in FLOATS else "zext"
        elif self.is_float and (dtype in FLOATS or dtype in HALVES):
            word = "fpext" if dtype.itemsize > self.dtype.itemsize else "fptrunc"
        elif self.is_float:
            word = "fptosi" if dtype.kind == "i" else "fptoui"
        elif dtype in FLOATS:
            word = "sitofp" if self.dtype.kind == "i" else "uitofp"
        elif dtype.itemsize == self.dtype.itemsize:
            return Number(self.code, self.name, dtype, self.lanes)
        elif dtype.itemsize < self.dtype.itemsize:
            word = "trunc"
        else:
            word = "sext" if self.dtype.kind == "i" else "zext"
        return self._made(f"{word} {self.typed} to {target}", dtype)

    def _rounded_to_bfloat16(self) -> Number:
        """The nearest of half as many bits, of two the even one; written out where the processor does not know how."""
        if compiler().rounds_bfloat16:
            kind = "bfloat" if self.lanes == 1 else f"<{self.lanes} x bfloat>"
            rounded = self.code.result(f"fptrunc {self.typed} to {kind}")
            return self._made(f"bitcast {kind} {rounded} to {register_type(BFLOAT16, self.lanes)}", BFLOAT16)
        word = np.dtype(np.uint32)
        bits = self.bits(word)
        nearest = bits + (((bits >> 16) & 1) + 0x7FFF)
        kept = self.differs(self).choose(bits | 0x400000, nearest)  # adding could make infinity of NaN
        return (kept >> 16).converted(np.dtype(np.uint16)).bits(BFLOAT16)

    def bits(self, dtype: np.dtype) -> Number:
        """The same bits seen as numbers of another type, of as many as they hold."""
        dtype = np.dtype(dtype)
        lanes = self.lanes * self.dtype.itemsize // dtype.itemsize
        name = self.code.result(f"bitcast {self.typed} to {register_type(dtype, lanes)}")
        return Number(self.code, name, dtype, lanes)

    # lanes ------------------------------------------------------------------------------------------------------------

    def lane(self, index: int) -> Number:
        """One number of a vector."""
        if self.lanes == 1:
            return self
        return Number(self.code, self.code.result(f"extractelement {self.typed}, i64 {index}"), self.dtype, 1)

    def spread(self, lanes: int) -> Number:
        """The same number in each of several lanes."""
        if lanes == self.lanes:
            return self
        first = self.code.result(f"insertelement {register_type(self.dtype, lanes)} poison, {self.typed}, i64 0")
        kind = register_type(self.dtype, lanes)
        name = self.code.result(f"shufflevector {kind} {first}, {kind} poison, <{lanes} x i32> zeroinitializer")
        return Number(self.code, name, self.dtype, lanes)

    def sum_of_lanes(self) -> Number:
        """All lanes added, halves first."""
        return self._reduced(lambda one, other: one + other)

    def largest_lane(self) -> Number:
        return self._reduced(lambda one, other: one.larger(other))

    def smallest_lane(self) -> Number:
        return self._reduced(lambda one, other: one.smaller(other))

    def product_of_lanes(self) -> Number:
        return self._reduced(lambda one, other: one * other)

    def _reduced(self, combine: Any) -> Number:
        found = self
        while found.lanes > 1:
            half = found.lanes // 2
            found = combine(found.part(0, half), found.part(half, half))
        return found

    def part(self, start: int, count: int) -> Number:
        """``count`` lanes from one on."""
        if count == self.lanes:
            return self
        if count == 1:
            return self.lane(start)
        return self._shuffled(range(start, start + count), "poison")

    def widened(self, lanes: int, other: Any) -> Number:
        """Further lanes behind those there are, which hold a known number."""
        if lanes == self.lanes:
            return self
        if self.lanes == 1:
            kind = register_type(self.dtype, lanes)
            rest = Number.constant(self.code, other, self.dtype, lanes).name
            name = self.code.result(f"insertelement {kind} {rest}, {self.typed}, i64 0")
            return Number(self.code, name, self.dtype, lanes)
        return self._shuffled([min(lane, self.lanes) for lane in range(lanes)], self.like(other).name)

    def every_second(self, rest: Number) -> Number:
        """Each second of the numbers of two vectors, of which ``rest`` begins with the last one of this."""
        places = [2 * lane if 2 * lane < self.lanes else 2 * lane + 1 for lane in range(self.lanes)]
        return self._shuffled(places, rest.name)

    def only(self, count: int, other: Any) -> Number:
        """The first ``count`` lanes as they are, a known number in the others."""
        return self.part(0, count).widened(self.lanes, other)

    def picked(self, other: Number, lanes: Sequence[int]) -> Number:
        """Lanes of two vectors in any order; those of the second are counted behind those of the first."""
        return self._shuffled(lanes, other.name)

    def _shuffled(self, lanes: Sequence[int], other: str) -> Number:
        mask = ", ".join(f"i32 {lane}" for lane in lanes)
        name = self.code.result(f"shufflevector {self.typed}, {self.type} {other}, <{len(lanes)} x i32> <{mask}>")
        return Number(self.code, name, self.dtype, len(lanes))


class _Bfloats(Number):
    """Bfloat16 as LLVM's own type: nothing but operands of an instruction."""

    @property
    def type(self) -> str:
        return f"<{self.lanes} x bfloat>"


def joined(numbers: list[Number]) -> Number:
    """Single numbers as the lanes of one vector; one alone stays what it is."""
    first, count = numbers[0], len(numbers)
    if count == 1:
        return first
    kind, name = register_type(first.dtype, count), "poison"
    for index, number in enumerate(numbers):
        name = first.code.result(f"insertelement {kind} {name}, {number.typed}, i64 {index}")
    return Number(first.code, name, first.dtype, count)
