"""ReverseSequence: the first steps of each sequence of a batch in reverse order, the rest as it is."""

from __future__ import annotations

import numpy as np

from toolkit.operators.expression import Expression, emit
from toolkit.operators.record import Call, operator


def reverse_sequence(x: np.ndarray, lengths: np.ndarray, *, batch_axis: int = 1, time_axis: int = 0) -> np.ndarray:
    """``x`` with the first ``lengths[b]`` steps of sequence ``b`` reversed; the two axes are 0 and 1 in some order."""
    if {batch_axis, time_axis} != {0, 1}:
        raise ValueError(f"batch_axis and time_axis must be 0 and 1 in some order, got {batch_axis} and {time_axis}")
    steps, batch = x.shape[time_axis], x.shape[batch_axis]
    if lengths.shape != (batch,):
        raise ValueError(f"sequence_lens must hold one length for each of {batch} sequences, got shape {lengths.shape}")
    if lengths.size and not 0 <= lengths.min() <= lengths.max() <= steps:
        raise ValueError(f"the lengths {lengths.tolist()} must lie in [0, {steps}]")
    step = np.arange(steps, like=lengths).reshape(-1, 1)
    source = np.where(step < lengths, lengths - 1 - step, step)
    sequence = np.arange(batch, like=lengths)
    return x[source, sequence] if time_axis == 0 else x[sequence[:, None], source.T]


def _gradient(call: Call, g: Expression) -> list[Expression | None]:
    axes = {name: call.attribute(name) for name in ("batch_axis", "time_axis")}
    return [emit("ReverseSequence", g, call.inputs[1], **axes), None]


operator("ReverseSequence", since=10, reference=reverse_sequence, gradient=_gradient)
