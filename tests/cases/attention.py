"""Cases of ``toolkit.operators.standard.attention``."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.support.case import Case, Given, booleans, constant, uniform, variable

Q, K, V = uniform("N", 4, 3, 8), uniform("N", 2, 5, 8), uniform("N", 2, 5, 6)
FLAT = [uniform("N", 3, 32), uniform("N", 5, 16), uniform("N", 5, 12)]
HEADS = {"q_num_heads": 4, "kv_num_heads": 2}
PAST = [uniform("N", 2, 2, 8), uniform("N", 2, 2, 6)]
LENGTHS = variable(lambda n: np.arange(n) % 3 + 2)
DEAD_ROW = variable(np.array([[True, False, True, True, False], [False] * 5, [True] * 5]))


def halves(*given: Given) -> list[Given]:
    """The same inputs in float16."""

    def narrowed(item: Given) -> Given:
        return Given(lambda random, batch: np.asarray(item.make(random, batch)).astype(np.float16))

    return [narrowed(item) for item in given]


def attention(*inputs: Given | None, note: str, version: int = 23, **given: Any) -> Case:
    """One row; settings of the case are told from attributes by their names."""
    settings = {name: given.pop(name) for name in ("differentiable", "judge", "outputs", "tolerance") if name in given}
    return Case("Attention", list(inputs), given, version=version, note=note, gradient_tolerance=1e-4, **settings)


def judge_masked(q: Any, k: Any, v: Any, mask: Any, *, is_causal: int = 0) -> np.ndarray:
    """Query by query; onnx.reference and onnxruntime do not stretch a mask of size 1 in both ways."""
    y = np.empty((*q.shape[:3], v.shape[3]), q.dtype)
    mask = np.broadcast_to(mask, (*q.shape[:3], k.shape[2]))
    for sample, head, query in np.ndindex(*q.shape[:3]):
        kept = query + 1 if is_causal else k.shape[2]
        keys, values = k[sample, head // 2, :kept], v[sample, head // 2, :kept]
        scores = keys.astype(np.float64) @ q[sample, head, query] / np.sqrt(q.shape[3])
        powers = np.exp(scores + mask[sample, head, query, :kept])
        y[sample, head, query] = powers @ values / powers.sum()
    return y


CASES = [
    attention(uniform("N", 2, 3, 4), uniform("N", 2, 3, 4), uniform("N", 2, 3, 4), note="plain"),
    attention(Q, K, V, note="grouped heads"),
    attention(uniform("N", 4, 3, 8), uniform("N", 1, 5, 8), uniform("N", 1, 5, 6), scale=0.3, note="one key head"),
    attention(*FLAT, **HEADS, note="three axes"),
    attention(*FLAT, **HEADS, is_causal=1, softcap=1.5, note="causal and capped"),
    attention(Q, K, V, uniform(3, 5), note="mask of floats"),
    attention(Q, K, V, uniform("N", 1, 3, 5), is_causal=1, note="mask of floats and causal"),
    attention(Q, K, V, uniform("N", 1, 1, 5), is_causal=1, note="one mask for all queries", judge=judge_masked),
    attention(Q, K, V, uniform(3, 1), note="one mask for all keys", judge=judge_masked),
    attention(Q, K, V, booleans("N", 4, 3, 5), note="mask of truth values", judge="onnx.reference"),
    attention(Q, K, V, DEAD_ROW, note="a query that sees nothing", judge="onnx.reference"),
    attention(Q, K, V, None, *PAST, is_causal=1, outputs=3, note="past"),
    attention(Q, K, V, uniform(3, 7), *PAST, outputs=4, note="past and mask"),
    attention(*FLAT, uniform(3, 7), *PAST, **HEADS, outputs=3, note="past with three axes"),
    *(
        attention(
            Q,
            K,
            V,
            constant(np.full((3, 5), 0.5)),
            softcap=2.0,
            qk_matmul_output_mode=mode,
            outputs=4,
            note=f"scores of stage {mode}",
            judge="onnxruntime",
        )
        for mode in (0, 1, 2, 3)
    ),
    attention(*halves(Q, K, V), tolerance=5e-3, note="float16"),
    attention(
        *halves(Q, K, V),
        softmax_precision=1,
        tolerance=5e-3,
        differentiable=[],
        note="float16 with a softmax of float32",
    ),
    attention(Q, K, V, softmax_precision=11, note="softmax of float64"),
    attention(Q, K, V, version=24, note="plain"),
    attention(Q, K, V, uniform(3, 4), version=24, note="short mask", judge="onnx.reference"),
    attention(Q, K, V, None, None, None, LENGTHS, version=24, note="lengths", judge="onnx.reference"),
    attention(
        Q,
        K,
        V,
        booleans(3, 5),
        None,
        None,
        LENGTHS,
        version=24,
        is_causal=1,
        note="lengths, mask and causal",
        judge="onnx.reference",
    ),
    attention(Q, K, V, left_window_size=1, right_window_size=1, version=25, note="window", judge="onnx.reference"),
    attention(
        Q,
        K,
        V,
        None,
        None,
        None,
        LENGTHS,
        left_window_size=1,
        is_causal=1,
        version=25,
        note="window with lengths",
        judge="onnx.reference",
    ),
]
