"""External data on the way out: which tensor lies where in which file, and what those files contain.

A data file keeps its layout: the content it was read with, changed tensors written over their old places. Next to
another model it never overwrites that model's weights: unless the model is saved to where it came from, a data file
that exists with other content stays, and ours is named after the model.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence

import numpy as np
from onnx import TensorProto

from exporters.onnx.files import Chunk
from exporters.onnx.tensors import StoredTensor
from importers.onnx.origin import ExternalFile
from toolkit.errors import ModelError

PAGE = 4096  # bytes; offsets at page borders can be mapped
SMALLEST_MOVED = 1024  # bytes; smaller tensors stay in the model


def place_data_files(
    tensors: Sequence[StoredTensor], path: str, source: str | None, moved: str | None
) -> tuple[list[StoredTensor], dict[str, list[Chunk]]]:
    """What the model keeps of its tensors, and the content of its data files by path.

    ``moved`` is the location of a new data file for the tensors that lie in the model so far.
    """
    files: dict[str, list[Chunk]] = {}
    kept = list(tensors)
    by_file: dict[ExternalFile, list[int]] = {}
    for position, tensor in enumerate(tensors):
        if tensor.external is not None:
            by_file.setdefault(tensor.external.file, []).append(position)
    for number, (file, positions) in enumerate(by_file.items()):
        content, changed = _overlaid(file, [tensors[position] for position in positions])
        location = _free_location(file.location, content, path, source, number)
        digest = hashlib.sha1(content.data).hexdigest() if changed else None
        for position in positions:
            header = tensors[position].header
            _update_entries(header, location, digest)
            kept[position] = StoredTensor(header, None, None)
        files[os.path.join(os.path.dirname(path), location)] = [content]
    if moved is not None:
        target = os.path.join(os.path.dirname(path), _checked_location(moved, path))
        if target in files:
            raise ModelError(f"external_data={moved!r} is a data file of this model already. Choose another name.")
        files[target] = _moved(kept, moved)
    return kept, files


def _overlaid(file: ExternalFile, tensors: Sequence[StoredTensor]) -> tuple[np.ndarray, bool]:
    """The content of a data file with the tensors of today; a copy only when one of them changed."""
    content, changed = file.content, False
    for header, raw, span in tensors:
        if raw is None or span is None:
            continue
        place = slice(span.offset, span.offset + span.length)
        if raw.size != span.length:
            raise ModelError(
                f"Parameter {header.name!r} now has {raw.size} bytes, but its place in {file.location!r} has "
                f"{span.length}. Clear its origin to store it in the model."
            )
        if np.shares_memory(content[place], raw) or np.array_equal(content[place], raw):
            continue
        if not changed:
            content, changed = file.content.copy(), True
        content[place] = raw
    return content, changed


def _free_location(location: str, content: np.ndarray, path: str, source: str | None, number: int) -> str:
    target = os.path.join(os.path.dirname(path), location)
    returning = source is not None and os.path.realpath(source) == os.path.realpath(path)
    if returning or not os.path.exists(target) or _has_content(target, content):
        return location
    return os.path.basename(path) + (f".{number}" if number else "") + ".data"


def _has_content(path: str, content: np.ndarray) -> bool:
    if os.path.getsize(path) != content.size:
        return False
    return content.size == 0 or np.array_equal(np.memmap(path, np.uint8, "r"), content)


def _update_entries(header: TensorProto, location: str, digest: str | None) -> None:
    for entry in header.external_data:
        if entry.key == "location":
            entry.value = location
        elif entry.key == "checksum" and digest is not None:
            entry.value = digest


def _moved(tensors: list[StoredTensor], location: str) -> list[Chunk]:
    """Move the raw data of ``tensors`` (changed in place) to a new file; returns its content."""
    chunks: list[Chunk] = []
    offset = 0
    for position, (header, raw, _) in enumerate(tensors):
        if raw is None or raw.size < SMALLEST_MOVED:
            continue
        padding = -offset % PAGE
        chunks += [bytes(padding), raw]
        offset += padding
        header.data_location = TensorProto.EXTERNAL
        for key, value in (("location", location), ("offset", str(offset)), ("length", str(raw.size))):
            header.external_data.add(key=key, value=value)
        tensors[position] = StoredTensor(header, None, None)
        offset += raw.size
    return chunks


def _checked_location(location: str, path: str) -> str:
    if not location or os.path.basename(location) != location or location in (".", "..", os.path.basename(path)):
        raise ModelError(
            f"external_data must be the name of a file next to the model, other than the model's, got {location!r}."
        )
    return location
