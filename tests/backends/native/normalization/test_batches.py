"""Normalisation by the statistics of a batch, forward and backward, in every layout, against the references."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from tests.support.interpret import apply
from toolkit.backends import native, onednn

if native.unavailable_reason() is not None or not onednn.available():
    pytest.skip("needs llvmlite and oneDNN", allow_module_level=True)

from tests.backends.parity import VARIANTS, Rig, assert_close
from toolkit.backends.native import selection
from toolkit.backends.native.assembly.code import BEYOND_CACHES
from toolkit.backends.native.backend import NativeBackend
from toolkit.backends.native.normalization import image_chunks
from toolkit.backends.native.normalization.batches import WORTH_COMPILING
from toolkit.backends.native.registry import KERNELS

LAYOUTS = [
    item for item in VARIANTS if item.name in ("plain", "channels last", "blocks of 16", "blocks of 8 in training")
]
SHAPES = [(4, 16, 16, 16), (3, 20, 40, 17), (2, 3, 75, 80), (1, 9, 2400), (2, 8, 9, 10, 12)]
NAMES = ["image", "moved mean", "moved variance", "mean", "variance"]
GRADIENTS = [
    *("gradient of the image", "gradient of the scale", "gradient of the shift"),
    "gradient of the residual",
]


def both_directions(rig, x, g, vectors, training, backward, residual=None, more=None):
    """What our kernels give for images, and for gradients of the result: by ``NAMES`` and ``GRADIENTS``.

    With ``residual`` added, and ``more`` of the gradient, of which the last result is what passes.
    """
    source, scale = rig.given(x), rig.given(vectors[0])
    operands = [source, scale, *map(rig.given, vectors[1:])]
    operands += [] if residual is None else [rig.given(residual)]
    count = 6 if training["activation"] else 5
    forward = rig.program.append("BatchNormalizationTraining", operands, training, domain="toolkit", outputs=count)
    operands = [rig.given(g), source, scale, *forward.outputs[3:5], *(forward.outputs[5:] or [None])]
    operands += [] if more is None else [rig.given(more)]
    made = 3 if more is None else 4
    gradient = rig.program.append("BatchNormalizationGradient", operands, backward, domain="toolkit", outputs=made)
    named = [*zip(NAMES, forward.outputs, strict=False), *zip(GRADIENTS, gradient.outputs, strict=False)]
    found = rig.run({name: item for name, item in named if item is not None})
    assert {forward.backend, gradient.backend} == {"native"}
    return found


class Taking(NativeBackend):
    """Takes at once what it has kernels for: not every library has some of half width, to be taken over from."""

    def supports(self, node):
        return KERNELS.entry_of(node) is not None


@pytest.mark.parametrize("beyond", [BEYOND_CACHES, 1], ids=["cached", "beyond caches"])
@pytest.mark.parametrize("activation", ["", "Relu"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("variant", LAYOUTS, ids=lambda item: item.name)
def test_both_directions(variant, shape, activation, beyond, monkeypatch):
    monkeypatch.setattr(image_chunks, "BEYOND_CACHES", beyond)
    random = np.random.default_rng(0)
    assert 4 * np.prod(shape) >= WORTH_COMPILING
    x, g = (random.standard_normal(shape).astype(np.float32) + offset for offset in (np.float32(3), np.float32(0)))
    vectors = [random.uniform(0.5, 1.5, shape[1]).astype(np.float32) for _ in range(4)]
    training = {"epsilon": 1e-3, "momentum": 0.8, "activation": activation}
    backward = {"epsilon": 1e-3, "activation": activation}
    count = 6 if activation else 5
    wide = [item.astype(np.float64) for item in (x, *vectors)]
    expected = apply("toolkit", "BatchNormalizationTraining", 1, wide, training)
    slopes = apply("toolkit", "BatchNormalizationGradient", 1, [g, wide[0], wide[1], *expected[3:count]], backward)

    found = both_directions(Rig(variant, [NativeBackend()]), x, g, vectors, training, backward)
    for name, array in (*zip(NAMES, expected, strict=False), *zip(GRADIENTS, slopes[:3], strict=False)):
        assert_close(found[name], array.astype(np.float32), 2e-6, name)


@pytest.mark.parametrize("beyond", [BEYOND_CACHES, 1], ids=["cached", "beyond caches"])
@pytest.mark.parametrize("activation", ["", "Relu"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("variant", LAYOUTS, ids=lambda item: item.name)
def test_a_repetition_is_the_same_bit_for_bit(variant, shape, activation, beyond, monkeypatch):
    monkeypatch.setattr(image_chunks, "BEYOND_CACHES", beyond)
    random = np.random.default_rng(0)
    rig = Rig(variant, [NativeBackend()])
    source = rig.given(random.standard_normal(shape).astype(np.float32) + np.float32(3))
    vectors = [rig.given(random.uniform(0.5, 1.5, shape[1]).astype(np.float32)) for _ in range(4)]
    training = {"epsilon": 1e-3, "momentum": 0.8, "activation": activation}
    first = rig.program.append("BatchNormalizationTraining", [source, *vectors], training, domain="toolkit", outputs=5)
    operands, attributes = [source, *vectors[:2], *first.outputs[3:5]], {"epsilon": 1e-3, "activation": activation}
    second = rig.program.append("BatchNormalizationRepeated", operands, attributes, domain="toolkit")
    found = rig.run({"first": first.y, "second": second.y})
    assert second.backend == "native"
    np.testing.assert_array_equal(found["second"], found["first"])


@pytest.mark.parametrize("shape", SHAPES[:3], ids=str)
@pytest.mark.parametrize("variant", LAYOUTS, ids=lambda item: item.name)
def test_what_is_clipped(variant, shape, monkeypatch):
    monkeypatch.setattr(selection, "LEAST_ELEMENTS", 1)
    random = np.random.default_rng(0)
    x, g = (random.standard_normal(shape).astype(np.float32) for _ in range(2))
    vectors = [random.uniform(0.5, 1.5, shape[1]).astype(np.float32) for _ in range(4)]
    numbers, bounds = {"epsilon": 1e-3, "momentum": 0.8}, {"activation_alpha": -0.25, "activation_beta": 1.25}
    wide = [item.astype(np.float64) for item in (x, *vectors)]
    expected = apply("toolkit", "BatchNormalizationTraining", 1, wide, {**numbers, **bounds, "activation": "Clip"})
    backward = {"epsilon": 1e-3, "activation": "Clip"}
    slopes = apply("toolkit", "BatchNormalizationGradient", 1, [g, wide[0], wide[1], *expected[3:]], backward)

    rig = Rig(variant, [NativeBackend()])
    program, source, scale = rig.program, rig.given(x), rig.given(vectors[0])
    operands = [source, scale, *map(rig.given, vectors[1:])]
    normal = program.append("BatchNormalizationTraining", operands, numbers, domain="toolkit", outputs=5)
    limits = [program.constant(np.array(item, np.float32)).variable for item in bounds.values()]
    clip = program.append("Clip", [normal.y, *limits], {}, version=13)
    program.append("Relu", [scale], {}, version=14).role = "backward"  # so the program is one that learns
    attributes = {**bounds, "activation": "Clip", "from_output": 1}
    slope = program.append("ActivationGradient", [rig.given(g), clip.y], attributes, domain="toolkit")
    operands = [slope.y, source, scale, *normal.outputs[3:]]
    gradient = program.append("BatchNormalizationGradient", operands, {"epsilon": 1e-3}, domain="toolkit", outputs=3)
    found = rig.run(dict(zip(["image", *GRADIENTS[:3]], [clip.y, *gradient.outputs], strict=True)))
    assert normal.y is clip.y
    for name, array in zip(["image", *GRADIENTS[:3]], [expected[0], *slopes[:3]], strict=True):
        assert_close(found[name], array.astype(np.float32), 2e-5, name)


@pytest.mark.parametrize("beyond", [BEYOND_CACHES, 1], ids=["cached", "beyond caches"])
@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("activation", ["", "Relu"])
@pytest.mark.parametrize("shape", SHAPES[:3], ids=str)
@pytest.mark.parametrize("variant", LAYOUTS[:2], ids=lambda item: item.name)
def test_residuals_and_gradients_that_meet(variant, shape, activation, dtype, beyond, monkeypatch):
    monkeypatch.setattr(image_chunks, "BEYOND_CACHES", beyond)
    random = np.random.default_rng(0)
    x, residual, g, more = (random.standard_normal(shape).astype(dtype) for _ in range(4))
    vectors = [random.uniform(0.5, 1.5, shape[1]).astype(np.float32) for _ in range(4)]
    training = {"epsilon": 1e-3, "momentum": 0.8, "activation": activation}
    backward = {"epsilon": 1e-3, "activation": activation}
    wide = [item.astype(np.float64) for item in (x, *vectors, residual, g, more)]
    expected = apply("toolkit", "BatchNormalizationTraining", 1, wide[:6], training)
    operands = [wide[6], *wide[:2], *expected[3:5], expected[5] if activation else None, wide[7]]
    slopes = apply("toolkit", "BatchNormalizationGradient", 1, operands, backward)

    found = both_directions(Rig(variant, [Taking()]), x, g, vectors, training, backward, residual, more)
    assert len(found) == len(NAMES) + len(GRADIENTS)
    for name, array in (*zip(NAMES, expected, strict=False), *zip(GRADIENTS, slopes, strict=True)):
        tolerance = 2.0**-6 if found[name].dtype == ml_dtypes.bfloat16 else 1e-5
        assert_close(found[name].astype(np.float32), array.astype(np.float32), tolerance, name)


def test_statistics_of_large_images_are_exact():
    shape = (1, 3, 500, 500)
    x = (np.random.default_rng(0).standard_normal(shape) + 3).astype(np.float32)
    rig = Rig(VARIANTS[1], [NativeBackend()])
    operands = [rig.given(item) for item in (x, *np.ones((4, 3), np.float32))]
    attributes = {"epsilon": 1e-5, "momentum": 0.9, "activation": ""}
    node = rig.program.append("BatchNormalizationTraining", operands, attributes, domain="toolkit", outputs=5)
    found = rig.run({name: item for name, item in zip(NAMES, node.outputs, strict=True) if item is not None})
    wide = x.astype(np.float64)
    np.testing.assert_allclose(found["mean"], wide.mean((0, 2, 3)), rtol=5e-7)
    np.testing.assert_allclose(found["variance"], wide.var((0, 2, 3)), rtol=5e-7)


@pytest.mark.parametrize("activation", ["", "Relu"])
@pytest.mark.parametrize("shape", SHAPES[:3], ids=str)
@pytest.mark.parametrize("variant", LAYOUTS[:2], ids=lambda item: item.name)
def test_images_of_half_width(variant, shape, activation):
    random = np.random.default_rng(0)
    x, g = (random.standard_normal(shape).astype(ml_dtypes.bfloat16) for _ in range(2))
    vectors = [random.uniform(0.5, 1.5, shape[1]).astype(np.float32) for _ in range(4)]
    training = {"epsilon": 1e-3, "momentum": 0.8, "activation": activation}
    backward = {"epsilon": 1e-3, "activation": activation}
    count = 6 if activation else 5
    expected = apply("toolkit", "BatchNormalizationTraining", 1, [x, *vectors], training)
    slopes = apply("toolkit", "BatchNormalizationGradient", 1, [g, x, vectors[0], *expected[3:count]], backward)

    found = both_directions(Rig(variant, [Taking()]), x, g, vectors, training, backward)
    for name, array in (*zip(NAMES, expected, strict=False), *zip(GRADIENTS, slopes[:3], strict=False)):
        assert found[name].dtype == array.dtype
        tolerance = 2.0**-7 if array.dtype == ml_dtypes.bfloat16 else 1e-5
        assert_close(found[name].astype(np.float32), array.astype(np.float32), tolerance, name)
