"""A part of an optimizer step as its transforms see it: one parameter with what moves it.

Transforms are written against a ``Part`` with expressions. Elementwise ones are traced once, on a part that stands for
every element of every parameter; the others are told each parameter as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from toolkit.errors import TrainingError
from toolkit.operators.expression import Expression


@dataclass(eq=False)
class Part:
    """One parameter in an optimizer step.

    - ``parameter``: its content; behind the transform that moves it, the new one
    - ``update``: the gradient, as the transforms before this one have changed it
    - ``numbers``: those of the transform, scalars of the parameter's element type
    """

    parameter: Expression
    update: Expression
    numbers: Sequence[Expression]
    slots: Mapping[str, Expression] = field(default_factory=dict)
    kept: dict[str, Expression] = field(default_factory=dict)
    moved: Expression | None = None

    def slot(self, name: str) -> Expression:
        """What is remembered under ``name`` since the last step, zeros before the first. ``TrainingError`` if none."""
        if name not in self.slots:
            raise TrainingError(
                f"A transform asks for the slot {name!r}, but declares {list(self.slots)}. Add it to slots."
            )
        return self.kept.get(name, self.slots[name])

    def keep(self, name: str, value: Expression) -> Expression:
        """Remember ``value`` under ``name`` for the next step; returns it."""
        self.slot(name)
        self.kept[name] = value
        return value

    def move(self, value: Expression) -> None:
        """Let ``value`` be the new content of the parameter."""
        self.parameter = self.moved = value
