"""Dropout: the identity when inferring; before version 7 and from 12 on the node itself can be told to train.

Versions 7 and 10 have no training mode of their own, and leave open what their mask says: here everything is kept. The
compiler replaces them, in a training context, by version 13. Versions 1 and 6 train unless ``is_test`` says otherwise.

``MaskedScale``, an operator of our own, is what a mask does to a gradient: ``scale`` times what it keeps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from toolkit.errors import NotDifferentiableError, ShapeError
from toolkit.operators.derivative import cast
from toolkit.operators.expression import TOOLKIT_DOMAIN, Expression, emit, where
from toolkit.operators.precision import in_float32
from toolkit.operators.record import Call, TensorType, operator


def _dropout_1(
    x: np.ndarray,
    *,
    ratio: float = 0.5,
    is_test: int = 0,
    consumed_inputs: Any = None,
    random: np.random.Generator | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Versions 1 and 6: the mask is of the input's type, and not filled in test mode; here it then keeps everything."""
    y, mask = _dropout(x, np.asarray(ratio), np.asarray(not is_test), random=random)
    return y, mask.astype(x.dtype)


def _gradient_1(call: Call, g: Expression | None, mask_grad: Expression | None = None) -> list[Expression | None]:
    if g is None or call.attribute("is_test", 0):
        return [g]
    mask = call.outputs[1] if len(call.outputs) > 1 else None
    if mask is None:
        raise NotDifferentiableError(
            "Dropout in training mode has no gradient without its mask: connect its second output."
        )
    ratio = float(call.attribute("ratio", 0.5))
    return [g * mask * (1.0 / (1.0 - ratio) if ratio < 1.0 else 0.0)]


def _dropout_7(x: np.ndarray, *, ratio: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """Version 7: its mask is of the input's type."""
    return x.copy(), np.ones_like(x)


def _dropout_10(x: np.ndarray, *, ratio: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """Version 10: its mask is boolean."""
    return x.copy(), np.ones(x.shape, bool, like=x)


def _identity_gradient(call: Call, g: Expression | None, mask: Expression | None = None) -> list[Expression | None]:
    return [g]


def _dropout(
    x: np.ndarray,
    ratio: np.ndarray | None = None,
    training_mode: np.ndarray | None = None,
    *,
    seed: int | None = None,
    random: np.random.Generator | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """x and mask; in training mode each element is zeroed with probability ``ratio``, the others are scaled up.

    A ``seed`` fixes the mask (ONNX's tests expect that of numpy's older generator); else ``random`` draws it.
    """
    share = 0.5 if ratio is None else float(ratio)
    if training_mode is None or not bool(training_mode) or share == 0.0:
        return x.copy(), np.ones(x.shape, bool, like=x)
    mask = draw(x.shape, seed, random) >= share
    scale = np.asarray(1.0 / (1.0 - share) if share < 1.0 else 0.0, x.dtype)
    return x * mask * scale, mask


def draw(shape: tuple[int, ...], seed: int | None, random: np.random.Generator | None) -> Any:
    """Numbers from 0 on below 1; what is dropped are those below the ratio."""
    if seed is not None:
        return np.random.RandomState(seed).uniform(0.0, 1.0, shape)
    return (random or np.random.default_rng()).random(shape, np.float32)


def _gradient(call: Call, g: Expression | None, mask_grad: Expression | None = None) -> list[Expression | None]:
    _, ratio, live = (*call.inputs, None, None)[:3]
    if g is None or live is None or (live.value is not None and not bool(live.value)):
        return [g]
    mask = call.outputs[1] if len(call.outputs) > 1 else None
    if mask is None:
        raise NotDifferentiableError(
            "Dropout in training mode has no gradient without its mask: connect its second output."
        )
    kept = 0.5 if ratio is None else ratio
    if isinstance(kept, Expression) and kept.value is not None:
        kept = float(kept.value)
    if isinstance(kept, Expression):
        dropped = where(mask, g / cast(1.0 - kept, g.dtype), 0.0)
    else:
        dropped = _masked(g, mask, 1.0 / (1.0 - kept) if kept < 1.0 else 0.0)
    return [dropped if live.value is not None else where(live, dropped, g)]


def _masked(g: Expression, mask: Expression | None, scale: float) -> Expression:
    """Emit MaskedScale."""
    dropped: Expression = emit("MaskedScale", g, mask, domain=TOOLKIT_DOMAIN, scale=scale)
    return dropped


@in_float32
def _masked_scale(g: np.ndarray, mask: np.ndarray, *, scale: float) -> np.ndarray:
    return np.where(mask, g * scale, g.dtype.type(0))


def _infer_masked(inputs: Sequence[TensorType | None], attributes: dict[str, Any], _: Any) -> list[TensorType]:
    g, mask = inputs
    assert g is not None
    if mask is None or mask[0] != np.bool_ or mask[1] != g[1]:
        raise ShapeError(f"the mask must be boolean and of the gradient's shape {g[1]}")
    return [g]


def _expand_masked(call: Call) -> list[Expression | None]:
    mask = call.inputs[1]
    assert mask is not None
    return [where(mask, call.x * float(call.attributes["scale"]), 0.0)]


def _infer_mask_like_input(inputs: Sequence[TensorType | None], attributes: dict[str, Any], _: Any) -> list[TensorType]:
    assert inputs[0] is not None
    return [inputs[0], inputs[0]]


operator("Dropout", reference=_dropout_1, gradient=_gradient_1, infer=_infer_mask_like_input, is_random=True)
operator("Dropout", since=7, reference=_dropout_7, gradient=_identity_gradient, infer=_infer_mask_like_input)
operator("Dropout", since=10, reference=_dropout_10, gradient=_identity_gradient)
operator("Dropout", since=12, reference=_dropout, gradient=_gradient, is_random=True)
operator(
    "MaskedScale",
    domain=TOOLKIT_DOMAIN,
    reference=_masked_scale,
    gradient=lambda call, g: [_masked(g, call.inputs[1], float(call.attributes["scale"])), None],
    infer=_infer_masked,
    expansion=_expand_masked,
)
