"""Models that others trained give what onnxruntime recorded for them, on both backends."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest

from importers import load
from toolkit.errors import ShapeError, UnsupportedOperatorError

MODELS = Path(__file__).parents[2] / "shared" / "assets" / "models"
RECORDED = sorted(path.parent.name for path in MODELS.glob("*/ort_ref.npz"))
pytestmark = pytest.mark.skipif(not RECORDED, reason="needs the assets beside the repository (../shared/assets)")
MUST_PASS = {
    "acasxu_1_1",
    "basic_pitch",
    "bodypix_mnet050",
    "cifar10_winml",
    "dnsmos_v8",
    "esp_stream",
    "fsanet_var",
    "g1_motion_dynamo",
    "godot_jumper",
    "gpt2_past_tiny",
    "jax_function",
    "keypoint_cls",
    "llm_scatter_op24",
    "magika_v3_3",
    "micro_kws_fp32",
    "mj_g1_policy",
    "mnist8_cntk",
    "mnist_burn",
    "mnist_cnn_torch11",
    "mnist_dynamo_rten",
    "mnist_dynq_int8",
    "mnist_mlp_onnxmlir",
    "ppocr_cls",
    "selfattn_mnist",
    "speech_embedding",
    "superres_10",
    "tf2_keras_mlp",
    "tiny_bert_optimum",
    "tinybert_tribuo",
    "torch_dynamo_fn",
    "tribuo_iris",
    "trt_resblock",
    "ultraface_rfb320",
    "vespa_transformer",
    "wakeword_arcosoph",
}


@cache
def recorded(name: str) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The inputs that a model was given, and the outputs that onnxruntime gave."""
    with np.load(MODELS / name / "ort_ref.npz", allow_pickle=True) as found:
        arrays = {key: found[key] for key in found.files}
    inputs = {key.removeprefix("in:"): array for key, array in arrays.items() if key.startswith("in:")}
    return inputs, {key.removeprefix("out:"): array for key, array in arrays.items() if key.startswith("out:")}


@pytest.mark.parametrize("backend", ["cpu", "numpy"])
@pytest.mark.parametrize("name", RECORDED)
def test_model_gives_what_onnxruntime_gave(name: str, backend: str) -> None:
    feeds, expected = recorded(name)
    try:
        found = load(str(MODELS / name / "model.onnx")).run(feeds, backend=backend)
    except (UnsupportedOperatorError, ShapeError) as error:
        if name in MUST_PASS or (isinstance(error, ShapeError) and "depends on the data" not in str(error)):
            raise
        pytest.skip(str(error))
    for output, array in expected.items():
        assert (found[output].dtype, found[output].shape) == (array.dtype, array.shape), output
        if array.dtype.kind == "f":
            scale = float(np.abs(array).max(initial=0.0))
            np.testing.assert_allclose(found[output], array, rtol=1e-3, atol=1e-4 * scale, err_msg=output)
        else:
            np.testing.assert_array_equal(found[output], array, err_msg=output)


def test_every_model_that_must_pass_is_there() -> None:
    assert sorted(MUST_PASS - set(RECORDED)) == []
