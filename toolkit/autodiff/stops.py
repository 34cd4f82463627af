"""Where gradients end on their way back, and what that leaves them without.

A gradient ends at an operator that has none. Nothing is missing then where the results of the operator do not move with
its inputs, or only by jumps (shapes, positions, comparisons, rounding): the slope is zero, the stop is exact. Anywhere
else what lies before it gets only the part of its gradient that comes on other ways, or none at all. Nobody may find
that out from a model that does not learn, so every stop is kept for what it cuts off.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from toolkit.compiler.program import Node, Variable
from toolkit.graph.parameter import is_trainable_dtype
from toolkit.operators.record import NotDifferentiable

MOST_STOPS = 4  # of each kind that are remembered for one variable
MOST_NAMES = 3  # of parameters that a message lists for one reason
NO_RECORD = NotDifferentiable("nobody has written one", slope_is_zero=False)


@dataclass(frozen=True, slots=True)
class Stop:
    """A layer at which a gradient ends, and why; see the module for ``is_exact``."""

    operator: str
    layer: str
    reason: str
    is_exact: bool

    def __str__(self) -> str:
        return f"{self.operator} {self.layer!r} ({self.reason})"


@dataclass(frozen=True, slots=True)
class Shortfall:
    """What is missing of a gradient: all of it, or, if it ``is_partial``, what would come through the ``stops``."""

    stops: tuple[Stop, ...]
    is_partial: bool = False

    @property
    def is_exact(self) -> bool:
        """Whether what is missing is zero."""
        return all(stop.is_exact for stop in self.stops)

    def __str__(self) -> str:
        ways = " and ".join(str(stop) for stop in self.stops)
        if self.is_partial:
            return f"a part of the gradient is missing, the one through {ways}"
        return f"no gradient, because every way to the result leads through {ways}"


def told(shortfalls: Mapping[str, Shortfall]) -> str:
    """Shortfalls by the name of a parameter in one line, those with the same reason together."""
    groups: dict[str, list[str]] = {}
    for name, shortfall in shortfalls.items():
        groups.setdefault(str(shortfall), []).append(name)
    return "; ".join(f"{_listed(names)}: {reason}" for reason, names in groups.items())


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return ", ".join(repr(name) for name in names[:MOST_NAMES]) + more


class Gradients(dict[Variable, Variable]):
    """Gradients by the variable they belong to, with what is known about the ones that are not there.

    - ``wanted``: all variables that were asked for
    - ``relevant``: every variable that a gradient would pass on its way to them
    - ``reached``: every variable of the program to which a gradient came
    - ``influential``: every variable on which a seeded one depends in any way
    - ``stops``: where gradients end between a variable and the seeds, for variables that a stop concerns
    - ``ends``: the stop that a node is, for those at which gradients end
    """

    def __init__(
        self,
        found: Mapping[Variable, Variable],
        wanted: Sequence[Variable],
        relevant: set[Variable],
        reached: set[Variable],
        influential: set[Variable],
        stops: Mapping[Variable, tuple[Stop, ...]],
        ends: Mapping[Node, Stop],
    ) -> None:
        super().__init__(found)
        self.wanted, self.relevant, self.reached, self.influential = wanted, relevant, reached, influential
        self.stops, self.ends = stops, ends

    def shortfalls(self) -> dict[Variable, Shortfall]:
        """What is missing, by variable; nothing is where no seed depends on a variable, or all stops are exact."""
        missing = {}
        for variable in self.wanted:
            stops = self.stops.get(variable, ())
            lossy = tuple(stop for stop in stops if not stop.is_exact)
            if variable not in self and stops:
                missing[variable] = Shortfall(lossy or stops)
            elif lossy:
                missing[variable] = Shortfall(lossy, is_partial=True)
        return missing


def stop_at(node: Node, refusal: NotDifferentiable) -> Stop:
    """A gradient came to ``node``, which has none to pass on."""
    made = [item.dtype for item in node.outputs if item is not None]
    return Stop(node.operator, node.layer, refusal.reason, refusal.lacks_nothing(made))


def trace(
    nodes: Sequence[Node], seeds: Iterable[Variable], reached: set[Variable], cuts: Mapping[tuple[Node, int], Stop]
) -> tuple[set[Variable], dict[Variable, tuple[Stop, ...]], dict[Node, Stop]]:
    """What influences the seeds, the stops between them and every variable, and the nodes that are stops.

    ``reached`` are the variables with a gradient, ``cuts`` the inputs to which a node passed none on.
    """
    influential = set(seeds)
    stops: dict[Variable, tuple[Stop, ...]] = {}
    ends: dict[Node, Stop] = {}
    for node in reversed(nodes):
        made = [item for item in node.outputs if item is not None]
        alive = [item for item in made if item in influential]
        if not alive:
            continue
        found = _union([stops[item] for item in made if item in stops])
        end = None if any(item in reached for item in made) else _end(node, alive, found)
        for index, item in enumerate(node.inputs):
            if item is None:
                continue
            influential.add(item)
            if not is_trainable_dtype(item.dtype):
                continue
            cut = cuts.get((node, index), end)
            if cut is not None and (node not in ends or ends[node].is_exact):
                ends[node] = cut
            behind = found if cut is None else (cut,)
            if behind:
                stops[item] = _union([stops[item], behind]) if item in stops else behind
    return influential, stops, ends


def _end(node: Node, alive: Sequence[Variable], found: Sequence[Stop]) -> Stop | None:
    """The stop that a node is to which no gradient came, where not the one that kept it away counts (``None``)."""
    refusal = NO_RECORD if node.record is None else node.record.gradient
    is_smooth = all(is_trainable_dtype(item.dtype) for item in alive)
    if isinstance(refusal, NotDifferentiable):
        stop = stop_at(node, refusal)
        is_beyond_steps = bool(found) and all(item.is_exact for item in found)
        return None if is_smooth and is_beyond_steps and not stop.is_exact else stop
    if any(is_trainable_dtype(item.dtype) for item in alive):
        return None
    return Stop(node.operator, node.layer, f"its {alive[0].dtype.name} results carry no gradient", True)


def _union(several: Sequence[tuple[Stop, ...]]) -> tuple[Stop, ...]:
    if len(several) <= 1:
        return several[0] if several else ()
    merged = dict.fromkeys(stop for stops in several for stop in stops)
    kept = []
    for is_exact in (False, True):
        kept += [stop for stop in merged if stop.is_exact == is_exact][:MOST_STOPS]
    return tuple(kept)
