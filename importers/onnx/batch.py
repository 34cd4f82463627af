"""Which axis of the network's inputs and outputs counts items.

Inputs, unless ``batch_axis={name: axis or None}`` says otherwise:

1. an axis whose symbol contains ``batch``; or else
2. axis 0 when it is symbolic, undeclared or 0 (a rank-1 input included);
3. axis 0 when it is fixed to 1 and the rank is at least 2;
4. axis 0 when it is a fixed number above 1, as long as no other input has a batch axis by the rules above and all
   such inputs agree on the number: a state of shape (2, 1, 64) beside an input (1, 512) has no batch axis;
5. where the batch has a symbol, an input that holds the same symbol on a later axis has its batch there.

Outputs: the axis that holds the batch symbol; or axis 0 when it is open (as in 2), or the fixed batch of an input.
Values of unknown rank and values that are no tensors have no batch axis, and neither have outputs of a network whose
inputs have none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from toolkit.errors import ModelError
from toolkit.graph import Dim, Value

BATCH_SYMBOL = "batch"


def find_batch_axes(inputs: Iterable[Value], outputs: Iterable[Value], chosen: Mapping[str, int | None]) -> None:
    """Set ``batch_axis`` of the values. Raises ``ModelError`` for choices that name no input or output, or no axis."""
    inputs, outputs = list(inputs), list(outputs)
    _check_choices({value.name: value for value in (*inputs, *outputs)}, chosen)
    for value in inputs:
        value.batch_axis = chosen[value.name] if value.name in chosen else _open_batch_axis(value)
    if all(value.batch_axis is None for value in inputs):
        _agree_on_fixed_batch([value for value in inputs if value.name not in chosen])
    batches = [_dims(value)[value.batch_axis] for value in inputs if value.batch_axis is not None and _dims(value)]
    symbols = {dim for dim in batches if isinstance(dim, str)}
    for value in inputs:
        if value.name not in chosen and value.batch_axis is None:
            value.batch_axis = _axis_of_symbol(value, symbols)
    for value in outputs:
        value.batch_axis = chosen[value.name] if value.name in chosen else _output_axis(value, batches, symbols)


def _open_batch_axis(value: Value) -> int | None:
    dims = _dims(value)
    for axis, dim in enumerate(dims):
        if isinstance(dim, str) and BATCH_SYMBOL in dim.lower():
            return axis
    if not dims or (isinstance(dims[0], int) and dims[0] > 1):
        return None
    return None if dims[0] == 1 and len(dims) == 1 else 0


def _agree_on_fixed_batch(inputs: list[Value]) -> None:
    candidates = [value for value in inputs if len(_dims(value)) > 1 or _fixed_above_one(value)]
    sizes = {_dims(value)[0] for value in candidates if _fixed_above_one(value)}
    if len(sizes) == 1:
        for value in candidates:
            value.batch_axis = 0


def _fixed_above_one(value: Value) -> bool:
    dims = _dims(value)
    return bool(dims) and isinstance(dims[0], int) and dims[0] > 1


def _output_axis(value: Value, batches: list[Dim], symbols: set[str]) -> int | None:
    dims = _dims(value)
    if not batches or not dims:
        return None
    axis = _axis_of_symbol(value, symbols)
    if axis is not None:
        return axis
    return 0 if not isinstance(dims[0], int) or dims[0] == 0 or dims[0] in batches else None


def _axis_of_symbol(value: Value, symbols: set[str]) -> int | None:
    return next((axis for axis, dim in enumerate(_dims(value)) if dim in symbols), None)


def _dims(value: Value) -> tuple[Dim, ...]:
    return value.shape if value.kind == "tensor" and value.shape is not None else ()


def _check_choices(values: dict[str, Value], chosen: Mapping[str, int | None]) -> None:
    for name, axis in chosen.items():
        if name not in values:
            raise ModelError(
                f"batch_axis names {name!r}, but the network's inputs and outputs are {', '.join(map(repr, values))}."
            )
        shape = values[name].shape
        if axis is not None and (axis < 0 or (shape is not None and axis >= len(shape))):
            raise ModelError(
                f"batch_axis of {name!r} must be None or an axis of {values[name].describe()} from 0, got {axis}."
            )
