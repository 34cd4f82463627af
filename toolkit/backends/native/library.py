"""LLVM through llvmlite: LLVM assembly becomes functions in memory. Nothing else in the package knows the library.

It is imported when the first kernel is compiled. What was compiled stays for the life of the process, by its text:
kernels take addresses as arguments, so the same work in another context, or another layer, is the same function.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from typing import Any

import numpy as np

from toolkit.errors import BackendError

LANES = (("avx512f", 64), ("avx", 32))  # bytes of the vectors of a processor that has the feature
WITH_HALVES = ("f16c", "fullfp16", "fp-armv8")  # features of processors that convert floats of half width
USUAL_WIDTH = 16  # bytes, where it has neither
SPEED = 2  # how carefully machine code is chosen, of 3
# Kernels are vectorised and unrolled as they are written: cells must become registers, little else is left to improve,
# and whatever is tried costs time at start-up.
PASSES = ("sroa", "instruction_combine", "simplify_cfg", "loop_rotate", "instruction_combine")


class Compiler:
    """LLVM for the processor that this process runs on."""

    def __init__(self, binding: Any) -> None:
        binding.initialize_native_target()
        binding.initialize_native_asmprinter()
        self._binding = binding
        features = binding.get_host_cpu_features()
        self.vector_nbytes = next((width for name, width in LANES if features.get(name)), USUAL_WIDTH)
        self.converts_halves = any(features.get(name) for name in WITH_HALVES)
        target = binding.Target.from_default_triple()
        self._machine = target.create_target_machine(
            cpu=binding.get_host_cpu_name(), features=features.flatten(), opt=SPEED, jit=True
        )
        self._engine = binding.create_mcjit_compiler(binding.parse_assembly(""), self._machine)
        self._found: dict[str, Any] = {}
        self._lock = threading.Lock()

    def lanes(self, dtype: np.dtype) -> int:
        """How many numbers of a type one vector holds."""
        return self.vector_nbytes // dtype.itemsize

    def function(self, text: str, arguments: Sequence[Any] = (ctypes.c_void_p,)) -> Any:
        """The function ``kernel`` that the text defines; it answers with a status.

        Raises ``BackendError`` for what is no code.
        """
        with self._lock:
            found = self._found.get(text)
            if found is None:
                address = self._compiled(text, f"kernel_{len(self._found)}")
                found = self._found[text] = ctypes.CFUNCTYPE(ctypes.c_int, *arguments)(address)
            return found

    def _compiled(self, text: str, name: str) -> int:
        try:
            module = self._binding.parse_assembly(text.replace("@kernel(", f"@{name}("))
            module.verify()
        except RuntimeError as error:
            raise BackendError(f"LLVM does not take a kernel of the backend 'native': {error}") from error
        builder = self._binding.create_pass_builder(self._machine, self._binding.create_pipeline_tuning_options(SPEED))
        passes = self._binding.create_new_function_pass_manager()
        for title in PASSES:
            getattr(passes, f"add_{title}_pass")()
        for function in module.functions:
            if not function.is_declaration:
                passes.run(function, builder)
        self._engine.add_module(module)
        self._engine.finalize_object()
        return int(self._engine.get_function_address(name))


@cache
def compiler() -> Compiler:
    """The one compiler of this process. Raises ``BackendError`` where llvmlite is missing."""
    try:
        import llvmlite.binding
    except ImportError as error:
        raise BackendError(f"Backend 'native' requires llvmlite, which cannot be imported: {error}.") from error
    return Compiler(llvmlite.binding)


@cache
def unavailable_reason() -> str | None:
    """Why nothing can be compiled here; ``None`` where it can. The library is looked for, not imported."""
    return None if find_spec("llvmlite") else "llvmlite is not installed"
