"""Crossings on a driver that notes what it is told: which event stands where, and what a failure is called."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from toolkit.backends.cuda import crossing, driver, finiteness, library, transfer
from toolkit.backends.cuda.crossing import StreamCrossing
from toolkit.backends.cuda.layouts import on_device
from toolkit.backends.protocol import Resources, plain
from toolkit.errors import BackendError

FLOAT32 = np.dtype(np.float32)
ROWS, THERE = plain(FLOAT32, (3, 5)), on_device(FLOAT32, (3, 5))
STREAMS = {"uploads": 1, "downloads": 2}


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What the driver is told; every call succeeds."""
    told: list[tuple[Any, ...]] = []

    def call(name: str) -> Callable[..., int]:
        return lambda *given: told.append((name, *given)) or 0

    handles = {name: SimpleNamespace(handle=number) for name, number in STREAMS.items()}
    for module in (crossing, driver, transfer):
        monkeypatch.setattr(module, "call", call)
    monkeypatch.setattr(driver, "device", lambda: SimpleNamespace(enter=lambda: None))
    for module in (crossing, transfer):
        monkeypatch.setattr(module, "queue_of", lambda resources: SimpleNamespace(handle=9, **handles))
    return told


def place(layout: Any, address: int) -> Any:
    return SimpleNamespace(layout=layout, address=address)


@pytest.mark.parametrize("is_upload", [True, False], ids=["up", "down"])
def test_either_copy_waits_for_the_other_one(is_upload: bool, calls: list[tuple[Any, ...]]) -> None:
    way = StreamCrossing(Resources(1))
    way.crossed.handle, way.met.handle = 100, 200
    source, target = (ROWS, THERE) if is_upload else (THERE, ROWS)
    over, beside = way.over(source, target), way.beside(THERE, THERE)
    assert not over.is_capturable and not beside.is_capturable
    steps = [kernel.bind([place(source, 64)], [place(target, 128)], None) for kernel in (over, beside)]
    calls.clear()
    for step in steps:
        assert not step()
    stream = STREAMS["uploads" if is_upload else "downloads"]
    copy = "cuMemcpyHtoDAsync_v2" if is_upload else "cuMemcpyDtoHAsync_v2"
    assert calls == [
        ("cuStreamWaitEvent", stream, 200, 0),
        (copy, 128, 64, ROWS.nbytes, stream),
        ("cuEventRecord", 100, stream),
        ("cuStreamWaitEvent", 9, 100, 0),
        ("cuMemcpyDtoDAsync_v2", 128, 64, ROWS.nbytes, 9),
        ("cuEventRecord", 200, 9),
    ]
    way.wait()
    assert calls[-1] == ("cuEventSynchronize", 100)


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch, calls: list[tuple[Any, ...]]) -> None:
    """From now on every call fails."""
    for module in (driver, finiteness):
        monkeypatch.setattr(module, "call", lambda name: lambda *given: 700)
    monkeypatch.setattr(library, "driver_message", lambda status: f"CUDA_ERROR_{status}")


def test_an_event_that_cannot_be_made_is_told(failing: None) -> None:
    with pytest.raises(BackendError, match="cuEventCreate failed: CUDA_ERROR_700"):
        driver.Happening()


def test_what_the_device_stopped_at_is_told_where_it_is_waited_for(
    calls: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    way = StreamCrossing(Resources(1))
    assert way.crossed.handle == 0
    monkeypatch.setattr(driver, "call", lambda name: lambda *given: 700)
    monkeypatch.setattr(library, "driver_message", lambda status: f"CUDA_ERROR_{status}")
    with pytest.raises(BackendError, match="stopped at an error: CUDA_ERROR_700"):
        way.wait()


def test_a_look_that_cannot_be_enqueued_is_told(failing: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finiteness, "DeviceBlock", lambda nbytes: place(THERE, 64))
    monkeypatch.setattr(finiteness, "enqueuing", lambda *given: lambda: None)
    monkeypatch.setattr(finiteness, "queue_of", lambda resources: SimpleNamespace(handle=9))
    staging = SimpleNamespace(staging=lambda nbytes: np.zeros(nbytes, np.uint8))
    monkeypatch.setattr(finiteness, "DeviceMemory", lambda: staging)
    with pytest.raises(BackendError, match="could not be looked at: the driver answers 700"):
        finiteness.finiteness([place(THERE, 256)], Resources(1))
