"""Einsum of two operands becomes a product of stacks of matrices, which backends know how to compute fast.

Cases: floats, every letter of an operand once and of one size, and none that only one operand has and the output has
not. Letters in all three stand for the stack, letters of both operands alone are summed over. Other equations stay.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from toolkit.compiler.program import Node, Program
from toolkit.compiler.rewrite import Replacement, rewrite
from toolkit.graph.parameter import is_trainable_dtype
from toolkit.operators.expression import emit, reshape, transpose
from toolkit.operators.standard.einsum import explicit


class Letters(NamedTuple):
    """The letters of a product: ``terms`` of both operands and ``output``, each in the order of its axes."""

    terms: tuple[str, str]
    output: str

    @property
    def stack(self) -> str:
        return "".join(letter for letter in self.output if all(letter in term for term in self.terms))

    @property
    def summed(self) -> str:
        return "".join(letter for letter in self.terms[0] if letter not in self.output)

    def own(self, number: int) -> str:
        """The letters of the output that only one operand has."""
        return "".join(letter for letter in self.output if letter not in self.terms[1 - number])

    @property
    def is_product(self) -> bool:
        first, second = (set(term) for term in self.terms)
        alone = first ^ second
        unique = all(len(set(term)) == len(term) for term in self.terms)
        return unique and alone <= set(self.output) and first & second != set() and set(self.summed) <= second


def use_products(program: Program) -> None:
    """Apply the replacement."""

    def rule(node: Node) -> Replacement | None:
        if node.domain or node.op_type != "Einsum" or len(node.inputs) != 2 or not is_trainable_dtype(node.x.dtype):
            return None
        operands = [item for item in node.inputs if item is not None]
        terms, output = explicit(node.attributes["equation"], [len(item.shape) for item in operands])
        letters = Letters((terms[0], terms[1]), output)
        sizes: dict[str, int] = {}
        for term, item in zip(terms, operands, strict=True):
            if any(sizes.setdefault(letter, size) != size for letter, size in zip(term, item.shape, strict=True)):
                return None
        return _product(program, node, letters, sizes) if letters.is_product and letters.summed else None

    rewrite(program, rule)


def _product(program: Program, node: Node, letters: Letters, sizes: dict[str, int]) -> Replacement:
    def matrices(number: int, *groups: str) -> str:
        return letters.stack + "".join(groups)

    def size(group: str) -> int:
        return math.prod(sizes[letter] for letter in group)

    stack, rows, columns = letters.stack, letters.own(0), letters.own(1)
    factors = []
    for number, groups in enumerate(((rows, letters.summed), (letters.summed, columns))):
        operand = node.inputs[number]
        assert operand is not None
        order = [letters.terms[number].index(letter) for letter in matrices(number, *groups)]
        turned = transpose(program.expression(operand), order)
        factors.append(reshape(turned, [*(sizes[letter] for letter in stack), *map(size, groups)]))
    product = reshape(emit("MatMul", *factors, version=13), [sizes[letter] for letter in stack + rows + columns])
    return [transpose(product, [(stack + rows + columns).index(letter) for letter in letters.output]).variable]
