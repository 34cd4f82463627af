"""The kernels of one backend by operator. A module of the backend's package registers its own, nothing else to edit.

Which modules serve an operator is known once all are imported. It is then kept on disk, so that later processes import
those alone that they need. What is kept holds until a file of the package, or one that backends share, is another.
"""

from __future__ import annotations

import json
import os
import pkgutil
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from toolkit.backends.code_cache import CodeCache, entry_name
from toolkit.backends.protocol import Kernel, Layout, Resources
from toolkit.compiler.program import Node
from toolkit.operators.record import canonical_domain

CACHE = CodeCache("modules")
SHARED = Path(__file__).parent
Lower = Callable[[Node, Sequence[Layout | None], Resources], Kernel]
Accepts = Callable[[Node], bool]


class Entry(NamedTuple):
    """How to lower an operator, and which of its nodes; ``module`` registers it."""

    lower: Lower
    accepts: Accepts
    module: str
    is_fallback: bool


class KernelTable:
    """Modules of ``package`` are imported when the table is asked for what they serve, without the device too.

    ``is_remembered``: which ones serve an operator follows from the files of the package and those that backends share.
    """

    def __init__(self, package: str, accepts: Accepts, *, is_remembered: bool = True) -> None:
        self._package, self._accepts, self._is_remembered = package, accepts, is_remembered
        self._entries: dict[tuple[str, str], list[Entry]] = {}

    def kernel(
        self, domain: str, *operators: str, accepts: Accepts | None = None, is_fallback: bool = False
    ) -> Callable[[Lower], Lower]:
        """Register a lowering function for operators of a domain; ``accepts`` says for which of their nodes.

        Several may serve one operator: the first one that accepts a node takes it, a fallback after the others. The
        last of a module is asked first, and the last module by its name.
        """
        module = sys._getframe(1).f_globals["__name__"]

        def register(lower: Lower) -> Lower:
            for operator in operators:
                entries = self._entries.setdefault((domain, operator), [])
                entries.insert(0, Entry(lower, accepts or self._accepts, module, is_fallback))
                entries.sort(key=lambda entry: entry.module, reverse=True)  # whichever was imported first
                entries.sort(key=lambda entry: entry.is_fallback)
            return lower

        return register

    def entries(self, domain: str, operator: str) -> Sequence[Entry]:
        """Who serves some nodes of an operator, most wanted first."""
        key = (canonical_domain(domain), operator)
        for module in self._homes.get("::".join(key), ()):
            import_module(module)
        return self._entries.get(key, ())

    def entry_of(self, node: Node) -> Entry | None:
        """Who lowers this node."""
        return next((entry for entry in self.entries(node.domain, node.op_type) if entry.accepts(node)), None)

    def serves(self, home: str, node: Node) -> bool:
        """Whether a kernel of the module or package ``home`` would lower this node, if no other one did."""
        entries = self.entries(node.domain, node.op_type)
        return any(f"{entry.module}.".startswith(f"{home}.") and entry.accepts(node) for entry in entries)

    @cached_property
    def _homes(self) -> dict[str, list[str]]:
        """By operator the modules that serve it, in the order of their names."""
        name = self._name()
        known = None if name is None else CACHE.read(name)
        if known is not None:
            found: dict[str, list[str]] = json.loads(known)
            return found
        for item in pkgutil.walk_packages(import_module(self._package).__path__, f"{self._package}."):
            import_module(item.name)
        homes = {"::".join(key): sorted({entry.module for entry in found}) for key, found in self._entries.items()}
        if name is not None:
            CACHE.write(name, json.dumps(homes).encode())
        return homes

    def _name(self) -> str | None:
        """Under which name the disk may know it; ``None`` where that cannot be told."""
        if not self._is_remembered:
            return None
        try:
            own = [file for path in import_module(self._package).__path__ for file in _files(path, is_deep=True)]
            return entry_name(self._package, sys.version, repr(sorted([*own, *_files(SHARED, is_deep=False)])))
        except OSError:  # an archive
            return None


def _files(folder: str | os.PathLike[str], *, is_deep: bool) -> Iterator[tuple[str, int, int]]:
    """Path, size and time of the last change of the modules of a folder."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(".py"):
                status = entry.stat()
                yield entry.path, status.st_size, status.st_mtime_ns
            elif is_deep and entry.is_dir():
                yield from _files(entry.path, is_deep=True)
