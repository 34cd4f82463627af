"""Writes files whole or not at all: a reader sees the old content or the new one, a failure leaves no debris."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from importers.onnx.origin import DataHandle
from toolkit.errors import ModelError

PORTION = 1 << 24  # bytes that are copied at a time where the system has no call for it


@dataclass(frozen=True, slots=True, eq=False)
class CopiedFile:
    """The content of another file, with ``changes`` (offset, bytes) written over it.

    ``content`` is the file mapped into memory, ``handle`` the open file, from which the system can copy by itself.
    """

    content: np.ndarray
    handle: DataHandle | None
    changes: tuple[tuple[int, np.ndarray], ...] = ()

    def __len__(self) -> int:
        return self.content.size


Chunk = bytes | np.ndarray | CopiedFile


def write_together(contents: Mapping[str, Iterable[Chunk]]) -> None:
    """Write each path's chunks; all are on disk before the first is renamed to its path, in the order given.

    The last is the model, whose folder must exist; folders inside of it for the others are made.
    A file that exists keeps its mode, a symbolic link stays one. Raises ``ModelError`` when the system refuses.
    """
    temporary: dict[str, str] = {}
    try:
        home = os.path.dirname(os.path.realpath(list(contents)[-1]))
        for path, chunks in contents.items():
            target = os.path.realpath(path)
            if os.path.isdir(home):
                os.makedirs(os.path.dirname(target), exist_ok=True)
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
        for chunk in chunks:
            if isinstance(chunk, CopiedFile):
                _copy(chunk, file)
            else:
                file.write(chunk if isinstance(chunk, bytes) else chunk.data)
        file.flush()
        os.fsync(descriptor)


def _copy(source: CopiedFile, file: BinaryIO) -> None:
    """Copy without bringing the content into memory; holes stay holes."""
    file.flush()
    start = file.tell()
    for first, end in _extents(source):
        file.seek(start + first)
        _copy_extent(source, first, end, file)
    file.truncate(start + len(source))
    for offset, data in source.changes:
        file.seek(start + offset)
        file.write(data.data)
    file.seek(start + len(source))


def _extents(source: CopiedFile) -> Iterator[tuple[int, int]]:
    """The parts of a file that hold something, where the system tells; else all of it."""
    at, size = 0, len(source)
    if source.handle is None or not hasattr(os, "SEEK_DATA"):
        yield 0, size
        return
    descriptor = source.handle.fileno()
    while at < size:
        try:
            first = os.lseek(descriptor, at, os.SEEK_DATA)
            end = min(os.lseek(descriptor, first, os.SEEK_HOLE), size)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole follows
                return
            first, end = at, size
        yield first, end
        at = end


def _copy_extent(source: CopiedFile, first: int, end: int, file: BinaryIO) -> None:
    if source.handle is not None and hasattr(os, "copy_file_range"):
        with contextlib.suppress(OSError):  # other file systems, older kernels: copied below
            while first < end:
                done = os.copy_file_range(source.handle.fileno(), file.fileno(), end - first, first, file.tell())
                first = first + done if done else end + 1
                file.seek(done, os.SEEK_CUR)
        if first > end:
            raise OSError(errno.EIO, "a data file became shorter while it was copied")
    for start in range(first, end, PORTION):
        file.write(source.content[start : min(start + PORTION, end)].data)


def _sync_folder(folder: str) -> None:
    if os.name != "posix":  # elsewhere a folder cannot be opened
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
