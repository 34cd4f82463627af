"""Several calls of native functions as one: a loop over rows in memory, so that a run leaves Python once.

A row is a function, what to make of its answer (all bits of a status, none of a function without one), and four
arguments. The loop ends at the first status that is not zero, and returns it.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from itertools import groupby
from typing import Any

import numpy as np

from toolkit.backends.native.compilation.compiler import compiler
from toolkit.backends.protocol import NativeCall, Step

ARGUMENTS = 4
_FUNCTION, _MASK, _FIRST = 0, 1, 2
WIDTH = _FIRST + ARGUMENTS


def _text() -> str:
    lines = ["define i32 @kernel(ptr %rows, i64 %count) {", "entry:", "br label %again", "again:"]
    lines += ["%row = phi i64 [0, %entry], [%next, %went]", "%ended = icmp eq i64 %row, %count"]
    lines += ["br i1 %ended, label %done, label %go", "go:", f"%base = mul i64 %row, {WIDTH}"]
    for column in range(WIDTH):
        kind = "ptr" if column == _FUNCTION else "i64"
        lines.append(f"%place{column} = add i64 %base, {column}")
        lines.append(f"%at{column} = getelementptr i64, ptr %rows, i64 %place{column}")
        lines.append(f"%c{column} = load {kind}, ptr %at{column}")
    given = ", ".join(f"i64 %c{_FIRST + index}" for index in range(ARGUMENTS))
    lines += [f"%answer = call i64 %c{_FUNCTION}({given})", f"%masked = and i64 %answer, %c{_MASK}"]
    lines += ["%status = trunc i64 %masked to i32", "%good = icmp eq i32 %status, 0"]
    lines += ["br i1 %good, label %went, label %failed", "went:", "%next = add i64 %row, 1", "br label %again"]
    lines += ["failed:", "ret i32 %status", "done:", "ret i32 0", "}"]
    return "\n".join(lines)


TEXT = _text()


def in_one_call(steps: Sequence[Step]) -> list[Any]:
    """The steps, with those in a row that are native calls made one by one native call."""
    found: list[Any] = []
    for is_native, group in groupby(steps, lambda step: isinstance(step, NativeCall)):
        together = list(group)
        found += [_sequence(together)] if is_native and len(together) > 1 else together
    return found


def _sequence(calls: Sequence[Any]) -> NativeCall:
    rows = np.zeros((len(calls), WIDTH), np.int64)
    for row, call in zip(rows, calls, strict=True):
        row[_FUNCTION] = call.address
        row[_MASK] = 0xFFFFFFFF if call.has_status else 0
        row[_FIRST : _FIRST + len(call.words)] = call.words
    function = compiler().function(TEXT, (ctypes.c_void_p, ctypes.c_int64))
    return NativeCall(function, rows.ctypes.data, len(calls), kept=(rows, *calls))
