"""The toolkit beside PyTorch on the same machine in one run: each engine in a process of its own, taking turns.

PyTorch is no dependency: its interpreter is given, and it also makes the ONNX files, so both run the same weights.
Memory on the device is what its total grew by while an engine came up and warmed up, the others idle.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from rich.progress import track

RACER = Path(__file__).with_name("racer.py")
ROOT = Path(__file__).resolve().parents[2]
OURS = ("ours", "ours.stream", "ours.steps")
THEIRS = ("torch", "torch.compile", "torch.reduce", "torch.graphs")
RESIDENT = tuple(f"{name}.resident" for name in THEIRS)
ENGINES = (*OURS, *THEIRS, *RESIDENT)
ROUNDS, LEAST_SECONDS = 5, 0.3
BANDWIDTH = 4.3e12  # bytes a second that an H200 was measured to copy
PEAKS = {
    "float32": 67e12,
    "tf32": 390e12,
    "float16": 780e12,
    "bfloat16": 780e12,
    "mixed": 780e12,
}  # operations a second
MIB = 2**20


class Rival:
    """An engine's process; ``failed`` says why it has ended, if it has."""

    def __init__(self, python: str, specification: dict[str, Any]) -> None:
        self.failed, self.host_bytes = "", 0
        self.rounds: list[float] = []
        self._complaints = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        paths = os.pathsep.join([str(RACER.parent), str(ROOT)])
        self._process = subprocess.Popen(
            [python, "-P", str(RACER), json.dumps(specification)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            text=True,
            env={**os.environ, "PYTHONPATH": paths},
        )
        self.first = self.answer()

    def answer(self) -> dict[str, Any]:
        """Its next line, empty once it has failed."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if line:
            content: dict[str, Any] = json.loads(line)
            return content
        status = self._process.wait()
        self._complaints.seek(0)
        lines = [item.strip() for item in self._complaints if item.strip()]
        self.failed = lines[-1][:400] if lines else f"its process ended with status {status}"
        return {}

    def take_turn(self, iterations: int) -> float:
        """Seconds of an iteration, the mean of some."""
        if self.failed or self._process.stdin is None:
            return 0.0
        self._process.stdin.write(f"{iterations}\n")
        self._process.stdin.flush()
        found = self.answer()
        self.host_bytes = found.get("host bytes", self.host_bytes)
        return float(found.get("seconds", 0.0))

    def close(self) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._complaints.close()


def device_bytes() -> int | None:
    """Bytes of the device's memory in use, ``None`` where nobody can tell."""
    command = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    try:
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[0]) * MIB
    except (OSError, subprocess.CalledProcessError, ValueError, IndexError):
        return None


@contextmanager
def exported(models: Sequence[str], batches: Sequence[int], python: str) -> Iterator[tuple[Path, dict[str, Any]]]:
    """A folder with the models' files and inputs, and what is known of each."""
    with tempfile.TemporaryDirectory() as name:
        facts = {}
        for model in models:
            specification = {"engine": "export", "model": model, "batches": list(batches), "folder": name}
            rival = Rival(python, specification)
            rival.close()
            facts[model] = rival.first or {"failed": rival.failed}
        yield Path(name), facts


def heat(specification: dict[str, Any], engines: Sequence[str], pythons: dict[str, str]) -> dict[str, Any]:
    """One model, batch size and precision: every engine's time, memory, or reason."""
    rivals: dict[str, Rival] = {}
    grown: dict[str, int | None] = {}
    try:
        for engine in engines:
            before = device_bytes()
            python = pythons["ours" if engine.startswith("ours") else "torch"]
            rivals[engine] = Rival(python, {**specification, "engine": engine})
            after = device_bytes()
            grown[engine] = None if before is None or after is None else after - before
        turns = {engine: max(1, round(LEAST_SECONDS / (rival.take_turn(1) or 1))) for engine, rival in rivals.items()}
        for _ in range(ROUNDS):
            for engine, rival in rivals.items():
                rival.rounds.append(rival.take_turn(turns[engine]))
    finally:
        for rival in rivals.values():
            rival.close()
    return {engine: _figures(rival, grown[engine]) for engine, rival in rivals.items()}


def _figures(rival: Rival, device: int | None) -> dict[str, Any]:
    if rival.failed:
        return {"failed": rival.failed}
    milliseconds = [1e3 * seconds for seconds in rival.rounds]
    return {
        "median": median(milliseconds),
        "least": min(milliseconds),
        "most": max(milliseconds),
        "ready after": rival.first["ready after"],
        "host MiB": rival.host_bytes / MIB,
        "device MiB": None if device is None else device / MIB,
    }


def floor(facts: dict[str, Any], batch: int, precision: str, is_training: bool) -> float:
    """Milliseconds below which an H200 cannot be: parameters through its memory, or operations through its units.

    A training step reads parameters twice, and writes and reads them, their gradients and one slot besides.
    """
    operations = facts["training operations" if is_training else "forward operations"] * batch
    width = 2 if precision in ("float16", "bfloat16") and not is_training else 4
    moved = facts["parameters"] * width * (7 if is_training else 1)
    return 1e3 * max(operations / PEAKS[precision], moved / BANDWIDTH)


def summary(found: dict[str, Any], least: float) -> dict[str, Any]:
    """The best of the toolkit against the best of PyTorch, copies in and out of account, and against the floor."""
    times = {engine: item["median"] for engine, item in found.items() if "median" in item}

    def best(names: Sequence[str]) -> float | None:
        return min((times[name] for name in names if name in times), default=None)

    mine, theirs, resident = best(OURS), best(THEIRS), best((*THEIRS, *RESIDENT))
    if mine is None:
        return {"floor": least}
    against = {"ratio": theirs, "ratio to resident inputs": resident, "ratio to the floor": least}
    return {"floor": least, **{name: mine / other for name, other in against.items() if other}}


def race(
    models: Sequence[str],
    batches: Sequence[int],
    precisions: Sequence[str],
    engines: Sequence[str],
    device: str,
    torch_python: str,
) -> dict[str, Any]:
    """Inference and training of every model, by batch size and precision."""
    pythons = {"ours": sys.executable, "torch": torch_python}
    result: dict[str, Any] = {"floors": {"bytes a second": BANDWIDTH, "operations a second": PEAKS}}
    with exported(models, batches, torch_python) as (folder, facts):
        result["models"] = facts
        heats = [
            (model, is_training, batch, precision)
            for model in models
            for is_training in (False, True)
            for batch in batches
            for precision in precisions
            if "failed" not in facts[model]
        ]
        for model, is_training, batch, precision in track(heats, "race"):
            specification = {
                "model": model,
                "is_training": is_training,
                "batch": batch,
                "precision": precision,
                "device": device,
                "folder": str(folder),
            }
            found = heat(specification, engines, pythons)
            least = floor(facts[model], batch, precision, is_training)
            kind = f"{model}, {'training' if is_training else 'inference'}"
            result.setdefault(kind, {})[f"batch {batch}, {precision}"] = {**found, "": summary(found, least)}
    return result
