"""Compiled kernels on disk: what one process has compiled, later ones only read.

An entry is named by everything that its content depends on: the source, the options (which name the compute capability)
and the version of NVRTC. It begins with a digest of its code, so one that was damaged is compiled again. Entries are
written whole or not at all, so any number of processes may share a folder; where none can be written, all is compiled.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from toolkit.backends.cuda import nvrtc
from toolkit.backends.cuda.device import device
from toolkit.backends.cuda.source import Function
from toolkit.files import replacing

FOLDER_VARIABLE = "ONNX_TOOLKIT_CACHE"
DIGEST = hashlib.sha256().digest_size


def folder() -> Path:
    """``$ONNX_TOOLKIT_CACHE``, else the place where the user's caches lie."""
    chosen = os.environ.get(FOLDER_VARIABLE)
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "onnx-toolkit" / "cuda"


def compiled(function: Function, capability: tuple[int, int]) -> bytes:
    """The machine code of a function, from the folder if it is there, else compiled and put there."""
    source, options = function.source(), nvrtc.options(capability)
    place = folder() / f"{function.name}-{_key(source, options)}.cubin"
    code = _read(place)
    if code is None:
        code = nvrtc.compile_source(source, function.name, options)
        _write(place, code)
    return code


def _key(source: str, options: Sequence[str]) -> str:
    parts = [source, *options, *map(str, nvrtc.version())]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:40]


def _read(place: Path) -> bytes | None:
    """The code of an entry; ``None`` where there is none, or not as it was written."""
    try:
        content = place.read_bytes()
    except OSError:
        return None
    digest, code = content[:DIGEST], content[DIGEST:]
    return code if code and hashlib.sha256(code).digest() == digest else None


def _write(place: Path, code: bytes) -> None:
    """A folder that cannot be written to costs time, nothing else."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with replacing(place) as file:
            file.write(hashlib.sha256(code).digest() + code)
    except OSError:
        return


@lru_cache(maxsize=4096)
def loaded(function: Function) -> Any:
    """The function on the device, as pycuda has it; loaded once in a process, with its module."""
    owner = device()
    code = compiled(function, owner.capability)
    with owner.active() as driver:
        module = driver.module_from_buffer(code)
        return module.get_function(function.name)
