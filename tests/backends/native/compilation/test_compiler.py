"""The compiler: what is no code is refused by name, the same text is compiled once, in this process and the next."""

from __future__ import annotations

import ctypes
import importlib.metadata
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from toolkit.backends import code_cache, native
from toolkit.backends.native.assembly import team
from toolkit.backends.native.assembly.code import Code
from toolkit.backends.native.assembly.team import Team
from toolkit.backends.native.compilation import compiler, linking, llvm, processor
from toolkit.errors import BackendError

NOTHING = "define i32 @kernel(ptr %table) {\nret i32 0\n}\n"
SEVEN = "define i32 @kernel(ptr %table) {\nret i32 7\n}\n"
COPIES = """declare ptr @memcpy(ptr, ptr, i64)
@two = private constant [2 x double] [double 2.0, double 3.0], align 16
define i32 @kernel(ptr %table) {
    %done = call ptr @memcpy(ptr %table, ptr @two, i64 16)
    ret i32 5
}
"""
LOADS = "@{place} = {kind}\ndefine i32 @f() {{\n%r = load volatile i32, ptr @{place}\nret i32 %r\n}}"
HANDS_ON = """declare i32 @toupper(i32)
define ptr @f() {
    ret ptr @toupper
}
"""
needs_llvm = pytest.mark.skipif(native.unavailable_reason() is not None, reason="needs llvmlite")


@pytest.fixture
def compilations(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """The texts that LLVM was given, with nothing on disk at first."""
    seen: list[str] = []
    original = llvm.LLVM.compiled

    def compiled(self: llvm.LLVM, text: str) -> bytes:
        seen.append(text)
        return original(self, text)

    monkeypatch.setattr(llvm.LLVM, "compiled", compiled)
    monkeypatch.setenv(code_cache.FOLDER_VARIABLE, str(tmp_path))
    return seen


@needs_llvm
class TestCompiler:
    def test_what_is_no_code_is_refused(self) -> None:
        with pytest.raises(BackendError, match="LLVM does not take a kernel of the backend 'native'"):
            compiler.compiler().function("define i32 @kernel(ptr %table) { add }")

    def test_the_same_text_is_compiled_once(self, compilations: list[str]) -> None:
        one = compiler.Compiler()
        assert one.function(SEVEN) is one.function(SEVEN)
        assert one.name(SEVEN) != one.name(NOTHING)
        assert len(compilations) == 2

    def test_what_one_compiler_made_the_next_one_reads(self, compilations: list[str]) -> None:
        compiler.Compiler().function(SEVEN)
        again = compiler.Compiler()
        assert again.function(SEVEN)(None) == 7
        assert len(compilations) == 1
        assert "_llvm" not in vars(again)

    def test_a_damaged_entry_is_compiled_again(self, compilations: list[str], tmp_path: Path) -> None:
        compiler.Compiler().function(SEVEN)
        for entry in (tmp_path / "native").iterdir():
            entry.write_bytes(entry.read_bytes()[:-1])
        assert compiler.Compiler().function(SEVEN)(None) == 7
        assert len(compilations) == 2

    @pytest.mark.parametrize("change", ["edition", "processor"])
    def test_what_code_depends_on_tells_entries_apart(
        self, change: str, compilations: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        compiler.Compiler().function(SEVEN)
        if change == "edition":
            monkeypatch.setattr(compiler, "version", lambda name: "9.9")
        else:
            monkeypatch.setattr(compiler, "identity", lambda: "another one")
            monkeypatch.setattr(llvm.LLVM, "__init__", _of_another_processor)
        compiler.Compiler().function(SEVEN)
        assert len(compilations) == 2

    def test_a_kernel_that_holds_an_address_is_not_kept(self, compilations: list[str]) -> None:
        text = "define i32 @kernel(ptr %table) {\nstore ptr inttoptr (i64 64 to ptr), ptr %table\nret i32 0\n}\n"
        for _ in range(2):
            compiler.Compiler().function(text)
        assert len(compilations) == 2

    def test_a_kernel_is_invoked_by_a_name_that_lasts(self, compilations: list[str]) -> None:
        names = []
        for _ in range(2):
            own, callee, caller = compiler.Compiler(), Code(1, numbers=1), Code(1)
            callee.store(callee.numbers[0], callee.places[0], 0)
            names.append(own.name(callee.text()))
            caller.invoke(names[-1], caller.places, [caller.index(9)])
            place = ctypes.c_int64(0)
            own.function(caller.text())(ctypes.byref(ctypes.c_void_p(ctypes.addressof(place))))
            assert place.value == 9
        assert names[0] == names[1]
        assert len(compilations) == 2

    def test_a_vector_has_room_for_at_least_two_doubles(self) -> None:
        assert compiler.compiler().vector_nbytes in (16, 32, 64)

    def test_kernels_of_teams_say_nothing_of_this_process(self) -> None:
        code = Code(1)
        if Team(code, 2).is_alone:
            pytest.skip("needs an OpenMP runtime")
        assert all(f"@{name}(" in code.text() for name in team.FUNCTIONS)


def _of_another_processor(self: llvm.LLVM) -> None:
    ORIGINAL(self)
    self.processor = processor.Processor("another", self.processor.features)


ORIGINAL = llvm.LLVM.__init__


@needs_llvm
class TestLinking:
    def test_constants_and_functions_of_the_c_library_are_found(self) -> None:
        place = (ctypes.c_double * 2)()
        assert compiler.compiler().function(COPIES)(place) == 5
        assert list(place) == [2.0, 3.0]

    def test_the_address_of_a_function_can_be_handed_on(self) -> None:
        found = ctypes.CFUNCTYPE(ctypes.c_void_p)(linking.place(llvm.LLVM().compiled(HANDS_ON), "f", {}))()
        assert ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)(found)(ord("a")) == ord("A")

    @pytest.mark.parametrize("reason", ["machine", "file"])
    def test_llvm_links_what_is_not_linked_here(self, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
        if reason == "machine":
            monkeypatch.setattr(platform, "machine", lambda: "another")
        else:
            monkeypatch.setattr(linking, "MAGIC", b"another")
        place = (ctypes.c_double * 2)()
        assert compiler.Compiler().function(COPIES)(place) == 5
        assert list(place) == [2.0, 3.0]

    @pytest.mark.parametrize(
        ("text", "complaint"),
        [
            (
                "declare i32 @nobody()\ndefine i32 @f() {\n%r = call i32 @nobody()\nret i32 %r\n}",
                "no function 'nobody'",
            ),
            (LOADS.format(place="errno", kind="external thread_local global i32"), "relocation .* to 'errno'"),
            (LOADS.format(place="x", kind="constant i32 7"), "relocation"),
            (LOADS.format(place="x", kind="global i32 7"), "memory that is written to"),
            ("define i32 @g() {\nret i32 0\n}", "no function 'f'"),
        ],
    )
    def test_what_kernels_do_not_have_is_refused(self, text: str, complaint: str) -> None:
        with pytest.raises(linking.UnlinkableError, match=complaint):
            linking.place(llvm.LLVM().compiled(text), "f", {})

    @pytest.mark.parametrize(
        ("code", "complaint"),
        [(b"MZ", "no ELF file"), (linking.MAGIC.ljust(18, b"\0") + b"\xb7".ljust(60, b"\0"), "machine 183")],
    )
    def test_files_of_other_machines_are_refused(self, code: bytes, complaint: str) -> None:
        with pytest.raises(linking.UnlinkableError, match=complaint):
            linking.place(code, "f", {})

    def test_a_system_without_executable_memory_is_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(linking, "EXECUTABLE", -1)
        with pytest.raises(linking.UnlinkableError, match="no memory become executable"):
            linking.place(llvm.LLVM().compiled(SEVEN), "kernel", {})


def test_a_processor_without_a_description_is_asked_each_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(processor, "CPUINFO", tmp_path / "none")
    assert processor.identity() is None
    (tmp_path / "some").write_text("Processor : 7\n\n")
    monkeypatch.setattr(processor, "CPUINFO", tmp_path / "some")
    assert processor.identity() is None


def test_measurements_do_not_belong_to_a_processor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(processor, "CPUINFO", tmp_path / "info")
    found = []
    for speed in ("2400", "2401"):
        (tmp_path / "info").write_text(
            f"vendor_id\t: some\ncpu MHz\t\t: {speed}\nflags\t\t: sse avx\n\nvendor_id\t: x\n"
        )
        found.append(processor.identity())
    assert found == ["vendor_id\t: some\nflags\t\t: sse avx"] * 2


def test_features_tell_what_a_processor_can_do() -> None:
    made = [processor.Processor("", features) for features in ("+sse2,-avx", "+avx,+f16c", "+avx,+avx512f")]
    assert [item.vector_nbytes for item in made] == [16, 32, 64]
    assert [item.registers for item in made] == [16, 16, 32]
    assert [item.converts_halves for item in made] == [False, True, False]
    assert not any(item.rounds_bfloat16 for item in made)
    assert not any(item.multiplies_bfloat16 for item in (*made, processor.Processor("", "+avx512f,+amx-bf16")))
    narrow = processor.Processor("", "+avx512f,+avx512bf16")
    assert narrow.rounds_bfloat16 and narrow.multiplies_bfloat16


@pytest.mark.parametrize("lack", ["module", "distribution"])
def test_a_missing_library_is_told(lack: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def absent(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setenv(code_cache.FOLDER_VARIABLE, str(tmp_path))
    if lack == "module":
        monkeypatch.setitem(sys.modules, "llvmlite", None)
        monkeypatch.setitem(sys.modules, "llvmlite.binding", None)
        monkeypatch.setattr(compiler, "version", lambda name: "1")
    else:
        monkeypatch.setattr(compiler, "version", absent)
    with pytest.raises(BackendError, match="requires llvmlite"):
        compiler.Compiler()


@needs_llvm
def test_a_process_that_finds_all_on_disk_does_not_load_llvm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(code_cache.FOLDER_VARIABLE, str(tmp_path))
    compiler.Compiler().function(SEVEN)
    script = (
        "import sys; from toolkit.backends.native.compilation.compiler import compiler;"
        f"print(compiler().function({SEVEN!r})(None), 'llvmlite' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert run.stdout.split() == ["7", "False"], run.stderr
