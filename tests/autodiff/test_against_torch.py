"""Values and gradients of operators that PyTorch has, too: the same numbers from the same inputs.

It takes the extra ``torch``, which development does without.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import onnx.defs
import pytest

from tests.autodiff.against_torch import ROWS
from tests.autodiff.against_torch.row import TOLERANCE, Row, torch, values
from tests.support.interpret import interpret
from toolkit.autodiff import differentiate
from toolkit.compiler.program import Program, Variable
from toolkit.operators import lookup
from toolkit.operators.record import NotDifferentiable

WITHOUT_COUNTERPART = {
    "CausalConvWithState": "it is a convolution and an activation over a state that is handed on",
    "CenterCropPad": "it crops some axes and pads others",
    "DeformConv": "torchvision has it, PyTorch has not",
    "DequantizeLinear": "PyTorch has it for tensors of its own quantised types, without a gradient",
    "LinearAttention": "PyTorch has no recurrence of attention without a Softmax",
    "MaxRoiPool": "torchvision has it, PyTorch has not",
    "ReverseSequence": "PyTorch turns whole axes only",
    "RoiAlign": "torchvision has it, PyTorch has not",
    "RotaryEmbedding": "PyTorch leaves it to those who write models",
    "SwiGLU": "PyTorch leaves it to those who write models",
    "TensorScatter": "PyTorch has no cache that goes round",
}


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("case", ROWS, ids=[case.id for case in ROWS])
def test_values_and_gradients_agree(case: Row, dtype: str) -> None:
    arrays = [item.astype(dtype) if item is not None and item.dtype == np.float64 else item for item in case.inputs]
    learnt = [
        index
        for index, item in enumerate(arrays)
        if item is not None and item.dtype.kind == "f" and index not in case.fixed
    ]
    tensors = [None if item is None else torch.from_numpy(np.array(item)) for item in arrays]
    for index in learnt:
        tensors[index].requires_grad_(True)
    made = case.function(*tensors)
    expected = made if isinstance(made, tuple) else (made,)
    seeds = [values(*item.shape, seed=7 + number) for number, item in enumerate(expected)]
    seeds = [seed.astype(item.detach().numpy().dtype) for seed, item in zip(seeds, expected, strict=True)]
    grads = torch.autograd.grad(expected, [tensors[index] for index in learnt], [torch.from_numpy(g) for g in seeds])
    found = evaluated(case, arrays, learnt, seeds)
    tolerance = max(case.tolerance, TOLERANCE[dtype])
    close = partial(np.testing.assert_allclose, rtol=tolerance, atol=tolerance)
    for number, theirs in enumerate(expected):
        close(found[number], theirs.detach().numpy(), err_msg=f"output {number}")
    for index, ours, theirs in zip(learnt, found[len(expected) :], grads, strict=True):
        close(ours, theirs.numpy(), err_msg=f"gradient of input {index}")


def evaluated(
    case: Row, arrays: Sequence[np.ndarray | None], learnt: Sequence[int], seeds: Sequence[np.ndarray]
) -> Sequence[np.ndarray]:
    """The outputs with a seed, then the gradients of the inputs in ``learnt``, by references."""
    program = Program(layer="layer")
    variables: list[Variable | None] = [
        None
        if item is None
        else Variable(f"x{index}", item.dtype, item.shape, constant=None if index in learnt else item)
        for index, item in enumerate(arrays)
    ]
    node = program.append(
        case.operator, variables, case.attributes, domain=case.domain, version=case.version, outputs=case.outputs
    )
    judged = [item for item in node.outputs[: len(seeds)] if item is not None]
    wrt = [item for item in variables if item is not None and item.constant is None]
    program.inputs.update((item.name, item) for item in wrt)
    given = {item: program.constant(g).variable for item, g in zip(judged, seeds, strict=True)}
    found = differentiate(program, given, wrt)
    feeds = {item: array for item, array in zip(variables, arrays, strict=True) if item in wrt and array is not None}
    return interpret(program, feeds, [*judged, *(found[item] for item in wrt)])


def differentiable() -> set[str]:
    """The operators of ONNX with a gradient."""
    names = set()
    for schema in onnx.defs.get_all_schemas_with_history():
        record = lookup("", schema.name, schema.since_version)
        if not schema.domain and record is not None and not isinstance(record.gradient, NotDifferentiable):
            names.add(schema.name)
    return names


def test_every_operator_is_compared_that_pytorch_has() -> None:
    compared = {case.operator for case in ROWS if not case.domain}
    assert differentiable() - compared == set(WITHOUT_COUNTERPART)
