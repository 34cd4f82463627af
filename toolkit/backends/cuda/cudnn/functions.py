"""cuDNN's C functions: their types, and their errors as ``BackendError``.

Which file they come from is ``toolkit.backends.cuda.library``'s business. Only version 9 is known. Steps call
``execute`` and the functions of ``ENQUEUED``, which return their status, so that they cost nothing beside the call;
all others raise.
"""

from __future__ import annotations

import ctypes
from typing import Any, Protocol

from toolkit.errors import BackendError

MAJOR = 9
SUCCESS = 0
UNSUPPORTED = 3  # the thousands of every status that says "there is no such kernel"
_MESSAGE_BYTES = 1024
_TYPES: dict[str, Any] = {
    "p": ctypes.c_void_p,
    "i": ctypes.c_int,
    "l": ctypes.c_int64,
    "u": ctypes.c_uint32,
    "q": ctypes.c_uint64,
    "z": ctypes.c_size_t,
    "f": ctypes.c_float,
    "d": ctypes.c_double,
}

# Arguments by letter (see _TYPES). All return a status; handles, descriptors, arrays and results are pointers.
SIGNATURES = {
    "cudnnBackendCreateDescriptor": "ip",
    "cudnnBackendDestroyDescriptor": "p",
    "cudnnBackendFinalize": "p",
    "cudnnBackendSetAttribute": "piilp",
    "cudnnBackendGetAttribute": "piilpp",
    "cudnnCreateTensorDescriptor": "p",
    "cudnnSetTensorNdDescriptor": "piipp",
    "cudnnDestroyTensorDescriptor": "p",
    "cudnnCreateDropoutDescriptor": "p",
    "cudnnSetDropoutDescriptor": "ppfpzq",
    "cudnnDestroyDropoutDescriptor": "p",
    "cudnnCreateRNNDescriptor": "p",
    "cudnnSetRNNDescriptor_v8": "piiiii" + "iii" + "iiii" + "pu",
    "cudnnDestroyRNNDescriptor": "p",
    "cudnnCreateRNNDataDescriptor": "p",
    "cudnnSetRNNDataDescriptor": "piiiiipp",
    "cudnnDestroyRNNDataDescriptor": "p",
    "cudnnGetRNNWeightSpaceSize": "ppp",
    "cudnnGetRNNWeightParams": "ppizpi" + "pppp",
    "cudnnGetRNNTempSpaceSizes": "ppippp",
}

# What steps call: enqueued on the handle's stream.
ENQUEUED = {
    "cudnnBackendExecute": "ppp",
    "cudnnSoftmaxForward": "piippppp" + "p",
    "cudnnSoftmaxBackward": "piip" + "pppp" + "ppp",
    "cudnnBatchNormalizationForwardTraining": "pipp" + "pppp" + "ppp" + "dpp" + "dpp",
    "cudnnBatchNormalizationBackward": "pipppp" + "pppppp" + "pppp" + "dpp",
    "cudnnRNNForward": "ppip" + "pppp" + "ppp" + "ppp" + "zpzpzp",
    "cudnnRNNBackwardData_v8": "ppp" + "ppp" + "pp" + "pppp" + "pppp" + "zpzpzp",
    "cudnnRNNBackwardWeights_v8": "ppip" + "pppppp" + "zpzpzp",
}


class Native(Protocol):
    """A loaded library: functions by name. A ``ctypes.CDLL``, or what a test puts in its place."""

    def __getitem__(self, name: str) -> Any: ...


class Functions:
    """The functions, by their names without ``cudnn``: ``functions.BackendFinalize(...)``."""

    def __init__(self, native: Native) -> None:
        self._native = native
        self._describe_status = _declared(native, "cudnnGetErrorString", "i", ctypes.c_char_p)
        self._last_error = _declared(native, "cudnnGetLastErrorString", "pz", None)
        self.version: int = _declared(native, "cudnnGetVersion", "", ctypes.c_size_t)()
        if self.version // 10000 != MAJOR:
            raise BackendError(
                f"Backend 'cuda' requires cuDNN {MAJOR}, found version {self.version}: install 'nvidia-cudnn-cu13'."
            )
        for name, letters in SIGNATURES.items():
            made = _declared(native, name, letters)
            made.errcheck = self._checked(name)
            setattr(self, name.removeprefix("cudnn"), made)
        for name, letters in ENQUEUED.items():
            setattr(self, name.removeprefix("cudnn"), _declared(native, name, letters))
        self.try_finalize = _declared(native, "cudnnBackendFinalize", "p")

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"cuDNN's {name!r} is not among the functions that functions.py declares")

    def reason(self, status: int) -> str:
        """What a status means, with what the library has to say about this very call."""
        buffer = ctypes.create_string_buffer(_MESSAGE_BYTES)
        self._last_error(buffer, _MESSAGE_BYTES)
        name = (self._describe_status(status) or b"").decode()
        return f"{name} {buffer.value.decode(errors='replace').strip()}".strip()

    def _checked(self, name: str) -> Any:
        def check(status: int, function: Any, arguments: Any) -> int:
            if status != SUCCESS:
                raise BackendError(f"cuDNN's {name} failed: {self.reason(status)}.")
            return status

        return check


def _declared(native: Native, name: str, letters: str, result: Any = ctypes.c_int) -> Any:
    function = native[name]  # a new object each time, so its types are this caller's alone
    function.argtypes = [_TYPES[letter] for letter in letters]
    function.restype = result
    return function
