"""An operator without a gradient stops the gradient there and nowhere else, and what is missing for it is told."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import numpy as np
import onnx.parser
import pytest

import toolkit as tk
from importers import load
from tests.support.models import network
from toolkit.autodiff import Stop, differentiate, told
from toolkit.autodiff.stops import MOST_STOPS, Shortfall
from toolkit.compiler.bind import bind
from toolkit.graph import Network
from toolkit.operators import REGISTRY
from toolkit.operators.record import not_differentiable

LOSS = tk.losses.MeanSquaredError()


def same(types, attributes, constants):
    return [types[0]]


@pytest.fixture(autouse=True)
def walls() -> Iterator[None]:
    """Three operators that do nothing: Wall has no gradient, Flat has none to give, Half knows one of its inputs."""
    options = {"domain": "test", "infer": same}
    tk.operator("Wall", reference=np.copy, gradient=tk.not_differentiable("it is a wall"), **options)
    flat = tk.not_differentiable("it moves by jumps", slope_is_zero=True)
    tk.operator("Flat", reference=np.copy, gradient=flat, **options)
    half = tk.not_differentiable("nobody knows")
    tk.operator("Half", reference=lambda a, b: a + b, gradient=lambda call, g: [g, half], **options)
    yield
    for name in ("Wall", "Flat", "Half"):
        del REGISTRY["test", name]


def shortfalls(made: Network) -> tuple[set[str], dict[str, Shortfall]]:
    """The parameters with a gradient of the first output, and what the others, or some of these, lack."""
    program = bind(made, 2)
    output = program.outputs[next(iter(made.outputs))]
    seed = program.constant(np.ones(output.shape, output.dtype)).variable
    found = differentiate(program, {output: seed}, program.trainable())
    names = {item: item.parameter.name for item in found.wanted}
    return {names[item] for item in found}, {names[item]: what for item, what in found.shortfalls().items()}


def vector(text: str, **weights: tuple[int, ...]) -> Network:
    return network(f"g (float[N, 4] x) => (float[N, 4] y) {{ {text} }}", **(weights or {"w": (4,)}))


def test_what_lies_behind_a_blocked_layer_learns():
    made = vector("a = Mul(x, before) b = test.Wall(a) y = Mul(b, after)", before=(4,), after=(4,))
    given, missing = shortfalls(made)
    assert given == {"after"}
    assert list(missing) == ["before"]
    assert missing["before"].stops == (Stop("test::Wall", "Wall_1", "it is a wall", False),)
    assert str(missing["before"]) == (
        "no gradient, because every way to the result leads through test::Wall 'Wall_1' (it is a wall)"
    )


def test_other_ways_go_on_and_the_missing_part_is_told():
    given, missing = shortfalls(vector("a = Mul(x, w) b = test.Wall(a) y = Add(a, b)"))
    assert given == {"w"}
    assert missing["w"].is_partial
    assert not missing["w"].is_exact
    assert str(missing["w"]) == "a part of the gradient is missing, the one through test::Wall 'Wall_1' (it is a wall)"


def test_nothing_is_missing_of_a_slope_that_is_zero():
    given, missing = shortfalls(vector("a = Mul(x, w) b = test.Flat(a) c = Round(a) d = Add(b, c) y = Add(a, d)"))
    assert (given, missing) == ({"w"}, {})


@pytest.mark.parametrize(
    "way",
    [
        "s = Shape(a) b = Reshape(x, s)",
        "i = ArgMax <axis = 1> (a) b = Cast <to = 1> (i)",
        "k = Constant <value = float {0.5}> () m = Greater(a, k) b = Where(m, x, k)",
        "i = Cast <to = 7> (a) b = Cast <to = 1> (i)",
        "b = CastLike(x, a)",
    ],
)
def test_integers_and_truth_values_are_not_blocked(way: str):
    given, missing = shortfalls(vector(f"a = Mul(x, w) {way} c = Add(a, b) y = Identity(c)"))
    assert (given, missing) == ({"w"}, {})
    given, missing = shortfalls(vector(f"a = Mul(x, w) {way} y = Mul(b, after)", w=(4,), after=(4,)))
    assert given == {"after"}
    assert all(found.is_exact and not found.is_partial for found in missing.values())


def test_quantisation_is_blocked_although_its_results_are_integers():
    text = "s = Constant <value = float {0.1}> () a = Mul(x, w) q = QuantizeLinear(a, s) b = DequantizeLinear(q, s) "
    given, missing = shortfalls(vector(text + "y = Add(a, b)"))
    assert given == {"w"}
    assert "QuantizeLinear 'QuantizeLinear_2' (rounding has no slope" in str(missing["w"])
    assert missing["w"].is_partial


def test_one_input_may_be_blocked():
    made = vector("a = Mul(x, v) b = Mul(x, w) y = test.Half(a, b)", v=(4,), w=(4,))
    given, missing = shortfalls(made)
    assert given == {"v"}
    assert "nobody knows" in str(missing["w"])


def test_a_wall_before_a_step_costs_nothing():
    given, missing = shortfalls(vector("a = Mul(x, w) b = test.Wall(a) c = test.Flat(b) d = Add(a, c) y = Relu(d)"))
    assert (given, missing) == ({"w"}, {})


def test_a_step_before_a_wall_costs_nothing():
    given, missing = shortfalls(vector("a = Mul(x, w) b = test.Flat(a) c = test.Wall(b) d = Add(a, c) y = Relu(d)"))
    assert (given, missing) == ({"w"}, {})


def test_walls_behind_each_other_are_told_by_the_last():
    _, missing = shortfalls(vector("a = Mul(x, w) b = test.Wall(a) c = test.Wall(b) y = Relu(c)"))
    assert [stop.layer for stop in missing["w"].stops] == ["Wall_1"]


def test_what_the_result_does_not_depend_on_lacks_nothing():
    made = network(
        "g (float[N, 4] x) => (float[N, 4] y, float[N, 4] z) { y = Mul(x, v) a = Mul(x, w) z = test.Wall(a) }",
        v=(4,),
        w=(4,),
    )
    assert shortfalls(made) == ({"v"}, {})


def test_only_so_many_stops_are_kept():
    count = 3 * MOST_STOPS
    text = "a = Mul(x, w) s0 = Relu(a) " + " ".join(
        f"b{i} = test.Wall(a) c{i} = Shape(b{i}) d{i} = Reshape(b{i}, c{i}) s{i + 1} = Add(s{i}, d{i})"
        for i in range(count)
    )
    _, missing = shortfalls(vector(f"{text} y = Relu(s{count})"))
    assert len(missing["w"].stops) == MOST_STOPS


class TestTraining:
    BATCH = np.ones((2, 4), np.float32), np.zeros((2, 4), np.float32)

    def trainer(self, made: Network) -> tk.Trainer:
        return tk.Trainer(made, loss=LOSS, optimizer=tk.optimizers.SGD(0.1))

    def test_it_goes_on_with_what_gets_a_gradient_and_says_what_does_not(self):
        made = vector("a = Mul(x, before) b = test.Wall(a) y = Mul(b, after)", before=(4,), after=(4,))
        trainer = self.trainer(made)
        before = {name: item.array for name, item in made.parameters.items()}
        with pytest.warns(RuntimeWarning, match=r"1 lack a gradient or a part of it. 'before': no gradient, because"):
            history = trainer.fit(self.BATCH, epochs=3, progress=False)
        assert history["loss"][-1] < history["loss"][0]
        assert np.array_equal(made.parameters["before"].array, before["before"])
        assert not np.array_equal(made.parameters["after"].array, before["after"])
        assert list(trainer.shortfalls) == ["before"]
        assert len(history.notes) == 1
        assert "it is a wall" in str(history)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            trainer.train_minibatch(*self.BATCH)

    def test_the_gradient_that_is_left_is_that_of_the_open_ways(self):
        found = {}
        for kind, text in {"wall": "b = test.Wall(a) y = Add(a, b)", "open": "y = Add(a, k)"}.items():
            made = vector(f"a = Mul(x, w) k = Constant <value = float {{0}}> () {text}")
            other = vector("a = Mul(x, w) b = Add(a, a) y = Relu(b)")
            assert np.array_equal(made.parameters["w"].array, other.parameters["w"].array)
            context = made.context(2, training=True)
            context.forward(self.BATCH[0])
            found[kind] = context.backward({"y": np.ones((2, 4), np.float32)})["parameters"]["w"]
            assert [name for name in context.shortfalls if name.startswith("param")] == (
                ["parameters w"] if kind == "wall" else []
            )
        np.testing.assert_array_equal(found["wall"], found["open"])

    def test_an_input_that_is_blocked_is_told_by_the_context(self):
        made = vector("a = test.Wall(x) y = Mul(a, w)")
        context = made.context(2, training=True)
        context.forward(self.BATCH[0])
        grads = context.backward({"y": np.ones((2, 4), np.float32)})
        assert grads["inputs"] == {}
        assert list(grads["parameters"]) == ["w"]
        assert "it is a wall" in str(context.shortfalls["inputs x"])

    def test_nothing_to_train_says_why_for_each(self):
        made = vector("a = Mul(x, v) b = Add(a, w) c = test.Wall(b) y = Relu(c)", v=(4,), w=(4,))
        with pytest.raises(
            tk.NotDifferentiableError,
            match=r"no gradient leads from output 'y' to a parameter. 'v', 'w': no gradient, because every way to the "
            r"result leads through test::Wall 'Wall_2' \(it is a wall\). Judge another output",
        ):
            self.trainer(made).train_minibatch(*self.BATCH)

    def test_nothing_to_train_because_all_is_frozen(self):
        made = vector("y = Mul(x, w)")
        made.select("w").freeze()
        with pytest.raises(tk.NotDifferentiableError, match="leads to output 'y'; 1 weights that are read are"):
            self.trainer(made).train_minibatch(*self.BATCH)

    def test_nothing_to_train_because_nothing_is_a_weight(self):
        made = vector("a = Pow(x, two) y = Mul(a, half)", two=(), half=())
        message = (
            r"output 'y' depends on, nothing is a weight \(1 x the exponent, 1 x a number\). Judge .*settings=True"
        )
        with pytest.raises(tk.NotDifferentiableError, match=message):
            self.trainer(made).train_minibatch(*self.BATCH)

    def test_nothing_to_train_because_nothing_is_there(self):
        with pytest.raises(tk.NotDifferentiableError, match="depends on no parameter of floating-point numbers"):
            self.trainer(network("g (float[N, 4] x) => (float[N, 4] y) { y = Relu(x) }")).train_minibatch(*self.BATCH)


def test_a_model_that_asks_for_a_derivative_gets_a_whole_one():
    text = """<ir_version: 10, opset_import: ["" : 21, "ai.onnx.preview.training" : 1, "test" : 1]>
    g (float[2, 4] x) => (float[2, 4] dx) {
        a = Mul(x, x) b = test.Wall(x) y = Add(a, b)
        dx = ai.onnx.preview.training.Gradient <xs = ["x"], y = "y"> (x)
    }"""
    made = load(onnx.parser.parse_model(text))
    with pytest.raises(tk.NotDifferentiableError, match=r"derivative of .* a part of the gradient is missing"):
        made.context(2, training=True)


def test_messages_name_a_few_parameters_of_each_reason():
    one = Shortfall((Stop("Round", "r", "steps", True),))
    listed = told({f"p{i}": one for i in range(5)} | {"q": Shortfall(one.stops, is_partial=True)})
    assert listed.startswith("'p0', 'p1', 'p2' and 2 more: no gradient")
    assert "; 'q': a part" in listed


def test_a_slope_is_zero_by_default_where_results_are_no_numbers():
    refusal = not_differentiable("why")
    assert refusal.lacks_nothing([np.dtype(np.int64), np.dtype(bool)])
    assert not refusal.lacks_nothing([np.dtype(np.int64), np.dtype(np.float32)])
