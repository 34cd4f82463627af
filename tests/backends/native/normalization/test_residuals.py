"""Sums that become part of a normalisation by statistics of the batch: what is found stays what it was."""

from __future__ import annotations

import numpy as np
import pytest

from tests.backends.native.normalization.rewritten import FLOAT32, SHAPE, Rewritten
from toolkit.backends import native
from toolkit.backends.native.normalization.residuals import take_in_sums
from toolkit.compiler.program import Node, Variable

if native.unavailable_reason() is not None:
    pytest.skip("needs llvmlite", allow_module_level=True)

FORWARD, BACKWARD = "BatchNormalizationTraining", "BatchNormalizationGradient"


class Rig(Rewritten):
    """A block: what is normalised and a residual are added, and rectified if ``rectifies``.

    Going back two gradients meet; what the rectifier lets through is the residual's gradient too.
    """

    def __init__(self, rectifies: bool = True) -> None:
        super().__init__()
        program = self.program

        x, self.residual, g, more = self.images(4)
        vectors = self.vectors(4)
        numbers = {"epsilon": 1e-3, "momentum": 0.8, "activation": ""}
        self.normal = program.append(FORWARD, [x, *vectors], numbers, domain="toolkit", outputs=5)
        self.add = program.append("Add", [self.residual, self.normal.y], {}, version=14)
        last = program.append("Relu", [self.add.y], {}, version=14) if rectifies else self.add
        program.role = "backward"
        self.sum = slope = program.append("Add", [g, more], {}, version=14)
        if rectifies:
            attributes = {"activation": "Relu", "from_output": 1}
            slope = program.append("ActivationGradient", [self.sum.y, last.y], attributes, domain="toolkit")
        operands = [slope.y, x, vectors[0], *self.normal.outputs[3:5]]
        numbers = {"epsilon": 1e-3, "activation": ""}
        self.gradient = program.append(BACKWARD, operands, numbers, domain="toolkit", outputs=3)
        of_residual = program.append("Mul", [slope.y, self.residual], {}, version=14)
        made = [last.y, *self.normal.outputs[1:3], *self.gradient.outputs, of_residual.y]
        self.finish(made)

    def operators(self) -> list[str]:
        take_in_sums(self.program, "native")
        return [node.op_type for node in self.program.nodes]

    def also_read(self, item: Variable) -> Node:
        node = self.program.append("Neg", [item], {}, version=13)
        self.program.outputs["more"] = node.y
        node.backend = "native"
        return node


@pytest.mark.parametrize("rectifies", [True, False])
def test_what_is_found_stays_what_it_was(rectifies: bool) -> None:
    rig = Rig(rectifies)
    before = rig.results()
    assert rig.operators() == [FORWARD, BACKWARD, "Mul"]
    for found, wanted in zip(rig.results(), before, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("rectifies", [True, False])
def test_two_normalisations_that_meet_take_in_one_sum(rectifies: bool) -> None:
    rig = Rig(rectifies)
    program, operands = rig.program, [rig.residual, *rig.normal.inputs[1:]]
    other = program.append(FORWARD, operands, rig.normal.attributes, domain="toolkit", outputs=5)
    other.role, other.backend = "forward", "native"
    rig.add.inputs = [other.y, rig.normal.y]
    program.nodes.insert(0, program.nodes.pop())
    before = rig.results()
    assert rig.operators() == [FORWARD, FORWARD, BACKWARD, "Mul"]
    assert rig.normal.inputs[5] is other.y
    for found, wanted in zip(rig.results(), before, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


def test_sums_of_what_broadcasts_stay_apart() -> None:
    rig = Rig()
    row = Variable("row", FLOAT32, SHAPE[-1:])
    rig.program.inputs["row"] = row
    rig.add.inputs = [row, rig.normal.y]
    assert rig.operators() == [FORWARD, "Add", "Relu", "Add", "ActivationGradient", BACKWARD, "Mul"]


@pytest.mark.parametrize("name", ["normal", "add", "sum", "gradient"])
def test_what_is_elsewhere_stays_apart(name: str) -> None:
    rig = Rig()
    count = len(rig.program.nodes)
    getattr(rig, name).backend = "cpu"
    before = rig.results()
    assert len(rig.operators()) > 3
    assert len(rig.program.nodes) <= count
    for found, wanted in zip(rig.results(), before, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["normal", "add", "sum"])
def test_what_somebody_else_reads_stays(name: str) -> None:
    rig = Rig()
    rig.also_read(getattr(rig, name).y)
    before = rig.results()
    assert getattr(rig, "sum" if name == "sum" else "add") in rig.program.nodes
    rig.operators()
    assert rig.normal.attributes["activation"] == ("Relu" if name == "sum" else "")
    for found, wanted in zip(rig.results(), before, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
