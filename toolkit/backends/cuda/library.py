"""The libraries of CUDA: finding, loading, and saying what is missing.

They are looked for where NVIDIA's wheels put them, then where the system's loader looks. Everything native is loaded
here and nowhere else; argument types belong to the modules that call.
"""

from __future__ import annotations

import ctypes
import importlib.util
import sys
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from toolkit.errors import BackendError

REMEDY = 'Install them with pip install "onnx-toolkit[cuda]"'
DRIVER_REMEDY = "the driver comes with the machine: version 580 or newer"


@dataclass(frozen=True, slots=True)
class Library:
    """A shared library: its file, the folder in NVIDIA's wheels, and what it opens by bare name, loaded before it.

    ``parts`` is a pattern of files beside it that it opens as well.
    """

    file: str
    folder: str = ""
    before: tuple[str, ...] = ()
    parts: str = ""


LIBRARIES: dict[str, Library] = {
    "driver": Library("libcuda.so.1"),
    "nvrtc": Library("libnvrtc.so.13", "cu13/lib", parts="libnvrtc-builtins.so.*"),
    "cublasLt": Library("libcublasLt.so.13", "cu13/lib"),
    "cudnn": Library("libcudnn.so.9", "cudnn/lib", ("nvrtc", "cublasLt")),
}
MODULES = ("pycuda", "cupy")


@cache
def load(name: str) -> ctypes.CDLL:
    """A library by its name in ``LIBRARIES``. Raises ``BackendError`` where it is not found or cannot be loaded."""
    library, file = LIBRARIES[name], Path(path(name))
    for other in library.before:
        load(other)
    try:
        for part in sorted(file.parent.glob(library.parts)) if library.parts and file.is_absolute() else ():
            ctypes.CDLL(str(part), ctypes.RTLD_GLOBAL)
        return ctypes.CDLL(str(file), ctypes.RTLD_GLOBAL)
    except OSError as error:
        raise BackendError(f"The backend 'cuda' cannot load {name}: {error}. {REMEDY}; {DRIVER_REMEDY}.") from error


def path(name: str) -> str:
    """Where a library lies in NVIDIA's wheels; its bare name where it does not, for the system's loader."""
    library = LIBRARIES[name]
    for folder in _wheels() if library.folder else ():
        found = folder / library.folder / library.file
        if found.exists():
            return str(found)
    return library.file


def include_folders() -> list[Path]:
    """The folders of CUDA's headers in NVIDIA's wheels, for what is compiled at run time."""
    folders = (folder / "cu13" / "include" for folder in _wheels())
    return [folder for folder in folders if folder.is_dir()]


@cache
def _wheels() -> tuple[Path, ...]:
    spec = importlib.util.find_spec("nvidia")
    return tuple(map(Path, spec.submodule_search_locations or ())) if spec is not None else ()


def unavailable_reason() -> str | None:
    """What the backend lacks on this machine, as one sentence with the remedy; ``None`` if it lacks nothing."""
    lacking = missing()
    return f"missing are {', '.join(lacking)}. {REMEDY}; {DRIVER_REMEDY}." if lacking else None


def missing() -> list[str]:
    """Every piece that is missing: libraries, Python modules, and a device if there is a driver."""
    lacking = [f"{name} ({LIBRARIES[name].file})" for name in LIBRARIES if not _loads(name)]
    lacking += [name for name in MODULES if importlib.util.find_spec(name) is None]
    if not any(entry.startswith("driver") for entry in lacking):
        fault = device_fault()
        lacking += [fault] if fault else []
    return lacking


def _loads(name: str) -> bool:
    try:
        load(name)
    except BackendError:
        return False
    return True


def device_fault() -> str | None:
    """Why the driver offers no device, ``None`` if it offers one."""
    driver = load("driver")
    status = driver.cuInit(0)
    count = ctypes.c_int()
    if status == 0:
        status = driver.cuDeviceGetCount(ctypes.byref(count))
    if status == 0 and count.value:
        return None
    return "a device" if status == 0 else f"a device (the driver answers {driver_message(status)})"


def driver_message(status: int) -> str:
    """The driver's own name for an error."""
    text = ctypes.c_char_p()
    if load("driver").cuGetErrorName(status, ctypes.byref(text)) or text.value is None:
        return f"error {status}"
    return text.value.decode()


def module(name: str) -> Any:
    """A Python module of the backend, once it is needed. Raises ``BackendError`` where it is not installed."""
    if name not in sys.modules and importlib.util.find_spec(name.partition(".")[0]) is None:
        raise BackendError(f"The backend 'cuda' needs {name}. {REMEDY}.")
    return import_module(name)
