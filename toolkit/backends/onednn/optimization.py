"""Optimizer steps: a few fused elementwise sweeps over flat memory, by all cores.

The store lays the parameters of a group, their gradients and their slots at equal offsets of their regions, so one
sweep serves the whole group; where that does not hold, each tensor is swept alone. The numbers of a step (rates,
corrections) are runtime operands: nothing is compiled again when they change.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from toolkit.backends.onednn.activation import POWER, SQRT
from toolkit.backends.onednn.memory import dense
from toolkit.backends.onednn.primitive import (
    DST,
    SRC,
    SRC_1,
    Binary,
    Eltwise,
    PostOp,
    Primitive,
    attributes,
    describe,
    post_operand,
)
from toolkit.backends.onednn.registry import is_float32, kernel
from toolkit.backends.protocol import Buffer, Kernel, Layout, Resources, Step
from toolkit.compiler.memory import align
from toolkit.compiler.program import Node
from toolkit.operators.expression import TOOLKIT_DOMAIN

ADD, MULTIPLY = 0x1FFF0, 0x1FFF1
SCALES = 4096
FLOAT = np.dtype(np.float32)
Addresses = Sequence[int]
Sweep = Callable[[], Any]


class Numbers:
    """Scalars that sweeps read from memory: set between steps, addressed by name."""

    def __init__(self, *names: str) -> None:
        self._array = np.zeros(16 * len(names), FLOAT)  # a cache line each
        self._index = {name: 16 * index for index, name in enumerate(names)}

    def __setitem__(self, name: str, value: float) -> None:
        self._array[self._index[name]] = value

    def address(self, name: str) -> int:
        return self._array.ctypes.data + 4 * self._index[name]


def scaled_sum(count: int, first: int, second: int, target: int, scales: tuple[int | None, int | None]) -> Step:
    """target = s0 * first + s1 * second over ``count`` floats; scales by address, ``None`` for 1."""
    flat, scalar = dense(FLOAT, (count,)), dense(FLOAT, (1,))
    masks = {argument: 0 for argument, scale in zip((SRC, SRC_1), scales, strict=True) if scale is not None}
    primitive = Primitive(describe("binary", ADD, flat, flat, flat, attribute=attributes(scale_masks=masks)))
    places = {SRC: (flat, first), SRC_1: (flat, second), DST: (flat, target)}
    for argument, scale in zip((SRC, SRC_1), scales, strict=True):
        if scale is not None:
            places[SCALES | argument] = (scalar, scale)
    return primitive.bind(places)


def product_chain(count: int, first: int, second: int, target: int, chain: Sequence[tuple[Any, ...]]) -> Step:
    """target = first * second, then each link: ("add"|"multiply", address, length) or ("apply", algorithm, a, b).

    A length of 1, also for ``second`` given as (address, 1), is a scalar.
    """
    flat, scalar = dense(FLOAT, (count,)), dense(FLOAT, (1,))
    post_ops: list[PostOp] = []
    places = {SRC: (flat, first), SRC_1: (flat, second), DST: (flat, target)}
    for link in chain:
        if link[0] == "apply":
            post_ops.append(Eltwise(*link[1:]))
            continue
        operand = scalar if link[2] == 1 else flat
        places[post_operand(len(post_ops))] = (operand, link[1])
        post_ops.append(Binary(ADD if link[0] == "add" else MULTIPLY, operand))
    described = describe("binary", MULTIPLY, flat, flat, flat, attribute=attributes(post_ops))
    return Primitive(described).bind(places)


class UpdateKernel(Kernel):
    """An update of ``count`` parameters with their slots; subclasses say which sweeps make up a step."""

    name = "oneDNN sweeps"
    slots = 0

    def __init__(self, node: Node, inputs: Sequence[Layout | None]) -> None:
        count = int(node.attributes["count"])
        parameters = list(inputs[1 : 1 + count])
        self.slots = len(node.inputs[1:]) // count - 2
        self.inputs = [inputs[0], *parameters * (2 + self.slots)]
        self.outputs = parameters * (1 + self.slots)
        targets = [*range(1, 1 + count), *range(1 + 2 * count, 1 + (2 + self.slots) * count)]
        self.aliases = list(enumerate(targets))
        self.attributes = node.attributes
        self._count = count

    def bind(self, inputs: Sequence[Buffer | None], outputs: Sequence[Buffer | None], workspace: Buffer | None) -> Step:
        scalars = inputs[0]
        assert scalars is not None
        columns = [
            [item for item in inputs[1 + kind * self._count : 1 + (kind + 1) * self._count] if item is not None]
            for kind in range(2 + self.slots)
        ]
        numbers = self.numbers()
        sweeps = [self.sweeps(count, addresses, numbers) for count, addresses in _segments(columns)]
        return self.step(scalars.array, numbers, sweeps)

    def numbers(self) -> Numbers:
        """The scalars of a step."""
        raise NotImplementedError

    def sweeps(self, count: int, at: Addresses, numbers: Numbers) -> dict[str, Sweep]:
        """The sweeps over ``count`` floats at the addresses of parameter, gradient and slots."""
        raise NotImplementedError

    def step(self, scalars: np.ndarray, numbers: Numbers, sweeps: Sequence[dict[str, Sweep]]) -> Step:
        """One optimizer step: set the numbers, run the sweeps."""
        raise NotImplementedError


def _segments(columns: Sequence[Sequence[Buffer]]) -> list[tuple[int, list[int]]]:
    """(floats, addresses by kind) of the runs of tensors that follow each other alike in every region."""
    segments: list[tuple[int, list[int]]] = []
    for row in zip(*columns, strict=True):
        addresses = [item.address for item in row]
        nbytes = align(row[0].layout.nbytes)
        if segments:
            length, starts = segments[-1]
            if all(address == start + 4 * length for address, start in zip(addresses, starts, strict=True)):
                segments[-1] = (length + nbytes // 4, starts)
                continue
        segments.append((nbytes // 4, addresses))
    return segments


class SGDKernel(UpdateKernel):
    """SGD with momentum, dampening, Nesterov and weight decay."""

    def numbers(self) -> Numbers:
        return Numbers("decay", "momentum", "fresh", "step")

    def sweeps(self, count: int, at: Addresses, numbers: Numbers) -> dict[str, Sweep]:
        p, g = at[0], at[1]
        made = {"decay": scaled_sum(count, g, p, g, (None, numbers.address("decay")))}
        source = g
        if self.slots:
            m, momentum = at[2], numbers.address("momentum")
            made["momentum"] = scaled_sum(count, m, g, m, (momentum, numbers.address("fresh")))
            source = m
            if self.attributes.get("nesterov"):
                made["nesterov"] = scaled_sum(count, g, m, g, (None, momentum))
                source = g
        made["step"] = scaled_sum(count, p, source, p, (None, numbers.address("step")))
        return made

    def step(self, scalars: np.ndarray, numbers: Numbers, sweeps: Sequence[dict[str, Sweep]]) -> Step:
        def run() -> Any:
            rate, momentum, dampening, decay = scalars.tolist()
            numbers["decay"], numbers["momentum"] = decay, momentum
            numbers["fresh"], numbers["step"] = 1.0 - dampening, -rate
            skipped = () if decay else ("decay",)
            return _run(sweeps, skipped)

        return run


class AdamKernel(UpdateKernel):
    """Adam and AdamW: first moment, second moment, step."""

    def numbers(self) -> Numbers:
        return Numbers("decay", "beta1", "fresh1", "beta2", "fresh2", "correction", "epsilon", "step", "keep")

    def sweeps(self, count: int, at: Addresses, numbers: Numbers) -> dict[str, Sweep]:
        p, g, m, v = at
        number = numbers.address
        square = [("multiply", number("fresh2"), 1), ("add", v, count), ("multiply", number("beta2"), 1)]
        return {
            "decay": scaled_sum(count, g, p, g, (None, number("decay"))),
            "first": scaled_sum(count, m, g, m, (number("beta1"), number("fresh1"))),
            "second": product_chain(count, g, g, v, square),
            "step": self._step_sweep(count, p, m, v, number),
        }

    def _step_sweep(self, count: int, p: int, m: int, v: int, number: Callable[[str], int]) -> Step:
        flat, scalar = dense(FLOAT, (count,)), dense(FLOAT, (1,))
        post_ops: list[PostOp] = [
            Eltwise(SQRT),
            Binary(ADD, scalar),
            Eltwise(POWER, 1.0, -1.0),
            Binary(MULTIPLY, flat),
            Binary(MULTIPLY, scalar),
            Binary(ADD, flat),
            Binary(MULTIPLY, scalar),
        ]
        primitive = Primitive(describe("binary", MULTIPLY, flat, scalar, flat, attribute=attributes(post_ops)))
        places = {SRC: (flat, v), SRC_1: (scalar, number("correction")), DST: (flat, p)}
        operands = {1: (scalar, number("epsilon")), 3: (flat, m), 4: (scalar, number("step")), 5: (flat, p)}
        places.update((post_operand(index), place) for index, place in operands.items())
        places[post_operand(6)] = (scalar, number("keep"))
        return primitive.bind(places)

    def step(self, scalars: np.ndarray, numbers: Numbers, sweeps: Sequence[dict[str, Sweep]]) -> Step:
        decoupled = bool(self.attributes.get("decoupled"))

        def run() -> Any:
            rate, beta1, beta2, epsilon, decay, correction1, correction2 = scalars.tolist()
            keep = 1.0 - rate * decay if decoupled else 1.0
            numbers["decay"], numbers["beta1"], numbers["fresh1"] = decay, beta1, 1.0 - beta1
            numbers["beta2"], numbers["fresh2"] = beta2, (1.0 - beta2) / beta2
            numbers["correction"], numbers["epsilon"] = 1.0 / correction2, epsilon
            numbers["step"], numbers["keep"] = -rate / correction1 / keep, keep
            return _run(sweeps, ("decay",) if decoupled or not decay else ())

        return run


def _run(sweeps: Sequence[dict[str, Sweep]], skipped: Sequence[str]) -> Any:
    for segment in sweeps:
        for name, sweep in segment.items():
            if name not in skipped:
                status = sweep()
                if status:
                    return status
    return None


@kernel(TOOLKIT_DOMAIN, "SGDUpdate", accepts=is_float32)
def lower_sgd(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    return SGDKernel(node, inputs)


@kernel(TOOLKIT_DOMAIN, "AdamUpdate", accepts=is_float32)
def lower_adam(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    return AdamKernel(node, inputs)
