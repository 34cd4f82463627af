"""The schedule of a run on several devices: steps in sections of one device, with waits where memory demands them.

Steps of a device only enqueue. The next step of the host, or of another device, waits if it touches host memory that a
pending copy writes, or overwrites what one still reads; at the end everything is waited for. Sections of steps that
may be fused are offered to their backend once they have been executed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from toolkit.backends.protocol import HOST, Step
from toolkit.runtime.devices import Devices
from toolkit.runtime.tensors import Task


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes of host memory that a step touches, from ``start`` up to ``end``."""

    start: int
    end: int
    is_written: bool

    def conflicts(self, other: Span) -> bool:
        return (self.is_written or other.is_written) and self.start < other.end and other.start < self.end


Reach = Callable[[Task], Sequence[Span]]


@dataclass(slots=True)
class Section:
    """Consecutive steps of one device; ``device`` is empty for a wait."""

    device: str
    steps: list[Step]
    is_fusible: bool = False


def sections(pairs: Iterable[tuple[Step, Task]], reach: Reach, devices: Devices) -> list[Section]:
    """The steps of a run in sections, the waits between them included."""
    found: list[Section] = []
    pending: dict[str, list[Span]] = {}
    used: dict[str, None] = {}
    for step, task in pairs:
        spans = reach(task)
        for device in [name for name, others in pending.items() if name != task.device and _conflict(spans, others)]:
            found.append(_wait(device, devices))
            del pending[device]
            used.pop(device)
        if task.device != HOST:
            pending.setdefault(task.device, []).extend(spans)
            used[task.device] = None
        is_fusible = task.device != HOST and task.kernel.is_capturable
        if found and (found[-1].device, found[-1].is_fusible) == (task.device, is_fusible):
            found[-1].steps.append(step)
        else:
            found.append(Section(task.device, [step], is_fusible))
    return [*found, *(_wait(device, devices) for device in used)]


def calls(found: Sequence[Section]) -> tuple[Step, ...]:
    """The steps of all sections in order."""
    return tuple(step for section in found for step in section.steps)


def fused(found: Sequence[Section], devices: Devices) -> tuple[Step, ...]:
    """The same with each section that its backend can fuse as one step."""
    result: list[Step] = []
    for section in found:
        whole = devices.others[section.device].fuse(section.steps, devices.resources) if section.is_fusible else None
        result += section.steps if whole is None else [whole]
    return tuple(result)


def _wait(device: str, devices: Devices) -> Section:
    return Section("", [partial(devices.synchronise, device)])


def _conflict(spans: Sequence[Span], others: Sequence[Span]) -> bool:
    return any(span.conflicts(other) for span in spans for other in others)
