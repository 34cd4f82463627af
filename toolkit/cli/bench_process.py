"""The parent's side of a measured engine: start its process, give it turns, collect what it says."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

PROGRAM = Path(__file__).with_name("bench_engine.py")
IMPORT_ROOT = Path(__file__).resolve().parents[2]


class Engine:
    """A process that runs one engine, under this interpreter or the one at ``python``.

    ``rounds`` are the median seconds of each turn; ``error`` says why it ended.
    """

    def __init__(self, name: str, specification: dict[str, Any], python: str = sys.executable) -> None:
        self.name = name
        self.error = ""
        self.rounds: list[float] = []
        self.peak_bytes = 0
        self.first_result_seconds = 0.0
        self.warm_seconds = 0.0
        self._outputs = specification["outputs"]
        self._complaints = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        threads = str(specification["threads"])
        paths = [str(IMPORT_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        self._process = subprocess.Popen(
            [python, "-P", str(PROGRAM), json.dumps({**specification, "engine": name})],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": threads, "PYTHONPATH": os.pathsep.join(paths)},
        )

    def wait_until_ready(self) -> None:
        """Block until the model is loaded and warm, or the process has ended with an error."""
        answer = self._answer()
        if answer is not None:
            self.first_result_seconds = answer["first_result_seconds"]
            self.warm_seconds = answer["warm_seconds"]

    def take_turn(self, iterations: int) -> None:
        """Run a number of iterations; does nothing once there is an error."""
        answer = self._asked(str(iterations))
        if answer is not None:
            self.rounds.append(statistics.median(answer["seconds"]))
            self.peak_bytes = answer["peak_bytes"]

    def steps(self, runs: int) -> list[tuple[str, str, float]]:
        """Operator, backend and median milliseconds of the steps of a run; none from an engine that tells none."""
        answer = self._asked(f"profile {runs}")
        return [] if answer is None else [(operator, backend, ms) for operator, backend, ms in answer["steps"]]

    def outputs(self) -> dict[str, np.ndarray]:
        """What the engine computed in its first run, by output name."""
        with np.load(self._outputs, allow_pickle=False) as archive:
            return {name.removeprefix("output "): archive[name] for name in archive.files}

    def close(self) -> None:
        """End the process."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._complaints.close()

    def _asked(self, request: str) -> dict[str, Any] | None:
        """The answer to a request; ``None`` once there is an error."""
        if self.error or self._process.stdin is None:
            return None
        try:
            self._process.stdin.write(f"{request}\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            self.error = self._last_words()
            return None
        return self._answer()

    def _answer(self) -> dict[str, Any] | None:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self.error = self._last_words()
            return None
        content: dict[str, Any] = json.loads(line)
        return content

    def _last_words(self) -> str:
        self._process.wait()
        self._complaints.seek(0)
        lines = [line.strip() for line in self._complaints if line.strip()]
        return lines[-1][:400] if lines else f"its process ended with status {self._process.returncode}"
