"""Which kernels the backend has: ``@kernel(domain, operator)`` beside each, nothing else to edit.

A family is a module of this package; all of them are imported when the backend is made, on machines without CUDA too.
"""

from __future__ import annotations

import pkgutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path

from toolkit.backends.protocol import Kernel, Layout, Resources
from toolkit.compiler.program import Node

Lower = Callable[[Node, Sequence[Layout | None], Resources], Kernel]
Accepts = Callable[[Node], bool]


@dataclass(frozen=True, slots=True)
class Entry:
    """How to lower an operator, and which of its nodes."""

    lower: Lower
    accepts: Accepts


KERNELS: dict[tuple[str, str], list[Entry]] = {}


def is_numeric(node: Node) -> bool:
    """Whether no tensor of the node holds strings or other objects, and none is random."""
    record = node.record
    present = [item for item in (*node.inputs, *node.outputs) if item is not None]
    return not (record is not None and record.is_random) and all(item.dtype != object for item in present)


def kernel(
    domain: str, *operators: str, accepts: Accepts = is_numeric, is_fallback: bool = False
) -> Callable[[Lower], Lower]:
    """Register a lowering function for operators of a domain; ``accepts`` says for which of their nodes.

    Several may serve one operator: the first one that accepts a node takes it, a fallback after the others.
    """

    def register(lower: Lower) -> Lower:
        for operator in operators:
            entries = KERNELS.setdefault((domain, operator), [])
            entries.insert(len(entries) if is_fallback else 0, Entry(lower, accepts))
        return lower

    return register


@cache
def load_families() -> None:
    """Import every module of the package, so that its kernels are registered."""
    for found in pkgutil.iter_modules([str(Path(__file__).parent)], f"{__package__}."):
        import_module(found.name)


def libraries(domain: str, operator: str) -> list[str]:
    """Who has kernels for some nodes of an operator: what its families name as ``LIBRARY``, ours where they do not."""
    load_families()
    homes = (sys.modules[entry.lower.__module__] for entry in KERNELS.get((domain, operator), ()))
    return list(dict.fromkeys(getattr(home, "LIBRARY", "CUDA C") for home in homes))
