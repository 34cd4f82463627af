"""CUDA kernels as machine code: compiled once for a device, kept on disk, loaded once in a process."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from toolkit.backends.code_cache import CodeCache, entry_name
from toolkit.backends.cuda import nvrtc
from toolkit.backends.cuda.device import device
from toolkit.backends.cuda.source import Function

CACHE = CodeCache("cuda")


def compiled(function: Function, capability: tuple[int, int]) -> bytes:
    """The machine code of a function, from the disk if it is there, else compiled and put there.

    An entry is named by the source, the options (which name the compute capability) and the version of NVRTC.
    """
    source, options = function.source(), nvrtc.options(capability)
    name = f"{function.name}-{entry_name(source, *options, *map(str, nvrtc.version()))}.cubin"
    code = CACHE.read(name)
    if code is None:
        code = nvrtc.compile_source(source, function.name, options)
        CACHE.write(name, code)
    return code


@lru_cache(maxsize=4096)
def loaded(function: Function) -> Any:
    """The function on the device, as pycuda has it; loaded once in a process, with its module."""
    owner = device()
    code = compiled(function, owner.capability)
    with owner.active() as driver:
        module = driver.module_from_buffer(code)
        return module.get_function(function.name)
