"""Takes a protobuf message apart: what is left without the fields that the graph owns. The message is spent."""

from __future__ import annotations

from google.protobuf.message import Message


def explicit_defaults(message: Message, *names: str) -> tuple[str, ...]:
    """Those optional scalar fields that are present although they hold their default."""
    return tuple(name for name in names if message.HasField(name) and not getattr(message, name))


def remainder(message: Message, *owned: str) -> bytes:
    """The message without the owned fields, serialized; the message loses them."""
    for name in owned:
        message.ClearField(name)
    return message.SerializeToString()
