"""Connectionist temporal classification (Graves et al., 2006): how likely outputs by time step spell a target.

CTCLoss takes log-probabilities (batch, steps, classes), targets (batch, longest) of class numbers, and how many steps
and symbols of each row count, int64 (batch,). It gives (batch,): -log of the probability of all paths that become the
target when repetitions are merged and blanks dropped. What lies beyond the lengths is read nowhere. A target that no
path can spell costs infinity, or nothing with ``zero_infinity``, and has no slope.

CTCLossGradient takes the gradient of the losses before the same inputs. Both are computed in float64, over logarithms
of the prefixes (alpha) and suffixes (beta) of the target with blanks between its symbols.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from toolkit.errors import ShapeError
from toolkit.operators.composed import gradient_through
from toolkit.operators.expression import TOOLKIT_DOMAIN, Expression, emit, expand, indices, reduce_sum, reshape, where
from toolkit.operators.precision import in_float32
from toolkit.operators.record import Call, TensorType, operator

Array = np.ndarray
INT64 = np.dtype(np.int64)
IMPOSSIBLE = -1e30  # a logarithm of 0 that can be subtracted from itself
NAMES = ("log_probabilities", "targets", "input_lengths", "target_lengths")


class _Lattice:
    """The paths of a batch: the target of each row with blanks between, (batch, places), and the steps that count."""

    def __init__(self, log_probabilities: Array, targets: Array, steps: Array, symbols: Array, blank: int) -> None:
        batch, self.time, _ = log_probabilities.shape
        self.is_long = symbols > targets.shape[1]
        self.steps, self.symbols = steps, np.where(self.is_long, 0, symbols)
        longest = int(self.symbols.max(initial=0))
        self.places = np.full((batch, 2 * longest + 1), blank, INT64)
        self.places[:, 1::2] = np.where(np.arange(longest) < self.symbols[:, None], targets[:, :longest], blank)
        self.may_skip = np.zeros(self.places.shape, bool)
        self.may_skip[:, 2:] = (self.places[:, 2:] != blank) & (self.places[:, 2:] != self.places[:, :-2])
        picked = np.broadcast_to(self.places[:, None], (batch, self.time, self.places.shape[1]))
        self.emissions = np.take_along_axis(log_probabilities.astype(np.float64), picked, axis=2)
        numbers = np.arange(self.places.shape[1])
        last = 2 * self.symbols[:, None]
        self.is_end = (numbers == last) | (numbers == last - 1)

    def prefixes(self) -> Array:
        """alpha: (batch, steps, places), the logarithm of all paths up to each place at each step; the last counts."""
        found = np.full(self.emissions.shape, -np.inf)
        found[:, 0, :2] = self.emissions[:, 0, :2]
        for step in range(1, self.time):
            before = found[:, step - 1]
            reached = np.logaddexp(before, _moved(before, 1))
            reached = np.logaddexp(reached, np.where(self.may_skip, _moved(before, 2), -np.inf))
            goes_on = (step < self.steps)[:, None]
            found[:, step] = np.where(goes_on, reached + self.emissions[:, step], before)
        return found

    def suffixes(self) -> Array:
        """beta: the logarithm of all ways on from each place at each step, what the step itself emits left out."""
        ends = np.where(self.is_end, 0.0, -np.inf)
        found = np.full(self.emissions.shape, -np.inf)
        found[:, -1] = ends
        for step in range(self.time - 2, -1, -1):
            after = found[:, step + 1] + self.emissions[:, step + 1]
            left = np.logaddexp(after, _moved(after, -1))
            left = np.logaddexp(left, _moved(np.where(self.may_skip, after, -np.inf), -2))
            found[:, step] = np.where((step + 1 < self.steps)[:, None], left, ends)
        return found

    def losses(self, prefixes: Array) -> Array:
        """-log of the probability of each target; infinity for those that cannot be spelt."""
        found = -np.logaddexp.reduce(np.where(self.is_end, prefixes[:, -1], -np.inf), axis=1)
        found = np.where(self.steps > 0, found, np.where(self.symbols > 0, np.inf, 0.0))
        return np.where(self.is_long, np.inf, found)


def _moved(x: Array, by: int) -> Array:
    """``x`` by places to the right (left where negative), impossible where nothing comes from."""
    found = np.full(x.shape, -np.inf)
    if by > 0:
        found[:, by:] = x[:, :-by]
    else:
        found[:, :by] = x[:, -by:]
    return found


@in_float32
def _loss(
    log_probabilities: Array,
    targets: Array,
    input_lengths: Array,
    target_lengths: Array,
    *,
    blank: int = 0,
    zero_infinity: int = 0,
) -> Array:
    lattice = _Lattice(log_probabilities, targets, input_lengths, target_lengths, blank)
    losses = lattice.losses(lattice.prefixes())
    if zero_infinity:
        losses = np.where(np.isinf(losses), 0.0, losses)
    return losses.astype(log_probabilities.dtype)


@in_float32
def _gradient(
    g: Array,
    log_probabilities: Array,
    targets: Array,
    input_lengths: Array,
    target_lengths: Array,
    *,
    blank: int = 0,
    zero_infinity: int = 0,
) -> Array:
    """Minus how probable it is, among the paths of the target, to be at a class at a step."""
    lattice = _Lattice(log_probabilities, targets, input_lengths, target_lengths, blank)
    prefixes = lattice.prefixes()
    losses = lattice.losses(prefixes)
    counts = np.isfinite(losses)[:, None, None] & (np.arange(lattice.time) < input_lengths[:, None])[:, :, None]
    exponents = prefixes + lattice.suffixes() + np.where(np.isfinite(losses), losses, 0.0)[:, None, None]
    visits = np.where(counts, np.exp(np.where(counts, exponents, -np.inf)), 0.0) * g[:, None, None]
    grad = np.zeros(log_probabilities.shape)
    rows = np.arange(len(g))
    for place in range(lattice.places.shape[1]):
        grad[rows, :, lattice.places[:, place]] -= visits[:, :, place]
    return grad.astype(log_probabilities.dtype)


def _check(types: Sequence[TensorType | None]) -> TensorType:
    given = dict(zip(NAMES, types, strict=True))
    absent = [name for name, kind in given.items() if kind is None]
    if absent:
        raise ShapeError(f"input {absent[0]!r} is required: connect it")
    shapes = {name: kind[1] for name, kind in given.items() if kind is not None}
    scores, targets = shapes["log_probabilities"], shapes["targets"]
    batch = scores[:1]
    lengths = (shapes["input_lengths"], shapes["target_lengths"])
    if len(scores) != 3 or 0 in scores or len(targets) != 2 or targets[:1] != batch or lengths != (batch, batch):
        raise ShapeError(
            "log_probabilities must be (batch, steps, classes), targets (batch, longest), both lengths (batch,), got "
            f"{', '.join(str(shape) for shape in shapes.values())}. Put the batch first."
        )
    first = types[0]
    assert first is not None
    return first


def _infer_loss(types: Sequence[TensorType | None], attributes: dict[str, Any], _: Any) -> list[TensorType]:
    dtype, shape = _check(types)
    return [(dtype, shape[:1])]


def _infer_gradient(types: Sequence[TensorType | None], attributes: dict[str, Any], _: Any) -> list[TensorType]:
    dtype, shape = _check(types[1:])
    if types[0] is None or types[0][1] != shape[:1]:
        raise ShapeError(f"the gradient must have the losses' shape {shape[:1]}, got {types[0] and types[0][1]}")
    return [(dtype, shape)]


def _loss_rule(call: Call, g: Expression) -> list[Expression | None]:
    made = emit("CTCLossGradient", g, *call.inputs, domain=TOOLKIT_DOMAIN, **call.attributes)
    return [made, None, None, None]


def _expanded_loss(call: Call) -> list[Expression | None]:
    """The same recursion step by step; what is impossible is a number that is large enough."""
    given, targets, steps, symbols = call.inputs
    assert given is not None and targets is not None and steps is not None and symbols is not None
    blank = int(call.attribute("blank", 0))
    batch, time, _ = given.shape
    count = 2 * targets.shape[1] + 1
    places = _with_blanks(targets, symbols, blank)
    skips = _skips(places, blank)
    picked = expand(reshape(places, (batch, 1, count)), (batch, time, count))
    emissions = emit("GatherElements", _no_less(given, IMPOSSIBLE), picked, axis=2)
    parts = emit("Split", emissions, outputs=time, axis=1, num_outputs=time) if time > 1 else [emissions]
    emitted = [reshape(part, (batch, count)) for part in parts]
    numbers = np.arange(count).reshape(1, count)
    dtype = given.dtype
    nowhere = np.asarray(IMPOSSIBLE, dtype)
    steps, symbols = reshape(steps, (batch, 1)), reshape(symbols, (batch, 1))
    alpha = where(emit("Less", indices(given, range(count)), 2), emitted[0], nowhere)
    for step in range(1, time):
        ways = [alpha, _shifted(alpha, 1), where(skips, _shifted(alpha, 2), nowhere)]
        alpha = where(emit("Greater", steps, step), _log_sum(ways) + emitted[step], alpha)
    last = symbols * 2
    is_end = emit("Or", emit("Equal", last, numbers), emit("Equal", last - 1, numbers))
    ends = where(is_end, alpha, nowhere)
    highest = emit("ReduceMax", ends, np.asarray([1]), keepdims=1)
    total = emit("Log", reduce_sum(emit("Exp", ends - highest), [1])) + highest
    never = np.asarray(-IMPOSSIBLE, dtype)
    without_steps = emit("Where", emit("Greater", symbols, 0), never, np.zeros((), dtype))
    loss = where(emit("Greater", steps, 0), -total, without_steps)
    worst = np.zeros((), dtype) if call.attribute("zero_infinity", 0) else np.asarray(np.inf, dtype)
    loss = where(emit("Greater", loss, -IMPOSSIBLE / 2), worst, loss)
    return [reshape(loss, (batch,))]


def _with_blanks(targets: Expression, symbols: Expression, blank: int) -> Expression:
    """blank, first symbol, blank, ..., blank: (batch, 2 * longest + 1)."""
    batch, longest = targets.shape
    own = np.full((batch, 1), blank, INT64)
    if longest == 0:
        return targets.emitter.constant(own)
    counts = emit("Less", np.arange(longest).reshape(1, longest), reshape(symbols, (batch, 1)))
    known = reshape(where(counts, targets, np.asarray(blank, INT64)), (batch, longest, 1))
    pairs = emit("Concat", np.full((batch, longest, 1), blank, INT64), known, axis=2)
    return emit("Concat", reshape(pairs, (batch, 2 * longest)), own, axis=1)


def _skips(places: Expression, blank: int) -> Expression:
    """Where a path may come from two places before: between symbols that differ, over the blank."""
    batch, count = places.shape
    if count < 3:
        return places.emitter.constant(np.zeros((batch, count), bool))
    ahead = emit("Slice", places, np.asarray([2]), np.asarray([count]), np.asarray([1]))
    behind = emit("Slice", places, np.asarray([0]), np.asarray([count - 2]), np.asarray([1]))
    differ = emit("And", emit("Not", emit("Equal", ahead, blank)), emit("Not", emit("Equal", ahead, behind)))
    return emit("Concat", np.zeros((batch, 2), bool), differ, axis=1)


def _shifted(x: Expression, by: int) -> Expression:
    """``x`` (batch, places) by places to the right."""
    batch, count = x.shape
    lead = x.emitter.constant(np.full((batch, min(by, count)), IMPOSSIBLE, x.dtype))
    if by >= count:
        return lead
    kept = emit("Slice", x, np.asarray([0]), np.asarray([count - by]), np.asarray([1]))
    return emit("Concat", lead, kept, axis=1)


def _log_sum(ways: Sequence[Expression]) -> Expression:
    highest = emit("Max", *ways)
    terms = [emit("Exp", way - highest) for way in ways]
    return emit("Log", sum(terms[1:], terms[0])) + highest


def _no_less(x: Expression, low: float) -> Expression:
    return emit("Max", x, np.asarray(low, x.dtype))


def _expanded_gradient(call: Call) -> list[Expression | None]:
    g, *rest = call.inputs
    inner = Call(rest, [], call.attributes, [True, False, False, False], call.version)
    return [gradient_through(_expanded_loss)(inner, g)[0]]  # type: ignore[list-item]


operator(
    "CTCLoss",
    domain=TOOLKIT_DOMAIN,
    reference=_loss,
    gradient=_loss_rule,
    infer=_infer_loss,
    expansion=_expanded_loss,
    host_only="its lattice is walked there",
)
operator(
    "CTCLossGradient",
    domain=TOOLKIT_DOMAIN,
    reference=_gradient,
    gradient=gradient_through(_expanded_gradient),
    infer=_infer_gradient,
    expansion=_expanded_gradient,
    host_only="its lattice is walked there",
)
