"""Workers that are started again when a file has killed one, so that one bad file costs one answer."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO, Any, Self

ROOT = Path(__file__).parents[2]
PATIENCE = 60.0  # seconds of waiting; processor time is limited by the worker itself, and other processes slow it down
START = 300.0

Job = dict[str, Any]
Answer = dict[str, Any]


class Worker:
    """One process; ``ask`` gives its answer, or what is known about its end."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._errors: IO[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *details: object) -> None:
        self._stop()

    def ask(self, job: Job) -> Answer:
        """The worker's answer; a verdict ``failed`` also when the process died or did not answer in time."""
        process = self._started()
        assert process.stdin is not None
        process.stdin.write(json.dumps(job) + "\n")
        process.stdin.flush()
        return self._answer(PATIENCE)

    def _started(self) -> subprocess.Popen[str]:
        if self._process is None:
            self._errors = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.hostile.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                text=True,
                cwd=ROOT,
                env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
            )
            ready = self._answer(START)
            assert ready["verdict"] == "ready", ready
        return self._process

    def _answer(self, patience: float) -> Answer:
        assert self._process is not None
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], patience)
        line = self._process.stdout.readline() if ready else ""
        if line:
            return json.loads(line)
        if not ready:
            self._process.kill()
        status = self._process.wait()
        how = f"the process ended with status {status}" if ready else f"no answer in {patience} s"
        assert self._errors is not None
        self._errors.seek(0)
        trace = self._errors.read()[-4000:]
        self._stop()
        return {"verdict": "failed", "error": how, "trace": trace, "seconds": 0.0, "peak": 0}

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()
        if self._errors is not None:
            self._errors.close()
            self._errors = None


def answers(jobs: Iterable[Job]) -> list[tuple[Job, Answer]]:
    """Every job with its answer, done by as many workers at once as there are cores for them."""
    waiting, lock = iter(jobs), threading.Lock()
    done: list[tuple[Job, Answer]] = []

    def work() -> None:
        with Worker() as worker:
            while True:
                with lock:
                    job = next(waiting, None)
                if job is None:
                    return
                answer = worker.ask(job)
                with lock:
                    done.append((job, answer))

    threads = [threading.Thread(target=work) for _ in os.sched_getaffinity(0)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return done


def failures(done: Sequence[tuple[Job, Answer]]) -> str:
    """A report on the files that did not end as they should, empty when all did."""
    kinds: dict[str, list[tuple[Job, Answer]]] = {}
    for job, answer in done:
        if answer["verdict"] == "failed":
            kinds.setdefault(place(answer), []).append((job, answer))
    groups = sorted(kinds.items(), key=lambda item: -len(item[1]))
    return "\n".join(f"{len(group)}x {where}: {group[0][0]} {group[0][1]['error']:.300}" for where, group in groups)


def place(answer: Answer) -> str:
    """What tells one defect from another: the kind of error, and the project's last line that it came through."""
    own = [f'"{ROOT}/{package}' for package in ("toolkit", "importers", "exporters", "tests/hostile/pipeline")]
    lines = [line for line in answer.get("trace", "").splitlines() if any(place in line for place in own)]
    return f"{answer['error'].partition(':')[0]} {lines[-1].strip() if lines else 'outside of the toolkit'}"
