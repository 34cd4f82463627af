"""Widening: nodes of half width for which no backend has a kernel compute in float32, on the same numbers.

Factors are rounded, the node is computed as any other, its result is rounded: what a processor with arithmetic of half
width computes, at the price of float32 and of the rounding. A tensor stays in float32 from one such node to the next;
what only moves or chooses numbers rounds nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from toolkit.compiler.passes.dead_code import remove_dead_code
from toolkit.compiler.passes.precision_families import Family, family_of, keeps_numbers
from toolkit.compiler.placement import Candidate
from toolkit.compiler.program import Node, Program, Variable
from toolkit.operators import wire
from toolkit.operators.expression import TOOLKIT_DOMAIN
from toolkit.operators.precision import HALF_WIDTH

FLOAT32 = np.dtype(np.float32)
CAST_VERSION = 13


class Computing(Candidate, Protocol):
    """What widening has to know of a backend."""

    widens: bool


def widen(program: Program, backends: Sequence[Computing]) -> None:
    """Apply the above; a backend that widens itself counts as having no kernel."""
    _Widening(program, backends).run()


class _Widening:
    """One walk; ``exact`` has the float32 variable that holds the numbers of a narrow one."""

    def __init__(self, program: Program, backends: Sequence[Computing]) -> None:
        self.program, self.backends = program, backends
        self.exact: dict[Variable, Variable] = {}
        self.unmade: set[Variable] = set()  # narrow variables that nobody has read as such so far
        self.waiting: dict[Variable, Node] = {}  # Casts whose result nobody has read in float32 so far

    def run(self) -> None:
        nodes, self.program.nodes = self.program.nodes, []
        self.targets = {node.x: node.y for node in nodes if _is_widening(node)}
        for node in nodes:
            self._visit(node)
        for item in self.program.roots():
            self._make(item)
        remove_dead_code(self.program)

    def _visit(self, node: Node) -> None:
        if _is_cast(node) and node.y.dtype in HALF_WIDTH and node.x.dtype == FLOAT32:
            self.waiting[node.y] = node
            self.unmade.add(node.y)
        elif _is_widening(node) and (node.x in self.exact or node.x in self.waiting):
            wide = self._widened(node, node.x)
            assert wide is not None
            if wide is not node.y:  # a second Cast of one variable
                self._append(node, "Identity", wide, node.y, {})
        elif _is_narrow(node) and not self._is_native(node):
            self._compute(node)
        else:
            for item in node.inputs:
                self._make(item)
            self.program.nodes.append(node)

    def _is_native(self, node: Node) -> bool:
        if family_of(node) is None:
            return True  # a file's own tensors of half width are the file's affair
        if family_of(node) is Family.MOVEMENT:
            return not any(item in self.unmade for item in node.inputs)
        chosen = next((backend for backend in self.backends if backend.supports(node)), None)
        return chosen is not None and not chosen.widens

    def _compute(self, node: Node) -> None:
        moved = keeps_numbers(node) and all(item is None or item.dtype != FLOAT32 for item in node.inputs)
        node.inputs = [self._widened(node, item) for item in node.inputs]
        outputs, node.outputs = node.outputs, list(node.outputs)
        self.program.nodes.append(node)
        for index, item in enumerate(outputs):
            if item is None or item.dtype not in HALF_WIDTH:
                continue
            wide = self._exact_form(item) if moved else Variable(item.name, FLOAT32, item.shape)
            node.outputs[index], wide.producer = wide, node
            if moved:
                self.exact[item] = wide
                self.unmade.add(item)
            else:
                self._round(node, wide, item)

    def _widened(self, node: Node, item: Variable | None) -> Variable | None:
        """The float32 form of an input."""
        if item is None or item.dtype not in HALF_WIDTH:
            return item
        if item in self.waiting:
            cast = self.waiting.pop(item)
            self._round(cast, cast.x, item, is_made=item not in self.unmade)
        if item not in self.exact:
            wide = self._exact_form(item)
            if item.constant is not None:
                wide.constant = item.constant.astype(FLOAT32)
            else:
                self._append(node, "Cast", item, wide, {"to": wire.element_type(FLOAT32)}, CAST_VERSION)
            self.exact[item] = wide
        return self.exact[item]

    def _round(self, node: Node, source: Variable, item: Variable, is_made: bool = False) -> None:
        """Let the numbers of ``source``, rounded, be those of the narrow ``item``."""
        to = {"to": wire.element_type(item.dtype)}
        wide = self.exact[item] = self._exact_form(item)
        self._append(node, "RoundToType", source, wide, to, domain=TOOLKIT_DOMAIN)
        if not is_made:
            self.unmade.add(item)

    def _exact_form(self, item: Variable) -> Variable:
        """The variable that a Cast would make of a narrow one, or a new one: so what has a name keeps it."""
        return self.targets.get(item) or Variable(item.name, FLOAT32, item.shape)

    def _make(self, item: Variable | None) -> None:
        """Let a variable be there in half width."""
        if item is not None and item in self.unmade:
            self.unmade.remove(item)
            if item in self.waiting:
                self.program.nodes.append(self.waiting[item])
                return
            wide = self.exact[item]
            assert wide.producer is not None
            self._append(wide.producer, "Cast", wide, item, {"to": wire.element_type(item.dtype)}, CAST_VERSION)

    def _append(
        self,
        like: Node,
        op_type: str,
        source: Variable,
        target: Variable,
        attributes: dict[str, int],
        version: int = 1,
        domain: str = "",
    ) -> None:
        """Append a node of one input and one output, of the layer and role of another."""
        made = Node(op_type, domain, version, [source], [target], dict(attributes), like.layer, role=like.role)
        made.is_recomputed, target.producer = like.is_recomputed, made
        self.program.nodes.append(made)


def _is_cast(node: Node) -> bool:
    return node.op_type == "Cast" and not node.domain


def _is_widening(node: Node) -> bool:
    return _is_cast(node) and node.x.dtype in HALF_WIDTH and node.y.dtype == FLOAT32


def _is_narrow(node: Node) -> bool:
    return any(item is not None and item.dtype in HALF_WIDTH for item in (*node.inputs, *node.outputs))
