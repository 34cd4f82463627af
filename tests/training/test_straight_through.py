"""Training through rounding: the estimators, what they leave alone, and what is said where nobody asked for them."""

import numpy as np
import onnx.parser
import pytest

import toolkit as tk
from exporters import diff, save
from importers import load
from toolkit.errors import InputError, NotDifferentiableError

RANGES = {"int8": (-128, 127), "uint8": (0, 255)}


def parse(text, opset=19, **parameters):
    """A network from ONNX's textual syntax, with parameters by name."""
    model = onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["" : {opset}, "com.microsoft" : 1]>\n{text}')
    for name, array in parameters.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(array), name))
    return load(model)


def single(*values):
    return np.asarray(values[0] if len(values) == 1 else values, np.float32)


def gradients(network, x, g, **options):
    """The gradients of ``sum(y * g)`` by the parameters: those of a squared error with a fitting target."""
    made = tk.Trainer(
        network, loss=tk.losses.MeanSquaredError(), optimizer=tk.optimizers.SGD(0.1), backend="numpy", **options
    )
    y = network.run(x)["y"]
    return made.gradients(x, y - g * y.size / 2)


def fake_quantised(kind="int8", further="", **parameters):
    """y = fake quantisation of x * w."""
    made = parse(
        f"""g (float[N, 4] x) => (float[N, 4] y) {{
            a = Mul (x, w)
            [quantise] q = QuantizeLinear {further} (a, scale, zero)
            [dequantise] y = DequantizeLinear {further} (q, scale, zero)
        }}""",
        **{"w": np.ones(4, np.float32), "zero": np.asarray(3, kind), "scale": single(0.1), **parameters},
    )
    return without_steps(made)


def with_steps(network, *names):
    """The network with step sizes that learn."""
    for name in names or ("scale",):
        network.parameters[name].requires_grad = True
    return network


def without_steps(network):
    """The network with step sizes that stay, as importing leaves them."""
    for name, parameter in network.parameters.items():
        if name in ("scale", "sw", "sh", "s", "s1", "s2"):
            parameter.requires_grad = False
    return network


def batch(seed=0, items=5):
    random = np.random.default_rng(seed)
    x = (random.standard_normal((items, 4)) * 9).astype(np.float32)
    return x, random.standard_normal((items, 4)).astype(np.float32)


@pytest.mark.parametrize("kind", RANGES)
def test_the_gradient_passes_inside_the_range_only(kind):
    network, (x, g) = fake_quantised(kind), batch()
    found = gradients(network, x, g, straight_through=True)
    low, high = RANGES[kind]
    place = np.rint(x / np.float32(0.1)) + 3
    inside = (place >= low) & (place <= high)
    assert 0 < inside.mean() < 1
    assert set(found) == {"w"}
    np.testing.assert_allclose(found["w"], (g * inside * x).sum(0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("learns", [False, True])
@pytest.mark.parametrize("axis", [None, 1])
def test_gradients_are_those_of_pytorch(axis, learns):
    torch = pytest.importorskip("torch", reason="the comparison with PyTorch needs the extra torch")
    steps = single(0.1) if axis is None else single(0.05, 0.1, 0.07, 0.2)
    zero = np.asarray(3, np.int8) if axis is None else np.asarray([3, 0, -5, 100], np.int8)
    network, (x, g) = fake_quantised(scale=steps, zero=zero, further="" if axis is None else "<axis = 1>"), batch()
    (with_steps if learns else without_steps)(network)
    found = gradients(network, x, g, straight_through=True)
    w, scale = torch.ones(4, requires_grad=True), torch.tensor(steps.reshape(-1), requires_grad=True)
    slope = 1 / np.sqrt(x[0].size / steps.size * 127)
    fake = torch._fake_quantize_learnable_per_tensor_affine
    operands = (torch.tensor(x) * w, scale, torch.tensor(zero.reshape(-1).astype(np.float32)))
    if axis is None:
        y = fake(*operands, -128, 127, slope)
    else:
        y = torch._fake_quantize_learnable_per_channel_affine(*operands, 1, -128, 127, slope)
    y.backward(torch.tensor(g))
    np.testing.assert_allclose(network.run(x)["y"], y.detach(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found["w"], w.grad, rtol=1e-4, atol=1e-5)
    assert ("scale" in found) == learns
    if learns:
        np.testing.assert_allclose(found["scale"].reshape(-1), scale.grad, rtol=1e-3, atol=1e-4)


def test_step_sizes_of_weights_count_all_their_numbers():
    random = np.random.default_rng(2)
    w = random.standard_normal((4, 3)).astype(np.float32)
    network = parse(
        """g (float[N, 4] x) => (float[N, 3] y) {
            q = QuantizeLinear (w, scale)
            d = DequantizeLinear (q, scale)
            y = MatMul (x, d)
        }""",
        w=w,
        scale=single(0.01),
    )
    x, g = batch()[0], random.standard_normal((5, 3)).astype(np.float32)
    found = gradients(with_steps(network), x, g, straight_through=True)
    dw, place = x.T @ g, w / np.float32(0.01)
    inside = (np.rint(place) >= 0) & (np.rint(place) <= 255)
    each = np.where(inside, np.rint(place) - place, np.where(place < 0, 0, 255))
    np.testing.assert_allclose(found["w"], dw * inside, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found["scale"], (dw * each).sum() / np.sqrt(12 * 255), rtol=1e-3, atol=1e-4)


def test_a_step_size_that_differs_between_the_pair_stays():
    network = parse(
        """g (float[N, 4] x) => (float[N, 4] y) {
            a = Mul (x, w)
            q = QuantizeLinear (a, s1)
            y = DequantizeLinear (q, s2)
        }""",
        w=np.ones(4, np.float32),
        s1=single(0.1),
        s2=single(0.2),
    )
    x, g = batch()
    assert set(gradients(with_steps(network, "s1", "s2"), x, g, straight_through=True)) == {"w"}


@pytest.mark.parametrize(
    ("between", "after"),
    [
        ("r = Reshape (q, shape)", lambda a: a.reshape(-1, 2, 2)),
        ("r = Concat <axis = 1> (q, other, q)", lambda a: np.concatenate([a, np.full_like(a[:, :1], 0.7), a], 1)),
        ("r = MaxPool <kernel_shape = [2]> (q)", lambda a: np.maximum(a[:, :-1], a[:, 1:])),
        ("r, rest = Split <axis = 1> (q, sizes)", lambda a: a[:, :1]),
        ("h = Relu (q) r = Pad (h, pads, zero)", lambda a: np.pad(a, ((0, 0), (1, 0)))),
        ("t = Transpose (q) r = Transpose (t)", lambda a: a),
    ],
)
def test_integers_may_be_moved_before_they_become_floats_again(between, after):
    """Whole numbers as inputs and step size 1 make the quantisation exact, so the gradient is that of the floats."""
    x = np.random.default_rng(0).integers(1, 100, (2, 4)).astype(np.float32)
    is_pool = "MaxPool" in between
    network = parse(
        f"""g (float[N, 4] x) => (y) {{
            a = Mul (x, w)
            a3 = Reshape (a, image)
            q = QuantizeLinear ({"a3" if is_pool else "a"}, scale, zero)
            {between}
            y = DequantizeLinear (r, scale, zero)
        }}""",
        w=np.ones(4, np.float32),
        scale=single(1.0),
        zero=np.asarray(0, np.int8),
        shape=np.asarray([-1, 2, 2]),
        image=np.asarray([-1, 1, 4]),
        other=np.ones((2, 1), np.int8),
        sizes=np.asarray([1, 3]),
        pads=np.asarray([0, 1, 0, 0]),
    )
    context = network.context(2, training=True, backend="numpy")
    assert context.forward(x)["y"].shape[0] == 2
    made = tk.Trainer(
        network,
        loss=tk.losses.MeanSquaredError(),
        optimizer=tk.optimizers.SGD(0.1),
        backend="numpy",
        straight_through=True,
    )
    y = network.run(x)["y"]
    random = np.random.default_rng(1)
    g = random.standard_normal(y.shape).astype(np.float32)
    found = made.gradients(x, y - g * y.size / 2)["w"]
    direction, step = random.standard_normal(4), 1e-3
    ends = [(after(x * (1 + sign * step * direction)).reshape(y.shape) * g).sum() for sign in (1, -1)]
    np.testing.assert_allclose((found * direction).sum(), (ends[0] - ends[1]) / (2 * step), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("name", "slope"),
    [("Round", np.ones_like), ("Floor", np.ones_like), ("Ceil", np.ones_like), ("Sign", lambda a: np.abs(a) <= 1)],
)
def test_steps_pass_the_gradient_where_asked_for(name, slope):
    network = parse(
        f"g (float[N, 4] x) => (float[N, 4] y) {{ a = Mul (x, w) y = {name} (a) }}", w=np.full(4, 0.3, np.float32)
    )
    x, g = batch()
    found = gradients(network, x, g, straight_through=name)
    np.testing.assert_allclose(found["w"], (g * slope(x * 0.3) * x).sum(0), rtol=1e-4, atol=1e-5)
    reason = f"{name} '{name}.*straight_through='{name}' trains through it"
    for option in (None, "QuantizeLinear"):
        with pytest.raises(NotDifferentiableError, match=reason):
            gradients(network, x, g, straight_through=option)


def test_only_the_usual_ones_are_taken_without_names():
    network = parse(
        "g (float[N, 4] x) => (float[N, 4] y) { a = Mul (x, w) b = Floor (a) y = Round (b) }", w=np.ones(4, np.float32)
    )
    with pytest.raises(NotDifferentiableError, match="straight_through='Floor'"):
        gradients(network, *batch(), straight_through=True)
    assert set(gradients(network, *batch(), straight_through=["Round", "Floor"])) == {"w"}


def deployed(opset=19):
    """Float weights fake-quantised, integer weights behind DequantizeLinear, and activations quantised in between."""
    random = np.random.default_rng(5)
    made = parse(
        """g (float[N, 4] x) => (float[N, 3] y) {
            [first] wq = QuantizeLinear (w, sw, zw)
            wd = DequantizeLinear (wq, sw, zw)
            h = Gemm (x, wd, b)
            r = Relu (h)
            [middle] hq = QuantizeLinear (r, sh, zh)
            hd = DequantizeLinear (hq, sh, zh)
            vd = DequantizeLinear (v, sv, zw)
            y = Gemm (hd, vd, c)
        }""",
        opset,
        w=random.standard_normal((4, 8)).astype(np.float32),
        b=np.zeros(8, np.float32),
        v=random.integers(-100, 100, (8, 3)).astype(np.int8),
        c=np.zeros(3, np.float32),
        sw=single(0.03),
        zw=np.asarray(0, np.int8),
        sh=single(0.1),
        zh=np.asarray(0, np.uint8),
        sv=single(0.01),
    )
    return without_steps(made)


def learn(network, steps=40, rate=0.02, **options):
    random = np.random.default_rng(3)
    x, labels = random.standard_normal((32, 4)).astype(np.float32), random.integers(0, 3, 32)
    made = tk.Trainer(network, loss=tk.losses.SoftmaxCrossEntropy(), optimizer=tk.optimizers.Adam(rate), **options)
    return made, [made.train_minibatch(x, labels)[0] for _ in range(steps)]


@pytest.mark.parametrize("backend", ["numpy", "cpu"])
def test_a_network_learns_through_its_quantisation(backend, tmp_path):
    network = deployed()
    save(network, tmp_path / "before.onnx")
    made, losses = learn(network, straight_through=True, backend=backend)
    assert losses[-1] < 0.7 * losses[0]
    save(network, tmp_path / "after.onnx")
    changes = diff(str(tmp_path / "before.onnx"), str(tmp_path / "after.onnx"))
    assert {change.name for change in changes} == {"w", "b", "c", "sv"}
    x = np.random.default_rng(7).standard_normal((3, 4)).astype(np.float32)
    np.testing.assert_allclose(
        made.network.run(x)["y"], deployed_again(tmp_path / "after.onnx", x), rtol=1e-4, atol=0.02
    )


def deployed_again(path, x):
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


def test_step_sizes_learn_where_asked_for():
    network = with_steps(deployed(), "sw", "sh")
    before = {name: item.array.copy() for name, item in network.parameters.items()}
    _, losses = learn(network, straight_through=True, rate=0.003)
    assert losses[-1] < losses[0]
    moved = {name for name, item in network.parameters.items() if not np.array_equal(item.array, before[name])}
    assert moved == {"w", "b", "c", "sv", "sw", "sh"}


def test_without_asking_the_blocked_layer_and_the_option_are_named():
    network = deployed()
    with pytest.warns(RuntimeWarning, match=r"QuantizeLinear 'middle' .*straight_through=True trains"):
        made, _ = learn(network, steps=1)
    assert {"w", "b"} <= set(made.shortfalls)
    assert "straight_through=True" in str(made.shortfalls["w"])


def test_the_forward_pass_is_the_one_of_the_file():
    x = np.random.default_rng(7).standard_normal((6, 4)).astype(np.float32)
    network = deployed()
    made = tk.Trainer(
        network,
        loss=tk.losses.SoftmaxCrossEntropy(),
        optimizer=tk.optimizers.SGD(0.1),
        backend="numpy",
        straight_through=True,
    )
    expected = network.run(x, backend="numpy")["y"]
    _, outputs = made.train_minibatch(x, np.zeros(6, np.int64))
    np.testing.assert_allclose(outputs["y"], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("domain", ["", "com.microsoft."])
def test_a_dynamic_range_and_the_domain_of_onnxruntime(domain):
    quantise = "q, s, z = DynamicQuantizeLinear (a)" if not domain else "q = com.microsoft.QuantizeLinear (a, s, z)"
    network = parse(
        f"""g (float[N, 4] x) => (float[N, 4] y) {{
            a = Mul (x, w)
            {quantise}
            y = {domain}DequantizeLinear (q, s, z)
        }}""",
        w=np.ones(4, np.float32),
        **({"s": single(1.0), "z": np.asarray(128, np.uint8)} if domain else {}),
    )
    x, g = batch()
    found = gradients(network, x, g, straight_through=True)
    np.testing.assert_allclose(found["w"], (g * x).sum(0), rtol=1e-4, atol=1e-5)


def test_blocks_and_precise_quotients_of_new_opsets():
    network = parse(
        """g (float[N, 4] x) => (float[N, 4] y) {
            q = QuantizeLinear <axis = 1, block_size = 2, precision = 1> (w, s)
            d = DequantizeLinear <axis = 1, block_size = 2> (q, s)
            y = Mul (x, d)
        }""",
        23,
        w=single(0.31, 2.0, 0.52, 300.0).reshape(1, 4),
        s=single(0.1, 1.0).reshape(1, 2),
    )
    x, g = batch()
    found = gradients(with_steps(network, "s"), x, g, straight_through=True)
    dw = (x * g).sum(0)
    np.testing.assert_allclose(found["w"], (dw * [1, 1, 1, 0]).reshape(1, 4), rtol=1e-4, atol=1e-5)
    each = np.asarray([[3 - 3.1, 20 - 20], [1 - 0.52, 255]]) * dw.reshape(2, 2)
    np.testing.assert_allclose(found["s"], each.sum(1).reshape(1, 2) / np.sqrt(2 * 255), rtol=1e-3, atol=1e-4)


def test_an_estimator_that_does_not_exist_is_refused():
    with pytest.raises(InputError, match=r"straight_through names \['Erf'\], and has estimators for \['Ceil'"):
        learn(deployed(), straight_through=["Erf"])
