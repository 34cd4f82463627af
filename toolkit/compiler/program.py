"""The program: the one intermediate form between a network and a plan.

Every variable has a concrete shape; nodes stand in execution order. Passes are functions from program to program that
edit nodes; a variable is never renamed, so messages keep the names that the file gave.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from toolkit.compiler.settled import Settled
from toolkit.graph.parameter import Parameter
from toolkit.operators.expression import Expression
from toolkit.operators.inference import infer_types
from toolkit.operators.record import Operator, TensorType, lookup

UPDATE_ROLES = ("accumulate", "update")  # what a step does with its gradients


@dataclass(eq=False, slots=True)
class Variable:
    """One tensor of a program.

    At most one of ``constant`` (its content), ``parameter`` (whose content it is) and ``state`` (the key of a tensor
    that starts as zeros and is kept from run to run) is set; with none of them it is an input or computed by
    ``producer``.
    """

    name: str
    dtype: np.dtype
    shape: tuple[int, ...]
    producer: Node | None = None
    constant: np.ndarray | None = None
    parameter: Parameter | None = None
    state: Hashable | None = None

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize

    def __repr__(self) -> str:
        return f"{self.name}: {self.dtype.name} {self.shape}"


@dataclass(eq=False, slots=True)
class Node:
    """One operator on variables. ``layer`` is the path of the leaf it comes from; ``fused`` lists further ones.

    ``role`` is ``forward``, ``loss``, ``loss backward`` (the gradient of the loss itself), ``backward``,
    ``accumulate`` (gradients are gathered) or ``update``; ``backend`` is set by placement. ``is_recomputed`` marks a
    forward node repeated for the backward pass: what would merge it with its original undoes that.
    """

    op_type: str
    domain: str
    version: int
    inputs: list[Variable | None]
    outputs: list[Variable | None]
    attributes: dict[str, Any]
    layer: str = ""
    fused: tuple[str, ...] = ()
    role: str = "forward"
    backend: str = ""
    is_recomputed: bool = False

    @property
    def operator(self) -> str:
        return f"{self.domain}::{self.op_type}" if self.domain else self.op_type

    @property
    def record(self) -> Operator | None:
        return lookup(self.domain, self.op_type, self.version)

    @property
    def x(self) -> Variable:
        """The first input."""
        assert self.inputs[0] is not None
        return self.inputs[0]

    @property
    def y(self) -> Variable:
        """The first output."""
        assert self.outputs[0] is not None
        return self.outputs[0]

    def __repr__(self) -> str:
        return f"Node({self.operator} {self.layer!r})"


@dataclass(eq=False)
class Program:
    """Variables and nodes with every size bound. It is the ``Emitter`` that expressions append to.

    ``settled`` are the parameters whose content it took for constant.
    """

    inputs: dict[str, Variable] = field(default_factory=dict)
    outputs: dict[str, Variable] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)
    assignments: list[tuple[Variable, Variable]] = field(default_factory=list)  # (parameter or state, its next content)
    settled: Settled = field(default_factory=Settled)
    layer: str = ""  # given to the nodes that ``emit`` appends
    role: str = "forward"
    _serial: int = 0

    def emit(
        self,
        op_type: str,
        inputs: Sequence[Expression | None],
        attributes: dict[str, Any],
        *,
        domain: str = "",
        version: int = 1,
        outputs: int = 1,
    ) -> list[Expression]:
        """Append a node with fresh output variables; see ``toolkit.operators.expression.emit``."""
        operands = [None if item is None else item.variable for item in inputs]
        node = self.append(op_type, operands, attributes, domain=domain, version=version, outputs=outputs)
        return [Expression(self, variable) for variable in node.outputs]

    def append(
        self,
        op_type: str,
        inputs: Sequence[Variable | None],
        attributes: dict[str, Any],
        *,
        domain: str = "",
        version: int = 1,
        outputs: int | Sequence[str] = 1,
        layer: str | None = None,
        types: Sequence[TensorType] | None = None,
    ) -> Node:
        """Append a node; ``outputs`` is how many there are, or their names (``""`` for one left out).

        Their ``types`` are inferred unless a run has told them.
        """
        layer = self.layer if layer is None else layer
        names = (
            [self.fresh(f"{layer}/{op_type}") for _ in range(outputs)] if isinstance(outputs, int) else list(outputs)
        )
        if types is None:
            types = infer_types(domain, op_type, version, inputs, attributes, names, layer)
        node = Node(op_type, domain, version, list(inputs), [], attributes, layer, role=self.role)
        node.outputs = [
            Variable(name, *kind, producer=node) if name else None for name, kind in zip(names, types, strict=True)
        ]
        self.nodes.append(node)
        return node

    def constant(self, array: np.ndarray) -> Expression:
        """A constant of the program as an expression."""
        return Expression(self, Variable(self.fresh("constant"), array.dtype, array.shape, constant=array))

    def expression(self, variable: Variable) -> Expression:
        return Expression(self, variable)

    def fresh(self, stem: str) -> str:
        """A variable name that no other one has."""
        self._serial += 1
        return f"{stem}:{self._serial}"

    def roots(self) -> list[Variable]:
        """What the program exists for: its outputs and the next contents of what it updates."""
        return [*self.outputs.values(), *(content for _, content in self.assignments)]

    def trainable(self) -> list[Variable]:
        """The parameters that learn: read by a node, not frozen, and not moved by the program itself."""
        moved = {target for target, _ in self.assignments}
        read = dict.fromkeys(item for node in self.nodes for item in node.inputs if item is not None)
        learning = (item for item in read if item.parameter is not None and item.parameter.requires_grad)
        return [item for item in learning if item not in moved]

    def consumers(self) -> dict[Variable, list[Node]]:
        """The nodes that read each variable, once per reading input."""
        found: dict[Variable, list[Node]] = {}
        for node in self.nodes:
            for variable in node.inputs:
                if variable is not None:
                    found.setdefault(variable, []).append(node)
        return found
