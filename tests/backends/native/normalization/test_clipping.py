"""Clips that become part of a normalisation by statistics of the batch: what is found stays what it was."""

from __future__ import annotations

import numpy as np
import pytest

from tests.backends.native.normalization.rewritten import Rewritten
from toolkit.backends import native
from toolkit.backends.native.normalization.clipping import take_in_clips

if native.unavailable_reason() is not None:
    pytest.skip("needs llvmlite", allow_module_level=True)


class Rig(Rewritten):
    """A normalisation, a clip, and the gradients of both; ``from_output``: the clip's is told from what it gave."""

    def __init__(self, low: float = -0.5, high: float = 0.75, from_output: bool = True) -> None:
        super().__init__()
        program = self.program

        x, g = self.images(2)
        vectors = self.vectors(4)
        numbers = {"epsilon": 1e-3, "momentum": 0.8, "activation": ""}
        self.normal = program.append(
            "BatchNormalizationTraining",
            [x, *vectors],
            numbers,
            domain="toolkit",
            outputs=["y", "m", "v", "bm", "bv", ""],
        )
        bounds = [program.constant(np.array(item, np.float32)).variable for item in (low, high)]
        self.clip = program.append("Clip", [self.normal.y, *bounds], {}, version=13)
        program.role = "backward"
        slope = {
            "activation": "Clip",
            "activation_alpha": low,
            "activation_beta": high,
            "from_output": int(from_output),
        }
        known = self.clip.y if from_output else self.normal.y
        self.slope = program.append("ActivationGradient", [g, known], slope, domain="toolkit")
        operands = [self.slope.y, x, vectors[0], *self.normal.outputs[3:5]]
        numbers = {"epsilon": 1e-3, "activation": ""}
        self.gradient = program.append("BatchNormalizationGradient", operands, numbers, domain="toolkit", outputs=3)
        made = [self.clip.y, *self.normal.outputs[1:3], *self.gradient.outputs]
        self.finish(made)

    def operators(self) -> list[str]:
        take_in_clips(self.program, "native")
        return [node.op_type for node in self.program.nodes]


@pytest.mark.parametrize("from_output", [True, False])
def test_what_is_found_stays_what_it_was(from_output: bool) -> None:
    rig = Rig(from_output=from_output)
    before = rig.results()
    assert rig.operators() == ["BatchNormalizationTraining", "BatchNormalizationGradient"]
    for found, wanted in zip(rig.results(), before, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


def test_what_is_elsewhere_or_would_fill_padding_stays_apart() -> None:
    assert len(Rig(low=0.25).operators()) == 4
    rig = Rig()
    rig.gradient.backend = "cpu"
    assert len(rig.operators()) == 4


@pytest.mark.parametrize("name", ["normal", "slope"])
def test_what_somebody_else_reads_stays_apart(name: str) -> None:
    rig = Rig()
    rig.program.outputs["more"] = getattr(rig, name).y
    assert len(rig.operators()) == 4
    rig = Rig()
    rig.program.append("Relu", [getattr(rig, name).y], {}, version=14)
    assert len(rig.operators()) == 5
