"""NVRTC: errors carry the compiler's log; where the library is there, every family compiles for two devices."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tests.cuda.test_kernels_on_host import rows
from toolkit.backends.cuda import nvrtc
from toolkit.backends.cuda.library import load
from toolkit.backends.cuda.source import Function
from toolkit.errors import BackendError

LOG = b"one.cu(3): error: expected a ;"


def is_there() -> bool:
    try:
        load("nvrtc")
    except BackendError:
        return False
    return True


def stub(**answers: int) -> Any:
    """A library that compiles nothing and has a log; ``answers`` are what calls return beside success."""

    def log_size(program: object, size: Any) -> int:
        size._obj.value = len(LOG) + 1
        return 0

    def log(program: object, text: Any) -> int:
        text.value = LOG
        return 0

    functions = {name: lambda *_: 0 for name in ("nvrtcCreateProgram", "nvrtcCompileProgram", "nvrtcDestroyProgram")}
    functions |= {name: lambda *_, answer=answer: answer for name, answer in answers.items()}
    named = {"nvrtcGetErrorString": lambda status: f"NVRTC_ERROR_{status}".encode()}
    return SimpleNamespace(nvrtcGetProgramLogSize=log_size, nvrtcGetProgramLog=log, **functions, **named)


def use(monkeypatch: pytest.MonkeyPatch, library: Any) -> None:
    monkeypatch.setattr(nvrtc, "nvrtc", lambda: library)
    monkeypatch.setattr(nvrtc, "version", lambda: (13, 0))


def test_what_does_not_compile_is_told_with_the_log(monkeypatch):
    use(monkeypatch, stub(nvrtcCompileProgram=6))
    with pytest.raises(BackendError, match=r"'one' does not compile for --gpu-architecture=sm_90 .*\n.*expected a ;"):
        nvrtc.compile_source("", "one", nvrtc.options((9, 0)))


def test_a_failing_call_is_named(monkeypatch):
    use(monkeypatch, stub(nvrtcCreateProgram=1))
    with pytest.raises(BackendError, match="nvrtcCreateProgram failed: NVRTC_ERROR_1"):
        nvrtc.compile_source("", "one", nvrtc.options((9, 0)))


@pytest.mark.skipif(not is_there(), reason="needs NVRTC")
@pytest.mark.parametrize("capability", [(8, 0), (9, 0)])
def test_kernels_of_every_family_compile(capability):
    functions: dict[tuple[str, str], Function] = {}
    for row in rows():
        functions |= {(launch.function.name, row.case.operator): launch.function for launch in row.kernel.launches}
    for function in functions.values():
        assert nvrtc.compile_source(function.source(), function.name, nvrtc.options(capability))[:4] == b"\x7fELF"
