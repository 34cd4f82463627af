"""Recomputation: forward nodes are executed once more, just before the backward nodes that read what they make.

A variable is either kept, or dropped and computed again from kept ones. Any choice gives the same gradients: what a
dropped variable needs and is dropped as well is computed again too, each at most once. Never dropped are results whose
next computation would differ (random numbers), what leaves the program or moves a parameter or statistic, and what
depends on parameters at rest only, which is no activation. Dropout keeps its mask, and is repeated with that;
BatchNormalization with the statistics of its batch, where these are kept.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Set
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np

from toolkit.compiler.program import UPDATE_ROLES, Node, Program, Variable
from toolkit.operators.derivative import cast
from toolkit.operators.expression import TOOLKIT_DOMAIN, Expression, as_expression, emit, where
from toolkit.operators.precision import HALF_WIDTH
from toolkit.operators.record import lookup

LAYER_ROLES = ("forward", "loss")
COSTLY = (  # parts of the names of operators that do more than a little for each element they touch
    *("Conv", "MatMul", "Gemm", "Einsum", "LSTM", "GRU", "RNN", "Attention", "MoE", "CDist", "Det", "Inverse"),
    *("DFT", "STFT", "fft", "Im2Col", "Col2Im", "GridSample", "Interpolation", "Resize", "Upsample", "Roi", "TopK"),
    *("Unique", "NonMaxSuppression", "Tree", "SVM", "TimeWarping"),
)
FIRST_WITH_RATIO_INPUT = 12  # of Dropout
STATISTICS = 5  # how many inputs and outputs BatchNormalizationTraining has up to the last statistics
PRODUCTS_PER_ELEMENT = 64  # multiplications that take as long as reading and writing an element


@dataclass(frozen=True)
class Schedule:
    """The nodes of a program in an order of execution, and what they read; ``cost`` of what is executed twice."""

    nodes: list[Node]
    inputs: dict[Node, list[Variable | None]]
    cost: float = 0.0

    def adopt(self, program: Program) -> None:
        """Make it the program's."""
        program.nodes = list(self.nodes)
        for node, inputs in self.inputs.items():
            node.inputs = list(inputs)


class ForwardPass:
    """What a differentiated program may execute twice, and what its backward pass reads.

    - ``nodes``: those of the network that depend on data, in order; ``position`` of every node of the program.
    - ``saved``: the variables that nodes make for the backward pass, as things are.
    - ``readers``: the nodes of network and loss that read a variable.
    - ``held``: the variables that lie in memory up to the backward pass as things are.
    - ``pinned``: variables that stay whatever is chosen.

    ``on_host``: whether it is executed by backends of the host alone, whose normalisation is repeated by one sweep.
    """

    def __init__(self, program: Program, *, on_host: bool = True) -> None:
        self.program, self.on_host = program, on_host
        self.position = {node: index for index, node in enumerate(program.nodes)}
        self.varying = _varying(program)
        self.nodes = [node for node in program.nodes if node.role == "forward" and self._varies(node)]
        self.producer = {item: node for node in self.nodes for item in node.outputs if item is not None}
        self._costs: dict[Node, float] = {}
        self.pinned = {*program.roots()}
        self.held = {target for target, _ in program.assignments} | self.pinned
        self.readers: dict[Variable, list[Node]] = {}
        self.saved: dict[Variable, None] = {}
        for node in program.nodes:
            for item in node.inputs:
                if item is None:
                    continue
                if node.role not in LAYER_ROLES:
                    self.held.add(item)
                if item not in self.producer:
                    continue
                if node.role in LAYER_ROLES:
                    self.readers.setdefault(item, []).append(node)
                elif node.role in UPDATE_ROLES:
                    self.pinned.add(item)
                else:
                    self.saved[item] = None

    def _varies(self, node: Node) -> bool:
        return any(item in self.varying for item in node.outputs if item is not None)

    @cached_property
    def droppable(self) -> set[Variable]:
        """The variables that could be computed again."""
        able = {item: node for item, node in self.producer.items() if item not in self.pinned}
        return {item for item, node in able.items() if item.dtype != object and _is_repeatable(node, item)}

    def original(self) -> Schedule:
        """The schedule that the program has."""
        return Schedule(list(self.program.nodes), {node: list(node.inputs) for node in self.program.nodes})

    def cost(self, node: Node) -> float:
        """What executing a node costs."""
        if node not in self._costs:
            self._costs[node] = cost_of(node)
        return self._costs[node]

    def schedule(self, dropped: Set[Variable]) -> Schedule:
        """Let nothing of the backward pass read ``dropped`` variables: it reads repetitions of them instead."""
        nodes: list[Node] = []
        inputs: dict[Node, list[Variable | None]] = {}
        again: dict[Variable, Variable] = {}
        cost = 0.0
        for node in self.program.nodes:
            if node.role not in (*LAYER_ROLES, *UPDATE_ROLES):
                for needed in self._needed(node.inputs, dropped, again):
                    nodes += self._repeat(needed, again, dropped)
                    cost += self.cost(needed)
                inputs[node] = [None if item is None else again.get(item, item) for item in node.inputs]
            nodes.append(node)
        return Schedule(nodes, inputs, cost)

    def keeps_statistics(self, node: Node, dropped: Set[Variable]) -> bool:
        """Whether a node normalises by its batch, and only what it makes of the image is dropped.

        What a residual was added to is none, nor are statistics that were rounded to half width.
        """
        if not self.on_host or node.op_type != "BatchNormalizationTraining" or len(node.inputs) > STATISTICS:
            return False
        if node.attributes.get("activation", "") not in ("", "Relu") or any(
            item in dropped for item in node.outputs[1:]
        ):
            return False
        return all(item is not None and item.dtype not in HALF_WIDTH for item in node.outputs[3:STATISTICS])

    def _repeat(self, node: Node, again: dict[Variable, Variable], dropped: Set[Variable]) -> list[Node]:
        """Nodes that do the same on what was repeated before; their results are noted in ``again``."""
        program = self.program
        inputs = [None if item is None else again.get(item, item) for item in node.inputs]
        nodes, layer, role = program.nodes, program.layer, program.role
        program.nodes, program.layer, program.role = [], node.layer, "backward"
        if _keeps_mask(node) and inputs[0] is not None:
            again[node.y] = _drop_again(program, node, inputs[0])
        elif self.keeps_statistics(node, dropped) and inputs[0] is not None:
            again[node.y] = _normalise_again(program, node, inputs[0])
        else:
            again.update(_execute_again(program, node, inputs))
        for item in program.nodes:
            item.is_recomputed = True
        repeated, program.nodes = program.nodes, nodes
        program.layer, program.role = layer, role
        return repeated

    def _needed(
        self, read: Iterable[Variable | None], dropped: Set[Variable], again: dict[Variable, Variable]
    ) -> list[Node]:
        """The nodes to repeat, in order, before ``read`` can be read."""
        found: set[Node] = set()
        open_ends = [item for item in read if item in dropped and item not in again]
        while open_ends:
            item = open_ends.pop()
            assert item is not None
            node = self.producer[item]
            if node not in found:
                found.add(node)
                open_ends += [ahead for ahead in node.inputs if ahead in dropped and ahead not in again]
        return sorted(found, key=self.position.__getitem__)


def cost_of(node: Node) -> float:
    """What executing a node costs, in elements moved; products are counted as if of two matrices."""
    if is_view(node):
        return 0.0
    touched = sum(item.size for item in (*node.inputs, *node.outputs) if item is not None)
    if not is_costly(node):
        return float(touched)
    operands = [item.size for item in (*node.inputs[:2], node.outputs[0]) if item is not None]
    return touched + math.sqrt(math.prod(operands)) / PRODUCTS_PER_ELEMENT


def is_costly(node: Node) -> bool:
    """Whether a node does more than a little for each element: products of matrices, convolutions, sorting."""
    return any(part in node.op_type for part in COSTLY)


def is_view(node: Node) -> bool:
    """Whether a node executes nothing."""
    return _is_view(node.domain, node.op_type, node.version)


@cache
def _is_view(domain: str, op_type: str, version: int) -> bool:
    record = lookup(domain, op_type, version)
    return record is not None and record.is_view


def _varying(program: Program) -> set[Variable]:
    """The variables that differ from run to run: everything but constants, parameters at rest and what they make."""
    found = {*program.inputs.values(), *(target for target, _ in program.assignments)}
    for node in program.nodes:
        is_source = not node.inputs or node.record is None or node.record.is_random
        if is_source or any(item in found or (item is not None and item.state is not None) for item in node.inputs):
            found.update(item for item in node.outputs if item is not None)
    return found


def _is_repeatable(node: Node, item: Variable) -> bool:
    """Whether ``item`` would be the same if ``node`` were executed again."""
    if node.record is None:
        return False
    return not node.record.is_random or (_keeps_mask(node) and item is node.outputs[0])


def _keeps_mask(node: Node) -> bool:
    """Whether a node is a Dropout that is on, and whose mask and ratio tell what it did."""
    if node.operator != "Dropout" or node.version < FIRST_WITH_RATIO_INPUT or len(node.inputs) < 3:
        return False
    ratio, live = node.inputs[1:3]
    is_live = live is not None and live.constant is not None and bool(live.constant)
    return is_live and ratio is not None and len(node.outputs) > 1 and node.outputs[1] is not None


def _drop_again(program: Program, node: Node, x: Variable) -> Variable:
    """Dropout by the mask that it drew: what its reference computes, in the same order and precision."""
    ratio, mask = node.inputs[1], node.outputs[1]
    assert ratio is not None
    assert mask is not None
    scale: Expression | float
    if ratio.constant is not None:
        known = float(ratio.constant)
        scale = 1.0 / (1.0 - known) if known < 1.0 else 0.0
    else:
        share = cast(program.expression(ratio), np.dtype(np.float64))
        one = as_expression(1.0, share)
        leaves_some = emit("Less", share, one, version=13)
        scale = cast(where(leaves_some, one / where(leaves_some, one - share, 1.0), 0.0), x.dtype)
    found: Variable = (program.expression(x) * cast(program.expression(mask), x.dtype) * scale).variable
    return found


def _normalise_again(program: Program, node: Node, x: Variable) -> Variable:
    """Normalisation by the statistics that were kept."""
    names = ["epsilon", "activation"]
    attributes = {name: node.attributes[name] for name in names if name in node.attributes}
    operands = [x, *node.inputs[1:3], *node.outputs[3:STATISTICS]]
    made = program.append("BatchNormalizationRepeated", operands, attributes, domain=TOOLKIT_DOMAIN)
    made.fused = node.fused
    return made.y


def _execute_again(program: Program, node: Node, inputs: list[Variable | None]) -> dict[Variable, Variable]:
    """What stands for the results of a node, made of what stands for its inputs."""
    names = ["" if item is None else program.fresh(item.name) for item in node.outputs]
    types = [(node.y.dtype, ()) if item is None else (item.dtype, item.shape) for item in node.outputs]
    made = program.append(
        node.op_type, inputs, node.attributes, domain=node.domain, version=node.version, outputs=names, types=types
    )
    made.fused = node.fused
    pairs = zip(node.outputs, made.outputs, strict=True)
    return {old: new for old, new in pairs if old is not None and new is not None}
