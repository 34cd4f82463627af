"""Second derivatives of records against central differences of their first ones, in float64, on a random projection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tests.support.case import Case, is_float
from tests.support.interpret import build, interpret
from toolkit.autodiff import Gradients, differentiate
from toolkit.compiler.program import Program, Variable

STEP = 1e-5
Feeds = dict[Variable, np.ndarray]


@dataclass
class TwiceDifferentiated:
    """A program of a case, of its gradient, and of the gradient of a random projection of that.

    Outputs that are float32 whatever the inputs are (FeatureVectorizer) cannot be moved by small steps: they stay.
    ``first`` holds the nodes up to the gradients that ``weights`` project; ``second`` the gradients of the projection
    by everything in ``moved``: the inputs of the case and the gradients of its outputs.
    """

    program: Program
    first: Program
    feeds: Feeds
    weights: dict[Variable, np.ndarray]
    moved: list[Variable]
    second: Gradients


def differentiate_twice(case: Case, batch: int) -> TwiceDifferentiated:
    """Build all of it at one batch size."""
    random = np.random.default_rng(batch)
    arrays = [_in_double(item) for item in case.arrays(batch)]
    program, node = build(case, arrays, batch)
    pairs = zip(node.inputs, arrays, strict=True)
    feeds: Feeds = {item: array for item, array in pairs if item is not None and item.constant is None}
    seeds: dict[Variable, Variable] = {}
    for number, output in enumerate(node.outputs):
        if output is None or not is_float(output.dtype) or (case.seeded is not None and number not in case.seeded):
            continue
        seed = seeds[output] = program.inputs[f"seed{number}"] = Variable(f"seed{number}", output.dtype, output.shape)
        feeds[seed] = random.standard_normal(output.shape).astype(output.dtype)
    wrt = [item for index, item in enumerate(node.inputs) if item is not None and index in case.differentiable_inputs()]
    grads = differentiate(program, seeds, wrt)
    first = Program(nodes=list(program.nodes))
    weights = {item: random.standard_normal(item.shape).astype(item.dtype) for item in grads.values()}
    moved = [item for item in (*wrt, *seeds.values()) if item.dtype == np.float64]
    second = differentiate(program, {item: program.constant(array).variable for item, array in weights.items()}, moved)
    return TwiceDifferentiated(program, first, feeds, weights, moved, second)


def assert_second_gradient_matches(case: Case, batch: int) -> None:
    """Check what moves the gradients of the case: its inputs, and the gradients of its outputs."""
    twice = differentiate_twice(case, batch)
    missing = {item: lack for item, lack in twice.second.shortfalls().items() if not lack.is_exact}
    assert not missing, f"{case.id}: {missing}"
    found = dict(zip(twice.second, interpret(twice.program, twice.feeds, list(twice.second.values())), strict=True))
    random = np.random.default_rng(batch)
    for item in twice.moved:
        grad = found.get(item, np.zeros(item.shape))
        direction = random.standard_normal(item.shape)  # no mistake is at a right angle to it
        scale = max(1.0, float(np.abs(grad * direction).sum()))
        np.testing.assert_allclose(
            float((grad * direction).sum()) / scale,
            _slope(twice, item, direction) / scale,
            atol=1e-5,
            err_msg=f"{case.id} at batch {batch}: second gradient of {item.name}",
        )


def _slope(twice: TwiceDifferentiated, item: Variable, direction: np.ndarray) -> float:
    """The derivative of the projected gradients when ``item`` moves along ``direction``."""
    base = twice.feeds[item]
    ends = [_projected(twice, {**twice.feeds, item: base + sign * STEP * direction}) for sign in (1, -1)]
    return (ends[0] - ends[1]) / (2 * STEP)


def _projected(twice: TwiceDifferentiated, feeds: Mapping[Variable, np.ndarray]) -> float:
    values: Sequence[np.ndarray] = interpret(twice.first, feeds, list(twice.weights))
    pairs = zip(values, twice.weights.values(), strict=True)
    return sum(float((value * weight).sum()) for value, weight in pairs)


def _in_double(array: np.ndarray | None) -> np.ndarray | None:
    return array.astype(np.float64) if isinstance(array, np.ndarray) and is_float(array.dtype) else array
