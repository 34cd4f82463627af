"""External data: finds, checks and maps the files that a model keeps its weights in.

A model is untrusted, so a data file is only opened when it is a plain file inside the model's own folder that is
reached without symbolic or hard links.
"""

from __future__ import annotations

import mmap
import os
import stat

import numpy as np

from importers.onnx.origin import DataHandle, ExternalFile, ExternalRange
from toolkit.errors import ModelError

UNTRUSTED = sum(getattr(os, flag, 0) for flag in ("O_NONBLOCK", "O_NOFOLLOW", "O_BINARY"))  # where the system has them


class DataFolder:
    """The folder of a model, with the data files that were opened so far. ``path`` is ``None`` when there is none."""

    def __init__(self, path: str | None) -> None:
        self.path = path
        self._files: dict[str, ExternalFile] = {}

    def find(self, entries: dict[str, str], required: int, where: str) -> ExternalRange:
        """The ``required`` bytes that the ``external_data`` entries of a tensor point at, or ``ModelError``."""
        location = entries.get("location", "")
        file = self._files.get(location)
        if file is None:
            file = self._files[location] = self._opened(location, where)
        size = file.content.size
        offset = _number(entries, "offset", 0, where)
        length = _number(entries, "length", max(size - offset, 0), where)
        if length != required:
            raise ModelError(
                f"{where} requires {required} bytes of external data, but its range in {location!r} has {length}. "
                "The model and its data file do not belong together."
            )
        if offset + length > size:
            raise ModelError(
                f"{where} lies at bytes {offset} to {offset + length} of {location!r}, which has only {size}. "
                "The data file is truncated: download or export it again."
            )
        return ExternalRange(file, offset, length)

    def _opened(self, location: str, where: str) -> ExternalFile:
        path = self._checked_path(location, where)
        try:
            handle = DataHandle(os.open(path, os.O_RDONLY | UNTRUSTED))
        except (OSError, ValueError) as error:
            raise ModelError(
                f"{where} keeps its data in {location!r}, which cannot be opened in the folder {self.path!r}: "
                f"{getattr(error, 'strerror', error)}. Put the data file next to the model."
            ) from error
        status = os.fstat(handle.fileno())
        if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
            raise _refusal(location, where, "is not a plain file with a single name")
        if status.st_size == 0:
            return ExternalFile(location, np.empty(0, np.uint8), handle)
        try:
            mapped = mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError, OverflowError) as error:
            raise ModelError(
                f"{where} keeps its data in {location!r}, whose {status.st_size} bytes cannot be mapped into memory: "
                f"{getattr(error, 'strerror', error)}. Raise the limit of address space of this process."
            ) from error
        return ExternalFile(location, np.frombuffer(mapped, np.uint8), handle)

    def _checked_path(self, location: str, where: str) -> str:
        if self.path is None:
            raise ModelError(
                f"{where} keeps its data in the file {location!r}, but a model given as bytes or proto has no folder. "
                "Pass folder=, or load the model by its path."
            )
        parts = location.replace("\\", "/").split("/")
        if not location or "\0" in location or os.path.isabs(location) or ".." in parts or ":" in parts[0]:
            raise _refusal(location, where, "is not a relative path inside the folder of the model")
        folder = os.path.realpath(self.path)
        path = os.path.normpath(os.path.join(folder, location))
        if os.path.realpath(path) != path:
            raise _refusal(location, where, "leads through a symbolic link")
        return path


def _refusal(location: str, where: str, reason: str) -> ModelError:
    return ModelError(
        f"{where} keeps its data in {location!r}, which {reason}. External data must be a plain file next to the "
        "model, so that a model cannot read other files: copy the data there."
    )


def _number(entries: dict[str, str], key: str, default: int, where: str) -> int:
    text = entries.get(key)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise ModelError(f"{where} has external data with {key} {text[:40]!r}; a number of bytes is required.")
    return int(text)
