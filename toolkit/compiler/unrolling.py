"""Unrolling: loops whose number of iterations is known while a graph is bound become their iterations.

The layers of an unrolled body are compiled, and differentiated, like any others. Scan always knows how long its
sequences are; Loop knows when its trip count is constant and its condition stays so. Where nothing but the data of a
run tells (``decisions``), the iterations are those of that run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from toolkit.compiler.plumbing import append, constant
from toolkit.compiler.program import Program, Variable
from toolkit.compiler.segment import Item, Several
from toolkit.graph.layer import Graph, Leaf

MOST_LEAVES = 512  # that inference unrolls; longer loops are executed body by body, which costs a little per iteration
MOST_LEAVES_TRAINING = 200_000
BindBody = Callable[[Graph, Sequence[Item | None], int], list[Item]]  # (body, its inputs, iteration) -> its outputs


def size(body: Graph) -> int:
    """How many leaves one iteration has."""
    return max(1, sum(1 for _ in body.walk()))


def unroll_scan(
    program: Program, leaf: Leaf, inputs: Sequence[Item | None], layer: str, bind_body: BindBody
) -> list[Item] | None:
    """The outputs of Scan (version 9 and later), ``None`` where its inputs are not known well enough."""
    body, count = leaf.attributes["body"], int(leaf.attributes["num_scan_inputs"])
    first = len(inputs) - count
    sequences = [item for item in inputs[first:] if isinstance(item, Variable)]
    if len(sequences) < count or leaf.version < 9:
        return None
    axes, directions = leaf.attributes.get("scan_input_axes", ()), leaf.attributes.get("scan_input_directions", ())
    slices = [
        _slices(program, item, _pick(axes, index), _pick(directions, index), layer)
        for index, item in enumerate(sequences)
    ]
    if len({len(item) for item in slices}) != 1 or not slices[0]:
        return None
    state: list[Item | None] = list(inputs[:first])
    rows: list[list[Item]] = []
    for iteration, taken in enumerate(zip(*slices, strict=True)):
        made = bind_body(body, [*state, *taken], iteration)
        state = list(made[:first])
        rows.append(made[first:])
    out_axes, out_turned = (
        leaf.attributes.get("scan_output_axes", ()),
        leaf.attributes.get("scan_output_directions", ()),
    )
    stacked = []
    for index, column in enumerate(zip(*rows, strict=True)):
        ordered = column[::-1] if _pick(out_turned, index) else column
        joined = stack(program, ordered, _pick(out_axes, index), layer)
        if joined is None:
            return None
        stacked.append(joined)
    return [*(item for item in state if item is not None), *stacked]


def unroll_loop(
    program: Program,
    leaf: Leaf,
    inputs: Sequence[Item | None],
    layer: str,
    bind_body: BindBody,
    times: int | None,
    most: int,
) -> list[Item] | None:
    """The outputs of Loop; ``times`` is how often its body was executed where a run has told, ``most`` a limit.

    ``None`` where neither a constant nor the run tells when it ends, or it is too long, or has no iteration.
    """
    body = leaf.attributes["body"]
    going = inputs[1] if len(inputs) > 1 else None
    limit = _known_count(inputs[0]) if times is None else times
    if times is None and (limit is None or (going is not None and _truth(going) is None)):
        return None
    if limit is None or limit < 1 or limit > most or (times is None and _truth(going) is False):
        return None
    state: list[Item | None] = list(inputs[2:])
    rows: list[list[Item]] = []
    condition: Item = going if going is not None else constant(program, np.asarray(True))
    for iteration in range(limit):
        counter = constant(program, np.asarray(iteration, np.int64))
        condition, *made = bind_body(body, [counter, condition, *state], iteration)
        state = list(made[: len(state)])
        rows.append(made[len(state) :])
        if times is None:
            goes_on = _truth(condition)
            if goes_on is None:
                return None
            if not goes_on:
                break
    stacked = [stack(program, column, 0, layer) for column in zip(*rows, strict=True)]
    if any(item is None for item in stacked):
        return None
    return [item for item in (*state, *stacked) if item is not None]


def unroll_map(
    program: Program, leaf: Leaf, inputs: Sequence[Item | None], layer: str, bind_body: BindBody
) -> list[Item] | None:
    """The outputs of SequenceMap, ``None`` where the length of a sequence is not known."""
    first = inputs[0]
    if not isinstance(first, Several):
        return None
    rows = []
    for index in range(len(first.items)):
        taken = [item.items[index] if isinstance(item, Several) else item for item in inputs]
        rows.append(bind_body(leaf.attributes["body"], taken, index))
    if not rows:
        return [Several(()) for _ in leaf.outputs]
    return [Several(tuple(column)) for column in zip(*rows, strict=True)]


def stack(program: Program, items: Sequence[Item], axis: int, layer: str) -> Variable | None:
    """Tensors of one shape along a new axis; ``None`` unless all are tensors of one shape."""
    tensors = [item for item in items if isinstance(item, Variable)]
    if len(tensors) < len(items) or len({item.shape for item in tensors}) != 1:
        return None
    axes = constant(program, np.asarray([axis], np.int64))
    raised = [append(program, "Unsqueeze", [item, axes], {}, layer)[0] for item in tensors]
    return append(program, "Concat", raised, {"axis": axis}, layer)[0]


def _slices(program: Program, x: Variable, axis: int, backwards: int, layer: str) -> list[Variable]:
    length = x.shape[axis]
    if length == 0:
        return []
    sizes = constant(program, np.ones(length, np.int64))
    parts = append(program, "Split", [x, sizes], {"axis": axis}, layer, length)
    axes = constant(program, np.asarray([axis], np.int64))
    slices = [append(program, "Squeeze", [part, axes], {}, layer)[0] for part in parts]
    return slices[::-1] if backwards else slices


def _known_count(item: Item | None) -> int | None:
    known = item.constant if isinstance(item, Variable) else None
    return None if known is None or known.size != 1 else int(known.reshape(-1)[0])


def _truth(item: Item | None) -> bool | None:
    if item is None:
        return True
    known = item.constant if isinstance(item, Variable) else None
    return None if known is None or known.size != 1 else bool(known.reshape(-1)[0])


def _pick(values: Sequence[int], index: int) -> int:
    return int(values[index]) if len(values) else 0
