"""Writes files whole or not at all: a reader sees the old content or the new one, a failure leaves no debris."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Iterable, Mapping

import numpy as np

from toolkit.errors import ModelError

Chunk = bytes | np.ndarray


def write_together(contents: Mapping[str, Iterable[Chunk]]) -> None:
    """Write each path's chunks; all are on disk before the first is renamed to its path, in the order given.

    A file that exists keeps its mode, a symbolic link stays one. Raises ``ModelError`` when the system refuses.
    """
    temporary: dict[str, str] = {}
    try:
        for path, chunks in contents.items():
            target = os.path.realpath(path)
            temporary[target] = os.path.join(
                os.path.dirname(target), f".{os.path.basename(target)[:200]}.{secrets.token_hex(6)}"
            )
            _write(temporary[target], target, chunks)
        for target in list(temporary):
            os.replace(temporary[target], target)
            del temporary[target]
        for folder in {os.path.dirname(os.path.realpath(path)) for path in contents}:
            _sync_folder(folder)
    except OSError as error:
        raise ModelError(
            f"The model cannot be written to {list(contents)[-1]!r}: {error.strerror or error}. "
            "Check that the folder exists, may be written to and has room; nothing was changed."
        ) from error
    finally:
        for path in temporary.values():
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)


def _write(temporary: str, target: str, chunks: Iterable[Chunk]) -> None:
    if os.path.isdir(target):
        raise IsADirectoryError(0, "it is a directory")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    with open(descriptor, "wb") as file:
        if os.path.exists(target):
            os.chmod(temporary, stat.S_IMODE(os.stat(target).st_mode))
        file.writelines(chunk if isinstance(chunk, bytes) else chunk.data for chunk in chunks)
        file.flush()
        os.fsync(descriptor)


def _sync_folder(folder: str) -> None:
    if os.name != "posix":  # elsewhere a folder cannot be opened
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
