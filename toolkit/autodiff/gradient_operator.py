"""ONNX's operator Gradient: a model may ask for derivatives of its own values.

Binding leaves one node for it, whose inputs are the variables to differentiate by and, last, the one to differentiate.
Here that node becomes the nodes that compute the derivatives.
"""

from __future__ import annotations

import numpy as np

from toolkit.autodiff.gradients import differentiate
from toolkit.compiler.program import Node, Program, Variable
from toolkit.compiler.rewrite import Replacement, rewrite
from toolkit.errors import NotDifferentiableError
from toolkit.operators.standard.preview_gradient import GRADIENT


def expand_gradients(program: Program) -> Program:
    """Replace every Gradient node by what computes it; the derivative by something that nothing depends on is zero.

    Raises ``NotDifferentiableError`` naming the layer when a part of a derivative cannot be told: the model's results
    would be wrong.
    """

    def rule(node: Node) -> Replacement | None:
        if (node.domain, node.op_type) != GRADIENT:
            return None
        *by, y = [item for item in node.inputs if item is not None]
        seed = program.constant(np.ones(y.shape, y.dtype)).variable
        before = len(program.nodes)
        found = differentiate(program, {y: seed}, by)
        for made in program.nodes[before:]:  # the model asks for them in its forward pass
            made.role, made.layer = node.role, node.layer
        for item, shortfall in found.shortfalls().items():
            if not shortfall.is_exact:
                raise NotDifferentiableError(
                    f"{node.operator} {node.layer!r} asks for the derivative of {y.name!r} by {item.name!r}: "
                    f"{shortfall}. Ask for another one."
                )
        return [found[item] if item in found else _zeros(program, item) for item in by]

    rewrite(program, rule)
    return program


def _zeros(program: Program, like: Variable) -> Variable:
    made: Variable = program.constant(np.zeros(like.shape, like.dtype)).variable
    return made
