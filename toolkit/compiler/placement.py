"""Placement: every node goes to the first backend of its preference list that has a kernel for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from toolkit.compiler.program import Node, Program
from toolkit.errors import UnsupportedOperatorError


class Candidate(Protocol):
    """What placement has to know of a backend."""

    name: str

    def supports(self, node: Node) -> bool: ...

    def arrange(self, program: Program) -> None: ...


def place(program: Program, backends: Sequence[Candidate], loss_backends: Sequence[Candidate] | None = None) -> None:
    """Set ``node.backend`` everywhere; the loss and its gradient follow ``loss_backends`` where that is given.

    Then every backend arranges what it was given.

    Raises ``UnsupportedOperatorError`` listing every node that no candidate can run.
    """
    homeless = []
    for node in program.nodes:
        candidates = loss_backends if loss_backends and node.role.startswith("loss") else backends
        chosen = next((backend for backend in candidates if backend.supports(node)), None)
        if chosen is None:
            homeless.append(f"{node.operator}-{node.version} in {node.layer!r}")
        else:
            node.backend = chosen.name
    if homeless:
        names = ", ".join(backend.name for backend in backends)
        raise UnsupportedOperatorError(f"No kernel on {names} for: {'; '.join(dict.fromkeys(homeless))}.")
    for backend in dict.fromkeys([*backends, *(loss_backends or ())]):
        backend.arrange(program)
