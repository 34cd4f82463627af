"""Einsum: sums of products by labelled axes. Its gradients are sums of products again."""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from toolkit.operators.contraction import ArrayTerms, ExpressionTerms, Labels, Term, contract
from toolkit.operators.expression import Expression, emit, expand, reshape, unbroadcast
from toolkit.operators.precision import in_float32
from toolkit.operators.record import Call, TensorType, operator

ELLIPSIS = "..."


@dataclass(frozen=True, slots=True)
class Equation:
    """The labels of each operand and of the result, the axes behind an ellipsis labelled too."""

    operands: tuple[Labels, ...]
    output: Labels


def parsed(equation: str | bytes, ranks: Sequence[int]) -> Equation:
    """The equation for operands of these ranks. Raises ``ValueError`` where it does not fit them."""
    text = (equation.decode() if isinstance(equation, bytes) else equation).replace(" ", "")
    left, arrow, right = text.partition("->")
    terms = left.split(",")
    if len(terms) != len(ranks):
        raise ValueError(f"the equation {text!r} has {len(terms)} operands, got {len(ranks)}")
    behind = [_hidden_axes(term, rank) for term, rank in zip(terms, ranks, strict=True)]
    unused = [letter for letter in string.ascii_letters if letter not in text]
    widest = max(behind)
    if widest > len(unused):
        raise ValueError(f"the equation {text!r} and its ellipsis need more than {len(string.ascii_letters)} labels")
    hidden = "".join(unused[:widest])
    operands = tuple(
        term.replace(ELLIPSIS, hidden[widest - count :]) for term, count in zip(terms, behind, strict=True)
    )
    if arrow:
        if widest and ELLIPSIS not in right:
            raise ValueError(f"the result of {text!r} must have an ellipsis too")
        return Equation(operands, _checked(right.replace(ELLIPSIS, hidden), operands, text))
    letters = left.replace(ELLIPSIS, "").replace(",", "")
    return Equation(operands, hidden + "".join(sorted(letter for letter in set(letters) if letters.count(letter) == 1)))


def _hidden_axes(term: str, rank: int) -> int:
    """How many axes an ellipsis in ``term`` stands for."""
    named = term.replace(ELLIPSIS, "", 1)
    if not (named.isalpha() or not named) or (len(named) != rank if ELLIPSIS not in term else len(named) > rank):
        raise ValueError(f"{term!r} cannot label a tensor of {rank} axes")
    return rank - len(named)


def _checked(output: Labels, operands: Sequence[Labels], text: str) -> Labels:
    unknown = [label for label in output if not any(label in labels for labels in operands)]
    if unknown or len(set(output)) != len(output):
        raise ValueError(f"the result of {text!r} must have labels of its operands, each once")
    return output


def sizes_of(equation: Equation, shapes: Sequence[tuple[int, ...]]) -> dict[str, int]:
    """The size of every label. Raises ``ValueError`` where two operands disagree about one."""
    sizes: dict[str, int] = {}
    for labels, shape in zip(equation.operands, shapes, strict=True):
        for label, size in zip(labels, shape, strict=True):
            known = sizes.get(label, 1)
            if 1 not in (known, size) and known != size:
                raise ValueError(f"an axis that both operands label alike has the sizes {known} and {size}")
            sizes[label] = known if size == 1 else size
    return sizes


@in_float32
def _einsum(*inputs: np.ndarray, equation: str) -> np.ndarray:
    known = parsed(equation, [item.ndim for item in inputs])
    sizes_of(known, [item.shape for item in inputs])
    return np.array(contract(list(map(Term, inputs, known.operands)), known.output, ArrayTerms), order="C")


def _infer(types: Sequence[TensorType | None], attributes: dict[str, Any], _: Any) -> list[TensorType]:
    inputs = [item for item in types if item is not None]
    known = parsed(attributes["equation"], [len(shape) for _, shape in inputs])
    sizes = sizes_of(known, [shape for _, shape in inputs])
    return [(inputs[0][0], tuple(sizes[label] for label in known.output))]


def _expansion(call: Call) -> list[Expression | None]:
    inputs = [item for item in call.inputs if item is not None]
    known = parsed(call.attributes["equation"], [item.ndim for item in inputs])
    return [contract(list(map(Term, inputs, known.operands)), known.output, ExpressionTerms)]


def _gradient(call: Call, g: Expression) -> list[Expression | None]:
    """For each operand: the sum of products of ``g`` and the other operands."""
    inputs = [item for item in call.inputs if item is not None]
    known = parsed(call.attributes["equation"], [item.ndim for item in inputs])
    return [_operand_gradient(g, inputs, known, index) if wanted else None for index, wanted in enumerate(call.wants)]


def _operand_gradient(g: Expression, inputs: Sequence[Expression], known: Equation, index: int) -> Expression:
    x, labels = inputs[index], known.operands[index]
    others = [item for place, item in enumerate(inputs) if place != index]
    other_labels = [item for place, item in enumerate(known.operands) if place != index]
    distinct = "".join(dict.fromkeys(labels))
    reached = "".join(label for label in distinct if any(label in item for item in (known.output, *other_labels)))
    part = g
    if others or reached != known.output:
        part = emit("Einsum", g, *others, equation=f"{','.join((known.output, *other_labels))}->{reached}")
    found = dict(zip(reached, part.shape, strict=True))
    part = reshape(part, [found.get(label, 1) for label in distinct])
    sizes = tuple(x.shape[labels.index(label)] for label in distinct)
    whole = tuple(1 if size == 1 else have for size, have in zip(sizes, part.shape, strict=True))
    part = expand(unbroadcast(part, whole), sizes)
    return part if distinct == labels else _on_diagonal(part, distinct, labels)


def _on_diagonal(part: Expression, distinct: Labels, labels: Labels) -> Expression:
    """``part`` where labels that occur several times have one index, zero elsewhere."""
    sizes = dict(zip(distinct, part.shape, strict=True))
    grid = np.indices([sizes[label] for label in labels], sparse=True)
    mask = np.ones((), bool)
    for label, positions in zip(labels, grid, strict=True):
        mask = mask & (positions == grid[labels.index(label)])
    shape = [sizes[label] if labels.index(label) == axis else 1 for axis, label in enumerate(labels)]
    diagonal: Expression = emit("Where", part.emitter.constant(mask), reshape(part, shape), np.zeros((), part.dtype))
    return diagonal


operator("Einsum", since=12, reference=_einsum, gradient=_gradient, infer=_infer, expansion=_expansion)
