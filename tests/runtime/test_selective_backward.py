"""Only what leads from the chosen parameters to the loss is computed: backward steps counted in ``explain()``."""

import numpy as np
import pytest

import toolkit as tk
from tests.support.models import cnn, feed, mlp, network

WEIGHT, DATA = "toolkit::ConvWeightGradient", "toolkit::ConvInputGradient"
BODY = ("w1", "b1", "scale", "shift", "w2")
HEAD = ("w3", "b3")
FIRST, SECOND, LAST = "Conv_0", "Conv_3", "Gemm_8"  # the layers of ``cnn`` that hold weights


def backward(net, **options):
    """The backward steps of a training context: (layer, operator) in order."""
    options = {"backend": "numpy", "input_gradients": False, **options}
    steps = net.context(2, training=True, **options).explain().steps
    return [(step.layer, step.operator) for step in steps if step.role == "backward"]


def at(steps, layer):
    return [operator for name, operator in steps if name == layer]


def frozen(*names, make=cnn):
    made = make()
    if names:
        made.select(*names).freeze()
    return made


def trained(net, **options):
    """The backward steps of a trainer's step."""
    made = tk.Trainer(
        net, loss=tk.losses.SoftmaxCrossEntropy(), optimizer=tk.optimizers.SGD(0.1), backend="numpy", **options
    )
    made.train_minibatch(feed(net, 2), np.arange(2))
    return made, [(step.layer, step.operator) for step in made._session.explain().steps if step.role == "backward"]


def test_everything_learns_by_default():
    steps = backward(cnn())
    assert at(steps, FIRST) == [WEIGHT]  # weight and bias in one; nothing leads to the input
    assert at(steps, SECOND) == ["toolkit::ActivationGradient", DATA, WEIGHT]
    assert at(steps, LAST) == ["toolkit::FusedMatMul", "toolkit::FusedMatMul", "ReduceSum"]


def test_gradients_of_inputs_cost_one_step_more_and_only_where_asked_for():
    without, asked = backward(cnn()), backward(cnn(), input_gradients=True)
    assert at(asked, FIRST) == [DATA, WEIGHT]
    assert len(asked) == len(without) + 1


def test_a_frozen_body_leaves_the_two_steps_of_the_head():
    expected = [(LAST, "toolkit::FusedMatMul"), (LAST, "ReduceSum")]
    assert backward(frozen(*BODY)) == expected
    assert trained(frozen(*BODY))[1] == expected


def test_a_frozen_body_keeps_no_activations():
    def arena(net):
        return net.context(16, training=True, backend="numpy", input_gradients=False).arena_nbytes

    assert arena(frozen(*BODY)) < 0.6 * arena(cnn())


def test_a_frozen_head_only_passes_the_gradient_on():
    steps = backward(frozen(*HEAD))
    assert at(steps, LAST) == ["toolkit::FusedMatMul"]
    full = backward(cnn())
    assert [step for step in steps if step[0] != LAST] == [step for step in full if step[0] != LAST]


@pytest.mark.parametrize("backend", ["numpy", "cpu"])
def test_a_frozen_convolution_in_the_middle_has_a_data_gradient_and_no_weight_gradient(backend):
    steps = backward(frozen("w2"), backend=backend)
    assert DATA in at(steps, SECOND)
    assert WEIGHT not in at(steps, SECOND)
    assert WEIGHT in at(steps, FIRST)


def test_a_frozen_convolution_at_the_start_has_no_gradient_at_all():
    steps = backward(frozen("w1", "b1", "scale", "shift"))
    assert at(steps, SECOND) == ["toolkit::ActivationGradient", WEIGHT]  # and no data gradient: nobody needs it
    assert {layer for layer, _ in steps} == {SECOND, "MaxPool_6", LAST}


def test_of_a_convolution_the_bias_alone_can_learn():
    steps = backward(frozen("w1"))
    assert at(steps, FIRST) == ["ReduceSum"]
    assert WEIGHT not in at(backward(frozen("w1", "w2")), SECOND)


def test_of_a_matrix_product_each_operand_can_learn_alone():
    assert len(backward(mlp())) == 6
    assert [len(at(backward(frozen(name, make=mlp)), "Gemm_2")) for name in ("w2", "b2")] == [2, 2]
    assert [step[0] for step in backward(frozen("w1", "b1", make=mlp))] == ["Gemm_2"] * 2
    assert [step[0] for step in backward(frozen("w1", "b1", "w2", make=mlp))] == ["Gemm_2"]


def test_with_all_parameters_frozen_only_data_gradients_are_left():
    steps = backward(frozen("*"), input_gradients=True)
    assert WEIGHT not in {operator for _, operator in steps}
    assert "ReduceSum" not in {operator for _, operator in steps}
    assert at(steps, FIRST) == [DATA]
    assert backward(frozen("*")) == []


def test_freezing_between_two_steps_counts_from_then_on():
    net = cnn()
    made, full = trained(net)
    net.select(*BODY).freeze()
    made.train_minibatch(feed(net, 2), np.arange(2))
    left = [step.layer for step in made._session.explain().steps if step.role == "backward"]
    assert left == [LAST] * 2
    net.select(*BODY).unfreeze()
    made.train_minibatch(feed(net, 2), np.arange(2))
    assert [step.operator for step in made._session.explain().steps if step.role == "backward"] == [
        operator for _, operator in full
    ]


def two_heads():
    return network(
        """heads (float[N, 6] x) => (float[N, 4] y, float[N, 3] z) {
            h = Gemm (x, w0)
            t = Tanh (h)
            y = Gemm (t, w1)
            s = Sigmoid (t)
            z = Gemm (s, w2)
        }""",
        w0=(6, 5),
        w1=(5, 4),
        w2=(5, 3),
    )


def test_an_output_that_nobody_judges_costs_nothing():
    net = two_heads()
    made = tk.Trainer(
        net, loss=tk.losses.SoftmaxCrossEntropy(output="y"), optimizer=tk.optimizers.SGD(0.1), backend="numpy"
    )
    before = net.parameters["w2"].array.copy()
    _, outputs = made.train_minibatch(feed(net, 2), np.arange(2))
    layers = {step.layer for step in made._session.explain().steps if step.role == "backward"}
    assert layers == {"Gemm_0", "Gemm_2"}
    assert set(outputs) == {"y", "z"}
    np.testing.assert_array_equal(net.parameters["w2"].array, before)


def test_an_output_that_is_not_asked_for_is_not_computed():
    steps = two_heads().context(2, training=True, backend="numpy", outputs=["z"]).explain().steps
    assert not any("Gemm_2" in step.layer for step in steps)
    assert any("Gemm_4" in step.layer for step in steps)


def test_a_gradient_for_one_output_runs_its_branch_only():
    net = two_heads()
    context = net.context(2, training=True, backend="numpy")
    context.forward(feed(net, 2))
    context.backward({"z": np.ones((2, 3), np.float32)})
    layers = {step.layer for step in context.explain().steps if step.role == "backward"}
    assert "Gemm_2" not in layers
    assert {"Gemm_4", "Gemm_0"} <= layers


@pytest.mark.parametrize("readers", [2, 3, 5])
def test_fan_out_accumulates_with_one_addition_for_every_further_reader(readers):
    lines = "\n".join(f"r{index} = Sin (h{'' if index == 0 else index})" for index in range(readers))
    scaled = "\n".join(f"h{index} = Mul (h, k{index})" for index in range(1, readers))
    total = "y = Sum (" + ", ".join(f"r{index}" for index in range(readers)) + ")"
    factors = {f"k{index}": (4,) for index in range(1, readers)}
    net = network(
        f"g (float[N, 4] x) => (float[N, 4] y) {{ h = Mul (x, w)\n{scaled}\n{lines}\n{total} }}", w=(4,), **factors
    )
    net.select(*factors).freeze()
    steps = backward(net)
    assert sum(operator == "Add" for _, operator in steps) == readers - 1
    feeds = feed(net, 2)
    context = net.context(2, training=True, backend="numpy")
    context.forward(feeds)
    found = context.backward({"y": np.ones((2, 4), np.float32)})["parameters"]["w"]
    x, h = feeds["x"], feeds["x"] * net.parameters["w"].array
    factor = [np.ones(4)] + [net.parameters[name].array for name in factors]
    expected = sum((np.cos(h * item) * item * x).sum(0) for item in factor)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_branches_that_pass_no_gradient_have_no_backward_steps():
    net = network(
        """g (float[N, 4] x) => (float[N, 4] y) {
            h = Mul (x, w)
            best = ArgMax <axis = 1> (h)
            onto = Cast <to = 1> (best)
            size = Shape (h)
            steps = Floor (h)
            a = Add (h, onto)
            b = Add (a, steps)
            y = Reshape (b, size)
        }""",
        w=(4,),
    )
    steps = backward(net)
    assert {layer for layer, _ in steps} == {"Mul_0"}
    assert [operator for _, operator in steps] == ["Mul", "ReduceSum"]


def test_a_branch_without_parameters_has_no_backward_steps():
    net = network(
        """g (float[N, 4] x, float[N, 4] z) => (float[N, 4] y) {
            deep = Sin (z)
            deeper = Exp (deep)
            h = Mul (x, w)
            y = Mul (h, deeper)
        }""",
        w=(4,),
    )
    assert {layer for layer, _ in backward(net)} == {"Mul_3", "Mul_2"}
    only_x = backward(net, input_gradients=["x"])
    assert {layer for layer, _ in only_x} == {"Mul_3", "Mul_2"}
    assert {layer for layer, _ in backward(net, input_gradients=["z"])} == {"Mul_3", "Mul_2", "Sin_0", "Exp_1"}


def test_frozen_statistics_and_dropout_of_a_frozen_body_cost_no_backward_step():
    net = network(
        """g (float[N, 3, 4] x) => (float[N, 3, 4] y) {
            n = BatchNormalization (x, s, b, m, v)
            d = Dropout (n)
            y = Mul (d, w)
        }""",
        s=(3,),
        b=(3,),
        m=(3,),
        v=(3,),
        w=(4,),
    )
    net.parameters["v"].assign(np.abs(net.parameters["v"].array))
    net.select("s", "b").freeze()
    assert {layer for layer, _ in backward(net)} == {"Mul_2"}
    net.select("s", "b").unfreeze()
    assert {layer for layer, _ in backward(net)} == {"Mul_2", "Dropout_1", "BatchNormalization_0"}


def test_outputs_brought_into_rows_leave_alone_what_the_backward_pass_reads():
    """The output of a convolution lies otherwise; the row-major copy is there before the gradients are."""
    x = np.random.default_rng(0).standard_normal((2, 16, 24, 24)).astype(np.float32)
    found = []
    for backend in ("cpu", "numpy"):
        parts = [tk.layers.Convolution(20, 3), tk.layers.ReLU(), tk.layers.Convolution(24, 3)]
        parts.insert(1, tk.layers.BatchNormalization())
        context = tk.layers.Sequential(parts).network((16, 24, 24)).context(2, backend=backend, training=True)
        ((name, y),) = context.forward(x).items()
        found.append(context.backward({name: np.cos(y)})["inputs"])
    for gradient, expected in zip(*(item.values() for item in found), strict=True):
        np.testing.assert_allclose(gradient, expected, atol=1e-4 * np.abs(expected).max())
