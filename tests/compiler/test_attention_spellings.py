"""Attention as exporters spell it becomes one node and computes what it computed: values and gradients."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pytest

from tests.support.interpret import interpret
from tests.support.models import network
from toolkit import layers
from toolkit.autodiff import differentiate
from toolkit.compiler.bind import bind
from toolkit.compiler.passes.attention_spellings import form_attention
from toolkit.compiler.passes.precision import PRECISIONS, use_precision
from toolkit.compiler.pipeline import optimise_for_inference
from toolkit.compiler.program import Node, Program, Variable
from toolkit.compiler.training_pipeline import prepare_for_training, tidy_after_differentiation
from toolkit.graph import Network

BATCH, LENGTH, WIDTH = 2, 4, 16
WEIGHTS = dict.fromkeys(("wq", "wk", "wv"), (WIDTH, WIDTH))
NUMBERS = """
    split = Constant <value = int64[4] {0, 0, 2, 8}> () joined = Constant <value = int64[3] {0, 0, 16}> ()
    scale = Constant <value = float {0.35}> () root = Constant <value = float {2.8}> ()
    half = Constant <value = float {0.6}> () huge = Constant <value = float {-100000.0}> ()
    one = Constant <value = float {1.0}> () none = Constant <value = float {0.0}> ()
    offset = Constant <value = int64 {1}> ()
    grid = Constant <value = int64[2] {4, 4}> ()
"""
SQUARE = "full = ConstantOfShape <value = float[1] {-10000.0}> (grid) later = Trilu <upper = 1> (full, offset) "
SEEN = "yes = ConstantOfShape <value = float[1] {1.0}> (grid) low = Trilu <upper = 0> (yes) seen = Cast <to = 9> (low) "
KEPT = "axes = Constant <value = int64[2] {1, 2}> () wide = Unsqueeze(keep, axes) "
ONES = "k = Cast <to = 1> (wide) r = Sub(one, k) h = Mul(r, huge) "
FORWARD, BACKWARD = "ScaledDotProductAttention", "ScaledDotProductAttentionGradient"
DROPPING = "DroppingAttention"


class Spelling(NamedTuple):
    """What makes s, the masked scores, of q and kt, keys that are turned; the attributes that come of it."""

    name: str
    scores: str
    attributes: Mapping[str, Any] = MappingProxyType({})
    masked: bool = False
    behind: str = "p = Softmax <axis = -1> (s)"

    def network(self) -> Network:
        body = f"""
            ql = MatMul(x, wq) qs = Reshape(ql, split) q = Transpose <perm = [0, 2, 1, 3]> (qs)
            kl = MatMul(x, wk) ks = Reshape(kl, split) kt = Transpose <perm = [0, 2, 3, 1]> (ks)
            vl = MatMul(x, wv) vs = Reshape(vl, split) v = Transpose <perm = [0, 2, 1, 3]> (vs)
            {self.scores} {self.behind}
            c = MatMul(p, v) t = Transpose <perm = [0, 2, 1, 3]> (c) y = Reshape(t, joined)
        """
        inputs = "float[N, 4, 16] x, float[N, 1, 1, 4] mask, bool[N, 4] keep"
        return network(f"spelt ({inputs}) => (float[N, 4, 16] y) {{ {NUMBERS} {body} }}", **WEIGHTS)


MULTIPLIED = "m = MatMul(q, kt) n = Mul(m, scale) "
CAUSAL = MappingProxyType({"is_causal": 1})
SPELLINGS = [
    Spelling("scores multiplied", "m = MatMul(q, kt) s = Mul(m, scale)", {"scale": 0.35}),
    Spelling("scores divided", "m = MatMul(q, kt) s = Div(m, root)", {"scale": 1 / 2.8}),
    Spelling("query divided", "d = Div(q, root) s = MatMul(d, kt)", {"scale": 1 / 2.8}),
    Spelling("both scaled", "d = Mul(q, half) e = Mul(kt, half) s = MatMul(d, e)", {"scale": 0.36}),
    Spelling("no scale", "s = MatMul(q, kt)", {"scale": 1.0}),
    Spelling("a mask of numbers", MULTIPLIED + "s = Add(n, mask)", masked=True),
    Spelling("the mask comes first", MULTIPLIED + "s = Add(mask, n)", masked=True),
    Spelling("a mask from zeros and ones", MULTIPLIED + KEPT + ONES + "s = Add(n, h)", masked=True),
    Spelling("later keys lowered", MULTIPLIED + SQUARE + "s = Add(n, later)", CAUSAL),
    Spelling("later keys replaced", MULTIPLIED + SEEN + "s = Where(seen, n, huge)", CAUSAL),
    Spelling(
        "later keys replaced by the negation", MULTIPLIED + SEEN + "no = Not(seen) s = Where(no, huge, n)", CAUSAL
    ),
    Spelling("replaced and lowered", MULTIPLIED + SEEN + "w = Where(seen, n, huge) s = Add(w, mask)", CAUSAL, True),
    Spelling("hidden keys replaced", MULTIPLIED + KEPT + "s = Where(wide, n, huge)", masked=True),
    Spelling("hidden keys filled", MULTIPLIED + KEPT + "no = Not(wide) s = Where(no, huge, n)", masked=True),
    Spelling("two masks", MULTIPLIED + KEPT + "w = Where(wide, n, huge) s = Add(w, mask)", masked=True),
]
OTHERS = [
    Spelling("another axis", "s = MatMul(q, kt)", behind="p = Softmax <axis = -2> (s)"),
    Spelling("weights that are changed", "s = MatMul(q, kt)", behind="r = Softmax <axis = -1> (s) p = Relu(r)"),
    Spelling("hidden by too little", MULTIPLIED + KEPT + "s = Where(wide, n, none)"),
    Spelling("a mask that is multiplied", "m = MatMul(q, kt) n = Add(m, mask) s = Mul(n, scale)"),
    Spelling("something else between", "m = MatMul(q, kt) s = Tanh(m)"),
]
DROPPED = "r = Softmax <axis = -1> (s) ratio = Constant <value = float {0.4}> () p = Dropout (r, ratio)"
EVERY_SPELLING = pytest.mark.parametrize("case", SPELLINGS, ids=[case.name for case in SPELLINGS])


def accepted(node: Node) -> bool:
    return True


def formed(program: Program, accepts: Any = accepted, **options: Any) -> Program:
    """The program with all nodes on one backend, attention formed."""
    for node in program.nodes:
        node.backend = "some"
    form_attention(program, "some", accepts, **options)
    return program


def feeds_of(program: Program) -> dict[Variable, np.ndarray]:
    """Inputs and parameters. No sample hides all of its keys."""
    random = np.random.default_rng(1)
    given: dict[str, np.ndarray] = {
        "x": random.standard_normal((BATCH, LENGTH, WIDTH)).astype(np.float32),
        "mask": np.asarray([[0, 0, 0, 0], [0, 0, -20000, -1e9]], np.float32).reshape(BATCH, 1, 1, LENGTH),
        "keep": np.asarray([[1, 1, 1, 0], [1, 1, 1, 1]], np.bool_),
        "g": random.standard_normal((BATCH, LENGTH, WIDTH)).astype(np.float32),
    }
    read = {item for node in program.nodes for item in node.inputs if item is not None}
    held = {item: item.parameter.array for item in read if item.parameter is not None}
    return held | {variable: given[name] for name, variable in program.inputs.items()}


def differentiated(made: Network) -> Program:
    """A program with the gradients of the input and the parameters as outputs."""
    program = prepare_for_training(bind(made, BATCH))
    y = program.outputs["y"]
    seed = program.inputs["g"] = Variable("g", y.dtype, y.shape)
    wrt = {"dx": program.inputs["x"], **{f"d{item.name}": item for item in program.trainable()}}
    grads = differentiate(program, {y: seed}, wrt.values())
    program.outputs.update({name: grads[item] for name, item in wrt.items()})
    return tidy_after_differentiation(program)


def outputs_of(program: Program) -> list[np.ndarray]:
    return interpret(program, feeds_of(program), list(program.outputs.values()))


def operators(program: Program) -> Counter[str]:
    return Counter(node.op_type for node in program.nodes)


def the(program: Program, op_type: str) -> Node:
    (found,) = (node for node in program.nodes if node.op_type == op_type)
    return found


@EVERY_SPELLING
def test_inference(case: Spelling) -> None:
    plain = optimise_for_inference(bind(case.network(), BATCH))
    expected = outputs_of(plain)
    program = formed(plain)
    node = the(program, FORWARD)
    assert {name: node.attributes[name] for name in case.attributes} == pytest.approx(dict(case.attributes))
    assert node.attributes.keys() >= {"swapQ", "swapK", "swapV", "swapY"}
    assert (len(node.inputs) > 3) == case.masked
    assert not operators(program)["Softmax"]
    np.testing.assert_allclose(outputs_of(program), expected, rtol=1e-4, atol=1e-5)


@EVERY_SPELLING
def test_training(case: Spelling) -> None:
    plain = differentiated(case.network())
    expected = outputs_of(plain)
    program = formed(plain)
    assert the(program, BACKWARD).inputs[5] is the(program, FORWARD).outputs[1]
    assert not operators(program)["SoftmaxGradient"]
    for found, wanted in zip(outputs_of(program), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_dropped_weights() -> None:
    """The reference draws what Dropout draws, so both do the same."""
    case = SPELLINGS[5]._replace(behind=DROPPED)
    plain = differentiated(case.network())
    expected = outputs_of(plain)
    program = formed(plain)
    node = the(program, BACKWARD)
    assert node.attributes["ratio"] == the(program, DROPPING).attributes["ratio"] == pytest.approx(0.4)
    assert node.inputs[7] is the(program, DROPPING).outputs[2]
    assert not operators(program).keys() & {"Softmax", "SoftmaxGradient", "Dropout", "MaskedScale"}
    for found, wanted in zip(outputs_of(program), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_what_is_dropped_stays_where_somebody_else_asks_for_it() -> None:
    program = differentiated(SPELLINGS[5]._replace(behind=DROPPED).network())
    kept = the(program, "Dropout").outputs[1]
    assert kept is not None
    program.outputs["kept"] = kept
    assert operators(formed(program))["Dropout"] == 1


@pytest.mark.parametrize("case", OTHERS, ids=[case.name for case in OTHERS])
def test_what_is_something_else_stays(case: Spelling) -> None:
    for made in (optimise_for_inference(bind(case.network(), BATCH)), differentiated(case.network())):
        assert not operators(formed(made))[FORWARD]


@pytest.mark.parametrize("refused", [FORWARD, BACKWARD])
def test_nothing_is_formed_that_the_backend_refuses(refused: str) -> None:
    program = differentiated(SPELLINGS[5].network())
    before = [*program.nodes]
    assert formed(program, lambda node: node.op_type != refused).nodes == before


def test_nodes_of_other_backends_stay() -> None:
    program = optimise_for_inference(bind(SPELLINGS[0].network(), BATCH))
    form_attention(program, "some", accepted)
    assert not operators(program)[FORWARD]


def test_weights_that_are_an_output_stay() -> None:
    program = optimise_for_inference(bind(SPELLINGS[0].network(), BATCH))
    program.outputs["p"] = the(program, "Softmax").y
    assert not operators(formed(program))[FORWARD]


def test_a_mask_that_learns_stays() -> None:
    cut = "from = Constant <value = int64[2] {0, 0}> () square = Slice(wq, from, grid) "
    case = Spelling("learnt", MULTIPLIED + cut + "s = Add(n, square)")
    assert operators(formed(optimise_for_inference(bind(case.network(), BATCH))))[FORWARD] == 1
    assert not operators(formed(differentiated(case.network())))[FORWARD]


@pytest.mark.parametrize("wanted", ["wq", "wk", "wv"])
def test_gradients_that_nobody_wants_are_left_out(wanted: str) -> None:
    made = SPELLINGS[5].network()
    for name, parameter in made.parameters.items():
        parameter.requires_grad = name == wanted
    program = prepare_for_training(bind(made, BATCH))
    y = program.outputs["y"]
    seed = program.inputs["g"] = Variable("g", y.dtype, y.shape)
    (learning,) = program.trainable()
    program.outputs["d"] = differentiate(program, {y: seed}, [learning])[learning]
    expected = outputs_of(tidy_after_differentiation(program))
    node = the(formed(program), BACKWARD)
    assert [item is not None for item in node.outputs] == [wanted == name for name in ("wq", "wk", "wv")]
    for found, array in zip(outputs_of(program), expected, strict=True):
        np.testing.assert_allclose(found, array, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("precision", ["mixed", "bfloat16", "float16"])
def test_casts_are_seen_through(precision: str) -> None:
    chosen = PRECISIONS[precision]
    assert chosen is not None
    program = differentiated(SPELLINGS[5].network())
    use_precision(program, chosen)
    node = the(formed(program), BACKWARD)
    narrow = [item for item in (*node.inputs[:5], *node.outputs) if item is not None]
    assert {item.dtype for item in narrow} == {chosen.dtype}
    assert node.inputs[5] is not None and node.inputs[5].dtype == np.float32


def test_a_layer_of_ours() -> None:
    made = layers.Sequential([layers.MultiHeadAttention(2, causal=True)]).network((LENGTH, WIDTH))
    program = formed(optimise_for_inference(bind(made, BATCH)))
    assert the(program, FORWARD).attributes["is_causal"] == 1


def test_a_mask_is_floored_once() -> None:
    twice = (
        "o = Softmax <axis = -1> (s) r = MatMul(o, v) i = MatMul(r, kt) j = Add(i, mask) p = Softmax <axis = -1> (j)"
    )
    program = formed(optimise_for_inference(bind(SPELLINGS[5]._replace(behind=twice).network(), BATCH)))
    found = [node for node in program.nodes if node.op_type == FORWARD]
    assert len(found) == 2
    assert found[0].inputs[3] is found[1].inputs[3]
    assert operators(program)["Max"] == 1


def test_nodes_of_other_backends_of_the_device_are_taken() -> None:
    program = optimise_for_inference(bind(SPELLINGS[0].network(), BATCH))
    for node in program.nodes:
        node.backend = "library"
    form_attention(program, "own", accepted, ("library",))
    assert the(program, FORWARD).backend == "own"


@EVERY_SPELLING
def test_queries_without_keys_are_exact(case: Spelling) -> None:
    """Masks hide all keys of a sample: whatever is formed gets what the spelling gets."""
    made = optimise_for_inference(bind(case.network(), BATCH))
    feeds = feeds_of(made)
    for variable, array in feeds.items():
        if variable.name in ("mask", "keep"):
            array[1] = np.finfo(np.float32).min if variable.name == "mask" else False
    expected = interpret(made, feeds, [made.outputs["y"]])
    found = interpret(formed(made, is_exact=True), feeds, [made.outputs["y"]])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_gradients_through_unknown_choices_stay_where_they_must_be_exact() -> None:
    taken = {
        case.name: operators(formed(differentiated(case.network()), is_exact=True))[BACKWARD] for case in SPELLINGS
    }
    assert [name for name, count in taken.items() if not count] == [
        "replaced and lowered",
        "hidden keys replaced",
        "hidden keys filled",
        "two masks",
    ]
