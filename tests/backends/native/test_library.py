"""LLVM: what is no code is refused by name, the same text is compiled once, and a missing library is told."""

from __future__ import annotations

import sys

import pytest

from toolkit.backends import native
from toolkit.backends.native import library
from toolkit.errors import BackendError

NOTHING = "define i32 @kernel(ptr %table) {\nret i32 0\n}\n"


@pytest.mark.skipif(native.unavailable_reason() is not None, reason="needs llvmlite")
class TestCompiler:
    def test_what_is_no_code_is_refused(self) -> None:
        with pytest.raises(BackendError, match="LLVM does not take a kernel of the backend 'native'"):
            library.compiler().function("define i32 @kernel(ptr %table) { add }")

    def test_the_same_text_is_compiled_once(self) -> None:
        assert library.compiler().function(NOTHING) is library.compiler().function(NOTHING)

    def test_a_vector_has_room_for_at_least_two_doubles(self) -> None:
        assert library.compiler().vector_nbytes in (16, 32, 64)


def test_a_missing_library_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llvmlite", None)
    monkeypatch.setitem(sys.modules, "llvmlite.binding", None)
    with pytest.raises(BackendError, match="requires llvmlite"):
        library.compiler.__wrapped__()
