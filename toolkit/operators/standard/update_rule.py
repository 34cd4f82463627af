"""Rules: elementwise arithmetic as text, the same for every element of every tensor that an optimizer step touches.

A rule is what ``ElementwiseUpdate`` carries as attributes: one line for each operation, such as ``Mul n0 t1``, and the
operands that are its results. Backends may execute it on flat memory, whatever the layouts are.

- ``t0, t1, ...``: the tensors of an element: parameter, update, slots
- ``n0, n1, ...``: the numbers of a step
- ``v0, v1, ...``: what the lines compute
- ``c0.5``: a constant
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

# Standard operators that a rule may use: elementwise, without attributes.
_NAMES = """
    Abs Add And Ceil Cos Div Equal Erf Exp Floor Greater GreaterOrEqual Identity Less LessOrEqual Log Max Min Mul Neg
    Not Or Pow Reciprocal Relu Round Sigmoid Sign Sin Sqrt Sub Tanh Where
"""
ELEMENTWISE = frozenset(_NAMES.split())


@dataclass(frozen=True, slots=True)
class Operand:
    """``kind`` is ``t``, ``n``, ``v`` or ``c``; ``index`` counts within the kind, ``value`` is that of a constant."""

    kind: str
    index: int = 0
    value: float = 0.0

    @staticmethod
    def parse(text: str) -> Operand:
        if text[0] == "c":
            return Operand("c", value=float(text[1:]))
        return Operand(text[0], int(text[1:]))

    def __str__(self) -> str:
        return f"c{self.value!r}" if self.kind == "c" else f"{self.kind}{self.index}"


@dataclass(frozen=True, slots=True)
class Line:
    """One operation on operands."""

    op_type: str
    operands: tuple[Operand, ...]

    def __str__(self) -> str:
        return " ".join([self.op_type, *map(str, self.operands)])


@dataclass(frozen=True, slots=True)
class Rule:
    """``lines`` in order; ``results[i]`` takes the place of tensor ``targets[i]``."""

    lines: tuple[Line, ...]
    results: tuple[Operand, ...]
    targets: tuple[int, ...]

    def attributes(self) -> dict[str, Any]:
        """The rule as attributes of a node."""
        return {
            "rule": tuple(map(str, self.lines)),
            "results": tuple(map(str, self.results)),
            "targets": self.targets,
        }

    def evaluate(
        self,
        tensors: Sequence[Any],
        numbers: Sequence[Any],
        constant: Callable[[float], Any],
        apply: Callable[..., Any],
    ) -> list[Any]:
        """The results, where ``apply(op_type, *operands)`` computes a line."""
        values: list[Any] = []

        def value(item: Operand) -> Any:
            if item.kind == "c":
                return constant(item.value)
            return {"t": tensors, "n": numbers, "v": values}[item.kind][item.index]

        for line in self.lines:
            made = apply(line.op_type, *map(value, line.operands))
            values.append(made)
        return [value(item) for item in self.results]


@lru_cache(maxsize=256)
def _parsed(rule: tuple[str, ...], results: tuple[str, ...], targets: tuple[int, ...]) -> Rule:
    lines = []
    for text in rule:
        op_type, *operands = text.split()
        lines.append(Line(op_type, tuple(map(Operand.parse, operands))))
    return Rule(tuple(lines), tuple(map(Operand.parse, results)), targets)


def rule_of(rule: Sequence[str], results: Sequence[str], targets: Sequence[int]) -> Rule:
    """The rule that attributes hold."""
    return _parsed(tuple(rule), tuple(results), tuple(targets))
