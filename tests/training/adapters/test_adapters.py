"""Adapters on float layers: what they compute, what learns, switching, merging, and that the file tells the truth."""

import numpy as np
import onnx
import pytest

import toolkit as tk
from exporters import diff, save
from importers import load
from tests.training.adapters.small import LABELS, close, image_classifier, judged, parse, random, trained
from toolkit import adapters
from toolkit.errors import GraphError

KINDS = {"lora": adapters.lora, "dora": adapters.dora}


@pytest.mark.parametrize(("kind", "opset"), [("lora", 21), ("dora", 13), ("dora", 21)])
def test_training_an_adapter_changes_nothing_else(kind, opset, tmp_path):
    network, x = image_classifier(opset)
    before = {name: item.array for name, item in network.parameters.items()}
    y = network.run(x)["y"]
    save(network, tmp_path / "base.onnx")
    adapter = KINDS[kind](network, "*", rank=2, alpha=6)
    assert len(adapter.layers) == 4 and adapter.is_active and adapter.left_out == {}
    close(network.run(x)["y"], y)
    trainer = trained(network, x)
    assert trainer.gradients(x, LABELS).keys() == adapter.parameters.keys()
    assert all(item.array is before[name] for name, item in network.parameters.items() if name in before)
    tuned = network.run(x)["y"]
    assert abs(tuned - y).max() > 0.1
    close(judged(network, tmp_path / "apart.onnx", x), tuned)
    onnx.checker.check_model(str(tmp_path / "apart.onnx"), full_check=True)
    changes = diff(tmp_path / "base.onnx", tmp_path / "apart.onnx")
    assert {change.detail for change in changes if change.kind == "initializer"} == {"added"}
    assert {change.kind for change in changes} == {"initializer", "node"}
    merged = adapters.merged(network)
    close(judged(merged, tmp_path / "merged.onnx", x), tuned)
    weights = [name for name in before if name.endswith("weight")]
    assert [(item.name, item.detail) for item in diff(tmp_path / "base.onnx", tmp_path / "merged.onnx")] == [
        (name, "values") for name in weights
    ]


def test_adapters_are_switched_and_add_up(tmp_path):
    network, x = image_classifier()
    save(network, tmp_path / "base.onnx")
    base = network.run(x)["y"]
    outputs = {}
    for seed, name in enumerate(("french", "german")):
        adapters.activate(network)
        adapters.lora(network, "linear*", rank=2, name=name, seed=seed)
        trained(network, x, steps=3 + seed)
        outputs[name] = network.run(x)["y"]
    assert list(adapters.installed(network)) == ["french", "german"]
    for name, expected in outputs.items():
        adapters.activate(network, name)
        assert np.array_equal(network.run(x)["y"], expected)
    adapters.activate(network, "french", "german")
    both = network.run(x)["y"]
    close(judged(network, tmp_path / "both.onnx", x), both)
    close(adapters.merged(network).run(x)["y"], both)
    french, german = adapters.installed(network).values()
    assert not french.disable().is_active and np.array_equal(network.run(x)["y"], outputs["german"])
    german.disable()
    save(network, tmp_path / "off.onnx")
    assert diff(tmp_path / "base.onnx", tmp_path / "off.onnx") == []
    assert np.array_equal(network.run(x)["y"], base)
    assert "active" in repr(french.enable()) and "off" in repr(german)


def test_lora_and_dora_of_one_layer_merge_as_they_compute():
    network, x = image_classifier()
    for kind, create in KINDS.items():
        create(network, "linear*", "convolution1", rank=2, name=kind)
        trained(network, x, steps=4)
    y = network.run(x)["y"]
    close(adapters.merged(network).run(x)["y"], y)


def test_merging_for_good_and_removing_give_the_base_back_its_freedom():
    network, x = image_classifier()
    first = adapters.lora(network, "linear1", name="first")
    adapters.lora(network, "linear2", name="second")
    assert not network.parameters["linear1/bias"].requires_grad
    trained(network, x)
    y = network.run(x)["y"]
    with pytest.raises(GraphError, match=r"has the adapters \['first', 'second'\], got None"):
        adapters.merge(network)
    adapters.merge(network, "first")
    close(network.run(x)["y"], y)
    assert first.name not in adapters.installed(network) and not network.parameters["linear1/bias"].requires_grad
    adapters.merge(network)
    close(network.run(x)["y"], y)
    assert network.parameters["linear1/bias"].requires_grad and not any("lora" in name for name in network.parameters)


def test_the_base_may_learn_too():
    network, x = image_classifier()
    adapter = adapters.lora(network, "linear1", freeze_base=False)
    grads = trained(network, x, steps=1).gradients(x, LABELS)
    assert "convolution1/weight" in grads and adapter.parameters.keys() < grads.keys()


def test_a_new_head_learns_beside_an_adapter(tmp_path):
    network, x = image_classifier()
    adapter = adapters.lora(network, "*", rank=2)
    tk.replace_head(network, tk.layers.Linear(3))
    assert adapter.layers == ["convolution1/Conv", "convolution2/Conv", "linear1/Gemm"]
    learning = {name for name, item in network.parameters.items() if item.requires_grad}
    assert {"head/weight", "head/bias"} < learning
    trained(network, x)
    adapter.disable().enable()
    close(judged(network, tmp_path / "head.onnx", x), network.run(x)["y"])


def test_dropout_acts_while_training_only(tmp_path):
    network, x = image_classifier()
    adapters.lora(network, "linear1", rank=2, dropout=0.5)
    trained(network, x)
    close(judged(network, tmp_path / "n.onnx", x), network.run(x)["y"])
    old, x = image_classifier(opset=11)
    adapters.lora(old, "linear1", rank=2, dropout=0.5)
    assert next(leaf for leaf in old.graph.leaves if leaf.op_type == "Dropout").attributes == {"ratio": 0.5}


FORMS = {
    "a weight on the left": (
        "g (float[N, 4, 2] x) => (float[N, 3, 2] y) { [one] y = MatMul (w, x) }",
        {"w": random(3, 4)},
        (6, 4, 2),
    ),
    "a scaled Gemm": (
        "g (float[N, 4] x) => (float[N, 3] y) { [one] y = Gemm <alpha = 0.5, transB = 1> (x, w, b) }",
        {"w": random(3, 4), "b": random(3)},
        (6, 4),
    ),
    "a turned input": (
        "g (float[4, 6] x) => (float[6, 3] y) { [one] y = Gemm <transA = 1> (x, w, b) }",
        {"w": random(4, 3), "b": random(3)},
        (4, 6),
    ),
    "a weight that is transposed on the way": (
        "g (float[N, 5, 4] x) => (float[N, 5, 3] y) { t = Transpose <perm = [1, 0]> (w) [one] y = MatMul (x, t) }",
        {"w": random(3, 4)},
        (6, 5, 4),
    ),
    "a convolution with its activation": (
        "g (float[N, 4, 5] x) => (float[N, 3, 4] y) { [one] y = com.microsoft.FusedConv "
        '<kernel_shape = [2], activation = "Relu"> (x, w, b) }',
        {"w": random(3, 4, 2), "b": random(3)},
        (6, 4, 5),
    ),
    "packed projections of attention": (
        "g (float[N, 5, 8] x) => (float[N, 5, 8] y) { [one] y = com.microsoft.Attention <num_heads = 2> (x, w, b) }",
        {"w": random(8, 24), "b": random(24)},
        (6, 5, 8),
    ),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_layer(form, kind, tmp_path):
    text, parameters, shape = FORMS[form]
    network, x = parse(text, **parameters), random(*shape, seed=3)
    base = network.run(x)["y"]
    adapter = KINDS[kind](network, "one", rank=2, alpha=3)
    for seed, item in enumerate(adapter.parameters.values()):
        item.assign(item.array + random(*item.shape, seed=seed, scale=0.3))
    y = network.run(x)["y"]
    assert abs(y - base).max() > 0.01
    close(judged(network, tmp_path / "apart.onnx", x), y)
    close(judged(adapters.merged(network), tmp_path / "merged.onnx", x), y)
    context = network.context(6 if shape[0] == 6 else None, training=True, backend="numpy")
    context.forward({"x": x})
    assert context.backward({"y": np.ones_like(y)})["parameters"].keys() == adapter.parameters.keys()


def test_gradients_of_an_adapter_are_those_of_finite_differences():
    network, x = image_classifier()
    adapter = adapters.dora(network, "convolution2", rank=2)
    item = adapter.branches[0].b
    item.assign(random(*item.shape, seed=5, scale=0.3))
    context = network.context(6, training=True, backend="numpy")
    for name, parameter in adapter.parameters.items():
        context.forward({"x": x})
        grad = context.backward({"y": np.ones((6, 3), np.float32)})["parameters"][name]
        direction = random(*parameter.shape, seed=7)
        center, sums = parameter.array, []
        for sign in (1, -1):
            parameter.assign((center + sign * np.float32(1e-2) * direction).astype(np.float32))
            sums.append(float(network.run(x, backend="numpy")["y"].astype(np.float64).sum()))
        parameter.assign(center)
        np.testing.assert_allclose((grad * direction).sum(), (sums[0] - sums[1]) / 2e-2, rtol=2e-2, atol=2e-2)


def test_layers_are_chosen_by_their_weights_as_well():
    text, parameters, _ = FORMS["a weight that is transposed on the way"]
    assert adapters.lora(parse(text, **parameters), "w").layers == ["one"]
    network, _ = image_classifier()
    adapter = adapters.lora(network, "*", exclude=["convolution*"])
    assert adapter.layers == ["linear1/Gemm", "linear2/Gemm"]


def test_files_of_the_first_versions_list_the_matrices_among_the_inputs(tmp_path):
    network, x = image_classifier(opset=8)
    network.ir_version = 3
    for name, item in network.parameters.items():
        network.graph.inputs[name] = tk.Value(name, item.dtype, item.shape)
    adapter = adapters.lora(network, "linear1")
    assert set(adapter.parameters) < set(network.graph.inputs) and list(network.inputs) == ["x"]
    close(judged(network, tmp_path / "old.onnx", x), network.run(x)["y"])
    adapter.disable()
    assert set(adapter.parameters).isdisjoint(network.graph.inputs)


TIED = "g (float[N, 4] x) => (float[N, 4] y) { [one] a = MatMul (x, w) [two] y = MatMul (a, w) }"
DEPTHWISE = "g (float[N, 4, 5] x) => (float[N, 4, 4] y) { [one] y = Conv <group = 4> (x, w) [two] z = Relu (x) }"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rank": 0}, r"a rank that is a whole number of at least 1, got 0"),
        ({"alpha": -1.0}, r"a positive alpha, got -1\.0"),
        ({"dropout": 1.0}, r"a dropout in \[0, 1\), got 1\.0"),
        ({"name": "a/b"}, r"a name without '/' that no other one has, got 'a/b'"),
    ],
)
def test_numbers_that_make_no_adapter(options, message):
    network, _ = image_classifier()
    with pytest.raises(GraphError, match=message):
        adapters.lora(network, "*", **options)


def test_layers_that_cannot_take_an_adapter_are_named():
    network, _ = image_classifier()
    with pytest.raises(GraphError, match=r"Relu 'relu1/Relu' cannot take an adapter: adapters work on Conv"):
        adapters.lora(network, "relu1/Relu")
    with pytest.raises(GraphError, match=r"None of the layers that \['relu\*'\] meets can take an adapter"):
        adapters.lora(network, "relu*")
    with pytest.raises(GraphError, match=r"Conv 'one' cannot take an adapter: it is a depthwise convolution"):
        adapters.lora(parse(DEPTHWISE, w=random(4, 1, 2)), "one")
    product = parse("g (float[N, 4, 4] x) => (float[N, 4, 4] y) { [one] y = MatMul (x, x) }")
    with pytest.raises(GraphError, match=r"MatMul 'one' cannot take an adapter: it has no weight: both factors"):
        adapters.lora(product, "one")
    stacked = parse("g (float[N, 4, 4] x) => (float[N, 4, 4] y) { [one] y = MatMul (x, w) }", w=random(1, 4, 4))
    with pytest.raises(GraphError, match=r"its weight 'w' must be a matrix, it is \(1, 4, 4\)"):
        adapters.lora(stacked, "one")
    adapters.lora(network, "linear1")
    with pytest.raises(GraphError, match=r"that no other one has, got 'default' beside \['default'\]"):
        adapters.lora(network, "linear1")
    with pytest.raises(GraphError, match=r"has the adapters \['default'\], got 'other'"):
        adapters.activate(network, "other")
    old, _ = image_classifier()
    old.opsets[""] = 6
    with pytest.raises(GraphError, match=r"Adapters need opset 7, .* opset 6"):
        adapters.lora(old, "*")


def test_weights_of_several_layers_are_not_merged():
    network = parse(TIED, w=random(4, 4))
    adapters.lora(network, "one", rank=1)
    with pytest.raises(GraphError, match=r"MatMul 'one' cannot take its adapter .* other layers read 'w' as well"):
        adapters.merged(network)


def test_a_transformer_learns_in_its_attention_alone(tmp_path):
    text = """g (float[N, 5, 8] x) => (float[N, 3] y) {
        ["layer/attention/query/MatMul"] q = MatMul (x, wq)  ["layer/attention/key/MatMul"] k = MatMul (x, wk)
        ["layer/attention/value/MatMul"] v = MatMul (x, wv)
        kt = Transpose <perm = [0, 2, 1]> (k) scores = MatMul (q, kt) p = Softmax <axis = -1> (scores)
        c = MatMul (p, v) m = ReduceMean <axes = [1], keepdims = 0> (c) ["head/MatMul"] y = MatMul (m, wh)
    }"""
    weights = {name: random(8, 8, seed=i) for i, name in enumerate(("wq", "wk", "wv"))}
    save(parse(text, **weights, wh=random(8, 3)), tmp_path / "base.onnx")
    network, x = load(str(tmp_path / "base.onnx")), random(6, 5, 8, seed=9)
    adapter = adapters.lora(network, "*/query/*", "*/value/*", rank=2)
    assert adapter.layers == ["layer/attention/query/MatMul", "layer/attention/value/MatMul"]
    trained(network, x)
    merged = adapters.merged(network)
    close(judged(merged, tmp_path / "m.onnx", x), network.run(x)["y"])
    assert {item.name for item in diff(tmp_path / "base.onnx", tmp_path / "m.onnx")} == {"wq", "wv"}
