"""The kernels of one backend by operator. A module of the backend's package registers its own, nothing else to edit."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Sequence
from functools import cached_property
from importlib import import_module
from typing import NamedTuple

from toolkit.backends.protocol import Kernel, Layout, Resources
from toolkit.compiler.program import Node
from toolkit.operators.record import canonical_domain

Lower = Callable[[Node, Sequence[Layout | None], Resources], Kernel]
Accepts = Callable[[Node], bool]


class Entry(NamedTuple):
    """How to lower an operator, and which of its nodes."""

    lower: Lower
    accepts: Accepts


class KernelTable:
    """Every module of ``package`` is imported when the table is first asked, on machines without the device too."""

    def __init__(self, package: str, accepts: Accepts) -> None:
        self._package, self._accepts = package, accepts
        self._entries: dict[tuple[str, str], list[Entry]] = {}

    def kernel(
        self, domain: str, *operators: str, accepts: Accepts | None = None, is_fallback: bool = False
    ) -> Callable[[Lower], Lower]:
        """Register a lowering function for operators of a domain; ``accepts`` says for which of their nodes.

        Several may serve one operator: the first one that accepts a node takes it, a fallback after the others.
        """

        def register(lower: Lower) -> Lower:
            for operator in operators:
                entries = self._entries.setdefault((domain, operator), [])
                entries.insert(len(entries) if is_fallback else 0, Entry(lower, accepts or self._accepts))
            return lower

        return register

    def entries(self, domain: str, operator: str) -> Sequence[Entry]:
        """Who serves some nodes of an operator, most wanted first."""
        return self._loaded.get((canonical_domain(domain), operator), ())

    def entry_of(self, node: Node) -> Entry | None:
        """Who lowers this node."""
        return next((entry for entry in self.entries(node.domain, node.op_type) if entry.accepts(node)), None)

    @cached_property
    def _loaded(self) -> dict[tuple[str, str], list[Entry]]:
        for found in pkgutil.iter_modules(import_module(self._package).__path__, f"{self._package}."):
            import_module(found.name)
        return self._entries
