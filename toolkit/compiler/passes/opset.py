"""One opset: every standard operator of a program is said as one opset says it, so that a file can hold the program.

A network's own layers are of its opset, what gradients and optimizers append is of a newer one. Cases:

- an operator that means the same in both: only its version changes, defaults that differ are written out;
- an attribute that became an input (axes of ReduceSum, bounds of Clip), or the other way where its content is known;
- Softmax of old opsets, which takes all axes from one on for a single one; Upsample, Resize-10, Scatter, RoiAlign-10;
- GroupNormalization-18, whose scales were of groups, and GridSample-16, whose modes had other names;
- the hidden size of recurrent layers, which ONNX lets R tell and onnxruntime does not, is written out;
- what STFT takes by default is written out: onnx infers the size of both sides of the spectrum where nothing is said,
  and onnxruntime no frame;
- sums and means of very many numbers are taken axis by axis: onnxruntime adds all of them up in one float32;
- GlobalLpPool, whose present version onnxruntime has no kernel for, becomes what it is made of.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from toolkit.compiler.program import Node, Program, Variable
from toolkit.compiler.rewrite import Replacement, rewrite
from toolkit.errors import UnsupportedOperatorError
from toolkit.graph.layer import Graph
from toolkit.operators.expression import Expression, emit, expand, indices, reduce_sum, reshape
from toolkit.operators.record import Call, lookup
from toolkit.operators.schema import Signature, admits, attribute_defaults, signature
from toolkit.operators.standard.resize import as_interpolation

REDUCTIONS = ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")
INPUT_OF_ATTRIBUTE: dict[str, dict[str, int]] = {
    "Clip": {"min": 1, "max": 2},
    "DFT": {"axis": 2},
    "Pad": {"pads": 1, "value": 2},
    "Reshape": {"shape": 1},
    "Slice": {"starts": 1, "ends": 2, "axes": 3},
    "Split": {"split": 1},
    "Squeeze": {"axes": 1},
    "TopK": {"k": 1},
    "Unsqueeze": {"axes": 1},
    **{f"Reduce{name}": {"axes": 1} for name in REDUCTIONS},
}
WITHOUT_MEANING = ("consumed_inputs", "is_test", "output_sequence")
ON_ROWS = ("Hardmax", "LogSoftmax", "Softmax")
FIRST_ON_AXES = 13
# Their versions differ in defaults, element types and in how far they broadcast, not in what they compute.
SAME_BUT_FOR_DEFAULTS = (
    "Clip",
    "DFT",
    "InstanceNormalization",
    "Max",
    "Mean",
    "Min",
    "QuantizeLinear",
    "Selu",
    "Split",
    "Sum",
)
WELL_KNOWN = 21  # an opset
MANY = 2**16  # numbers in one sum: it loses some 1e-5 of itself, and 2e-3 for 17 million
FIRST_ROI_ALIGN_BY_PIXELS = 16  # which has a choice of coordinates
FIRST_WITH_AXES_INPUT = 18  # of ReduceMean; ReduceSum has it since 13
FIRST_SCATTER_ELEMENTS = 11  # which Scatter was called before
FIRST_SCALE_OF_CHANNELS = 21  # of GroupNormalization
FIRST_ON_VOLUMES = 20  # of GridSample
MODES_ON_IMAGES = {"bilinear": "linear", "bicubic": "cubic"}
RECURRENT = ("RNN", "GRU", "LSTM")
FIRST_WITHOUT_KERNEL = 22  # of GlobalLpPool


def opset_for(program: Program) -> int:
    """The oldest opset from 21 on that can say every standard operator of the program as it is meant.

    Engines lag behind ONNX: of opset 22, which does little more than admit bfloat16, onnxruntime 1.32 lacks kernels for
    RandomNormalLike, RoiAlign and others.
    """
    opset = WELL_KNOWN
    for node in program.nodes:
        own = None if node.domain else signature("", node.op_type, node.version)
        if own is not None and own.since > opset and not _is_known(node, opset):
            opset = own.since
    return opset


def _is_known(node: Node, opset: int) -> bool:
    """Whether an opset older than the node has the operator in the same meaning, and takes all that it is given."""
    known = signature("", node.op_type, opset)
    if known is None or _other_meaning(node, known) or not node.attributes.keys() <= known.attribute_types.keys():
        return False
    inputs, outputs = (
        [None if item is None else item.dtype for item in items] for items in (node.inputs, node.outputs)
    )
    return admits(known, inputs, outputs)


def restate(program: Program, opset: int) -> None:
    """Say every standard operator in the form of ``opset`` of ai.onnx.

    Raises ``UnsupportedOperatorError`` naming the layer of one that this opset cannot say.
    """

    def rule(node: Node) -> Replacement | None:
        return None if node.domain else _restated(program, node, opset)

    rewrite(program, rule)


def _restated(program: Program, node: Node, opset: int) -> Replacement | None:
    if node.op_type in ("Upsample", "Resize") and node.version < 11 <= opset:
        return [as_interpolation(_call(program, node)).variable]
    if node.op_type in ON_ROWS and node.version < FIRST_ON_AXES <= opset:
        return [_on_last_axis(program, node).variable]
    if node.op_type == "RoiAlign" and node.version < FIRST_ROI_ALIGN_BY_PIXELS <= opset:
        node.attributes = {"coordinate_transformation_mode": "output_half_pixel", **node.attributes}
        node.version = FIRST_ROI_ALIGN_BY_PIXELS
    if node.op_type == "Scatter" and opset >= FIRST_SCATTER_ELEMENTS:
        node.op_type, node.version = "ScatterElements", FIRST_SCATTER_ELEMENTS
    if node.op_type == "GridSample" and opset >= FIRST_ON_VOLUMES:
        mode = node.attributes.get("mode", "linear")
        node.attributes = {**node.attributes, "mode": MODES_ON_IMAGES.get(mode, mode)}
        node.version = max(node.version, FIRST_ON_VOLUMES)
    if node.op_type in RECURRENT and node.inputs[2] is not None:
        node.attributes = {"hidden_size": node.inputs[2].shape[2], **node.attributes}
    if node.op_type == "STFT":
        _spell_out(program, node)
    if node.op_type == "GroupNormalization" and node.version < FIRST_SCALE_OF_CHANNELS <= opset:
        node.inputs[1:] = [_of_channels(program, node, item) for item in node.inputs[1:]]
        node.version = FIRST_SCALE_OF_CHANNELS
    if node.op_type == "GlobalLpPool" and opset >= FIRST_WITHOUT_KERNEL:
        return [_norm_of_image(program, node).variable]
    if node.op_type in ("ReduceMean", "ReduceSum") and opset >= FIRST_WITH_AXES_INPUT and _adds_many(node):
        return [_axis_by_axis(program, node).variable]
    known, own = signature("", node.op_type, opset), signature("", node.op_type, node.version)
    if known is None or own is None:
        raise _unsupported(node, opset, "it does not exist there")
    if known.since != own.since:
        if why := _other_meaning(node, known):
            raise _unsupported(node, opset, why)
        defaults = attribute_defaults("", node.op_type, known.since)
        moved = [name for name in INPUT_OF_ATTRIBUTE.get(node.op_type, {}) if name not in known.attribute_types]
        for name, value in attribute_defaults("", node.op_type, own.since).items():
            if defaults.get(name, value) != value or name in moved:
                node.attributes = {name: value, **node.attributes}
    _move_attributes(program, node, known)
    unknown = [name for name in node.attributes if name not in known.attribute_types]
    if unknown or len(node.inputs) > known.max_inputs or len(node.outputs) > known.max_outputs:
        raise _unsupported(node, opset, f"it has no {', '.join(map(repr, unknown)) or 'such inputs or outputs'} there")
    node.version = known.since
    return None


def _other_meaning(node: Node, known: Signature) -> str:
    """Why an operator is not the same in another version, nothing where it is."""
    if any(isinstance(value, Graph) for value in node.attributes.values()):
        return "its body is written for another opset"
    if node.op_type in SAME_BUT_FOR_DEFAULTS or lookup("", node.op_type, known.since) is node.record:
        return ""
    return f"it means something else there than in version {node.version}"


def _move_attributes(program: Program, node: Node, known: Signature) -> None:
    """Attributes that the other version takes as inputs, and inputs that it takes as attributes."""
    node.attributes = {name: value for name, value in node.attributes.items() if name not in WITHOUT_MEANING}
    for name, place in INPUT_OF_ATTRIBUTE.get(node.op_type, {}).items():
        if name in known.attribute_types:
            _to_attribute(node, name, place)
        elif name in node.attributes:
            value = node.attributes.pop(name)
            dtype = np.dtype(np.int64) if known.input_name(place) not in ("min", "max", "constant_value") else None
            array = np.asarray(value, node.x.dtype if dtype is None else dtype)
            node.inputs = [*node.inputs, *[None] * (place + 1 - len(node.inputs))]
            node.inputs[place] = program.constant(array.reshape(-1) if node.op_type == "TopK" else array).variable
    while node.inputs and node.inputs[-1] is None:
        node.inputs.pop()


def _to_attribute(node: Node, name: str, place: int) -> None:
    given = node.inputs[place] if place < len(node.inputs) else None
    if given is not None and given.constant is not None:
        content: Any = given.constant.tolist()
        is_single = name in ("axis", "k", "max", "min", "value")
        node.attributes[name] = content[0] if is_single and isinstance(content, list) else content
        node.inputs[place] = None


def _on_last_axis(program: Program, node: Node) -> Expression:
    """All axes from ``axis`` on were one distribution."""
    x = program.expression(node.x)
    axis = int(node.attributes.get("axis", 1)) % max(x.ndim, 1)
    rows = reshape(x, (int(np.prod(x.shape[:axis])), int(np.prod(x.shape[axis:]))))
    return reshape(emit(node.op_type, rows, axis=-1), x.shape)


def _reduced_axes(node: Node) -> list[int] | None:
    """The axes that a reduction takes, ``None`` where they are not known before."""
    given: Any = node.attributes.get("axes")
    if given is None and len(node.inputs) > 1 and node.inputs[1] is not None:
        if node.inputs[1].constant is None:
            return None
        given = node.inputs[1].constant.tolist()
    rank = len(node.x.shape)
    if not given:
        return [] if node.attributes.get("noop_with_empty_axes", 0) else list(range(rank))
    return sorted(axis % rank for axis in given)


def _adds_many(node: Node) -> bool:
    axes = _reduced_axes(node) if node.x.dtype == np.float32 else None
    return axes is not None and len(axes) > 1 and math.prod(node.x.shape[axis] for axis in axes) >= MANY


def _axis_by_axis(program: Program, node: Node) -> Expression:
    """The sum of sums, or the mean of means, from the last axis to the first."""
    found = program.expression(node.x)
    for axis in reversed(_reduced_axes(node) or []):
        found = emit(node.op_type, found, indices(found, [axis]), keepdims=1)
    return reshape(found, node.y.shape)


def _spell_out(program: Program, node: Node) -> None:
    """What STFT takes where nothing is said: one side of the spectrum, and the whole signal as a frame."""
    node.attributes = {"onesided": 1, **node.attributes}
    window, length = (*node.inputs[2:], None, None)[:2]
    if window is None and length is None:
        node.inputs = [*node.inputs[:2], None, program.constant(np.asarray(node.x.shape[1])).variable]


def _of_channels(program: Program, node: Node, item: Variable | None) -> Variable | None:
    """A number for each group as one for each of its channels."""
    if item is None:
        return None
    groups, channels = item.shape[0], node.x.shape[1]
    columns = reshape(program.expression(item), (groups, 1))
    return reshape(expand(columns, (groups, channels // groups)), (channels,)).variable


def _norm_of_image(program: Program, node: Node) -> Expression:
    x, p = program.expression(node.x), float(node.attributes.get("p", 2))
    axes = list(range(2, x.ndim))
    return emit("Pow", reduce_sum(emit("Pow", emit("Abs", x), p), axes), 1.0 / p)


def _call(program: Program, node: Node) -> Call:
    def expression(item: Variable | None) -> Expression | None:
        return None if item is None else program.expression(item)

    inputs = [expression(item) for item in node.inputs]
    return Call(
        inputs, [expression(item) for item in node.outputs], node.attributes, [False] * len(inputs), node.version
    )


def _unsupported(node: Node, opset: int, why: str) -> UnsupportedOperatorError:
    return UnsupportedOperatorError(
        f"{node.operator}-{node.version} {node.layer or node.op_type!r} cannot be written for opset {opset}: {why}. "
        "Write the program for a newer opset, or freeze the layer and what lies before it."
    )
