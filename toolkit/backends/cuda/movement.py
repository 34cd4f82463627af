"""Tensors moved and not changed: Transpose, Concat, Split, Slice, Pad, Expand, Tile, depth and space, and views.

All are copies between strides, in units as large as the strides allow. Where rows become columns, tiles go through
shared memory. Refused: bounds that are not known beforehand.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from toolkit.backends.cuda.coordinates import LARGEST_PACK, coordinates
from toolkit.backends.cuda.gathering import gather
from toolkit.backends.cuda.launch import Input, Launch, Output, SourceKernel, in_one_row
from toolkit.backends.cuda.layouts import like, on_device, strides
from toolkit.backends.cuda.registry import kernel
from toolkit.backends.cuda.source import ELEMENT_TYPES, LARGEST_32_BIT, Function, index_type
from toolkit.backends.iteration import broadcast_strides, iterate, row_major
from toolkit.backends.protocol import Kernel, Layout, Resources, Step
from toolkit.compiler.known import known_slices
from toolkit.compiler.program import Node
from toolkit.operators.standard.interpolation import Taps
from toolkit.operators.standard.slicing import pad_widths, padded

Shape = tuple[int, ...]
UNITS = {1: "uint8", 2: "uint16", 4: "uint32", 8: "uint64", 16: "Pack<uint64, 2>"}
VIEWS = ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity")


def moves(node: Node) -> bool:
    """Whether elements are of whole bytes that a kernel can move, and all further inputs are known."""
    known = all(item is None or item.constant is not None for item in node.inputs[1:])
    return known and node.x.dtype != object and node.x.dtype.itemsize in UNITS


def copy(
    name: str,
    itemsize: int,
    sizes: Sequence[int],
    source: tuple[Input, Sequence[int], int],
    target: tuple[Output, Sequence[int], int],
) -> Launch:
    """Elements moved; source and target are the tensor, its strides in elements, and where the first one lies."""
    (given, steps_in, first_in), (made, steps_out, first_out) = source, target
    iteration = iterate(sizes, [steps_in, steps_out])
    inner, axes = list(iteration.sizes), [list(item) for item in iteration.strides]
    unit = itemsize
    starts = [first_in, first_out]
    while unit * 2 <= LARGEST_PACK and _doubles(inner, axes, starts):
        unit *= 2
        inner[-1] //= 2
        axes = [[step // 2 for step in own[:-1]] + [1] for own in axes]
        starts = [first // 2 for first in starts]
    count = math.prod(inner)
    if not _is_turn(inner, axes):
        index = index_type(max(count, 1))
        lines, names = coordinates("at", [max(size, 1) for size in inner], index)
        places = [_place(own, first, names) for own, first in zip(axes, starts, strict=True)]
        body = [f"const {index} at = ({index})blockIdx.x * {256}u + threadIdx.x;", f"if (at >= {count}u) return;"]
        body += [*lines, f"y[{places[1]}] = x[{places[0]}];"]
        parameters = (f"const {UNITS[unit]}* x", f"{UNITS[unit]}* y")
        return in_one_row(Function(name, parameters, "\n    ".join(["", *body])), count, (given, made))
    return _turn(name, unit, inner, axes, starts, (given, made))


def _doubles(sizes: Sequence[int], axes: Sequence[Sequence[int]], starts: Sequence[int]) -> bool:
    """Whether neighbours can be moved in pairs."""
    apart = all(own[-1] == 1 and all(step % 2 == 0 for step in own[:-1]) for own in axes)
    return apart and sizes[-1] % 2 == 0 and all(first % 2 == 0 for first in starts)


def _place(steps: Sequence[int], first: int, names: Sequence[str]) -> str:
    terms = [f"(int64){name} * {step}" for step, name in zip(steps, names, strict=True) if step]
    return " + ".join([*terms, str(first)])


def _is_turn(sizes: Sequence[int], axes: Sequence[Sequence[int]]) -> bool:
    """Whether the result is dense along another axis than the source, both of them long."""
    given, made = axes
    if len(sizes) < 2 or made[-1] != 1 or given[-1] == 1 or 1 not in given:
        return False
    return sizes[-1] >= 8 and sizes[list(given).index(1)] >= 8 and min(*given, *made) >= 0


def _turn(
    name: str,
    unit: int,
    sizes: Sequence[int],
    axes: Sequence[Sequence[int]],
    starts: Sequence[int],
    arguments: tuple[Input, Output],
) -> Launch:
    across, down = len(sizes) - 1, list(axes[0]).index(1)
    rest = [axis for axis in range(len(sizes)) if axis not in (across, down)]
    lines, names = coordinates("at", [sizes[axis] for axis in rest] or [1], "uint64")
    parts = []
    for part, own, first in zip(("source", "target"), axes, starts, strict=True):
        place = _place([own[axis] for axis in rest] or [0], first, names)
        parts.append(f"    static uint64 {part}(uint64 at) {{ {' '.join(lines)} return {place}; }}")
    numbers = f"{sizes[across]}u, {sizes[down]}u, {axes[0][across]}ull, {axes[1][down]}ull"
    kind = UNITS[unit]
    function = Function(
        name,
        (f"const {kind}* x", f"{kind}* y"),
        f"    movement::turn<At>(x, y, {numbers});",
        ("movement",),
        "\n".join(["struct At {", *parts, "};"]),
    )
    tiles = math.prod(-(-sizes[axis] // 32) for axis in (across, down)) * math.prod(sizes[axis] for axis in rest)
    return Launch(function, (tiles, 1, 1), (32, 8, 1), arguments)


def _kernel(node: Node, launches: Sequence[Launch], layout: Layout, resources: Resources) -> SourceKernel:
    """A kernel that reads its first input only."""
    rest: list[Layout | None] = [None] * (len(node.inputs) - 1)
    outputs = [None if item is None else on_device(item.dtype, item.shape) for item in node.outputs]
    return SourceKernel("copy", launches, [layout, *rest], outputs, resources)


def _turned(
    node: Node, layout: Layout, sizes: Sequence[int], steps: Sequence[int], resources: Resources, first: int = 0
) -> SourceKernel:
    """A kernel whose result is what lies at the strides of the input, in row-major order."""
    source, target = (Input(0), steps, first), (Output(0), row_major(sizes), 0)
    return _kernel(node, [copy(node.op_type, node.x.dtype.itemsize, sizes, source, target)], layout, resources)


def _layout(inputs: Sequence[Layout | None]) -> Layout:
    assert inputs[0] is not None
    return inputs[0]


@kernel("", "Transpose", accepts=moves)
def lower_transpose(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    layout = _layout(inputs)
    order = [int(axis) for axis in node.attributes.get("perm") or range(len(layout.shape))[::-1]]
    steps = strides(layout)
    return _turned(node, layout, node.y.shape, [steps[axis] for axis in order], resources)


@kernel("", "DepthToSpace", "SpaceToDepth", accepts=moves)
def lower_depth_and_space(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """Six axes in another order; the shape that the blocks have is that of the operator's definition."""
    layout, size = _layout(inputs), int(node.attributes["blocksize"])
    batch, depth, height, width = layout.shape
    is_crd = node.attributes.get("mode", "DCR") == "CRD"
    own = strides(layout)
    if node.op_type == "DepthToSpace":
        inner = depth // size**2
        apart = [batch, inner, size, size, height, width] if is_crd else [batch, size, size, inner, height, width]
        order = [0, 1, 4, 2, 5, 3] if is_crd else [0, 3, 4, 1, 5, 2]
        channel = own[1]
        middle = [channel * size**2, channel * size, channel]
        if not is_crd:
            middle = [channel * inner * size, channel * inner, channel]
        steps = [own[0], *middle, own[2], own[3]]
    else:
        apart = [batch, depth, height // size, size, width // size, size]
        order = [0, 1, 3, 5, 2, 4] if is_crd else [0, 3, 5, 1, 2, 4]
        steps = [own[0], own[1], own[2] * size, own[2], own[3] * size, own[3]]
    return _turned(node, layout, [apart[axis] for axis in order], [steps[axis] for axis in order], resources)


@kernel("", "Expand", accepts=moves)
def lower_expand(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    layout = on_device(node.x.dtype, node.x.shape)
    return _turned(node, layout, node.y.shape, broadcast_strides(layout.shape, len(node.y.shape)), resources)


@kernel("", "Tile", accepts=lambda node: moves(node) and node.version >= 6)
def lower_tile(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    layout = _layout(inputs)
    repeats = [total // size if size else 1 for total, size in zip(node.y.shape, layout.shape, strict=True)]
    if node.y.size == 0:
        return _kernel(node, [], layout, resources)
    sizes = [item for pair in zip(repeats, layout.shape, strict=True) for item in pair]
    steps = [item for step in strides(layout) for item in (0, step)]
    return _turned(node, layout, sizes, steps, resources)


@kernel("", "Slice", accepts=moves)
def lower_slice(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    layout = _layout(inputs)
    parts = known_slices(node)
    assert parts is not None, "what data cuts is executed between the segments"
    begins = [part.indices(size) for part, size in zip(parts, layout.shape, strict=True)]
    own = strides(layout)
    first = sum(begin * step for (begin, _, _), step in zip(begins, own, strict=True))
    steps = [step * stride for (_, _, stride), step in zip(begins, own, strict=True)]
    return _turned(node, layout, node.y.shape, steps, resources, first)


@kernel("", "Concat", accepts=lambda node: node.x.dtype != object and node.x.dtype.itemsize in UNITS)
def lower_concat(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    shape = node.y.shape
    axis, own, first, launches = int(node.attributes.get("axis", 1)) % len(shape), row_major(shape), 0, []
    given = [item for item in inputs if item is not None]
    for index, layout in enumerate(given):
        target = (Output(0), own, first)
        source = (Input(index), strides(layout), 0)
        launches.append(copy("Concat", layout.dtype.itemsize, layout.shape, source, target))
        first += layout.shape[axis] * own[axis]
    return SourceKernel("copy", launches, given, [on_device(node.y.dtype, shape)], resources)


@kernel("", "Split", accepts=lambda node: moves(node) and None not in node.outputs)
def lower_split(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    layout = _layout(inputs)
    axis, own, first, launches = int(node.attributes.get("axis", 0)) % len(layout.shape), strides(layout), 0, []
    for index, item in enumerate(node.outputs):
        assert item is not None
        source, target = (Input(0), own, first), (Output(index), row_major(item.shape), 0)
        launches.append(copy("Split", layout.dtype.itemsize, item.shape, source, target))
        first += item.shape[axis] * own[axis]
    return _kernel(node, launches, layout, resources)


def _pads_by_constant(node: Node) -> bool:
    return moves(node) and node.attributes.get("mode", "constant") == "constant" and node.x.dtype.itemsize <= 8


@kernel("", "Pad", accepts=_pads_by_constant)
@kernel("com.microsoft", "Pad", accepts=_pads_by_constant)
def lower_pad(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """The result is filled, then the source copied into it; negative pads leave its edges out."""
    layout, shape = _layout(inputs), node.y.shape
    given = [None if item is None else item.constant for item in (*node.inputs[1:], None, None, None)]
    pads = given[0] if given[0] is not None else node.attributes.get("pads", node.attributes.get("paddings"))
    widths = pad_widths(len(layout.shape), pads, given[2])
    value = node.attributes.get("value", 0.0) if given[1] is None else given[1].reshape(())
    kind = UNITS[layout.dtype.itemsize]
    with np.errstate(over="ignore", invalid="ignore"):
        bits = int.from_bytes(np.asarray(value).astype(layout.dtype).tobytes(), "little")
    body = f"    sweep::fill(y, ({kind}){bits}ull, {node.y.size}ull);"
    filling = Function("fill", (f"{kind}* y",), body, ("reduction", "sweep"))
    launches = [in_one_row(filling, node.y.size, (Output(0),))]
    sizes = [size - max(0, -low) - max(0, -high) for size, (low, high) in zip(layout.shape, widths, strict=True)]
    if min(sizes, default=1) > 0:
        own, made = strides(layout), row_major(shape)
        first_in = sum(max(0, -low) * step for (low, _), step in zip(widths, own, strict=True))
        first_out = sum(max(0, low) * step for (low, _), step in zip(widths, made, strict=True))
        source, target = (Input(0), own, first_in), (Output(0), made, first_out)
        launches.append(copy("Pad", layout.dtype.itemsize, sizes, source, target))
    return _kernel(node, launches, layout, resources)


def _pads_by_copies(node: Node) -> bool:
    is_small = 0 < node.x.size <= LARGEST_32_BIT and 0 < node.y.size <= LARGEST_32_BIT
    return moves(node) and node.x.dtype in ELEMENT_TYPES and is_small and not _pads_by_constant(node)


@kernel("", "Pad", accepts=_pads_by_copies)
@kernel("com.microsoft", "Pad", accepts=_pads_by_copies)
def lower_pad_by_copies(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """Edges, reflections and turns around the corner are known for each axis by itself: which place is copied where."""
    layout, mode = _layout(inputs), node.attributes["mode"]
    given = [None if item is None else item.constant for item in (*node.inputs[1:], None, None, None)]
    pads = given[0] if given[0] is not None else node.attributes.get("pads", node.attributes.get("paddings"))
    steps = [
        (axis, Taps(padded(np.arange(size), pair, mode=mode)[:, None], None))
        for axis, (size, pair) in enumerate(
            zip(layout.shape, pad_widths(len(layout.shape), pads, given[2]), strict=True)
        )
        if pair != (0, 0)
    ]
    made = like(layout, node.y.dtype, node.y.shape)
    rest: list[Layout | None] = [None] * (len(node.inputs) - 1)
    return SourceKernel("copy", [gather("Pad", layout, made, steps)], [layout, *rest], [made], resources)


class View(Kernel):
    """The bytes of the input under another shape."""

    name = "view"
    aliases = ((0, 0),)
    is_free = True

    def __init__(self, node: Node) -> None:
        self.inputs = [on_device(node.x.dtype, node.x.shape), *[None] * (len(node.inputs) - 1)]
        self.outputs = [on_device(node.y.dtype, node.y.shape)]

    def bind(self, inputs: Sequence[object], outputs: Sequence[object], workspace: object) -> Step:
        return _nothing


def _nothing() -> None:
    """The step of a kernel that has none."""


@kernel("", *VIEWS, accepts=lambda node: node.x.dtype != object)
def lower_view(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    return View(node)
