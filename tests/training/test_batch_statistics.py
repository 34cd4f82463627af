"""BatchNormalization in training: batch statistics or running ones, as the file, the trainer or the layer says."""

import numpy as np
import onnx.parser
import pytest

import toolkit as tk
from exporters import diff, save
from importers import load
from toolkit.errors import GraphError, InputError

CHANNELS, EPSILON, MOMENTUM = 3, 1e-3, 0.8
STATISTICS = ("m1", "v1", "m2", "v2")


def parse(text, opset=17, seed=0, shape=(CHANNELS,)):
    """A network from ONNX's textual syntax; every name that is read and not made is a vector of ``shape``."""
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : {opset}, "own" : 1]>\n{text}')
    random = np.random.default_rng(seed)
    made = {name for node in model.graph.node for name in node.output} | {item.name for item in model.graph.input}
    for node in model.graph.node:
        for name in node.input:
            if name not in made:
                made.add(name)
                array = random.uniform(0.5, 1.5, shape).astype(np.float32)
                model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    return load(model)


def two(attributes="", further=("", ""), opset=17):
    """Two normalisations with a Tanh between them: x (N, 3, 4) to y (N, 3, 4)."""
    form = f"<epsilon = {EPSILON}, momentum = {MOMENTUM} {attributes}>"
    return parse(
        f"""g (float[N, {CHANNELS}, 4] x) => (float[N, {CHANNELS}, 4] y) {{
            [first] a{further[0]} = BatchNormalization {form} (x, s1, b1, m1, v1)
            [middle] t = Tanh (a)
            [second] y{further[1]} = BatchNormalization {form} (t, s2, b2, m2, v2)
        }}""",
        opset,
    )


def trainer(network, **options):
    return tk.Trainer(
        network, loss=tk.losses.MeanSquaredError(), optimizer=tk.optimizers.SGD(0.05), **{"backend": "numpy", **options}
    )


def data(items=6, seed=1):
    random = np.random.default_rng(seed)
    return (random.standard_normal((2, items, CHANNELS, 4)) * 2 + 1).astype(np.float32)


def arrays(network):
    return {name: item.array.copy() for name, item in network.parameters.items()}


def normalised(x, scale, bias, mean, variance):
    column = [item.reshape(1, -1, 1) for item in (scale, bias, mean, variance)]
    return (x - column[2]) / np.sqrt(column[3] + EPSILON) * column[0] + column[1]


def by_batch(x, held, number):
    """What layer ``number`` gives for a batch, and where it moves its statistics."""
    mean, variance = x.mean((0, 2)), x.var((0, 2))
    y = normalised(x, held[f"s{number}"], held[f"b{number}"], mean, variance)
    return y, *(
        held[name] * MOMENTUM + new * (1 - MOMENTUM) for name, new in ((f"m{number}", mean), (f"v{number}", variance))
    )


def by_running(x, held, number):
    return normalised(x, *(held[f"{letter}{number}"] for letter in "sbmv"))


def changed(before, network):
    return {name for name, array in arrays(network).items() if not np.array_equal(before[name], array)}


def test_a_file_for_inference_trains_with_its_running_statistics():
    network = two()
    held, (x, target) = arrays(network), data()
    _, outputs = trainer(network).train_minibatch(x, target)
    expected = by_running(np.tanh(by_running(x, held, 1)), held, 2)
    np.testing.assert_allclose(outputs["y"], expected, rtol=1e-4, atol=1e-5)
    assert changed(held, network) == {"s1", "b1", "s2", "b2"}


@pytest.mark.parametrize("backend", ["numpy", "cpu"])
def test_batch_statistics_are_used_and_move_the_running_ones(backend):
    network = two()
    held, (x, target) = arrays(network), data()
    _, outputs = trainer(network, batch_statistics="batch", backend=backend).train_minibatch(x, target)
    first, m1, v1 = by_batch(x, held, 1)
    second, m2, v2 = by_batch(np.tanh(first), held, 2)
    np.testing.assert_allclose(outputs["y"], second, rtol=1e-4, atol=1e-5)
    for name, expected in zip(STATISTICS, (m1, v1, m2, v2), strict=True):
        np.testing.assert_allclose(network.parameters[name].array, expected, rtol=1e-4, atol=1e-5)
    assert changed(held, network) == set(held)


def test_an_evaluation_uses_the_running_statistics_and_moves_nothing():
    network = two()
    made, (x, target) = trainer(network, batch_statistics="batch"), data()
    made.train_minibatch(x, target)
    held = arrays(network)
    loss = made.evaluate((x, target))["loss"]
    expected = by_running(np.tanh(by_running(x, held, 1)), held, 2)
    assert loss == pytest.approx(float(((expected - target) ** 2).mean()), rel=1e-4)
    np.testing.assert_allclose(network.run(x)["y"], expected, rtol=1e-4, atol=1e-5)
    assert not changed(held, network)


def test_a_file_keeps_its_form_when_it_was_trained_with_batch_statistics(tmp_path):
    network = two()
    save(network, tmp_path / "before.onnx")
    trainer(network, batch_statistics="batch").fit(tuple(data()), epochs=2, progress=False)
    save(network, tmp_path / "after.onnx")
    changes = diff(str(tmp_path / "before.onnx"), str(tmp_path / "after.onnx"))
    assert {(change.kind, change.detail) for change in changes} == {("initializer", "values")}


def test_gradients_through_batch_statistics_are_those_of_pytorch():
    torch = pytest.importorskip("torch", reason="the comparison with PyTorch needs the extra torch")
    network = two()
    held, (x, target) = arrays(network), data()
    found = trainer(network, batch_statistics="batch").gradients(x, target)
    parts = []
    for number in (1, 2):
        part = torch.nn.BatchNorm1d(CHANNELS, eps=EPSILON, momentum=1 - MOMENTUM)
        part.weight.data, part.bias.data = (torch.tensor(held[f"{letter}{number}"]) for letter in "sb")
        parts.append(part)
    y = parts[1](torch.tanh(parts[0](torch.tensor(x))))
    ((y - torch.tensor(target)) ** 2).mean().backward()
    for number, part in enumerate(parts, start=1):
        np.testing.assert_allclose(found[f"s{number}"], part.weight.grad, rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(found[f"b{number}"], part.bias.grad, rtol=1e-3, atol=1e-5)


def test_layers_choose_for_themselves():
    network = two()
    network.select("first").freeze_statistics()
    held, (x, target) = arrays(network), data()
    _, outputs = trainer(network, batch_statistics="batch").train_minibatch(x, target)
    expected, *_ = by_batch(np.tanh(by_running(x, held, 1)), held, 2)
    np.testing.assert_allclose(outputs["y"], expected, rtol=1e-4, atol=1e-5)
    assert changed(held, network) == {"s1", "b1", "s2", "b2", "m2", "v2"}


def test_a_choice_between_two_steps_counts_from_then_on():
    network = two()
    made, (x, target) = trainer(network), data()
    made.train_minibatch(x, target)
    held = arrays(network)
    network.select("second").unfreeze_statistics()
    made.train_minibatch(x, target)
    assert {"m2", "v2"} == changed(held, network) & set(STATISTICS)
    held = arrays(network)
    network.select("*").freeze_statistics()
    made.train_minibatch(x, target)
    assert not changed(held, network) & set(STATISTICS)


def test_a_file_in_training_form_moves_its_statistics_unless_told_otherwise():
    for option, moves in ((None, True), ("running", False)):
        network = two(", training_mode = 1", (", n1, w1", ", n2, w2"))
        held, (x, target) = arrays(network), data()
        trainer(network, batch_statistics=option).train_minibatch(x, target)
        assert (changed(held, network) & set(STATISTICS) == set(STATISTICS)) == moves


def test_what_is_frozen_keeps_its_statistics_unless_its_layer_says_otherwise():
    network = two(", training_mode = 1", (", n1, w1", ", n2, w2"))
    network.select("first").freeze()
    held, (x, target) = arrays(network), data()
    trainer(network, batch_statistics="batch").train_minibatch(x, target)
    assert changed(held, network) == {"s2", "b2", "m2", "v2"}
    network.select("first").unfreeze_statistics()
    held = arrays(network)
    trainer(network).train_minibatch(x, target)
    assert changed(held, network) == {"s2", "b2", *STATISTICS}


@pytest.mark.parametrize(
    ("opset", "attributes"), [(6, ", is_test = 1"), (6, ""), (7, ""), (9, ""), (13, ""), (14, ""), (15, "")]
)
def test_old_files_can_be_trained_with_batch_statistics(opset, attributes):
    network = two(attributes, opset=opset)
    held, (x, target) = arrays(network), data()
    _, outputs = trainer(network, batch_statistics="batch").train_minibatch(x, target)
    expected, *_ = by_batch(np.tanh(by_batch(x, held, 1)[0]), held, 2)
    np.testing.assert_allclose(outputs["y"], expected, rtol=1e-4, atol=1e-5)
    assert changed(held, network) == set(held)


def test_statistics_of_every_element_of_an_image():
    text = f"""g (float[N, 2, 3] x) => (float[N, 2, 3] y) {{
        y = BatchNormalization <epsilon = {EPSILON}, momentum = {MOMENTUM}, spatial = 0> (x, s, b, m, v)
    }}"""
    network = parse(text, opset=7, shape=(2, 3))
    held, random = arrays(network), np.random.default_rng(3)
    x, target = random.standard_normal((2, 8, 2, 3)).astype(np.float32)
    _, outputs = trainer(network, batch_statistics="batch").train_minibatch(x, target)
    mean, variance = x.mean(0), x.var(0)
    expected = (x - mean) / np.sqrt(variance + EPSILON) * held["s"] + held["b"]
    np.testing.assert_allclose(outputs["y"], expected, rtol=1e-4, atol=1e-4)
    moved = held["v"] * MOMENTUM + variance * (1 - MOMENTUM)
    np.testing.assert_allclose(network.parameters["v"].array, moved, rtol=1e-4)


def test_a_layer_that_is_applied_twice_moves_its_statistics_twice():
    form = f"<epsilon = {EPSILON}, momentum = {MOMENTUM}>"
    network = parse(
        f"""g (float[N, {CHANNELS}, 4] x) => (float[N, {CHANNELS}, 4] y) {{
            a = BatchNormalization {form} (x, s1, b1, m1, v1)
            t = Tanh (a)
            y = BatchNormalization {form} (t, s1, b1, m1, v1)
        }}"""
    )
    held, (x, target) = arrays(network), data()
    trainer(network, batch_statistics="batch").train_minibatch(x, target)
    first, mean, variance = by_batch(x, held, 1)
    _, mean, variance = by_batch(np.tanh(first), {**held, "m1": mean, "v1": variance}, 1)
    np.testing.assert_allclose(network.parameters["m1"].array, mean, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(network.parameters["v1"].array, variance, rtol=1e-4, atol=1e-5)


def test_the_layers_of_a_function_follow_the_layer_that_calls_it():
    model = onnx.parser.parse_model(
        f"""<ir_version: 8, opset_import: ["" : 17, "own" : 1]>
        g (float[N, {CHANNELS}, 4] x) => (float[N, {CHANNELS}, 4] y) {{ [block] y = own.block (x, s, b, m, v) }}
        <opset_import: ["" : 17], domain: "own">
        block (x, s, b, m, v) => (y) {{ y = BatchNormalization (x, s, b, m, v) }}"""
    )
    for name in "sbmv":
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.ones(CHANNELS, np.float32), name))
    network = load(model)
    network.select("block").unfreeze_statistics()
    held = arrays(network)
    trainer(network).train_minibatch(*data())
    assert changed(held, network) == {"s", "b", "m", "v"}


def test_statistics_that_cannot_move_are_refused_by_layer():
    network = parse(
        f"""g (float[N, {CHANNELS}, 4] x) => (float[N, {CHANNELS}, 4] y) {{
            m = Mul (half, other)
            [norm] y = BatchNormalization (x, s, b, m, v)
        }}"""
    )
    with pytest.raises(GraphError, match=r"BatchNormalization 'norm' .* must be initializers.*freeze_statistics\(\)"):
        trainer(network, batch_statistics="batch").train_minibatch(*data())
    network.select("norm").freeze_statistics()
    trainer(network, batch_statistics="batch").train_minibatch(*data())


def test_wrong_choices_are_refused():
    with pytest.raises(InputError, match="batch_statistics must be 'batch', 'running' or None"):
        trainer(two(), batch_statistics="moving")
    with pytest.raises(GraphError, match="None of the 1 selected layers is a BatchNormalization"):
        two().select("middle").freeze_statistics()


def test_momentum_decides_how_far_they_move_in_every_step():
    network = two()
    made, (x, target) = trainer(network, batch_statistics="batch"), data()
    expected = network.parameters["m1"].array.copy()
    for _ in range(5):
        made.train_minibatch(x, target)
        expected = expected * MOMENTUM + x.mean((0, 2)) * (1 - MOMENTUM)
    np.testing.assert_allclose(network.parameters["m1"].array, expected, rtol=1e-4)
