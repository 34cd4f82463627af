"""Direct kernels that put floats on a grid of integers which the data decides."""

from __future__ import annotations

import numpy as np

from toolkit.backends.numpy.bound import Arrays, Direct, Lower
from toolkit.backends.protocol import Step
from toolkit.compiler.program import Node

NOTHING, UNIT, LARGEST = np.float32(0), np.float32(1), np.float32(255)


def _dynamic(node: Node) -> Direct | None:
    """DynamicQuantizeLinear; every operation is that of the reference, in memory of the kernel's own."""
    if not node.x.size or node.x.dtype != np.float32 or None in node.outputs:
        return None

    def bind(inputs: Arrays, outputs: Arrays) -> Step:
        (x,), (y, scale, zero_point) = inputs, outputs
        steps = np.empty_like(x)

        def step() -> None:
            low, high = np.minimum(x.min(), NOTHING), np.maximum(x.max(), NOTHING)
            size = (high - low) / LARGEST if high > low else UNIT
            zero = np.rint(np.fmin(np.fmax(-low / size, NOTHING), LARGEST))
            scale[...], zero_point[...] = size, zero
            np.divide(x, size, out=steps)
            np.rint(steps, out=steps)
            np.add(steps, zero, out=steps)
            np.fmax(steps, NOTHING, out=steps)
            np.fmin(steps, LARGEST, out=steps)
            np.copyto(y, steps, casting="unsafe")

        return step

    return Direct(bind)


QUANTIZED: dict[tuple[str, str], Lower] = {("", "DynamicQuantizeLinear"): _dynamic}
