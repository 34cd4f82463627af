"""Optimizer steps: one pass over parameters, gradients and slots together, by all threads.

The store lays the parameters of a group, their gradients and their slots at equal offsets of their regions. What lies
so is passed over as one piece, whatever layouts its tensors have, and with it the padding between them up to whole
cache lines, which belongs to nobody. Refused: element types of half width, and tensors of several types.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from toolkit.backends.native.assembly.code import Code
from toolkit.backends.native.assembly.number import BOOLEAN, FLOATS, INDEX, Number
from toolkit.backends.native.assembly.team import WORTH_A_THREAD, Team
from toolkit.backends.native.compilation.compiler import compiler
from toolkit.backends.native.elementwise.spelling import SPELLINGS, Asked
from toolkit.backends.native.registry import kernel
from toolkit.backends.native.sequence import in_one_call
from toolkit.backends.protocol import Buffer, Kernel, Layout, NativeCall, Resources, Step
from toolkit.compiler.memory import ALIGNMENT, align
from toolkit.compiler.program import Node
from toolkit.operators.expression import OPSET, TOOLKIT_DOMAIN
from toolkit.operators.standard.update_rule import Line, Operand, Rule, rule_of

FLOAT32 = np.dtype(np.float32)
TRUTHS = ("And", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Not", "Or")
Values = dict[Operand, Number]
Lines = Sequence[tuple[Operand, Line]]  # with the value that each computes
Piece = tuple[int, Sequence[int]]  # how many elements, and where they begin in each tensor


class UpdateKernel(Kernel):
    """One update of ``count`` parameters, their updates and slots, in the parameters' layouts."""

    name = "compiled"

    def __init__(self, node: Node, inputs: Sequence[Layout | None], threads: int) -> None:
        self._rule, self._dtype, self._threads = _rule(node), _types(node)[0], threads
        self._count = count = int(node.attributes["count"])
        parameters, targets = list(inputs[1 : 1 + count]), self._rule.targets
        self.inputs = [inputs[0], *parameters * (len(node.inputs[1:]) // count)]
        self.outputs = parameters * len(targets)
        self.aliases = list(enumerate(1 + count * at + index for at in targets for index in range(count)))
        results = zip(self._rule.results, targets, strict=True)
        self.is_free = all(result == Operand("t", target) for result, target in results)

    def bind(self, inputs: Sequence[Buffer | None], outputs: Sequence[Buffer | None], workspace: Buffer | None) -> Step:
        numbers, *tensors = (item for item in inputs if item is not None)
        columns = [tensors[start : start + self._count] for start in range(0, len(tensors), self._count)]
        (step,) = in_one_call([self._call(numbers.address, piece) for piece in pieces(columns)])
        return step

    def _call(self, numbers: int, piece: Piece) -> NativeCall:
        count, addresses = piece
        writer = _Writer(self._rule, self._dtype, len(addresses), self._threads if count >= WORTH_A_THREAD else 1)
        size = np.array([count // writer.lanes], np.int64)
        places = np.array([numbers, size.ctypes.data, *addresses], np.int64)
        return NativeCall(compiler().function(writer.code.text()), places.ctypes.data, kept=(places, size))


def pieces(columns: Sequence[Sequence[Buffer]]) -> list[Piece]:
    """The runs of tensors that follow each other alike in every column, what pads them to cache lines included."""
    found: list[Piece] = []
    for row in zip(*columns, strict=True):
        addresses, layout = [item.address for item in row], row[0].layout
        size = layout.dtype.itemsize
        count = align(layout.nbytes) // size
        if found:
            length, starts = found[-1]
            if all(address == start + size * length for address, start in zip(addresses, starts, strict=True)):
                found[-1] = (length + count, starts)
                continue
        found.append((count, addresses))
    return found


class _Writer:
    """Writes the kernel of a rule: the numbers, how many cache lines there are, and the tensors are its places.

    What follows from numbers alone is computed once.
    """

    def __init__(self, rule: Rule, dtype: np.dtype, tensors: int, threads: int) -> None:
        self.code, self.lanes = Code(2 + tensors), ALIGNMENT // dtype.itemsize
        self._rule, self._dtype = rule, dtype
        self._numbers, size, *self._tensors = self.code.places
        team = Team(self.code, threads)
        begin, end = team.share(self.code.load(size, 0, INDEX))
        known: Values = {}
        lines = [(Operand("v", index), line) for index, line in enumerate(rule.lines)]
        for result, line in lines:
            if all(item.kind in "nc" or item in known for item in line.operands):
                known[result] = self._said(line, [known.get(item) or self._number(item) for item in line.operands])
        later = [(result, line) for result, line in lines if result not in known]
        read = {item: None for _, line in later for item in line.operands} | dict.fromkeys(rule.results)
        numbers = [item for item in read if item.kind in "nc" or item in known]
        wide = {item: (known.get(item) or self._number(item)).spread(self.lanes) for item in numbers}
        with self.code.loop(end, start=begin) as line_number:
            self._together(line_number * self.lanes, wide, [item for item in read if item.kind == "t"], later)

    def _number(self, item: Operand) -> Number:
        if item.kind == "c":
            return self.code.constant(item.value, self._dtype)
        return self.code.load(self._numbers, item.index, FLOAT32).converted(self._dtype)

    def _together(self, at: Number, known: Values, tensors: Sequence[Operand], lines: Lines) -> None:
        """The elements of a cache line of each tensor, from ``at`` on."""
        values = dict(known)
        for item in tensors:
            values[item] = self.code.load(self._tensors[item.index], at, self._dtype, self.lanes)
        for result, line in lines:
            values[result] = self._said(line, [values[item] for item in line.operands])
        for item, target in zip(self._rule.results, self._rule.targets, strict=True):
            if item != Operand("t", target):
                self.code.store(values[item], self._tensors[target], at)

    def _said(self, line: Line, operands: Sequence[Number]) -> Number:
        if line.op_type == "Identity":
            return operands[0]
        made = BOOLEAN if line.op_type in TRUTHS else self._dtype
        return SPELLINGS["", line.op_type].say(Asked(OPSET, {}, operands, made))


def _rule(node: Node) -> Rule:
    return rule_of(node.attributes["rule"], node.attributes["results"], node.attributes["targets"])


def _types(node: Node) -> list[np.dtype]:
    """The element types of the tensors, each once."""
    return list(dict.fromkeys(item.dtype for item in node.inputs[1:] if item is not None))


def _is_of_one_type(node: Node) -> bool:
    types = _types(node)
    return len(types) == 1 and types[0] in FLOATS


@kernel(TOOLKIT_DOMAIN, "ElementwiseUpdate", accepts=_is_of_one_type)
def lower_update(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    return UpdateKernel(node, inputs, resources.threads)
