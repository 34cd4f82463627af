"""Models of one node: any operator that ONNX ever had, or the toolkit has beyond it.

Its inputs, constants and attributes are of the right kind and otherwise what nobody would expect.
"""

from __future__ import annotations

import inspect
import random
from functools import cache
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, ModelProto, TensorProto, helper, numpy_helper

from toolkit.operators.record import REGISTRY

SIZES = (0, 1, 1, 2, 2, 3, 3, 4, 5, 8)
FAR_SIZES = (-1, 10**6, 1 << 31, 10**12, (1 << 62) + 1)
INTEGERS = (0, 0, 1, 1, 1, 2, 2, 3, -1, -1, -2, 4, 5, -5, 64, 1000, 10**6, 1 << 31, 10**12, (1 << 63) - 1, -(1 << 63))
FLOATS = (0.0, 1.0, 0.5, -1.0, 2.0, 1e-5, 1e30, -1e30, float("nan"), float("inf"))
TEXTS = ("", "a", "linear", "nearest", "cubic", "constant", "reflect", "edge", "wrap", "NOTSET", "VALID", "SAME_UPPER")
MORE_TEXTS = (
    "ij,jk->ik",
    "...i->i",
    "ii",
    "i->ij",
    "[",
    "(a*)*b",
    "%",
    "\n",
    "\u00e9",
    "sum",
    "forward",
    "bidirectional",
    "Tanh",
)
DOMAINS = ("", "ai.onnx.ml")
BODIES = {AttributeProto.GRAPH, AttributeProto.GRAPHS}


def operator_model(number: int) -> bytes:
    """Model ``number``; half of them have ordinary sizes only, so that more than the first check is reached."""
    chance = random.Random(f"operator {number}")
    if chance.random() < 0.15:
        return _beyond_onnx(chance).SerializeToString()
    schema = chance.choice(schemas())
    wild = chance.random() < 0.5
    model = ModelProto(ir_version=onnx.IR_VERSION)
    model.opset_import.extend([helper.make_opsetid("", onnx.defs.onnx_opset_version())])
    if schema.domain:
        model.opset_import.append(helper.make_opsetid(schema.domain, schema.since_version))
    else:
        model.opset_import[0].version = schema.since_version
    node = model.graph.node.add(op_type=schema.name, domain=schema.domain, name="node")
    types = {item.type_param_str: chance.choice(sorted(item.allowed_type_strs)) for item in schema.type_constraints}
    rank = chance.randrange(6)
    for position in range(len(schema.inputs) and _count(schema.min_input, schema.max_input, chance)):
        formal = schema.inputs[min(position, len(schema.inputs) - 1)]
        kind = types.get(formal.type_str, formal.type_str)
        node.input.append(_given(model, f"x{position}", kind, rank, wild, chance))
    for position in range(len(schema.outputs) and _count(schema.min_output, schema.max_output, chance)):
        formal = schema.outputs[min(position, len(schema.outputs) - 1)]
        node.output.append(f"y{position}")
        model.graph.output.append(onnx.ValueInfoProto(name=f"y{position}"))
        element = _element(types.get(formal.type_str, formal.type_str))
        if element is not None:
            model.graph.output[-1].type.tensor_type.elem_type = element
    for name, attribute in schema.attributes.items():
        if attribute.required or chance.random() < 0.5:
            node.attribute.append(_attribute(name, int(attribute.type.value), chance))
    return model.SerializeToString()


def _beyond_onnx(chance: random.Random) -> ModelProto:
    """An operator that only the registry has: the toolkit's own, which fusion makes, or com.microsoft's."""
    domain, name = chance.choice([key for key in sorted(REGISTRY) if key[0] not in DOMAINS])
    record = chance.choice(REGISTRY[domain, name])
    model = ModelProto(ir_version=onnx.IR_VERSION)
    model.opset_import.extend([helper.make_opsetid("", 21), helper.make_opsetid(domain, record.since)])
    node = model.graph.node.add(op_type=name, domain=domain, name="node")
    rank, kinds = chance.randrange(6), ("tensor(float)", "tensor(float)", "tensor(int64)", "tensor(uint8)")
    for position in range(chance.randrange(8)):
        node.input.append(_given(model, f"x{position}", chance.choice(kinds), rank, False, chance))
    for position in range(chance.randrange(1, 4)):
        node.output.append(f"y{position}")
        model.graph.output.append(onnx.ValueInfoProto(name=f"y{position}"))
    known = inspect.signature(record.reference).parameters.values() if record.reference is not None else ()
    for parameter in known:
        if parameter.kind == inspect.Parameter.KEYWORD_ONLY and chance.random() < 0.7:
            kind = chance.choice((AttributeProto.INT, AttributeProto.INTS, AttributeProto.FLOAT, AttributeProto.STRING))
            node.attribute.append(_attribute(parameter.name, kind, chance))
    return model


@cache
def schemas() -> list[Any]:
    """Every operator of every version, in a fixed order."""
    found = [item for item in onnx.defs.get_all_schemas_with_history() if item.domain in DOMAINS]
    return sorted(found, key=lambda item: (item.domain, item.name, item.since_version))


def _count(fewest: int, most: int, chance: random.Random) -> int:
    wanted = chance.choice((fewest, fewest, min(most, fewest + 1), min(most, fewest + 3), most))
    return min(max(0, wanted + chance.choice((0, 0, 0, 0, 0, 0, 0, 1, -1))), 9)


def _given(model: ModelProto, name: str, kind: str, rank: int, wild: bool, chance: random.Random) -> str:
    """Declare an input, or make it a constant; returns its name."""
    if chance.random() < 0.05:
        return ""
    element = _element(kind)
    if element is None:
        info = model.graph.input.add(name=name)
        inner = info.type.optional_type.elem_type if kind.startswith("optional") else info.type
        if "seq" in kind:
            inner = inner.sequence_type.elem_type
        inner.tensor_type.elem_type = TensorProto.FLOAT
        inner.tensor_type.shape.dim.add().dim_value = 2
        return name
    rank = max(0, rank + chance.choice((0, 0, 0, 0, 1, -1, 2, -2)))
    shape = [chance.choice(SIZES) for _ in range(rank)]
    if element == TensorProto.INT64 and chance.random() < 0.8:
        shape = [chance.randrange(7)] if chance.random() < 0.8 else []
        content = np.array([chance.choice(INTEGERS) for _ in range(int(np.prod(shape)))]).reshape(shape)
        model.graph.initializer.append(numpy_helper.from_array(content.astype(np.int64), name))
    elif element != TensorProto.STRING and chance.random() < 0.3:
        dtype = helper.tensor_dtype_to_np_dtype(element)
        content = np.random.default_rng(len(shape)).integers(0, 2, shape).astype(dtype)
        model.graph.initializer.append(numpy_helper.from_array(content, name))
    else:
        if wild and shape and chance.random() < 0.3:
            shape[chance.randrange(len(shape))] = chance.choice(FAR_SIZES)
        model.graph.input.append(helper.make_tensor_value_info(name, element, shape))
    return name


def _element(kind: str) -> int | None:
    if not kind.startswith("tensor("):
        return None
    return int(TensorProto.DataType.Value(kind[len("tensor(") : -1].upper()))


def _attribute(name: str, kind: int, chance: random.Random) -> AttributeProto:
    attribute = AttributeProto(name=name, type=kind)
    many = range(chance.randrange(7))
    match kind:
        case AttributeProto.INT:
            attribute.i = chance.choice(INTEGERS)
        case AttributeProto.INTS:
            attribute.ints.extend(chance.choice(INTEGERS) for _ in many)
        case AttributeProto.FLOAT:
            attribute.f = chance.choice(FLOATS)
        case AttributeProto.FLOATS:
            attribute.floats.extend(chance.choice(FLOATS) for _ in many)
        case AttributeProto.STRING:
            attribute.s = chance.choice((*TEXTS, *MORE_TEXTS)).encode()
        case AttributeProto.STRINGS:
            attribute.strings.extend(chance.choice((*TEXTS, *MORE_TEXTS)).encode() for _ in many)
        case AttributeProto.TENSOR:
            array = np.array([chance.choice(INTEGERS) for _ in many])
            attribute.t.CopyFrom(numpy_helper.from_array(array))
        case kind if kind in BODIES:
            body = helper.make_graph(
                [helper.make_node("Identity", ["a"], ["b"])],
                "body",
                [helper.make_tensor_value_info("a", TensorProto.FLOAT, None)],
                [helper.make_tensor_value_info("b", TensorProto.FLOAT, None)],
            )
            attribute.g.CopyFrom(body)
    return attribute
