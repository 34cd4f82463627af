"""The profile that ``bench --profile`` writes: a trace for a timeline viewer, and a page with a chart of the layers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from toolkit.files import write_text
from toolkit.report import Bar, bars, page, paragraph, section, table
from toolkit.report.page import legend
from toolkit.runtime.context import Context
from toolkit.runtime.explain import Explanation, StepReport
from toolkit.runtime.trace import chrome_trace

MOST_BARS = 60
Racers = Mapping[str, Mapping[str, Any]]


def write_profile(
    stem: str, title: str, context: Context, feeds: Mapping[str, Any], runs: int, rows: Racers
) -> list[Path]:
    """Profile ``runs`` runs of a context; writes ``stem.trace.json`` and ``stem.html`` and returns their paths."""
    context.profile()
    for _ in range(runs):
        context.run(feeds)
    explanation = context.explain()
    context.profile(False)
    trace, report = Path(f"{stem}.trace.json"), Path(f"{stem}.html")
    write_text(trace, json.dumps(chrome_trace(explanation)))
    write_text(report, profile_page(title, explanation, runs, rows))
    return [trace, report]


def profile_page(title: str, explanation: Explanation, runs: int, rows: Racers) -> str:
    """The page: engines, operators, layers, and every step in order."""
    steps = [step for step in explanation.steps if step.milliseconds is not None]
    total = sum(step.milliseconds or 0.0 for step in steps) or 1.0
    groups = _by_operator(steps)
    order = {name: index for index, name in enumerate(groups)}
    lead = (
        f"{len(steps)} steps, {total:.3f} ms in all (medians of {runs} runs, each step timed by itself), "
        f"{explanation.arena_nbytes / 2**20:.1f} MiB of activations and workspaces."
    )
    parts = [section("Engines", _engines(rows))] if len(rows) > 1 else []
    parts.append(
        section(
            "Time by operator",
            legend(list(groups)[:8]),
            bars(
                [
                    Bar(
                        name,
                        milliseconds,
                        f"{milliseconds:.3f} ms  {milliseconds / total:.1%}",
                        order[name],
                        f"{count} steps",
                    )
                    for name, (milliseconds, count) in groups.items()
                ]
            ),
        )
    )
    slowest = sorted(steps, key=lambda step: -(step.milliseconds or 0.0))[:MOST_BARS]
    shown = "" if len(slowest) == len(steps) else f"The {len(slowest)} slowest of {len(steps)} steps."
    parts.append(
        section(
            "Time by layer",
            paragraph(shown),
            bars(
                [
                    Bar(
                        step.layer or step.operator,
                        step.milliseconds or 0.0,
                        _figures(step, total),
                        order[step.operator],
                        step.kernel,
                    )
                    for step in slowest
                ]
            ),
        )
    )
    parts.append(section("Steps in order", _steps(steps)))
    return page(title, lead, parts)


def _by_operator(steps: list[StepReport]) -> dict[str, tuple[float, int]]:
    """Milliseconds and number of steps of each operator, the slowest first."""
    found: dict[str, tuple[float, int]] = {}
    for step in steps:
        before, count = found.get(step.operator, (0.0, 0))
        found[step.operator] = before + (step.milliseconds or 0.0), count + 1
    return dict(sorted(found.items(), key=lambda item: -item[1][0]))


def _figures(step: StepReport, total: float) -> str:
    milliseconds = step.milliseconds or 0.0
    return f"{milliseconds:.3f} ms  {milliseconds / total:.1%}"


def _engines(rows: Racers) -> Any:
    head = ("engine", "ms", "items/s", "ours / it", "peak MiB")
    cells = [
        (name, *(f"{row[key]:,.3f}" for key in ("median_ms", "items_per_second", "ratio", "peak_mib")))
        for name, row in rows.items()
        if "error" not in row
    ]
    return table(head, cells, right=head[1:])


def _steps(steps: list[StepReport]) -> Any:
    head = ("layer", "operator", "backend", "kernel", "fused into it", "KiB", "GB/s", "ms")
    cells = []
    for step in steps:
        milliseconds = step.milliseconds or 0.0
        speed = f"{step.nbytes / milliseconds / 1e6:,.1f}" if milliseconds and step.nbytes else ""
        size = f"{step.nbytes / 1024:,.1f}"
        fused = ", ".join(step.fused)
        cells.append((step.layer, step.described, step.backend, step.kernel, fused, size, speed, f"{milliseconds:.4f}"))
    return table(head, cells, right=("KiB", "GB/s", "ms"))
