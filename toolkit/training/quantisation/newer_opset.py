"""A newer opset for a network that is to be quantised: ai.onnx quantises by channel from opset 13 on.

Layers whose meaning is the same there get the new version and, as inputs, what they had as attributes before; what
would mean something else is refused. The result is judged by nothing but ONNX's own schemas and the operator records.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from toolkit.errors import GraphError
from toolkit.graph.insertion import Insertion, Names, opset_of
from toolkit.graph.layer import Leaf
from toolkit.graph.network import Network
from toolkit.operators.record import lookup
from toolkit.operators.schema import attribute_defaults, signature

TARGET, IR_VERSION = 13, 7  # and the oldest version of the format that knows it
QUANTISED_PRODUCTS = 10  # the opset of QLinearConv, without which onnxruntime cannot load what it has fused
BECAME_INPUTS = {
    "Clip": ("min", "max"),
    "Dropout": ("ratio",),
    "Pad": ("pads", "value"),
    "ReduceSum": ("axes",),
    "Slice": ("starts", "ends", "axes"),
    "Split": ("split",),
    "Squeeze": ("axes",),
    "TopK": ("k",),
    "Unsqueeze": ("axes",),
}
FLOATS = ("min", "max", "ratio", "value")
ON_ROWS = ("Hardmax", "LogSoftmax", "Softmax")
RESTATED = ("Clip", "Dropout", *ON_ROWS)  # have other records, and mean the same once they are written as below
WITHOUT_MEANING = ("consumed_inputs", "is_test")


def renew(network: Network, ranks: Mapping[str, int]) -> None:
    """Write ``network`` for opset 13, in place, where it is older; ``ranks`` are those of its values.

    From opset 10 on a network that cannot be written so stays as it is. Raises ``GraphError`` for older ones.
    """
    if opset_of(network) >= TARGET:
        return
    reasons = {leaf.path: found for leaf in network.graph.leaves if (found := _objection(leaf, ranks))}
    if reasons and opset_of(network) >= QUANTISED_PRODUCTS:
        return
    if reasons:
        path, reason = next(iter(reasons.items()))
        raise GraphError(
            f"Quantising needs opset {QUANTISED_PRODUCTS}, the network is written in opset {opset_of(network)}, and "
            f"{path!r} cannot be written for opset {TARGET}: {reason}. Export the model again in a newer opset."
        )
    network.opsets.pop("ai.onnx", None)
    network.opsets[""], network.ir_version = TARGET, max(IR_VERSION, network.ir_version)
    names = Names(network.graph)
    for leaf in network.graph.leaves:
        if not leaf.domain:
            _restate(network, leaf, names)
    network.revision += 1


def _objection(leaf: Leaf, ranks: Mapping[str, int]) -> str:
    """Why a leaf cannot be written for the target, empty if it can."""
    if any(leaf.bodies):
        return "it has bodies"
    if leaf.domain:
        return ""
    known, own = (signature("", leaf.op_type, version) for version in (TARGET, leaf.version))
    if known is None or own is None:
        return f"{leaf.op_type} is not in both opsets"
    if leaf.op_type in ON_ROWS and known.since != own.since:
        axis, rank = int(leaf.attributes.get("axis", 1)), ranks.get(leaf.inputs[0])
        is_last = rank is not None and axis % max(rank, 1) == rank - 1
        return "" if is_last else "it took several axes for one"
    same = lookup("", leaf.op_type, known.since) is lookup("", leaf.op_type, own.since)
    if not same and leaf.op_type not in RESTATED and leaf.op_type not in BECAME_INPUTS:
        return f"{leaf.op_type} means something else there"
    moved = BECAME_INPUTS.get(leaf.op_type, ())
    lost = set(leaf.attributes) - set(known.attribute_types) - set(moved) - set(WITHOUT_MEANING)
    return f"it has no {', '.join(sorted(lost))} there" if lost else ""


def _restate(network: Network, leaf: Leaf, names: Names) -> None:
    known, own = (signature("", leaf.op_type, version) for version in (TARGET, leaf.version))
    assert known is not None and own is not None
    defaults = attribute_defaults("", leaf.op_type, known.since)
    moved = [name for name in BECAME_INPUTS.get(leaf.op_type, ()) if name not in known.attribute_types]
    given = {name: value for name, value in leaf.attributes.items() if name not in WITHOUT_MEANING}
    if known.since != own.since:
        for name, value in attribute_defaults("", leaf.op_type, own.since).items():
            if name not in WITHOUT_MEANING and (name in moved or defaults.get(name, value) != value):
                given.setdefault(name, value)
    insertion = Insertion(network, leaf.path, names)
    places = {known.input_name(index): index for index in range(known.max_inputs)} if moved else {}
    for name in moved:
        if name not in given:
            continue
        dtype = np.float32 if name in FLOATS else np.int64
        array = np.asarray(given.pop(name), dtype)
        place = places["constant_value" if name == "value" else "K" if name == "k" else name]
        leaf.inputs += [""] * (place + 1 - len(leaf.inputs))
        held = array.reshape(-1) if name == "k" else array
        leaf.inputs[place] = insertion.parameter(name, held, requires_grad=False, role=f"the {name} in {leaf.op_type}")
    leaf.attributes, leaf.version = given, TARGET
