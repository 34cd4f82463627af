"""If, Loop and Scan on data: their bodies come as functions of values, so that a reference is plain Python.

A branch whose condition is known while a program is bound, and a loop whose trip count is, never get here: the binder
puts their layers into the program. A body is called as ``body(*inputs)`` and returns a tuple; what its graph declares
about its outputs tells the type of what a loop without iterations gives.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from toolkit.graph.layer import Graph
from toolkit.operators.record import data_dependent, operator, resolved_by_binding


class Body(Protocol):
    """What the runtime supplies for a graph attribute."""

    graph: Graph

    def __call__(self, *inputs: Any) -> tuple[Any, ...]: ...


def branch(condition: np.ndarray, *, then_branch: Body, else_branch: Body) -> tuple[Any, ...]:
    """The outputs of one of two bodies without inputs."""
    return (then_branch if truth(condition) else else_branch)()


def loop(count: np.ndarray | None, condition: np.ndarray | None, *carried: Any, body: Body) -> tuple[Any, ...]:
    """Repeat ``body(iteration, condition, *carried)`` while the condition holds, at most ``count`` times.

    The body gives the next condition, the next carried values, and what is stacked along a new first axis.
    """
    limit = None if count is None else int(np.asarray(count).reshape(-1)[0])
    going = np.asarray(True) if condition is None else condition
    state, iteration = list(carried), 0
    stacked: list[list[Any]] = [[] for _ in list(body.graph.outputs)[1 + len(carried) :]]
    while (limit is None or iteration < limit) and truth(going):
        going, *rest = body(np.asarray(iteration, np.int64), going, *state)
        state = rest[: len(carried)]
        for kept, item in zip(stacked, rest[len(carried) :], strict=True):
            kept.append(item)
        iteration += 1
    return (*state, *_stacked(stacked, body, 1 + len(carried)))


def scan(
    *inputs: np.ndarray,
    body: Body,
    num_scan_inputs: int,
    scan_input_axes: Sequence[int] = (),
    scan_input_directions: Sequence[int] = (),
    scan_output_axes: Sequence[int] = (),
    scan_output_directions: Sequence[int] = (),
) -> tuple[Any, ...]:
    """``body(*state, *slices)`` for every slice of the last ``num_scan_inputs`` inputs; its slices are stacked."""
    first = len(inputs) - num_scan_inputs
    state, sequences = list(inputs[:first]), inputs[first:]
    slices = [
        _along(item, _pick(scan_input_axes, index), _pick(scan_input_directions, index))
        for index, item in enumerate(sequences)
    ]
    lengths = {len(item) for item in slices}
    if len(lengths) != 1:
        raise ValueError(f"all sequences must be equally long, got {sorted(lengths)}")
    collected: list[list[Any]] = [[] for _ in list(body.graph.outputs)[first:]]
    for parts in zip(*slices, strict=True):
        made = body(*state, *parts)
        state = list(made[:first])
        for kept, item in zip(collected, made[first:], strict=True):
            kept.append(item)
    results = []
    for index, item in enumerate(_stacked(collected, body, first)):
        turned = item[::-1] if _pick(scan_output_directions, index) else item
        results.append(np.moveaxis(turned, 0, _pick(scan_output_axes, index)))
    return (*state, *results)


def scan_batches(
    lengths: np.ndarray | None,
    *inputs: np.ndarray,
    body: Body,
    num_scan_inputs: int,
    directions: Sequence[int] = (),
) -> tuple[Any, ...]:
    """Scan of version 8: batches along the first axis of everything, sequences along the second, each of a length."""
    first = len(inputs) - num_scan_inputs
    longest = inputs[first].shape[1]
    batches = []
    for index in range(inputs[first].shape[0]):
        size = longest if lengths is None else int(lengths[index])
        cut = [item[index] if place < first else item[index, :size] for place, item in enumerate(inputs)]
        found = scan(*cut, body=body, num_scan_inputs=num_scan_inputs, scan_input_directions=directions)
        batches.append([*found[:first], *(_padded(item, longest) for item in found[first:])])
    return tuple(np.stack(items) for items in zip(*batches, strict=True))


def truth(condition: np.ndarray) -> bool:
    """The one element of a condition."""
    flat = np.asarray(condition).reshape(-1)
    if flat.size != 1:
        raise ValueError(f"a condition must have one element, got shape {np.shape(condition)}")
    return bool(flat[0])


def _along(x: np.ndarray, axis: int, backwards: int) -> np.ndarray:
    """``x`` as a sequence of its slices along ``axis``."""
    moved = np.moveaxis(x, axis, 0)
    return moved[::-1] if backwards else moved


def _pick(values: Sequence[int], index: int) -> int:
    return int(values[index]) if len(values) else 0


def _stacked(collected: list[list[Any]], body: Body, first: int) -> list[np.ndarray]:
    return [
        np.stack(items) if items else nothing_stacked(body.graph, first + index)
        for index, items in enumerate(collected)
    ]


def nothing_stacked(graph: Graph, index: int) -> np.ndarray:
    """What a loop without iterations stacks: no slices of the type that the body declares."""
    value = list(graph.outputs.values())[index]
    sizes = [dim if isinstance(dim, int) else 0 for dim in value.shape or ()]
    return np.zeros((0, *sizes), value.dtype or np.float32)


def _padded(x: np.ndarray, longest: int) -> np.ndarray:
    return np.concatenate([x, np.zeros((longest - x.shape[0], *x.shape[1:]), x.dtype)])


_UNROLLED = resolved_by_binding("unrolled, where need be as the data of the batch decides")
operator("If", reference=branch, gradient=_UNROLLED, infer=data_dependent("which branch is taken"))
operator("Loop", reference=loop, gradient=_UNROLLED, infer=data_dependent("how often its body is executed"))
operator("Scan", since=8, reference=scan_batches, gradient=_UNROLLED, infer=data_dependent("what its body gives"))
operator("Scan", since=9, reference=scan, gradient=_UNROLLED, infer=data_dependent("what its body gives"))
