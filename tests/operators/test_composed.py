"""Operators that are composed of others: their expansions, what they refuse, and gradients through shared inputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import GraphProto

from tests.cases import all_cases
from tests.support.case import BATCH_SIZES, Case
from tests.support.interpret import apply, build, interpret
from tests.support.rows import each_row
from toolkit.autodiff import differentiate
from toolkit.compiler.program import Program, Variable
from toolkit.errors import NotDifferentiableError, ShapeError
from toolkit.operators.composed import pull_back
from toolkit.operators.expression import Expression, emit
from toolkit.operators.inference import infer_types
from toolkit.operators.record import Call, DataDependentTypes, lookup

MICROSOFT = "com.microsoft"


def is_expanded(case: Case) -> bool:
    """Whether the row's record has an expansion that can stand in a program."""
    has_body = any(isinstance(value, GraphProto) for value in case.bound_attributes(1).values())
    depends = case.is_data_dependent or isinstance(case.record.infer, DataDependentTypes)
    if case.domain == "toolkit" or case.record.expansion is None or has_body or depends:
        return False
    return not any(array is not None and array.dtype.itemsize == 2 for array in case.arrays(1))  # rounded less often


EXPANDED = [case for case in all_cases() if is_expanded(case)]


@each_row(EXPANDED, BATCH_SIZES)
def test_expansion_in_a_program_computes_what_the_reference_computes(case: Case, batch: int) -> None:
    arrays = case.arrays(batch)
    program, node = build(case, arrays, batch)
    inputs = [None if item is None else program.expression(item) for item in node.inputs]
    expansion = case.record.expansion
    assert expansion is not None
    made = expansion(Call(inputs, [], node.attributes, [False] * len(inputs), case.version))
    outputs = [item.variable for item in made[: case.outputs] if item is not None]
    assert not any(step.domain for step in program.nodes[1:]), "an expansion consists of standard operators"
    feeds = {item: array for item, array in zip(node.inputs, arrays, strict=True) if item is not None}
    found = interpret(program, feeds, outputs)
    expected = apply(case.domain, case.operator, case.version, arrays, case.bound_attributes(batch))
    for ours, theirs in zip(found, expected, strict=False):
        np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=2e-6)


def test_a_variable_given_twice_gets_its_gradient_once():
    """Self-attention: queries, keys and values are one tensor."""
    program = Program(layer="test")
    x = Variable("x", np.dtype(np.float64), (1, 2, 3, 4))
    array = np.random.default_rng(0).normal(size=x.shape)
    whole = emit("Attention", *[Expression(program, x)] * 3)
    copies = [Variable(f"x{number}", x.dtype, x.shape) for number in range(3)]
    apart = emit("Attention", *(Expression(program, item) for item in copies))
    g = program.constant(np.random.default_rng(1).normal(size=x.shape)).variable
    found = differentiate(program, {whole.variable: g, apart.variable: g}, [x, *copies])
    feeds = dict.fromkeys((x, *copies), array)
    together, *parts = interpret(program, feeds, [found[item] for item in (x, *copies)])
    np.testing.assert_allclose(together, sum(parts), rtol=1e-10)


def test_what_has_no_gradient_is_named():
    program = Program(layer="test")
    x = Expression(program, Variable("x", np.dtype(np.float32), (3,)))
    y = emit("BitCast", x, to=1, version=26)
    with pytest.raises(NotDifferentiableError, match="BitCast, which the operator expands into, has no gradient"):
        pull_back(Call([x], [], {}, [True], 1), [(y, y)])


def test_an_output_that_is_an_input_passes_its_gradient():
    program = Program(layer="test")
    x = Expression(program, Variable("x", np.dtype(np.float32), (3,)))
    g = program.constant(np.ones(3, np.float32))
    assert pull_back(Call([x], [], {}, [True], 1), [(x, g)]) == [g]


def inferred(domain: str, op_type: str, version: int, *given: Any, **attributes: Any) -> Any:
    """The types of one node; arrays are constants, tuples shapes of float32, ``None`` absent."""
    inputs = [
        None
        if item is None
        else Variable(f"x{number}", item.dtype, item.shape, constant=item)
        if isinstance(item, np.ndarray)
        else Variable(f"x{number}", np.dtype(np.float32), item)
        for number, item in enumerate(given)
    ]
    return infer_types(domain, op_type, version, inputs, attributes, 1, "layer")


TOTAL = np.asarray(3, np.int32)
LENGTHS = np.asarray([2], np.int32)
REFUSALS: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("inputs with 3 axes need the attribute 'q_num_heads'", ("", "Attention", 23, (1, 2, 4), (1, 2, 4), (1, 2, 4)), {}),
    (
        "4 features must divide into 3 heads",
        ("", "Attention", 23, (1, 2, 4), (1, 2, 4), (1, 2, 4)),
        {"q_num_heads": 3, "kv_num_heads": 1},
    ),
    (
        "3 query heads must be a multiple of 2 key heads",
        ("", "Attention", 23, (1, 3, 2, 4), (1, 2, 2, 4), (1, 2, 2, 4)),
        {},
    ),
    (
        "past_key and past_value must be given together",
        ("", "Attention", 23, (1, 1, 2, 4), (1, 1, 2, 4), (1, 1, 2, 4), None, (1, 1, 2, 4)),
        {},
    ),
    ("must have 2 columns to turn 4 features", ("", "RotaryEmbedding", 23, (1, 2, 3, 4), (1, 3, 4), (1, 3, 4)), {}),
    ("does not fit into a cache of length 2", ("", "TensorScatter", 24, (1, 2, 3), (1, 4, 3)), {"axis": 1}),
    ("axis 0 counts the samples", ("", "TensorScatter", 24, (1, 2, 3), (1, 1, 3)), {"axis": 0}),
    ("must have the same shape", ("", "SwiGLU", 28, (1, 2), (2, 1)), {}),
    (
        "activation must be one of none, silu, swish, got 'relu'",
        ("", "CausalConvWithState", 27, (1, 2, 3), (2, 1, 3)),
        {"activation": "relu"},
    ),
    (
        r"past_state must have the shape \(1, 2, 2\)",
        ("", "CausalConvWithState", 27, (1, 2, 3), (2, 1, 3), None, (1, 2, 1)),
        {},
    ),
    (
        "update_rule 'gated' needs input 'decay'",
        ("", "LinearAttention", 27, (1, 2, 4), (1, 2, 4), (1, 2, 4)),
        {"q_num_heads": 1, "kv_num_heads": 1, "update_rule": "gated"},
    ),
    (
        "update_rule must be one of linear, gated, delta, gated_delta",
        ("", "LinearAttention", 27, (1, 2, 4), (1, 2, 4), (1, 2, 4)),
        {"q_num_heads": 1, "kv_num_heads": 1, "update_rule": "other"},
    ),
    ("Q, K and V must each have 4 axes", ("ai.onnx.preview", "FlexAttention", 1, (1, 2), (1, 2), (1, 2)), {}),
    (
        "a quantised cache",
        (
            MICROSOFT,
            "GroupQueryAttention",
            1,
            (1, 3, 4),
            (1, 3, 4),
            (1, 3, 4),
            None,
            None,
            LENGTHS,
            TOTAL,
            *[None] * 5,
            (1,),
        ),
        {"num_heads": 1, "kv_num_heads": 1},
    ),
    (
        "sliding_window_cache is not supported",
        (MICROSOFT, "GroupQueryAttention", 1, (1, 3, 4), (1, 3, 4), (1, 3, 4), None, None, LENGTHS, TOTAL),
        {"num_heads": 1, "kv_num_heads": 1, "sliding_window_cache": 1},
    ),
    ("do_rotary is not supported", (MICROSOFT, "Attention", 1, (1, 2, 4), (4, 12)), {"num_heads": 1, "do_rotary": 1}),
    (
        "cache shared by beams or steps",
        (MICROSOFT, "MultiHeadAttention", 1, (1, 2, 4), (1, 2, 4), (1, 2, 4), *[None] * 5, TOTAL),
        {"num_heads": 1},
    ),
    ("use_sparse_mixer is not supported", (MICROSOFT, "MoE", 1, (2, 3), (2, 4), (4, 5, 3)), {"use_sparse_mixer": 1}),
    ("ndim=1", (MICROSOFT, "CausalConvWithState", 1, (1, 2, 3, 4), (2, 1, 3, 3)), {"ndim": 2}),
    ("state_window=2 is not supported", (MICROSOFT, "LinearAttention", 1, (1, 2, 4)), {"state_window": 2}),
    ("4 channels must divide into 3 groups", (MICROSOFT, "GroupNorm", 1, (1, 2, 2, 4), (4,), (4,)), {"groups": 3}),
    ("two halves and must be even", (MICROSOFT, "BiasSplitGelu", 1, (1, 3), (3,)), {}),
    ("metric must be euclidean", (MICROSOFT, "CDist", 1, (1, 3), (3, 3)), {"metric": "cosine"}),
    ("must hold square matrices", (MICROSOFT, "Inverse", 1, (2, 3)), {}),
    ("the last axis must hold the real", (MICROSOFT, "ComplexMul", 1, (2, 3), (2, 3)), {}),
    ("input 'gamma' is required", (MICROSOFT, "SkipLayerNormalization", 1, (1, 2, 3), (1, 2, 3)), {}),
]


@pytest.mark.parametrize(("message", "given", "attributes"), REFUSALS, ids=[row[0][:40] for row in REFUSALS])
def test_refusal_says_what_is_required(message: str, given: tuple[Any, ...], attributes: dict[str, Any]) -> None:
    with pytest.raises(ShapeError, match=message):
        inferred(*given, **attributes)


def test_values_that_do_not_fit_are_refused_at_run_time():
    with pytest.raises(ValueError, match="a matrix is singular"):
        apply(MICROSOFT, "Inverse", 1, [np.ones((2, 2))], {})
    with pytest.raises(ValueError, match="ngram_size must be positive"):
        apply(MICROSOFT, "NGramRepeatBlock", 1, [np.ones((1, 2), np.int64), np.ones((1, 2))], {"ngram_size": 0})
    arrays = [np.ones((1, 1, 2, 4), np.float32)] * 3
    reference = lookup("ai.onnx.preview", "FlexAttention", 1).reference
    with pytest.raises(ValueError, match="score_mod must keep the shape"):
        reference(*arrays, score_mod=lambda scores: (scores[0],))


def test_an_empty_word_is_zero():
    words, weight, characters = np.zeros((1, 3), np.int32), np.ones((2, 1, 2, 4)), np.ones((5, 4))
    (found,) = apply(MICROSOFT, "WordConvEmbedding", 1, [words, weight, np.ones(2), characters], {})
    np.testing.assert_array_equal(found, np.zeros((1, 2)))


def test_bodies_have_no_gradient():
    program = Program(layer="test")
    x = Expression(program, Variable("x", np.dtype(np.float32), (1, 1, 2, 4)))
    y = emit("FlexAttention", x, x, x, domain="ai.onnx.preview", score_mod=lambda scores: (scores,))
    found = differentiate(program, {y.variable: y.variable}, [x.variable])
    assert not found
    assert "no gradient through its body 'score_mod'" in str(found.shortfalls()[x.variable])
