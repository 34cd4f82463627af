"""What Winograd's minimal filtering F(m, r) does to windows, filters and results, along one axis.

``outputs`` m neighbouring results of a filter of ``taps`` r numbers need m + r - 1 products: a polynomial product is
evaluated at the points 0, infinity and pairs of a number and its negative, and interpolated again (Toom and Cook;
Winograd 1980; Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2015). A pair shares its even and
its odd part. Along two axes the same is done to columns, then to rows.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

Line = list[Any]  # numbers that can be added and multiplied, registers of a kernel or arrays, along one axis


class Phase(NamedTuple):
    """``products`` along one axis: which factor of a window by which one of a filter is added to which sum.

    The first ones, and how far the next ones are behind them, which is 1 for windows. ``is_first``: no phase in front
    of this one adds to the same sums.
    """

    products: int
    window: int = 0
    filter: int = 0
    sum: int = 0
    filter_step: int = 1
    sum_step: int = 1
    is_first: bool = True

    def has(self, sum: Any) -> Any:
        """Whether there is a product for a sum."""
        return (sum >= self.sum) & (sum < self.sum + self.products)

    def places(self, sum: Any) -> tuple[Any, Any]:
        """The factors of a window and of a filter whose product is for a sum, if sums have one each."""
        window, factor, _ = self.product(sum - self.sum)
        return window, factor

    def product(self, index: Any) -> tuple[Any, Any, Any]:
        """The factors of a window and of a filter, and the sum of a product."""
        return index + self.window, index * self.filter_step + self.filter, index * self.sum_step + self.sum


class Scheme(Hashable, Protocol):
    """How neighbouring results are made along one axis: of sums of products of factors of windows and of filters."""

    @property
    def outputs(self) -> int:
        """Results of a tile."""

    @property
    def taps(self) -> int:
        """Numbers of a filter."""

    @property
    def size(self) -> int:
        """Numbers that a tile reads, its window, and its factors."""

    @property
    def infinity(self) -> int:
        """The factor of a window that goes into one result alone, the last one."""

    @property
    def filters(self) -> int:
        """Factors of a filter."""

    @property
    def sums(self) -> int:
        """Sums of products."""

    @property
    def step(self) -> int:
        """From the window of a tile to that of the next one."""

    @property
    def phases(self) -> tuple[Phase, ...]:
        """Which products are added to which sums."""

    def window(self, values: Line) -> Line:
        """A window as its factors."""

    def filter(self, values: Line) -> Line:
        """A filter as its factors."""

    def result(self, sums: Line) -> Line:
        """Sums as results."""


@dataclass(frozen=True, slots=True)
class Filtering:
    """F(``outputs``, ``taps``), evaluated at 0, infinity and both signs of each of ``points``."""

    outputs: int
    taps: int
    points: tuple[float, ...]

    def __post_init__(self) -> None:
        assert self.size == 2 + 2 * len(self.points), "as many points as products are needed"

    @property
    def size(self) -> int:
        """Of a window, and of what is multiplied."""
        return self.outputs + self.taps - 1

    @property
    def infinity(self) -> int:
        return self.size - 1

    @property
    def filters(self) -> int:
        return self.size

    @property
    def sums(self) -> int:
        return self.size

    @property
    def step(self) -> int:
        return self.outputs

    @property
    def phases(self) -> tuple[Phase, ...]:
        return (Phase(self.size),)

    @property
    def swapped(self) -> Filtering:
        """At the same points, as many results as there were taps, of as many taps as there were results."""
        return Filtering(self.taps, self.outputs, self.points)

    def window(self, values: Line) -> Line:
        """A window of ``size`` numbers as its factors (the matrix B transposed)."""
        whole = even_polynomial(self.points)
        found = [weighted(values[::2], whole)]
        for point in self.points:
            others = even_polynomial([item for item in self.points if item != point])
            even, odd = weighted(values[2::2], others), weighted(values[1:-1:2], others)
            found += both_signs(even, odd, point)
        return [*found, weighted(values[1::2], whole)]

    def filter(self, values: Line) -> Line:
        """A filter of ``taps`` numbers as its factors (the matrix G)."""
        found = [values[0] * (1 / self._scale(0.0))]
        for point in self.points:
            scale = 1 / self._scale(point)
            even = weighted(values[::2], [scale * point**power for power in range(0, self.taps, 2)])
            odd = weighted(values[1::2], [scale * point**power for power in range(0, self.taps - 1, 2)])
            found += both_signs(even, odd, point)
        return [*found, values[-1]]

    def result(self, products: Line) -> Line:
        """``size`` products as ``outputs`` numbers (the matrix A transposed)."""
        pairs = list(zip(products[1:-1:2], products[2:-1:2], strict=True))
        parts = [[one + other for one, other in pairs], [one - other for one, other in pairs]]
        found = [weighted(parts[at % 2], [point**at for point in self.points]) for at in range(self.outputs)]
        found[0] = found[0] + products[0]
        found[-1] = found[-1] + products[-1]
        return found

    def _scale(self, point: float) -> float:
        """The product of the distances of a point from all the others."""
        scale = 1.0 if point == 0 else 2 * point * point
        for other in self.points:
            if other != point:
                scale *= point * point - other * other
        return scale


def in_both_axes(transform: Callable[[Line], Line], square: Sequence[Line]) -> list[Line]:
    """Apply what is done to a line to each column of a square of numbers, then to each row."""
    columns = [transform([row[at] for row in square]) for at in range(len(square[0]))]
    return [transform([column[at] for column in columns]) for at in range(len(columns[0]))]


def even_polynomial(points: Sequence[float]) -> list[float]:
    """The coefficients of the product of ``t - point ** 2``, lowest power first."""
    found = [1.0]
    for point in points:
        found = [low - point * point * high for low, high in zip([0.0, *found], [*found, 0.0], strict=True)]
    return found


def weighted(values: Line, weights: Sequence[float]) -> Any:
    """The sum of numbers by weights."""
    total = None
    for value, weight in zip(values, weights, strict=True):
        if total is None:
            total = value if weight == 1.0 else value * weight
        else:
            total = total + value if weight == 1.0 else _plus(value, weight, total)
    return total


def _plus(value: Any, weight: float, total: Any) -> Any:
    fused = getattr(value, "times_plus", None)
    return value * weight + total if fused is None else fused(weight, total)


def both_signs(even: Any, odd: Any, point: float) -> Line:
    return [_plus(odd, point, even), _plus(odd, -point, even)]
