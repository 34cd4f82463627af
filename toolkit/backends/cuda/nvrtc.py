"""NVRTC through ctypes: CUDA C in, machine code for one compute capability out.

It needs no device and no driver. The library brings its own headers; ours need none of them.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache
from typing import Any

from toolkit.backends.cuda.library import load
from toolkit.errors import BackendError

OPTIONS = ("--std=c++17", "--device-as-default-execution-space", "--extra-device-vectorization")
LONGEST_LOG = 4000  # characters of a compiler's log that an error shows


@cache
def nvrtc() -> Any:
    """The library with its functions declared. Raises ``BackendError`` where it is missing."""
    library = load("nvrtc")
    text, program, size = ctypes.c_char_p, ctypes.c_void_p, ctypes.POINTER(ctypes.c_size_t)
    library.nvrtcGetErrorString.argtypes = [ctypes.c_int]
    library.nvrtcGetErrorString.restype = text
    texts = ctypes.POINTER(text)
    for name, arguments in (
        ("nvrtcVersion", [ctypes.POINTER(ctypes.c_int)] * 2),
        ("nvrtcCreateProgram", [ctypes.POINTER(program), text, text, ctypes.c_int, texts, texts]),
        ("nvrtcCompileProgram", [program, ctypes.c_int, texts]),
        ("nvrtcGetProgramLogSize", [program, size]),
        ("nvrtcGetProgramLog", [program, text]),
        ("nvrtcGetCUBINSize", [program, size]),
        ("nvrtcGetCUBIN", [program, text]),
        ("nvrtcDestroyProgram", [ctypes.POINTER(program)]),
    ):
        function = getattr(library, name)
        function.argtypes, function.restype = arguments, ctypes.c_int
    return library


@cache
def version() -> tuple[int, int]:
    """Of the library."""
    major, minor = ctypes.c_int(), ctypes.c_int()
    _check(nvrtc().nvrtcVersion(ctypes.byref(major), ctypes.byref(minor)), "nvrtcVersion")
    return major.value, minor.value


def options(capability: tuple[int, int]) -> tuple[str, ...]:
    """What a program is compiled with for a device."""
    return (f"--gpu-architecture=sm_{capability[0]}{capability[1]}", *OPTIONS)


def compile_source(source: str, name: str, given: Sequence[str]) -> bytes:
    """The machine code of a program. Raises ``BackendError`` with the compiler's log where it does not compile."""
    library, program = nvrtc(), ctypes.c_void_p()
    created = library.nvrtcCreateProgram(ctypes.byref(program), source.encode(), f"{name}.cu".encode(), 0, None, None)
    _check(created, "nvrtcCreateProgram")
    try:
        arguments = (ctypes.c_char_p * len(given))(*(item.encode() for item in given))
        status = library.nvrtcCompileProgram(program, len(given), arguments)
        if status:
            raise BackendError(
                f"The CUDA kernel {name!r} does not compile for {given[0]} with NVRTC {version()[0]}.{version()[1]} "
                f"({_message(status)}):\n{_log(library, program)[:LONGEST_LOG]}"
            )
        size = ctypes.c_size_t()
        _check(library.nvrtcGetCUBINSize(program, ctypes.byref(size)), "nvrtcGetCUBINSize")
        code = ctypes.create_string_buffer(size.value)
        _check(library.nvrtcGetCUBIN(program, code), "nvrtcGetCUBIN")
        return code.raw
    finally:
        library.nvrtcDestroyProgram(ctypes.byref(program))


def _log(library: Any, program: ctypes.c_void_p) -> str:
    size = ctypes.c_size_t()
    _check(library.nvrtcGetProgramLogSize(program, ctypes.byref(size)), "nvrtcGetProgramLogSize")
    text = ctypes.create_string_buffer(size.value)
    _check(library.nvrtcGetProgramLog(program, text), "nvrtcGetProgramLog")
    return text.value.decode(errors="replace").strip()


def _message(status: int) -> str:
    return str(nvrtc().nvrtcGetErrorString(status).decode())


def _check(status: int, function: str) -> None:
    if status:
        raise BackendError(f"{function} failed: {_message(status)}. Is the library nvrtc of this driver's generation?")
