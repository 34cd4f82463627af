"""Direct numpy kernels for sequences of different lengths: CutSequences and ReverseSequence, one copy for each of them.

Refused, so left to the reference: batches so large that many small copies take longer than one with indices.
"""

from __future__ import annotations

import numpy as np

from toolkit.backends.numpy.bound import Arrays, Direct, Lower
from toolkit.backends.protocol import Step
from toolkit.compiler.program import Node
from toolkit.operators.expression import TOOLKIT_DOMAIN

MOST_SEQUENCES = 16


def _checked(lengths: np.ndarray, steps: int) -> list[int]:
    found: list[int] = lengths.tolist()
    if min(found) < 0 or max(found) > steps:
        raise ValueError(f"sequence_lens must lie in [0, {steps}], got {found}")
    return found


def _cut(node: Node) -> Direct | None:
    steps, batch, _ = node.y.shape
    if not 0 < batch <= MOST_SEQUENCES:
        return None

    def bind(inputs: Arrays, outputs: Arrays) -> Step:
        (y, lengths), (cut, last) = inputs, outputs

        def step() -> None:
            for number, length in enumerate(_checked(lengths, steps)):
                if last is not None:
                    last[number] = y[length - 1, number] if length else 0
                if cut is not None:
                    cut[:length, number] = y[:length, number]
                    cut[length:, number] = 0

        return step

    return Direct(bind, in_place=((0, 0),) if node.outputs[0] is not None else ())


def _reverse(node: Node) -> Direct | None:
    time_axis, batch_axis = node.attributes.get("time_axis", 0), node.attributes.get("batch_axis", 1)
    lengths = node.inputs[1]
    if {time_axis, batch_axis} != {0, 1} or lengths is None or lengths.shape != (node.x.shape[batch_axis],):
        return None
    if node.x.dtype == object or not 0 < lengths.size <= MOST_SEQUENCES:
        return None
    steps = node.x.shape[time_axis]

    def bind(inputs: Arrays, outputs: Arrays) -> Step:
        x, y = (np.moveaxis(item, batch_axis, 0) for item in (inputs[0], outputs[0]))

        def step() -> None:
            for number, length in enumerate(_checked(inputs[1], steps)):
                np.copyto(y[number, :length], x[number, :length][::-1])
                np.copyto(y[number, length:], x[number, length:])

        return step

    return Direct(bind)


SEQUENCES: dict[tuple[str, str], Lower] = {
    (TOOLKIT_DOMAIN, "CutSequences"): _cut,
    ("", "ReverseSequence"): _reverse,
}
