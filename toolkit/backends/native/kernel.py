"""A compiled kernel of the backend: code, and which tensors the places are that it is given."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from toolkit.backends.native.code import Code
from toolkit.backends.native.library import compiler
from toolkit.backends.protocol import Buffer, Kernel, Layout, NativeCall, Step

NAME = "native"


class CompiledKernel(Kernel):
    """A node done by one function; its places are the tensors it reads, those it writes, then the workspace.

    ``inputs`` and ``outputs`` are ``None`` where a tensor is not touched.
    """

    name = NAME

    def __init__(
        self,
        code: Code,
        inputs: Sequence[Layout | None],
        outputs: Sequence[Layout | None],
        *,
        in_place: Sequence[tuple[int, int]] = (),
        workspace: int = 0,
    ) -> None:
        self.inputs, self.outputs = inputs, outputs
        self.in_place, self.workspace = in_place, workspace
        self._function = compiler().function(code.text())

    def bind(self, inputs: Sequence[Buffer | None], outputs: Sequence[Buffer | None], workspace: Buffer | None) -> Step:
        touched = [item for item in (*inputs, *outputs, workspace) if item is not None]
        table = np.array([item.address for item in touched], np.int64)
        return NativeCall(self._function, table.ctypes.data, kept=(table,))
