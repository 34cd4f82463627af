"""Horizontal bars: one labelled number a row, coloured by group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from toolkit.report.page import Markup, colour


@dataclass(frozen=True, slots=True)
class Bar:
    """One row: ``number`` is the text beside the bar, ``group`` decides its colour, ``note`` appears on hovering."""

    label: str
    value: float
    number: str
    group: int = 0
    note: str = ""


def bars(rows: Sequence[Bar]) -> Markup:
    """Bars in the order given, the longest across the whole width."""
    longest = max((row.value for row in rows), default=0.0) or 1.0
    cells = (
        f'<span class="name" title="{escape(row.label)}">{escape(row.label)}</span>'
        f'<span class="track" title="{escape(row.note or row.number)}"><div class="fill" '
        f'style="width:{max(row.value, 0.0) / longest:.2%};background:{colour(row.group)}"></div></span>'
        f'<span class="number">{escape(row.number)}</span>'
        for row in rows
    )
    return Markup(f'<div class="bars">{"".join(cells)}</div>')
