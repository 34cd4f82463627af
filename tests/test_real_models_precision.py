"""What half width costs on models that others trained: errors relative to float32, and right answers lost."""

from __future__ import annotations

import gzip
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from importers import load
from toolkit.graph import Network

ASSETS = Path(__file__).parents[2] / "shared" / "assets"
MODELS, MNIST = ASSETS / "models", ASSETS / "data" / "mnist"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not MODELS.exists(), reason="needs the assets beside the repository (../shared/assets)"),
]
PRECISIONS = pytest.mark.parametrize("precision", ["bfloat16", "mixed"])
# Root mean square of the error relative to that of the results, twice what was measured.
ERRORS = {
    "bodypix_mnet050": 0.03,
    "deeplab_v3_mnv2": 0.03,
    "mj_g1_policy": 0.004,
    "ppocr_cls": 0.01,
    "speech_embedding": 0.008,
    "superres_10": 0.006,
    "tinybert_tribuo": 0.007,
    "ultraface_rfb320": 0.004,
    "vespa_transformer": 0.009,
}
IMAGES, BATCH = 2000, 250
LOST = 0.002  # of the answers: 4 of 2,000
# How each model has been shown its images.
SCALES = {"mnist8_cntk": (0.0, 1.0), "mnist_burn": (33.3, 78.6), "selfattn_mnist": (0.0, 255.0)}


@cache
def loaded(name: str) -> Network:
    return load(str(MODELS / name / "model.onnx"))


@cache
def recorded(name: str) -> dict[str, np.ndarray]:
    with np.load(MODELS / name / "ort_ref.npz") as found:
        return {key.removeprefix("in:"): found[key] for key in found.files if key.startswith("in:")}


@PRECISIONS
@pytest.mark.parametrize("name", ERRORS)
def test_results_are_near_those_of_float32(name: str, precision: str) -> None:
    expected = loaded(name).run(recorded(name))
    found = loaded(name).run(recorded(name), precision=precision)
    for output, value in expected.items():
        assert found[output].dtype == value.dtype
        if value.dtype.kind == "f":
            error, size = (
                np.sqrt(np.mean(np.square(item, dtype=np.float64))) for item in (found[output] - value, value)
            )
            assert error <= ERRORS[name] * size, output


def _unpacked(path: Path) -> bytes:
    with gzip.open(path) as file:
        return file.read()


@cache
def digits() -> tuple[np.ndarray, np.ndarray]:
    images, labels = (_unpacked(MNIST / f"t10k-{kind}-ubyte.gz") for kind in ("images-idx3", "labels-idx1"))
    pixels = np.frombuffer(images, np.uint8, IMAGES * 784, 16).reshape(IMAGES, 28, 28)
    return pixels.astype(np.float32), np.frombuffer(labels, np.uint8, IMAGES, 8)


def right(name: str, precision: str) -> float:
    """The share of right answers."""
    (images, labels), (offset, scale) = digits(), SCALES[name]
    ((key, value),) = loaded(name).inputs.items()
    shape = [BATCH if axis == value.batch_axis else size for axis, size in enumerate(value.shape)]
    context = loaded(name).context(BATCH, precision=precision)
    answers = [
        next(iter(context.run({key: ((part - offset) / scale).reshape(shape)}).values())).argmax(1)
        for part in np.split(images, IMAGES // BATCH)
    ]
    return float((np.concatenate(answers) == labels).mean())


@PRECISIONS
@pytest.mark.parametrize("name", SCALES)
def test_as_many_digits_are_recognised(name: str, precision: str) -> None:
    expected = right(name, "float32")
    assert expected > 0.95
    assert right(name, precision) >= expected - LOST
