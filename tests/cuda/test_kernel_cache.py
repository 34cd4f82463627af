"""Compiled kernels of a device: compiled once, named by all they depend on."""

from __future__ import annotations

import pytest

from toolkit.backends import code_cache
from toolkit.backends.cuda import kernel_cache, nvrtc
from toolkit.backends.cuda.source import Function

ONE = Function("one", ("float32* y",), "    y[0] = 1;")
TWO = Function("one", ("float32* y",), "    y[0] = 2;")


@pytest.fixture
def compilations(monkeypatch, tmp_path) -> list[str]:
    """The sources that were compiled, with an empty folder."""
    seen: list[str] = []

    def compile_source(source: str, name: str, given: tuple[str, ...]) -> bytes:
        seen.append(source)
        return f"code {len(seen)} for {given[0]}".encode()

    monkeypatch.setattr(nvrtc, "compile_source", compile_source)
    monkeypatch.setattr(nvrtc, "version", lambda: (13, 0))
    monkeypatch.setenv(code_cache.FOLDER_VARIABLE, str(tmp_path / "kernels"))
    return seen


def test_an_entry_is_compiled_once(compilations):
    first = kernel_cache.compiled(ONE, (9, 0))
    assert kernel_cache.compiled(ONE, (9, 0)) == first == b"code 1 for --gpu-architecture=sm_90"
    assert len(compilations) == len(list(kernel_cache.CACHE.folder().iterdir())) == 1


def test_source_device_and_compiler_tell_entries_apart(compilations, monkeypatch):
    made = [kernel_cache.compiled(function, device) for function in (ONE, TWO) for device in ((8, 0), (9, 0))]
    monkeypatch.setattr(nvrtc, "version", lambda: (13, 1))
    made.append(kernel_cache.compiled(ONE, (8, 0)))
    assert len(set(made)) == len(list(kernel_cache.CACHE.folder().iterdir())) == 5
