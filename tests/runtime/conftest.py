"""The pretended device under its name."""

from __future__ import annotations

import pytest

from tests.runtime.on_pretend import Register
from tests.support.pretend_device import DEVICE, PretendBackend
from toolkit.backends.registry import FACTORIES, resolve
from toolkit.runtime import border


@pytest.fixture
def register(monkeypatch: pytest.MonkeyPatch) -> Register:
    """Make the device known, for all operators or for some."""

    def make(*only: str) -> PretendBackend:
        made = PretendBackend(only)
        monkeypatch.setitem(FACTORIES, DEVICE, lambda: [made, *resolve("cpu")])
        return made

    return make


@pytest.fixture
def crossing(register: Register, monkeypatch: pytest.MonkeyPatch) -> Register:
    """The same, and even small inputs cross beside its work."""
    monkeypatch.setattr(border, "LEAST_NBYTES", 1)
    return register
