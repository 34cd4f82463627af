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
from toolkit.operators.standard.control_flow import nothing_stacked

SCAN_WITHOUT_BATCHES = 9  # the version from which Scan leaves batches to its body
MOST_LEAVES = 512  # that inference unrolls; longer loops are executed body by body, which costs a little per iteration
MOST_LEAVES_TRAINING = 200_000
BindBody = Callable[[Graph, Sequence[Item | None], int], list[Item]]  # (body, its inputs, iteration) -> its outputs


def size(body: Graph) -> int:
    """How many leaves one iteration has."""
    return max(1, sum(1 for _ in body.walk()))


def unroll_scan(
    program: Program, leaf: Leaf, inputs: Sequence[Item | None], layer: str, bind_body: BindBody
) -> list[Item] | None:
    """The outputs of Scan, ``None`` where its inputs are not known well enough."""
    if leaf.version < SCAN_WITHOUT_BATCHES:
        return _unroll_scan_batches(program, leaf, inputs, layer, bind_body)
    body, count = leaf.attributes["body"], int(leaf.attributes["num_scan_inputs"])
    first = len(inputs) - count
    sequences = [item for item in inputs[first:] if isinstance(item, Variable)]
    if len(sequences) < count:
        return None
    axes, directions = leaf.attributes.get("scan_input_axes", ()), leaf.attributes.get("scan_input_directions", ())
    slices = [
        _slices(program, item, _pick(axes, index), _pick(directions, index), layer)
        for index, item in enumerate(sequences)
    ]
    if len({len(item) for item in slices}) != 1:
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
    for index in range(len(body.outputs) - first):
        column = [row[index] for row in rows]
        ordered = column[::-1] if _pick(out_turned, index) else column
        joined = _stacked(program, ordered, body, first + index, _pick(out_axes, index), layer)
        if joined is None:
            return None
        stacked.append(joined)
    return [*(item for item in state if item is not None), *stacked]


def _unroll_scan_batches(
    program: Program, leaf: Leaf, inputs: Sequence[Item | None], layer: str, bind_body: BindBody
) -> list[Item] | None:
    """The outputs of Scan of version 8: every item of the batch alone, as far as its sequence is long."""
    body, count = leaf.attributes["body"], int(leaf.attributes["num_scan_inputs"])
    given = [item for item in inputs[1:] if isinstance(item, Variable)]
    lengths = inputs[0].constant if isinstance(inputs[0], Variable) else None
    if len(given) < len(inputs) - 1 or (inputs[0] is not None and lengths is None):
        return None
    first, directions = len(given) - count, leaf.attributes.get("directions", ())
    longest = given[first].shape[1]
    results: list[list[Item]] = []
    iteration = 0  # bodies are counted through all items
    for number, parts in enumerate(zip(*(_slices(program, item, 0, 0, layer) for item in given), strict=True)):
        size = longest if lengths is None else int(lengths.reshape(-1)[number])
        slices = [_slices(program, item, 0, 0, layer)[:size] for item in parts[first:]]
        turned = [item[::-1] if _pick(directions, index) else item for index, item in enumerate(slices)]
        state: list[Item | None] = list(parts[:first])
        rows: list[list[Item]] = []
        for taken in zip(*turned, strict=True):
            made = bind_body(body, [*state, *taken], iteration)
            state, iteration = list(made[:first]), iteration + 1
            rows.append(made[first:])
        columns = [[row[index] for row in rows] for index in range(len(body.outputs) - first)]
        stacked = [_stacked(program, item, body, first + index, 0, layer) for index, item in enumerate(columns)]
        padded = [None if item is None else _padded(program, item, longest, layer) for item in stacked]
        results.append([item for item in (*state, *padded) if item is not None])
    if not results or {len(item) for item in results} != {len(body.outputs)}:
        return None
    joined = [stack(program, column, 0, layer) for column in zip(*results, strict=True)]
    found: list[Item] = [item for item in joined if item is not None]
    return found if len(found) == len(joined) else None


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

    ``None`` where neither a constant nor the run tells when it ends, or it is too long.
    """
    body = leaf.attributes["body"]
    going = inputs[1] if len(inputs) > 1 else None
    limit = _known_count(inputs[0]) if times is None else times
    if times is None:
        goes_on = _truth(going)
        if goes_on is None:
            return None
        limit = limit if goes_on else 0
    if limit is None or limit > most:
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
    first = 1 + len(state)
    columns = [[row[index] for row in rows] for index in range(len(body.outputs) - first)]
    stacked = [_stacked(program, column, body, first + index, 0, layer) for index, column in enumerate(columns)]
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


def _stacked(
    program: Program, items: Sequence[Item], body: Graph, output: int, axis: int, layer: str
) -> Variable | None:
    """What an output of ``body`` gave in each iteration, stacked; without any, what its declaration tells."""
    if items:
        return stack(program, items, axis, layer)
    return constant(program, np.moveaxis(nothing_stacked(body, output), 0, axis))


def _padded(program: Program, x: Variable, longest: int, layer: str) -> Variable:
    """Zeros behind the last of fewer than ``longest`` slices."""
    missing = longest - x.shape[0]
    if not missing:
        return x
    pads = np.zeros((2, len(x.shape)), np.int64)
    pads[1, 0] = missing
    return append(program, "Pad", [x, constant(program, pads.reshape(-1))], {}, layer)[0]


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
