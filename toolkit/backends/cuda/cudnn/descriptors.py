"""Backend descriptors: opaque objects of cuDNN, here created, told their attributes, finalized and destroyed."""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from toolkit.backends.cuda.cudnn.functions import SUCCESS, Functions
from toolkit.backends.cuda.cudnn.graph_constants import ENUM_TYPES, Attribute, AttributeType, DescriptorType
from toolkit.errors import BackendError

_C_TYPES: dict[AttributeType, Any] = {
    AttributeType.INT64: ctypes.c_int64,
    AttributeType.BOOLEAN: ctypes.c_bool,
    AttributeType.FLOAT: ctypes.c_float,
    AttributeType.DOUBLE: ctypes.c_double,
    AttributeType.CHAR: ctypes.c_char,
    AttributeType.BACKEND_DESCRIPTOR: ctypes.c_void_p,
    AttributeType.HANDLE: ctypes.c_void_p,
    AttributeType.VOID_PTR: ctypes.c_void_p,
}


class NoEngineError(BackendError):
    """cuDNN has no kernel for what a descriptor says."""


@dataclass(frozen=True, slots=True)
class Typed:
    """A number, or numbers, for an attribute whose type Python's does not tell: a handle, an address, a double."""

    type: AttributeType
    values: tuple[Any, ...]


class Descriptor:
    """One descriptor; it keeps those alive that its attributes refer to, and is destroyed with its last reference."""

    def __init__(self, functions: Functions, kind: DescriptorType) -> None:
        self._functions, self.kind = functions, kind
        handle = ctypes.c_void_p()
        functions.BackendCreateDescriptor(kind, ctypes.byref(handle))
        self.handle = handle
        self._used: list[Descriptor] = []
        weakref.finalize(self, functions.BackendDestroyDescriptor, handle.value).atexit = False

    def set(self, attribute: Attribute, value: Any) -> None:
        """Set an attribute to a number, a truth value, an enumeration's member, a descriptor, or a sequence of such."""
        kind, values = _elements(value)
        if kind is AttributeType.BACKEND_DESCRIPTOR:
            self._used += values
            values = [item.handle.value for item in values]
        array = (_C_TYPES.get(kind, ctypes.c_int) * len(values))(*values)
        self._functions.BackendSetAttribute(self.handle, attribute, kind, len(values), array)

    def finalize(self) -> Descriptor:
        """Say that all attributes are set. Raises ``NoEngineError`` where cuDNN cannot serve them."""
        status = self._functions.try_finalize(self.handle)
        if status != SUCCESS:
            raise NoEngineError(f"{self.kind.name.lower()}: {self._functions.reason(status)}")
        return self

    def integer(self, attribute: Attribute) -> int:
        """The value of an attribute that is one integer."""
        found = ctypes.c_int64()
        self._get(attribute, AttributeType.INT64, 1, ctypes.byref(found))
        return found.value

    def numbers(self, attribute: Attribute, kind: AttributeType, capacity: int) -> list[int]:
        """The values of an attribute that lists at most ``capacity`` members of an enumeration."""
        found = (ctypes.c_int * capacity)()
        return list(found[: self._get(attribute, kind, capacity, found)])

    def count(self, attribute: Attribute) -> int:
        """How many descriptors an attribute lists."""
        return self._get(attribute, AttributeType.BACKEND_DESCRIPTOR, 0, None)

    def descriptors(self, attribute: Attribute, kind: DescriptorType, capacity: int) -> list[Descriptor]:
        """The descriptors that an attribute lists, which cuDNN copies into new ones."""
        found = [Descriptor(self._functions, kind) for _ in range(capacity)]
        handles = (ctypes.c_void_p * capacity)(*[item.handle.value for item in found])
        return found[: self._get(attribute, AttributeType.BACKEND_DESCRIPTOR, capacity, handles)]

    def _get(self, attribute: Attribute, kind: AttributeType, capacity: int, array: Any) -> int:
        count = ctypes.c_int64()
        self._functions.BackendGetAttribute(self.handle, attribute, kind, capacity, ctypes.byref(count), array)
        return count.value


def _elements(value: Any) -> tuple[AttributeType, list[Any]]:
    if isinstance(value, Typed):
        return value.type, list(value.values)
    if isinstance(value, bytes):
        return AttributeType.CHAR, [value[place : place + 1] for place in range(len(value))]
    values: list[Any] = list(value) if isinstance(value, Sequence) else [value]
    first = values[0]
    if isinstance(first, Descriptor):
        return AttributeType.BACKEND_DESCRIPTOR, values
    if isinstance(first, IntEnum):
        return ENUM_TYPES[type(first)], values
    plain = {bool: AttributeType.BOOLEAN, int: AttributeType.INT64, float: AttributeType.FLOAT}
    return plain[type(first)], values
