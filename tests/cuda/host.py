"""Kernels compiled for the host: ``shim.h`` in the place of the device's header, g++ in that of NVRTC.

All functions of a family make one translation unit, in which each has a namespace of its own.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from toolkit.backends.cuda.launch import Address, Argument, Input, Kept, Launch, Scratch, SourceKernel, Table
from toolkit.backends.cuda.source import ALWAYS, Function, header

COMPILER = shutil.which("g++")
SHIM = Path(__file__).with_name("shim.h")
WAITS = ("__sync", "from_lane")  # what a function that waits for other threads has in it, or in a header of its own


class HostKernels:
    """Compiles functions into a library and runs launches of them on arrays."""

    def __init__(self, functions: Sequence[Function], folder: Path) -> None:
        self._numbers = {function: number for number, function in enumerate(dict.fromkeys(functions))}
        extra = dict.fromkeys(name for function in self._numbers for name in function.headers)
        texts = [SHIM.read_text(), *(header(name) for name in (*ALWAYS, *extra) if name != "device")]
        texts += [_wrapped(function, number) for function, number in self._numbers.items()]
        source, library = folder / "kernels.cpp", folder / "kernels.so"
        source.write_text("\n".join(texts))
        command = [str(COMPILER), "-std=c++17", "-O0", "-w", "-shared", "-fPIC", "-ffp-contract=off", str(source)]
        command.append("-fno-gnu-unique")  # tables of the same name in another library are not these
        done = subprocess.run([*command, "-o", str(library)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[:4000]
        self._library = ctypes.CDLL(str(library))

    def launch(
        self, launch: Launch, inputs: Sequence[int], outputs: Sequence[int], scratch: int, kept: int = 0
    ) -> None:
        """Run one launch on addresses."""
        values: list[ctypes.Array | ctypes.c_void_p] = []
        for item in launch.arguments:
            if isinstance(item, np.generic):
                values.append(ctypes.create_string_buffer(item.tobytes()))
            else:
                values.append(ctypes.c_void_p(_address(item, inputs, outputs, scratch, kept)))
        arguments = (ctypes.c_void_p * len(values))(*(ctypes.addressof(value) for value in values))
        grid = (ctypes.c_uint32 * 6)(*launch.blocks, *launch.threads)
        run = getattr(self._library, f"run_{self._numbers[launch.function]}")
        run(arguments, grid)

    def run(
        self, kernel: SourceKernel, arrays: Sequence[np.ndarray | None], kept: np.ndarray | None = None
    ) -> list[np.ndarray | None]:
        """The outputs of a kernel; all memory that it is to write holds garbage before."""
        given = [None if item is None else placed(item) for item in arrays]
        made = [None if item is None else garbage(item.nbytes).view(item.dtype) for item in kernel.outputs]
        scratch = garbage(max(kernel.workspace, 1))
        own = np.zeros(max(kernel.kept, 1), np.uint8) if kept is None else kept
        inputs = [0 if item is None else item.ctypes.data for item in given]
        outputs = [0 if item is None else item.ctypes.data for item in made]
        for output, source in kernel.aliases:
            outputs[output] = inputs[source]
            made[output] = given[source].reshape(-1)
        for launch in kernel.launches:
            self.launch(launch, inputs, outputs, scratch.ctypes.data, own.ctypes.data)
        return [
            None if item is None else item.reshape(layout.shape)
            for item, layout in zip(made, kernel.outputs, strict=True)
        ]


def _address(item: Argument, inputs: Sequence[int], outputs: Sequence[int], scratch: int, kept: int) -> int:
    if isinstance(item, Address):
        return item.value
    if isinstance(item, Scratch):
        return scratch + item.offset
    if isinstance(item, Address):
        return item.value
    if isinstance(item, Table):
        return ctypes.cast(ctypes.c_char_p(item.content), ctypes.c_void_p).value or 0
    return (
        kept + item.offset if isinstance(item, Kept) else (inputs if isinstance(item, Input) else outputs)[item.index]
    )


def placed(array: np.ndarray) -> np.ndarray:
    """A copy of the array at an address that packs may be read from."""
    room = garbage(array.nbytes)
    copy = room.view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


def garbage(nbytes: int) -> np.ndarray:
    """Aligned memory full of ones, which are NaN for floats."""
    room = np.full(nbytes + 64, 0xFF, np.uint8)
    start = -room.ctypes.data % 64
    return room[start : start + nbytes]


def _wrapped(function: Function, number: int) -> str:
    """A function, and one that takes the addresses of its arguments and runs it on a grid."""
    text = function.text().replace('extern "C" ', "")
    kinds = [parameter.rsplit(" ", 1)[0].replace("__restrict__", "") for parameter in function.parameters]
    call = ", ".join(f"*({kind}*)a[{index}]" for index, kind in enumerate(kinds))
    read = "".join([text, *map(header, function.headers)])
    waits = "true" if any(word in read for word in WAITS) else "false"
    return (
        f"namespace n{number} {{\n{text}\nstatic void call(void** a) {{ {function.name}({call}); }}\n}}\n"
        f'extern "C" void run_{number}(void** a, const uint32* grid) {{ run_grid(n{number}::call, a, grid, {waits}); }}'
    )
