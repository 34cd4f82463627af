"""Gradients of activations, each from what is known of it, and passes over tensors in layouts of a library."""

from __future__ import annotations

import numpy as np
import pytest

from tests.backends.native.checked import check_node
from toolkit.backends import native, onednn
from toolkit.backends.native.elementwise.region import lower_elementwise
from toolkit.backends.protocol import Resources
from toolkit.compiler.program import Program, Variable
from toolkit.operators.standard.activation import ACTIVATIONS

if native.unavailable_reason() is not None or not onednn.available():
    pytest.skip("needs llvmlite and oneDNN", allow_module_level=True)

from tests.backends.onednn.driver import HostBuffer, aligned, download, upload
from toolkit.backends.onednn.memory import ACTIVATION_TAGS, layout_of, tagged

FLOAT32 = np.dtype(np.float32)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", list(ACTIVATIONS))
def test_gradients_of_activations(name: str, dtype: str) -> None:
    random = np.random.default_rng(0)
    low, high = (0.1, 4) if name in ("Sqrt", "Log") else (-4, 4)
    given = [random.standard_normal((3, 77)).astype(dtype), random.uniform(low, high, (3, 77)).astype(dtype)]
    attributes = {"activation": name, "activation_alpha": 0.2, "activation_beta": 0.7}
    for from_output in range(1 + (ACTIVATIONS[name].from_output is not None)):
        check_node("ActivationGradient", given, {**attributes, "from_output": from_output}, known=(), tolerance=3e-6)


def test_tensors_of_one_shape_are_passed_over_as_they_lie() -> None:
    arrays = [np.random.default_rng(0).standard_normal((2, 20, 5, 3)).astype(np.float32) for _ in range(2)]
    program = Program()
    operands = [Variable(f"x{index}", FLOAT32, item.shape) for index, item in enumerate(arrays)]
    for operator, expected in (("Mul", arrays[0] * arrays[1]), ("Add", arrays[0] + arrays[1])):
        node = program.append(operator, operands, {}, version=14)
        for tag in ACTIVATION_TAGS[4][1:]:
            lies = layout_of(tagged(FLOAT32, node.y.shape, tag))
            kernel = lower_elementwise(node, [None, lies], Resources(1))
            assert [*kernel.inputs, *kernel.outputs] == [lies] * 3
            given, target = [upload(item, lies) for item in arrays], HostBuffer(lies, aligned(lies.nbytes))
            kernel.bind(given, [target], None)()
            np.testing.assert_array_equal(download(target), expected)
