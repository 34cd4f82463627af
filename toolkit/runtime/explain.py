"""The explanation of a plan: one row per step, as data and as a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from toolkit.backends.protocol import HOST
from toolkit.runtime.execution import Span
from toolkit.runtime.plan import Plan
from toolkit.runtime.segments import Stage


class StepReport(NamedTuple):
    """One step of a plan; ``nbytes`` are read and written per run, ``milliseconds`` is the median when profiled.

    Where a run executes it several times, both are those of all of them.

    ``segment`` counts the plans that follow each other where data decides what comes next. ``is_recomputed`` marks a
    forward step that the backward pass repeats, see ``rematerialise``. ``spans`` are start and duration of each
    profiled execution, in seconds. ``types`` are the element types that it writes.
    """

    layer: str
    operator: str
    backend: str
    kernel: str
    fused: tuple[str, ...]
    role: str
    nbytes: int
    milliseconds: float | None
    segment: int = 0
    is_recomputed: bool = False
    spans: tuple[Span, ...] = ()
    types: tuple[str, ...] = ()

    @property
    def described(self) -> str:
        """The operator, and in brackets what its step is for unless that is the forward pass."""
        purpose = f"{self.role}, computed again" if self.is_recomputed else self.role
        return self.operator if purpose == "forward" else f"{self.operator} [{purpose}]"


@dataclass(frozen=True)
class Explanation:
    """What a plan does; ``str()`` gives the table, ``steps`` the rows, ``arenas`` the bytes planned on each device.

    ``lent_nbytes`` of these lie in the memory of gradients that are not computed yet. A run executes all steps in
    ``turns``, each for a part of the batch.
    """

    steps: list[StepReport]
    arena_nbytes: int
    prepared: int
    arenas: dict[str, int] = field(default_factory=dict)
    turns: int = 1
    lent_nbytes: int = 0

    def __str__(self) -> str:
        is_segmented = any(step.segment for step in self.steps)
        head = (
            *(("segment",) if is_segmented else ()),
            "layer",
            "operator",
            "backend",
            "kernel",
            "type",
            "fused into it",
        )
        head += ("KiB", "ms")
        rows = [head] + [
            (
                *((str(step.segment),) if is_segmented else ()),
                step.layer,
                step.described,
                step.backend,
                step.kernel,
                ", ".join(step.types),
                ", ".join(step.fused),
                f"{step.nbytes / 1024:,.1f}",
                "" if step.milliseconds is None else f"{step.milliseconds:.4f}",
            )
            for step in self.steps
        ]
        widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        lines.insert(1, "  ".join("-" * width for width in widths))
        total = sum(step.milliseconds or 0.0 for step in self.steps)
        arenas = [f"{self.arena_nbytes / 2**20:.2f} MiB arena"]
        if any(device != HOST for device in self.arenas):
            arenas = [f"{nbytes / 2**20:.2f} MiB arena on {device}" for device, nbytes in self.arenas.items()]
        if self.lent_nbytes:
            arenas[-1] += f" ({self.lent_nbytes / 2**20:.2f} MiB in the memory of gradients)"
        foot = f"{len(self.steps)} steps, {', '.join(arenas)}, {self.prepared} tensors prepared once"
        foot += f", {self.turns} turns, each for a part of the batch" if self.turns > 1 else ""
        return "\n".join([*lines, foot + (f", {total:.3f} ms" if total else "")])


def explain(plan: Plan) -> Explanation:
    """Describe a plan; views, which execute nothing, have no row."""
    return Explanation(_steps(plan), plan.arena_nbytes, len(plan.static), plan.arenas, plan.turns, plan.lent_nbytes)


def explain_segments(path: Sequence[Stage]) -> Explanation:
    """Describe the segments of a run: the steps of each plan, the calls on the data behind it, and what waits."""
    reports: list[StepReport] = []
    plans = [stage.plan for stage in path if stage.plan is not None]
    for index, stage in enumerate(path):
        reports += [] if stage.plan is None else _steps(stage.plan, index)
        for call in stage.calls:
            reports.append(_report(call.layer, call.operator, call.kernel, "called on the data", call.spans, index))
            for body in call.bodies.values():
                inner = explain_segments(body.segments.path()).steps
                reports += [step._replace(segment=index) for step in inner]
    for waiting in path[-1].segment.rest if path else ():
        reports.append(_report(waiting.layer, waiting.leaf.operator, "", "bound when its data is there", [], len(path)))
    arenas: dict[str, int] = {}
    for plan in plans:
        for device, nbytes in plan.arenas.items():
            arenas[device] = arenas.get(device, 0) + nbytes
    return Explanation(reports, sum(arenas.values()), sum(len(plan.static) for plan in plans), arenas)


def _report(layer: str, operator: str, backend: str, kernel: str, spans: list[Span], segment: int) -> StepReport:
    return StepReport(layer, operator, backend, kernel, (), "forward", 0, _median(spans), segment, spans=tuple(spans))


def _steps(plan: Plan, segment: int = 0) -> list[StepReport]:
    reports = []
    for index, task in enumerate(plan.tasks):
        if task.kernel.is_free:
            continue
        spans = plan.spans[index] if plan.spans is not None else []
        reports.append(
            StepReport(
                task.layer,
                task.operator,
                task.backend,
                task.kernel.name,
                task.fused,
                task.role,
                task.nbytes * plan.turns,
                None if (once := _median(spans)) is None else once * plan.turns,
                segment,
                task.node is not None and task.node.is_recomputed,
                tuple(spans),
                tuple(dict.fromkeys(item.layout.dtype.name for item in task.outputs if item is not None)),
            )
        )
    return reports


def _median(spans: list[Span]) -> float | None:
    """Milliseconds of the median execution."""
    return sorted(seconds for _, seconds in spans)[len(spans) // 2] * 1e3 if spans else None
