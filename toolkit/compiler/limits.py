"""Limits: programs and buffers that the machine cannot hold are refused by name before anything is allocated.

A file of a few bytes may declare any size, and systems hand out memory that they do not have. What counts is the memory
of the machine or of this process's control group, and what its limit of address space leaves.
"""

from __future__ import annotations

import math
import os
import sys
from functools import cache
from pathlib import Path

from toolkit.compiler.program import Node, Program, Variable
from toolkit.errors import ShapeError

if sys.platform == "linux":
    import resource

CONTROL_GROUPS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
UNKNOWN_MEMORY = 1 << 40  # bytes, where the system does not say
REMEDY = "Bind a smaller batch size or smaller dims; a file that declares such sizes itself may be made to do harm."


def require_affordable(program: Program, allowed: int | None = None) -> None:
    """Raise ``ShapeError`` for a program that needs more than ``allowed`` bytes; by default what there is.

    Counted is the least that any plan needs: tensors end with their last reader, and results take the place of what
    ends. The message names the largest tensor of those that must be there at the same time, and its layer.
    """
    allowed = available_memory() if allowed is None else allowed
    last = _last_reads(program)
    living = {variable: byte_count(variable) for variable in program.inputs.values()}
    total = sum(living.values())
    _require(total, allowed, living)
    for position, node in enumerate(program.nodes):
        ending = {item for item in node.inputs if item in living and last.get(item, -1) <= position}
        made = _made(node, ending)
        for item in ending:
            total -= living.pop(item)
        total += sum(made.values())
        living.update(made)
        _require(total, allowed, living)
        for item in made:
            if item not in last:
                total -= living.pop(item)


def require_room(nbytes: int, what: str) -> None:
    """Raise ``ShapeError`` when ``nbytes`` for ``what`` are more than there is."""
    allowed = available_memory()
    if nbytes > allowed:
        raise ShapeError(f"{what} takes {_amount(nbytes)}, but there are {_amount(allowed)}. {REMEDY}")


def byte_count(variable: Variable) -> int:
    """Bytes of a variable, in numbers that cannot overflow."""
    return math.prod(variable.shape) * variable.dtype.itemsize


def available_memory() -> int:
    """The most bytes that this process can be given now."""
    return min(physical_memory(), _left_in_address_space())


@cache
def physical_memory() -> int:
    """Bytes of memory of the machine, or of the control group of this process."""
    found = [UNKNOWN_MEMORY]
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    texts = [path.read_text(encoding="ascii").strip() for path in CONTROL_GROUPS if path.is_file()]
    return min([*found, *(int(text) for text in texts if text.isdigit())])


def _left_in_address_space() -> int:
    if sys.platform != "linux":
        return UNKNOWN_MEMORY
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY:
        return UNKNOWN_MEMORY
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    return max(0, limit - pages * resource.getpagesize())


def _last_reads(program: Program) -> dict[Variable, int]:
    """The position of the last node that reads each variable; the number of nodes for what the caller reads."""
    last = {item: position for position, node in enumerate(program.nodes) for item in node.inputs if item is not None}
    last.update(dict.fromkeys(program.roots(), len(program.nodes)))
    return last


def _made(node: Node, ending: set[Variable]) -> dict[Variable, int]:
    """Bytes of the results of a node; a view of something that stays takes none of its own."""
    record = node.record
    is_view = record is not None and record.is_view and node.inputs[0] not in ending
    return {item: 0 if is_view else byte_count(item) for item in node.outputs if item is not None}


def _require(total: int, allowed: int, living: dict[Variable, int]) -> None:
    if total <= allowed:
        return
    largest = max(living, key=living.__getitem__)
    producer = largest.producer
    what = f"{producer.operator} {producer.layer!r} makes" if producer is not None else "The program takes in"
    raise ShapeError(
        f"{what} {largest.name!r}, {largest.dtype.name} {largest.shape}, of {_amount(living[largest])}: with all that "
        f"is needed at the same time {_amount(total)}, but there are {_amount(allowed)}. {REMEDY}"
    )


def _amount(nbytes: int) -> str:
    return f"{nbytes / (1 << 30):.1f} GiB" if nbytes >= 1 << 29 else f"{nbytes} bytes"
