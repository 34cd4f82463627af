"""A parameter is one named tensor with ONE authoritative content and any number of lazily synchronised copies.

A context that keeps a parameter in a layout or on a device of its own registers that copy when it has written it
(``written_to``). The host array is refreshed from the newest copy only when somebody asks for it, and so is read what
an importer leaves in the file. ``version`` counts the writes, so a context sees by comparing two integers whether what
it packed is still true.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from toolkit.errors import GraphError


class _Clock:
    """Counts every write to any parameter, so that an unchanged world costs one comparison."""

    __slots__ = ("now",)

    def __init__(self) -> None:
        self.now = 0


CLOCK = _Clock()


class Parameter:
    """A named tensor of a network, shared by identity wherever it is used.

    ``requires_grad`` says whether training may change it, ``learning_rate`` and ``weight_decay`` multiply those of the
    optimizer. ``role`` says what it is when it is no weight (``the exponent in Pow 'square'``), else it is empty.
    ``origin`` belongs to the importer and exporter of the file format (how the file stored the tensor). Where ``fetch``
    is given, it returns the content, and ``array`` only tells type and shape.
    """

    __slots__ = (
        "_array",
        "_refresh",
        "learning_rate",
        "name",
        "origin",
        "requires_grad",
        "role",
        "version",
        "weight_decay",
    )

    def __init__(
        self,
        name: str,
        array: np.ndarray,
        *,
        requires_grad: bool | None = None,
        origin: Any = None,
        fetch: Callable[[], np.ndarray] | None = None,
    ) -> None:
        self.name = name
        self._array = array
        self._refresh = fetch
        self.requires_grad = is_trainable_dtype(array.dtype) if requires_grad is None else requires_grad
        self.learning_rate = self.weight_decay = 1.0
        self.version = 0
        self.origin = origin
        self.role = ""

    @property
    def shape(self) -> tuple[int, ...]:
        return self._array.shape

    @property
    def dtype(self) -> np.dtype:
        return self._array.dtype

    @property
    def size(self) -> int:
        return self._array.size

    @property
    def array(self) -> np.ndarray:
        """The current content on the host; read only. A copy that was written since is fetched first."""
        if self._refresh is not None:
            fetched = self._refresh()
            fetched.flags.writeable = False
            self._array, self._refresh = fetched, None
        return self._array

    def borrowed(self) -> np.ndarray:
        """The current content for who reads it once: read only, and not kept where it has to be fetched."""
        return self._array if self._refresh is None else self._refresh()

    def assign(self, array: np.ndarray) -> None:
        """Replace the content; shape and element type must stay. Raises ``GraphError`` otherwise."""
        array = np.asarray(array)
        if array.shape != self.shape or array.dtype != self.dtype:
            raise GraphError(
                f"Parameter {self.name!r} holds {self.dtype} {self.shape}, got {array.dtype} {array.shape}. "
                "Assign an array of the same type and shape, or replace the layer that uses it."
            )
        array = array.copy()
        array.flags.writeable = False
        self._array, self._refresh = array, None
        self._written()

    def written_to(self, refresh: Callable[[], np.ndarray]) -> None:
        """Note that a copy elsewhere is now the newest; ``refresh()`` returns its content as a new host array."""
        self._refresh = refresh
        self._written()

    def _written(self) -> None:
        CLOCK.now += 1
        self.version += 1

    def __getstate__(self) -> tuple[None, dict[str, Any]]:
        """For copies and pickles: the current content, apart from whatever context has written it."""
        self.array  # noqa: B018  # fetches the newest copy
        return None, {name: getattr(self, name) for name in self.__slots__}

    def __setstate__(self, state: tuple[None, dict[str, Any]]) -> None:
        for name, value in state[1].items():
            setattr(self, name, value)
        self._array.flags.writeable = False

    def __repr__(self) -> str:
        return f"Parameter({self.name!r}, {self.dtype} {self.shape}{'' if self.requires_grad else ', frozen'})"


@cache
def is_trainable_dtype(dtype: np.dtype) -> bool:
    """Whether gradients can flow into tensors of this element type (float16, bfloat16, float32, float64)."""
    return dtype.name in ("float16", "bfloat16", "float32", "float64")
