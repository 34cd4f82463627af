"""Optimizer steps: one pass over parameters, gradients and slots together, and the sums of squares that norms need.

A rule becomes one kernel, so every tensor is read and written once. The store lays the parameters of a group, their
gradients and their slots at equal distances; what lies so is passed over as one piece, whatever tensors it holds, and
the padding between them with it, which belongs to nobody.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from toolkit.backends.cuda.coordinates import LARGEST_PACK
from toolkit.backends.cuda.launch import (
    Address,
    Argument,
    Input,
    Launch,
    Output,
    Scratch,
    SourceKernel,
    enqueuing,
    in_one_row,
)
from toolkit.backends.cuda.layouts import on_device
from toolkit.backends.cuda.memory import ALIGNMENT
from toolkit.backends.cuda.registry import kernel
from toolkit.backends.cuda.source import FLOAT_TYPES, Function, literal, reads, type_name, wide_name
from toolkit.backends.cuda.spelling import SPELLINGS, Spoken
from toolkit.backends.protocol import Buffer, Kernel, Layout, Resources, Step
from toolkit.compiler.program import Node
from toolkit.operators.expression import OPSET, TOOLKIT_DOMAIN
from toolkit.operators.standard.update_rule import Operand, Rule, rule_of

FLOAT32, FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)
TRUTHS = ("And", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Not", "Or")
WIDEST = 4
ELEMENTS_A_PART = 1 << 14
MOST_PARTS = 512
Piece = tuple[tuple[int, ...], int]  # addresses, and how many elements there are


def pieces(rows: Sequence[Piece], itemsizes: Sequence[int]) -> list[Piece]:
    """The rows, those joined that follow each other equally far in all of their columns but for padding."""
    found: list[Piece] = []
    for addresses, count in rows:
        if found:
            starts, length = found[-1]
            pairs = zip(addresses, starts, itemsizes, strict=True)
            steps = {divmod(address - start, size) for address, start, size in pairs}
            ahead, rest = steps.pop()
            if not steps and rest == 0 and 0 <= (ahead - length) * min(itemsizes) < ALIGNMENT:
                found[-1] = (starts, ahead + count)
                continue
        found.append((addresses, count))
    return found


def _rule(node: Node) -> Rule:
    return rule_of(node.attributes["rule"], node.attributes["results"], node.attributes["targets"])


class UpdateKernel(SourceKernel):
    """One update of ``count`` parameters, their updates and slots, in the parameters' layouts."""

    def __init__(self, node: Node, inputs: Sequence[Layout | None], resources: Resources) -> None:
        self._rule, self._count = _rule(node), int(node.attributes["count"])
        count = self._count
        kinds = len(node.inputs[1:]) // count
        parameters = [item for item in inputs[1 : 1 + count] if item is not None]
        tensors = [item for kind in range(kinds) for item in self._like(parameters, node, kind)]
        self._types = [item.dtype for item in tensors[::count]]
        self._sizes = [int(np.prod(item.shape, dtype=np.int64)) for item in parameters]
        self._function = _Writer(self._rule, self._types).function()
        launches = [
            self._launch(size, [Input(1 + kind * count + index) for kind in range(kinds)])
            for index, size in enumerate(self._sizes)
        ]
        targets = self._rule.targets
        outputs = [tensors[target * count + index] for target in targets for index in range(count)]
        aliases = list(enumerate(1 + count * target + index for target in targets for index in range(count)))
        super().__init__("one pass", launches, [inputs[0], *tensors], outputs, resources, aliases=aliases)
        self.is_free = not targets

    @staticmethod
    def _like(parameters: Sequence[Layout], node: Node, kind: int) -> list[Layout]:
        """The layouts of the parameters, for tensors of another kind."""
        column = node.inputs[1 + kind * len(parameters) :]
        return [
            Layout(item.dtype, item.shape, item.nbytes, layout.opaque, layout.device)
            for layout, item in zip(parameters, column, strict=False)
            if item is not None
        ]

    def _launch(self, size: int, tensors: Sequence[Argument]) -> Launch:
        pack = _pack(self._types)
        return in_one_row(self._function, -(-size // pack), [Input(0), *tensors, np.uint64(size)])

    def bind(self, inputs: Sequence[Buffer | None], outputs: Sequence[Buffer | None], workspace: Buffer | None) -> Step:
        tensors = [item.address for item in inputs[1:] if item is not None]
        columns = [tensors[start : start + self._count] for start in range(0, len(tensors), self._count)]
        rows = [
            (addresses, size) for addresses, size in zip(zip(*columns, strict=True), self._sizes, strict=True) if size
        ]
        joined = pieces(rows, [dtype.itemsize for dtype in self._types])
        launches = [self._launch(size, [Address(item) for item in addresses]) for addresses, size in joined]
        return enqueuing(launches, inputs, outputs, workspace, self._resources)


def _pack(types: Sequence[np.dtype]) -> int:
    return min(WIDEST, LARGEST_PACK // max(dtype.itemsize for dtype in types))


class _Writer:
    """Writes the kernel of a rule for tensors of some types."""

    def __init__(self, rule: Rule, types: Sequence[np.dtype]) -> None:
        self.rule, self.types = rule, types
        self.dtype = FLOAT64 if types[0] == FLOAT64 else FLOAT32

    def function(self) -> Function:
        pack, kind = _pack(self.types), wide_name(self.dtype)
        used = sorted({item.index for item in self._operands() if item.kind == "t"} | set(self.rule.targets))
        numbers = sorted({item.index for item in self._operands() if item.kind == "n"})
        parameters = [reads("numbers", FLOAT32)]
        parameters += [f"{type_name(dtype)}* t{index}" for index, dtype in enumerate(self.types)]
        body = [
            f"const uint64 at = ((uint64)blockIdx.x * 256 + threadIdx.x) * {pack};",
            "if (at >= count) return;",
            *(f"const {kind} n{index} = numbers[{index}];" for index in numbers),
            *(f"Pack<{type_name(self.types[index])}, {pack}> p{index} = {self._load(index, pack)};" for index in used),
            "#pragma unroll",
            f"for (int lane = 0; lane < {pack}; ++lane) {{",
            *(f"    const {kind} o{index} = converted<{kind}>(wide(p{index}.items[lane]));" for index in used),
            *(f"    {line}" for line in self._lines()),
            "}",
            *(f"store_some(t{target} + at, p{target}, count - at);" for target in self.rule.targets),
        ]
        return Function("update", (*parameters, "uint64 count"), "\n".join(f"    {line}" for line in body))

    def _load(self, index: int, pack: int) -> str:
        return f"load_some<{pack}>((const {type_name(self.types[index])}*)t{index} + at, count - at)"

    def _operands(self) -> list[Operand]:
        return [*(item for line in self.rule.lines for item in line.operands), *self.rule.results]

    def _lines(self) -> list[str]:
        made: list[str] = []
        kinds: list[np.dtype] = []
        for number, line in enumerate(self.rule.lines):
            kind = np.dtype(bool) if line.op_type in TRUTHS else self.dtype
            texts = [self._text(item) for item in line.operands]
            types = [kinds[item.index] if item.kind == "v" else self.dtype for item in line.operands]
            if line.op_type == "Identity":
                text, kind = texts[0], types[0]
            else:
                spoken = Spoken(line.op_type, OPSET, {}, texts, types, [kind])
                text = SPELLINGS["", line.op_type].say(spoken)[0]
            kinds.append(kind)
            made.append(f"const {wide_name(kind)} v{number} = {text};")
        for item, target in zip(self.rule.results, self.rule.targets, strict=True):
            made.append(f"p{target}.items[lane] = converted<{type_name(self.types[target])}>({self._text(item)});")
        return made

    def _text(self, item: Operand) -> str:
        if item.kind == "c":
            return literal(item.value, self.dtype)
        return f"{'o' if item.kind == 't' else item.kind}{item.index}"


def _updates(node: Node) -> bool:
    present = [item for item in node.inputs if item is not None]
    known = all(line.op_type == "Identity" or ("", line.op_type) in SPELLINGS for line in _rule(node).lines)
    return known and all(item.dtype in FLOAT_TYPES for item in present) and present[0].dtype == FLOAT32


@kernel(TOOLKIT_DOMAIN, "ElementwiseUpdate", accepts=_updates)
def lower_update(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    return UpdateKernel(node, inputs, resources)


class SquaresKernel(SourceKernel):
    """The sum of all squares of tensors in whatever layout, in parts that are added up in order."""

    def __init__(self, node: Node, inputs: Sequence[Layout | None], resources: Resources) -> None:
        laid = [item for item in inputs if item is not None]
        self._types = [item.dtype for item in laid]
        self._counts = [int(np.prod(item.shape, dtype=np.int64)) for item in laid]
        self._made = node.y.dtype
        rows: list[tuple[Argument, int, np.dtype]] = [
            (Input(index), count, dtype)
            for index, (count, dtype) in enumerate(zip(self._counts, self._types, strict=True))
        ]
        launches, parts = self._launches(rows)
        super().__init__(
            "sum of squares", launches, laid, [on_device(node.y.dtype, ())], resources, workspace=8 * parts
        )

    def _launches(self, rows: Sequence[tuple[Argument, int, np.dtype]]) -> tuple[list[Launch], int]:
        launches, parts = [], 0
        for source, count, dtype in rows:
            mine = min(max(-(-count // ELEMENTS_A_PART), 1), MOST_PARTS)
            function = Function(
                "squares",
                (reads("x", dtype), "float64* parts", "uint64 count"),
                "    sweep::squares(x, parts, count);",
                ("reduction", "sweep"),
            )
            arguments = (source, Scratch(8 * parts), np.uint64(count))
            launches.append(Launch(function, (mine, 1, 1), (256, 1, 1), arguments))
            parts += mine
        join = Function(
            "join_squares",
            ("const void* parts", f"{type_name(self._made)}* y", "uint32 number"),
            "    reduction::join_parts<reduction::Sum<float64>>(parts, y, 1, 0, number);",
            ("reduction",),
        )
        launches.append(Launch(join, (1, 1, 1), (32, 1, 1), (Scratch(), Output(0), np.uint32(parts))))
        return launches, parts

    def bind(self, inputs: Sequence[Buffer | None], outputs: Sequence[Buffer | None], workspace: Buffer | None) -> Step:
        present = [item.address for item in inputs if item is not None]
        rows: list[tuple[Argument, int, np.dtype]] = []
        for dtype in dict.fromkeys(self._types):
            mine = [
                ((address,), count)
                for address, count, own in zip(present, self._counts, self._types, strict=True)
                if own == dtype and count
            ]
            # padding holds what was there before the store was made: zeros, which add nothing
            rows += [(Address(address), count, dtype) for (address,), count in pieces(mine, [dtype.itemsize])]
        return enqueuing(self._launches(rows)[0], inputs, outputs, workspace, self._resources)


@kernel(
    TOOLKIT_DOMAIN,
    "SumOfSquares",
    accepts=lambda node: all(item is not None and item.dtype in FLOAT_TYPES for item in node.inputs),
)
def lower_sum_of_squares(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    return SquaresKernel(node, inputs, resources)
