"""Tracing: elementwise transforms become a rule, by updating a part that stands for every element there is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from toolkit.compiler.program import Program, Variable
from toolkit.errors import TrainingError
from toolkit.operators.expression import Expression
from toolkit.operators.standard.update_rule import ELEMENTWISE, Line, Operand, Rule
from toolkit.runtime.update_part import Part

FLOAT32 = np.dtype(np.float32)
ANY = (3,)  # the shape that stands for all


@dataclass(frozen=True, slots=True)
class Traced:
    """A rule, and the slots that its tensors from the third on are."""

    rule: Rule
    slots: list[str]


def trace(
    run: Sequence[Any], offset: int, counts: Sequence[int], host: int, shared: int, factor: int | None, moved: bool
) -> Traced:
    """The rule of transforms that follow each other.

    Their numbers begin at ``offset``, ``counts`` for each; ``shared`` more, for the first of them, begin at ``host``.
    ``factor``: the place of a number to multiply the update with before all else. ``moved``: the parameters have been.
    Raises ``TrainingError`` naming the transform that is not elementwise.
    """
    tracer = _Tracer()
    parameter, update = tracer.tensor("parameter"), tracer.tensor("update")
    if factor is not None:
        update = update * tracer.number(factor)
    slots: list[str] = []
    kept: dict[str, Expression] = {}
    for position, (item, count) in enumerate(zip(run, counts, strict=True)):
        numbers = [tracer.number(offset + at) for at in range(count)]
        if position == 0:
            numbers += [tracer.number(host + at) for at in range(shared)]
        own = {name: tracer.tensor(name) for name in item.slot_shapes()}
        slots += own
        part = Part(parameter, update, numbers, own)
        tracer.owner, tracer.program.layer = type(item).__name__, type(item).__name__
        update, parameter = item.update(part), part.parameter
        kept |= part.kept
        moved = moved or part.moved is not None
        offset += count
    targets: dict[int, Expression] = {}
    if any(item.moves for item in run):
        targets[0] = parameter
    if not moved:
        targets[1] = update
    targets |= {2 + slots.index(name): value for name, value in kept.items()}
    return Traced(tracer.rule(targets), slots)


class _Tracer:
    def __init__(self) -> None:
        self.program = Program()
        self.owner = ""
        self._known: dict[Variable, Operand] = {}
        self._numbers: dict[int, Expression] = {}
        self._tensors = 0

    def tensor(self, name: str) -> Expression:
        """The next tensor of an element."""
        made = Variable(name, FLOAT32, ANY)
        self._known[made] = Operand("t", self._tensors)
        self._tensors += 1
        return self.program.expression(made)

    def number(self, index: int) -> Expression:
        """A number of the step."""
        if index not in self._numbers:
            made = Variable(f"number {index}", FLOAT32, ())
            self._known[made] = Operand("n", index)
            self._numbers[index] = self.program.expression(made)
        return self._numbers[index]

    def rule(self, targets: dict[int, Expression]) -> Rule:
        """What was traced, as far as it leads to ``targets``."""
        needed = {item.variable for item in targets.values()}
        for node in reversed(self.program.nodes):
            if any(item in needed for item in node.outputs):
                needed.update(item for item in node.inputs if item is not None)
        lines: list[Line] = []
        for node in self.program.nodes:
            if node.y not in needed:
                continue
            if node.op_type not in ELEMENTWISE or node.domain or node.attributes or node.y.shape not in ((), ANY):
                raise TrainingError(
                    f"{node.layer}: {node.operator} is not an elementwise operation without attributes, which an "
                    "elementwise transform must consist of. Set is_elementwise = False in its class."
                )
            operands = tuple(self._operand(item, node.layer) for item in node.inputs if item is not None)
            self._known[node.y] = Operand("v", len(lines))
            lines.append(Line(node.op_type, operands))
        results = tuple(self._operand(item.variable, self.owner) for item in targets.values())
        return Rule(tuple(lines), results, tuple(targets))

    def _operand(self, item: Variable, owner: str) -> Operand:
        if item.constant is not None:
            if item.size != 1:
                raise TrainingError(
                    f"{owner}: an elementwise transform may use numbers, got a constant of shape {item.shape}. "
                    "Set is_elementwise = False in its class."
                )
            return Operand("c", value=float(item.constant.reshape(-1)[0]))
        return self._known[item]
