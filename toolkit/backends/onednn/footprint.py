"""The memory that loading the library leaves behind, handed back.

Relocating a library of 40 MB reads a good part of its code into the process, which then counts as used memory although
only the kernels of one machine's instruction set will ever run. The pages are a clean mapping of the file: dropping
them costs nothing but reading again what is really called.
"""

from __future__ import annotations

import ctypes
from pathlib import Path

_MAPS = Path("/proc/self/maps")
_DONT_NEED = 4  # MADV_DONTNEED of Linux


def release_code_pages(file_name: str) -> int:
    """Drop the resident pages of the executable mappings of a loaded library; returns the bytes of these mappings.

    ``file_name`` is a part of the library's path. Does nothing, and returns 0, where the system is not Linux.
    """
    if not _MAPS.is_file():
        return 0
    advise = ctypes.CDLL(None).madvise
    advise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    released = 0
    for line in _MAPS.read_text().splitlines():
        fields = line.split(maxsplit=5)
        if len(fields) == 6 and file_name in fields[5] and fields[1] == "r-xp":
            start, end = (int(address, 16) for address in fields[0].split("-"))
            if advise(start, end - start, _DONT_NEED) == 0:
                released += end - start
    return released
