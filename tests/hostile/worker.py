"""A process that puts files through the pipeline, one job a line, and may be killed by any of them.

Run as ``python -m tests.hostile.worker``. A job is ``{"named"}``, ``{"seed", "kind", "number"}`` or ``{"content"}`` (in
hexadecimal). The answer is a line with ``verdict`` (``accepted``, ``refused``, ``endless`` or ``failed``), ``error``,
``trace``, ``seconds`` (of processor time) and ``peak`` (bytes of memory beyond those at the start).

Nothing may take more than ``MEMORY`` further bytes of address space or ``SECONDS`` of processor time: the first is a
``MemoryError``, the second the end of the process, with its stack on the standard error stream.
"""

from __future__ import annotations

import faulthandler
import gc
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path
from typing import Any

from tests.hostile.mutation import content_of, damaged
from tests.hostile.named import NAMED
from tests.hostile.pipeline import EndlessError, examine
from tests.hostile.seeds import EXTERNAL_CONTENT, EXTERNAL_FILE, SEEDS
from toolkit.errors import ToolkitError

MEMORY = 4 << 30
SECONDS = 5.0
WARM_UP = tuple(SEEDS)  # imports and caches are not what a file is charged with


def main() -> None:
    """Answer jobs until the input ends."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what native code prints is no answer
    warnings.simplefilter("ignore")
    faulthandler.enable()
    faulthandler.register(signal.SIGPROF, chain=True)
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else None))
    try:
        for seed in WARM_UP:
            judged({"content": content_of(seed).hex()}, folder)
        gc.freeze()  # what is there now stays
        _limit_memory()
        answers.write(json.dumps({"verdict": "ready"}) + "\n")
        for line in sys.stdin:
            signal.setitimer(signal.ITIMER_PROF, SECONDS)
            answer = judged(json.loads(line), folder)
            signal.setitimer(signal.ITIMER_PROF, 0)
            answers.write(json.dumps(answer) + "\n")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _limit_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    limit = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def judged(job: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Do one job in ``folder``; the answer to it."""
    started, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    answer: dict[str, Any] = {"verdict": "accepted"}
    place = Path(tempfile.mkdtemp(dir=folder))
    try:
        if "named" in job:
            examine(NAMED[job["named"]].build(place), place)
        else:
            (place / EXTERNAL_FILE).write_bytes(EXTERNAL_CONTENT)
            content = (
                bytes.fromhex(job["content"]) if "content" in job else damaged(job["seed"], job["kind"], job["number"])
            )
            examine(content, place)
    except ToolkitError as error:
        answer = {"verdict": "refused", "error": f"{type(error).__name__}: {error}"}
        if not str(error).strip():
            answer["verdict"] = "failed"
    except EndlessError:
        answer = {"verdict": "endless"}
    except BaseException as error:
        answer = {"verdict": "failed", "error": f"{type(error).__name__}: {error}", "trace": traceback.format_exc()}
    finally:
        shutil.rmtree(place, ignore_errors=True)
    answer["seconds"] = time.process_time() - started
    answer["peak"] = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    return answer


if __name__ == "__main__":
    main()
