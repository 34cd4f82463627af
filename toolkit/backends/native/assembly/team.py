"""Several threads in one kernel: those of the OpenMP runtime that oneDNN brings, so that no second pool competes.

The work of a kernel is then a function that every thread of a team executes. Each finds its number and the size of the
team, which may be smaller than what was asked for, and they meet at barriers.
"""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Callable
from functools import cache

import numpy as np

from toolkit.backends import onednn
from toolkit.backends.native.assembly.code import Code
from toolkit.backends.native.assembly.number import INDEX, Number
from toolkit.backends.native.compilation.compiler import compiler
from toolkit.backends.onednn.library import load

WORTH_A_THREAD = 1 << 14  # elements of a pass over memory from which others help: some microseconds
PATIENCE = 4096  # looks at the counter before a thread offers its processor to others
PAUSES = {"x86_64": "llvm.x86.sse2.pause", "AMD64": "llvm.x86.sse2.pause"}  # what a waiting processor does
FUNCTIONS = ("GOMP_parallel", "omp_get_thread_num", "omp_get_num_threads")


@cache
def has_threads() -> bool:
    """Whether there is a runtime in this process that is spoken to as this one; kernels may then call ``FUNCTIONS``."""
    if not onednn.available():
        return False
    try:
        functions = {name: load().openmp(name) for name in FUNCTIONS}
    except AttributeError:
        return False
    compiler().provide({name: ctypes.cast(item, ctypes.c_void_p).value or 0 for name, item in functions.items()})
    return True


class Team:
    """The threads of a kernel while its code is written: ``number`` is who executes it, of ``count``.

    ``counter`` is a place of 8 bytes that barriers need, and nobody else uses.
    """

    def __init__(self, code: Code, threads: int, counter: str = "") -> None:
        self._code, self._counter = code, counter
        self.number, self.count = code.index(0), code.index(1)
        self.is_alone = threads == 1 or not has_threads()
        if not self.is_alone:
            code.execute_by_team(threads, counter)
            self.number, self.count = self._asked("omp_get_thread_num"), self._asked("omp_get_num_threads")

    def _asked(self, function: str) -> Number:
        name = self._code.call(function, "i32", ())
        return Number(self._code, name, np.dtype(np.int32), 1).converted(INDEX)

    def share(self, items: Number | int) -> tuple[Number, Number]:
        """From where to where this thread does ``items`` of work, neighbours together."""
        return self.number * items / self.count, (self.number + 1) * items / self.count

    def pieces(self, size: int, lanes: int, body: Callable[[Number, int], None]) -> None:
        """``body(position, count)`` for an axis: whole vectors are shared out, the first thread has what is left."""
        whole = size // lanes
        begin, end = self.share(whole)
        with self._code.loop(end, start=begin) as vector:
            body(vector * lanes, lanes)
        if size % lanes:
            with self._code.where(self.number.equals(0)):
                body(self._code.index(whole * lanes), size % lanes)

    def barrier(self) -> Callable[[], None]:
        """What lets all threads wait for each other, whenever it is written; a kernel has one."""
        code = self._code
        if self.is_alone:
            return lambda: None
        arrivals = code.cell(code.index(0))

        def meet() -> None:
            arrivals.set(arrivals.get() + self.count)
            code.line(f"atomicrmw add ptr {self._counter}, i64 1 acq_rel")
            looks = code.cell(code.index(0))
            with code.repeat() as leave:
                seen = Number(code, code.result(f"load atomic i64, ptr {self._counter} acquire, align 8"), INDEX, 1)
                leave(seen >= arrivals.get())
                looks.set(looks.get() + 1)
                with code.where(looks.get() > PATIENCE):
                    code.call("sched_yield", "i32", ())
                pause = PAUSES.get(platform.machine())
                if pause is not None:
                    code.procedure(pause)

        return meet
