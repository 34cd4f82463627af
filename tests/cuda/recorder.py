"""A stand-in for the libraries cuDNN and cublasLt: it keeps what it is told, and answers as a device would.

Arguments are checked against the types that the bindings declare, descriptors against being used before they are
finalized or after they are destroyed.
"""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from toolkit.backends.cuda import cublaslt
from toolkit.backends.cuda.cudnn.functions import Functions
from toolkit.backends.cuda.cudnn.graph_constants import Attribute, AttributeType, DescriptorType
from toolkit.backends.cuda.cudnn.session import Session
from toolkit.backends.protocol import Resources

VERSION = 91900
WORKSPACE = 4096
NOT_SUPPORTED = 3000
STREAM, CUDNN, CUBLASLT = 0x51, 0xD1, 0xB1
_ELEMENTS: dict[int, Any] = {
    AttributeType.INT64: ctypes.c_int64,
    AttributeType.BOOLEAN: ctypes.c_bool,
    AttributeType.FLOAT: ctypes.c_float,
    AttributeType.DOUBLE: ctypes.c_double,
    AttributeType.CHAR: ctypes.c_char,
    AttributeType.BACKEND_DESCRIPTOR: ctypes.c_uint64,
    AttributeType.HANDLE: ctypes.c_uint64,
    AttributeType.VOID_PTR: ctypes.c_uint64,
}


@dataclass
class Made:
    """A descriptor: what it is, what it was told, and whether it may be used."""

    kind: str
    attributes: dict[str, list[Any]] = field(default_factory=dict)
    is_final: bool = False


class Recorder:
    """A library by ``recorder[name]``; ``calls`` are all calls in order, ``made`` the descriptors that live.

    ``refuses`` says of an operation graph, by the kinds of its operations, whether there is no engine for it. ``notes``
    are those of the engines that are proposed, one list each.
    """

    ANSWERS: ClassVar[dict[str, str]] = {
        "cudnnGetVersion": "_get_version",
        "cudnnGetErrorString": "_get_error_string",
        "cudnnGetLastErrorString": "_get_last_error_string",
        "cudnnBackendCreateDescriptor": "_backend_create_descriptor",
        "cudnnBackendDestroyDescriptor": "_backend_destroy_descriptor",
        "cudnnBackendSetAttribute": "_backend_set_attribute",
        "cudnnBackendFinalize": "_backend_finalize",
        "cudnnBackendGetAttribute": "_backend_get_attribute",
        "cudnnBackendExecute": "_backend_execute",
        "cublasLtMatmulDescSetAttribute": "_matmul_desc_set_attribute",
        "cublasLtMatrixLayoutCreate": "_matrix_layout_create",
        "cublasLtMatrixLayoutSetAttribute": "_matrix_layout_set_attribute",
        "cublasLtMatmulAlgoGetHeuristic": "_matmul_algo_get_heuristic",
    }

    def __init__(
        self,
        refuses: Callable[[list[str]], bool] = lambda kinds: False,
        notes: Sequence[Sequence[int]] = ((),),
        algorithms: Callable[[int], bool] = lambda epilogue: True,
    ) -> None:
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        self.made: dict[int, Made] = {}
        self._refuses, self._notes, self._algorithms = refuses, notes, algorithms
        self._serial = itertools.count(0x1000, 0x10)

    def __getitem__(self, name: str) -> _Function:
        return _Function(self, name)

    def named(self, name: str) -> list[tuple[Any, ...]]:
        """The arguments of every call of a function."""
        return [arguments for called, arguments in self.calls if called == name]

    def resources(self, **settings: Any) -> Resources:
        """Resources whose sessions call this recorder."""
        found = Resources(1, **settings)
        found.own("cuda: cudnn", lambda: Session(Functions(self), CUDNN))
        found.own("cuda: cublasLt", lambda: cublaslt.Session(cublaslt.Functions(self), CUBLASLT, STREAM))
        return found

    def answer(self, name: str, arguments: tuple[Any, ...]) -> Any:
        self.calls.append((name, arguments))
        own = self.ANSWERS.get(name)
        if own is not None:
            return getattr(self, own)(*arguments)
        if "Create" in name:
            self._write(arguments[0], self._make(name))
        elif "Destroy" in name:
            del self.made[arguments[0]]
        return 0

    def _make(self, kind: str) -> int:
        number = next(self._serial)
        self.made[number] = Made(kind)
        return number

    def _write(self, address: int, value: int, kind: Any = ctypes.c_uint64) -> None:
        kind.from_address(address).value = value

    # cuDNN ------------------------------------------------------------------------------------------------------------

    def _get_version(self) -> int:
        return VERSION

    def _get_error_string(self, status: int) -> bytes:
        return f"status {status}".encode()

    def _get_last_error_string(self, buffer: int, size: int) -> None:
        ctypes.memmove(buffer, b"as the test wishes\0", 19)

    def _backend_create_descriptor(self, kind: int, out: int) -> int:
        self._write(out, self._make(DescriptorType(kind).name))
        return 0

    def _backend_destroy_descriptor(self, number: int) -> int:
        del self.made[number]
        return 0

    def _backend_set_attribute(self, number: int, attribute: int, kind: int, count: int, address: int) -> int:
        values = list((_ELEMENTS.get(kind, ctypes.c_int) * count).from_address(address))
        if kind == AttributeType.BACKEND_DESCRIPTOR:
            assert all(self.made[value].is_final for value in values), "a descriptor was used before it was final"
        assert not self.made[number].is_final
        self.made[number].attributes[Attribute(attribute).name] = values
        return 0

    def _backend_finalize(self, number: int) -> int:
        made = self.made[number]
        if made.kind == "ENGINEHEUR" and self._refuses(self.kinds(made)):
            return NOT_SUPPORTED
        made.is_final = True
        return 0

    def kinds(self, heuristic: Made) -> list[str]:
        """The operations of the graph that a heuristic is asked about."""
        graph = self.made[heuristic.attributes["ENGINEHEUR_OPERATION_GRAPH"][0]]
        return [self.made[number].kind for number in graph.attributes["OPERATIONGRAPH_OPS"]]

    def _backend_get_attribute(
        self, number: int, attribute: int, kind: int, capacity: int, count: int, address: int | None
    ) -> int:
        name = Attribute(attribute).name
        if name == "ENGINEHEUR_RESULTS":
            self._write(count, len(self._notes))
            for place in range(capacity):
                self._fill(address, place, [place])
        elif name == "ENGINECFG_ENGINE":
            self._fill(address, 0, self.made[number].attributes["number"])
        elif name == "ENGINE_NUMERICAL_NOTE":
            assert address is not None
            notes = self._notes[self.made[number].attributes["number"][0]]
            self._write(count, len(notes))
            for place, note in enumerate(notes):
                self._write(address + 4 * place, note, ctypes.c_int)
        else:
            assert address is not None
            values = {"ENGINE_GLOBAL_INDEX": self.made[number].attributes.get("number", [0])[0]}
            self._write(address, values.get(name, WORKSPACE), ctypes.c_int64)
        if name in ("ENGINECFG_ENGINE", "ENGINE_GLOBAL_INDEX", "EXECUTION_PLAN_WORKSPACE_SIZE"):
            self._write(count, 1)
        return 0

    def _fill(self, address: int | None, place: int, number: list[Any]) -> None:
        """Let a descriptor that the caller has made stand for the engine of that number."""
        assert address is not None
        handle = ctypes.c_uint64.from_address(address + 8 * place).value
        self.made[handle].attributes["number"], self.made[handle].is_final = number, True

    def _backend_execute(self, handle: int, plan: int, pack: int) -> int:
        assert handle == CUDNN and self.made[plan].is_final and self.made[pack].is_final
        return 0

    # cublasLt ---------------------------------------------------------------------------------------------------------

    def _matmul_desc_set_attribute(self, number: int, attribute: int, address: int, size: int) -> int:
        name = cublaslt.DescriptorAttribute(attribute).name
        self.made[number].attributes[name] = [
            {4: ctypes.c_uint32, 8: ctypes.c_uint64}[size].from_address(address).value
        ]
        return 0

    def _matrix_layout_create(self, out: int, *numbers: int) -> int:
        made = self._make("matrix")
        self.made[made].attributes["sizes"] = list(numbers)
        self._write(out, made)
        return 0

    def _matrix_layout_set_attribute(self, number: int, attribute: int, address: int, size: int) -> int:
        name = cublaslt.LayoutAttribute(attribute).name
        self.made[number].attributes[name] = [{4: ctypes.c_int32, 8: ctypes.c_int64}[size].from_address(address).value]
        return 0

    def _matmul_algo_get_heuristic(self, handle: int, description: int, *rest: int) -> int:
        found, count = rest[-2:]
        epilogue = self.made[description].attributes["EPILOGUE"][0]
        self._write(found + 64, WORKSPACE)
        self._write(count, int(self._algorithms(epilogue)), ctypes.c_int)
        return 0


class _Function:
    """One function; the caller sets its types, as it would those of a loaded one."""

    argtypes: Sequence[Any] = ()
    restype: Any = ctypes.c_int
    errcheck: Any = None

    def __init__(self, recorder: Recorder, name: str) -> None:
        self._recorder, self._name = recorder, name

    def __call__(self, *arguments: Any) -> Any:
        assert len(arguments) == len(self.argtypes), f"{self._name} takes {len(self.argtypes)}, got {len(arguments)}"
        plain = tuple(_plain(item, kind) for item, kind in zip(arguments, self.argtypes, strict=True))
        result = self._recorder.answer(self._name, plain)
        return self.errcheck(result, self, arguments) if self.errcheck is not None else result


def _plain(argument: Any, kind: Any) -> Any:
    """What C would be given for an argument."""
    if kind is not ctypes.c_void_p:
        assert isinstance(argument, int | float), f"{argument!r} is no number"
        return kind(argument).value
    if argument is None or isinstance(argument, int):
        return argument
    if isinstance(argument, ctypes.c_void_p):
        return argument.value
    return ctypes.addressof(getattr(argument, "_obj", argument))
