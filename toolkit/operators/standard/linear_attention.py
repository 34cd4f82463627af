"""LinearAttention (since 27): a state per head that every token decays, corrects and reads.

All four update rules are one recurrence. With ``kept = exp(decay) * state`` it is ``state = kept + key (x) change``,
where the change is the value, or ``beta * (value - kept^T key)`` for the delta rules; a query reads
``scale * state^T query``. The gradient runs the same recurrence backward, as an operator of our own domain.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from toolkit.errors import ShapeError
from toolkit.operators.composed import gradient_through, pull_back
from toolkit.operators.derivative import cast, filled
from toolkit.operators.expression import TOOLKIT_DOMAIN, Expression, emit, reshape, split
from toolkit.operators.precision import in_float32
from toolkit.operators.record import Call, TensorType, operator

RULES = {  # whether the state decays, and whether what it already says about a key is corrected
    "linear": (False, False),
    "gated": (True, False),
    "delta": (False, True),
    "gated_delta": (True, True),
}


@dataclass(slots=True)
class _Tokens:
    """Inputs with an axis for the heads, (batch, length, heads, size); ``factor`` is exp(decay)."""

    query: np.ndarray  # the query heads of one key head stand on an axis of their own, before the size
    key: np.ndarray
    value: np.ndarray
    state: np.ndarray
    factor: np.ndarray | None
    beta: np.ndarray | None
    scale: float


def _tokens(
    query: np.ndarray,
    key: np.ndarray,
    value: np.ndarray,
    past_state: np.ndarray | None,
    decay: np.ndarray | None,
    beta: np.ndarray | None,
    q_num_heads: int,
    kv_num_heads: int,
    scale: float,
) -> _Tokens:
    batch, length, _ = query.shape
    lead, size = (batch, length, kv_num_heads), query.shape[2] // q_num_heads
    keys, values = key.reshape(*lead, -1), value.reshape(*lead, -1)
    state = past_state
    if state is None:
        state = np.zeros((batch, kv_num_heads, keys.shape[3], values.shape[3]), query.dtype, like=query)
    return _Tokens(
        query.reshape(*lead, q_num_heads // kv_num_heads, size),
        keys,
        values,
        state,
        None if decay is None else np.exp(decay).reshape(*lead, -1),
        None if beta is None else np.broadcast_to(beta, lead)[..., None],
        scale or 1.0 / math.sqrt(size),
    )


def _step(tokens: _Tokens, state: np.ndarray, at: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What is kept of the state at a token, the error before ``beta``, and the next state."""
    kept = state if tokens.factor is None else state * tokens.factor[:, at, :, :, None]
    key, change = tokens.key[:, at], tokens.value[:, at]
    error = change if tokens.beta is None else change - _read(kept, key)
    change = error if tokens.beta is None else error * tokens.beta[:, at]
    return kept, error, kept + key[..., :, None] * change[..., None, :]


def _read(state: np.ndarray, key: np.ndarray) -> np.ndarray:
    """state^T key of every head."""
    return np.matmul(key[..., None, :], state)[..., 0, :]


def _linear_attention(
    query: np.ndarray,
    key: np.ndarray,
    value: np.ndarray,
    past_state: np.ndarray | None = None,
    decay: np.ndarray | None = None,
    beta: np.ndarray | None = None,
    *,
    q_num_heads: int,
    kv_num_heads: int,
    scale: float = 0.0,
    update_rule: str = "gated_delta",
    chunk_size: int = 64,
) -> tuple[np.ndarray, np.ndarray]:
    """The output, and the state after the last token."""
    state_dtype = query.dtype if past_state is None else past_state.dtype
    exact = np.dtype(np.float64 if query.dtype == np.float64 else np.float32)
    state, rates, steps = (None if item is None else item.astype(exact) for item in (past_state, decay, beta))
    always = query.astype(exact), key.astype(exact), value.astype(exact)
    tokens = _tokens(*always, state, rates, steps, q_num_heads, kv_num_heads, scale)
    state = tokens.state
    outputs = np.empty((*tokens.query.shape[:4], tokens.value.shape[3]), exact, like=query)
    for at in range(query.shape[1]):
        _, _, state = _step(tokens, state, at)
        outputs[:, at] = np.matmul(tokens.query[:, at], state)
    outputs *= tokens.scale
    flat = outputs.reshape(*query.shape[:2], -1)
    return flat.astype(query.dtype, copy=False), state.astype(state_dtype, copy=True)


def _infer(inputs: Sequence[TensorType | None], attributes: dict[str, Any], _: Any) -> list[TensorType]:
    query, key, value, state, decay, beta = (*inputs, None, None, None)[:6]
    assert query is not None and key is not None and value is not None
    heads, key_heads = int(attributes["q_num_heads"]), int(attributes["kv_num_heads"])
    if heads < 1 or key_heads < 1 or heads % key_heads:
        raise ShapeError(f"q_num_heads must be a multiple of kv_num_heads, got {heads} and {key_heads}")
    if any(len(item[1]) != 3 or item[1][:2] != query[1][:2] for item in (query, key, value)):
        raise ShapeError("query, key and value must be (batch, length, features) of the same batch and length")
    if query[1][2] % heads or key[1][2] * heads != query[1][2] * key_heads or value[1][2] % key_heads:
        raise ShapeError(f"features {query[1][2]}, {key[1][2]} and {value[1][2]} must divide into heads of one size")
    rule = attributes.get("update_rule", "gated_delta")
    if rule not in RULES:
        raise ShapeError(f"update_rule must be one of {', '.join(RULES)}, got {rule!r}")
    for name, item, is_needed in zip(("decay", "beta"), (decay, beta), RULES[rule], strict=True):
        if (item is not None) != is_needed:
            raise ShapeError(f"update_rule {rule!r} {'needs' if is_needed else 'takes no'} input {name!r}")
    batch, size, width = query[1][0], query[1][2] // heads, value[1][2] // key_heads
    kept = (batch, key_heads, size, width)
    if state is not None and state[1] != kept:
        raise ShapeError(f"past_state must have the shape {kept}, got {state[1]}")
    return [(query[0], (*query[1][:2], heads * width)), (query[0] if state is None else state[0], kept)]


def _gradient(call: Call, *grads: Expression | None) -> list[Expression | None]:
    inputs = [*call.inputs, *[None] * (6 - len(call.inputs))]
    found = emit(
        "LinearAttentionGradient",
        *inputs,
        *grads,
        domain=TOOLKIT_DOMAIN,
        outputs=6,
        **{name: value for name, value in call.attributes.items() if name != "chunk_size"},
    )
    return [part if item is not None else None for item, part in zip(inputs, found, strict=True)][: len(call.inputs)]


@in_float32
def _linear_attention_gradient(
    query: np.ndarray,
    key: np.ndarray,
    value: np.ndarray,
    past_state: np.ndarray | None = None,
    decay: np.ndarray | None = None,
    beta: np.ndarray | None = None,
    g: np.ndarray | None = None,
    g_state: np.ndarray | None = None,
    *,
    q_num_heads: int,
    kv_num_heads: int,
    scale: float = 0.0,
    update_rule: str = "gated_delta",
) -> tuple[np.ndarray, ...]:
    """The gradients of all six inputs; those of absent ones are empty."""
    tokens = _tokens(query, key, value, past_state, decay, beta, q_num_heads, kv_num_heads, scale)
    states, length = [tokens.state], query.shape[1]
    for at in range(length):
        states.append(_step(tokens, states[-1], at)[2])
    d_query, d_key, d_value = np.zeros_like(tokens.query), np.empty_like(tokens.key), np.empty_like(tokens.value)
    d_factor = None if tokens.factor is None else np.empty_like(tokens.factor)
    d_beta = None if tokens.beta is None else np.empty_like(tokens.beta)
    d_state = np.zeros_like(tokens.state) if g_state is None else g_state
    seen = None if g is None else g.reshape(*tokens.query.shape[:4], -1) * tokens.scale
    for at in reversed(range(length)):
        if seen is not None:
            d_query[:, at] = np.matmul(seen[:, at], states[at + 1].swapaxes(-1, -2))
            d_state = d_state + np.matmul(tokens.query[:, at].swapaxes(-1, -2), seen[:, at])
        kept, error, _ = _step(tokens, states[at], at)
        change = error if tokens.beta is None else error * tokens.beta[:, at]
        d_change = _read(d_state, tokens.key[:, at])
        d_key[:, at] = np.matmul(d_state, change[..., None])[..., 0]
        if tokens.beta is not None and d_beta is not None:
            d_beta[:, at] = (d_change * error).sum(axis=-1, keepdims=True)
            d_change = d_change * tokens.beta[:, at]
            d_key[:, at] -= np.matmul(kept, d_change[..., None])[..., 0]
            d_state = d_state - tokens.key[:, at, :, :, None] * d_change[..., None, :]
        d_value[:, at] = d_change
        if tokens.factor is not None and d_factor is not None:
            by_key = (d_state * states[at]).sum(axis=-1)
            d_factor[:, at] = by_key if tokens.factor.shape[3] == by_key.shape[2] else by_key.sum(-1, keepdims=True)
            d_state = d_state * tokens.factor[:, at, :, :, None]
    d_decay = None if d_factor is None or tokens.factor is None else d_factor * tokens.factor
    if d_beta is not None and beta is not None and beta.shape[2] == 1:
        d_beta = d_beta.sum(axis=2)
    parts = (d_query, d_key, d_value, d_state, d_decay, d_beta)
    given = (query, key, value, past_state, decay, beta)
    return tuple(
        np.zeros(0, query.dtype, like=query)
        if part is None or item is None
        else np.ascontiguousarray(part, like=query).reshape(item.shape)
        for part, item in zip(parts, given, strict=True)
    )


def _infer_gradient(inputs: Sequence[TensorType | None], _: dict[str, Any], __: Any) -> list[TensorType]:
    query = inputs[0]
    assert query is not None
    return [(query[0], (0,)) if item is None else (query[0], item[1]) for item in inputs[:6]]


def _values(call: Call) -> list[Expression | None]:
    """The output and the last state from standard operators, token by token."""
    query, key, value, state, decay, beta = [*call.inputs, *[None] * 6][:6]
    assert query is not None and key is not None and value is not None
    heads, key_heads = int(call.attributes["q_num_heads"]), int(call.attributes["kv_num_heads"])
    batch, length, lead = query.shape[0], query.shape[1], (query.shape[0], key_heads)
    size, width = query.shape[2] // heads, value.shape[2] // key_heads
    scale = float(call.attribute("scale", 0.0)) or 1.0 / math.sqrt(size)
    steps = [None if item is None else split(item, length, 1) for item in (query, key, value, decay, beta)]
    last = filled(query, (*lead, size, width)) if state is None else cast(state, query.dtype)
    outputs = []
    for at in range(length):
        q, k, v, d, b = (None if item is None else item[at] for item in steps)
        assert q is not None and k is not None and v is not None
        if d is not None:
            last = last * reshape(emit("Exp", d), (*lead, -1, 1))
        keys, change = reshape(k, (*lead, size, 1)), reshape(v, (*lead, 1, width))
        if b is not None:
            read = reshape(k, (*lead, 1, size)) @ last
            change = (change - read) * reshape(b, (batch, -1, 1, 1))
        last = last + keys @ change
        seen = reshape(q, (*lead, heads // key_heads, size)) @ last
        outputs.append(reshape(seen * scale, (batch, 1, heads * width)))
    y = outputs[0] if length == 1 else emit("Concat", *outputs, axis=1)
    return [y, last if state is None else cast(last, state.dtype)]


def _gradient_expansion(call: Call) -> list[Expression | None]:
    inputs, grads = call.inputs[:6], call.inputs[6:]
    forward = Call(inputs, [], call.attributes, [item is not None for item in inputs], call.version)
    pairs = zip(_values(forward), grads, strict=False)
    found = pull_back(forward, [(output, g) for output, g in pairs if output is not None and g is not None])
    like = call.x
    return [
        filled(like, (0,) if item is None else item.shape) if part is None else part
        for item, part in zip(inputs, found, strict=True)
    ]


operator("LinearAttention", since=27, reference=_linear_attention, gradient=_gradient, infer=_infer)
operator(
    "LinearAttentionGradient",
    domain=TOOLKIT_DOMAIN,
    reference=_linear_attention_gradient,
    gradient=gradient_through(_gradient_expansion),
    infer=_infer_gradient,
    expansion=_gradient_expansion,
)
