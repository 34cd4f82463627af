"""Arrays that behave like CuPy's where the two libraries differ, on numpy's numbers: what runs on them runs on CuPy.

An array of this kind refuses what CuPy refuses: to become a numpy array unasked, to be computed with numpy arrays,
functions, parameters and element types that CuPy lacks (``cupy_lacks``). What CuPy does, but not for nothing, is
noted: see ``Toll``. Assigning twice to one place is refused too, because a device does not say which comes last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import Enum
from typing import Any, NoReturn

import ml_dtypes
import numpy as np

from tests.cuda.cupy_lacks import (
    FUNCTIONS,
    FUNCTIONS_OF_LIBRARIES,
    FUNCTIONS_THAT_WAIT,
    METHODS_OF_UFUNCS,
    PARAMETERS,
    UFUNCS_WITHOUT_BFLOAT16,
)

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
HOST_TYPES = (np.ndarray, list, tuple)


class Toll(Enum):
    """What keeps a computation out of a captured graph.

    - ``WAITS``: the host waits for a value of the device.
    - ``COPIES``: numbers are copied from the host.
    - ``CALLS_LIBRARY``: cuBLAS, cuSOLVER or cuFFT compute, which CuPy does not let a graph capture.
    """

    WAITS = "waits"
    COPIES = "copies"
    CALLS_LIBRARY = "calls a library"


_TOLLS: set[Toll] = set()


@contextmanager
def watched() -> Iterator[set[Toll]]:
    """The tolls that are paid inside."""
    _TOLLS.clear()
    found: set[Toll] = set()
    yield found
    found |= _TOLLS


def _refuse(what: str) -> NoReturn:
    raise TypeError(f"CuPy refuses {what}")


def _is_supported(dtype: np.dtype) -> bool:
    return dtype == BFLOAT16 or (dtype.kind in "biufc" and dtype.isbuiltin == 1 and dtype.char != "g")


class StrictArray(np.lib.mixins.NDArrayOperatorsMixin):
    """An array on a device that is not there; ``host`` is what it holds."""

    __contains__ = None
    __imatmul__ = None  # type: ignore[assignment]

    def __init__(self, host: np.ndarray) -> None:
        if not _is_supported(host.dtype):
            _refuse(f"elements of type {host.dtype}")
        self.host = host

    def __array__(self, *args: Any, **kwargs: Any) -> NoReturn:
        _refuse("to turn into a numpy array unasked")

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        name = ufunc.__name__
        out = kwargs.get("out", ())
        if name in FUNCTIONS or (name == "matmul" and method != "__call__"):
            _refuse(f"{name}.{method}")
        if name not in METHODS_OF_UFUNCS.get(method, (name,)):
            _refuse(f"{name}.{method}")
        if len(out) > 1 or (name == "matmul" and out and not out[0].host.flags.c_contiguous):
            _refuse(f"{name} with these outputs")
        if name == "matmul":
            _TOLLS.add(Toll.CALLS_LIBRARY)
        for item in (*inputs, *out):
            _check_operand(item, name)
        types = [item.dtype for item in inputs if isinstance(item, StrictArray)]
        if BFLOAT16 in types and name in UFUNCS_WITHOUT_BFLOAT16:
            _refuse(f"{name} of bfloat16")
        if "where" in kwargs:
            _check_operand(kwargs["where"], name)
        result = getattr(ufunc, method)(*map(_host, inputs), **{key: _host(item) for key, item in kwargs.items()})
        return out[0] if out else _strict(result)

    def __array_function__(self, function: Callable[..., Any], types: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        path = ".".join([*function.__module__.split(".")[1:], function.__name__])
        if path in FUNCTIONS:
            _refuse(path)
        missing = set(PARAMETERS.get(path, ())).intersection(kwargs)
        if missing:
            _refuse(f"the parameter {missing.pop()} of {path}")
        if path.startswith(FUNCTIONS_OF_LIBRARIES):
            _TOLLS.add(Toll.CALLS_LIBRARY)
        if path in FUNCTIONS_THAT_WAIT or (path == "where" and len(args) == 1):
            _TOLLS.add(Toll.WAITS)
        if path in ("array", "asarray", "asanyarray", "ascontiguousarray"):
            return _made(function, args, kwargs)
        for item in (*args, *kwargs.values()):
            _check_argument(item, path)
        if path == "repeat" and isinstance(args[1] if len(args) > 1 else kwargs["repeats"], StrictArray):
            _TOLLS.add(Toll.WAITS)
        result = function(*_host(args), **_host(kwargs))
        out = kwargs.get("out")
        return result if path in ("shape", "ndim", "size", "result_type") else _strict(result) if out is None else out

    def _method(self, name: str, *args: Any, **kwargs: Any) -> Any:
        return self.__array_function__(getattr(np, name), (), (self, *args), kwargs)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.host.shape

    @property
    def dtype(self) -> np.dtype:
        return self.host.dtype

    @property
    def ndim(self) -> int:
        return self.host.ndim

    @property
    def size(self) -> int:
        return self.host.size

    @property
    def itemsize(self) -> int:
        return self.host.itemsize

    @property
    def nbytes(self) -> int:
        return self.host.nbytes

    @property
    def strides(self) -> tuple[int, ...]:
        return self.host.strides

    @property
    def T(self) -> StrictArray:  # noqa: N802 - numpy's name
        return StrictArray(self.host.T)

    @property
    def real(self) -> StrictArray:
        return StrictArray(self.host.real)

    @property
    def imag(self) -> StrictArray:
        return StrictArray(self.host.imag)

    def __len__(self) -> int:
        return len(self.host)

    def __iter__(self) -> Iterator[StrictArray]:
        return (self[index] for index in range(len(self.host)))

    def __getitem__(self, key: Any) -> StrictArray:
        return StrictArray(np.asarray(self.host[_index(key)]))

    def __setitem__(self, key: Any, value: Any) -> None:
        _check_operand(value, "assignment")
        where = _index(key)
        if np.ndim(_host(value)):
            _check_places(self.host, where)
        self.host[where] = _host(value)

    def astype(self, dtype: Any, order: str = "K", casting: None = None, *, copy: bool = True) -> StrictArray:
        if not _is_supported(np.dtype(dtype)):
            _refuse(f"elements of type {dtype}")
        return StrictArray(self.host.astype(dtype, copy=copy))

    def view(self, dtype: Any) -> StrictArray:
        return StrictArray(self.host.view(dtype))

    def copy(self) -> StrictArray:
        return StrictArray(self.host.copy())

    def fill(self, value: Any) -> None:
        _check_operand(value, "fill")
        self.host.fill(_host(value))

    def reshape(self, *shape: Any) -> StrictArray:
        return StrictArray(self.host.reshape(*shape))

    def transpose(self, *axes: Any) -> StrictArray:
        return StrictArray(self.host.transpose(*axes))

    def ravel(self) -> StrictArray:
        return StrictArray(self.host.ravel())

    def flatten(self) -> StrictArray:
        return StrictArray(self.host.flatten())

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name not in METHODS:
            raise AttributeError(f"an array of CuPy, as far as is known here, has no {name}")
        return lambda *args, **kwargs: self._method(name, *args, **kwargs)

    def __bool__(self) -> bool:
        return bool(_fetched(self))

    def __int__(self) -> int:
        return int(_fetched(self))

    def __float__(self) -> float:
        return float(_fetched(self))

    def item(self) -> Any:
        return _fetched(self).item()

    def tolist(self) -> Any:
        return _fetched(self).tolist()


METHODS = frozenset(
    {
        *("all", "any", "argmax", "argmin", "argsort", "clip", "cumprod", "cumsum", "diagonal", "dot", "max", "mean"),
        *("min", "nonzero", "prod", "repeat", "round", "searchsorted", "squeeze", "std", "sum", "swapaxes", "take"),
        *("trace", "var"),
    }
)


def _fetched(array: StrictArray) -> np.ndarray:
    _TOLLS.add(Toll.WAITS)
    return array.host


def _made(function: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> StrictArray:
    """A new array from anything: copied from the host where it is not a number and not on the device already."""
    if not isinstance(args[0], StrictArray) and np.ndim(_host(args[0])) > 0:
        _TOLLS.add(Toll.COPIES)
    return StrictArray(function(_host(args[0]), *args[1:], **kwargs))


def _check_operand(item: Any, name: str) -> None:
    if not isinstance(item, (StrictArray, bool, int, float, complex, np.generic, type(None), slice, tuple)):
        _refuse(f"to compute {name} with a host's {type(item).__name__}")
    if isinstance(item, np.generic) and not _is_supported(item.dtype):
        _refuse(f"numbers of type {item.dtype}")


def _check_argument(item: Any, name: str) -> None:
    """Arrays anywhere in the arguments of a function must be on the device; sizes, axes and names are no arrays."""
    if isinstance(item, np.ndarray):
        _refuse(f"to compute {name} with a host's array")
    if isinstance(item, (list, tuple)):
        for part in item:
            _check_argument(part, name)


def _index(key: Any) -> Any:
    parts = key if isinstance(key, tuple) else (key,)
    for part in parts:
        if isinstance(part, slice) and any(isinstance(end, StrictArray) for end in (part.start, part.stop, part.step)):
            _refuse("a slice that ends where an array says")
        if isinstance(part, HOST_TYPES):
            _TOLLS.add(Toll.COPIES)
        if getattr(part, "dtype", None) == np.bool_ and getattr(part, "ndim", 0):
            _TOLLS.add(Toll.WAITS)
    return _host(key)


def _check_places(array: np.ndarray, where: Any) -> None:
    """Refuse to assign to one place twice."""
    parts = where if isinstance(where, tuple) else (where,)
    if not any(isinstance(part, HOST_TYPES) for part in parts):
        return
    places = np.arange(array.size).reshape(array.shape)[where]
    if np.unique(places).size != places.size:
        _refuse("to say which of several values assigned to one place comes last")


def _host(item: Any) -> Any:
    if isinstance(item, StrictArray):
        return item.host
    if isinstance(item, (list, tuple)):
        return type(item)(map(_host, item))
    if isinstance(item, dict):
        return {key: _host(value) for key, value in item.items()}
    return item


def _strict(result: Any) -> Any:
    if isinstance(result, (np.ndarray, np.generic)):
        return StrictArray(np.asarray(result))
    if isinstance(result, (list, tuple)):
        return type(result)(map(_strict, result)) if type(result) in (list, tuple) else tuple(map(_strict, result))
    return result
