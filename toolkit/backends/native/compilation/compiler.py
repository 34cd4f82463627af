"""The compiler of kernels: assembly becomes functions in memory, by LLVM the first time, from the disk ever after.

What was compiled stays for the life of the process, by its text: kernels take addresses as arguments, so the same work
in another context, or another layer, is the same function. Its machine code stays on disk, named by the text, the
processor and the edition of LLVM; a process that finds there all it needs does not even load LLVM.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Mapping, Sequence
from functools import cache, cached_property
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any

import numpy as np

from toolkit.backends.code_cache import CodeCache, entry_name
from toolkit.backends.native.compilation import linking
from toolkit.backends.native.compilation.llvm import LLVM, PASSES, SPEED
from toolkit.backends.native.compilation.processor import Processor, identity
from toolkit.errors import BackendError

FORM = "1"  # of what is compiled, beside its text: to be changed whenever the same text would become other code
ADDRESS = "inttoptr"  # what names a place in memory is good for this process alone
CACHE = CodeCache("native")


class Compiler:
    """Makes functions for the processor of this process. Raises ``BackendError`` where llvmlite is missing."""

    def __init__(self) -> None:
        try:
            edition = version("llvmlite")
        except PackageNotFoundError as error:
            raise BackendError("Backend 'native' requires llvmlite, which is not installed.") from error
        self._edition = entry_name(FORM, edition, str(SPEED), *PASSES)
        self._found: dict[str, Any] = {}
        self._functions: dict[str, int] = {}
        self._lock = threading.Lock()
        self._processor = self._recognised()
        self._for = entry_name(self._edition, *self._processor)
        self.vector_nbytes, self.converts_halves = self._processor.vector_nbytes, self._processor.converts_halves
        self.registers = self._processor.registers
        self.rounds_bfloat16 = self._processor.rounds_bfloat16
        self.multiplies_bfloat16 = self._processor.multiplies_bfloat16

    def lanes(self, dtype: np.dtype) -> int:
        """How many numbers of a type one vector holds."""
        return self.vector_nbytes // dtype.itemsize

    def provide(self, functions: Mapping[str, int]) -> None:
        """Let kernels call functions by name that are not in the C library; the addresses are good for ever."""
        self._functions.update(functions)

    def name(self, text: str) -> str:
        """The name under which ``Code.invoke`` finds the function that the text defines; the same in every process.

        Raises ``BackendError`` for what is no code.
        """
        with self._lock:
            return self._named(text)

    def function(self, text: str, arguments: Sequence[Any] = (ctypes.c_void_p,)) -> Any:
        """The function ``kernel`` that the text defines; it answers with a status.

        Raises ``BackendError`` for what is no code.
        """
        with self._lock:
            found = self._found.get(text)
            if found is None:
                address = self._functions[self._named(text)]
                found = self._found[text] = ctypes.CFUNCTYPE(ctypes.c_int, *arguments)(address)
            return found

    def _named(self, text: str) -> str:
        entry = entry_name(self._for, text)
        name = f"kernel_{entry}"
        if name not in self._functions:
            self._functions[name] = self._placed(text, entry, name)
        return name

    def _placed(self, text: str, entry: str, name: str) -> int:
        is_lasting = ADDRESS not in text
        code = CACHE.read(entry) if is_lasting else None
        if code is None:
            code = self._llvm.compiled(text.replace("@kernel(", f"@{name}("))
            if is_lasting:
                CACHE.write(entry, code)
        try:
            return linking.place(code, name, self._functions)
        except linking.UnlinkableError:
            return self._llvm.place(code, name, self._functions)

    def _recognised(self) -> Processor:
        """The processor, by what LLVM said of it when it was loaded last."""
        known = identity()
        entry = None if known is None else entry_name(self._edition, known)
        content = None if entry is None else CACHE.read(entry)
        if content is not None:
            return Processor(*content.decode().split("\n"))
        found = self._llvm.processor
        if entry is not None:
            CACHE.write(entry, "\n".join(found).encode())
        return found

    @cached_property
    def _llvm(self) -> LLVM:
        return LLVM()


@cache
def compiler() -> Compiler:
    """The one compiler of this process. Raises ``BackendError`` where llvmlite is missing."""
    return Compiler()


@cache
def unavailable_reason() -> str | None:
    """Why nothing can be compiled here; ``None`` where it can. The library is looked for, not imported."""
    return None if find_spec("llvmlite") else "llvmlite is not installed"
