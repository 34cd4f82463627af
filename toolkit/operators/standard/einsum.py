"""Einsum: sums of products in Einstein's notation.

The gradient of an operand is an Einsum of the output's gradient and the other operands; axes that only the operand had
are spread out again, and a letter that it had twice puts its part on the diagonal.
"""

from __future__ import annotations

import math
import string
from collections.abc import Sequence
from itertools import combinations

import numpy as np

from toolkit.operators.expression import Expression, emit, expand, reshape, unbroadcast
from toolkit.operators.precision import in_float32
from toolkit.operators.record import Call, operator

Terms = list[str]
Operand = tuple[np.ndarray, str]
DOTS = "..."


@in_float32
def einsum(*operands: np.ndarray, equation: str) -> np.ndarray:
    """The product of the operands, summed over every letter that the output does not have."""
    terms, output = explicit(equation, [item.ndim for item in operands])
    left = [
        _reduced(item, term, set(output).union(*terms[:number], *terms[number + 1 :]))
        for number, (item, term) in enumerate(zip(operands, terms, strict=True))
    ]
    while len(left) > 1:
        pair = _cheapest(left)
        second, first = (left.pop(number) for number in sorted(pair, reverse=True))
        left.append(_contracted(first, second, set(output).union(*(term for _, term in left))))
    result, term = left[0]
    y: np.ndarray = np.einsum(f"{term}->{output}", result)[...]  # never a scalar
    return y


def _reduced(x: np.ndarray, term: str, wanted: set[str]) -> Operand:
    """The operand with every letter once, summed over letters that nobody else has."""
    kept = "".join(letter for letter in dict.fromkeys(term) if letter in wanted)
    return np.einsum(f"{term}->{kept}", x), kept


def _cheapest(operands: Sequence[Operand]) -> tuple[int, int]:
    """The two operands whose product has the fewest terms."""

    def terms(pair: tuple[int, int]) -> int:
        sizes: dict[str, int] = {}
        for number in pair:
            x, term = operands[number]
            for letter, size in zip(term, x.shape, strict=True):
                sizes[letter] = max(size, sizes.get(letter, 1))
        return math.prod(sizes.values())

    return min(combinations(range(len(operands)), 2), key=terms)


def _contracted(first: Operand, second: Operand, wanted: set[str]) -> Operand:
    """The product of two operands, summed over what nobody else wants: one product of stacks of matrices."""
    (x, a), (y, b) = first, second
    both = [letter for letter in a if letter in b]
    stack, summed = [item for item in both if item in wanted], [item for item in both if item not in wanted]
    rows, columns = [item for item in a if item not in b], [item for item in b if item not in a]
    sizes = ([item.shape[term.index(letter)] for letter in summed] for item, term in (first, second))
    lengths = np.broadcast_shapes(*map(tuple, sizes))
    left, right = _arranged(x, a, stack, rows, summed), _arranged(y, b, stack, summed, columns)
    depth, start = math.prod(lengths), len(stack)
    outer, inner = left.shape[start : start + len(rows)], right.shape[start + len(summed) :]
    left = np.broadcast_to(left, (*left.shape[: start + len(rows)], *lengths))
    right = np.broadcast_to(right, (*right.shape[:start], *lengths, *inner))
    product = np.matmul(
        left.reshape(*left.shape[:start], math.prod(outer), depth),
        right.reshape(*right.shape[:start], depth, math.prod(inner)),
    )
    return product.reshape((*product.shape[:start], *outer, *inner)), "".join([*stack, *rows, *columns])


def _arranged(x: np.ndarray, term: str, *groups: Sequence[str]) -> np.ndarray:
    """``x`` with its axes in the order of the groups."""
    return x.transpose([term.index(letter) for group in groups for letter in group])


def explicit(equation: str, ranks: Sequence[int]) -> tuple[Terms, str]:
    """The terms of the operands and of the output, with letters for the axes behind an ellipsis.

    Raises ``ValueError`` when terms and operands do not fit each other.
    """
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(ranks):
        raise ValueError(f"the equation {equation!r} has {len(terms)} terms for {len(ranks)} operands")
    hidden = [_hidden_axes(term, rank, equation) for term, rank in zip(terms, ranks, strict=True)]
    free = [letter for letter in string.ascii_letters if letter not in equation]
    most = max(hidden)
    if most > len(free):
        raise ValueError(f"the equation {equation!r} with {most} axes behind '...' needs more than 52 letters")
    dots = "".join(free[:most])
    named = [term.replace(DOTS, dots[most - count :]) for term, count in zip(terms, hidden, strict=True)]
    if arrow:
        output = right.replace(DOTS, dots)
    else:
        letters = left.replace(DOTS, "").replace(",", "")
        output = dots + "".join(sorted(letter for letter in set(letters) if letters.count(letter) == 1))
    if not set(output) <= set("".join(named)) or len(set(output)) < len(output) or "." in output:
        raise ValueError(f"the output of {equation!r} must consist of letters of its operands, each once")
    return named, output


def _hidden_axes(term: str, rank: int, equation: str) -> int:
    """How many axes of an operand stand behind the ellipsis of its term."""
    letters = term.replace(DOTS, "")
    count = rank - len(letters)
    if count < 0 or (count and DOTS not in term) or "." in letters:
        raise ValueError(f"the term {term!r} of {equation!r} does not fit an operand of {rank} axes")
    return count


def _gradient(call: Call, g: Expression) -> list[Expression | None]:
    operands = [item for item in call.inputs if item is not None]
    terms, output = explicit(call.attribute("equation"), [item.ndim for item in operands])
    sizes: dict[str, int] = {}
    for term, item in zip(terms, operands, strict=True):
        for letter, size in zip(term, item.shape, strict=True):
            sizes[letter] = size if sizes.get(letter, 1) == 1 else sizes[letter]
    return [
        _operand_gradient(index, operands, terms, g, output, sizes) if call.wants[index] else None
        for index in range(len(operands))
    ]


def _operand_gradient(
    index: int, operands: list[Expression], terms: Terms, g: Expression, output: str, sizes: dict[str, int]
) -> Expression:
    """The gradient of one operand: of the letters that it shares, of all its letters, of all its axes."""
    other_terms = terms[:index] + terms[index + 1 :]
    others = operands[:index] + operands[index + 1 :]
    letters = list(dict.fromkeys(terms[index]))
    shared = [letter for letter in letters if letter in output or any(letter in term for term in other_terms)]
    part = emit("Einsum", g, *others, equation=f"{','.join([output, *other_terms])}->{''.join(shared)}")
    kept = dict(zip(shared, part.shape, strict=True))
    placed = reshape(part, [kept.get(letter, 1) for letter in letters])
    whole = expand(placed, [sizes[letter] for letter in letters])
    shape = operands[index].shape
    if len(letters) < len(shape):
        whole = _on_diagonal(whole, letters, terms[index], sizes)
    return unbroadcast(whole, shape)


def _on_diagonal(x: Expression, letters: list[str], term: str, sizes: dict[str, int]) -> Expression:
    """``x``, whose axes are the letters, with an axis for every place of the term; zero where equal letters differ."""
    lengths = [sizes[letter] for letter in term]
    mask = np.ones(lengths, dtype=x.dtype)
    position = np.indices(lengths, sparse=True)
    first = {letter: term.index(letter) for letter in letters}
    for place, letter in enumerate(term):
        mask = mask * (position[place] == position[first[letter]])
    spread = [sizes[letter] if first[letter] == place else 1 for place, letter in enumerate(term)]
    return reshape(x, spread) * mask.astype(x.dtype)


operator("Einsum", since=12, reference=einsum, gradient=_gradient)
