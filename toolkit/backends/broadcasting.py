"""Operands of different shapes, made as few axes as their broadcasting allows."""

from __future__ import annotations


def joined(full: tuple[int, ...], other: tuple[int, ...], *, least: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """``full``, and ``other`` that is stretched to it, with neighbouring axes joined where both are whole or stretched.

    Both get the same rank, ``least`` or more.
    """
    aligned = (1,) * (len(full) - len(other)) + other
    whole: list[int] = []
    part: list[int] = []
    stretched: bool | None = None
    for size, own in zip(full, aligned, strict=True):
        if size == 1:
            continue
        if (own == 1) == stretched:
            whole[-1] *= size
            part[-1] *= own
        else:
            stretched = own == 1
            whole.append(size)
            part.append(own)
    missing = (1,) * (least - len(whole))
    return (*missing, *whole), (*missing, *part)
