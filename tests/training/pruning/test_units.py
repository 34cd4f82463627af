"""Structured pruning: units leave, whatever reads them follows, and units that were zero are not missed."""

import numpy as np
import pytest

import toolkit as tk
from exporters import save
from tests.training.quantisation.small import images, judged, parse, random, residual
from toolkit import pruning
from toolkit.errors import GraphError, InputError


def silence(network, weight, axis, units, *others):
    """Set the weights that make some units to zero, and the biases beside them."""
    item = network.parameters[weight]
    array = np.moveaxis(item.array.copy(), axis, 0)
    array[units] = 0
    item.assign(np.ascontiguousarray(np.moveaxis(array, 0, axis)))
    for name in others:
        held = network.parameters[name].array.copy()
        held[units] = 0
        network.parameters[name].assign(held)


def test_a_residual_sum_loses_the_same_units_on_both_sides(tmp_path):
    network, x = residual(), images(5)
    silence(network, "w1", 0, [1, 6], "h1", "m1")
    silence(network, "w2", 0, [1, 6], "b2")
    silence(network, "w3", 0, [1, 6], "b3")
    silence(network, "w4", 0, [0, 5, 7], "b4")
    expected = network.run(x)["y"]
    save(network, tmp_path / "before.onnx")
    kept = pruning.prune_units(network, share=0.25)
    assert set(kept) == {"first", "second", "hidden"}
    np.testing.assert_array_equal(kept["first"], [0, 2, 3, 4, 5, 7])
    np.testing.assert_array_equal(kept["second"], kept["first"])
    np.testing.assert_array_equal(kept["hidden"], [1, 2, 3, 4, 6, 8, 9, 10, 11])
    shapes = {name: network.parameters[name].shape for name in ("w1", "v1", "w2", "w3", "w4", "w5")}
    assert shapes == {
        "w1": (6, 3, 3, 3),
        "v1": (6,),
        "w2": (6, 1, 3, 3),
        "w3": (6, 6, 1, 1),
        "w4": (9, 96),
        "w5": (9, 5),
    }
    np.testing.assert_allclose(network.run(x)["y"], expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(judged(network, tmp_path / "after.onnx", {"x": x})["y"], expected, rtol=1e-4, atol=1e-5)
    assert (tmp_path / "after.onnx").stat().st_size < 0.75 * (tmp_path / "before.onnx").stat().st_size
    loss = tk.losses.SoftmaxCrossEntropy(probabilities=True)
    trained = tk.Trainer(network, loss=loss, optimizer=tk.optimizers.Adam(0.01), threads=1)
    losses = [trained.train_minibatch(x, np.arange(5))[0] for _ in range(8)]
    assert losses[-1] < losses[0]


FORMS = {
    "a shape in the file": "c = Conv (x, w) r = Reshape (c, shape) y = MatMul (r, v)",
    "a scaled mean": "c = Conv (x, w) m = GlobalAveragePool (c) s = Squeeze (m, axes) t = Mul (s, k) y = MatMul (t, u)",
    "a gate": "c = Conv (x, w) m = GlobalMaxPool (c) g = Sigmoid (m) p = Mul (c, g) f = Flatten (p) y = MatMul (f, v)",
    "a mean": "c = Conv (x, w) m = ReduceMean <axes = [2, 3], keepdims = 0> (c) y = MatMul (m, u)",
}


@pytest.mark.parametrize("form", FORMS)
def test_ways_from_a_product_to_the_next(form, tmp_path):
    parameters = {
        "w": random(6, 2, 3, 3),
        "shape": np.array([-1, 54]),
        "v": random(54, 4, seed=1),
        "axes": np.array([2, 3]),
        "k": random(6, seed=2),
        "u": random(6, 4, seed=3),
    }
    used = {
        name: array for name, array in parameters.items() if f"{name})" in FORMS[form] or f" {name}," in FORMS[form]
    }
    network = parse(f"g (float[N, 2, 5, 5] x) => (y) {{ {FORMS[form]} }}", **used)
    x = random(3, 2, 5, 5, seed=9)
    silence(network, "w", 0, [0, 3])
    expected = network.run(x)["y"]
    (kept,) = pruning.prune_units(network, share=0.34).values()
    np.testing.assert_array_equal(kept, [1, 2, 4, 5])
    np.testing.assert_allclose(judged(network, tmp_path / "p.onnx", {"x": x})["y"], expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(network.run(x)["y"], expected, rtol=1e-4, atol=1e-5)


def test_counts_may_be_multiples():
    kept = pruning.prune_units(residual(), "hidden", share=0.9, multiple_of=4)
    assert {path: len(units) for path, units in kept.items()} == {"hidden": 4}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("y = MatMul (x, w)", r"'MatMul_0' \(it leaves the network as 'y'\)"),
        ("a = MatMul (x, w) s = Softmax (a) y = MatMul (s, v)", r"\(Softmax 'Softmax_1' reads it\)"),
        ("a = MatMul (x, w) b = Add (a, x) y = MatMul (b, v)", r"\(Add 'Add_1' reads it\)"),
        ("a = MatMul (x, w) c = Concat <axis = 1> (a, a) y = MatMul (c, u)", r"\(Concat 'Concat_1' reads it\)"),
    ],
)
def test_what_cannot_lose_units_says_why(body, message):
    network = parse(
        f"g (float[N, 4] x) => (y) {{ {body} }}", w=random(4, 4), v=random(4, 4, seed=1), u=random(8, 4, seed=2)
    )
    with pytest.raises(GraphError, match=message):
        pruning.prune_units(network, body.split(" = ")[1].split(" ")[0] + "_0")


@pytest.mark.parametrize("options", [{"share": 1.0}, {"multiple_of": 0}])
def test_options_that_do_not_fit(options):
    with pytest.raises(InputError, match=r"a share in \[0, 1\) and multiple_of of at least 1"):
        pruning.prune_units(residual(), **options)
