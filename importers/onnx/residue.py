"""Takes a protobuf message apart: what is left without the fields that the graph owns. The message is spent."""

from __future__ import annotations

from google.protobuf.message import Message

from toolkit.errors import ModelError


def explicit_defaults(message: Message, *names: str) -> tuple[str, ...]:
    """Those optional scalar fields that are present although they hold their default."""
    return tuple(name for name in names if message.HasField(name) and not getattr(message, name))


def text(content: str | bytes) -> str:
    """A name as protobuf hands it out: bytes when it is not valid text. Raises ``ModelError`` then."""
    if isinstance(content, str):
        return content
    raise ModelError(f"The model has a name that is not UTF-8 text: {content[:40]!r}. The file is damaged.")


def remainder(message: Message, *owned: str) -> bytes:
    """The message without the owned fields, serialized; the message loses them."""
    for name in owned:
        message.ClearField(name)
    return message.SerializeToString()
