"""Every model that others trained learns, or the toolkit says exactly why it cannot."""

from __future__ import annotations

import re
import warnings
from typing import Any

import numpy as np
import pytest

import toolkit as tk
from importers import load
from tests.test_real_models_inference import BATCH_AXES, DRAWN, MODELS, NAMES, RECORDED, recorded, unrecorded_feeds
from toolkit.cli.trainability import trainability
from toolkit.graph import Network
from toolkit.graph.parameter import is_trainable_dtype
from toolkit.runtime.feeds import sizes

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not NAMES, reason="needs the assets beside the repository (../shared/assets)"),
]
STEPS, RATE = 10, 1e-5

# The learning rate of Adam where the usual one is too much for a steep loss, or too little to be seen.
RATES = {
    "fns_candy": 1e-3,
    "mlagents_visualfood": 1e-3,
    "selfie_seg_landscape": 1e-6,
    "simplified_ssd": 1e-3,
    "yolox_nano": 1e-6,
}
FEWER_STEPS = {"fns_candy": 4, "simplified_ssd": 4}  # their images are large
LAST = {"fns_candy": 2}  # how many parameters learn: this spares the backward pass of all that lies before
# All their activations are quantised: a gradient needs the straight-through rule.
STRAIGHT_THROUGH = {"micro_kws_qdq"}
# Outputs that no weight leads to: normalised inputs, and what the mlagents models say of themselves.
WEIGHTLESS = {"div", "version_number", "memory_size", "continuous_action_output_shape", "discrete_action_output_shape"}

LABELS_ONLY = r"requires a floating-point output, got {} .* Judge the output before the classes are picked"
NO_WEIGHT = "Nothing to train: output '{}' depends on no parameter of floating-point numbers"
SETTINGS = r"of what output '{}' depends on, nothing is a weight \({}\)"
CANNOT = {
    "dictvec_tree": "DictVectorizer 'DictVectorizer': what it reads depends on the data",
    "digits_sklearn_conxr": LABELS_ONLY.format("int64"),
    "keypoint_cls": LABELS_ONLY.format("int64"),
    "lgbm_pipe": LABELS_ONLY.format("int64"),
    "linear_cls_op21": NO_WEIGHT.format("probabilities"),
    "mnist_lr_sklearn": LABELS_ONLY.format("int64"),
    "qlstm_scan": r"no gradient leads from output 'output' to a parameter. .* through QuantizeLinear 'Scan_3/",
    "rf_iris": LABELS_ONLY.format("int64"),
    "rf_sklearn_go": LABELS_ONLY.format("int64"),
    "seq_if": LABELS_ONLY.format("bool"),
    "shufflenet_v2_int8": SETTINGS.format("output", "134 x the step size"),
    "svm_nu_multi": LABELS_ONLY.format("int64"),
    "tashkeel_int8": r"no gradient leads from output 'onnx::ArgMax_2259' to a parameter. 'onnx::GRU_2306', .* through "
    r"QuantizeLinear 'Add_output_0_/LeakyRelu_QuantizeLinear' \(rounding has no slope",
    "tfidf_20news": LABELS_ONLY.format("int64"),
    "torch_dynamo_fn": NO_WEIGHT.format("_val_3"),
    "xfeat_bicubic": SETTINGS.format("16", "2 x the normalisation of the data, 1 x a number"),
    "xgb_cls_tract": NO_WEIGHT.format("probabilities"),
    "xgb_pipe": LABELS_ONLY.format("int64"),
    "xgb_reg": NO_WEIGHT.format("variable"),
}


def prepared(name: str) -> tuple[Network, dict[str, Any], dict[str, Any]]:
    """A model, inputs for it, and what it makes of them."""
    network = load(str(MODELS / name / "model.onnx"), batch_axis=BATCH_AXES.get(name, {}))
    feeds = recorded(name)[0] if name in RECORDED else unrecorded_feeds(name)
    return network, feeds, network.run(feeds)


def judged(network: Network, found: dict[str, Any]) -> str:
    """The first output that weights lead to: of floating-point numbers, and not drawn, where there is one."""
    able = [key for key, value in found.items() if isinstance(value, np.ndarray) and is_trainable_dtype(value.dtype)]
    names = [key for key in able if found[key].size and key not in WEIGHTLESS] or list(found)
    return sorted(names, key=lambda key: key in DRAWN)[0]


def trainer_for(name: str, network: Network, output: str) -> tk.Trainer:
    return tk.Trainer(
        network,
        loss=tk.losses.MeanSquaredError(output=output),
        optimizer=tk.optimizers.Adam(RATES.get(name, RATE)),
        threads=1,
        straight_through=name in STRAIGHT_THROUGH or None,
    )


def targets(value: Any) -> np.ndarray:
    """What the model gives, each channel (axis 1 of images, else the last) moved by about a tenth of the largest."""
    near = np.asarray(value if isinstance(value, np.ndarray) else 0, np.float32)
    scale = float(np.abs(near).max(initial=0)) or 1.0
    place = 1 if near.ndim == 4 else near.ndim - 1
    channels = [size if axis == place else 1 for axis, size in enumerate(near.shape)]
    return near + np.float32(0.1 * scale) * np.random.default_rng(0).standard_normal(channels, np.float32)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in CANNOT])
def test_the_loss_of_a_model_goes_down(name: str) -> None:
    network, feeds, found = prepared(name)
    output = judged(network, found)
    weights = [item for item in network.parameters.values() if item.requires_grad]
    for parameter in weights[: -LAST.get(name, len(weights))]:
        parameter.requires_grad = False
    before = {key: item.array for key, item in network.parameters.items()}
    trainer, target = trainer_for(name, network, output), targets(found[output])
    if name == "mlagents_visualfood":  # its actions are drawn: a target that no draw reaches by chance
        target = np.full_like(target, 0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of gradients that are missing, which are judged below
        losses = [trainer.train_minibatch(feeds, target)[0] for _ in range(FEWER_STEPS.get(name, STEPS))]
    if name == "mlagents_visualfood":
        assert np.mean(losses[-5:]) < np.mean(losses[:5])
    else:
        assert losses[-1] < losses[0]
    for key, item in network.parameters.items():
        learns = item.requires_grad and not (key in trainer.shortfalls and not trainer.shortfalls[key].is_partial)
        assert np.isfinite(item.array.astype(np.float32)).all() or not learns, key
        assert learns or np.array_equal(item.array, before[key]), key


@pytest.mark.parametrize("name", CANNOT)
def test_a_model_that_cannot_be_trained_says_why(name: str) -> None:
    network, feeds, found = prepared(name)
    output = judged(network, found)
    with pytest.raises(tk.ToolkitError, match=CANNOT[name]):
        trainer_for(name, network, output).train_minibatch(feeds, targets(found[output]))


PARTLY = {  # how many weights get no gradient although the model learns, and why
    "gpt2_past_tiny": (12, "its bool results carry no gradient"),
    "mnist_dynq_int8": (2, "QuantizeLinear .*rounding has no slope"),
}


@pytest.mark.parametrize("name", PARTLY)
def test_what_learns_and_what_does_not_is_known_before(name: str) -> None:
    network, feeds, found = prepared(name)
    output = judged(network, found)
    verdicts = trainability(network, *sizes(network, feeds), output).parameters
    trainer = trainer_for(name, network, output)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        grads = trainer.gradients(feeds, targets(found[output]))
    assert {key for key, verdict in verdicts.items() if verdict.can_train} == set(grads)
    count, reason = PARTLY[name]
    assert len(trainer.shortfalls) == count
    for key, shortfall in trainer.shortfalls.items():
        assert verdicts[key].reason == str(shortfall)
        assert re.search(reason, str(shortfall))
