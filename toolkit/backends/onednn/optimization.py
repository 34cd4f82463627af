"""Optimizer steps: a few chained elementwise sweeps over flat memory, by all cores.

The store lays the parameters of a group, their gradients and their slots at equal offsets of their regions, so the
sweeps serve the whole group, piece by piece of a size that stays in the caches; where tensors do not lie like that,
each is swept alone. The numbers of a step are runtime operands: nothing is compiled again when they change.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from toolkit.backends.onednn.memory import dense
from toolkit.backends.onednn.primitive import (
    ADD,
    DST,
    SCALES,
    SRC,
    SRC_1,
    Binary,
    Place,
    PostOp,
    Primitive,
    attributes,
    describe,
    post_operand,
)
from toolkit.backends.onednn.primitive import chain as one_after_the_other
from toolkit.backends.onednn.registry import is_float32, kernel
from toolkit.backends.onednn.sweeps import SCALARS, UPDATE, Blend, Sweep, Sweeps, With, is_known, sweeps_of
from toolkit.backends.protocol import Buffer, Kernel, Layout, Resources, Step, plain
from toolkit.compiler.memory import align
from toolkit.compiler.program import Node
from toolkit.operators.expression import TOOLKIT_DOMAIN
from toolkit.operators.standard.update_rule import Operand, Rule, rule_of

FLOAT = np.dtype(np.float32)
PIECE = 1 << 20  # floats that are put through all sweeps before the next ones: 4 MiB of each tensor


class UpdateKernel(Kernel):
    """One update of ``count`` parameters, their updates and slots, in the parameters' layouts."""

    def __init__(self, node: Node, inputs: Sequence[Layout | None]) -> None:
        self._count = count = int(node.attributes["count"])
        self._rule = _rule(node)
        self._sweeps = sweeps_of(self._rule)
        kinds = len(node.inputs[1:]) // count
        parameters = list(inputs[1 : 1 + count])
        targets = self._rule.targets
        self.inputs = [inputs[0], *parameters * kinds]
        self.outputs = parameters * len(targets)
        self.aliases = list(enumerate(1 + count * at + index for at in targets for index in range(count)))
        self.name = f"oneDNN, {len(self._sweeps.order)} sweeps"
        self.is_free = not self._sweeps.order
        longest = sum(align(item.nbytes) for item in parameters if item is not None) // FLOAT.itemsize
        self._piece = min(PIECE, longest)
        self.workspace = self._sweeps.temporaries * self._piece * FLOAT.itemsize

    def bind(self, inputs: Sequence[Buffer | None], outputs: Sequence[Buffer | None], workspace: Buffer | None) -> Step:
        numbers, *tensors = (item for item in inputs if item is not None)
        columns = [tensors[start : start + self._count] for start in range(0, len(tensors), self._count)]
        scratch = 0 if workspace is None else workspace.address
        binder = _Binder(self._sweeps, numbers.address, scratch, self._piece)
        steps = binder.scalars()
        for count, addresses in segments(columns):
            for start in range(0, count, self._piece):
                length = min(self._piece, count - start)
                steps += binder.steps(length, [at + FLOAT.itemsize * start for at in addresses])
        return _keeping(one_after_the_other(steps), binder)


def _keeping(step: Step, owner: Any) -> Step:
    """``step``, holding on to what owns the memory that it reads."""

    def run(owner: Any = owner) -> Any:
        return step()

    return run


def _rule(node: Node) -> Rule:
    return rule_of(node.attributes["rule"], node.attributes["results"], node.attributes["targets"])


def segments(columns: Sequence[Sequence[Buffer]]) -> list[tuple[int, list[int]]]:
    """(floats, addresses by kind) of the runs of tensors that follow each other alike in every region.

    What lies between them, up to whole cache lines, belongs to nobody and is swept along.
    """
    found: list[tuple[int, list[int]]] = []
    for row in zip(*columns, strict=True):
        addresses = [item.address for item in row]
        nbytes = align(row[0].layout.nbytes)
        if found:
            length, starts = found[-1]
            if all(address == start + 4 * length for address, start in zip(addresses, starts, strict=True)):
                found[-1] = (length + nbytes // 4, starts)
                continue
        found.append((nbytes // 4, addresses))
    return found


class _Binder:
    """Turns sweeps into calls on addresses; owns the constants and what is computed of numbers alone."""

    def __init__(self, sweeps: Sweeps, numbers: int, scratch: int, piece: int) -> None:
        self._sweeps, self._numbers, self._scratch, self._piece = sweeps, numbers, scratch, piece
        self._constants: dict[float, np.ndarray] = {}
        self._values = {index: np.zeros(1, FLOAT) for index in sweeps.scalars}
        self._primitives: dict[tuple[int, int], Primitive] = {}

    def scalars(self) -> list[Step]:
        """The lines on numbers alone."""
        return [
            partial(_to, SCALARS[line.op_type], [self._scalar(item) for item in line.operands], self._values[index])
            for index, line in self._sweeps.scalars.items()
        ]

    def _scalar(self, item: Operand) -> np.ndarray:
        if item.kind == "c":
            return self._constants.setdefault(item.value, np.full(1, item.value, FLOAT))
        return self._values[item.index] if item.kind == "v" else floats(self._numbers + 4 * item.index, 1)

    def steps(self, length: int, addresses: Sequence[int]) -> list[Step]:
        """All sweeps over ``length`` floats at the addresses of the tensors."""
        return [self._step(position, length, addresses) for position in range(len(self._sweeps.order))]

    def _step(self, position: int, length: int, addresses: Sequence[int]) -> Step:
        sweep, flat = self._sweeps.order[position], dense(FLOAT, (length,))
        primitive = self._primitives.get((position, length))
        if primitive is None:
            primitive = self._primitives[position, length] = self._primitive(sweep, length)
        places: dict[int, Place] = {
            SRC: (flat, self._address(sweep.source, addresses)),
            DST: (flat, self._stored(sweep, addresses)),
        }
        places[SRC_1] = self._place(sweep.first.operand, length, addresses)
        for argument, scale in _scales(sweep).items():
            places[SCALES | argument] = self._place(scale, 1, addresses)
        for index, link in enumerate(sweep.links[1:]):
            if isinstance(link, With):
                places[post_operand(index)] = self._place(link.operand, length, addresses)
        return primitive.bind(places)

    def _primitive(self, sweep: Sweep, length: int) -> Primitive:
        flat = dense(FLOAT, (length,))
        post_ops: list[PostOp] = [
            Binary(link.algorithm, dense(FLOAT, self._shape(link.operand, length))) if isinstance(link, With) else link
            for link in sweep.links[1:]
            if not isinstance(link, Blend)
        ]
        operand = dense(FLOAT, self._shape(sweep.first.operand, length))
        algorithm = sweep.first.algorithm if isinstance(sweep.first, With) else ADD
        settings = attributes(post_ops, dict.fromkeys(_scales(sweep), 0))
        return Primitive(describe("binary", algorithm, flat, operand, flat, attribute=settings))

    def _is_scalar(self, item: Operand) -> bool:
        return item.kind in "cn" or (item.kind == "v" and item.index in self._values)

    def _shape(self, item: Operand, length: int) -> tuple[int, ...]:
        return (1,) if self._is_scalar(item) else (length,)

    def _place(self, item: Operand, length: int, addresses: Sequence[int]) -> Place:
        return dense(FLOAT, self._shape(item, length)), self._address(item, addresses)

    def _address(self, item: Operand, addresses: Sequence[int]) -> int:
        if item.kind == "n":
            return self._numbers + 4 * item.index
        if self._is_scalar(item):
            return int(self._scalar(item).ctypes.data)
        return addresses[item.index] if item.kind == "t" else self._stored(self._sweeps.places[item.index], addresses)

    def _stored(self, sweep: Sweep, addresses: Sequence[int]) -> int:
        if sweep.target is not None:
            return addresses[sweep.target]
        if sweep.temporary == UPDATE:
            return addresses[1]
        return self._scratch + sweep.temporary * self._piece * FLOAT.itemsize


def _scales(sweep: Sweep) -> dict[int, Operand]:
    """The numbers by which the first two operands are multiplied, by argument."""
    if isinstance(sweep.first, With):
        return {}
    pairs = ((SRC, sweep.first.own), (SRC_1, sweep.first.scale))
    return {argument: scale for argument, scale in pairs if scale is not None}


def _to(function: Any, operands: Sequence[np.ndarray], target: np.ndarray) -> None:
    function(*operands, out=target)


def floats(address: int, count: int) -> np.ndarray:
    """An array over ``count`` floats that somebody else owns."""
    return np.ctypeslib.as_array((ctypes.c_float * count).from_address(address))


@kernel(TOOLKIT_DOMAIN, "ElementwiseUpdate", accepts=lambda node: is_float32(node) and is_known(_rule(node)))
def lower_update(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    return UpdateKernel(node, inputs)


class SumOfSquaresKernel(Kernel):
    """The squares of tensors in whatever layout, piece by piece; the padding of a layout holds zeros."""

    name = "dot products"

    def __init__(self, inputs: Sequence[Layout | None]) -> None:
        self.inputs = list(inputs)
        self.outputs = [plain(FLOAT, ())]

    def bind(self, inputs: Sequence[Buffer | None], outputs: Sequence[Buffer | None], workspace: Buffer | None) -> Step:
        given, target = [item for item in inputs if item is not None], outputs[0]
        assert target is not None
        pieces = [
            floats(item.address + 4 * start, min(PIECE, count - start))
            for item in given
            for count in [item.layout.nbytes // 4]
            for start in range(0, count, PIECE)
        ]
        total: np.ndarray = target.array

        def run() -> None:
            total[...] = sum(float(np.dot(piece, piece)) for piece in pieces)

        return run


@kernel(TOOLKIT_DOMAIN, "SumOfSquares")
def lower_sum_of_squares(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    return SumOfSquaresKernel(inputs)
