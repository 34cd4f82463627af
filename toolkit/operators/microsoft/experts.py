"""com.microsoft MoE: every token goes through the experts that its router scores highest, and sums what they give.

The reference computes only the chosen experts. The expansion, which the gradient goes through, computes all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from toolkit.operators.composed import argument, composed, evaluated, required
from toolkit.operators.derivative import filled
from toolkit.operators.expression import Expression, as_expression, emit, indices, reduce_sum, reshape, transpose
from toolkit.operators.microsoft.matrix_product import gelu
from toolkit.operators.microsoft.quantization import MICROSOFT
from toolkit.operators.precision import in_float32
from toolkit.operators.record import Call, TensorType
from toolkit.operators.standard.gated_activation import swish

CONCATENATED = 2  # the value of swiglu_fusion for [gate | linear]; 1 alternates them
PLAIN: dict[str, Any] = {
    "identity": lambda x: x,
    "relu": lambda x: emit("Relu", x),
    "gelu": lambda x: gelu(x, "tanh"),
    "silu": lambda x: swish(x),
}


def _layer(x: Expression, weights: Expression, bias: Expression | None) -> Expression:
    """(experts or 1, tokens, inputs) through one matrix (outputs, inputs) for each expert."""
    y = x @ transpose(weights, (0, 2, 1))
    return y if bias is None else y + reshape(bias, (bias.shape[0], 1, bias.shape[1]))


def _halves(x: Expression, fusion: int) -> list[Expression]:
    """The gate and the linear part of one product."""
    half = x.shape[-1] // 2
    if fusion == CONCATENATED:
        return list(emit("Split", x, indices(x, [half, half]), axis=-1, outputs=2))
    pairs = reshape(x, (*x.shape[:-1], half, 2))
    parts = emit("Split", pairs, indices(x, [1, 1]), axis=-1, outputs=2)
    return [reshape(part, (*x.shape[:-1], half)) for part in parts]


def _experts(call: Call) -> list[Expression | None]:
    """Tokens (1, tokens, features) through all experts: (experts, tokens, features)."""
    tokens, name = call.x, call.attribute("activation_type", "relu")
    hidden = _layer(tokens, required(call, 1, "fc1_experts_weights"), argument(call, 2))
    if name == "swiglu":
        fusion, limit = int(call.attribute("swiglu_fusion", 0)), call.attribute("swiglu_limit")
        if fusion:
            gate, linear = _halves(hidden, fusion)
        else:
            gate, linear = hidden, _layer(tokens, required(call, 5, "fc3_experts_weights"), argument(call, 6))
        if limit is not None:
            gate, linear = emit("Clip", gate, None, float(limit)), emit("Clip", linear, -float(limit), float(limit))
        opened = swish(gate, float(call.attribute("activation_alpha", 1.0)))
        hidden = opened * (linear + float(call.attribute("activation_beta", 0.0)))
    elif name in PLAIN:
        hidden = PLAIN[name](hidden)
    else:
        raise ValueError(f"activation_type must be swiglu, {', '.join(PLAIN)}, got {name!r}")
    return [_layer(hidden, required(call, 3, "fc2_experts_weights"), argument(call, 4))]


def _routing(call: Call) -> list[Expression | None]:
    """The weight of every expert for every token, 0 for those that are not chosen: (tokens, experts)."""
    scores, count = call.x, int(call.attribute("k", 1))
    _, chosen = emit("TopK", scores, indices(scores, [count]), outputs=2)
    ones = as_expression(np.ones(chosen.shape, scores.dtype), scores)
    kept = emit("ScatterElements", filled(scores, scores.shape), chosen, ones, axis=1)
    weights = emit("Softmax", scores, axis=-1) * kept
    return [weights / reduce_sum(weights, [1]) if call.attribute("normalize_routing_weights", 0) else weights]


def _parts(call: Call) -> tuple[list[Expression | None], list[Expression | None]]:
    """The inputs of the router, and those of the experts."""
    tokens = reshape(call.x, (1, int(np.prod(call.x.shape[:-1], dtype=np.int64)), call.x.shape[-1]))
    return [required(call, 1, "router_probs")], [tokens, *(argument(call, index) for index in range(2, 8))]


def _all_experts(call: Call) -> list[Expression | None]:
    routing, experts = (
        function(Call(inputs, [], call.attributes, [], call.version))[0]
        for function, inputs in zip((_routing, _experts), _parts(call), strict=True)
    )
    assert routing is not None and experts is not None
    shares = reshape(transpose(routing, (1, 0)), (experts.shape[0], experts.shape[1], 1))
    return [reshape(reduce_sum(experts * shares, [0], keepdims=False), call.x.shape)]


@in_float32
def _chosen_experts(x: np.ndarray, router: np.ndarray, *weights: np.ndarray | None, **attributes: Any) -> np.ndarray:
    routing = evaluated(_routing)(router, **attributes)
    tokens, through = x.reshape(-1, x.shape[-1]), evaluated(_experts)
    y = np.zeros_like(tokens)
    for expert in np.flatnonzero(routing.any(axis=0)):
        rows = np.flatnonzero(routing[:, expert])
        own = [None if item is None else item[expert : expert + 1] for item in weights]
        y[rows] += through(tokens[None, rows], *own, **attributes)[0] * routing[rows, expert, None]
    return y.reshape(x.shape)


def _infer(inputs: Sequence[TensorType | None], attributes: dict[str, Any], _: Any) -> list[TensorType]:
    if attributes.get("use_sparse_mixer", 0):
        raise ValueError("use_sparse_mixer is not supported: leave it 0")
    x, router, first = inputs[0], inputs[1], inputs[2]
    assert x is not None and router is not None and first is not None
    tokens = int(np.prod(x[1][:-1], dtype=np.int64))
    if router[1] != (tokens, first[1][0]) or first[1][-1] != x[1][-1]:
        raise ValueError(f"router_probs must be {(tokens, first[1][0])}, and fc1 must take {x[1][-1]} features")
    return [x]


composed(
    "MoE",
    _all_experts,
    domain=MICROSOFT,
    reference=_chosen_experts,
    infer=_infer,
    host_only="which experts compute is read there",
)
