"""A compiled kernel of the backend: code, and which tensors the places are that it is given."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from toolkit.backends.native.code import Code
from toolkit.backends.native.library import compiler
from toolkit.backends.protocol import Buffer, Kernel, Layout, NativeCall, Step

NAME = "native"


class CompiledKernel(Kernel):
    """A node done by one function; its places are the tensors it reads, those it writes, the workspace, the tables.

    ``inputs`` and ``outputs`` are ``None`` where a tensor is not touched, ``workspace`` are the bytes it needs of
    scratch memory, ``tables`` are arrays that belong to the kernel and follow from attributes.
    """

    name = "compiled"

    def __init__(
        self,
        code: Code,
        inputs: Sequence[Layout | None],
        outputs: Sequence[Layout | None],
        *,
        in_place: Sequence[tuple[int, int]] = (),
        workspace: int = 0,
        tables: Sequence[np.ndarray] = (),
    ) -> None:
        self.inputs, self.outputs = inputs, outputs
        self.in_place, self.workspace = in_place, workspace
        self._tables = tuple(tables)
        self._function = compiler().function(code.text())

    def bind(self, inputs: Sequence[Buffer | None], outputs: Sequence[Buffer | None], workspace: Buffer | None) -> Step:
        touched = [item for item in (*inputs, *outputs, workspace) if item is not None]
        addresses = [*(item.address for item in touched), *(array.ctypes.data for array in self._tables)]
        places = np.array(addresses, np.int64)
        return NativeCall(self._function, places.ctypes.data, kept=(places, self._tables))
