"""Elementwise nodes and regions of them: one pass over memory, whatever is computed on the way.

A kernel goes over the elements of the result in the order in which they lie, several at a time; operands that broadcast
are read where their strides say. Inputs that lie with channels last are taken as they are, and results then lie like
them. Constants of one element become part of the kernel.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from toolkit.backends.cuda.coordinates import LARGEST_PACK, coordinates, offset
from toolkit.backends.cuda.launch import THREADS, Argument, Input, Launch, Output, SourceKernel, in_one_row
from toolkit.backends.cuda.layouts import is_channels_last, like, memory_order, on_device
from toolkit.backends.cuda.registry import kernel
from toolkit.backends.cuda.source import (
    Function,
    index_type,
    literal,
    readable_name,
    type_name,
    wide_name,
)
from toolkit.backends.cuda.spelling import SPELLINGS, Spoken, spelling_of
from toolkit.backends.elementwise_work import Shape, Work, broadcast_shapes, work_of
from toolkit.backends.iteration import Iteration, broadcast_strides, iterate, permuted
from toolkit.backends.protocol import Kernel, Layout, Resources
from toolkit.compiler.program import Node
from toolkit.operators.expression import TOOLKIT_DOMAIN
from toolkit.operators.record import canonical_domain
from toolkit.operators.standard.elementwise_region import REGION, Line

WIDEST = 8  # elements that a thread works on
MOST_OPERANDS = 24  # tensors that a kernel touches: more would spill out of the registers


def shapes_of(node: Node) -> list[Shape | None] | None:
    """See ``broadcast_shapes``; ``None`` too for what cannot be said."""
    return None if spelling_of(node) is None else broadcast_shapes(node)


def is_elementwise(node: Node) -> bool:
    """Whether there is a kernel for the node."""
    return shapes_of(node) is not None and len(node.inputs) + len(node.outputs) <= MOST_OPERANDS


@kernel("", *(name for domain, name in SPELLINGS if not domain), accepts=is_elementwise)
@kernel(TOOLKIT_DOMAIN, *(name for domain, name in SPELLINGS if domain), accepts=is_elementwise)
@kernel(TOOLKIT_DOMAIN, REGION, accepts=lambda node: True)
def lower_elementwise(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """The node in the order in which the first input that is not plain lies."""
    work = work_of(node)
    present = [layout for layout in inputs if is_channels_last(layout)]
    followed = next((layout for layout in present if layout is not None and layout.shape == work.shape), None)
    launch = launch_of(work, None if followed is None else memory_order(followed))

    def laid(dtype: np.dtype, shape: Shape) -> Layout:
        return on_device(dtype, shape) if followed is None or shape != work.shape else like(followed, dtype, shape)

    wanted: list[Layout | None] = []
    for item, operand in zip(node.inputs, work.operands, strict=True):
        read = item is not None and operand is not None and operand.constant is None
        wanted.append(laid(item.dtype, item.shape) if read and item is not None else None)
    made = [None if item is None else laid(item.dtype, item.shape) for item in node.outputs]
    return SourceKernel(launch.function.name, [launch], wanted, made, resources, in_place=_in_place(node, work))


def _in_place(node: Node, work: Work) -> list[tuple[int, int]]:
    """Results that may take the place of an operand: whole ones of elements as large, read nowhere else."""
    found = []
    for index, (item, operand) in enumerate(zip(node.inputs, work.operands, strict=True)):
        if item is None or operand is None or item.shape != work.shape or operand.constant is not None:
            continue
        if operand.shape not in (work.shape, ()) or node.inputs.count(item) > 1:
            continue
        found += [
            (number, index)
            for number, made in enumerate(node.outputs)
            if made is not None and made.dtype.itemsize == item.dtype.itemsize
        ]
    return found


def launch_of(work: Work, order: Sequence[int] | None = None) -> Launch:
    """The kernel of some work; ``order`` are the axes of the result as they lie in memory."""
    rank = len(work.shape)
    axes = tuple(range(rank)) if order is None else tuple(order)
    tensors = [index for index, item in enumerate(work.operands) if item is not None and item.constant is None]
    strides = []
    for index in tensors:
        operand = work.operands[index]
        assert operand is not None
        if operand.shape == work.shape:  # it lies like the result
            own = broadcast_strides(permuted(operand.shape, axes), rank)
        else:
            own = permuted(broadcast_strides(operand.shape, rank), axes)
        strides.append(own)
    whole = broadcast_strides(permuted(work.shape, axes), rank)
    iteration = iterate(permuted(work.shape, axes), [*strides, whole])
    return _Writer(work, iteration, tensors).launch()


class _Writer:
    """Writes one kernel. ``tensors`` are the operands in memory, in the order of the iteration's strides."""

    def __init__(self, work: Work, iteration: Iteration, tensors: Sequence[int]) -> None:
        self.work, self.iteration, self.tensors = work, iteration, tensors
        self.types = work.types()
        self.count = iteration.count
        self.index = index_type(self.count)
        self.is_flat = len(iteration.sizes) == 1
        self.pack = self._pack()

    def _type(self, value: int) -> np.dtype:
        found = self.types[value]
        assert found is not None
        return found

    def _pack(self) -> int:
        """How many elements a thread takes: as many as the widest type lets one instruction move."""
        touched = [*self.tensors, *self.work.results]
        pack = min(WIDEST, LARGEST_PACK // max(self._type(item).itemsize for item in touched))
        inner = self.iteration.sizes[-1]
        while pack > 1 and (pack > self.count if self.is_flat else inner % pack):
            pack //= 2
        return pack

    def launch(self) -> Launch:
        work, pack = self.work, self.pack
        names = [f"x{item}" for item in self.tensors]
        parameters = [f"const {type_name(self._type(item))}* x{item}" for item in self.tensors]
        parameters += [f"{type_name(self._type(item))}* y{number}" for number, item in enumerate(work.results)]
        arguments: list[Argument] = [*map(Input, self.tensors)]
        stored = [number for number, _ in enumerate(work.results)]
        arguments += [Output(number) for number in stored]
        count = str(self.count)
        if self.is_flat:  # one kernel for all sizes
            parameters.append(f"{self.index} count")
            arguments.append(np.uint32(self.count) if self.index == "uint32" else np.uint64(self.count))
            count = "count"
        at = f"const {self.index} at = ({self.index})blockIdx.x * {THREADS * pack}u + threadIdx.x * {pack}u;"
        body = [at, f"if (at >= {count}) return;"]
        if not self.is_flat:
            lines, self.coordinates = coordinates("at", self.iteration.sizes, self.index)
            body += lines
        else:
            self.coordinates = ["at"]
        body += [line for name, item in enumerate(self.tensors) for line in self._load(names[name], name, item)]
        body += [f"Pack<{type_name(self._type(item))}, {pack}> r{number};" for number, item in enumerate(work.results)]
        body += ["#pragma unroll", f"for (int lane = 0; lane < {pack}; ++lane) {{"]
        body += [f"    {line}" for line in self._compute()]
        body.append("}")
        tail = self.is_flat and pack > 1
        for number in stored:
            body.append(
                f"store_some(y{number} + at, r{number}, count - at);" if tail else f"store(y{number} + at, r{number});"
            )
        name = readable_name([line.op_type for line in work.lines])
        function = Function(name, tuple(parameters), "\n".join(f"    {line}" for line in body))
        return in_one_row(function, -(-self.count // pack), arguments)

    def _load(self, name: str, tensor: int, value: int) -> list[str]:
        """Lines that bring in what a thread needs of an operand: a pack, one element, or elements apart."""
        steps, pack, kind = self.iteration.strides[tensor], self.pack, type_name(self._type(value))
        place = offset(steps, self.coordinates)
        if self.is_flat and steps[0] == 1:
            if pack == 1:
                return [f"const Pack<{kind}, 1> p{value} = load<1>({name} + at);"]
            return [f"const Pack<{kind}, {pack}> p{value} = load_some<{pack}>({name} + at, count - at);"]
        if steps[-1] == 0:
            return [f"const {kind} p{value} = {name}[{place}];"]
        if steps[-1] == 1 and all(step % pack == 0 for step in steps[:-1]):
            return [f"const Pack<{kind}, {pack}> p{value} = load<{pack}>({name} + {place});"]
        return [f"const {kind}* p{value} = {name} + {place};"]

    def _loaded(self, tensor: int, value: int) -> str:
        """One element of an operand, in the loop over the lanes."""
        steps = self.iteration.strides[tensor]
        if self.is_flat and steps[0] == 1:
            return f"wide(p{value}.items[lane])"
        if steps[-1] == 0:
            return f"wide(p{value})"
        if steps[-1] == 1 and all(step % self.pack == 0 for step in steps[:-1]):
            return f"wide(p{value}.items[lane])"
        return f"wide(p{value}[lane * {steps[-1]}])"

    def _compute(self) -> list[str]:
        lines = []
        texts = [""] * len(self.types)
        for tensor, value in enumerate(self.tensors):
            lines.append(f"const {wide_name(self._type(value))} v{value} = {self._loaded(tensor, value)};")
            texts[value] = f"v{value}"
        for value, operand in enumerate(self.work.operands):
            if operand is not None and operand.constant is not None:
                texts[value] = literal(operand.constant.reshape(-1)[0], operand.dtype)
        at = len(self.work.operands)
        for line in self.work.lines:
            made = list(range(at, at + len(line.types)))
            at += len(line.types)
            present = [item for item in made if self.types[item] is not None]
            for value, text in zip(made, self._say(line, texts, present), strict=False):
                if self.types[value] is not None:
                    lines.append(f"const {wide_name(self._type(value))} v{value} = {text};")
                    texts[value] = f"v{value}"
        for number, value in enumerate(self.work.results):
            kind = type_name(self._type(value))
            lines.append(f"r{number}.items[lane] = narrow<{kind}>({texts[value]});")
        return lines

    def _say(self, line: Line, texts: Sequence[str], made: Sequence[int]) -> Sequence[str]:
        operands = list(line.operands)
        while operands and operands[-1] is None:
            operands.pop()
        said = ["" if item is None else texts[item] for item in operands]
        types = [None if item is None else self.types[item] for item in operands]
        spoken = Spoken(line.op_type, line.version, line.attributes, said, types, [self._type(item) for item in made])
        return SPELLINGS[canonical_domain(line.domain), line.op_type].say(spoken)
