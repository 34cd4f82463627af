"""Minimal filtering along one axis where windows of three taps lie two positions apart, and for its gradients.

Of a window, every second number meets the outer taps alone, and the numbers between meet the middle one. Neighbouring
results are those of a filter of two taps one position apart, F(m, 2), and of one of one tap. The latter takes as many
products as it has results, whatever is done to them; seen at all points of the former but infinity, they go into the
same sums, and its filter is the tap itself at each of them. So 2 m + 1 products make what took 3 m.

The gradient by the input has two lines of results, of the outer taps and of the middle one, from one window: there it
is the factors of windows that are shared.
"""

from __future__ import annotations

from dataclasses import dataclass

from toolkit.backends.native.winograd.transforms import Line, Phase, both_signs, even_polynomial, weighted


@dataclass(frozen=True, slots=True)
class _Halves:
    """``pairs``, each of a number and its negative, are as many points as there are results of one phase, ``each``.

    Infinity is one more point.
    """

    pairs: tuple[float, ...]

    @property
    def taps(self) -> int:
        return 3

    @property
    def each(self) -> int:
        return 2 * len(self.pairs)

    @property
    def filters(self) -> int:
        """Factors of a filter: one at each point, and the middle tap."""
        return self.each + 2

    def filter(self, values: Line) -> Line:
        """Three taps as factors."""
        first, middle, last = values
        return [*(value for pair in self.pairs for value in both_signs(first, last, pair)), last, middle]

    @property
    def infinity(self) -> int:
        return self.each

    def _at_points(self, values: Line) -> Line:
        """Numbers at as many finite points: ``_line`` makes them of that again."""
        found = []
        for pair in self.pairs:
            others = even_polynomial([item for item in self.pairs if item != pair])
            scale = 0.5 / weighted([pair ** (2 * power) for power in range(len(others))], others)
            even = weighted(values[::2], [weight * scale for weight in others])
            odd = weighted(values[1::2], [weight * scale / pair for weight in others])
            found += [even + odd, even - odd]
        return found

    def _at_all(self, values: Line) -> Line:
        """One number more at all points, infinity last."""
        return [*self._at_points(values[:-1]), weighted(values[::2], even_polynomial(self.pairs))]

    def _line(self, sums: Line) -> Line:
        """Results from sums at the finite points, and at infinity if that is there."""
        ones, others = sums[: self.each : 2], sums[1 : self.each : 2]
        parts = [[one + other for one, other in zip(ones, others, strict=True)]]
        parts.append([one - other for one, other in zip(ones, others, strict=True)])
        found = [weighted(parts[at % 2], [pair**at for pair in self.pairs]) for at in range(self.each)]
        if len(sums) > self.each:
            found[-1] = found[-1] + sums[-1]
        return found


class Strided(_Halves):
    """A convolution: neighbouring results of windows that lie two positions apart."""

    __slots__ = ()

    @property
    def outputs(self) -> int:
        return self.each

    @property
    def size(self) -> int:
        return 2 * self.each + 1

    @property
    def sums(self) -> int:
        return self.each + 1

    @property
    def step(self) -> int:
        return 2 * self.each

    @property
    def phases(self) -> tuple[Phase, ...]:
        outer = self.each + 1
        return Phase(outer), Phase(self.each, window=outer, filter=outer, filter_step=0, is_first=False)

    def window(self, values: Line) -> Line:
        """Factors at all points from the numbers that meet the outer taps, at the finite ones from the others."""
        return [*self._at_all(values[::2]), *self._at_points(values[1::2])]

    def result(self, sums: Line) -> Line:
        return self._line(sums)

    @property
    def swapped(self) -> Gathered:
        """The same products for the gradient by the weight."""
        return Gathered(self.pairs)


class Gathered(Strided):
    """The gradient by the weight: three results, of as many taps as the convolution has results.

    All products with numbers that meet the middle tap go into one sum.
    """

    __slots__ = ()

    @property
    def taps(self) -> int:
        return self.each

    @property
    def outputs(self) -> int:
        return 3

    @property
    def filters(self) -> int:
        return self.each + 1

    @property
    def sums(self) -> int:
        return self.each + 2

    @property
    def phases(self) -> tuple[Phase, ...]:
        outer = self.each + 1
        return Phase(outer), Phase(self.each, window=outer, sum=outer, sum_step=0)

    def filter(self, values: Line) -> Line:
        """Neighbouring gradients as factors: each of the sums that ``Strided`` makes them of, backwards."""
        found = []
        for pair in self.pairs:
            even = weighted(values[::2], [pair**power for power in range(0, self.each, 2)])
            odd = weighted(values[1::2], [pair**power for power in range(1, self.each, 2)])
            found += [even + odd, even - odd]
        return [*found, values[-1]]

    def result(self, sums: Line) -> Line:
        """The gradients by the taps from those by their factors."""
        ones, others, (last, middle) = sums[: self.each : 2], sums[1 : self.each : 2], sums[self.each :]
        both = list(zip(ones, others, strict=True))
        first = weighted([one + other for one, other in both], [1.0] * len(both))
        return [first, middle, weighted([last, *(one - other for one, other in both)], [1.0, *self.pairs])]


class Spread(_Halves):
    """The gradient by the input: neighbouring results from half as many gradients and one more.

    The first of them is one of the middle tap. Filters are read backwards.
    """

    __slots__ = ()

    @property
    def outputs(self) -> int:
        return 2 * self.each

    @property
    def size(self) -> int:
        return self.each + 1

    @property
    def sums(self) -> int:
        return 2 * self.each + 1

    @property
    def step(self) -> int:
        return self.each

    @property
    def phases(self) -> tuple[Phase, ...]:
        outer = self.each + 1
        return Phase(outer), Phase(self.each, filter=outer, sum=outer, filter_step=0)

    def window(self, values: Line) -> Line:
        return self._at_all(values)

    def result(self, sums: Line) -> Line:
        outer, middle = self._line(sums[: self.each + 1]), self._line(sums[self.each + 1 :])
        return [value for both in zip(middle, outer, strict=True) for value in both]
