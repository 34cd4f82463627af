"""Whoever has no GPU is told what is missing, and whoever does not ask for one never touches its libraries."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import toolkit as tk
from tests.cuda import fake_driver
from toolkit import layers
from toolkit.backends.cuda import library
from toolkit.errors import BackendError

NATIVE = ("libcuda.so", "libcudnn", "libcublasLt", "libnvrtc")
IMPORTS = """
import sys
import importers, exporters, toolkit
from toolkit import layers
layers.Sequential([layers.Linear(2)]).network((3,)).context(batch_size=2, backend="cpu")
print(*[name for name in ("pycuda", "cupy") if name in sys.modules])
print(open("/proc/self/maps").read())
"""


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="what a process has loaded is read from /proc")
def test_nothing_of_cuda_is_loaded_before_it_is_asked_for() -> None:
    ran = subprocess.run([sys.executable, "-c", IMPORTS], capture_output=True, text=True, check=True)
    modules, _, maps = ran.stdout.partition("\n")
    assert modules == ""
    assert [name for name in NATIVE if name in maps] == []


@pytest.mark.skipif(library.unavailable_reason() is None, reason="this machine has all that the backend needs")
def test_a_machine_without_is_told_what_is_missing_and_what_helps() -> None:
    network = layers.Sequential([layers.Linear(2)]).network((3,))
    with pytest.raises(BackendError, match=r"missing are .+\. Install them with pip install .+; the driver comes with"):
        network.context(batch_size=2, backend="cuda")
    with pytest.raises(BackendError, match="'cuda' cannot be used"):
        tk.Trainer(
            network, loss=tk.losses.MeanSquaredError(), optimizer=tk.optimizers.SGD(0.1), backend=["cuda", "cpu"]
        )
    assert network.context(batch_size=2).run([[1, 2, 3], [4, 5, 6]])["output"].shape == (2, 2)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A machine that has everything; what is set to ``None`` in it is missing, what else is there answers."""
    has: dict[str, Any] = dict.fromkeys((*library.LIBRARIES, *library.MODULES), SimpleNamespace())
    has["driver"] = fake_driver.Answering()

    def load(name: str) -> Any:
        if has[name] is None:
            raise BackendError(f"no {name}")
        return has[name]

    find = importlib.util.find_spec
    monkeypatch.setattr(library, "load", load)
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: has[name] if name in has else find(name, *rest)
    )
    return has


def test_a_machine_with_everything_lacks_nothing(machine: dict[str, Any]) -> None:
    assert library.unavailable_reason() is None


@pytest.mark.parametrize("piece", [*library.LIBRARIES, *library.MODULES])
def test_each_piece_is_named_when_it_is_missing(piece: str, machine: dict[str, Any]) -> None:
    machine[piece] = None
    assert len(library.missing()) == 1
    assert piece in library.missing()[0]
    assert 'pip install "onnx-toolkit[cuda]"' in (library.unavailable_reason() or "")


def test_everything_that_is_missing_is_named_at_once(machine: dict[str, Any]) -> None:
    for piece in machine:
        machine[piece] = None
    assert len(library.missing()) == len(machine)


def test_a_driver_without_a_device_is_not_enough(machine: dict[str, Any]) -> None:
    machine["driver"] = fake_driver.Answering(devices=0)
    assert library.missing() == ["a device"]
    machine["driver"] = fake_driver.Answering(status=100)
    assert library.missing() == ["a device (the driver answers CUDA_ERROR_NO_DEVICE)"]


def test_what_cannot_be_loaded_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(library.LIBRARIES, "nowhere", library.Library("libnowhere.so.1"))
    with pytest.raises(BackendError, match=r"cannot load nowhere: libnowhere\.so\.1"):
        library.load("nowhere")
    with pytest.raises(BackendError, match="needs nowhere_to_be_found"):
        library.module("nowhere_to_be_found")
