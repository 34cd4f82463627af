"""The driver layer on a driver that has host memory for a device: memory, copies, streams, launches."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
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


def test_gradients_are_looked_at_piece_by_piece(found: dict[str, Any]) -> None:
    assert found["looks"]["finite"] == [True, True]
    assert found["looks"]["of nothing"]
    assert len(found["looks"]["launches"]) == 4, "two pieces, looked at twice"


# copies beside the work -----------------------------------------------------------------------------------------------

Moments = dict[str, int]  # how far each stream, and the host, is known to have come


@dataclass
class Access:
    """An access to memory, and what has happened before it."""

    where: str
    at: int
    before: Moments
    start: int
    end: int
    is_written: bool


class Replay:
    """The calls of a stream of batches in the order of happening, as far as streams, events and waits decide it."""

    def __init__(self, calls: list[list[Any]]) -> None:
        self.moments: dict[str, Moments] = {name: {} for name in ("host", "stream", "uploads", "downloads")}
        self.events: dict[int, Moments] = {}
        self.accesses: list[Access] = []
        self.launches: list[Access] = []
        for what, *given in calls:
            getattr(self, what, self.results)(*given)

    def _enqueued(self, stream: str) -> Moments:
        _join(self.moments[stream], self.moments["host"])
        self.moments[stream][stream] = self.moments[stream].get(stream, 0) + 1
        return self.moments[stream]

    def _touch(self, where: str, start: int, nbytes: int, is_written: bool) -> Access:
        moments = self.moments[where]
        access = Access(where, moments.get(where, 0), dict(moments), start, start + nbytes, is_written)
        self.accesses.append(access)
        return access

    def _copy(self, stream: str, target: int, source: int, nbytes: int) -> None:
        self._enqueued(stream)
        self._touch(stream, source, nbytes, is_written=False)
        self._touch(stream, target, nbytes, is_written=True)

    def cuMemcpyHtoDAsync_v2(self, stream: str, target: int, source: int, nbytes: int) -> None:  # noqa: N802
        self.moments["host"]["host"] = self.moments["host"].get("host", 0) + 1
        self._touch("host", source, nbytes, is_written=True)  # the batch was put there just before
        self._copy(stream, target, source, nbytes)

    cuMemcpyDtoHAsync_v2 = cuMemcpyDtoDAsync_v2 = _copy  # noqa: N815

    def cuEventRecord(self, stream: str, event: int) -> None:  # noqa: N802
        self.events[event] = dict(self._enqueued(stream))

    def cuStreamWaitEvent(self, stream: str, event: int, flags: int) -> None:  # noqa: N802
        assert flags == 0
        _join(self._enqueued(stream), self.events.get(event, {}))

    def cuEventSynchronize(self, event: int) -> None:  # noqa: N802
        _join(self.moments["host"], self.events.get(event, {}))

    def launch(self, stream: str) -> None:
        self._enqueued(stream)
        self.launches.append(self._touch(stream, 0, 0, is_written=True))

    def results(self) -> None:
        """They are handed out: what was fetched last is read by the host."""


def _join(moments: Moments, other: Moments) -> None:
    for name, at in other.items():
        moments[name] = max(moments.get(name, 0), at)


def _is_behind(later: Access, earlier: Access) -> bool:
    return later.before.get(earlier.where, 0) >= earlier.at


def test_no_copy_beside_the_work_meets_memory_in_use(found: dict[str, Any]) -> None:
    accesses = Replay(found["overlap"]["calls"]).accesses
    for index, later in enumerate(accesses):
        for earlier in accesses[:index]:
            meets = earlier.start < later.end and later.start < earlier.end
            if meets and (earlier.is_written or later.is_written):
                assert _is_behind(later, earlier), f"{earlier} and {later} are in no order"


def test_the_next_batch_crosses_while_the_present_one_is_computed(found: dict[str, Any]) -> None:
    replay = Replay(found["overlap"]["calls"])
    uploads = [item for item in replay.accesses if item.where == "uploads" and item.is_written]
    downloads = [item for item in replay.accesses if item.where == "downloads" and item.is_written]
    assert len(uploads) == len(downloads) == len(replay.launches) == 3
    for number in (0, 1):
        assert _is_behind(replay.launches[number], uploads[number])
        assert not _is_behind(uploads[number + 1], replay.launches[number])
        assert not _is_behind(replay.launches[number + 1], downloads[number])
