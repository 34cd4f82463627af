"""Normalisation of rows by themselves: layers, root mean squares, instances and groups of channels; layers' gradient.

A block works on a row. Statistics are gathered in two passes, the mean first, as the references do. Refused: scales of
another shape than what is normalised.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from toolkit.backends.cuda.launch import NOTHING, Argument, Input, Launch, Output, Scratch, SourceKernel, in_one_row
from toolkit.backends.cuda.layouts import on_device
from toolkit.backends.cuda.registry import kernel
from toolkit.backends.cuda.source import FLOAT_TYPES, Function, literal, type_name, wide_name, wide_type
from toolkit.backends.protocol import Kernel, Layout, Resources
from toolkit.compiler.program import Node
from toolkit.operators.expression import TOOLKIT_DOMAIN

HEADERS = ("reduction", "rows")
OF_ROW = "struct At { static uint64 channel(uint64 row, uint64 at) { return at; } };"
ENOUGH_BLOCKS, ROWS_A_PART = 512, 32


def _width(node: Node, tensor: int = 0) -> int:
    """How many elements a row has that is normalised from ``axis`` on."""
    item = node.inputs[tensor]
    assert item is not None
    axis = int(node.attributes.get("axis", -1)) % max(len(item.shape), 1)
    return math.prod(item.shape[axis:])


def _threads(width: int) -> int:
    threads = 32
    while threads < 512 and threads * 4 < width:
        threads *= 2
    return threads


def _fits(node: Node, tensor: int = 0, scale: int = 1) -> bool:
    """Whether there is a scale, and a bias if any, for each element of a row."""
    item, given = node.inputs[tensor], node.inputs[scale]
    if item is None or given is None or not item.shape or not item.size:
        return False
    axis = int(node.attributes.get("axis", -1)) % len(item.shape)
    others = [other for other in node.inputs[scale:] if other is not None] if scale == 1 else [given]
    return item.dtype in FLOAT_TYPES and all(
        other.shape == item.shape[axis:] and other.dtype in FLOAT_TYPES and other.dtype == given.dtype
        for other in others
    )


def _plain(items: Sequence[object]) -> list[Layout | None]:
    return [None if item is None else on_device(item.dtype, item.shape) for item in items]  # type: ignore[attr-defined]


def _normalising(
    node: Node, width: int, resources: Resources, at: str = OF_ROW, *, is_centred: bool = True
) -> SourceKernel:
    """The kernel of a node whose rows of ``width`` elements lie one behind the other."""
    scale = node.inputs[1]
    assert scale is not None
    threads = _threads(width)
    kind, own = type_name(node.x.dtype), type_name(scale.dtype)
    kept = [item for item in node.outputs[1:] if item is not None]
    stored = type_name(kept[0].dtype) if kept else "float32"
    parameters = (
        f"const {kind}* x",
        f"const {own}* scale",
        f"const {own}* bias",
        f"{kind}* y",
        f"{stored}* mean",
        f"{stored}* inverse",
    )
    epsilon = literal(float(node.attributes.get("epsilon", 1e-5)), wide_type(node.x.dtype))
    centred = "true" if is_centred else "false"
    call = f"rows::normalise<At, {threads}, {centred}>(x, scale, bias, y, mean, inverse, {width}ull, {epsilon});"
    function = Function(node.op_type, parameters, f"    {call}", HEADERS, at)
    bias: Argument = Input(2) if len(node.inputs) > 2 and node.inputs[2] is not None else NOTHING
    statistics = [Output(at) if at < len(node.outputs) and node.outputs[at] is not None else NOTHING for at in (1, 2)]
    arguments = (Input(0), Input(1), bias, Output(0), *statistics)
    launch = Launch(function, (node.x.size // width, 1, 1), (threads, 1, 1), arguments)
    return SourceKernel("rows", [launch], _plain(node.inputs), _plain(node.outputs), resources)


@kernel("", "LayerNormalization", accepts=_fits)
def lower_layer_normalization(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    return _normalising(node, _width(node), resources)


@kernel("", "RMSNormalization", accepts=_fits)
def lower_rms_normalization(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    return _normalising(node, _width(node), resources, is_centred=False)


def _per_channel(node: Node) -> bool:
    items = [item for item in node.inputs if item is not None]
    is_float = all(item.dtype in FLOAT_TYPES for item in items) and len({item.dtype for item in items[1:]}) == 1
    return is_float and len(items) == 3 and len(node.x.shape) >= 2 and node.x.size > 0


@kernel("", "InstanceNormalization", "GroupNormalization", accepts=_per_channel)
def lower_group_normalization(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """A row is a group of channels of one sample; before version 21, scale and bias of groups are one for each."""
    shape, scale = node.x.shape, node.inputs[1]
    assert scale is not None
    groups = int(node.attributes.get("num_groups", shape[1]))
    positions = math.prod(shape[2:])
    per_group = shape[1] // groups
    channel = f"row % {groups}u * {per_group}u + at / {positions}u"
    if scale.shape[0] == groups:
        channel = f"row % {groups}u"
    at = f"struct At {{ static uint64 channel(uint64 row, uint64 at) {{ return {channel}; }} }};"
    return _normalising(node, per_group * positions, resources, at)


@kernel(TOOLKIT_DOMAIN, "LayerNormalizationGradient", accepts=lambda node: _fits(node, 1, 2))
def lower_layer_gradient(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """Rows for the input, columns for scale and bias."""
    x, scale, mean = node.inputs[1], node.inputs[2], node.inputs[3]
    assert x is not None and scale is not None and mean is not None
    width = _width(node, 1)
    height, threads = x.size // width, _threads(width)
    kind, own, kept, wide = type_name(x.dtype), type_name(scale.dtype), type_name(mean.dtype), wide_name(x.dtype)
    given = (f"const {kind}* g", f"const {kind}* x")
    statistics = (f"const {kept}* mean", f"const {kept}* inverse")
    launches: list[Launch] = []
    arguments: tuple[Argument, ...]
    parameters: tuple[str, ...]
    if node.outputs[0] is not None:
        body = f"    rows::gradient_of_rows<{threads}>(g, x, scale, mean, inverse, dx, {width}ull);"
        parameters = (*given, f"const {own}* scale", *statistics, f"{kind}* dx")
        arguments = (*map(Input, range(5)), Output(0))
        function = Function("LayerNormalizationGradient", parameters, body, HEADERS)
        launches.append(Launch(function, (height, 1, 1), (threads, 1, 1), arguments))
    wanted = [Output(at) if at < len(node.outputs) and node.outputs[at] is not None else NOTHING for at in (1, 2)]
    across = -(-width // 32)
    parts = max(min(-(-ENOUGH_BLOCKS // across), height // ROWS_A_PART), 1)
    workspace = 0
    if any(item is not NOTHING for item in wanted):
        body = f"    rows::gradient_of_columns(g, x, mean, inverse, parts, {height}ull, {width}ull);"
        function = Function("sums_of_columns", (*given, *statistics, f"rows::Two<{wide}>* parts"), body, HEADERS)
        arguments = (Input(0), Input(1), Input(3), Input(4), Scratch())
        launches.append(Launch(function, (across, parts, 1), (32, 8, 1), arguments))
        body = f"    rows::join(parts, dscale, dbias, {width}ull, {parts}u);"
        parameters = (f"const rows::Two<{wide}>* parts", f"{own}* dscale", f"{own}* dbias")
        join = Function("join_columns", parameters, body, HEADERS)
        launches.append(in_one_row(join, width, (Scratch(), *wanted)))
        workspace = 2 * np.dtype(wide).itemsize * width * parts
    made = _plain(node.outputs)
    return SourceKernel("rows", launches, _plain(node.inputs), made, resources, workspace=workspace)
