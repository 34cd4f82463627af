"""Dropout in training: live whatever an exporter left of it, by the seed of its context, and never in an evaluation."""

import numpy as np
import onnx.parser
import pytest

import toolkit as tk
from importers import load

ITEMS, WIDTH, RATIO = 4, 500, 0.25


def parse(line, opset, **parameters):
    stretched = "<broadcast = 1>" if opset < 7 else ""
    model = onnx.parser.parse_model(
        f'<ir_version: 8, opset_import: ["" : {opset}]>\n'
        f"g (float[N, {WIDTH}] x) => (float[N, {WIDTH}] y) {{ h = Mul {stretched} (x, w)\n {line} }}"
    )
    for name, array in {"w": np.ones(WIDTH, np.float32), **parameters}.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(array), name))
    return load(model)


def plain():
    return parse("[drop] y = Dropout (h, ratio)", 17, ratio=np.float32(RATIO))


def ones():
    return np.ones((ITEMS, WIDTH), np.float32)


def context(network, seed=0, **options):
    return network.context(ITEMS, training=True, backend="numpy", seed=seed, **options)


def masks(made, times=1):
    """Which elements the next runs keep."""
    return [made.forward(ones())["y"] != 0 for _ in range(times)]


@pytest.mark.parametrize(
    ("line", "opset"),
    [
        (f"y = Dropout <ratio = {RATIO}> (h)", 7),
        (f"y = Dropout <ratio = {RATIO}> (h)", 10),
        (f"y = Dropout <ratio = {RATIO}, is_test = 1> (h)", 6),
        (f"y = Dropout <ratio = {RATIO}> (h)", 6),
        ("y = Dropout (h, ratio)", 12),
        ("y = Dropout (h, ratio, off)", 13),
        ("y = Dropout (h, ratio, on)", 13),
        ("y = Dropout <seed = 7> (h, ratio)", 22),
        ("y, mask = Dropout (h, ratio)", 13),
    ],
)
@pytest.mark.parametrize("backend", ["numpy", "cpu"])
def test_whatever_was_exported_drops_and_scales(line, opset, backend):
    inputs = {"ratio": np.float32(RATIO), "on": np.asarray(True), "off": np.asarray(False)}
    network = parse(line, opset, **{name: item for name, item in inputs.items() if name in line.replace("Dropout", "")})
    made = network.context(ITEMS, training=True, backend=backend)
    y = made.forward(ones())["y"]
    assert 0.65 < (y != 0).mean() < 0.85
    np.testing.assert_allclose(y[y != 0], 1 / (1 - RATIO), rtol=1e-5)
    grads = made.backward({"y": ones()})
    np.testing.assert_allclose(grads["inputs"]["x"], y, rtol=1e-5)
    assert (y != made.forward(ones())["y"]).any(), "every run draws anew, a seed in the file notwithstanding"


def test_a_ratio_that_is_not_given_is_a_half():
    kept = masks(context(parse("y = Dropout (h)", 13)))[0].mean()
    assert 0.42 < kept < 0.58


def test_a_mask_of_the_input_type_can_be_read():
    network = parse(f"d, mask = Dropout <ratio = {RATIO}> (h)\n y = Mul (d, mask)", 7)
    kept = masks(context(network))[0].mean()
    assert 0.65 < kept < 0.85


def test_a_ratio_of_0_leaves_no_step():
    network = parse("y = Dropout <ratio = 0.0> (h)", 10)
    assert not any("Dropout" in step.operator for step in context(network).explain().steps)


def test_the_same_seed_gives_the_same_masks():
    network = plain()
    first, second = (masks(context(network, seed=3), 3) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert (first[0] != first[1]).any()
    assert (masks(context(network, seed=4))[0] != first[0]).any()


def test_contexts_do_not_disturb_each_other():
    network = plain()
    alone = masks(context(network, seed=3), 3)
    one, other = context(network, seed=3), context(network, seed=9)
    together = []
    for _ in range(3):
        together += masks(one)
        masks(other)
        network.run(ones())
    np.testing.assert_array_equal(alone, together)


def test_backward_differentiates_the_run_that_was_made():
    network = parse("[drop] y = Dropout (h, ratio)", 17, ratio=np.float32(RATIO))
    made = context(network)
    for _ in range(2):
        y = made.forward(ones())["y"]
        np.testing.assert_allclose(made.backward({"y": ones()})["parameters"]["w"], y.sum(0), rtol=1e-5)


def test_two_layers_draw_for_themselves():
    network = parse("a = Dropout (h, ratio)\n b = Dropout (h, ratio)\n y = Sub (a, b)", 17, ratio=np.float32(RATIO))
    assert (context(network).forward(ones())["y"] != 0).any()


def trainer(network, seed=0):
    return tk.Trainer(
        network,
        loss=tk.losses.MeanSquaredError(),
        optimizer=tk.optimizers.SGD(0.01),
        backend="numpy",
        seed=seed,
    )


def test_an_evaluation_drops_nothing_and_uses_up_no_randomness():
    x, runs = ones(), []
    for evaluates in (False, True):
        made = trainer(plain(), seed=5)
        kept = []
        for _ in range(3):
            kept.append(made.train_minibatch(x, x)[1]["y"] != 0)
            if evaluates:
                held = made.network.parameters["w"].array
                assert made.evaluate((x, x))["loss"] == pytest.approx(float(((held - 1) ** 2).mean()), abs=1e-6)
        runs.append(kept)
    np.testing.assert_array_equal(*runs)
    assert 0.65 < np.mean(runs) < 0.85


def test_trainers_of_one_network_draw_by_their_own_seeds():
    x = ones()
    kept = [trainer(plain(), seed=seed).train_minibatch(x, x)[1]["y"] != 0 for seed in (1, 1, 2)]
    np.testing.assert_array_equal(kept[0], kept[1])
    assert (kept[0] != kept[2]).any()
