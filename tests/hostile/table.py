"""The table of hostile files by name: how each is built, and what the toolkit must say about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

Build = Callable[[Path], bytes | str]


@dataclass(frozen=True, slots=True)
class Hostile:
    """One file. ``build(folder)`` gives its bytes, or its path in ``folder``.

    ``error`` is a pattern of the message with which it is refused, ``None`` for files that are odd, but can be used.
    """

    build: Build
    error: str | None


NAMED: dict[str, Hostile] = {}


def hostile(error: str | None) -> Callable[[Build], Build]:
    """Enter a builder under its own name."""

    def enter(build: Build) -> Build:
        assert build.__name__ not in NAMED
        NAMED[build.__name__] = Hostile(build, error)
        return build

    return enter
