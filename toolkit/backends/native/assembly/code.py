"""LLVM assembly of one kernel, written line by line: memory, loops, and cells that change in them.

A kernel is one function of one argument, a table of addresses; it returns 0, or 1 for data that it refuses. ``Number``
is what is computed with: one number or a vector of them, in a register. Loops have fixed lengths, for shapes are known
when a kernel is written. What several kernels have in common may be a function of its own, which they invoke.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from toolkit.backends.native.assembly.number import BOOLEAN, INDEX, Number, joined, register_type

TABLE = "%table"  # the place of a kernel's own table of addresses
PAST = "!nontemporal !0"
BEYOND_CACHES = 1 << 23  # bytes of a result of which whoever reads it finds next to nothing in a cache


class Code:
    """The text of a kernel that is given ``addresses`` places in memory.

    With ``numbers`` it is a function for other kernels: the places are its arguments, and behind them so many whole
    numbers, ``self.numbers``.
    """

    def __init__(self, addresses: int, numbers: int = 0) -> None:
        self._lines: list[str] = []
        self._cells: list[str] = []
        self._declared: dict[str, None] = {}
        self._count = 0
        self._team: str | None = None
        self._refuses = self._is_past = False
        self.places = [f"%place{index}" for index in range(addresses)]
        self.numbers = [Number(self, f"%number{index}", INDEX, 1) for index in range(numbers)]

    def text(self) -> str:
        """All of it, to be compiled."""
        opening, given = [], "ptr %table"
        if self.numbers:
            given = ", ".join([*(f"ptr {place}" for place in self.places), *(item.typed for item in self.numbers)])
        for index, place in enumerate([] if self.numbers else self.places):
            opening.append(f"{place}.at = getelementptr inbounds ptr, ptr %table, i64 {index}")
            opening.append(f"{place} = load ptr, ptr {place}.at")
        body = "\n".join([*self._cells, *opening, "br label %start", "start:", *self._lines])
        if self._team is None:
            ending = "ret i32 0\nrefused:\nret i32 1" if self._refuses else "ret i32 0"
            functions = f"define i32 @kernel({given}) {{\nentry:\n{body}\n{ending}\n}}\n"
        else:
            functions = f"{self._team}\ndefine internal void @work(ptr %table) {{\nentry:\n{body}\nret void\n}}\n"
        return "\n".join([*self._declared, functions, *(["!0 = !{i32 1}"] if self._is_past else [])])

    def execute_by_team(self, threads: int, counter: str = "") -> None:
        """Let several threads execute everything, by ``GOMP_parallel``.

        Before that the number of 64 bits at the place ``counter`` becomes 0, where one is named.
        """
        self._declared["declare void @GOMP_parallel(ptr, ptr, i32, i32)"] = None
        lines = [f"call void @GOMP_parallel(ptr @work, ptr %table, i32 {threads}, i32 0)"]
        if counter:
            at = f"getelementptr inbounds ptr, ptr %table, i64 {self.places.index(counter)}"
            lines[:0] = [f"%at = {at}", "%counter = load ptr, ptr %at", "store i64 0, ptr %counter, align 8"]
        self._team = "\n".join(["define i32 @kernel(ptr %table) {", *lines, "ret i32 0\n}"])

    # lines ------------------------------------------------------------------------------------------------------------

    def line(self, text: str) -> None:
        """Append an instruction without a result."""
        self._lines.append(text)

    def result(self, text: str) -> str:
        """Append an instruction; returns the name of its result."""
        name = self.fresh()
        self._lines.append(f"{name} = {text}")
        return name

    def fresh(self) -> str:
        """A name that nothing has yet."""
        self._count += 1
        return f"%v{self._count}"

    def call(self, function: str, result: str, arguments: Sequence[Number]) -> str:
        """The result of a function, an intrinsic or one of the C library."""
        types = ", ".join(item.type for item in arguments)
        self._declared[f"declare {result} @{function}({types})"] = None
        return self.result(f"call {result} @{function}({', '.join(item.typed for item in arguments)})")

    def procedure(self, function: str) -> None:
        """Call an intrinsic that takes nothing and answers nothing."""
        self._declared[f"declare void @{function}()"] = None
        self.line(f"call void @{function}()")

    def invoke(self, function: str, places: Sequence[str], numbers: Sequence[Number]) -> None:
        """Call a function that was written with ``numbers``, by the name that its compiler gave it.

        It refuses nothing.
        """
        self.invoke_at(self.pointer(function, len(places), len(numbers)), places, numbers)

    def pointer(self, function: str, places: int, numbers: int) -> str:
        """The place of such a function, of so many places and numbers, to be handed to another one."""
        self._declared[f"declare i32 @{function}({', '.join(['ptr'] * places + ['i64'] * numbers)})"] = None
        return f"@{function}"

    def invoke_at(self, function: str, places: Sequence[str], numbers: Sequence[Number]) -> None:
        """Call a function whose place this one was given."""
        given = ", ".join([*(f"ptr {place}" for place in places), *(item.typed for item in numbers)])
        self.result(f"call i32 {function}({given})")

    def entry(self, table: str, index: int) -> str:
        """A place that is named in a table of addresses."""
        at = self.result(f"getelementptr inbounds ptr, ptr {table}, i64 {index}")
        return self.result(f"load ptr, ptr {at}")

    # numbers ----------------------------------------------------------------------------------------------------------

    def constant(self, value: Any, dtype: np.dtype, lanes: int = 1) -> Number:
        """A known number."""
        return Number.constant(self, value, np.dtype(dtype), lanes)

    def index(self, value: int) -> Number:
        """A known place in a tensor."""
        return self.constant(value, INDEX)

    # memory -----------------------------------------------------------------------------------------------------------

    def load(self, place: str, at: Number | int, dtype: np.dtype, lanes: int = 1) -> Number:
        """``lanes`` numbers that lie one behind the other, from element ``at`` on."""
        stored = _stored(dtype, lanes)
        name = self.result(f"load {stored}, ptr {self.address(place, at, dtype)}, align {dtype.itemsize}")
        if dtype == BOOLEAN:
            name = self.result(f"trunc {stored} {name} to {register_type(dtype, lanes)}")
        return Number(self, name, dtype, lanes)

    def store(self, value: Number, place: str, at: Number | int) -> None:
        """Write all lanes one behind the other, from element ``at`` on."""
        stored, name = _stored(value.dtype, value.lanes), value.name
        if value.dtype == BOOLEAN:
            name = self.result(f"zext {value.type} {name} to {stored}")
        target = self.address(place, at, value.dtype)
        self.line(f"store {stored} {name}, ptr {target}, align {value.dtype.itemsize}")

    def store_past(self, value: Number, place: str, at: Number | int) -> None:
        """As ``store``, past the caches, which need not read what is overwritten.

        The address is a multiple of the vector's size. Others see it once this thread has called ``settle``.
        """
        self._is_past = True
        self.line(f"store {value.typed}, ptr {self.address(place, at, value.dtype)}, align {value.nbytes}, {PAST}")

    def settle(self) -> None:
        """Let everything that was stored be seen by all threads before what they are told next."""
        self.line("fence seq_cst")

    def prefetch(self, place: str, at: Number, dtype: np.dtype, cache: int = 1, *, is_written: bool = False) -> None:
        """Bring the cache line of element ``at`` into the first or the second cache, without waiting for it.

        What ``is_written`` is taken from other cores as well.
        """
        self._declared["declare void @llvm.prefetch.p0(ptr, i32, i32, i32)"] = None
        address = self.address(place, at, dtype)
        self.line(f"call void @llvm.prefetch.p0(ptr {address}, i32 {is_written:d}, i32 {4 - cache}, i32 1)")

    def load_some(self, place: str, at: Number, dtype: np.dtype, count: int, lanes: int, step: int = 1) -> Number:
        """As ``load``, ``step`` elements apart (0 repeats one), of which only ``count`` are there; the others are 1."""
        if step == 0:
            return self.load(place, at, dtype).spread(lanes)
        if step == 1:
            return self.load(place, at, dtype, count).widened(lanes, 1)
        if step == 2 and count > 1:
            rest = self.load(place, at + (count - 1), dtype, count)
            return self.load(place, at, dtype, count).every_second(rest).widened(lanes, 1)
        found = [self.load(place, at + lane * step, dtype) for lane in range(count)]
        return joined(found + [self.constant(1, dtype)] * (lanes - count))

    def store_some(self, value: Number, place: str, at: Number, count: int) -> None:
        """As ``store``, the first ``count`` lanes alone."""
        self.store(value.part(0, count), place, at)

    def copy(self, source: str, target: str, nbytes: int) -> None:
        """Bytes from one address to another; they do not overlap."""
        self._declared["declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)"] = None
        self.line(f"call void @llvm.memcpy.p0.p0.i64(ptr {target}, ptr {source}, i64 {nbytes}, i1 false)")

    def clear(self, target: str, nbytes: Number) -> None:
        """Zeros in so many bytes from an address on."""
        self._declared["declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)"] = None
        self.line(f"call void @llvm.memset.p0.i64(ptr {target}, i8 0, {nbytes.typed}, i1 false)")

    def address(self, place: str, at: Number | int, dtype: np.dtype) -> str:
        """Where element ``at`` lies: a place of its own."""
        item = _stored(dtype, 1)
        where = str(at) if isinstance(at, int) else at.name
        return self.result(f"getelementptr inbounds {item}, ptr {place}, i64 {where}")

    def either(self, truth: Number, place: str, other: str) -> str:
        """The one place where ``truth`` holds, else the other."""
        return self.result(f"select i1 {truth.name}, ptr {place}, ptr {other}")

    def scratch(self, dtype: np.dtype, count: int) -> str:
        """A place for ``count`` numbers on the stack."""
        name = self.fresh()
        self._cells.append(f"{name} = alloca [{count} x {_stored(dtype, 1)}], align 64")
        return name

    # control ----------------------------------------------------------------------------------------------------------

    def cell(self, value: Number) -> Cell:
        """A variable that holds ``value`` at first."""
        return Cell(self, value)

    def reserve(self, kind: str) -> str:
        """Space for a register's content on the stack; LLVM keeps it in a register."""
        name = self.fresh()
        self._cells.append(f"{name} = alloca {kind}")
        return name

    @contextmanager
    def loop(self, count: Number | int, step: Number | int = 1, start: Number | int = 0) -> Iterator[Number]:
        """What is written inside is repeated for ``start``, ``start + step``, ... below ``count``."""
        if isinstance(count, int) and isinstance(start, int) and isinstance(step, int) and 0 < count - start <= step:
            yield self.index(start)
            return
        counter = self.cell(start if isinstance(start, Number) else self.index(start))
        with self.repeat() as leave:
            position = counter.get()
            leave(position >= (count if isinstance(count, Number) else self.index(count)))
            yield position
            counter.set(position + step)

    def pieces(self, size: int, lanes: int, body: Callable[[Number, int], None]) -> None:
        """``body(position, count)`` for an axis a vector at a time: whole vectors in a loop, then what is left."""
        whole = size // lanes * lanes
        if whole:
            with self.loop(whole, lanes) as position:
                body(position, lanes)
        if whole < size:
            body(self.index(whole), size - whole)

    def refuse(self, condition: Number) -> None:
        """Leave the kernel with the status 1 if a condition holds. Not for what a team executes."""
        label, self._refuses = self.fresh()[1:], True
        self._lines += [f"br i1 {condition.name}, label %refused, label %{label}.good", f"{label}.good:"]

    @contextmanager
    def repeat(self) -> Iterator[Any]:
        """What is written inside is repeated until a condition holds that is given to what this yields."""
        label = self.fresh()[1:]
        self._lines += [f"br label %{label}.again", f"{label}.again:"]
        parts = 0

        def leave(condition: Number) -> None:
            nonlocal parts
            parts += 1
            inside = f"{label}.inside{parts}"
            self._lines += [f"br i1 {condition.name}, label %{label}.done, label %{inside}", f"{inside}:"]

        yield leave
        self._lines += [f"br label %{label}.again", f"{label}.done:"]

    @contextmanager
    def where(self, condition: Number) -> Iterator[None]:
        """What is written inside happens only if one condition holds."""
        label = self.fresh()[1:]
        self._lines += [f"br i1 {condition.name}, label %{label}.then, label %{label}.end", f"{label}.then:"]
        yield
        self._lines += [f"br label %{label}.end", f"{label}.end:"]


class Cell:
    """A variable of a kernel."""

    def __init__(self, code: Code, value: Number) -> None:
        self._code, self._like = code, value
        self._place = code.reserve(value.type)
        self.set(value)

    def get(self) -> Number:
        like = self._like
        return Number(self._code, self._code.result(f"load {like.type}, ptr {self._place}"), like.dtype, like.lanes)

    def set(self, value: Number) -> None:
        self._code.line(f"store {value.type} {value.name}, ptr {self._place}")


def _stored(dtype: np.dtype, lanes: int) -> str:
    """The type of numbers in memory, where a truth has a byte."""
    kind = "i8" if dtype == BOOLEAN else register_type(dtype, 1)
    return kind if lanes == 1 else f"<{lanes} x {kind}>"
