"""Sequences and optionals whose structure is known while a graph is bound: they are taken apart and leave no trace.

An operator that puts values into a sequence, takes them out, counts or joins them is resolved to the values themselves
(and Split and Concat), so what goes through a sequence is compiled, and differentiated, like anything else. Positions
that only data tells leave the operator to a call on the data.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from toolkit.compiler.program import Program, Variable
from toolkit.compiler.segment import Item, Perhaps, Several
from toolkit.errors import ShapeError
from toolkit.operators.expression import OPSET

Given = Sequence[Item | None]
Rule = Callable[[Program, Given, dict[str, Any], str], Item | None]


def resolve(
    program: Program, domain: str, op_type: str, inputs: Given, attributes: dict[str, Any], layer: str
) -> Item | None:
    """The one output of a sequence or optional operator, ``None`` when it has to be called on the data.

    Raises ``ShapeError`` naming the layer for a position outside of a sequence, or an element of an empty optional.
    """
    rule = None if domain else RULES.get(op_type)
    return None if rule is None else rule(program, inputs, attributes, layer)


def _construct(program: Program, inputs: Given, attributes: dict[str, Any], layer: str) -> Item | None:
    return Several(tuple(item for item in inputs if item is not None))


def _empty(program: Program, inputs: Given, attributes: dict[str, Any], layer: str) -> Item | None:
    return Several(())


def _insert(program: Program, inputs: Given, attributes: dict[str, Any], layer: str) -> Item | None:
    elements, element = _elements(inputs[0]), inputs[1]
    place = _position(inputs, 2, None if elements is None else len(elements))
    if elements is None or element is None or place is None:
        return None
    _require(-len(elements) <= place <= len(elements), "SequenceInsert", layer, place, elements)
    place += len(elements) if place < 0 else 0
    return Several((*elements[:place], element, *elements[place:]))


def _erase(program: Program, inputs: Given, attributes: dict[str, Any], layer: str) -> Item | None:
    elements, place = _elements(inputs[0]), _position(inputs, 1, -1)
    if elements is None or place is None:
        return None
    _require(-len(elements) <= place < len(elements), "SequenceErase", layer, place, elements)
    place %= len(elements)
    return Several((*elements[:place], *elements[place + 1 :]))


def _at(program: Program, inputs: Given, attributes: dict[str, Any], layer: str) -> Item | None:
    elements, place = _elements(inputs[0]), _position(inputs, 1, None)
    if elements is None or place is None:
        return None
    _require(-len(elements) <= place < len(elements), "SequenceAt", layer, place, elements)
    return elements[place]


def _length(program: Program, inputs: Given, attributes: dict[str, Any], layer: str) -> Item | None:
    elements = _elements(inputs[0])
    return None if elements is None else constant(program, np.asarray(len(elements), np.int64))


def _split(program: Program, inputs: Given, attributes: dict[str, Any], layer: str) -> Item | None:
    x, sizes = inputs[0], inputs[1] if len(inputs) > 1 else None
    if not isinstance(x, Variable) or (sizes is not None and _content(sizes) is None):
        return None
    axis = int(attributes.get("axis", 0))
    total = x.shape[axis]
    if sizes is None:
        parts = [1] * total
    else:
        given = _content(sizes)
        assert given is not None
        size = int(given.reshape(-1)[0]) if given.ndim == 0 else 0
        parts = (
            [min(size, total - first) for first in range(0, total, size)] if size > 0 else given.reshape(-1).tolist()
        )
    if not parts or sum(parts) != total or min(parts) < 0:
        return None
    pieces = append(
        program, "Split", [x, constant(program, np.asarray(parts, np.int64))], {"axis": axis}, layer, len(parts)
    )
    if sizes is None and not attributes.get("keepdims", 1):
        axes = constant(program, np.asarray([axis], np.int64))
        pieces = [append(program, "Squeeze", [piece, axes], {}, layer)[0] for piece in pieces]
    return Several(tuple(pieces))


def _join(program: Program, inputs: Given, attributes: dict[str, Any], layer: str) -> Item | None:
    elements = _elements(inputs[0])
    if not elements or not all(isinstance(item, Variable) for item in elements):
        return None
    tensors = [item for item in elements if isinstance(item, Variable)]
    axis = int(attributes["axis"])
    if attributes.get("new_axis", 0):
        axes = constant(program, np.asarray([axis], np.int64))
        tensors = [append(program, "Unsqueeze", [item, axes], {}, layer)[0] for item in tensors]
    return append(program, "Concat", tensors, {"axis": axis}, layer)[0]


def _optional(program: Program, inputs: Given, attributes: dict[str, Any], layer: str) -> Item | None:
    return Perhaps(inputs[0] if inputs else None)


def _has_element(program: Program, inputs: Given, attributes: dict[str, Any], layer: str) -> Item | None:
    item = inputs[0] if inputs else None
    if item is None or isinstance(item, (Perhaps, Several, Variable)):
        is_there = item is not None and not (isinstance(item, Perhaps) and item.item is None)
        return constant(program, np.asarray(is_there))
    return None


def _get_element(program: Program, inputs: Given, attributes: dict[str, Any], layer: str) -> Item | None:
    item = inputs[0]
    if isinstance(item, Perhaps):
        if item.item is None:
            raise ShapeError(
                f"OptionalGetElement {layer!r}: the optional must hold something, got an empty one. "
                "Ask OptionalHasElement first."
            )
        return item.item
    return item if isinstance(item, (Several, Variable)) else None


def _identity(program: Program, inputs: Given, attributes: dict[str, Any], layer: str) -> Item | None:
    return inputs[0] if isinstance(inputs[0], (Several, Perhaps)) else None


RULES: dict[str, Rule] = {
    "SequenceConstruct": _construct,
    "SequenceEmpty": _empty,
    "SequenceInsert": _insert,
    "SequenceErase": _erase,
    "SequenceAt": _at,
    "SequenceLength": _length,
    "SplitToSequence": _split,
    "ConcatFromSequence": _join,
    "Optional": _optional,
    "OptionalHasElement": _has_element,
    "OptionalGetElement": _get_element,
    "Identity": _identity,
}


def _elements(item: Item | None) -> tuple[Item, ...] | None:
    return item.items if isinstance(item, Several) else None


def _content(item: Item | None) -> np.ndarray | None:
    return item.constant if isinstance(item, Variable) else None


def _position(inputs: Given, index: int, default: int | None) -> int | None:
    item = inputs[index] if index < len(inputs) else None
    if item is None:
        return default
    known = _content(item)
    return None if known is None else int(known.reshape(-1)[0])


def _require(holds: bool, operator: str, layer: str, place: int, elements: Sequence[Item]) -> None:
    if not holds:
        raise ShapeError(
            f"{operator} {layer!r}: the position must lie in a sequence of {len(elements)} elements, got {place}. "
            "Change the position, or what is put into the sequence."
        )


def constant(program: Program, content: np.ndarray) -> Variable:
    """A constant of the program."""
    made: Variable = program.constant(content).variable
    return made


def append(
    program: Program, op_type: str, inputs: list[Variable], attributes: dict[str, Any], layer: str, count: int = 1
) -> list[Variable]:
    """The outputs of a new node of a standard operator."""
    node = program.append(op_type, inputs, attributes, version=OPSET, outputs=count, layer=layer)
    return [item for item in node.outputs if item is not None]
