"""Training in half width: it learns as float32 does, overflow skips steps, runs go on where they stopped."""

import numpy as np
import pytest

import toolkit as tk
from tests.support.models import cnn, feed, mlp, network
from toolkit.training import DynamicLossScale

NARROW = ["mixed", "bfloat16", "float16"]


def trainer(net, precision, **options):
    loss, optimizer = tk.losses.SoftmaxCrossEntropy(), tk.optimizers.Adam(0.01)
    return tk.Trainer(net, loss=loss, optimizer=optimizer, precision=precision, threads=1, **options)


def batch(net, size, classes=4):
    return feed(net, size, 0), np.random.default_rng(1).integers(0, classes, size)


@pytest.mark.parametrize("backend", ["cpu", "numpy"])
@pytest.mark.parametrize("precision", NARROW)
@pytest.mark.parametrize("make", [mlp, cnn])
def test_it_learns_as_float32_does(make, precision, backend):
    ends = {}
    for name in ("float32", precision):
        made = trainer(make(), name, backend=backend)
        data = batch(made.network, 16)
        losses = [made.train_minibatch(*data)[0] for _ in range(20)]
        ends[name] = [*losses, made.evaluate(data)["loss"]]
    assert ends[precision][-1] < 0.6 * ends[precision][0]
    np.testing.assert_allclose(ends[precision], ends["float32"], rtol=0.05, atol=0.01)
    assert ends[precision] != ends["float32"]


@pytest.mark.parametrize("precision", NARROW)
def test_gradients_are_those_of_float32_within_what_the_type_resolves(precision):
    data = batch(mlp(), 8)
    wide, narrow = (trainer(mlp(), name).gradients(*data) for name in ("float32", precision))
    for name, grad in wide.items():
        assert narrow[name].dtype == np.float32
        assert np.abs(narrow[name] - grad).max() < 0.03 * np.abs(grad).max()


def test_parameters_and_optimizer_state_keep_what_half_width_would_lose():
    net = mlp()
    made = trainer(net, "mixed")
    made.train_minibatch(*batch(net, 8))
    arrays = [item.array for item in net.parameters.values()]
    assert all(array.dtype == np.float32 for array in arrays)
    assert any((array.view(np.uint32) & 0xFFFF).any() for array in arrays)  # more bits than bfloat16 has


def test_float16_scales_its_loss_and_skips_the_steps_that_overflow():
    net = mlp()
    assert isinstance(trainer(net, "float16").loss_scale, DynamicLossScale)
    assert trainer(net, "mixed").loss_scale is None
    made = trainer(net, "float16", loss_scale=DynamicLossScale(2.0**40))
    data, before = batch(net, 8), {name: item.array.copy() for name, item in net.parameters.items()}
    made.train_minibatch(*data)
    assert made.steps == 0 and made.loss_scale.skipped == 1 and made.loss_scale.value == 2.0**39
    assert all(np.array_equal(item.array, before[name]) for name, item in net.parameters.items())
    for _ in range(40):
        made.train_minibatch(*data)
    assert made.steps > 0 and made.steps + made.loss_scale.skipped == 41
    assert any(not np.array_equal(item.array, before[name]) for name, item in net.parameters.items())


@pytest.mark.parametrize("precision", ["mixed", "float16"])
def test_a_run_goes_on_bit_by_bit(tmp_path, precision):
    whole, first, second = (trainer(mlp(), precision) for _ in range(3))
    data, path = batch(mlp(), 8), tmp_path / "checkpoint"
    for _ in range(6):
        whole.train_minibatch(*data)
    for _ in range(3):
        first.train_minibatch(*data)
    first.save_checkpoint(path)
    second.load_checkpoint(path)
    for _ in range(3):
        second.train_minibatch(*data)
    for name, item in whole.network.parameters.items():
        np.testing.assert_array_equal(item.array, second.network.parameters[name].array)


@pytest.mark.parametrize("options", [{"accumulate": 2}, {"rematerialise": ["*"]}, {"loss_backend": "numpy"}])
def test_it_goes_with_the_other_options(options):
    net = cnn()
    made, data = trainer(net, "mixed", **options), batch(net, 8)
    losses = [made.train_minibatch(*data)[0] for _ in range(12)]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("precision", NARROW)
def test_a_result_that_is_widened_leaves_alone_what_the_backward_pass_reads(precision):
    net = network(
        """g (float[N, 2, 4, 4] x) => (float[N, 2, 2, 2] y) {
            r = Conv(x, w)
            p = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (r)
            y = Tanh(p)
        }""",
        w=(2, 2, 1, 1),
    )
    net.parameters["w"].assign(np.eye(2, dtype=np.float32).reshape(2, 2, 1, 1))
    x = np.random.default_rng(0).permutation(32).astype(np.float32).reshape(1, 2, 4, 4) / 64
    found = []
    for name in ("float32", precision):
        context = net.context(1, training=True, precision=name, threads=1)
        y = context.forward({"x": x})["y"]
        found.append(context.backward({"y": np.ones_like(y)})["inputs"]["x"])
    np.testing.assert_allclose(found[1], found[0], atol=0.02)


@pytest.mark.parametrize("precision", NARROW)
def test_passes_by_hand_give_float32_gradients(precision):
    net, x = cnn(), feed(cnn(), 4, 0)
    found = []
    for name in ("float32", precision):
        context = net.context(4, training=True, precision=name, threads=1)
        y = context.forward(x)["y"]
        found.append(context.backward({"y": np.ones_like(y)}))
    for kind in ("inputs", "parameters"):
        for name, grad in found[0][kind].items():
            assert found[1][kind][name].dtype == np.float32
            difference = np.linalg.norm(found[1][kind][name] - grad)  # rounding may choose other maxima to pool
            assert difference <= 0.1 * np.linalg.norm(grad)
