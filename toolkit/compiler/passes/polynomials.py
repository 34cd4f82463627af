"""Polynomials in the graph: what a few additions and multiplications say of one variable, whatever their order.

``polynomial_of`` reads a variable as a polynomial of given indeterminates, so that a formula is recognised by what it
computes and not by how an exporter wrote it. Only known numbers count as coefficients, parameters do not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from toolkit.compiler.program import Variable

Powers = tuple[int, ...]  # one exponent for each indeterminate
Polynomial = dict[Powers, float]
DEEPEST = 8  # nodes between a formula and its indeterminates
HIGHEST = 4  # degree
MEMBERS = frozenset(("Add", "Sub", "Mul", "Div", "Neg", "Pow", "Identity"))


def number(variable: Variable | None) -> float | None:
    """The content of a constant of one element."""
    if variable is None or variable.constant is None or variable.size != 1 or variable.constant.dtype.kind not in "fiu":
        return None
    return float(variable.constant.reshape(-1)[0])


def polynomial_of(variable: Variable, indeterminates: Sequence[Variable], depth: int = DEEPEST) -> Polynomial | None:
    """The coefficients by powers of the indeterminates; ``None`` for what is no polynomial of them."""
    if variable in indeterminates:
        return {tuple(int(item is variable) for item in indeterminates): 1.0}
    known = number(variable)
    if known is not None:
        return {(0,) * len(indeterminates): known}
    node = variable.producer
    if node is None or node.domain or node.op_type not in MEMBERS or not depth or "axis" in node.attributes:
        return None
    operands = [polynomial_of(item, indeterminates, depth - 1) for item in node.inputs if item is not None]
    if node.op_type == "Pow":
        return None if operands[0] is None else _power(operands[0], number(node.inputs[1]))
    if any(item is None for item in operands):
        return None
    return _combined(node.op_type, [item for item in operands if item is not None])


def _combined(op_type: str, operands: Sequence[Polynomial]) -> Polynomial | None:
    left = operands[0]
    if op_type == "Identity":
        return left
    if op_type == "Neg":
        return _scaled(left, -1.0)
    right = operands[1]
    if op_type == "Mul":
        return _product(left, right)
    if op_type == "Div":
        divisor = right.get(next(iter(right))) if len(right) == 1 and not any(next(iter(right))) else None
        return _scaled(left, 1.0 / divisor) if divisor else None
    total = dict(left)
    for powers, factor in right.items():
        total[powers] = total.get(powers, 0.0) + (factor if op_type == "Add" else -factor)
    return total


def _scaled(left: Polynomial, factor: float) -> Polynomial:
    return {powers: value * factor for powers, value in left.items()}


def _product(left: Polynomial, right: Polynomial) -> Polynomial | None:
    result: Polynomial = {}
    for mine, factor in left.items():
        for other, value in right.items():
            powers = tuple(a + b for a, b in zip(mine, other, strict=True))
            if sum(powers) > HIGHEST:
                return None
            result[powers] = result.get(powers, 0.0) + factor * value
    return result


def _power(base: Polynomial, exponent: float | None) -> Polynomial | None:
    if exponent is None or exponent != int(exponent) or not 1 <= exponent <= HIGHEST:
        return None
    result: Polynomial | None = base
    for _ in range(int(exponent) - 1):
        result = None if result is None else _product(result, base)
    return result


def is_like(found: Polynomial | None, wanted: Polynomial) -> bool:
    """Whether the coefficients agree to the digits that exporters write (some give four)."""
    if found is None:
        return False
    return all(
        abs(found.get(powers, 0.0) - wanted.get(powers, 0.0)) <= 2e-4 * abs(wanted.get(powers, 0.0))
        for powers in {*found, *wanted}
    )


def members(variable: Variable, depth: int = DEEPEST) -> Iterator[Variable]:
    """The variable, and those that it is a sum, product, ... of, nearest first; each once."""
    seen = {variable: None}
    border = [variable]
    while border and depth:
        depth -= 1
        following = []
        for node in (item.producer for item in border):
            if node is None or node.domain or node.op_type not in MEMBERS:
                continue
            following += [item for item in node.inputs if item is not None and item.constant is None]
        border = [item for item in dict.fromkeys(following) if item not in seen]
        seen.update(dict.fromkeys(border))
    yield from seen
