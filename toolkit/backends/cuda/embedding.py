"""Gather and Scatter in their forms, the gradient of Gather, OneHot, Trilu, and running totals.

Results do not depend on which thread comes first: sums are taken in the order of the indices, so a step repeats bit by
bit. Refused: scatters that combine so many values in one place that one thread after the other would be slow.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from toolkit.backends.cuda.coordinates import coordinates, offset
from toolkit.backends.cuda.launch import Argument, Input, Launch, Output, Scratch, SourceKernel, in_one_row
from toolkit.backends.cuda.layouts import on_device
from toolkit.backends.cuda.movement import UNITS, copy
from toolkit.backends.cuda.registry import kernel
from toolkit.backends.cuda.source import FLOAT_TYPES, NUMBER_TYPES, Function, type_name, wide_name
from toolkit.backends.iteration import row_major
from toolkit.backends.protocol import Kernel, Layout, Resources
from toolkit.compiler.program import Node
from toolkit.operators.axes import normalised
from toolkit.operators.expression import TOOLKIT_DOMAIN

INDICES = frozenset(map(np.dtype, ("int32", "int64")))
APPLIED = {"none": "Set", "add": "Added", "mul": "Multiplied", "max": "Raised", "min": "Lowered"}
LONGEST_LINE = 1 << 12  # updates that one thread applies
FEW_ROWS = 16  # of a table, up to which every thread looks at all indices
MOST_INDICES = 1 << 17  # beyond which linking equal ones takes too long
HEADERS = ("reduction", "sweep", "indexing")


def _index(node: Node) -> np.dtype | None:
    found = node.inputs[1] if len(node.inputs) > 1 else None
    return None if found is None else found.dtype


def _gathers(node: Node) -> bool:
    is_there = node.y.size == 0 or node.x.size > 0
    return is_there and node.x.dtype != object and node.x.dtype.itemsize in UNITS and _index(node) in INDICES


def _plain(node: Node, launches: Sequence[Launch], resources: Resources, workspace: int = 0) -> SourceKernel:
    """A kernel whose every tensor lies in row-major order."""
    given, made = (
        [None if item is None else on_device(item.dtype, item.shape) for item in items]
        for items in (node.inputs, node.outputs)
    )
    return SourceKernel("kernel", launches, given, made, resources, workspace=workspace)


def _rows(
    name: str, parameters: Sequence[str], call: str, items: int, arguments: Sequence[Argument], before: str = ""
) -> Launch:
    """One thread for each item, on a template of ``kernels/indexing.h``."""
    return in_one_row(Function(name, tuple(parameters), f"    indexing::{call};", HEADERS, before), items, arguments)


def _types(node: Node) -> tuple[str, str]:
    """The unit that elements are moved in, and the type of the indices."""
    index = _index(node)
    assert index is not None
    return UNITS[node.x.dtype.itemsize], type_name(index)


@kernel("", "Gather", accepts=_gathers)
@kernel("ai.onnx.ml", "ArrayFeatureExtractor", accepts=_gathers)
def lower_gather(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    axis = int(node.attributes.get("axis", 0 if node.op_type == "Gather" else -1)) % len(node.x.shape)
    index, unit, size = node.inputs[1], node.x.dtype.itemsize, node.x.shape[axis]
    assert index is not None
    inner, count = math.prod(node.x.shape[axis + 1 :]), node.y.size
    while unit * 2 <= 16 and inner % 2 == 0:
        unit, inner, count = unit * 2, inner // 2, count // 2
    kind = UNITS[unit]
    numbers = f"{max(index.size, 1)}ull, {max(inner, 1)}ull, {size}ull, {count}ull"
    parameters = (f"const {kind}* x", f"const {type_name(index.dtype)}* index", f"{kind}* y")
    launch = _rows("Gather", parameters, f"gather(x, index, y, {numbers})", count, (Input(0), Input(1), Output(0)))
    return _plain(node, [launch], resources)


def _line(sizes: Sequence[int], steps: Sequence[int], axis: int, leave_out: bool) -> str:
    """The C structure that tells where the line along ``axis`` begins that a position of ``sizes`` lies in."""
    kept = [number for number in range(len(sizes)) if number != axis or not leave_out]
    lines, names = coordinates("at", [max(sizes[number], 1) for number in kept] or [1], "uint64")
    place = offset([0 if number == axis else steps[number] for number in kept] or [0], names)
    return f"struct At {{\n    static uint64 line(uint64 at) {{ {' '.join(lines)} return {place}; }}\n}};"


@kernel("", "GatherElements", accepts=_gathers)
def lower_gather_elements(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    unit, kind = _types(node)
    axis, steps = int(node.attributes.get("axis", 0)) % len(node.x.shape), row_major(node.x.shape)
    numbers = f"{node.x.shape[axis]}ull, {steps[axis]}ull, {node.y.size}ull"
    parameters = (f"const {unit}* x", f"const {kind}* index", f"{unit}* y")
    at, arguments = _line(node.y.shape, steps, axis, False), (Input(0), Input(1), Output(0))
    call = f"gather_elements<At>(x, index, y, {numbers})"
    return _plain(node, [_rows("GatherElements", parameters, call, node.y.size, arguments, at)], resources)


def _scatters(node: Node) -> bool:
    index, reduction = node.inputs[1], node.attributes.get("reduction", "none")
    if index is None or not _gathers(node) or (reduction != "none" and node.x.dtype not in NUMBER_TYPES):
        return False
    if node.op_type == "ScatterND":
        return reduction == "none" or math.prod(index.shape[:-1]) <= LONGEST_LINE
    return len(index.shape) > 0 and index.shape[int(node.attributes.get("axis", 0))] <= LONGEST_LINE


def _applied(node: Node) -> tuple[str, str]:
    """How an update is combined with what is there, and the type that it is."""
    reduction = node.attributes.get("reduction", "none")
    dtype = node.x.dtype
    return f"indexing::{APPLIED[reduction]}", UNITS[dtype.itemsize] if reduction == "none" else type_name(dtype)


def _whole_copy(node: Node) -> Launch:
    shape = node.x.shape
    return copy(
        node.op_type, node.x.dtype.itemsize, shape, (Input(0), row_major(shape), 0), (Output(0), row_major(shape), 0)
    )


@kernel("", "Scatter", "ScatterElements", accepts=_scatters)
def lower_scatter_elements(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """A copy, then every line along the axis by a thread of its own."""
    index = node.inputs[1]
    assert index is not None
    apply, unit = _applied(node)
    axis, steps = int(node.attributes.get("axis", 0)) % len(node.x.shape), row_major(node.x.shape)
    length, between = index.shape[axis], math.prod(index.shape[axis + 1 :])
    lines = index.size // length if length else 0
    numbers = f"{node.x.shape[axis]}ull, {steps[axis]}ull, {length}ull, {between}ull, {lines}ull"
    parameters = (f"{unit}* y", f"const {type_name(index.dtype)}* index", f"const {unit}* updates")
    call = f"scatter_elements<At, {apply}>(y, index, updates, {numbers})"
    at = _line(index.shape, steps, axis, True)
    launch = _rows("ScatterElements", parameters, call, lines, (Output(0), Input(1), Input(2)), at)
    return _plain(node, [_whole_copy(node), launch], resources)


def _tuple(shape: Sequence[int], batch_sizes: Sequence[int], width: int) -> str:
    """The C structure that tells where the slice begins that a tuple of indices names, behind axes of a batch."""
    index_sizes = list(batch_sizes)
    batch, steps = len(index_sizes), row_major(shape)
    terms = [
        f"within(index[tuple * {width} + {number}], {shape[batch + number]}ull) * {steps[batch + number]}ull"
        for number in range(width)
    ]
    lead = ""
    if batch:
        tuples = "per_batch"
        lines, names = coordinates(f"tuple / {tuples}", [max(size, 1) for size in index_sizes], "uint64")
        terms.append(offset(steps[:batch], names))
        lead = " ".join(lines)
    head = "template <class I> static uint64 place(const I* index, uint64 tuple)"
    return f"struct At {{\n    {head} {{ using indexing::within; {lead} return {' + '.join(terms) or '0'}; }}\n}};"


@kernel("", "GatherND", accepts=_gathers)
def lower_gather_tuples(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    index, batch = node.inputs[1], int(node.attributes.get("batch_dims", 0))
    assert index is not None
    unit, kind = _types(node)
    width, shape = index.shape[-1], node.x.shape
    inner = max(math.prod(shape[batch + width :]), 1)
    per_batch = max(math.prod(index.shape[batch:-1]), 1)
    at = _tuple(shape, index.shape[:batch], width).replace("per_batch", f"{per_batch}ull")
    parameters = (f"const {unit}* x", f"const {kind}* index", f"{unit}* y")
    call = f"gather_tuples<At>(x, index, y, {inner}ull, {node.y.size}ull)"
    return _plain(
        node, [_rows("GatherND", parameters, call, node.y.size, (Input(0), Input(1), Output(0)), at)], resources
    )


@kernel("", "ScatterND", accepts=_scatters)
def lower_scatter_tuples(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """A copy, then every update by a thread; where they are combined, one after the other for each place of a slice."""
    index = node.inputs[1]
    assert index is not None
    apply, unit = _applied(node)
    width, tuples = index.shape[-1], math.prod(index.shape[:-1])
    inner = max(math.prod(node.x.shape[width:]), 1)
    parameters = (f"{unit}* y", f"const {type_name(index.dtype)}* index", f"const {unit}* updates")
    arguments = (Output(0), Input(1), Input(2))
    if apply == "indexing::Set":
        call, items = f"scatter_tuples<At>(y, index, updates, {inner}ull, {tuples * inner}ull)", tuples * inner
    else:
        call = f"scatter_tuples_in_order<At, {apply}>(y, index, updates, {inner}ull, {tuples}ull)"
        items = inner if tuples else 0
    launch = _rows("ScatterND", parameters, call, items, arguments, _tuple(node.x.shape, (), width))
    return _plain(node, [_whole_copy(node), launch], resources)


def _sums_rows(node: Node) -> bool:
    index = node.inputs[1]
    size = int(node.attributes["size"])
    return (
        node.x.dtype in FLOAT_TYPES
        and index is not None
        and index.dtype in INDICES
        and (index.size <= MOST_INDICES or size <= FEW_ROWS)
    )


@kernel(TOOLKIT_DOMAIN, "GatherGradient", accepts=_sums_rows)
def lower_gather_gradient(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """Rows of equal indices added up in order: the gradient of an embedding."""
    index, size = node.inputs[1], int(node.attributes["size"])
    assert index is not None
    unit, kind, count = type_name(node.x.dtype), type_name(index.dtype), index.size
    inner = node.y.size // max(size, 1)
    if size <= FEW_ROWS and count and inner:
        function = Function(
            "GatherGradient",
            (f"const {unit}* g", f"const {kind}* index", f"{unit}* y"),
            f"    indexing::add_matching(g, index, y, {size}ull, {inner}ull, {count}ull);",
            HEADERS,
        )
        launch = Launch(function, (-(-inner // 32), size, 1), (32, 8, 1), (Input(0), Input(1), Output(0)))
        return _plain(node, [launch], resources)
    stored = UNITS[node.x.dtype.itemsize]
    launches = [_filling(stored, node.y.size, Output(0))]
    if count and inner:
        launches += _chains(unit, kind, count, inner, size)
    return _plain(node, launches, resources, workspace=8 * count)


def _filling(kind: str, count: int, target: Argument) -> Launch:
    function = Function("clear", (f"{kind}* y", "uint64 count"), f"    sweep::fill(y, ({kind})0, count);", HEADERS)
    return in_one_row(function, count, (target, np.uint64(count)))


def _chains(unit: str, kind: str, count: int, inner: int, size: int) -> list[Launch]:
    following, preceded = Scratch(0), Scratch(4 * count)
    link = Function(
        "link",
        (f"const {kind}* index", "uint32* next", "uint32* has_before"),
        f"    indexing::link(index, next, has_before, {size}ull, {count}u);",
        HEADERS,
    )
    add = Function(
        "GatherGradient",
        (f"const {unit}* g", f"const {kind}* index", "const uint32* next", "const uint32* has_before", f"{unit}* y"),
        f"    indexing::add_chains(g, index, next, has_before, y, {size}ull, {inner}ull);",
        HEADERS,
    )
    threads = 128
    return [
        _filling("uint32", count, preceded),
        in_one_row(link, count, (Input(1), following, preceded)),
        Launch(
            add,
            (count, min(-(-inner // threads), 8), 1),
            (threads, 1, 1),
            (Input(0), Input(1), following, preceded, Output(0)),
        ),
    ]


def _is_hot(node: Node) -> bool:
    index, depth, values = node.inputs
    assert index is not None and depth is not None and values is not None
    return index.dtype in NUMBER_TYPES and depth.constant is not None and values.dtype.itemsize in UNITS


@kernel("", "OneHot", accepts=_is_hot)
def lower_one_hot(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    values = node.inputs[2]
    assert values is not None
    axis, unit = int(node.attributes.get("axis", -1)) % len(node.y.shape), UNITS[values.dtype.itemsize]
    depth, inner = node.y.shape[axis], math.prod(node.y.shape[axis + 1 :])
    parameters = (f"const {type_name(node.x.dtype)}* index", f"const {unit}* values", f"{unit}* y")
    call = f"one_hot(index, values, y, {depth}ull, {max(inner, 1)}ull, {node.y.size}ull)"
    launch = _rows("OneHot", parameters, call, node.y.size, (Input(0), Input(2), Output(0)))
    given = [on_device(node.x.dtype, node.x.shape), None, on_device(values.dtype, values.shape)]
    return SourceKernel("kernel", [launch], given, [on_device(values.dtype, node.y.shape)], resources)


def _has_diagonal(node: Node) -> bool:
    offset_of = node.inputs[1] if len(node.inputs) > 1 else None
    return (
        node.x.dtype != object and node.x.dtype.itemsize <= 8 and (offset_of is None or offset_of.constant is not None)
    )


@kernel("", "Trilu", accepts=_has_diagonal)
def lower_triangle(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    unit, given = UNITS[node.x.dtype.itemsize], node.inputs[1] if len(node.inputs) > 1 else None
    diagonal = 0 if given is None or given.constant is None else int(given.constant.reshape(-1)[0])
    diagonal = max(min(diagonal, 1 << 40), -(1 << 40))
    rows, columns = (max(size, 1) for size in node.x.shape[-2:])
    upper = "true" if node.attributes.get("upper", 1) else "false"
    numbers = f"{rows}ull, {columns}ull, {diagonal}ll, {upper}, {node.y.size}ull"
    parameters = (f"const {unit}* x", f"{unit}* y")
    launch = _rows("Trilu", parameters, f"triangle(x, y, {numbers})", node.y.size, (Input(0), Output(0)))
    laid = on_device(node.x.dtype, node.x.shape)
    return SourceKernel("kernel", [launch], [laid, *[None] * (len(inputs) - 1)], [laid], resources)


def _runs(node: Node) -> bool:
    axis = node.inputs[1]
    if axis is None or axis.constant is None or node.x.dtype not in NUMBER_TYPES:
        return False
    (along,) = normalised(axis.constant.reshape(-1)[:1], len(node.x.shape))
    return node.x.shape[along] <= LONGEST_LINE


@kernel("", "CumSum", "CumProd", accepts=_runs)
def lower_running_total(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    axis, shape, dtype = node.inputs[1], node.x.shape, node.x.dtype
    assert axis is not None and axis.constant is not None
    (along,) = normalised(axis.constant.reshape(-1)[:1], len(shape))
    step, length = math.prod(shape[along + 1 :]), shape[along]
    total = f"reduction::{'Sum' if node.op_type == 'CumSum' else 'Product'}<{wide_name(dtype)}>"
    flags = ", ".join("true" if node.attributes.get(name, 0) else "false" for name in ("exclusive", "reverse"))
    lines = node.x.size // max(length, 1)
    call = f"run_along<{total}, {type_name(dtype)}, {flags}>(x, y, {length}ull, {max(step, 1)}ull, {lines}ull)"
    parameters = (f"const {type_name(dtype)}* x", f"{type_name(dtype)}* y")
    launch = _rows(node.op_type, parameters, call, lines, (Input(0), Output(0)))
    laid = on_device(dtype, shape)
    return SourceKernel("kernel", [launch], [laid, None], [laid], resources)
