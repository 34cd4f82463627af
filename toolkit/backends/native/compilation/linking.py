"""Machine code in memory: an object file of LLVM's becomes functions that can be called, without LLVM.

Known are relocatable ELF files for x86-64 as LLVM writes them for code that may lie anywhere (``-fPIC``), with the few
relocations that kernels have; ``UnlinkableError`` tells of all else. What a kernel calls outside of itself may be out
of a jump's reach, so it is called through a stub behind the code, which holds its address for those who hand it on.
Memory is never writable and executable at once.
"""

from __future__ import annotations

import ctypes
import mmap
import platform
import struct
import sys
from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

HEADER = struct.Struct("<16sHHIQQQIHHHHHH")  # of the file
SECTION = struct.Struct("<IIQQQQIIQQ")
SYMBOL = struct.Struct("<IBBHQQ")
RELOCATION = struct.Struct("<QQq")
MAGIC = b"\x7fELF\x02\x01"  # 64 bits, little endian
X86_64 = 62
CONTENT, SYMBOLS, RELOCATIONS = 1, 2, 4  # types of sections
UNWINDING = 0x70000001  # type of the section that tells how to leave a function by an exception
WRITTEN, IN_MEMORY = 1, 2  # flags of sections
UNDEFINED = 0  # the section of symbols that are elsewhere
ABSOLUTE_64, RELATIVE_32, CALL_32 = 1, 2, 4  # types of relocations
ADDRESS_32 = (9, 41, 42)  # the same for places where the address of a function lies
STUB = b"\xff\x25\0\0\0\0"  # jmp through the eight bytes that follow
STUB_NBYTES = 16
EXECUTABLE = 5  # PROT_READ | PROT_EXEC


class UnlinkableError(Exception):
    """The file is none of this machine's, or holds what kernels do not have."""


class _Section(NamedTuple):
    name: int
    type: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    info: int
    alignment: int
    entry_size: int


_KEPT: list[mmap.mmap] = []  # code stays for the life of the process: whoever holds an address may call it


def place(code: bytes, name: str, known: Mapping[str, int]) -> int:
    """The address of the function ``name`` of an object file; ``known`` are addresses of what it calls by name.

    Functions that are not among these are those of the C library. Raises ``UnlinkableError``.
    """
    if not (sys.platform == "linux" and platform.machine() == "x86_64"):
        raise UnlinkableError("only objects for x86-64 Linux are linked here")
    return _Object(code).place(name, known)


class _Object:
    """An object file, taken apart."""

    def __init__(self, code: bytes) -> None:
        self._code = code
        if not code.startswith(MAGIC):
            raise UnlinkableError("no ELF file of 64 bits")
        header = HEADER.unpack_from(code)
        if header[2] != X86_64:
            raise UnlinkableError(f"machine {header[2]}")
        start, count = header[6], header[12]
        table = code[start : start + count * SECTION.size]
        self._sections = [_Section._make(fields) for fields in SECTION.iter_unpack(table)]
        symbols = [section for section in self._sections if section.type == SYMBOLS]
        self._symbols = [found for section in symbols for found in SYMBOL.iter_unpack(self._content(section))]
        self._names = self._content(self._sections[symbols[0].link]) if symbols else b""

    def _content(self, section: _Section) -> bytes:
        return self._code[section.offset : section.offset + section.size]

    def _name(self, symbol: tuple[int, ...]) -> str:
        return self._names[symbol[0] : self._names.index(b"\0", symbol[0])].decode()

    def place(self, name: str, known: Mapping[str, int]) -> int:
        """See the function of this name."""
        offsets, end = self._offsets()
        outside = [index for index, symbol in enumerate(self._symbols) if symbol[3] == UNDEFINED and symbol[0]]
        stubs = {index: end + position * STUB_NBYTES for position, index in enumerate(outside)}
        memory = mmap.mmap(-1, end + len(stubs) * STUB_NBYTES)
        base = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        for index, offset in offsets.items():
            section = self._sections[index]
            memory[offset : offset + section.size] = self._content(section)
        for index, offset in stubs.items():
            target = _address(self._name(self._symbols[index]), known)
            memory[offset : offset + len(STUB) + 8] = STUB + struct.pack("<Q", target)
        for section in self._sections:
            if section.type == RELOCATIONS and section.info in offsets:
                self._relocate(memory, base, section, offsets, stubs)
        _make_executable(base, len(memory))
        _KEPT.append(memory)
        for symbol in self._symbols:
            if symbol[3] in offsets and self._name(symbol) == name:
                return base + offsets[symbol[3]] + symbol[4]
        raise UnlinkableError(f"no function {name!r}")

    def _offsets(self) -> tuple[dict[int, int], int]:
        """Where the sections that are needed to run go, by index, and where free memory begins behind them."""
        offsets, end = {}, 0
        for index, section in enumerate(self._sections):
            if section.flags & IN_MEMORY and section.type != UNWINDING and section.size:
                if section.flags & WRITTEN or section.type != CONTENT:
                    raise UnlinkableError("memory that is written to")
                end = -(-end // section.alignment) * section.alignment
                offsets[index] = end
                end += section.size
        return offsets, -(-end // STUB_NBYTES) * STUB_NBYTES

    def _relocate(
        self, memory: mmap.mmap, base: int, section: _Section, offsets: Mapping[int, int], stubs: Mapping[int, int]
    ) -> None:
        for at, kind_and_symbol, addend in RELOCATION.iter_unpack(self._content(section)):
            index, kind = kind_and_symbol >> 32, kind_and_symbol & 0xFFFFFFFF
            symbol = self._symbols[index]
            place = offsets[section.info] + at
            if symbol[3] in offsets and kind not in ADDRESS_32:
                target = offsets[symbol[3]] + symbol[4]
            elif index in stubs and kind == CALL_32:
                target = stubs[index]
            elif index in stubs and kind in ADDRESS_32:
                target = stubs[index] + len(STUB)
            else:
                raise UnlinkableError(f"relocation {kind} to {self._name(symbol)!r}")
            if kind in (RELATIVE_32, CALL_32, *ADDRESS_32):
                struct.pack_into("<i", memory, place, target + addend - place)
            elif kind == ABSOLUTE_64:
                struct.pack_into("<Q", memory, place, base + target + addend)
            else:
                raise UnlinkableError(f"relocation {kind}")


def _address(name: str, known: Mapping[str, int]) -> int:
    """Where a function lies that a kernel calls."""
    if name in known:
        return known[name]
    try:
        return ctypes.cast(_process()[name], ctypes.c_void_p).value or 0
    except AttributeError as error:
        raise UnlinkableError(f"no function {name!r} in this process") from error


@cache
def _process() -> ctypes.CDLL:
    return ctypes.CDLL(None)


def _make_executable(address: int, nbytes: int) -> None:
    protect = _process().mprotect
    protect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    if protect(address, nbytes, EXECUTABLE):
        raise UnlinkableError("the system lets no memory become executable")
