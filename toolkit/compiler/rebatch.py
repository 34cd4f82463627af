"""Rebatching: running a model at another batch size than the one its exporter froze into it.

The file is bound twice: once at the frozen batch, which tells the shape every value was meant to have, and once at the
wanted one. Layers whose constants hold the frozen batch are adapted by what they were meant to do:

- Reshape: the axis that must carry the batch is found by position: the elements before the batch axis in the input are
  the elements before it in the target;
- Expand, Resize to sizes and AffineGrid: the axis that held the batch holds the new one;
- Slice that took the whole batch takes the whole new one;
- Concat and initial states of RNN, LSTM and GRU: a constant of one item is repeated for all items.

Everything else follows from inference. A layer that does something to its batch that cannot be generalised (picks an
item, splits the batch, mixes it) is refused by its name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from toolkit.compiler.program import Program, Variable
from toolkit.errors import ShapeError
from toolkit.graph.layer import Leaf
from toolkit.operators.axes import normalised

Shape = tuple[int, ...]
Shapes = tuple[list[Shape | None], list[Shape | None]]  # of the inputs and outputs of one layer
Adapted = tuple[list[Variable | None], dict[str, Any]]


class Rebatch:
    """Adapts leaves with baked-in shapes; ``meant`` holds the shapes at the frozen batch size by the layer's path."""

    def __init__(self, frozen: int, wanted: int, meant: Mapping[str, Shapes]) -> None:
        self.frozen = frozen
        self.wanted = wanted
        self.meant = meant

    def adapt(
        self,
        leaf: Leaf,
        version: int,
        inputs: list[Variable | None],
        attributes: dict[str, Any],
        program: Program,
        layer: str,
    ) -> Adapted:
        """Inputs and attributes of the leaf for the wanted batch size; unchanged where nothing is baked in."""
        rule = None if leaf.domain else RULES.get(leaf.op_type)
        shapes = self.meant.get(layer)
        if (
            rule is None
            or shapes is None
            or all(_shape(item) == meant for item, meant in zip(inputs, shapes[0], strict=False))
        ):
            return inputs, attributes
        return rule(_Site(self, leaf, layer, version, shapes, program), inputs, attributes)


class _Site:
    """One leaf that meets another batch size than it was exported with."""

    def __init__(
        self, rebatch: Rebatch, leaf: Leaf, layer: str, version: int, shapes: Shapes, program: Program
    ) -> None:
        self.rebatch, self.leaf, self.layer, self.version = rebatch, leaf, layer, version
        self.meant, self.meant_outputs = shapes
        self._program = program

    def changed(self, x: Variable, index: int = 0) -> int | None:
        """The axis of an input whose size is another than it was; ``None`` when there is none."""
        meant = self.meant[index]
        assert meant is not None
        if len(meant) != len(x.shape):
            raise self.ambiguous(x, "it has another rank now")
        axes = [axis for axis, (now, then) in enumerate(zip(x.shape, meant, strict=True)) if now != then]
        if len(axes) > 1:
            raise self.ambiguous(x, "more than one axis has changed")
        return axes[0] if axes else None

    def shape_input(self, sizes: Sequence[int]) -> Variable:
        made: Variable = self._program.constant(np.asarray(sizes, dtype=np.int64)).variable
        return made

    def repeated(self, x: Variable, axis: int) -> Variable:
        """A constant or parameter of one item, repeated for all items."""
        target = (*x.shape[:axis], self.rebatch.wanted, *x.shape[axis + 1 :])
        if x.constant is not None:
            made: Variable = self._program.constant(np.repeat(x.constant, self.rebatch.wanted, axis)).variable
            return made
        inputs = [x, self.shape_input(target)]
        return self._program.append("Expand", inputs, {}, version=13, layer=self.layer).y

    def ambiguous(self, x: Variable, why: str) -> ShapeError:
        rebatch = self.rebatch
        return ShapeError(
            f"{self.leaf.op_type} {self.layer!r} has the batch size {rebatch.frozen} baked into its shape "
            f"{self.meant_outputs[0]}: at batch size {rebatch.wanted} its input is {x.shape} instead of "
            f"{self.meant[0]}, and {why}. Run the model at batch_size={rebatch.frozen}, or give load() the right "
            "batch_axis."
        )


def _reshape(site: _Site, inputs: list[Variable | None], attributes: dict[str, Any]) -> Adapted:
    x, target = _first(inputs), site.meant_outputs[0]
    axis = site.changed(x)
    assert target is not None
    if axis is None:
        return inputs, attributes
    before = _count(x.shape[:axis])
    now, then = x.shape[axis], _count((site.meant[0] or ())[axis : axis + 1])
    candidates = [place for place in range(len(target)) if _count(target[:place]) == before]
    fitting = [place for place in candidates if target[place] * now % then == 0]
    if not fitting:
        raise site.ambiguous(x, "no axis of the shape can be told to carry the batch")
    place = fitting[0]
    sizes = (*target[:place], target[place] * now // then, *target[place + 1 :])
    if site.version < 5:
        return inputs, {**attributes, "shape": list(sizes)}
    kept = {name: value for name, value in attributes.items() if name != "allowzero"}
    return [x, site.shape_input(sizes), *inputs[2:]], kept


def _expand(site: _Site, inputs: list[Variable | None], attributes: dict[str, Any]) -> Adapted:
    x, target = _first(inputs), site.meant_outputs[0]
    assert target is not None
    lead = len(target) - len(x.shape)
    sizes = target[:lead] + tuple(now if now != 1 else then for now, then in zip(x.shape, target[lead:], strict=True))
    return [x, site.shape_input(sizes)], attributes


def _sized(index: int) -> Callable[[_Site, list[Variable | None], dict[str, Any]], Adapted]:
    """The rule of an operator whose input ``index`` gives the size of every axis of its output."""

    def rule(site: _Site, inputs: list[Variable | None], attributes: dict[str, Any]) -> Adapted:
        x, axis = _first(inputs), site.changed(_first(inputs))
        sizes = inputs[index] if index < len(inputs) else None
        if axis is None or sizes is None or sizes.constant is None or not sizes.size or "axes" in attributes:
            return inputs, attributes
        wanted = sizes.constant.tolist()
        if wanted[axis] != (site.meant[0] or ())[axis]:
            raise site.ambiguous(x, f"axis {axis} is resized as well")
        wanted[axis] = x.shape[axis]
        return [*inputs[:index], site.shape_input(wanted), *inputs[index + 1 :]], attributes

    return rule


def _slice(site: _Site, inputs: list[Variable | None], attributes: dict[str, Any]) -> Adapted:
    x, axis = _first(inputs), site.changed(_first(inputs))
    meant, target = site.meant[0], site.meant_outputs[0]
    if axis is None or meant is None or target is None:
        return inputs, attributes
    content = [None if item is None else item.constant for item in inputs[1:]]
    if site.version < 10:
        starts, ends, axes, steps = attributes["starts"], attributes["ends"], attributes.get("axes"), None
    else:
        starts, ends, axes, steps = (content + [None] * 4)[:4]
    if starts is None or ends is None:
        return inputs, attributes
    cut = list(normalised(range(len(starts)) if axes is None else axes, len(x.shape)))
    if axis not in cut:
        return inputs, attributes
    place = cut.index(axis)
    if target[axis] != meant[axis] or (steps is not None and steps[place] != 1):
        raise site.ambiguous(x, f"it takes a part of axis {axis}")
    firsts, lasts = [int(item) for item in starts], [int(item) for item in ends]
    firsts[place], lasts[place] = 0, x.shape[axis]
    if site.version < 10:
        return inputs, {**attributes, "starts": firsts, "ends": lasts}
    return [x, site.shape_input(firsts), site.shape_input(lasts), *inputs[3:]], attributes


def _concat(site: _Site, inputs: list[Variable | None], attributes: dict[str, Any]) -> Adapted:
    """Repeat the constants among the inputs along the axis on which the others have changed."""
    joined = int(attributes.get("axis", 1))
    changed = {site.changed(item, index) for index, item in enumerate(inputs) if item is not None} - {None}
    if len(changed) != 1:
        return inputs, attributes
    axis = changed.pop()
    assert axis is not None
    rank = len(_first(inputs).shape)
    if axis == joined % rank:
        raise site.ambiguous(_first(inputs), "it joins along the batch")
    return [_for_all(site, item, axis) for item in inputs], attributes


def _recurrent(site: _Site, inputs: list[Variable | None], attributes: dict[str, Any]) -> Adapted:
    axis = 0 if attributes.get("layout", 0) else 1
    states = [_for_all(site, item, axis) for item in inputs[5:7]]
    return [*inputs[:5], *states, *inputs[7:]], attributes


def _for_all(site: _Site, x: Variable | None, axis: int) -> Variable | None:
    """A constant that holds the frozen batch on ``axis``, for the wanted one; anything else as it is."""
    if x is None or x.producer is not None or (x.constant is None and x.parameter is None):
        return x
    if x.shape[axis] != site.rebatch.frozen:
        return x
    if site.rebatch.frozen != 1:
        raise site.ambiguous(x, f"the constant {x.name!r} holds an item of its own for each of the batch")
    return site.repeated(x, axis)


def _picks_items(site: _Site, inputs: list[Variable | None], attributes: dict[str, Any]) -> Adapted:
    """Gather and Split may not touch the batch: at the frozen size they may have meant all of it or a part."""
    x, axis = _first(inputs), site.changed(_first(inputs))
    if axis is not None and int(attributes.get("axis", 0)) % len(x.shape) == axis:
        raise site.ambiguous(x, "it picks items of the batch")
    return inputs, attributes


RULES: dict[str, Callable[[_Site, list[Variable | None], dict[str, Any]], Adapted]] = {
    "Reshape": _reshape,
    "Expand": _expand,
    "Resize": _sized(3),
    "AffineGrid": _sized(1),
    "Slice": _slice,
    "Concat": _concat,
    "RNN": _recurrent,
    "LSTM": _recurrent,
    "GRU": _recurrent,
    "Gather": _picks_items,
    "Split": _picks_items,
}


def may_hold_batch(leaf: Leaf) -> bool:
    """Whether a leaf could have the frozen batch baked in, by itself or in a body of it."""
    return (not leaf.domain and leaf.op_type in RULES) or any(leaf.bodies)


def _first(inputs: Sequence[Variable | None]) -> Variable:
    assert inputs[0] is not None
    return inputs[0]


def _shape(item: Variable | None) -> Shape | None:
    return None if item is None else item.shape


def _count(shape: Sequence[int]) -> int:
    return int(np.prod(shape, dtype=np.int64))
