"""A heat map of counts: who is in a row, what was answered in a column, the deeper the colour the larger its share."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from toolkit.report.page import Markup

WIDTH = 620  # pixels that the cells share, at most
LARGEST, SMALLEST, READABLE = 46, 9, 24  # sizes of a cell; from the last on there is room for a number
LETTER = 6.2  # the width of a letter in the font of the labels
LONGEST = 22  # letters of a name; more are cut off


def heat_map(counts: Sequence[Sequence[int]], names: Sequence[str], *, rows: str, columns: str) -> Markup:
    """A square of ``counts`` by ``names``: the diagonal in one colour, what is off it in another.

    ``rows`` and ``columns`` say what each stands for.
    """
    size = max(SMALLEST, min(LARGEST, WIDTH // max(len(names), 1)))
    shown = [name if len(name) <= LONGEST else name[: LONGEST - 1] + "…" for name in names]
    margin = max((len(name) for name in shown), default=0) * LETTER + 12
    left, top = margin + 18, margin * 0.75 + 24
    side = size * len(names)
    width = left + side + margin * 0.75  # the last of the slanting names reaches beyond the cells
    parts = [
        f'<svg class="heat" width="{width:.0f}" height="{top + side + 8:.0f}" role="img" '
        f'aria-label="{escape(rows)} by {escape(columns)}">',
        f'<text x="{left + side / 2:.0f}" y="12" text-anchor="middle">{escape(columns)}</text>',
        f'<text x="10" y="{top + side / 2:.0f}" text-anchor="middle" '
        f'transform="rotate(-90 10 {top + side / 2:.0f})">{escape(rows)}</text>',
    ]
    step = 1 if size >= 12 else 2  # labels closer than that run into each other
    for at in range(0, len(names), step):
        middle, name = (at + 0.5) * size, escape(shown[at])
        x, y = left + middle, top - 7
        parts += [
            f'<text x="{left - 6:.1f}" y="{top + middle + 4:.1f}" text-anchor="end">{name}</text>',
            f'<text x="{x:.1f}" y="{y:.1f}" transform="rotate(-45 {x:.1f} {y:.1f})">{name}</text>',
        ]
    for row, line in enumerate(counts):
        whole = sum(line) or 1
        for column, count in enumerate(line):
            x, y = left + column * size, top + row * size
            parts.append(_cell(x, y, size, count, count / whole, row == column, f"{names[row]} → {names[column]}"))
    return Markup("".join(['<div class="wide">', *parts, "</svg></div>"]))


def _cell(x: float, y: float, size: int, count: int, share: float, is_hit: bool, note: str) -> str:
    colour = "var(--c0)" if is_hit else "var(--c1)"
    # A single mistake among thousands is to be seen, so errors begin at a visible shade.
    shade = share if is_hit or not count else 0.15 + 0.85 * share
    drawn = (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{size - 1}" height="{size - 1}" rx="2" style="fill:var(--panel)"/>'
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{size - 1}" height="{size - 1}" rx="2" '
        f'style="fill:{colour};fill-opacity:{shade:.3f}"><title>{escape(note)}: {count} ({share:.1%})</title></rect>'
    )
    if size < READABLE or not count:
        return drawn
    ink = "#fff" if shade > 0.55 else "var(--ink)"
    middle = f'x="{x + (size - 1) / 2:.1f}" y="{y + size / 2 + 3.5:.1f}"'
    return drawn + f'<text {middle} text-anchor="middle" pointer-events="none" style="fill:{ink}">{count}</text>'
