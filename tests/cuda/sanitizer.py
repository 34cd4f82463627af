"""NVIDIA's compute-sanitizer over case rows: whether a kernel reads or writes where it may not."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

PROGRAM = "compute-sanitizer"
TOOLS = ("memcheck", "racecheck", "initcheck", "synccheck")
FOUND = 86  # the exit status that it is told to take where it finds something
TOLD = 20  # lines of a report


def sanitized(arguments: Sequence[str], tools: Sequence[str] = TOOLS) -> dict[str, Any]:
    """What each tool says of ``python -m tests.cuda.on_device`` with ``arguments``."""
    if shutil.which(PROGRAM) is None:
        return {"failed": f"{PROGRAM} is not on PATH; it comes with the CUDA toolkit"}
    return {tool: _report(tool, arguments) for tool in tools}


def _report(tool: str, arguments: Sequence[str]) -> dict[str, Any]:
    command = [PROGRAM, f"--tool={tool}", f"--error-exitcode={FOUND}", "--target-processes=all"]
    command += [sys.executable, "-m", "tests.cuda.on_device", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    lines = [line.strip() for line in done.stdout.splitlines() if line.startswith("=========")]
    return {"clean": done.returncode == 0, "status": done.returncode, "report": lines[-TOLD:]}
