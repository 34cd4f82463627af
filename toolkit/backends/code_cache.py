"""Compiled kernels on disk: what one process has compiled, later ones only read.

An entry is named by a digest of everything that its content depends on, and begins with a digest of what it holds, so
one that was damaged counts as none. Entries are written whole or not at all: any number of processes may share a
folder. A folder that others can write to is not used, for what lies there is executed. Where nothing can be kept, all
is compiled; that costs time, nothing else.
"""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

from toolkit.files import replacing

FOLDER_VARIABLE = "ONNX_TOOLKIT_CACHE"
OFF = "off"
MOST_NBYTES = 1 << 28  # of one kind of entries on disk; beyond it the oldest go, until a quarter of the space is free
BLOCK = 1 << 12  # bytes that even the smallest file takes
WRITES_PER_LOOK = 32  # one write of so many looks whether there is room; which one, the name of the entry decides
OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH
DIGEST = hashlib.sha256().digest_size


def entry_name(*parts: str) -> str:
    """The name of what depends on all the parts."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:40]


class CodeCache:
    """The entries of one ``kind``, in a folder of its own in ``$ONNX_TOOLKIT_CACHE`` or where the user's caches lie.

    The value ``off`` of that variable keeps nothing, and reads nothing.
    """

    def __init__(self, kind: str) -> None:
        self._kind = kind

    def folder(self) -> Path | None:
        """Where the entries lie, whether it exists or not; ``None`` where none are wanted."""
        chosen = os.environ.get(FOLDER_VARIABLE)
        if chosen == OFF:
            return None
        if chosen:
            return Path(chosen) / self._kind
        try:
            place = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        except RuntimeError:  # a user without a home
            return None
        return Path(place) / "onnx-toolkit" / self._kind

    def read(self, name: str) -> bytes | None:
        """The content of an entry; ``None`` where there is none, or not as it was written."""
        folder = self.folder()
        try:
            if folder is None or not _is_own(folder):
                return None
            content = (folder / name).read_bytes()
        except OSError:
            return None
        digest, code = content[:DIGEST], content[DIGEST:]
        return code if digest == _digest(name, code) else None

    def write(self, name: str, code: bytes) -> None:
        """Keep an entry, if that can be."""
        folder = self.folder()
        if folder is None:
            return
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not _is_own(folder):
                return
            with replacing(folder / name, lasting=False) as file:
                file.write(_digest(name, code) + code)
            if hashlib.sha256(name.encode()).digest()[0] % WRITES_PER_LOOK == 0:
                make_room(folder, MOST_NBYTES)
        except OSError:
            return


def make_room(folder: Path, most: int) -> None:
    """Remove the oldest entries of a folder that takes more than ``most`` bytes on disk."""
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            status = entry.stat(follow_symlinks=False)
            found.append((status.st_mtime_ns, -(-status.st_size // BLOCK) * BLOCK, entry.path))
    total = sum(nbytes for _, nbytes, _ in found)
    if total <= most:
        return
    for _, nbytes, path in sorted(found):
        if total <= most - most // 4:
            break
        Path(path).unlink(missing_ok=True)  # another process may be at it
        total -= nbytes


def _is_own(folder: Path) -> bool:
    """Whether the folder is this user's, and nobody else can put anything there."""
    status = os.stat(folder)
    is_mine = not hasattr(os, "getuid") or status.st_uid == os.getuid()
    return is_mine and not (os.name == "posix" and status.st_mode & OTHERS_MAY_WRITE)


def _digest(name: str, code: bytes) -> bytes:
    return hashlib.sha256(name.encode() + code).digest()
