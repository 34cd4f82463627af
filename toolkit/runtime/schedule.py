"""The schedule of a run on several devices: steps in sections of one device, with waits where memory demands them.

Steps of a device only enqueue. The next step of the host, or of another device, waits if it touches host memory that a
pending copy writes, or overwrites what one still reads; at the end everything is waited for. Sections of steps that
may be fused are offered to their backend once they have been executed.

Copies from the device beside the work are its last steps, apart from the others: they overwrite what the last run left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from toolkit.backends.protocol import HOST, Bracket, Bracketed, Step
from toolkit.runtime.devices import Devices
from toolkit.runtime.tensors import Task


class Span(NamedTuple):
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


class Calls:
    """A run: its ``steps`` in order, the ``downloads`` behind them, and the ``waits`` until all of it is there.

    ``begun`` and ``whole`` are these together. ``is_numeric``: numpy computes some of it. ``is_apart``: all of it
    happens on devices, and only ``downloads`` write memory of the host, so the next run may begin before the waits.
    """

    __slots__ = ("begun", "downloads", "is_apart", "is_numeric", "steps", "waits", "whole")

    def __init__(
        self,
        steps: Sequence[Step],
        downloads: Sequence[Step] = (),
        waits: Sequence[Step] = (),
        is_numeric: bool = False,
        is_apart: bool = False,
    ) -> None:
        self.steps, self.downloads, self.waits = tuple(steps), tuple(downloads), tuple(waits)
        self.begun = (*self.steps, *self.downloads)
        self.whole = (*self.begun, *self.waits)
        self.is_numeric, self.is_apart = is_numeric, is_apart


def sections(pairs: Iterable[tuple[Step, Task]], reach: Reach, devices: Devices) -> tuple[list[Section], list[Step]]:
    """The steps of a run in sections, the waits between them included; and the waits at its end."""
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
    return found, [partial(devices.synchronise, device) for device in used]


def joined(pairs: Iterable[tuple[Step, Task]], indifferent: str) -> list[Step]:
    """Steps of the host in order, brackets opened once for all that follow each other between the same ones.

    Steps of the backend ``indifferent`` do the same inside of a bracket and outside.
    """
    found: list[Step] = []
    opened: Bracket | None = None
    for step, task in pairs:
        if task.backend != indifferent:
            wanted = step.bracket if isinstance(step, Bracketed) else None
            if opened is not wanted:
                found += [] if opened is None else [opened.leave]
                found += [] if wanted is None else [wanted.enter]
                opened = wanted
        found.append(step.step if isinstance(step, Bracketed) and opened is step.bracket else step)
    return [*found, opened.leave] if opened is not None else found


def is_apart(tasks: Sequence[Task], reach: Reach) -> bool:
    """Whether no task computes on the host, and none but copies beside the work write there."""
    writing = (task for task in tasks if any(span.is_written for span in reach(task)))
    return all(task.device != HOST for task in tasks) and all(task.is_download for task in writing)


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
