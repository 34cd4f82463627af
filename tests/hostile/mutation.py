"""Damage, made deterministically from a seed model and a number: to the bytes of the file, and to its messages.

Damaged bytes mostly end at the protobuf parser. Damaged messages are still protobuf, so they reach everything behind
it: absurd sizes, wrong types, names that mean something else, operators that get what they were not made for.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import cache
from typing import Any

import onnx
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, TensorShapeProto, TypeProto

from tests.hostile.operators import operator_model
from tests.hostile.seeds import SEEDS

INTEGERS = (0, 1, -1, 2, 3, 7, 16, 99, 999, 65536, 1 << 20, 10**6, 1 << 31, (1 << 31) - 1, -(1 << 31), 10**12)
FAR_INTEGERS = (1 << 40, 1 << 62, (1 << 63) - 1, -(1 << 63), -(10**12))
FLOATS = (0.0, -1.0, 1e30, -1e30, 1e-30, float("nan"), float("inf"), float("-inf"), 0.5)
TEXTS = (
    "",
    "x",
    "y",
    "nobody",
    "../weights.bin",
    "/dev/zero",
    "ai.onnx.ml",
    "own",
    "a" * 70000,
    "\u0000",
    "\U0001f4a5",
    "%s{}",
)
BYTES = (b"", b"\xff\xfe", b"\0" * 5, b"x", b"NOTSET", b"a" * 300)
NUMBERS = {
    FieldDescriptor.TYPE_INT32,
    FieldDescriptor.TYPE_INT64,
    FieldDescriptor.TYPE_UINT64,
    FieldDescriptor.TYPE_ENUM,
}


def damaged(seed: str, kind: str, number: int) -> bytes:
    """File ``number`` of the damaged copies of a seed.

    ``kind`` is ``bytes``; ``messages``: any field; ``values``: what the file still means something with, so that
    inference, folding and kernels meet it; or ``operators``: no seed, but one node (see ``tests.hostile.operators``).
    """
    if kind == "operators":
        return operator_model(number)
    chance = random.Random(f"{seed} {kind} {number}")
    if kind == "bytes":
        content = bytearray(content_of(seed))
        for _ in range(chance.choice((1, 1, 2, 3, 8))):
            damage_bytes(content, chance)
        return bytes(content)
    model = ModelProto.FromString(content_of(seed))
    damage = damage_value if kind == "values" else damage_message
    for _ in range(chance.choice((1, 1, 1, 2, 3, 5))):
        damage(model, chance)
    return model.SerializeToString()


@cache
def content_of(seed: str) -> bytes:
    """The bytes of a seed, which is made only once."""
    return SEEDS[seed]().SerializeToString()


def damage_bytes(content: bytearray, chance: random.Random) -> None:
    """Change, remove, repeat or insert some bytes."""
    start = chance.randrange(len(content) + 1)
    end = min(len(content), start + chance.choice((1, 2, 4, 16, 200)))
    match chance.randrange(7):
        case 0 | 1 | 2:
            for at in range(start, min(end, start + 4)):
                content[at] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
        case 3:
            del content[start:end]
        case 4:
            content[start:start] = content[start:end]
        case 5:
            content[start:start] = bytes(chance.randrange(256) for _ in range(chance.choice((1, 2, 9))))
        case 6:
            content[start:end] = b"\xff" * chance.choice((1, 9)) + b"\x01"


def damage_message(model: ModelProto, chance: random.Random) -> None:
    """Change one field somewhere in the model."""
    places = [place for message in messages(model) for place in fields(message)]
    if not places:  # nothing is left to damage
        return
    message, field = chance.choice(places)
    if field.is_repeated:
        _damage_list(model, message, field, chance)
    elif field.message_type is not None:
        _damage_part(model, message, field, chance)
    elif chance.random() < 0.25:
        message.ClearField(field.name)
    else:
        setattr(message, field.name, absurd(model, message, field, chance))


def damage_value(model: ModelProto, chance: random.Random) -> None:
    """Change an operator, a number it is given, a size or an element type; names and structure stay."""
    graphs = [item for item in messages(model) if isinstance(item, GraphProto)]
    if not graphs or not model.opset_import:  # nothing is removed here, but other damage may come before
        return
    graph = chance.choice(graphs)
    match chance.randrange(6):
        case 0 if graph.node:
            chance.choice(graph.node).op_type = chance.choice(operators())
        case 1 | 2:
            attributes = [item for item in messages(model) if isinstance(item, AttributeProto)]
            if attributes:
                _damage_attribute(model, chance.choice(attributes), chance)
        case 3:
            tensors = [item for item in messages(model) if isinstance(item, TensorProto) and item.raw_data]
            integers = [item for item in tensors if item.data_type == TensorProto.INT64]
            tensor = chance.choice(integers or tensors) if tensors else None
            if tensor is not None:
                width = min(8, len(tensor.raw_data))
                at = chance.randrange(len(tensor.raw_data) // width) * width
                number = chance.choice((*INTEGERS, *FAR_INTEGERS)) % (1 << 8 * width)
                content = bytearray(tensor.raw_data)
                content[at : at + width] = number.to_bytes(width, "little")
                tensor.raw_data = bytes(content)
        case 4:
            dims = [item for item in messages(model) if isinstance(item, TensorShapeProto.Dimension)]
            if dims:
                chance.choice(dims).dim_value = chance.choice(INTEGERS)
        case _:
            kinds = [item for item in messages(model) if isinstance(item, TypeProto.Tensor)]
            if kinds:
                chance.choice(kinds).elem_type = chance.randrange(1, 28)
            model.opset_import[0].version = chance.choice((*[model.opset_import[0].version] * 3, 1, 7, 11, 13, 18))


def _damage_attribute(model: ModelProto, attribute: AttributeProto, chance: random.Random) -> None:
    set_fields = [place for place in fields(attribute) if place[1].name not in ("name", "type", "ref_attr_name")]
    if set_fields:
        message, field = chance.choice(set_fields)
        if field.message_type is not None:
            return
        if field.is_repeated:
            _damage_list(model, message, field, chance)
        else:
            setattr(message, field.name, absurd(model, message, field, chance))


def messages(message: Message) -> Iterator[Message]:
    """A message and all inside it."""
    yield message
    for field, value in message.ListFields():
        if field.message_type is not None:
            for part in value if field.is_repeated else (value,):
                yield from messages(part)


def fields(message: Message) -> Iterator[tuple[Message, Any]]:
    """The fields of a message that can be damaged: those that are set, and those that say how to read it."""
    for field in message.DESCRIPTOR.fields:
        present = len(getattr(message, field.name)) if field.is_repeated else message.HasField(field.name)
        if present or field.type == FieldDescriptor.TYPE_ENUM:
            yield message, field


def _damage_list(model: ModelProto, message: Message, field: Any, chance: random.Random) -> None:
    items = getattr(message, field.name)
    at = chance.randrange(len(items)) if len(items) else 0
    match chance.randrange(6):
        case 0 if items:
            del items[at]
        case 1 if items:
            items.extend([items[at]] * chance.choice((1, 1, 3)))
        case 2 if len(items) > 1:
            other = chance.randrange(len(items))
            first, second = (_copied(items[position]) for position in (at, other))
            _put(items, at, second)
            _put(items, other, first)
        case 3:
            message.ClearField(field.name)
        case _ if field.message_type is None and items:
            items[at] = absurd(model, message, field, chance)
        case _:
            part = _graft(model, field, chance)
            if part is not None:
                items.append(part)


def _damage_part(model: ModelProto, message: Message, field: Any, chance: random.Random) -> None:
    part = _graft(model, field, chance) if chance.random() < 0.6 else None
    if part is None:
        message.ClearField(field.name)
    else:
        getattr(message, field.name).CopyFrom(part)


def _graft(model: ModelProto, field: Any, chance: random.Random) -> Any:
    """A copy of some other message of the same type."""
    if field.message_type is None:
        return None
    donors = [item for item in messages(model) if item.DESCRIPTOR is field.message_type and item.ByteSize() < 5000]
    return _copied(chance.choice(donors)) if donors else None


def absurd(model: ModelProto, message: Message, field: Any, chance: random.Random) -> Any:
    """A value that the field can hold and nobody expects there."""
    if field.type in NUMBERS:
        return _number(field, chance)
    if field.type in (FieldDescriptor.TYPE_FLOAT, FieldDescriptor.TYPE_DOUBLE):
        return chance.choice(FLOATS)
    if field.type == FieldDescriptor.TYPE_BYTES:
        old = getattr(message, field.name)
        old = bytes(old if not field.is_repeated else b"")
        return chance.choice((*BYTES, old[:-1], old + b"\x07", old * 2))
    if isinstance(message, NodeProto) and field.name == "op_type":
        return chance.choice(operators())
    names = [name for node in model.graph.node for name in (*node.input, *node.output)]
    return chance.choice([*names, *TEXTS])


def _number(field: Any, chance: random.Random) -> int:
    if field.type == FieldDescriptor.TYPE_ENUM:
        return chance.choice([value.number for value in field.enum_type.values])
    value = chance.choice((*INTEGERS, *FAR_INTEGERS, chance.randrange(30)))
    if field.type == FieldDescriptor.TYPE_UINT64:
        return abs(value)
    return value if field.type == FieldDescriptor.TYPE_INT64 else max(-(1 << 31), min(value, (1 << 31) - 1))


@cache
def operators() -> list[str]:
    """The names of all operators that ONNX ever had."""
    return sorted({schema.name for schema in onnx.defs.get_all_schemas_with_history()})


def _copied(item: Any) -> Any:
    if not isinstance(item, Message):
        return item
    copy = type(item)()
    copy.CopyFrom(item)
    return copy


def _put(items: Any, at: int, item: Any) -> None:
    if isinstance(item, Message):
        items[at].CopyFrom(item)
    else:
        items[at] = item
