"""Profiled steps as a trace in the Trace Event Format, which Chrome's tracing page and Perfetto show as a timeline."""

from __future__ import annotations

from operator import itemgetter
from typing import Any

from toolkit.runtime.explain import Explanation

MICROSECONDS = 1e6


def chrome_trace(explanation: Explanation) -> dict[str, Any]:
    """Every recorded execution of every step as one complete event; times in microseconds from the first one on."""
    starts = [start for step in explanation.steps for start, _ in step.spans]
    origin = min(starts, default=0.0)
    events: list[dict[str, Any]] = [
        {
            "name": step.layer or step.operator,
            "cat": step.role,
            "ph": "X",
            "ts": (start - origin) * MICROSECONDS,
            "dur": seconds * MICROSECONDS,
            "pid": 1,
            "tid": 1,
            "args": {
                "operator": step.operator,
                "backend": step.backend,
                "kernel": step.kernel,
                "fused": ", ".join(step.fused),
                "bytes": step.nbytes,
            },
        }
        for step in explanation.steps
        for start, seconds in step.spans
    ]
    events.sort(key=itemgetter("ts"))
    return {"traceEvents": events, "displayTimeUnit": "ms"}
