"""The explanation of a plan: one row per step, as data and as a table."""

from __future__ import annotations

from dataclasses import dataclass

from toolkit.runtime.plan import Plan


@dataclass(frozen=True, slots=True)
class StepReport:
    """One step of a plan; ``nbytes`` are read and written per run, ``milliseconds`` is the median when profiled."""

    layer: str
    operator: str
    backend: str
    kernel: str
    fused: tuple[str, ...]
    role: str
    nbytes: int
    milliseconds: float | None


@dataclass(frozen=True)
class Explanation:
    """What a plan does; ``str()`` gives the table, ``steps`` the rows."""

    steps: list[StepReport]
    arena_nbytes: int
    prepared: int

    def __str__(self) -> str:
        head = ("layer", "operator", "backend", "kernel", "fused into it", "KiB", "ms")
        rows = [head] + [
            (
                step.layer,
                step.operator + ("" if step.role == "forward" else f" [{step.role}]"),
                step.backend,
                step.kernel,
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
        foot = (
            f"{len(self.steps)} steps, {self.arena_nbytes / 2**20:.2f} MiB arena, {self.prepared} tensors prepared once"
        )
        return "\n".join([*lines, foot + (f", {total:.3f} ms" if total else "")])


def explain(plan: Plan) -> Explanation:
    """Describe a plan; views, which execute nothing, have no row."""
    reports = []
    for index, task in enumerate(plan.tasks):
        if task.kernel.is_free:
            continue
        times = plan.times[index] if plan.times is not None else []
        reports.append(
            StepReport(
                task.layer,
                task.operator,
                task.backend,
                task.kernel.name,
                task.fused,
                task.role,
                task.nbytes,
                sorted(times)[len(times) // 2] * 1e3 if times else None,
            )
        )
    return Explanation(reports, plan.arena_nbytes, len(plan.static))
