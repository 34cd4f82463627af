"""Models that others trained give what onnxruntime gives for them, on both backends, and at another batch size too."""

from __future__ import annotations

from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from importers import load
from toolkit.graph import Network

MODELS = Path(__file__).parents[2] / "shared" / "assets" / "models"
NAMES = sorted(path.parent.name for path in MODELS.glob("*/model.onnx"))
RECORDED = sorted(path.parent.name for path in MODELS.glob("*/ort_ref.npz"))
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not NAMES, reason="needs the assets beside the repository (../shared/assets)"),
]
EVERY_BACKEND = pytest.mark.parametrize("backend", ["cpu", "numpy"])

# The step of an 8-bit output: results may differ by one of them.
QUANTA = {"micro_kws_qdq": 1 / 255, "mnist_dynq_int8": 0.05, "tashkeel_int8": 0.05, "shufflenet_v2_int8": 0.15}
# Deep instance normalisation amplifies rounding: evaluated in float64, this model says that onnxruntime is 0.29 away
# from the truth and the backend cpu 0.13, of a scale of 269.
ROUNDING = {"fns_candy": 5.0}
QUANTISED_PRODUCTS = {"QLinearConv", "QLinearMatMul"}  # input 3 is the weight, input 5 its zero point
DRAWN = {"continuous_actions", "discrete_actions"}  # outputs of the mlagents models that are random numbers

# Inputs whose batch axis no rule can tell, beside those that say it themselves.
BATCH_AXES: dict[str, dict[str, int | None]] = {
    "silero_vad_v2": {"h0": 1, "c0": 1},
    "silero_vad_v62": {"state": 1},
}
NOT_BATCHED = {
    "gtcrn_simple": "one of its caches holds batch and frequency on one axis",
    "torch_dynamo_fn": "its input is a number",
    "seq_if": "its input is a sequence of tensors",
    "dictvec_tree": "its input is one map",
}
AT_ONCE = {
    "cntk_scan": "its first axis counts the steps of one sequence",
    "qlstm_scan": "its first axis counts the steps of one sequence",
    "tashkeel_int8": "its activations are quantised by the range of the whole batch",
}
EQUAL_ITEMS = {
    "mnist_dynq_int8": "its activations are quantised by the range of the whole batch, and its file is for one item",
    "fns_candy": "what onnxruntime's rounding does to it is known for the recorded image",
}


@cache
def recorded(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The inputs that a model was given, and the outputs that onnxruntime gave."""
    with np.load(MODELS / name / "ort_ref.npz", allow_pickle=True) as found:
        arrays = {key: found[key] for key in found.files}
    inputs = {key.removeprefix("in:"): array for key, array in arrays.items() if key.startswith("in:")}
    return inputs, {key.removeprefix("out:"): array for key, array in arrays.items() if key.startswith("out:")}


@cache
def judge(name: str) -> onnxruntime.InferenceSession:
    """onnxruntime on a model; texts are lowered beforehand, because its normaliser needs a locale of the system."""
    model = onnx.load(MODELS / name / "model.onnx")
    for node in model.graph.node:
        if node.op_type == "StringNormalizer":
            del node.attribute[:]
    shift_weights(model)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def shift_weights(model: onnx.ModelProto) -> None:
    """Write int8 weights of quantised products as uint8, 128 higher, and their zero points with them.

    The products are the same. But on processors without VNNI onnxruntime adds pairs of uint8 times int8 in 16 bits,
    which saturate; those of uint8 times uint8 do not.
    """
    products = [node for node in model.graph.node if node.op_type in QUANTISED_PRODUCTS]
    shifted = {name for node in products for name in (node.input[3], node.input[5])}
    for tensor in model.graph.initializer:
        if tensor.name in shifted and tensor.data_type == onnx.TensorProto.INT8:
            higher = (onnx.numpy_helper.to_array(tensor).astype(np.int16) + 128).astype(np.uint8)
            tensor.CopyFrom(onnx.numpy_helper.from_array(higher, tensor.name))


def judged(name: str, feeds: dict[str, Any]) -> dict[str, Any]:
    """What onnxruntime gives."""
    session = judge(name)
    lowered = {key: _lowered(value) for key, value in feeds.items()}
    return dict(zip([item.name for item in session.get_outputs()], session.run(None, lowered), strict=True))


def _lowered(value: Any) -> Any:
    is_text = isinstance(value, np.ndarray) and value.dtype == object
    return np.vectorize(str.lower, otypes=[object])(value) if is_text else value


@lru_cache(maxsize=4)
def loaded(name: str) -> Network:
    """A model with its batch axes."""
    return load(str(MODELS / name / "model.onnx"), batch_axis=BATCH_AXES.get(name, {}))


def assert_agrees(name: str, found: Any, expected: Any, what: str) -> None:
    """Floats within 1e-3 of themselves and 1e-4 of the largest, quantised ones within a quantum, the rest equal."""
    if isinstance(expected, (list, tuple)):
        assert len(found) == len(expected), what
        for one, other in zip(found, expected, strict=True):
            assert_agrees(name, one, other, what)
        return
    if isinstance(expected, dict):
        assert list(found) == list(expected), what
        ours, theirs = ([float(entries[key]) for key in expected] for entries in (found, expected))
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4, err_msg=what)
        return
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape), what
    if expected.dtype.kind != "f":
        np.testing.assert_array_equal(found, expected, err_msg=what)
        return
    scale, factor = float(np.abs(expected).max(initial=0.0)), ROUNDING.get(name, 1.0)
    allowed = max(1e-4 * factor * scale, QUANTA.get(name, 0.0))
    np.testing.assert_allclose(found, expected, rtol=1e-3 * factor, atol=allowed, err_msg=what)


@EVERY_BACKEND
@pytest.mark.parametrize("name", RECORDED)
def test_model_gives_what_onnxruntime_gave(name: str, backend: str) -> None:
    feeds, expected = recorded(name)
    found = loaded(name).run(feeds, backend=backend)
    for output, value in expected.items():
        if not (isinstance(value, np.ndarray) and value.dtype == object and isinstance(found[output], list)):
            assert_agrees(name, found[output], value, output)


def unrecorded_feeds(name: str) -> dict[str, Any]:
    """Inputs for the models that carry no record."""
    random = np.random.default_rng(0)
    match name:
        case "dictvec_tree":
            return {"float_input": {1: 5, 3: 1.5}}
        case "tfidf_20news":
            lines = [["A Shuttle launch", "NASA said the shuttle. Is it 02 safe?"], ["For sale", "a car, good brakes"]]
            return {"input": np.array(lines, dtype=object)}
        case "seq_if":
            return {"seq_in": [np.ones(2, np.float32), np.zeros(3, np.float32)]}
    shapes = {
        key: [dim if isinstance(dim, int) else 2 for dim in value.shape] for key, value in loaded(name).inputs.items()
    }
    return {key: random.standard_normal(shape, np.float32) for key, shape in shapes.items()}


@EVERY_BACKEND
@pytest.mark.parametrize("name", [name for name in NAMES if name not in RECORDED])
def test_model_without_a_record_gives_what_onnxruntime_gives(name: str, backend: str) -> None:
    feeds = unrecorded_feeds(name)
    found = loaded(name).run(feeds, backend=backend)
    for output, value in judged(name, feeds).items():
        if name.startswith("mlagents") and output in DRAWN:
            assert (found[output].dtype, found[output].shape) == (value.dtype, value.shape)
        else:
            assert_agrees(name, found[output], value, output)


@EVERY_BACKEND
@pytest.mark.parametrize("name", [name for name in NAMES if name not in NOT_BATCHED | AT_ONCE])
def test_batch_of_four_gives_what_onnxruntime_gives_for_each_item(name: str, backend: str) -> None:
    if (name, backend) == ("fns_candy", "numpy"):
        pytest.skip("four of its images take a minute on numpy")
    feeds, expected = judged_alone(name)
    found = loaded(name).run(feeds, backend=backend)
    for item, alone in enumerate(expected):
        for output, value in alone.items():
            if not (name.startswith("mlagents") and output in DRAWN):
                assert_agrees(name, share_of(found[output], value, item), value, f"{output} of item {item}")


@lru_cache(maxsize=1)
def judged_alone(name: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A batch of four, and what onnxruntime gives for each of its items, or for as many at once as the file is for.

    Where the file is for more than four, the batch is two of its.
    """
    net, are_equal = loaded(name), name in EQUAL_ITEMS
    axes = {key: value.batch_axis for key, value in net.inputs.items()}
    per_item = items_in_file(net)
    count = 4 if per_item <= 4 else 2 * per_item
    feeds = some_items(net, recorded(name)[0] if name in RECORDED else unrecorded_feeds(name), count, are_equal)
    parts = [
        {key: value if axes[key] is None else value.take(rows, axes[key]) for key, value in feeds.items()}
        for rows in (range(first, first + per_item) for first in range(0, count + 1 - per_item, per_item))
    ]
    if are_equal:
        return feeds, [judged(name, parts[0])] * len(parts)
    return feeds, [judged(name, part) for part in parts]


@EVERY_BACKEND
@pytest.mark.parametrize("name", [name for name in NAMES if name in AT_ONCE])
def test_batch_of_four_gives_what_onnxruntime_gives_for_all_at_once(name: str, backend: str) -> None:
    net = loaded(name)
    feeds = some_items(net, recorded(name)[0], 4)
    found = net.run(feeds, backend=backend)
    for output, value in judged(name, feeds).items():
        assert_agrees(name, found[output], value, output)


def items_in_file(net: Network) -> int:
    """How many items the file itself is for: 1, or the batch that it fixes."""
    frozen = [value.shape[value.batch_axis] for value in net.inputs.values() if value.batch_axis is not None]
    return next((size for size in frozen if isinstance(size, int)), 1) or 1


def some_items(net: Network, feeds: dict[str, Any], count: int, are_equal: bool = False) -> dict[str, Any]:
    """The first item of the feeds, and others like it."""
    random, made = np.random.default_rng(1), {}
    for name, value in feeds.items():
        axis = net.inputs[name].batch_axis
        if axis is None:
            made[name] = value
            continue
        first = value.take([0], axis)
        if first.dtype.kind == "f" and not are_equal:
            near = [first * (1 + 0.1 * item) + 0.01 * random.standard_normal(first.shape) for item in range(count)]
            made[name] = np.concatenate(near, axis).astype(value.dtype)
        else:
            made[name] = np.concatenate([first] * count, axis)
    return made


def share_of(found: Any, alone: Any, item: int) -> Any:
    """The part of a batch's output that belongs to an item: along the one axis on which the shapes differ."""
    if isinstance(found, list):
        return found[item * len(alone) : (item + 1) * len(alone)]
    differing = [axis for axis, (size, one) in enumerate(zip(found.shape, alone.shape, strict=True)) if size != one]
    if not differing:
        return found
    size = alone.shape[differing[0]]
    return found.take(range(item * size, (item + 1) * size), differing[0])
