"""Formulas that exporters spell out are recognised, and compute what they computed: values and gradients."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pytest

from tests.support.interpret import interpret
from tests.support.models import network
from toolkit.autodiff import differentiate
from toolkit.compiler.bind import bind
from toolkit.compiler.pipeline import optimise_for_inference, prepare_for_training
from toolkit.graph import Network


class Spelling(NamedTuple):
    """A graph from x, the operators that must (and may) remain, and the sizes of its weights."""

    name: str
    body: str
    operators: list[str]
    weights: Mapping[str, tuple[int, ...]] = MappingProxyType({})
    x: str = "float[N, 4, 6] x"
    y: str = "float[N, 4, 6] y"

    def network(self) -> Network:
        return network(f"spelt ({self.x}) => ({self.y}) {{ {self.body} }}", **self.weights)


NUMBERS = """
    one = Constant <value = float {1.0}> ()
    half = Constant <value = float {0.5}> ()
    two = Constant <value = float {2.0}> ()
    three = Constant <value = float {3.0}> ()
    six = Constant <value = float {6.0}> ()
    zero = Constant <value = float {0.0}> ()
    root = Constant <value = float {1.4142135}> ()
    slope = Constant <value = float {0.7978845}> ()
    cube = Constant <value = float {0.044715}> ()
    tiny = Constant <value = float {0.00001}> ()
    last = Constant <value = int64[1] {-1}> ()
"""


def activation(name: str, operator: str, formula: str) -> Spelling:
    return Spelling(name, NUMBERS + formula, [operator])


def normalization(name: str, formula: str, operators: list[str] | None = None, **weights: tuple[int, ...]) -> Spelling:
    given = weights or {"scale": (6,), "bias": (6,)}
    return Spelling(name, NUMBERS + formula, operators or ["LayerNormalization"], given)


CENTRED = "m = ReduceMean(x, last) d = Sub(x, m) "
DEVIATION = CENTRED + "q = Pow(d, two) v = ReduceMean(q, last) e = Add(v, tiny) s = Sqrt(e) "
SPELLINGS = [
    activation("gelu of torch", "Gelu", "z = Div(x, root) e = Erf(z) p = Add(e, one) q = Mul(x, p) y = Mul(q, half)"),
    activation(
        "gelu, half first", "Gelu", "h = Mul(x, half) z = Div(x, root) e = Erf(z) p = Add(one, e) y = Mul(h, p)"
    ),
    activation("gelu, halved", "Gelu", "z = Div(x, root) e = Erf(z) p = Add(e, one) q = Mul(p, x) y = Div(q, two)"),
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
    normalization("division", DEVIATION + "n = Div(d, s) t = Mul(n, scale) y = Add(t, bias)"),
    normalization("without bias", DEVIATION + "n = Div(d, s) y = Mul(scale, n)", scale=(6,)),
    normalization("nothing learnt", DEVIATION + "y = Div(d, s)"),
    normalization("reciprocal", DEVIATION + "r = Reciprocal(s) n = Mul(d, r) t = Mul(n, scale) y = Add(bias, t)"),
    normalization(
        "product as square, two differences",
        CENTRED
        + """q = Mul(d, d) v = ReduceMean(q, last) e = Add(tiny, v) s = Sqrt(e) r = Div(one, s) k = Sub(x, m)
        n = Mul(k, r) t = Mul(n, scale) y = Add(t, bias)""",
    ),
    normalization(
        "tensorflow",
        DEVIATION + "r = Reciprocal(s) f = Mul(r, scale) l = Mul(x, f) g = Mul(m, f) o = Sub(bias, g) y = Add(l, o)",
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
    Spelling("a sum of one", "r = Relu(x) y = Sum(r)", ["Relu"]),
]
OTHERS = [  # what only looks like it
    activation("another slope", "Erf", "z = Mul(x, root) e = Erf(z) p = Add(e, one) q = Mul(x, p) y = Mul(q, half)"),
    activation("another factor", "Erf", "z = Div(x, root) e = Erf(z) p = Add(e, one) y = Mul(x, p)"),
    activation("sigmoid of something else", "Sigmoid", "z = Neg(x) s = Sigmoid(z) y = Mul(x, s)"),
    normalization("first axis", DEVIATION.replace("last", "first") + "y = Div(d, s)", ["Sqrt"], scale=(6,)),
    normalization(
        "another mean",
        CENTRED + "q = Pow(x, two) v = ReduceMean(q, last) e = Add(v, tiny) s = Sqrt(e) y = Div(d, s)",
        ["Sqrt"],
        scale=(6,),
    ),
]
OTHERS[3] = OTHERS[3]._replace(body="first = Constant <value = int64[1] {1}> () " + OTHERS[3].body)
LINEAR = {"w": (8, 6), "b": (8,)}
ATTENTION = dict.fromkeys(("wq", "wk", "wv"), (6, 6))


def attention(name: str, scores: str, more: str = "") -> Spelling:
    """Self-attention with two heads; ``scores`` makes s from q, k (transposed as ``more`` says)."""
    body = f"""
        split = Constant <value = int64[4] {{0, 0, 2, 3}}> () joined = Constant <value = int64[3] {{0, 0, 6}}> ()
        scale = Constant <value = float {{0.57735}}> () root = Constant <value = float {{1.7320508}}> ()
        half = Constant <value = float {{0.7598357}}> ()
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
    attention("scores multiplied", "m = MatMul(q, kt) s = Mul(m, scale)"),
    attention("scores divided", "m = MatMul(q, kt) s = Div(m, root)"),
    attention("query divided", "d = Div(q, root) s = MatMul(d, kt)"),
    attention("both scaled, as SDPA is exported", "d = Mul(q, half) e = Mul(kt, half) s = MatMul(d, e)"),
    attention(
        "key transposed twice",
        "m = MatMul(q, kt) s = Mul(m, scale)",
        "k0 = Transpose <perm = [0, 2, 1, 3]> (ks) kt = Transpose <perm = [0, 1, 3, 2]> (k0)",
    ),
]
EVERY_SPELLING = pytest.mark.parametrize("case", SPELLINGS, ids=[case.name for case in SPELLINGS])


def held(program: Any) -> dict[Any, np.ndarray]:
    """The content of the parameters that a program reads."""
    read = {item for node in program.nodes for item in node.inputs if item is not None}
    return {item: item.parameter.array for item in read if item.parameter is not None}


def remaining(program: Any) -> list[str]:
    return sorted({node.op_type for node in program.nodes})


def sample() -> np.ndarray:
    return np.random.default_rng(1).standard_normal((3, 4, 6)).astype(np.float32) * 2


@EVERY_SPELLING
@pytest.mark.parametrize("prepare", [optimise_for_inference, prepare_for_training])
def test_it_is_recognised(case: Spelling, prepare: Any) -> None:
    assert remaining(prepare(bind(case.network(), 3))) == case.operators


@pytest.mark.parametrize("case", OTHERS, ids=[case.name for case in OTHERS])
def test_what_only_looks_like_it_stays(case: Spelling) -> None:
    assert case.operators[0] in remaining(optimise_for_inference(bind(case.network(), 3)))


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
