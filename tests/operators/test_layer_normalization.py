"""Gradients of layer normalisation that no case row reaches: of its statistics, and of its gradient."""

from __future__ import annotations

import numpy as np

from tests.support.interpret import interpret
from toolkit.autodiff import differentiate
from toolkit.compiler.program import Program, Variable
from toolkit.operators.expression import TOOLKIT_DOMAIN, Expression, emit

X = np.random.default_rng(0).normal(size=(3, 5))


def gradient_of_sum(make, values: list[np.ndarray]) -> list[np.ndarray]:
    """The gradients of the sum of what ``make`` builds of the values."""
    program = Program(layer="test")
    inputs = [Variable(f"x{index}", array.dtype, array.shape) for index, array in enumerate(values)]
    total = make(*(Expression(program, item) for item in inputs))
    seed = program.constant(np.ones(total.shape, total.dtype)).variable
    found = differentiate(program, {total.variable: seed}, inputs)
    return interpret(program, dict(zip(inputs, values, strict=True)), [found[item] for item in inputs])


def test_statistics_pass_their_gradient_to_the_input():
    weights = np.random.default_rng(1).normal(size=(2, 3, 1)).astype(np.float32)

    def make(x: Expression) -> Expression:
        scale = x.emitter.constant(np.ones(5, np.float32))
        _, mean, inverse = emit("LayerNormalization", x, scale, outputs=3)
        return mean * weights[0] + inverse * weights[1]

    (found,) = gradient_of_sum(make, [X.astype(np.float32)])
    centred = X - X.mean(axis=1, keepdims=True)
    inverse = (np.square(centred).mean(axis=1, keepdims=True) + 1e-5) ** -0.5
    np.testing.assert_allclose(found, weights[0] / 5 - weights[1] * inverse**3 * centred / 5, rtol=1e-4, atol=1e-5)


def test_second_derivative_is_that_of_the_formula():
    """The fused gradient against the gradient of the same layer written with standard operators."""
    g, scale = np.random.default_rng(2).normal(size=(2, 3, 5))
    scale = scale[0]

    def fused(g: Expression, x: Expression, scale: Expression) -> Expression:
        _, mean, inverse = emit("LayerNormalization", x, scale, outputs=3)
        dx, dscale, _ = emit("LayerNormalizationGradient", g, x, scale, mean, inverse, domain=TOOLKIT_DOMAIN, outputs=3)
        return emit("ReduceSum", dx * dx) + emit("ReduceSum", dscale * dscale)

    def plain(g: Expression, x: Expression, scale: Expression) -> Expression:
        axes = np.asarray([-1])

        def mean(item: Expression) -> Expression:
            return emit("ReduceMean", item, axes)

        centred = x - mean(x)
        inverse = 1.0 / emit("Sqrt", mean(centred * centred) + 1e-5)
        normal, scaled = centred * inverse, g * scale
        dx = (scaled - mean(scaled) - normal * mean(scaled * normal)) * inverse
        dscale = emit("ReduceSum", g * normal, np.asarray([0]), keepdims=0)
        return emit("ReduceSum", dx * dx) + emit("ReduceSum", dscale * dscale)

    values = [item.astype(np.float32) for item in (g, X, scale)]
    for ours, theirs in zip(gradient_of_sum(fused, values), gradient_of_sum(plain, values), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)
