"""Gradients of records against central finite differences of their references, in float64, on random projections."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tests.support.case import BATCH_SIZES, Case, is_float
from tests.support.interpret import apply, build, interpret
from toolkit.operators.record import Call, NotDifferentiable

STEP = 1e-6
PROJECTIONS = 2


def assert_gradient_matches(case: Case, batch: int) -> None:
    """Check every differentiable input of the case, all of them together, and at one batch size each alone."""
    arrays = [_in_double(array) for array in case.arrays(batch)]
    wrt = case.differentiable_inputs()
    random = np.random.default_rng(batch)
    outputs = _forward(case, arrays, batch)
    seeded = range(len(outputs)) if case.seeded is None else case.seeded
    seeds = {i: random.standard_normal(outputs[i].shape) for i in seeded if is_float(outputs[i].dtype)}
    assert seeds, f"{case.id}: no output can take a gradient"
    together = _gradients(case, arrays, batch, seeds, wrt)
    for index in wrt:
        grad = together[index]
        if len(wrt) > 1 and batch == BATCH_SIZES[-1]:
            alone = _gradients(case, arrays, batch, seeds, [index])[index]
            title = f"{case.id} input {index} asked alone"
            np.testing.assert_allclose(alone, grad, rtol=1e-12, atol=1e-12, err_msg=title)
        for _ in range(PROJECTIONS):
            direction = random.standard_normal(grad.shape)
            expected = _slope(case, arrays, batch, seeds, index, direction)
            scale = max(1.0, float(np.abs(grad * direction).sum()))
            np.testing.assert_allclose(
                float((grad * direction).sum()) / scale,
                expected / scale,
                rtol=case.gradient_tolerance,
                atol=case.gradient_tolerance,
                err_msg=f"{case.id} at batch {batch}: gradient of input {index}",
            )


def _in_double(array: np.ndarray | None) -> np.ndarray | None:
    return array.astype(np.float64) if array is not None and is_float(array.dtype) else array


def _forward(case: Case, arrays: Sequence[np.ndarray | None], batch: int) -> list[np.ndarray]:
    found = apply(case.domain, case.operator, case.version, arrays, case.bound_attributes(batch))
    return list(found[: case.outputs])


def _slope(
    case: Case,
    arrays: Sequence[np.ndarray | None],
    batch: int,
    seeds: dict[int, np.ndarray],
    index: int,
    direction: np.ndarray,
) -> float:
    """The derivative of the seeded outputs when input ``index`` moves along ``direction``."""
    ends = []
    for sign in (1, -1):
        moved = list(arrays)
        base = moved[index]
        assert base is not None
        moved[index] = base + sign * STEP * direction
        outputs = _forward(case, moved, batch)
        ends.append([outputs[i] for i in seeds])
    differences = zip(ends[0], ends[1], seeds.values(), strict=True)
    return sum(float(((above - below) * seed).sum()) for above, below, seed in differences) / (2 * STEP)


def _gradients(
    case: Case,
    arrays: Sequence[np.ndarray | None],
    batch: int,
    seeds: dict[int, np.ndarray],
    wrt: Sequence[int],
) -> dict[int, np.ndarray]:
    """What the record's gradient computes for the inputs ``wrt``, evaluated by references; zeros for ``None``."""
    gradient = case.record.gradient
    assert not isinstance(gradient, NotDifferentiable), f"{case.id} has no gradient"
    program, node = build(case, arrays, batch)
    grads = [program.constant(seeds[i]) if i in seeds else None for i in range(case.outputs)]
    call = Call(
        [None if item is None else program.expression(item) for item in node.inputs],
        [None if item is None else program.expression(item) for item in node.outputs],
        node.attributes,
        [index in wrt for index in range(len(node.inputs))],
        node.version,
    )
    parts = gradient(call, *grads)
    wanted = []
    for index in wrt:
        part, source = parts[index], node.inputs[index]
        assert source is not None, f"{case.id}: no input {index}"
        part = program.constant(np.zeros(source.shape, source.dtype)) if part is None else part
        assert (part.dtype, part.shape) == (source.dtype, source.shape), f"{case.id}: input {index} got {part}"
        wanted.append(part.variable)
    feeds = {
        item: array
        for item, array in zip(node.inputs, arrays, strict=True)
        if item is not None and array is not None and item.constant is None
    }
    return dict(zip(wrt, interpret(program, feeds, wanted), strict=True))
