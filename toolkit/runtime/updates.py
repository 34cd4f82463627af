"""How an optimizer's chain of transforms becomes nodes of the training step.

Parameters of equal learning rate, decay and type form a group. Elementwise transforms that follow each other are traced
once and run as one ``ElementwiseUpdate`` over the whole group; the others are written out for each parameter. Whatever
the chain, the first node of a group reads its gradients, so that they lie where the store keeps them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from toolkit.compiler.program import Node, Program, Variable
from toolkit.graph.parameter import Parameter
from toolkit.operators.derivative import cast
from toolkit.operators.expression import TOOLKIT_DOMAIN, Expression, emit, reshape
from toolkit.operators.standard.update_rule import Line, Operand, Rule
from toolkit.runtime.update_part import Part
from toolkit.runtime.update_trace import trace

FLOAT32 = np.dtype(np.float32)
ACCUMULATED = "accumulated"  # the slot of gradients that wait for their update
KEEP_AND_ADD = Rule(  # accumulated * n0 + gradient * n1
    (
        Line("Mul", (Operand("t", 2), Operand("n", 0))),
        Line("Mul", (Operand("t", 1), Operand("n", 1))),
        Line("Add", (Operand("v", 0), Operand("v", 1))),
    ),
    (Operand("v", 2),),
    (2,),
)


class Transform(Protocol):
    """What a step needs of a transform; ``toolkit.training.optimizers`` has them."""

    is_elementwise: bool
    is_shared: Any
    moves: bool

    def slot_shapes(self) -> Mapping[str, Callable[[tuple[int, ...]], tuple[int, ...]] | None]: ...

    def numbers(self, now: Any) -> Sequence[Any]: ...

    def shared(self, updates: Sequence[Expression]) -> Sequence[Expression]: ...

    def update(self, part: Part) -> Expression: ...


class Optimizer(Protocol):
    """What a step needs of an optimizer."""

    @property
    def transforms(self) -> Sequence[Transform]: ...

    def scalars(self, step: int, rate: float = 1.0, decay: float = 1.0) -> Sequence[float]: ...


@dataclass
class UpdateGroup:
    """Parameters that are moved alike: those of one learning-rate and decay multiplier and one element type.

    ``node`` is the first one, which reads the gradients; ``slots`` are those that have the parameters' shapes.
    """

    index: int
    parameters: list[Parameter]
    rate: float
    decay: float
    numbers: Expression
    variables: list[Expression]  # the parameters, moved once a transform has
    updates: list[Expression]
    nodes: list[Node] = field(default_factory=list)
    slots: list[str] = field(default_factory=list)
    moved: bool = False

    @property
    def node(self) -> Node:
        return self.nodes[0]

    def gradients(self) -> list[tuple[Variable, Parameter]]:
        """The gradient that the first node reads for each parameter."""
        first = 1 + len(self.parameters)
        read = self.node.inputs[first : first + len(self.parameters)]
        return [(item, owner) for item, owner in zip(read, self.parameters, strict=True) if item is not None]


class UpdateBuilder:
    """Appends the update of one optimizer to a program.

    ``accumulates``: gradients are gathered in a slot, by nodes of the role ``accumulate``, and moved by what was
    gathered. ``factored``: the update begins by multiplying with a further number, the last one of a group's.
    """

    def __init__(self, program: Program, optimizer: Optimizer, *, accumulates: bool, factored: bool) -> None:
        self.program, self.optimizer = program, optimizer
        self.accumulates, self.factored = accumulates, factored

    def build(self, grads: Mapping[Variable, Variable]) -> list[UpdateGroup]:
        """Append everything; parameters and slots become assignments of the program."""
        program = self.program
        program.role, program.layer = "update", type(self.optimizer).__name__
        self.groups = [self._group(index, rows) for index, rows in enumerate(_by_kind(grads))]
        if self.accumulates:
            program.role = "accumulate"
            for group in self.groups:
                self._accumulate(group)
            program.role = "update"
        self._chain()
        for group in self.groups:
            targets = [item for item in grads if item.parameter in group.parameters]
            pairs = zip(_in_order(targets, group.parameters), group.variables, strict=True)
            program.assignments += [(old, new.variable) for old, new in pairs]
        program.role, program.layer = "forward", ""
        return self.groups

    def _group(self, index: int, rows: Sequence[tuple[Variable, Variable]]) -> UpdateGroup:
        first = rows[0][0].parameter
        assert first is not None
        count = len(self.optimizer.scalars(1)) + int(self.factored)
        numbers = self.program.inputs[f"scalars {index}"] = Variable(f"scalars {index}", FLOAT32, (count,))
        return UpdateGroup(
            index,
            [item.parameter for item, _ in rows if item.parameter is not None],
            first.learning_rate,
            first.weight_decay,
            self.program.expression(numbers),
            [self.program.expression(item) for item, _ in rows],
            [self.program.expression(grad) for _, grad in rows],
        )

    def _accumulate(self, group: UpdateGroup) -> None:
        name = f"accumulation {group.index}"
        numbers = self.program.inputs[name] = Variable(name, FLOAT32, (2,))
        (gathered,) = self._fused(group, KEEP_AND_ADD, self.program.expression(numbers), [ACCUMULATED])
        group.updates = gathered

    # the chain ----------------------------------------------------------------------------------------------------

    def _chain(self) -> None:
        offset, runs = 0, self._runs()
        for at, run in enumerate(runs):
            counts = [len(item.numbers(_ONCE)) for item in run]
            shared = list(run[0].shared([item for group in self.groups for item in group.updates])) if run else []
            for group in self.groups:
                factor = self.factored and at == 0
                if not run or run[0].is_elementwise:
                    self._elementwise(group, run, offset, counts, shared, factor)
                else:
                    self._each(group, run[0], offset, counts[0])
            offset += sum(counts)

    def _runs(self) -> list[list[Transform]]:
        """Elementwise transforms that follow each other, the others alone; first an elementwise run, maybe empty."""
        runs: list[list[Transform]] = [[]]
        for item in self.optimizer.transforms:
            alone = not item.is_elementwise or item.is_shared
            if alone or not (runs[-1] == [] or runs[-1][0].is_elementwise):
                runs.append([item])
            else:
                runs[-1].append(item)
        return runs

    def _elementwise(
        self,
        group: UpdateGroup,
        run: Sequence[Transform],
        offset: int,
        counts: Sequence[int],
        shared: Sequence[Expression],
        factor: bool,
    ) -> None:
        host = group.numbers.shape[0]
        traced = trace(run, offset, counts, host, len(shared), host - 1 if factor else None, group.moved)
        numbers = group.numbers
        if shared:
            numbers = emit("Concat", numbers, *(reshape(cast(item, FLOAT32), (1,)) for item in shared), axis=0)
        results = self._fused(group, traced.rule, numbers, traced.slots)
        for target, made in zip(traced.rule.targets, results, strict=True):
            if target == 0:
                group.variables, group.moved = made, True
            elif target == 1:
                group.updates = made

    def _fused(
        self, group: UpdateGroup, rule: Rule, numbers: Expression, slots: Sequence[str]
    ) -> list[list[Expression]]:
        """Append one node for a group; returns its results by target, slots assigned."""
        program, count = self.program, len(group.parameters)
        states = [
            [
                self._state(slot, owner, item.shape)
                for item, owner in zip(group.variables, group.parameters, strict=True)
            ]
            for slot in slots
        ]
        tensors = [item.variable for item in (*group.variables, *group.updates)]
        node = program.append(
            "ElementwiseUpdate",
            [numbers.variable, *tensors, *(item for column in states for item in column)],
            {**rule.attributes(), "count": count},
            domain=TOOLKIT_DOMAIN,
            outputs=count * len(rule.targets),
        )
        group.nodes.append(node)
        group.slots += slots
        made = [program.expression(item) for item in node.outputs if item is not None]
        columns = [made[start : start + count] for start in range(0, len(made), count)]
        for target, column in zip(rule.targets, columns, strict=True):
            if target > 1:
                pairs = zip(states[target - 2], column, strict=True)
                program.assignments += [(old, new.variable) for old, new in pairs]
        return columns

    def _each(self, group: UpdateGroup, transform: Transform, offset: int, count: int) -> None:
        """Write a transform out for each parameter."""
        for index, owner in enumerate(group.parameters):
            parameter, update = group.variables[index], group.updates[index]
            numbers = [
                cast(emit("Gather", group.numbers, np.asarray(offset + at)), update.dtype) for at in range(count)
            ]
            states = {
                name: self._state(name, owner, shape(parameter.shape) if shape else parameter.shape)
                for name, shape in transform.slot_shapes().items()
            }
            slots = {name: self.program.expression(item) for name, item in states.items()}
            part = Part(parameter, update, numbers, slots)
            group.updates[index], group.variables[index] = transform.update(part), part.parameter
            group.moved = group.moved or part.moved is not None
            self.program.assignments += [(states[name], new.variable) for name, new in part.kept.items()]

    @staticmethod
    def _state(slot: str, owner: Parameter, shape: tuple[int, ...]) -> Variable:
        return Variable(f"{slot} of {owner.name}", owner.dtype, shape, state=(slot, owner))


class _Once:
    """A moment that only counts: how many numbers a transform has does not depend on it."""

    rate, step, decay = 1.0, 1, 1.0


_ONCE = _Once()


def _by_kind(grads: Mapping[Variable, Variable]) -> list[list[tuple[Variable, Variable]]]:
    """Parameters and gradients in groups of one learning-rate multiplier, decay multiplier and type."""
    found: dict[Any, list[tuple[Variable, Variable]]] = {}
    for item, grad in grads.items():
        assert item.parameter is not None
        kind = item.parameter.learning_rate, item.parameter.weight_decay, item.dtype
        found.setdefault(kind, []).append((item, grad))
    return list(found.values())


def _in_order(variables: Sequence[Variable], parameters: Sequence[Parameter]) -> list[Variable]:
    by_owner = {item.parameter: item for item in variables}
    return [by_owner[owner] for owner in parameters]
