"""Compiled kernels on disk: compiled once, named by all they depend on, compiled again where an entry is damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

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
    monkeypatch.setenv(kernel_cache.FOLDER_VARIABLE, str(tmp_path / "kernels"))
    return seen


def entries() -> list[Path]:
    return sorted(kernel_cache.folder().iterdir())


def test_an_entry_is_compiled_once(compilations):
    first = kernel_cache.compiled(ONE, (9, 0))
    assert kernel_cache.compiled(ONE, (9, 0)) == first == b"code 1 for --gpu-architecture=sm_90"
    assert len(compilations) == len(entries()) == 1


def test_source_device_and_compiler_tell_entries_apart(compilations, monkeypatch):
    made = [kernel_cache.compiled(function, device) for function in (ONE, TWO) for device in ((8, 0), (9, 0))]
    monkeypatch.setattr(nvrtc, "version", lambda: (13, 1))
    made.append(kernel_cache.compiled(ONE, (8, 0)))
    assert len(set(made)) == len(entries()) == 5


@pytest.mark.parametrize("content", [b"", b"short", b"x" * 200])
def test_a_damaged_entry_is_compiled_again(compilations, content):
    kernel_cache.compiled(ONE, (9, 0))
    entries()[0].write_bytes(content)
    assert kernel_cache.compiled(ONE, (9, 0)).startswith(b"code 2")
    assert kernel_cache.compiled(ONE, (9, 0)).startswith(b"code 2")


def test_without_a_folder_everything_is_compiled(compilations, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv(kernel_cache.FOLDER_VARIABLE, str(tmp_path / "file" / "kernels"))
    assert kernel_cache.compiled(ONE, (9, 0)) != kernel_cache.compiled(ONE, (9, 0))


def test_the_folder_is_where_caches_lie(monkeypatch, tmp_path):
    monkeypatch.delenv(kernel_cache.FOLDER_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert kernel_cache.folder() == tmp_path / "onnx-toolkit" / "cuda"
