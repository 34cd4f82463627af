"""Rebatching: running a model at another batch size than the one its exporter froze into it.

The file is bound twice: once at the frozen batch, which tells the shape every value was meant to have, and once at the
wanted one. Where a Reshape (or Expand) was given a constant shape, the axis that must carry the batch is found by
position: the elements before the batch axis in the input are the elements before it in the target. Everything else
follows from inference. Where no axis, or no single axis, of the target starts at that position, the model does
something with its batch that cannot be generalised, and the layer is named.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from toolkit.compiler.program import Program, Variable
from toolkit.errors import ShapeError
from toolkit.graph.layer import Leaf


class Rebatch:
    """Adapts leaves with baked-in shapes; ``meant`` are the variables bound at the frozen batch size."""

    def __init__(self, frozen: int, wanted: int, meant: Mapping[str, Variable]) -> None:
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
    ) -> tuple[list[Variable | None], dict[str, Any]]:
        """Inputs and attributes of the leaf for the wanted batch size; unchanged where nothing is baked in."""
        if leaf.domain or leaf.op_type not in ("Reshape", "Expand") or inputs[0] is None:
            return inputs, attributes
        meant_output = self.meant.get(leaf.outputs[0])
        meant_input = self.meant.get(leaf.inputs[0])
        if meant_output is None or meant_input is None or inputs[0].shape == meant_input.shape:
            return inputs, attributes
        if leaf.op_type == "Expand":
            target = self._expanded(inputs[0], meant_output)
        else:
            target = self._reshaped(leaf, inputs[0].shape, meant_input.shape, meant_output.shape)
        if leaf.op_type == "Reshape" and version < 5:
            return inputs, {**attributes, "shape": list(target)}
        shape = program.constant(np.asarray(target, dtype=np.int64)).variable
        kept = {name: value for name, value in attributes.items() if name != "allowzero"}
        return [inputs[0], shape, *inputs[2:]], kept

    def _reshaped(
        self, leaf: Leaf, shape: tuple[int, ...], meant: tuple[int, ...], target: tuple[int, ...]
    ) -> tuple[int, ...]:
        changed = [axis for axis, (now, then) in enumerate(zip(shape, meant, strict=True)) if now != then]
        if len(changed) != 1:
            raise ShapeError(self._ambiguous(leaf, shape, meant, target))
        before = _count(meant[: changed[0]])
        candidates = [axis for axis in range(len(target)) if _count(target[:axis]) == before]
        scale = shape[changed[0]], meant[changed[0]]
        fitting = [axis for axis in candidates if target[axis] * scale[0] % scale[1] == 0]
        if not fitting:
            raise ShapeError(self._ambiguous(leaf, shape, meant, target))
        axis = fitting[0]
        return (*target[:axis], target[axis] * scale[0] // scale[1], *target[axis + 1 :])

    def _expanded(self, x: Variable, meant_output: Variable) -> tuple[int, ...]:
        lead = len(meant_output.shape) - len(x.shape)
        return meant_output.shape[:lead] + tuple(
            now if now != 1 else then for now, then in zip(x.shape, meant_output.shape[lead:], strict=True)
        )

    def _ambiguous(self, leaf: Leaf, shape: tuple[int, ...], meant: tuple[int, ...], target: tuple[int, ...]) -> str:
        return (
            f"{leaf.op_type} {leaf.path!r} has the batch size {self.frozen} baked into its shape {target}: at batch "
            f"size {self.wanted} its input is {shape} instead of {meant}, and no axis of the shape can be told to "
            f"carry the batch. Run the model at batch_size={self.frozen}, or give load() the right batch_axis."
        )


def _count(shape: tuple[int, ...]) -> int:
    return int(np.prod(shape, dtype=np.int64))
