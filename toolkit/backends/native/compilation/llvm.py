"""LLVM through llvmlite: assembly becomes machine code. Nothing else in the package knows the library."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from toolkit.backends.native.compilation.processor import Processor
from toolkit.errors import BackendError

SPEED = 2  # how carefully machine code is chosen, of 3
# Kernels are vectorised and unrolled as they are written: cells must become registers, little else is left to improve,
# and whatever is tried costs time at start-up.
PASSES = ("sroa", "instruction_combine", "simplify_cfg", "loop_rotate", "instruction_combine")


class LLVM:
    """The library, for the processor that this process runs on."""

    def __init__(self) -> None:
        try:
            import llvmlite.binding as binding
        except ImportError as error:
            raise BackendError(f"Backend 'native' requires llvmlite, which cannot be imported: {error}.") from error
        binding.initialize_native_target()
        binding.initialize_native_asmprinter()
        self._binding = binding
        self.processor = Processor(binding.get_host_cpu_name(), binding.get_host_cpu_features().flatten())
        self._machine = binding.Target.from_default_triple().create_target_machine(
            cpu=self.processor.name, features=self.processor.features, opt=SPEED, reloc="pic", codemodel="small"
        )
        self._engine: Any = None

    def compiled(self, text: str) -> bytes:
        """The object file of an assembly. Raises ``BackendError`` for what is no code."""
        try:
            module = self._binding.parse_assembly(text)
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
        return bytes(self._machine.emit_object(module))

    def place(self, code: bytes, name: str, known: Mapping[str, int]) -> int:
        """The address of the function ``name`` of an object file, as ``linking.place`` has it, on any machine."""
        if self._engine is None:
            machine = self._binding.Target.from_default_triple().create_target_machine(jit=True)
            self._engine = self._binding.create_mcjit_compiler(self._binding.parse_assembly(""), machine)
        for function, address in known.items():
            self._binding.add_symbol(function, address)
        self._engine.add_object_file(self._binding.ObjectFileRef.from_data(code))
        self._engine.finalize_object()
        return int(self._engine.get_function_address(name))
