"""Matrix products: MatMul, Gemm, and FusedMatMul, the one form that fusion, gradients and backends work with.

FusedMatMul reads its factors, and writes its result, in the order in which attention has them: ``swapA``, ``swapB`` and
``swapY`` say that the third last and the second last axis of a, b and y are exchanged, so that heads which lie behind
the positions (batch, positions, heads, features) are multiplied as if they lay before them. ``transA`` and ``transB``
exchange the last two axes of what is seen then. Bias and residual broadcast to y as it lies.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from toolkit.errors import ShapeError
from toolkit.operators.expression import TOOLKIT_DOMAIN, Expression, emit, reshape, transpose, unbroadcast
from toolkit.operators.precision import in_float32
from toolkit.operators.record import Call, TensorType, operator
from toolkit.operators.standard.activation import activate, before_activation, expand_activation


@in_float32
def _matmul(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.matmul(a, b)


@in_float32
def _gemm(
    a: np.ndarray,
    b: np.ndarray,
    c: np.ndarray | None = None,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    transA: int = 0,
    transB: int = 0,
) -> np.ndarray:
    """alpha A'B' + beta C; integers are rounded towards zero once at the end."""
    y = np.matmul(a.T if transA else a, b.T if transB else b)
    if alpha != 1.0:
        y = y * alpha
    if c is not None and beta != 0.0:
        y = y + (c if beta == 1.0 else c * beta)
    return y.astype(a.dtype, copy=False)


def _gemm_1(a: np.ndarray, b: np.ndarray, c: np.ndarray, *, broadcast: int = 0, **attributes: Any) -> np.ndarray:
    """Before opset 7; that C may be broadcast had to be said."""
    y: np.ndarray = _gemm(a, b, c, **attributes)
    return y


def _infer_gemm_1(inputs: Sequence[TensorType | None], attributes: dict[str, Any], _: Any) -> list[TensorType]:
    a, b, c = inputs
    assert a is not None
    assert b is not None
    assert c is not None
    shape = _product_shape(a[1], b[1], attributes.get("transA", 0), attributes.get("transB", 0))
    if len(shape) != 2:
        raise ShapeError(f"A and B must be matrices, got {a[1]} and {b[1]}")
    if not attributes.get("broadcast", 0) and c[1] != shape:
        raise ShapeError(f"without broadcast=1 C must have the product's shape {shape}, got {c[1]}")
    if not _broadcasts_to(c[1], shape):
        raise ShapeError(f"C must broadcast to the product's shape {shape}, got {c[1]}")
    return [(a[0], shape)]


def _seen(x: np.ndarray, swap: int, flag: int) -> np.ndarray:
    """A factor as the product takes it: first the exchange of heads and positions, then that of rows and columns."""
    x = x.swapaxes(-3, -2) if swap else x
    return x.swapaxes(-1, -2) if flag else x


@in_float32
def _fused_matmul(
    a: np.ndarray,
    b: np.ndarray,
    bias: np.ndarray | None = None,
    residual: np.ndarray | None = None,
    *,
    transA: int = 0,
    transB: int = 0,
    swapA: int = 0,
    swapB: int = 0,
    swapY: int = 0,
    alpha: float = 1.0,
    activation: str = "",
    activation_alpha: float = 0.0,
    activation_beta: float = 0.0,
) -> np.ndarray:
    y = np.matmul(_seen(a, swapA, transA), _seen(b, swapB, transB))
    if swapY:
        y = np.ascontiguousarray(y.swapaxes(-3, -2), like=y)
    if alpha != 1.0:
        y = (y * alpha).astype(y.dtype, copy=False)
    for addend in (bias, residual):
        if addend is not None:
            y += addend
    return activate(activation, y, activation_alpha, activation_beta)


def _product_shape(a: tuple[int, ...], b: tuple[int, ...], trans_a: int, trans_b: int) -> tuple[int, ...]:
    if len(a) < 2 or len(b) < 2:
        raise ShapeError(f"both factors must have at least 2 axes, got {a} and {b}")
    rows, inner = (a[-1], a[-2]) if trans_a else (a[-2], a[-1])
    inner_b, width = (b[-1], b[-2]) if trans_b else (b[-2], b[-1])
    if inner != inner_b:
        raise ShapeError(f"the inner sizes must agree, got {inner} of the first factor and {inner_b} of the second")
    return (*np.broadcast_shapes(a[:-2], b[:-2]), rows, width)


def _broadcasts_to(shape: tuple[int, ...], target: tuple[int, ...]) -> bool:
    aligned = zip(reversed(shape), reversed(target), strict=False)
    return len(shape) <= len(target) and all(size in (1, wanted) for size, wanted in aligned)


def swapped(shape: tuple[int, ...], flag: int, name: str) -> tuple[int, ...]:
    """``shape`` with the third last and the second last axis exchanged where ``flag`` says so."""
    if not flag:
        return shape
    if len(shape) < 3:
        raise ShapeError(f"swap{name} exchanges the third last and the second last axis, got a tensor of shape {shape}")
    return (*shape[:-3], shape[-2], shape[-3], shape[-1])


def _infer(inputs: Sequence[TensorType | None], attributes: dict[str, Any], _: Any) -> list[TensorType]:
    a, b, *addends = inputs
    assert a is not None
    assert b is not None
    seen_a, seen_b = swapped(a[1], attributes.get("swapA", 0), "A"), swapped(b[1], attributes.get("swapB", 0), "B")
    shape = _product_shape(seen_a, seen_b, attributes.get("transA", 0), attributes.get("transB", 0))
    shape = swapped(shape, attributes.get("swapY", 0), "Y")
    for name, addend in zip(("bias", "residual"), addends, strict=False):
        if addend is not None and not _broadcasts_to(addend[1], shape):
            raise ShapeError(f"{name} must broadcast to the product's shape {shape}, got {addend[1]}")
    return [(a[0], shape)]


class _Factor(NamedTuple):
    """An operand of a product with the exchanges that it is seen through."""

    value: Expression
    swap: int
    trans: int

    def turned(self) -> _Factor:
        return _Factor(self.value, self.swap, int(not self.trans))


def _times(a: _Factor, b: _Factor, swap: int, alpha: float) -> Expression:
    flags = {"transA": a.trans, "transB": b.trans, "swapA": a.swap, "swapB": b.swap, "swapY": swap}
    given = {name: 1 for name, flag in flags.items() if flag}
    product: Expression = emit("FusedMatMul", a.value, b.value, domain=TOOLKIT_DOMAIN, **given, alpha=alpha)
    return product


def _first_gradient(g: _Factor, a: _Factor, b: _Factor, alpha: float) -> Expression:
    return _times(b, g.turned(), a.swap, alpha) if a.trans else _times(g, b.turned(), a.swap, alpha)


def _second_gradient(g: _Factor, a: _Factor, b: _Factor, alpha: float) -> Expression:
    if b.value.ndim == 2 and g.value.ndim > 2 and not (a.trans or a.swap or g.swap):
        # one large product instead of a batch of products to be summed
        a, g = (_Factor(reshape(item.value, _rows(item.value.shape)), 0, 0) for item in (a, g))
    return _times(g.turned(), a, b.swap, alpha) if b.trans else _times(a.turned(), g, b.swap, alpha)


def _rows(shape: tuple[int, ...]) -> tuple[int, int]:
    return int(np.prod(shape[:-1])), shape[-1]


def product_gradients(
    g: Expression,
    a: Expression,
    b: Expression,
    wants: Sequence[bool],
    trans: tuple[int, int] = (0, 0),
    alpha: float = 1.0,
    swap: tuple[int, int, int] = (0, 0, 0),
) -> list[Expression | None]:
    """The gradients of both factors of a product of tensors with 2 or more axes, each only if wanted.

    ``trans`` are the flags of FusedMatMul for a and b, ``swap`` those for a, b and y.
    """
    first, second, given = _Factor(a, swap[0], trans[0]), _Factor(b, swap[1], trans[1]), _Factor(g, swap[2], 0)
    da = unbroadcast(_first_gradient(given, first, second, alpha), a.shape) if wants[0] else None
    db = unbroadcast(_second_gradient(given, first, second, alpha), b.shape) if wants[1] else None
    return [da, db]


def _matmul_gradient(call: Call, g: Expression) -> list[Expression | None]:
    a, b = call.inputs
    assert a is not None
    assert b is not None
    matrix_a = reshape(a, (1, a.shape[0])) if a.ndim == 1 else a
    matrix_b = reshape(b, (b.shape[0], 1)) if b.ndim == 1 else b
    rows = (matrix_a.shape[-2], matrix_b.shape[-1])
    lead = np.broadcast_shapes(matrix_a.shape[:-2], matrix_b.shape[:-2])
    grads = product_gradients(reshape(g, (*lead, *rows)), matrix_a, matrix_b, call.wants)
    return [None if part is None else reshape(part, item.shape) for part, item in zip(grads, (a, b), strict=True)]


def _scaled(x: Expression, factor: float) -> Expression:
    return x if factor == 1.0 else x * factor


def _gemm_gradient(call: Call, g: Expression) -> list[Expression | None]:
    a, b, *c = call.inputs
    assert a is not None
    assert b is not None
    flags = call.attribute("transA", 0), call.attribute("transB", 0)
    grads = product_gradients(g, a, b, call.wants, flags, float(call.attribute("alpha", 1.0)))
    if c and c[0] is not None and call.wants[2]:
        grads.append(_scaled(unbroadcast(g, c[0].shape), float(call.attribute("beta", 1.0))))
    return grads


def _fused_gradient(call: Call, g: Expression) -> list[Expression | None]:
    a, b, *addends = call.inputs
    assert a is not None
    assert b is not None
    plain = {name: value for name, value in call.attributes.items() if not name.startswith("activation")}
    inner = before_activation(call, g, lambda: emit("FusedMatMul", *call.inputs, domain=TOOLKIT_DOMAIN, **plain))
    trans = call.attribute("transA", 0), call.attribute("transB", 0)
    swap = call.attribute("swapA", 0), call.attribute("swapB", 0), call.attribute("swapY", 0)
    grads = product_gradients(inner, a, b, call.wants, trans, float(call.attribute("alpha", 1.0)), swap)
    for addend, wanted in zip(addends, call.wants[2:], strict=True):
        grads.append(unbroadcast(inner, addend.shape) if addend is not None and wanted else None)
    return grads


def _matrices(x: Expression, swap: int, flag: int) -> Expression:
    order = list(range(x.ndim))
    if swap:
        order[-3], order[-2] = order[-2], order[-3]
    if flag:
        order[-2], order[-1] = order[-1], order[-2]
    return transpose(x, order)


def _expansion(call: Call) -> list[Expression | None]:
    a, b, *addends = call.inputs
    assert a is not None
    assert b is not None
    y = _matrices(a, call.attribute("swapA", 0), call.attribute("transA", 0)) @ _matrices(
        b, call.attribute("swapB", 0), call.attribute("transB", 0)
    )
    y = _matrices(y, call.attribute("swapY", 0), 0)
    y = _scaled(y, float(call.attribute("alpha", 1.0)))
    for addend in addends:
        y = y if addend is None else y + addend
    return [expand_activation(call.attributes, y)]


operator("MatMul", reference=_matmul, gradient=_matmul_gradient)
operator("Gemm", reference=_gemm_1, gradient=_gemm_gradient, infer=_infer_gemm_1)
operator("Gemm", since=7, reference=_gemm, gradient=_gemm_gradient)
operator(
    "FusedMatMul",
    domain=TOOLKIT_DOMAIN,
    reference=_fused_matmul,
    gradient=_fused_gradient,
    infer=_infer,
    expansion=_expansion,
)
