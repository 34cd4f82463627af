"""Sequences of tensors: Python lists of arrays, built, changed, read, split, joined and mapped over.

A list is never changed in place: each operator gives a new one that shares the arrays. How long a sequence is and what
its tensors look like is known only at run time, so no rule here tells a type.
"""

from __future__ import annotations

import numpy as np

from toolkit.operators.axes import normalised
from toolkit.operators.record import data_dependent, not_differentiable, operator, resolved_by_binding
from toolkit.operators.standard.control_flow import Body

Tensors = list[np.ndarray]
A_SEQUENCE = data_dependent("a sequence")
UNRESOLVED = resolved_by_binding("what goes through a sequence is bound as the values themselves")


def sequence_construct(*tensors: np.ndarray) -> Tensors:
    """The sequence of the given tensors. Raises ``ValueError`` when their element types differ."""
    found = {item.dtype.name for item in tensors}
    if len(found) > 1:
        raise ValueError(f"the tensors of a sequence must share one element type, got {', '.join(sorted(found))}")
    return list(tensors)


def sequence_empty(*, dtype: int = 1) -> Tensors:
    """A sequence of nothing."""
    return []


def sequence_insert(sequence: Tensors, tensor: np.ndarray, position: np.ndarray | None = None) -> Tensors:
    """The sequence with a tensor inserted before a position in [-n, n], by default behind the last."""
    count = len(sequence)
    if sequence and sequence[0].dtype != tensor.dtype:
        raise ValueError(f"a sequence of {sequence[0].dtype.name} cannot take a tensor of {tensor.dtype.name}")
    place = count if position is None else _place(position, -count, count, count)
    return [*sequence[:place], tensor, *sequence[place:]]


def sequence_erase(sequence: Tensors, position: np.ndarray | None = None) -> Tensors:
    """The sequence without the tensor at a position in [-n, n - 1], by default the last."""
    place = _element(sequence, -1 if position is None else position)
    return sequence[:place] + sequence[place + 1 :]


def sequence_at(sequence: Tensors, position: np.ndarray) -> np.ndarray:
    """The tensor at a position in [-n, n - 1]."""
    return sequence[_element(sequence, position)]


def sequence_length(sequence: Tensors) -> np.ndarray:
    """How many tensors there are."""
    return np.asarray(len(sequence), dtype=np.int64)


def _element(sequence: Tensors, position: np.ndarray | int) -> int:
    if not sequence:
        raise IndexError("the sequence is empty, so no position in it exists")
    return _place(position, -len(sequence), len(sequence) - 1, len(sequence))


def _place(position: np.ndarray | int, lowest: int, highest: int, count: int) -> int:
    """The position counted from the front. Raises ``IndexError`` when it is not in [lowest, highest]."""
    found = np.asarray(position)
    if found.size != 1:
        raise ValueError(f"a position must be one number, got {found.size}")
    place = int(found.reshape(-1)[0])
    if not lowest <= place <= highest:
        raise IndexError(f"position {place} must lie in [{lowest}, {highest}]: the sequence holds {count} tensors")
    return place + count if place < 0 else place


def split_to_sequence(x: np.ndarray, split: np.ndarray | None = None, *, axis: int = 0, keepdims: int = 1) -> Tensors:
    """Parts of ``x`` along ``axis``: of the given sizes, of one size and a remainder, or single slices.

    ``keepdims=0`` takes the axis away; it counts only where no sizes are given.
    """
    (axis,) = normalised(axis, x.ndim)
    size = x.shape[axis]
    if split is not None and split.ndim:
        if (split < 0).any() or split.sum() != size:
            raise ValueError(f"the sizes {split.tolist()} must be 0 or more and add up to the {size} of axis {axis}")
        return np.split(x, np.cumsum(split)[:-1], axis=axis) if split.size else []
    length = 1 if split is None else int(split)
    if length < 1:
        raise ValueError(f"the size of the parts must be positive, got {length}")
    parts = np.split(x, np.arange(length, size, length), axis=axis) if size else []
    return parts if keepdims or split is not None else [item.squeeze(axis) for item in parts]


def concat_from_sequence(sequence: Tensors, *, axis: int, new_axis: int = 0) -> np.ndarray:
    """The tensors joined along an axis, which ``new_axis`` says to be a new one."""
    if not sequence:
        raise ValueError("there is nothing to concatenate: the sequence is empty")
    (place,) = normalised(axis, sequence[0].ndim + (1 if new_axis else 0))
    return np.stack(sequence, axis=place) if new_axis else np.concatenate(sequence, axis=place)


def sequence_map(sequence: Tensors, *others: Tensors | np.ndarray, body: Body) -> tuple[Tensors, ...]:
    """What ``body`` gives for each tensor, one sequence per output; other sequences go along, tensors are repeated."""
    lengths = [len(item) for item in others if isinstance(item, list)]
    if any(length != len(sequence) for length in lengths):
        raise ValueError(f"every sequence must hold {len(sequence)} tensors like the first, got {lengths}")
    rows = [
        body(first, *(item[number] if isinstance(item, list) else item for item in others))
        for number, first in enumerate(sequence)
    ]
    return tuple([row[number] for row in rows] for number in range(len(body.graph.outputs)))


operator("SequenceConstruct", since=11, reference=sequence_construct, gradient=UNRESOLVED, infer=A_SEQUENCE)
operator("SequenceEmpty", since=11, reference=sequence_empty, gradient=UNRESOLVED, infer=A_SEQUENCE)
operator("SequenceInsert", since=11, reference=sequence_insert, gradient=UNRESOLVED, infer=A_SEQUENCE)
operator("SequenceErase", since=11, reference=sequence_erase, gradient=UNRESOLVED, infer=A_SEQUENCE)
operator(
    "SequenceAt", since=11, reference=sequence_at, gradient=UNRESOLVED, infer=data_dependent("what a sequence holds")
)
operator(
    "SequenceLength",
    since=11,
    reference=sequence_length,
    gradient=not_differentiable("its result is a count"),
    infer=data_dependent("how long a sequence is"),
)
operator("SplitToSequence", since=11, reference=split_to_sequence, gradient=UNRESOLVED, infer=A_SEQUENCE)
operator(
    "ConcatFromSequence",
    since=11,
    reference=concat_from_sequence,
    gradient=UNRESOLVED,
    infer=data_dependent("what a sequence holds"),
)
operator("SequenceMap", since=17, reference=sequence_map, gradient=UNRESOLVED, infer=A_SEQUENCE)
