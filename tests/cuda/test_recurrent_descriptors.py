"""Descriptors of recurrent layers in cuDNN itself, which takes or refuses them on machines without a GPU too."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from toolkit.backends.cuda import library
from toolkit.backends.cuda.cudnn.functions import Functions
from toolkit.backends.cuda.cudnn.legacy_constants import RecurrentMode
from toolkit.backends.cuda.cudnn.recurrent import Batch, Cell, Layer, Sequences
from toolkit.backends.cuda.cudnn.session import Session
from toolkit.errors import BackendError

try:
    NATIVE = library.load("cudnn")
except BackendError as error:
    pytest.skip(f"needs cuDNN: {error}", allow_module_level=True)

NEED_A_HANDLE = (
    "cudnnSetDropoutDescriptor",
    "cudnnGetRNNWeightSpaceSize",
    "cudnnGetRNNWeightParams",
    "cudnnGetRNNTempSpaceSizes",
)


class WithoutHandle:
    """The library, but for what needs a handle and therefore a GPU: that does nothing."""

    def __getitem__(self, name: str) -> Any:
        return Nothing() if name in NEED_A_HANDLE else NATIVE[name]


class Nothing:
    """A function that answers that all is well."""

    def __call__(self, *arguments: Any) -> int:
        return 0


SESSION = Session(Functions(WithoutHandle()), None)


@pytest.mark.parametrize("mode", RecurrentMode, ids=lambda mode: mode.name)
def test_every_layer_is_taken(mode: RecurrentMode) -> None:
    for directions, has_bias, strict in product((1, 2), (True, False), (True, False)):
        made = Layer(SESSION, Cell(mode, directions, 6, 20, has_bias, strict))
        for lengths in ((5, 5, 5), (2, 5, 1)):
            assert Batch(made, Sequences(5, lengths)).x.handle


def test_what_is_no_layer_is_refused() -> None:
    with pytest.raises(BackendError, match="cudnnSetRNNDescriptor_v8 failed: CUDNN_STATUS_BAD_PARAM"):
        Layer(SESSION, Cell(RecurrentMode.LSTM, 1, 6, 0, True, True))
    made = Layer(SESSION, Cell(RecurrentMode.LSTM, 1, 6, 20, True, True))
    with pytest.raises(BackendError, match="cudnnSetRNNDataDescriptor failed"):
        Batch(made, Sequences(5, (6, 5)))
