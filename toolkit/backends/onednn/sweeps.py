"""Sweeps: how the lines of an update rule are grouped so that memory is passed over as few times as possible.

oneDNN chains elementwise operations behind a first one, each with an operand in memory. A line therefore continues the
sweep that computed one of its operands, where nobody else needs that; what several lines need is stored between them.
Nothing here knows of addresses or primitives.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from toolkit.backends.onednn.activation import ABS, CLIP, EXP, POWER, RELU, SQRT, TANH
from toolkit.backends.onednn.primitive import ADD, DIVIDE, LINEAR, MAXIMUM, MINIMUM, MULTIPLY, SUBTRACT, Eltwise
from toolkit.operators.standard.update_rule import Line, Operand, Rule

UPDATE = -1  # as a temporary: the memory of the update
HUGE = 3e38  # two multiplications by it make any number that is not 0 exceed 1


@dataclass(frozen=True, slots=True)
class With:
    """A link: combine with a tensor or a number."""

    algorithm: int
    operand: Operand


@dataclass(frozen=True, slots=True)
class Blend:
    """A first link: ``own`` * source + ``scale`` * operand, by numbers or ``None`` for 1. The fastest there is."""

    operand: Operand
    own: Operand | None
    scale: Operand | None


Link = With | Eltwise | Blend
COPY = With(MULTIPLY, Operand("c", value=1.0))
_BINARY = {"Add": ADD, "Mul": MULTIPLY, "Max": MAXIMUM, "Min": MINIMUM}
_UNARY: Mapping[str, tuple[Eltwise, ...]] = {
    "Sqrt": (Eltwise(SQRT),),
    "Abs": (Eltwise(ABS),),
    "Exp": (Eltwise(EXP),),
    "Tanh": (Eltwise(TANH),),
    "Relu": (Eltwise(RELU),),
    "Neg": (Eltwise(LINEAR, -1.0),),
    "Reciprocal": (Eltwise(POWER, 1.0, -1.0),),
    "Sign": (Eltwise(LINEAR, HUGE), Eltwise(CLIP, -1.0, 1.0)) * 2,
    "Identity": (Eltwise(LINEAR, 1.0),),
}
SCALARS: Mapping[str, Callable[..., object]] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": np.divide,
    "Max": np.maximum,
    "Min": np.minimum,
    "Sqrt": np.sqrt,
    "Abs": np.abs,
    "Exp": np.exp,
    "Neg": np.negative,
    "Reciprocal": np.reciprocal,
}


@dataclass(eq=False)
class Sweep:
    """``source`` put through ``links``. It is stored in tensor ``target``, or in scratch memory ``temporary``."""

    source: Operand
    links: list[Link]
    value: int | None
    target: int | None = None
    temporary: int = 0

    @property
    def first(self) -> With | Blend:
        """The link that everything else is chained behind."""
        first = self.links[0]
        assert not isinstance(first, Eltwise)
        return first

    def reads(self) -> list[Operand]:
        return [self.source, *(item.operand for item in self.links if not isinstance(item, Eltwise))]


@dataclass
class Sweeps:
    """A rule as ``scalars``, lines on numbers alone, and ``order``, the sweeps; ``places`` tells who stores a value."""

    scalars: dict[int, Line] = field(default_factory=dict)
    order: list[Sweep] = field(default_factory=list)
    places: dict[int, Sweep] = field(default_factory=dict)
    temporaries: int = 0


def is_known(rule: Rule) -> bool:
    """Whether every line of the rule has a place in a sweep."""
    scalars: set[int] = set()
    for index, line in enumerate(rule.lines):
        if all(_is_scalar(item, scalars) for item in line.operands):
            if line.op_type not in SCALARS:
                return False
            scalars.add(index)
        elif line.op_type not in (*_BINARY, *_UNARY, "Sub", "Div") or len(line.operands) > 2:
            return False
    return not any(_is_scalar(item, scalars) for item in rule.results)


def _is_scalar(item: Operand, scalars: Mapping[int, Line] | set[int]) -> bool:
    return item.kind in "cn" or (item.kind == "v" and item.index in scalars)


def sweeps_of(rule: Rule) -> Sweeps:
    """Group the lines of a rule."""
    made = Sweeps()
    uses = [item.index for line in rule.lines for item in line.operands if item.kind == "v"]
    uses += [item.index for item in rule.results if item.kind == "v"]
    kept = {item.index for item in rule.results if item.kind == "v"}
    open_ends: dict[int, Sweep] = {}  # by the value that they have come to, those that may be continued
    found: list[Sweep] = []
    for index, line in enumerate(rule.lines):
        if all(_is_scalar(item, made.scalars) for item in line.operands):
            made.scalars[index] = line
            continue
        sweep = _blended(line, open_ends, made.scalars, found) or _continued(line, open_ends, made.scalars, found)
        sweep.value = index
        if uses.count(index) == 1 and index not in kept:
            open_ends[index] = sweep
    made.places = {item.value: item for item in found if item.value is not None}
    found += _stored(rule, made)
    for sweep in found:
        sweep.links = _binary_first(sweep.links)
    made.order = _ordered(found, made)
    made.temporaries = _share(made, rule.targets)
    return made


def _continued(line: Line, open_ends: dict[int, Sweep], scalars: Mapping[int, Line], found: list[Sweep]) -> Sweep:
    """The longest sweep that the line can continue, else a new one."""
    ends = [at for at, item in enumerate(line.operands) if item.kind == "v" and item.index in open_ends]
    if ends:
        at = max(ends, key=lambda at: len(open_ends[line.operands[at].index].links))
        sweep = open_ends.pop(line.operands[at].index)
    else:
        at = next(at for at, item in enumerate(line.operands) if not _is_scalar(item, scalars))
        sweep = Sweep(line.operands[at], [], None)
        found.append(sweep)
    sweep.links += _links(line, at)
    return sweep


def _blended(line: Line, open_ends: dict[int, Sweep], scalars: Mapping[int, Line], found: list[Sweep]) -> Sweep | None:
    """A sum of two tensors in memory, at least one of them times a number, as one sweep."""
    if line.op_type != "Add":
        return None
    terms: list[tuple[Operand, Operand | None]] = []
    spent = []
    for item in line.operands:
        sweep = open_ends.get(item.index) if item.kind == "v" else None
        if sweep is None and not _is_scalar(item, scalars):
            terms.append((item, None))
        elif sweep is not None and len(sweep.links) == 1:
            link = sweep.links[0]
            if isinstance(link, With) and link.algorithm == MULTIPLY and _is_scalar(link.operand, scalars):
                terms.append((sweep.source, link.operand))
                spent.append(item.index)
    if len(terms) != 2 or not spent:
        return None
    for index in spent:
        found.remove(open_ends.pop(index))
    (source, own), (operand, scale) = terms
    found.append(Sweep(source, [Blend(operand, own, scale)], None))
    return found[-1]


def _links(line: Line, at: int) -> list[Link]:
    """A line as links behind its operand ``at``."""
    if line.op_type in _UNARY:
        return list(_UNARY[line.op_type])
    other = line.operands[1 - at]
    if line.op_type in _BINARY:
        return [With(_BINARY[line.op_type], other)]
    if line.op_type == "Sub":
        return [Eltwise(LINEAR, -1.0), With(ADD, other)] if at else [With(SUBTRACT, other)]
    return [Eltwise(POWER, 1.0, -1.0), With(MULTIPLY, other)] if at else [With(DIVIDE, other)]


def _binary_first(links: list[Link]) -> list[Link]:
    """The same with a binary link first: oneDNN chains nothing fast behind an elementwise function."""
    first = links[0]
    if not isinstance(first, Eltwise):
        return links
    if first.algorithm == LINEAR and first.beta == 0.0:
        return [With(MULTIPLY, Operand("c", value=first.alpha)), *links[1:]]
    return [With(MULTIPLY, Operand("c", value=1.0)), *links]


def _stored(rule: Rule, made: Sweeps) -> list[Sweep]:
    """Give sweeps their targets; returns the copies for results that are stored elsewhere already."""
    copies = []
    for item, target in zip(rule.results, rule.targets, strict=True):
        if item.kind == "v" and made.places[item.index].target is None:
            made.places[item.index].target = target
        elif item != Operand("t", target):
            copies.append(Sweep(item, [COPY], None, target))
    return copies


def _ordered(found: Sequence[Sweep], made: Sweeps) -> list[Sweep]:
    """An order in which operands are there when they are read, and not overwritten before.

    Where two sweeps would overwrite what the other one reads, one is stored aside and copied at the end.
    """
    waiting, order, late = list(found), [], []

    def ready(item: Sweep) -> bool:
        needed = (made.places[read.index] for read in item.reads() if read.kind == "v" and read.index in made.places)
        return not any(other in waiting for other in needed)

    def overwrites(item: Sweep) -> bool:
        old = Operand("t", item.target if item.target is not None else -1)
        return any(other is not item and old in other.reads() for other in waiting)

    while waiting:
        able = [item for item in waiting if ready(item)]
        chosen = next((item for item in able if not overwrites(item)), None)
        if chosen is None:
            chosen = able[0]
            source = Operand("v", chosen.value) if chosen.value is not None else chosen.source
            late.append(Sweep(source, [COPY], None, chosen.target))
            chosen.target = None
        waiting.remove(chosen)
        order.append(chosen)
    return order + late


def _share(made: Sweeps, targets: Sequence[int]) -> int:
    """Number the temporaries, so that one whose readers are done serves again; returns how many there are.

    The update is one of them once nobody reads it any more: it ends with this step.
    """
    last: dict[Sweep, int] = {}
    for position, item in enumerate(made.order):
        for read in item.reads():
            if read.kind == "v" and read.index in made.places:
                last[made.places[read.index]] = position
    free: list[int] = []
    count = 0
    end_of_update = max((at for at, item in enumerate(made.order) if Operand("t", 1) in item.reads()), default=-1)
    for position, item in enumerate(made.order):
        if position == end_of_update and 1 not in targets:
            free.append(UPDATE)
        if item.target is None:
            if not free:
                free.append(count)
                count += 1
            item.temporary = free.pop()
        free += [other.temporary for other, end in last.items() if end == position and other.target is None]
    return count
