"""Formulas that exporters spell out are recognised, and compute what they computed: values and gradients."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pytest

from tests.support.interpret import interpret
from tests.support.models import network
from toolkit.autodiff import differentiate
from toolkit.compiler.bind import bind
from toolkit.compiler.pipeline import optimise_for_inference
from toolkit.compiler.program import Program
from toolkit.compiler.training_pipeline import prepare_for_training
from toolkit.graph import Network

NUMBERS = {
    "one": 1.0,
    "half": 0.5,
    "two": 2.0,
    "three": 3.0,
    "six": 6.0,
    "zero": 0.0,
    "tenth": 0.1,
    "root": 1.4142135,
    "slope": 0.7978845,
    "cube": 0.044715,
    "tiny": 0.00001,
    "sixth": 0.16666667,
    "minus": -1.0,
    "downwards": -0.5,
    "lowest": -np.inf,
    "factor": 0.57735,
    "width": 1.7320508,
    "share": 0.7598357,
}
FORMS = ("a node", "an initializer", "a tensor of one")


class Spelling(NamedTuple):
    """A graph from x, the operators that must (and may) remain, and the sizes of its weights."""

    name: str
    body: str
    operators: list[str]
    weights: Mapping[str, tuple[int, ...]] = MappingProxyType({})
    x: str = "float[N, 4, 6] x"
    y: str = "float[N, 4, 6] y"

    def network(self, form: str = "a node") -> Network:
        """The network, its numbers written in one of the ``FORMS``."""
        last = "last = Constant <value = int64[1] {-1}> ()"
        used = {name: value for name, value in NUMBERS.items() if re.search(rf"\b{name}\b", self.body)}
        if form == "a node":
            nodes = " ".join(f"{name} = Constant <value = float {{{value}}}> ()" for name, value in used.items())
            return network(f"spelt ({self.x}) => ({self.y}) {{ {nodes} {last} {self.body} }}", **self.weights)
        shape = "" if form == "an initializer" else "[1]"
        tensors = ", ".join(f"float{shape} {name} = {{{value}}}" for name, value in used.items())
        held = f"<{tensors}>" if tensors else ""
        return network(f"spelt ({self.x}) => ({self.y}) {held} {{ {last} {self.body} }}", **self.weights)

    def commuted(self) -> Iterator[Spelling]:
        """The same with the operands of one sum, product, ... exchanged, and with those of all of them."""
        commutes = re.compile(r"\b(Add|Mul|Max|Min)\((\w+), (\w+)\)")
        for found in commutes.finditer(self.body):
            operator, left, right = found.groups()
            exchanged = f"{operator}({right}, {left})"
            yield self._replace(body=self.body[: found.start()] + exchanged + self.body[found.end() :])
        yield self._replace(body=commutes.sub(r"\1(\3, \2)", self.body))


def activation(name: str, operator: str, formula: str) -> Spelling:
    return Spelling(name, formula, [operator])


def normalization(name: str, formula: str, operators: list[str] | None = None, **weights: tuple[int, ...]) -> Spelling:
    given = weights or {"scale": (6,), "bias": (6,)}
    return Spelling(name, formula, operators or ["LayerNormalization"], given)


CENTRED = "m = ReduceMean(x, last) d = Sub(x, m) "
VARIANCE = CENTRED + "q = Pow(d, two) v = ReduceMean(q, last) e = Add(v, tiny) "
DEVIATION = VARIANCE + "s = Sqrt(e) "
AFFINE = "t = Mul(n, scale) y = Add(t, bias)"
ERROR_FUNCTION = "z = Div(x, root) e = Erf(z) p = Add(e, one) "
GROWTH = "e = Exp(x) p = Add(e, one) "
DECAY = "n = Neg(x) e = Exp(n) p = Add(e, one) "
SHARES = "m = ReduceMax(x, last) d = Sub(x, m) e = Exp(d) s = ReduceSum(e, last) "
SPELLINGS = [
    activation("gelu of torch", "Gelu", ERROR_FUNCTION + "q = Mul(x, p) y = Mul(q, half)"),
    activation(
        "gelu, half first", "Gelu", "h = Mul(x, half) z = Div(x, root) e = Erf(z) p = Add(one, e) y = Mul(h, p)"
    ),
    activation("gelu, halved", "Gelu", ERROR_FUNCTION + "q = Mul(p, x) y = Div(q, two)"),
    activation(
        "gelu, tanh and power",
        "Gelu",
        """c = Pow(x, three) k = Mul(c, cube) u = Add(x, k) z = Mul(u, slope) t = Tanh(z) p = Add(t, one)
        h = Mul(x, half) y = Mul(h, p)""",
    ),
    activation(
        "gelu, tanh and products",
        "Gelu",
        """a = Mul(x, slope) b = Mul(x, cube) c = Mul(b, x) d = Add(c, one) z = Mul(a, d) t = Tanh(z) p = Add(one, t)
        q = Mul(x, p) y = Mul(half, q)""",
    ),
    activation("silu", "Silu", "s = Sigmoid(x) y = Mul(x, s)"),
    activation("hard swish of HardSigmoid", "HardSwish", "s = HardSigmoid <alpha = 0.16666667> (x) y = Mul(s, x)"),
    activation(
        "hard swish of Clip", "HardSwish", "a = Add(x, three) c = Clip(a, zero, six) p = Mul(x, c) y = Div(p, six)"
    ),
    activation("mish", "Mish", "s = Softplus(x) t = Tanh(s) y = Mul(x, t)"),
    activation("sigmoid", "Sigmoid", DECAY + "y = Div(one, p)"),
    activation("sigmoid, a reciprocal", "Sigmoid", "n = Mul(x, minus) e = Exp(n) p = Add(e, one) y = Reciprocal(p)"),
    activation("softplus", "Softplus", GROWTH + "y = Log(p)"),
    activation("silu, a quotient", "Silu", DECAY + "y = Div(x, p)"),
    activation("mish of logarithms", "Mish", GROWTH + "s = Log(p) t = Tanh(s) y = Mul(x, t)"),
    activation("relu", "Relu", "y = Max(x, zero)"),
    activation("leaky relu", "LeakyRelu", "s = Mul(x, tenth) y = Max(x, s)"),
    activation("clip, from below", "Clip", "m = Max(x, zero) y = Min(m, six)"),
    activation("clip, from above", "Clip", "m = Min(x, six) y = Max(m, minus)"),
    activation("clip of relu", "Clip", "m = Relu(x) y = Min(m, six)"),
    activation("hard sigmoid", "HardSigmoid", "a = Add(x, three) c = Clip(a, zero, six) y = Div(c, six)"),
    activation("hard sigmoid, a line", "HardSigmoid", "s = Mul(x, tenth) a = Add(s, half) y = Clip(a, zero, one)"),
    activation(
        "hard swish of bounds",
        "HardSwish",
        "a = Add(x, three) r = Relu(a) c = Min(r, six) s = Mul(c, sixth) y = Mul(x, s)",
    ),
    Spelling(
        "softmax",
        SHARES + "y = Div(e, s)",
        ["Softmax"],
    ),
    Spelling(
        "softmax of jax",
        """m = ReduceMax<keepdims = 0>(x, last) f = Max(m, lowest) k = Unsqueeze(f, last) d = Sub(x, k) e = Exp(d)
        s = ReduceSum<keepdims = 0>(e, last) t = Unsqueeze(s, last) y = Div(e, t)""",
        ["Softmax"],
    ),
    Spelling(
        "softmax of another axis, a product",
        """two_ = Constant <value = int64[1] {1}> () e = Exp(x) s = ReduceSum(e, two_) r = Reciprocal(s)
        y = Mul(e, r)""",
        ["Softmax"],
    ),
    Spelling(
        "log softmax",
        SHARES + "l = Log(s) y = Sub(d, l)",
        ["LogSoftmax"],
    ),
    normalization("division", DEVIATION + "n = Div(d, s) " + AFFINE),
    normalization("without bias", DEVIATION + "n = Div(d, s) y = Mul(scale, n)", scale=(6,)),
    normalization("nothing learnt", DEVIATION + "y = Div(d, s)"),
    normalization("reciprocal", DEVIATION + "r = Reciprocal(s) n = Mul(d, r) t = Mul(n, scale) y = Add(bias, t)"),
    normalization(
        "product as square, two differences",
        CENTRED
        + """q = Mul(d, d) v = ReduceMean(q, last) e = Add(tiny, v) s = Sqrt(e) r = Div(one, s) k = Sub(x, m)
        n = Mul(k, r) """
        + AFFINE,
    ),
    normalization(
        "tensorflow",
        DEVIATION + "r = Reciprocal(s) f = Mul(r, scale) l = Mul(x, f) g = Mul(m, f) o = Sub(bias, g) y = Add(l, o)",
    ),
    normalization(
        "powers",
        VARIANCE + "r = Pow(e, downwards) n = Mul(d, r) " + AFFINE,
    ),
    normalization(
        "power as root",
        CENTRED + "q = Mul(d, d) v = ReduceMean(q, last) e = Add(v, tiny) s = Pow(e, half) y = Div(d, s)",
    ),
    normalization(
        "sums, as flax has them",
        """a = ReduceSum<keepdims = 0>(x, last) m = Mul(a, sixth) q = Mul(x, x) b = ReduceSum<keepdims = 0>(q, last)
        u = Div(b, six) o = Mul(m, m) w = Sub(u, o) f = Max(w, zero) v = Unsqueeze(f, last) e = Add(v, tiny)
        s = Sqrt(e) r = Reciprocal(s) g = Mul(r, scale) k = Unsqueeze(m, last) d = Sub(x, k) n = Mul(d, g)
        y = Add(n, bias)""",
        ["LayerNormalization", "Reshape"],
        scale=(1, 1, 6),
        bias=(1, 1, 6),
    ),
    normalization(
        "two axes",
        "both = Constant <value = int64[2] {1, 2}> () " + DEVIATION.replace("last", "both") + "n = Div(d, s) " + AFFINE,
        ["LayerNormalization", "Reshape"],
        scale=(4, 6),
        bias=(4, 6),
    ),
    Spelling(
        "two axes, by its name",
        "y = LayerNormalization<axis = 1>(x, scale)",
        ["LayerNormalization", "Reshape"],
        {"scale": (4, 6)},
    ),
    normalization(
        "a scale that is no vector of the last axis",
        DEVIATION + "n = Div(d, s) y = Mul(n, scale)",
        ["LayerNormalization", "Mul"],
        scale=(4, 6),
    ),
    Spelling("a sum of two", "r = Relu(x) y = Sum(x, r)", ["Add", "Relu"]),
    Spelling(
        "a pad by nothing", "n = Constant <value = int64[6] {0, 0, 0, 0, 0, 0}> () r = Relu(x) y = Pad(r, n)", ["Relu"]
    ),
    Spelling(
        "a pad", "n = Constant <value = int64[6] {0, 1, 0, 0, -1, 0}> () r = Relu(x) y = Pad(r, n)", ["Pad", "Relu"]
    ),
    Spelling("a transpose of nothing", "r = Relu(x) y = Transpose <perm = [0, 1, 2]> (r)", ["Relu"]),
    Spelling("a maximum of one", "r = Relu(x) y = Max(r)", ["Max", "Relu"]),
    Spelling("a minimum of three", "r = Relu(x) y = Min(r, x, one)", ["Min", "Relu"]),
    Spelling("a sum of one", "r = Relu(x) y = Sum(r)", ["Relu"]),
]
OTHERS = [  # what only looks like it
    activation("bounds that cross", "Max", "m = Max(x, six) y = Min(m, zero)"),
    activation("a steep line", "Max", "s = Mul(x, two) y = Max(x, s)"),
    activation("a sigmoid of another base", "Exp", "n = Neg(x) e = Exp(n) p = Add(e, two) y = Div(one, p)"),
    activation("a sum of something else", "Exp", "e = Exp(x) s = ReduceSum(x, last) y = Div(e, s)"),
    normalization(
        "a variance about nothing",
        """m = ReduceMean(x, last) q = Mul(x, x) v = ReduceMean(q, last) e = Add(v, tiny) s = Sqrt(e) d = Sub(x, m)
        y = Div(d, s)""",
        ["Sqrt"],
    ),
    normalization(
        "sums of another number",
        """a = ReduceSum(x, last) m = Mul(a, tenth) d = Sub(x, m) q = Mul(d, d) v = ReduceMean(q, last) e = Add(v, tiny)
        s = Sqrt(e) y = Div(d, s)""",
        ["Sqrt"],
    ),
    activation("another slope", "Erf", "z = Mul(x, root) e = Erf(z) p = Add(e, one) q = Mul(x, p) y = Mul(q, half)"),
    activation("another factor", "Erf", ERROR_FUNCTION + "y = Mul(x, p)"),
    activation("sigmoid of something else", "Sigmoid", "z = Neg(x) s = Sigmoid(z) y = Mul(x, s)"),
    normalization(
        "first axis",
        "first = Constant <value = int64[1] {1}> () " + DEVIATION.replace("last", "first") + "y = Div(d, s)",
        ["Sqrt"],
        scale=(6,),
    ),
    normalization(
        "another mean",
        CENTRED + "q = Pow(x, two) v = ReduceMean(q, last) e = Add(v, tiny) s = Sqrt(e) y = Div(d, s)",
        ["Sqrt"],
        scale=(6,),
    ),
]
LINEAR = {"w": (8, 6), "b": (8,)}
ATTENTION = dict.fromkeys(("wq", "wk", "wv"), (6, 6))


def attention(name: str, scores: str, more: str = "") -> Spelling:
    """Self-attention with two heads; ``scores`` makes s from q, k (transposed as ``more`` says)."""
    body = f"""
        split = Constant <value = int64[4] {{0, 0, 2, 3}}> () joined = Constant <value = int64[3] {{0, 0, 6}}> ()
        ql = MatMul(x, wq) qs = Reshape(ql, split) q = Transpose <perm = [0, 2, 1, 3]> (qs)
        kl = MatMul(x, wk) ks = Reshape(kl, split) {more or "kt = Transpose <perm = [0, 2, 3, 1]> (ks)"}
        vl = MatMul(x, wv) vs = Reshape(vl, split) v = Transpose <perm = [0, 2, 1, 3]> (vs)
        {scores}
        p = Softmax <axis = -1> (s) c = MatMul(p, v) t = Transpose <perm = [0, 2, 1, 3]> (c) y = Reshape(t, joined)
    """
    operators = ["FusedMatMul", "Reshape", "Softmax"]
    return Spelling(name, body, operators, ATTENTION)


SPELLINGS += [
    Spelling(
        "torch Linear",
        "t = Transpose <perm = [1, 0]> (w) p = MatMul(x, t) y = Add(b, p)",
        ["FusedMatMul"],
        LINEAR,
        y="float[N, 4, 8] y",
    ),
    attention("scores multiplied", "m = MatMul(q, kt) s = Mul(m, factor)"),
    attention("scores divided", "m = MatMul(q, kt) s = Div(m, width)"),
    attention("query divided", "d = Div(q, width) s = MatMul(d, kt)"),
    attention("both scaled, as SDPA is exported", "d = Mul(q, share) e = Mul(kt, share) s = MatMul(d, e)"),
    attention(
        "key transposed twice",
        "m = MatMul(q, kt) s = Mul(m, factor)",
        "k0 = Transpose <perm = [0, 2, 1, 3]> (ks) kt = Transpose <perm = [0, 1, 3, 2]> (k0)",
    ),
]
EVERY_SPELLING = pytest.mark.parametrize("case", SPELLINGS, ids=[case.name for case in SPELLINGS])


def held(program: Any) -> dict[Any, np.ndarray]:
    """The content of the parameters that a program reads."""
    read = {item for node in program.nodes for item in node.inputs if item is not None}
    return {item: item.parameter.array for item in read if item.parameter is not None}


def remaining(spelt: Network, prepare: Callable[[Program], Program] = optimise_for_inference) -> list[str]:
    """The operators of a network when it is prepared."""
    return sorted({node.op_type for node in prepare(bind(spelt, 3)).nodes})


def sample() -> np.ndarray:
    return np.random.default_rng(1).standard_normal((3, 4, 6)).astype(np.float32) * 2


@EVERY_SPELLING
def test_it_is_recognised_whatever_its_numbers_are(case: Spelling) -> None:
    found = {form: remaining(case.network(form)) for form in FORMS}
    found["in training"] = remaining(case.network(FORMS[1]), prepare_for_training)
    assert found == dict.fromkeys(found, case.operators)


@EVERY_SPELLING
def test_it_is_recognised_with_operands_exchanged(case: Spelling) -> None:
    found = {other.body: remaining(other.network("a tensor of one")) for other in case.commuted()}
    assert found == dict.fromkeys(found, case.operators)


@pytest.mark.parametrize("case", OTHERS, ids=[case.name for case in OTHERS])
def test_what_only_looks_like_it_stays(case: Spelling) -> None:
    assert case.operators[0] in remaining(case.network())


@EVERY_SPELLING
def test_values_stay(case: Spelling) -> None:
    plain = bind(case.network(), 3)
    (expected,) = interpret(plain, {**held(plain), plain.inputs["x"]: sample()}, [plain.outputs["y"]])
    for backend in ("cpu", "numpy"):
        found = case.network().context(batch_size=3, backend=backend).run({"x": sample()})["y"]
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=2e-5)


@EVERY_SPELLING
def test_gradients_stay(case: Spelling) -> None:
    made = case.network()
    plain, context = bind(made, 3), made.context(batch_size=3, training=True, backend="cpu")
    result = context.forward({"x": sample()})["y"]
    dy = np.random.default_rng(2).standard_normal(result.shape).astype(np.float32)
    found = context.backward({"y": dy})
    seed = plain.constant(dy).variable
    x = plain.inputs["x"]
    grads = differentiate(plain, {plain.outputs["y"]: seed}, [x, *plain.trainable()])
    arrays = interpret(plain, {**held(plain), x: sample()}, list(grads.values()))
    expected = {item.name: array for item, array in zip(grads, arrays, strict=True)}
    assert found["parameters"].keys() == expected.keys() - {"x"}
    for name, array in {**found["parameters"], "x": found["inputs"]["x"]}.items():
        np.testing.assert_allclose(array, expected[name], rtol=2e-3, atol=2e-4)
