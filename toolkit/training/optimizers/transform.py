"""Transforms: the parts that optimizers are chained from, and the optimizer as a chain of them.

A transform sees the gradient as the ones before it left it, and hands on what it makes of it; one of the chain moves
the parameter. All of it becomes nodes of the compiled step: elementwise transforms that follow each other run as one
sweep over all parameters of a group. What varies from step to step reaches them as numbers, so no step needs another
plan.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from toolkit.errors import TrainingError
from toolkit.operators.expression import Expression
from toolkit.runtime.update_part import Part
from toolkit.training.optimizers.numbers import Moment, above, at_least_zero

SlotShape = Callable[[tuple[int, ...]], tuple[int, ...]]


class Transform:
    """An (init, update) pair: ``slots`` are what is kept for each parameter, zeros at first; ``update`` the step.

    - ``slots``: their names; they have the parameter's shape, unless ``slot_shapes`` of a transform that is not
      elementwise says otherwise
    - ``numbers(now)``: the numbers of a step, as ``float`` or as expressions of ``now`` (see ``numbers.Moment``)
    - ``shared(updates)``: further numbers, computed in the graph from the updates of all parameters
    - ``update(part)``: the next update of one parameter, see ``Part``
    - ``is_elementwise``: every element is moved alike and alone, so the rule runs on flat memory
    - ``moves``: ``update`` calls ``part.move``; exactly one transform of a chain does
    """

    slots: Sequence[str] = ()
    is_elementwise: bool = True
    moves: bool = False
    is_shared: ClassVar[bool] = False  # whether ``shared`` gives numbers

    def numbers(self, now: Moment) -> Sequence[Any]:
        return ()

    def shared(self, updates: Sequence[Expression]) -> Sequence[Expression]:
        return ()

    def update(self, part: Part) -> Expression:
        raise NotImplementedError(f"{type(self).__name__} does not say how it updates")

    def slot_shapes(self) -> dict[str, SlotShape | None]:
        """The slots with functions from the parameter's shape to theirs, ``None`` where it is the same."""
        return dict.fromkeys(self.slots)


class AddDecayedWeights(Transform):
    """update + weight_decay * parameter: the decay that is part of the gradient (an L2 penalty)."""

    def __init__(self, weight_decay: float) -> None:
        self.weight_decay = at_least_zero("AddDecayedWeights", "weight_decay", weight_decay)

    def numbers(self, now: Moment) -> Sequence[Any]:
        return (self.weight_decay * now.decay,)

    def update(self, part: Part) -> Expression:
        return part.parameter * part.numbers[0] + part.update


class Descend(Transform):
    """Move the parameter against the update: p = p * (1 - rate * weight_decay) - rate * update.

    A ``weight_decay`` here is apart from the gradient (Loshchilov & Hutter, 2019).
    """

    moves = True

    def __init__(self, weight_decay: float = 0.0) -> None:
        self.weight_decay = at_least_zero("Descend", "weight_decay", weight_decay)

    def step_size(self, now: Moment) -> Any:
        return now.rate

    def numbers(self, now: Moment) -> Sequence[Any]:
        back = -1.0 * self.step_size(now)
        if not self.weight_decay:
            return (back,)
        kept = 1.0 - now.rate * (self.weight_decay * now.decay)
        kept = above(kept * kept, 1e-12, kept, 1e-6)
        return back / kept, kept

    def update(self, part: Part) -> Expression:
        moved = part.update * part.numbers[0] + part.parameter
        part.move(moved * part.numbers[1] if self.weight_decay else moved)  # in one pass, hence the division above
        return part.update


class Optimizer:
    """A learning rate and a chain of transforms; ``Descend()`` is appended where none of them moves the parameters.

    ``learning_rate`` may be set at any time and holds from the next step on. The other numbers are those given.
    """

    def __init__(self, learning_rate: float, *transforms: Transform) -> None:
        self.transforms = _chain(type(self).__name__, transforms)
        self.learning_rate = learning_rate

    @property
    def learning_rate(self) -> float:
        return self._learning_rate

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self._learning_rate = at_least_zero(type(self).__name__, "learning_rate", value)

    def numbers(self, now: Moment) -> list[Any]:
        """The numbers of all transforms in order, floats or expressions as those of ``now``."""
        return [number for item in self.transforms for number in item.numbers(now)]

    def scalars(self, step: int, rate: float = 1.0, decay: float = 1.0) -> list[float]:
        """The numbers of ``step`` (from 1), for a group with these factors on learning rate and decay."""
        return self.numbers(Moment(self.learning_rate * rate, step, decay))

    @property
    def slots(self) -> dict[str, SlotShape | None]:
        """What is kept for each parameter."""
        return {name: shape for item in self.transforms for name, shape in item.slot_shapes().items()}

    def __repr__(self) -> str:
        parts = ", ".join(type(item).__name__ for item in self.transforms)
        return f"{type(self).__name__}({self.learning_rate}, {parts})"


class Chain(Optimizer):
    """See ``chain``."""

    def __init__(self, before: Sequence[Transform], inner: Optimizer, after: Sequence[Transform]) -> None:
        self.inner = inner
        self.transforms = _chain("chain", [*before, *inner.transforms, *after])
        self._around = [*before, inner, *after]

    @property
    def learning_rate(self) -> float:
        return self.inner.learning_rate

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self.inner.learning_rate = value

    def __repr__(self) -> str:
        shown = (repr(item) if isinstance(item, Optimizer) else type(item).__name__ for item in self._around)
        return f"chain({', '.join(shown)})"


def chain(*parts: Transform | Optimizer) -> Optimizer:
    """An optimizer with transforms around it: those before it change the gradient, those behind see what it moved.

    ``chain(ClipByGlobalNorm(1.0), AdamW(1e-3), ExponentialAverage(0.999))``. Raises ``TrainingError`` unless exactly
    one of the parts is an optimizer.
    """
    at = [index for index, item in enumerate(parts) if isinstance(item, Optimizer)]
    wrong = [item for item in parts if not isinstance(item, (Optimizer, Transform))]
    if wrong or len(at) != 1:
        raise TrainingError(
            f"chain requires transforms around exactly one optimizer, got {wrong[0] if wrong else len(at)!r}"
            f"{'' if wrong else ' optimizers'}. Write for example chain(ClipByGlobalNorm(1.0), AdamW(1e-3))."
        )
    inner = parts[at[0]]
    before, after = parts[: at[0]], parts[at[0] + 1 :]
    assert isinstance(inner, Optimizer)
    return Chain(before, inner, after)  # type: ignore[arg-type]


def _chain(owner: str, transforms: Sequence[Transform]) -> tuple[Transform, ...]:
    for item in transforms:
        if not isinstance(item, Transform):
            raise TrainingError(f"{owner} requires transforms of tk.optimizers, got {item!r}.")
    movers = [item for item in transforms if item.moves]
    if len(movers) > 1:
        raise TrainingError(
            f"{owner}: parameters are moved once in a step, but {len(movers)} transforms do "
            f"({', '.join(type(item).__name__ for item in movers)}). Keep one."
        )
    made = tuple(transforms) if movers else (*transforms, Descend())
    slots = [name for item in made for name in item.slot_shapes()]
    double = sorted({name for name in slots if slots.count(name) > 1})
    if double:
        raise TrainingError(f"{owner}: two transforms keep a slot {double[0]!r}. Give one of them another name.")
    return made
