"""cublasLt through its C interface: one matrix product with what it can do on the way out.

cublasLt counts columns first. Callers speak of row-major matrices; a product of these is the product of their
transposes in the other order, so nothing is moved. The algorithm is the heuristics' first choice.
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from functools import cache, partial
from typing import Any

import ml_dtypes
import numpy as np

from toolkit.backends.cuda import library
from toolkit.backends.cuda.cudnn.descriptors import NoEngineError
from toolkit.backends.cuda.cudnn.functions import Native
from toolkit.backends.cuda.queue import queue_of
from toolkit.backends.protocol import Resources, Step
from toolkit.errors import BackendError

WORKSPACE_LIMIT = 32 << 20  # bytes; what NVIDIA advises for Hopper
_ALIGNED = 256  # an address for the heuristics, which ask for one where there is a bias but do not read from it


class Epilogue(IntEnum):
    """What is done to a result before it is stored; Gelu is the one by tanh."""

    DEFAULT = 1
    RELU = 2
    BIAS = 4
    RELU_BIAS = 6
    GELU = 32
    GELU_BIAS = 36


class Compute(IntEnum):
    """How products are computed and summed."""

    COMPUTE_32F = 68
    COMPUTE_32F_FAST_TF32 = 77


class DescriptorAttribute(IntEnum):
    """Attributes of a product."""

    TRANSA = 3
    TRANSB = 4
    EPILOGUE = 7
    BIAS_POINTER = 8


class LayoutAttribute(IntEnum):
    """Attributes of a matrix."""

    BATCH_COUNT = 5
    STRIDED_BATCH_OFFSET = 6


class PreferenceAttribute(IntEnum):
    """What the heuristics heed."""

    MAX_WORKSPACE_BYTES = 1
    MIN_ALIGNMENT_A_BYTES = 5
    MIN_ALIGNMENT_B_BYTES = 6
    MIN_ALIGNMENT_C_BYTES = 7
    MIN_ALIGNMENT_D_BYTES = 8


DATA_TYPES: dict[np.dtype, int] = {
    np.dtype(np.float32): 0,
    np.dtype(np.float16): 2,
    np.dtype(ml_dtypes.bfloat16): 14,
}
_SCALE_TYPE = 0  # alpha and beta are float32
_TRANSPOSED = 1

_TYPES: dict[str, Any] = {
    "p": ctypes.c_void_p,
    "i": ctypes.c_int,
    "z": ctypes.c_size_t,
    "l": ctypes.c_int64,
    "q": ctypes.c_uint64,
}
SIGNATURES = {
    "cublasLtMatmulDescCreate": "pii",
    "cublasLtMatmulDescDestroy": "p",
    "cublasLtMatmulDescSetAttribute": "pipz",
    "cublasLtMatrixLayoutCreate": "piqql",
    "cublasLtMatrixLayoutDestroy": "p",
    "cublasLtMatrixLayoutSetAttribute": "pipz",
    "cublasLtMatmulPreferenceCreate": "p",
    "cublasLtMatmulPreferenceDestroy": "p",
    "cublasLtMatmulPreferenceSetAttribute": "pipz",
}
UNCHECKED = {
    "cublasLtMatmul": "ppppppppppppppzp",
    "cublasLtMatmulAlgoGetHeuristic": "pppppppipp",
}


class _Heuristic(ctypes.Structure):
    """``cublasLtMatmulHeuristicResult_t``."""

    _fields_ = [
        ("algorithm", ctypes.c_uint64 * 8),
        ("workspace", ctypes.c_size_t),
        ("state", ctypes.c_int),
        ("waves", ctypes.c_float),
        ("reserved", ctypes.c_int * 4),
    ]


@dataclass(frozen=True, slots=True)
class Matrix:
    """A stack of matrices: sizes as they are seen, and strides in elements.

    ``row`` and ``column`` are the strides from one row, and from one column, to the next; one of them is 1.
    ``alignment`` is what the address of the first element is a multiple of, in bytes.
    """

    dtype: np.dtype
    rows: int
    columns: int
    row: int
    column: int
    step: int = 0
    alignment: int = 16

    @property
    def is_turned(self) -> bool:
        """Whether columns, not rows, are dense."""
        return self.column != 1


@dataclass(frozen=True, slots=True)
class Product:
    """alpha a b + c, then the epilogue; ``d`` takes it. ``c`` lies as ``d`` does."""

    a: Matrix
    b: Matrix
    d: Matrix
    batch: int = 1
    alpha: float = 1.0
    adds: bool = False
    epilogue: Epilogue = Epilogue.DEFAULT
    compute: Compute = Compute.COMPUTE_32F


class Functions:
    """The functions, by their names without ``cublasLt``. Those of ``UNCHECKED`` return their status, others raise."""

    def __init__(self, native: Native) -> None:
        for name, letters in (SIGNATURES | UNCHECKED).items():
            function = native[name]
            function.argtypes, function.restype = [_TYPES[letter] for letter in letters], ctypes.c_int
            if name in SIGNATURES:
                function.errcheck = _checked(name)
            setattr(self, name.removeprefix("cublasLt"), function)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"cublasLt's {name!r} is not among the functions that cublaslt.py declares")


def _checked(name: str) -> Any:
    def check(status: int, function: Any, arguments: Any) -> int:
        if status:
            raise BackendError(f"cublasLt's {name} failed with status {status}.")
        return status

    return check


class Session:
    """The functions, a handle, and the stream that products are enqueued on."""

    def __init__(self, functions: Functions, handle: int, stream: int) -> None:
        self.functions, self.handle, self.stream = functions, handle, stream
        self._chosen: dict[Product, Multiplication] = {}

    def multiplication(self, product: Product) -> Multiplication:
        """The product with its algorithm, remembered. Raises ``NoEngineError`` where cublasLt has none."""
        if product not in self._chosen:
            self._chosen[product] = Multiplication(self, product)
        return self._chosen[product]


def session_of(resources: Resources) -> Session:
    """The session of a context."""

    def make() -> Session:
        queue = queue_of(resources)
        return Session(functions(), queue.cublaslt, queue.handle)

    return resources.own("cuda: cublasLt", make)


@cache
def functions() -> Functions:
    """cublasLt's functions. Raises ``BackendError`` where the library is missing."""
    return Functions(library.load("cublasLt"))


class Multiplication:
    """A product whose algorithm is chosen; bound to addresses as often as needed."""

    def __init__(self, session: Session, product: Product) -> None:
        self.session, self.product = session, product
        # Column by column the matrices are their transposes: b comes first.
        self._layouts = [self._layout(item) for item in (product.b, product.a, product.d)]
        found = self._heuristic()
        self._algorithm, self.workspace = found, int(found.workspace)

    def _heuristic(self) -> _Heuristic:
        functions, product = self.session.functions, self.product
        preference = _made(functions, "MatmulPreference")
        settings: dict[PreferenceAttribute, Any] = {
            PreferenceAttribute.MAX_WORKSPACE_BYTES: ctypes.c_size_t(WORKSPACE_LIMIT)
        }
        aligned = (product.b.alignment, product.a.alignment, product.d.alignment, product.d.alignment)
        for attribute, value in zip(list(PreferenceAttribute)[1:], aligned, strict=True):
            settings[attribute] = ctypes.c_uint32(value)
        for attribute, number in settings.items():
            functions.MatmulPreferenceSetAttribute(preference, attribute, ctypes.byref(number), ctypes.sizeof(number))
        first, second, result = self._layouts
        found, count = _Heuristic(), ctypes.c_int()
        status = functions.MatmulAlgoGetHeuristic(
            self.session.handle,
            self._description(_ALIGNED),
            first,
            second,
            result,
            result,
            preference,
            1,
            ctypes.byref(found),
            ctypes.byref(count),
        )
        if status or not count.value or found.state:
            raise NoEngineError(f"cublasLt has no algorithm for {product} (status {status or found.state})")
        return found

    def _layout(self, matrix: Matrix) -> ctypes.c_void_p:
        functions = self.session.functions
        dense, others = (matrix.rows, matrix.columns) if matrix.is_turned else (matrix.columns, matrix.rows)
        leading = max(matrix.column if matrix.is_turned else matrix.row, dense)
        made = _made(functions, "MatrixLayout", DATA_TYPES[matrix.dtype], dense, others, leading)
        if self.product.batch > 1:
            for attribute, number in (
                (LayoutAttribute.BATCH_COUNT, ctypes.c_int32(self.product.batch)),
                (LayoutAttribute.STRIDED_BATCH_OFFSET, ctypes.c_int64(matrix.step)),
            ):
                functions.MatrixLayoutSetAttribute(made, attribute, ctypes.byref(number), ctypes.sizeof(number))
        return made

    def _description(self, bias: int) -> ctypes.c_void_p:
        functions, product = self.session.functions, self.product
        made = _made(functions, "MatmulDesc", product.compute, _SCALE_TYPE)
        settings: dict[DescriptorAttribute, Any] = {
            DescriptorAttribute.TRANSA: ctypes.c_int32(_TRANSPOSED if product.b.is_turned else 0),
            DescriptorAttribute.TRANSB: ctypes.c_int32(_TRANSPOSED if product.a.is_turned else 0),
            DescriptorAttribute.EPILOGUE: ctypes.c_uint32(product.epilogue),
        }
        if product.epilogue & Epilogue.BIAS:
            settings[DescriptorAttribute.BIAS_POINTER] = ctypes.c_void_p(bias)
        for attribute, number in settings.items():
            functions.MatmulDescSetAttribute(made, attribute, ctypes.byref(number), ctypes.sizeof(number))
        return made

    def bind(self, addresses: Mapping[str, int], workspace: int) -> Step:
        """A call on matrices at the device addresses of ``a``, ``b``, ``d``; ``c`` and ``bias`` where they matter."""
        session, description = self.session, self._description(addresses.get("bias", 0))
        alpha, beta = ctypes.c_float(self.product.alpha), ctypes.c_float(1.0 if self.product.adds else 0.0)
        first, second, result = self._layouts
        step: Any = partial(
            session.functions.Matmul,
            session.handle,
            description,
            ctypes.addressof(alpha),
            addresses["b"],
            first,
            addresses["a"],
            second,
            ctypes.addressof(beta),
            addresses.get("c", addresses["d"]),
            result,
            addresses["d"],
            result,
            ctypes.addressof(self._algorithm),
            workspace,
            self.workspace,
            session.stream,
        )
        step.owned = (self, description, alpha, beta)
        return step


def _made(functions: Functions, kind: str, *arguments: Any) -> ctypes.c_void_p:
    """A descriptor, destroyed with its last reference."""
    made = ctypes.c_void_p()
    getattr(functions, f"{kind}Create")(ctypes.byref(made), *arguments)
    weakref.finalize(made, getattr(functions, f"{kind}Destroy"), made.value).atexit = False
    return made
