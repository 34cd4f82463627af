"""The place of an element in C: coordinates from a position, and the offset that strides make of them.

Sizes are constants of a kernel, so that divisions become multiplications.
"""

from __future__ import annotations

from collections.abc import Sequence

LARGEST_PACK = 16  # bytes that one instruction moves


def offset(strides: Sequence[int], names: Sequence[str]) -> str:
    """The place of an element, in C, from the names of its coordinates."""
    terms = [name if step == 1 else f"{name} * {step}" for step, name in zip(strides, names, strict=True) if step]
    return " + ".join(terms) or "0"


def coordinates(position: str, sizes: Sequence[int], index: str, stem: str = "c") -> tuple[list[str], list[str]]:
    """Lines of C that take a position apart, and the names of the coordinates."""
    names = [f"{stem}{axis}" for axis in range(len(sizes))]
    if len(sizes) == 1:
        return [f"const {index} {names[0]} = {position};"], names
    lines, rest = [], position
    for axis in range(len(sizes) - 1, 0, -1):
        left = f"{stem}_left{axis}"
        lines.append(f"const {index} {names[axis]} = ({rest}) % {sizes[axis]}u, {left} = ({rest}) / {sizes[axis]}u;")
        rest = left
    lines.append(f"const {index} {names[0]} = {rest};")
    return lines, names
