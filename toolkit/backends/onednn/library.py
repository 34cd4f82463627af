"""oneDNN's C library: finding and loading it, the types of its functions, and its errors.

The library is found in the environment's ``lib`` folder, where the wheel ``onednn-cpu-gomp`` puts it, or wherever the
environment variable ``ONNX_TOOLKIT_ONEDNN`` points. Only the C interface of version 3 is known. Nothing else in the
package loads native code or declares argument types.
"""

from __future__ import annotations

import ctypes
import functools
import os
import site
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from toolkit.backends.onednn.footprint import release_code_pages
from toolkit.errors import BackendError

OVERRIDE = "ONNX_TOOLKIT_ONEDNN"
FILE = "libdnnl.so.3"
MAJOR = 3
CPU_ENGINE = 1
IN_ORDER = 1
SUCCESS, UNIMPLEMENTED = 0, 3
WITH_BYTES = (0x67, 0xF)  # of dnnl_cpu_isa_t: AVX-512 and AVX2, each with VNNI; later sets contain the bits of these
STATUS = {
    1: "out of memory",
    2: "invalid arguments",
    3: "not implemented",
    4: "no further implementation",
    5: "runtime error",
    6: "not required",
}

_TYPES: dict[str, Any] = {
    "p": ctypes.c_void_p,
    "i": ctypes.c_int,
    "u": ctypes.c_uint,
    "z": ctypes.c_size_t,
    "l": ctypes.c_int64,
    "f": ctypes.c_float,
}

# Arguments by letter (see _TYPES). All return a status; handles, descriptors, vectors and results are pointers.
_SIGNATURES = {
    "engine_create": "piz",
    "stream_create": "ppu",
    "memory_create": "pppp",
    "memory_destroy": "p",
    "memory_desc_clone": "pp",
    "memory_desc_destroy": "p",
    "memory_desc_create_with_strides": "pipip",
    "memory_desc_create_with_tag": "pipii",
    "memory_desc_create_submemory": "pppp",
    "memory_desc_permute_axes": "ppp",
    "memory_desc_reshape": "ppip",
    "memory_desc_query": "pip",
    "primitive_attr_create": "p",
    "primitive_attr_destroy": "p",
    "primitive_attr_set_fpmath_mode": "pi",
    "primitive_attr_set_post_ops": "pp",
    "primitive_attr_set_scales_mask": "pii",
    "primitive_attr_set_scratchpad_mode": "pi",
    "primitive_attr_set_zero_points_mask": "pii",
    "post_ops_create": "p",
    "post_ops_destroy": "p",
    "post_ops_append_binary": "pip",
    "post_ops_append_eltwise": "piff",
    "post_ops_append_sum": "pfii",
    "primitive_desc_destroy": "p",
    "primitive_desc_next_impl": "p",
    "primitive_desc_query": "piip",
    "primitive_create": "pp",
    "primitive_destroy": "p",
    "primitive_execute": "ppip",
}

# Makers of primitive descriptors, named after what they describe: the arguments after the result, attributes last.
_DESCRIBERS = {
    "batch_normalization_forward": "pippfup",
    "batch_normalization_backward": "pipppfupp",
    "binary": "pipppp",
    "concat": "ppiipp",
    "convolution_forward": "piippppppppp",
    "convolution_backward_data": "pippppppppp",
    "convolution_backward_weights": "pipppppppppp",
    "deconvolution_forward": "piippppppppp",
    "eltwise_forward": "piippffp",
    "eltwise_backward": "pipppffpp",
    "gru_forward": "pii" + 7 * "p" + "up",
    "gru_backward": "pii" + 14 * "p" + "upp",
    "inner_product_forward": "pippppp",
    "inner_product_backward_data": "pppppp",
    "inner_product_backward_weights": "ppppppp",
    "layer_normalization_forward": "pipppfup",
    "layer_normalization_backward": "pippppfupp",
    "lbr_gru_forward": "pii" + 7 * "p" + "up",
    "lbr_gru_backward": "pii" + 14 * "p" + "upp",
    "lrn_forward": "piipplfffp",
    "lstm_forward": "pii" + 11 * "p" + "up",
    "lstm_backward": "pii" + 22 * "p" + "upp",
    "matmul": "pppppp",
    "pooling_forward": "piipppppppp",
    "pooling_backward": "pippppppppp",
    "prelu_forward": "pipppp",
    "reduction": "pippffp",
    "reorder": "ppppp",
    "resampling_forward": "piipppp",
    "resampling_backward": "pippppp",
    "softmax_forward": "piippip",
    "softmax_backward": "pipppipp",
    "sum": "ppippp",
    "vanilla_rnn_forward": "piii" + 7 * "p" + "uffp",
    "vanilla_rnn_backward": "piii" + 14 * "p" + "uffpp",
}


class Handle(ctypes.c_void_p):
    """A pointer to an object of the library, destroyed with this Python object.

    ``keep`` names what the C object points into and must therefore live as long.
    """

    def __init__(self, value: int | None, destroy: Any, keep: Any = None) -> None:
        super().__init__(value)
        self.keep = keep
        weakref.finalize(self, destroy, value).atexit = False


class _Version(ctypes.Structure):
    _fields_ = [("major", ctypes.c_int), ("minor", ctypes.c_int), ("patch", ctypes.c_int)]


class Library:
    """The loaded library; its functions are attributes without the prefix ``dnnl_`` and raise ``BackendError``.

    ``execute`` is the bare ``dnnl_primitive_execute``: it returns its status, so that a step costs nothing beside it.
    ``engine`` and ``stream`` are the only ones the process needs: a CPU stream holds no state.
    """

    def __init__(self, native: ctypes.CDLL) -> None:
        self._native = native
        for name, letters in _SIGNATURES.items():
            setattr(self, name, self._function(name, letters, _checked(name)))
        for name, letters in _DESCRIBERS.items():
            setattr(self, f"describe_{name}", self._function(f"{name}_primitive_desc_create", "p" + letters))
        self.execute = self._function("primitive_execute", _SIGNATURES["primitive_execute"])
        self.next_implementation = self._function("primitive_desc_next_impl", "p")
        self.memory_desc_equal = self._function("memory_desc_equal", "pp")
        self.memory_desc_get_size = self._function("memory_desc_get_size", "p", result=ctypes.c_size_t)
        self.primitive_desc_query_md = self._function("primitive_desc_query_md", "pii", result=ctypes.c_void_p)
        self.engine = ctypes.c_void_p()
        self.engine_create(ctypes.byref(self.engine), CPU_ENGINE, 0)
        self.stream = ctypes.c_void_p()
        self.stream_create(ctypes.byref(self.stream), self.engine, IN_ORDER)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"oneDNN's {name!r} is not among the functions that library.py declares")

    def _function(self, name: str, letters: str, check: Any = None, result: Any = ctypes.c_int) -> Any:
        function = self._native[f"dnnl_{name}"]  # a new object each time, so its types are this caller's alone
        function.argtypes = [_TYPES[letter] for letter in letters]
        function.restype = result
        if check is not None:
            function.errcheck = check
        return function

    def openmp(self, name: str) -> Any:
        """A function of the OpenMP runtime that this library uses. Raises ``AttributeError`` for unknown ones."""
        return self._native[name]

    @functools.cached_property
    def set_thread_count(self) -> Any:
        """``omp_set_num_threads`` of the OpenMP runtime that this library is linked to."""
        function = self.openmp("omp_set_num_threads")
        function.argtypes, function.restype = [ctypes.c_int], None
        return function

    @functools.cached_property
    def multiplies_bytes(self) -> bool:
        """Whether the processor, as far as the library may use it, adds up products of bytes in 32 bits.

        Without such instructions its kernels of bytes saturate sums of 16 bits, which changes results.
        """
        function = self._native["dnnl_get_effective_cpu_isa"]
        function.argtypes, function.restype = [], ctypes.c_int
        found = function()
        return any(found & bits == bits for bits in WITH_BYTES)

    @functools.cached_property
    def version(self) -> tuple[int, int, int]:
        return _version(self._native)


def _checked(name: str) -> Any:
    def check(status: int, function: Any, arguments: Any) -> int:
        if status != SUCCESS:
            raise BackendError(f"oneDNN's dnnl_{name} failed: {STATUS.get(status, f'status {status}')}.")
        return status

    return check


def _version(native: ctypes.CDLL) -> tuple[int, int, int]:
    function = native["dnnl_version"]
    function.argtypes, function.restype = [], ctypes.POINTER(_Version)
    found = function().contents
    return found.major, found.minor, found.patch


def candidates() -> Iterator[str]:
    """Where the library may lie, best first; the override alone where it is set."""
    override = os.environ.get(OVERRIDE)
    if override:
        yield override
        return
    folders = [sys.prefix, sys.base_prefix, site.getuserbase()]
    for folder in dict.fromkeys(folders):
        path = Path(folder, "lib", FILE)
        if path.is_file():
            yield str(path)
    yield FILE


@functools.cache
def load() -> Library:
    """The library, loaded once. Raises ``BackendError`` with the remedy when there is none that fits."""
    reasons = []
    for path in candidates():
        try:
            native = ctypes.CDLL(path)
            version = _version(native)
        except (OSError, AttributeError) as error:
            reasons.append(str(error))
            continue
        if version[0] == MAJOR:
            release_code_pages(FILE)
            return Library(native)
        reasons.append(f"{path} is version {'.'.join(map(str, version))}")
    raise BackendError(
        f"Backend 'cpu' requires oneDNN {MAJOR} ({FILE}), found none: {'; '.join(reasons)}. Install 'onednn-cpu-gomp' "
        f"(x86-64 Linux), let {OVERRIDE} name a library, or choose the backend 'numpy'."
    )


def unavailable_reason() -> str | None:
    """Why there is no oneDNN on this machine; ``None`` where there is."""
    try:
        load()
    except BackendError as error:
        return str(error)
    return None


def available() -> bool:
    """Whether oneDNN can be used on this machine."""
    return unavailable_reason() is None
