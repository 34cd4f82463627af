"""The execution of a plan: bound steps by role, fused after their first run, waited for where the host needs them.

The hot path of everything: a run calls prepared steps in a row, and looks at nothing but their status.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from toolkit.backends.native.kernel import NAME as NATIVE
from toolkit.backends.native.sequence import in_one_call
from toolkit.backends.protocol import HOST, Step
from toolkit.errors import MALFORMED, BackendError, InputError, ToolkitError, naming
from toolkit.runtime.devices import Devices
from toolkit.runtime.floating_point import restore, silence
from toolkit.runtime.schedule import Calls, Reach, Section, calls, fused, is_apart, joined, sections
from toolkit.runtime.tensors import Task

NUMPY = "numpy"  # the name of the backend
Pairs = Sequence[tuple[Step, Task]]
Span = tuple[float, float]  # when a step began, on the clock of ``time.perf_counter``, and how many seconds it took


class Execution:
    """Runs of the steps of ``tasks``, once they are bound; ``reach`` tells the host memory that a task touches.

    ``spans`` are the times of each task's runs while they are recorded.
    """

    def __init__(self, tasks: Sequence[Task], devices: Devices, reach: Reach) -> None:
        self._position = {id(task): position for position, task in enumerate(tasks)}
        self._devices, self._reach = devices, reach
        self.spans: list[list[Span]] | None = None

    def bind(self, pairs: Pairs) -> None:
        """Take the steps of all tasks that have one, in order."""
        self._pairs = pairs
        self._calls: dict[tuple[str, ...], Calls] = {}
        self._guarded: dict[tuple[tuple[str, ...], tuple[str, ...]], Calls] = {}

    def run(self, roles: tuple[str, ...], meanwhile: Callable[[], None] | None = None) -> None:
        """See ``Plan.run``."""
        found = self._calls.get(roles) or self._prepared(roles)
        if self.spans is not None:
            self._run((partial(self._run_timed, roles),), roles, is_numeric=True)
            if meanwhile is not None:
                self._run((meanwhile, self._devices.synchronise), roles, found.is_numeric)
        elif meanwhile is None:
            self._run(found.whole, roles, found.is_numeric)
        else:
            self._run((*found.begun, meanwhile, *found.waits), roles, found.is_numeric)

    def run_guarded(self, roles: tuple[str, ...], guard: Sequence[Step], then: tuple[str, ...]) -> bool:
        """See ``Plan.run_guarded``."""
        if self.spans is not None:
            self.run(roles)
            if any(step() for step in guard):
                return False
            self.run(then)
            return True
        found = self._guarded.get((roles, then))
        if found is None:
            pairs = self._ordered(roles), self._ordered(then)
            parts = [*joined(pairs[0], NUMPY), *guard, *joined(pairs[1], NUMPY)]
            found = self._guarded[roles, then] = _on_host(parts, [*pairs[0], *pairs[1]])
        return self._run(found.whole, (*roles, *then), found.is_numeric, guard)

    def launch(self, roles: tuple[str, ...]) -> bool:
        """See ``Plan.launch``."""
        found = self._calls.get(roles)
        if found is None or not found.is_apart or self.spans is not None:
            return False
        self._run(found.steps, roles, found.is_numeric)
        return True

    def fetch(self, roles: tuple[str, ...]) -> None:
        """See ``Plan.fetch``."""
        found = self._calls[roles]
        self._run(found.downloads, roles, found.is_numeric)

    def _prepared(self, roles: tuple[str, ...]) -> Calls:
        """The calls of the roles; those of devices become final behind their first run."""
        pairs = self._ordered(roles)
        if all(task.device == HOST for _, task in pairs):
            made = self._calls[roles] = _on_host(joined(pairs, NUMPY), pairs)
            return made
        is_numeric = any(task.backend == NUMPY for _, task in pairs)
        found, waits = sections([pair for pair in pairs if not pair[1].is_download], self._reach, self._devices)
        later = partial(
            Calls,
            downloads=[step for step, task in pairs if task.is_download],
            is_numeric=is_numeric,
            is_apart=is_apart([task for _, task in pairs], self._reach),
        )
        return later(calls(found), waits=[*waits, partial(self._fuse, roles, found, partial(later, waits=waits))])

    def _fuse(self, roles: tuple[str, ...], found: Sequence[Section], later: Callable[..., Calls]) -> None:
        """The last call of a first run: from the next one on, what can be fused is."""
        self._calls[roles] = later(fused(found, self._devices))

    def _run(self, calls: Sequence[Step], roles: Sequence[str], is_numeric: bool, guard: Sequence[Step] = ()) -> bool:
        """Whether ``guard``, which is among ``calls``, let all of them be made."""
        before = silence() if is_numeric else None  # numpy warns where IEEE has an answer
        try:
            for call in calls:
                status = call()
                if status.__class__ is int and status:
                    if any(step() for step in guard):
                        return False
                    self._raise_failed(roles)
        except MALFORMED as error:
            if isinstance(error, ToolkitError):
                self._devices.settle()
                raise
            self._raise_failed(roles)
        except BaseException:  # whatever it is: nothing may be pending when the next run loads its inputs
            self._devices.settle()
            raise
        finally:
            if is_numeric:
                restore(before)
        return True

    def observe(self, roles: Sequence[str], look: Callable[[Task], Any]) -> None:
        """See ``Plan.observe``."""
        with np.errstate(all="ignore"):
            for step, task in self._ordered(roles):
                self.execute(step, task)
                if look(task):
                    return

    def _ordered(self, roles: Sequence[str]) -> Pairs:
        return [pair for pair in self._pairs if pair[1].role in roles]

    def _run_timed(self, roles: Sequence[str]) -> None:
        assert self.spans is not None
        devices, pairs = self._devices, self._ordered(roles)
        devices.synchronise()
        started = time.perf_counter()
        origins = {device: devices.mark(device) for device in dict.fromkeys(task.device for _, task in pairs)}
        found, before_task = [], HOST
        for step, task in pairs:
            if task.device != before_task:
                devices.synchronise()
            before = devices.mark(task.device)
            _execute(step, task)
            found.append((task, before, devices.mark(task.device)))
            before_task = task.device
        devices.synchronise()
        for task, before, after in found:
            begun = started + before.since(origins[task.device])
            self.spans[self._position[id(task)]].append((begun, after.since(before)))

    def profile(self, enabled: bool) -> None:
        """See ``Plan.profile``."""
        self.spans = [[] for _ in self._position] if enabled else None

    def _raise_failed(self, roles: Sequence[str]) -> None:
        self._devices.settle()
        for step, task in self._ordered(roles):
            self.execute(step, task)
        raise BackendError("A kernel reported an error that it does not report again; run once more.")

    def execute(self, step: Step, task: Task) -> None:
        """Execute one step and wait for it; what goes wrong names its layer."""
        _execute(step, task)
        try:
            self._devices.synchronise(task.device)
        except BackendError as error:
            raise BackendError(
                f"{task.operator} {task.layer!r}: kernel {task.kernel.name!r} failed: {error}"
            ) from error


def _on_host(steps: list[Step], pairs: Pairs) -> Calls:
    """The calls of steps of the host, those of native functions in a row as one where the compiler is there."""
    is_numeric = any(task.backend == NUMPY for _, task in pairs)
    return Calls(
        in_one_call(steps) if any(task.backend == NATIVE for _, task in pairs) else steps, is_numeric=is_numeric
    )


def data_error(operator: str, layer: str, why: str) -> InputError:
    """The error for a layer that data does not fit, from what its kernel said."""
    return InputError(f"{operator} {layer!r} cannot be computed on this data: {why}.")


def _execute(step: Step, task: Task) -> None:
    """Execute one step; what goes wrong names its layer."""
    with naming(lambda why: data_error(task.operator, task.layer, why)):
        status = step()
    if isinstance(status, int) and status:
        raise BackendError(f"{task.operator} {task.layer!r}: kernel {task.kernel.name!r} failed with status {status}.")
