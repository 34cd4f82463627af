"""Line charts as SVG: a few series over a common axis, with ticks at round numbers. Gaps stand for what is missing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

from toolkit.report.page import Markup, colour, legend

WIDTH, HEIGHT = 860, 280
LEFT, RIGHT, TOP, BOTTOM = 64, 12, 10, 38
MOST_DOTTED = 40  # points; more than these are a line without dots


def lines(
    series: Mapping[str, Sequence[float | None]],
    *,
    x: Sequence[float] | None = None,
    x_label: str = "",
    y_label: str = "",
) -> Markup:
    """A chart of each series over ``x`` (1, 2, ... by default); what is ``None`` or not finite leaves a gap."""
    positions = list(range(1, 1 + max(map(len, series.values()), default=0))) if x is None else list(x)
    known = [value for values in series.values() for value in values if value is not None and math.isfinite(value)]
    if not known or not positions:
        return Markup("<p>Nothing was recorded.</p>")
    across = _Axis(min(positions), max(positions), LEFT, WIDTH - RIGHT)
    along = _Axis(min(known), max(known), HEIGHT - BOTTOM, TOP)
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(y_label)} over {escape(x_label)}">',
        *(_horizontal(along, tick) for tick in along.ticks),
        *(_vertical(across, tick) for tick in across.ticks),
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 4}" text-anchor="middle">{escape(x_label)}</text>',
        f'<text x="12" y="{(TOP + HEIGHT - BOTTOM) / 2}" text-anchor="middle" '
        f'transform="rotate(-90 12 {(TOP + HEIGHT - BOTTOM) / 2})">{escape(y_label)}</text>',
    ]
    for index, values in enumerate(series.values()):
        parts += _series(across, along, positions, values, colour(index))
    return Markup(legend(list(series)) + "".join([*parts, "</svg>"]))


class _Axis:
    """From numbers to pixels, widened to round numbers."""

    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        step = _round_step((high - low) or abs(high) or 1.0)
        self.low, self.high = math.floor(low / step) * step, math.ceil(high / step) * step
        if self.low == self.high:
            self.high = self.low + step
        self.step, self.start, self.end = step, start, end

    @property
    def ticks(self) -> list[float]:
        count = round((self.high - self.low) / self.step)
        return [self.low + index * self.step for index in range(count + 1)]

    def place(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def named(self, value: float) -> str:
        """A tick in as many digits as tell it from its neighbours."""
        digits = max(0, -math.floor(math.log10(self.step))) if self.step < 1 else 0
        return f"{value:,.{digits}f}" if digits < 7 else f"{value:.2g}"


def _round_step(span: float) -> float:
    """A step of 1, 2 or 5 times a power of ten that divides ``span`` into about five."""
    power = 10.0 ** math.floor(math.log10(span / 5))
    return next(factor * power for factor in (1, 2, 5, 10) if span / (factor * power) <= 6)


def _horizontal(axis: _Axis, tick: float) -> str:
    y = axis.place(tick)
    return (
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{axis.named(tick)}</text>'
    )


def _vertical(axis: _Axis, tick: float) -> str:
    x = axis.place(tick)
    return f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{axis.named(tick)}</text>'


def _series(across: _Axis, along: _Axis, x: Sequence[float], values: Sequence[float | None], stroke: str) -> list[str]:
    runs: list[list[tuple[float, float]]] = [[]]
    for position, value in zip(x, values, strict=False):
        if value is not None and math.isfinite(value):
            runs[-1].append((across.place(position), along.place(value)))
        else:
            runs.append([])
    drawn = []
    for run in filter(None, runs):
        points = " ".join(f"{left:.1f},{top:.1f}" for left, top in run)
        drawn.append(f'<polyline points="{points}" fill="none" style="stroke:{stroke}" stroke-width="2"/>')
        if len(run) <= MOST_DOTTED:
            drawn += [f'<circle cx="{left:.1f}" cy="{top:.1f}" r="2.5" style="fill:{stroke}"/>' for left, top in run]
    return drawn
