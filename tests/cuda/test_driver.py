"""The driver layer on a driver that has host memory for a device: memory, copies, streams, launches."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from toolkit.backends.cuda import library

BUILD = Path(__file__).parents[3] / "shared" / "cuda" / "fake_libcuda" / "build.sh"
NEEDED = [name for name in ("pycuda", "cupy") if importlib.util.find_spec(name) is None]
pytestmark = [
    pytest.mark.skipif(not BUILD.exists(), reason="needs the fake driver beside the repository (../shared/cuda)"),
    pytest.mark.skipif(bool(NEEDED), reason=f"needs {', '.join(NEEDED)}"),
    pytest.mark.skipif(shutil.which("gcc") is None, reason="the fake driver needs gcc"),
]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What ``driver_check`` has seen in a process of its own."""
    folder = tmp_path_factory.mktemp("driver")
    lacking = [name for name in library.LIBRARIES if name != "driver" and not Path(library.path(name)).is_absolute()]
    if lacking:
        pytest.skip(f"needs NVIDIA's wheels of {', '.join(lacking)}")
    subprocess.run([BUILD, folder], check=True, capture_output=True)
    command = [sys.executable, "-m", "tests.cuda.driver_check", folder / "libcuda.so.1", folder / "launches.log"]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout.splitlines()[-1])


def test_memory_is_freed_with_its_last_buffer_in_any_thread(found: dict[str, Any]) -> None:
    assert found["memory"] == {"taken": 1 << 20, "held by a buffer": 1 << 20, "left": 0}


def test_what_goes_to_the_device_comes_back(found: dict[str, Any]) -> None:
    assert found["copies"] == {"equal": True}


def test_memory_that_is_not_there_is_refused_with_figures(found: dict[str, Any]) -> None:
    assert "has no 1,073,741,824 MiB left" in found["exhaustion"]["message"]
    assert "Use a smaller batch" in found["exhaustion"]["message"]


def test_neighbouring_layers_are_one_kernel_between_two_copies(found: dict[str, Any]) -> None:
    assert found["network"]["steps"] == [
        ["Reorder", "cuda"],
        ["toolkit::ElementwiseRegion", "cuda"],
        ["Reorder", "cuda"],
    ]


def test_each_run_launches_it_once_on_the_stream_of_its_context(found: dict[str, Any]) -> None:
    assert found["network"]["streams"] == 2
    assert len(found["network"]["launches"]) == 6
    assert all("Tanh_Relu grid=1,1,1" in line for line in found["network"]["launches"])


def test_a_driver_that_cannot_record_graphs_is_worked_with_and_told_of(found: dict[str, Any]) -> None:
    assert [line for line in found["network"]["warnings"] if "launched one by one" in line]
