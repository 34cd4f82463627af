"""Native calls in a row are made by one: all of them, in order, up to the first that fails."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import pytest

from toolkit.backends import native
from toolkit.backends.native.sequence import in_one_call
from toolkit.backends.protocol import NativeCall, Step

if native.unavailable_reason() is not None:
    pytest.skip("needs llvmlite", allow_module_level=True)

STATUS = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
NOTHING = ctypes.CFUNCTYPE(None, ctypes.c_int64)


class Recorder:
    """Native functions that write down what they are given."""

    def __init__(self) -> None:
        self.seen: list[Any] = []
        self._status = STATUS(lambda number, answer: self.seen.append(number) or answer)
        self._nothing = NOTHING(self.seen.append)

    def call(self, number: int, answer: int = 0) -> NativeCall:
        return NativeCall(self._status, number, answer)

    def silent(self, number: int) -> NativeCall:
        return NativeCall(self._nothing, number, has_status=False)

    def python(self, number: int) -> Step:
        return lambda: self.seen.append(number)


def made(steps: list[Step]) -> list[Any]:
    return [step() for step in in_one_call(steps)]


def test_calls_in_a_row_become_one() -> None:
    recorder = Recorder()
    steps = [recorder.call(1), recorder.silent(2), recorder.call(3)]
    assert made(steps) == [0]
    assert recorder.seen == [1, 2, 3]


def test_other_steps_stay_between_them() -> None:
    recorder = Recorder()
    steps = [recorder.call(1), recorder.call(2), recorder.python(3), recorder.call(4)]
    assert len(in_one_call(steps)) == 3
    made(steps)
    assert recorder.seen == [1, 2, 3, 4]


def test_the_first_status_that_is_not_zero_ends_it() -> None:
    recorder = Recorder()
    assert made([recorder.call(1), recorder.call(2, 7), recorder.call(3)]) == [7]
    assert recorder.seen == [1, 2]


@pytest.mark.parametrize("count", [0, 1])
def test_what_is_alone_stays_as_it_is(count: int) -> None:
    steps: list[Callable[[], Any]] = [Recorder().call(1)] * count
    assert in_one_call(steps) == steps


def test_a_sequence_keeps_what_its_calls_need() -> None:
    recorder = Recorder()
    owned = object()
    call = NativeCall(recorder.call(1).func, 1, 0, kept=(owned,))
    (step,) = in_one_call([call, call])
    assert isinstance(step, NativeCall)
    assert any(item is call for item in step.kept)
