"""The precision in which references compute: half-width floats are widened to float32 and narrowed once at the end.

This is what every serious kernel does (it accumulates in float32), so the references do too. Other types pass through.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import wraps
from typing import Any

import ml_dtypes
import numpy as np

HALF_WIDTH = (np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16))


def in_float32(function: Callable[..., Any] | None = None, *, keep: Collection[int] = ()) -> Callable[..., Any]:
    """Let a reference compute float16 and bfloat16 inputs in float32, and return its results in the narrow type.

    The first half-width input names the narrow type. Results that are not float32 stay as they are, and so do the
    outputs whose numbers are in ``keep``.
    """

    def decorate(reference: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(reference)
        def evaluate(*arrays: Any, **attributes: Any) -> Any:
            narrow = next((item.dtype for item in arrays if item is not None and item.dtype in HALF_WIDTH), None)
            if narrow is None:
                return reference(*arrays, **attributes)
            result = reference(*map(_widened, arrays), **attributes)
            if not isinstance(result, tuple):
                return _narrowed(result, narrow)
            return tuple(item if number in keep else _narrowed(item, narrow) for number, item in enumerate(result))

        return evaluate

    return decorate if function is None else decorate(function)


def _widened(array: Any) -> Any:
    return array.astype(np.float32) if array is not None and array.dtype in HALF_WIDTH else array


def _narrowed(array: Any, narrow: np.dtype) -> Any:
    return array.astype(narrow) if array is not None and array.dtype == np.float32 else array
