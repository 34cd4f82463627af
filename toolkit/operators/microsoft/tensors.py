"""com.microsoft operators that ONNX has under the same or another name, and small ones on tensors of any rank."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any

import numpy as np

from toolkit.operators.axes import known, normalised
from toolkit.operators.composed import argument, composed, required
from toolkit.operators.expression import Expression, emit, indices, reduce_sum, reshape, transpose
from toolkit.operators.microsoft.quantization import MICROSOFT
from toolkit.operators.precision import in_float32
from toolkit.operators.record import Call, TensorType, data_dependent, not_differentiable, operator

SPECTRA = 20  # the version of DFT that takes its axis as an input


def _as_onnx(name: str, version: int | None = None) -> Any:
    """The same inputs and attributes under ONNX's operator."""

    def expansion(call: Call) -> list[Expression | None]:
        return [emit(name, *call.inputs, version=version, **call.attributes)]

    return expansion


def _expand_dims(call: Call) -> list[Expression | None]:
    axis = int(known(required(call, 1, "axis").value, "axis").reshape(-1)[0])
    (place,) = normalised(axis, call.x.ndim + 1)
    shape = list(call.x.shape)
    shape.insert(place, 1)
    return [reshape(call.x, shape)]


def _pad(call: Call) -> list[Expression | None]:
    value, pads = argument(call, 2), known(required(call, 1, "pads").value, "pads").reshape(-1)
    return [emit("Pad", call.x, pads, None if value is None else reshape(value, ()), **call.attributes)]


def _range(call: Call) -> list[Expression | None]:
    values = [required(call, 0, "start"), required(call, 1, "limit"), argument(call, 2)]
    numbers = [known(item.value, "start, limit or delta").reshape(-1)[0] for item in values if item is not None]
    if len(numbers) == 3 and numbers[2] == 0:
        raise ValueError("delta must not be 0")
    return [call.x.emitter.constant(np.arange(*numbers, dtype=call.x.dtype))]


def _unfold(call: Call) -> list[Expression | None]:
    """Every slice of ``size`` along an axis, with the size as a new last axis."""
    (axis,) = normalised(int(call.attribute("dim", -1)), call.x.ndim)
    size, step = int(call.attributes["size"]), int(call.attribute("step", 1))
    if not 0 < size <= call.x.shape[axis] or step < 1:
        raise ValueError(f"size must lie in [1, {call.x.shape[axis]}] and step be positive, got {size} and {step}")
    starts = np.arange(0, call.x.shape[axis] - size + 1, step)
    found = emit("Gather", call.x, (starts[:, None] + np.arange(size)).astype(np.int64), axis=axis)
    order = [*range(axis + 1), *range(axis + 2, call.x.ndim + 1), axis + 1]
    return [transpose(found, order)]


def _torch_embedding(call: Call) -> list[Expression | None]:
    return [emit("Gather", call.x, required(call, 1, "indices"), axis=0)]


def _complex_product(is_conjugate: bool) -> Any:
    """Products of numbers whose real and imaginary parts stand along the last axis; the second one conjugated."""

    def expansion(call: Call) -> list[Expression | None]:
        first, second = call.x, required(call, 1, "B")
        if first.shape[-1:] != (2,) or second.shape[-1:] != (2,):
            raise ValueError("the last axis must hold the real and the imaginary part")
        (a, b), (c, d) = (emit("Split", item, indices(item, [1, 1]), axis=-1, outputs=2) for item in (first, second))
        d = -d if is_conjugate else d
        return [emit("Concat", a * c - b * d, a * d + b * c, axis=-1)]

    return expansion


def _rfft(call: Call) -> list[Expression | None]:
    """The half spectrum over the last axis, whole spectra over those of the signal before it."""
    axes = range(call.x.ndim - int(call.attribute("signal_ndim", 1)), call.x.ndim - 1)
    found = _transformed(reshape(call.x, (*call.x.shape, 1)), call.x.ndim - 1, onesided=1)
    for axis in axes:
        found = _transformed(found, axis)
    return [found]


def _irfft(call: Call) -> list[Expression | None]:
    last, found = call.x.ndim - 2, call.x
    for axis in range(last + 1 - int(call.attribute("signal_ndim", 1)), last):
        found = _transformed(found, axis, inverse=1)
    made = _transformed(found, last, inverse=1, onesided=1)
    return [reshape(made, made.shape[:-1])]


def _transformed(x: Expression, axis: int, **attributes: Any) -> Expression:
    found: Expression = emit("DFT", x, None, np.asarray(axis), version=SPECTRA, **attributes)
    return found


def _cdist(call: Call) -> list[Expression | None]:
    """Distances of all pairs of rows, from one matrix product."""
    a, b = call.x, required(call, 1, "B")
    metric = call.attribute("metric", "sqeuclidean")
    if metric not in ("euclidean", "sqeuclidean"):
        raise ValueError(f"metric must be euclidean or sqeuclidean, got {metric!r}")
    squares = reduce_sum(a * a, [1]) + reshape(reduce_sum(b * b, [1]), (1, b.shape[0]))
    found = emit("Max", squares - (a @ transpose(b, (1, 0))) * 2.0, 0.0)
    return [emit("Sqrt", found) if metric == "euclidean" else found]


@in_float32
def _inverse(x: np.ndarray) -> np.ndarray:
    """The inverse of every matrix of the last two axes."""
    try:
        return np.linalg.inv(x).astype(x.dtype, copy=False)
    except np.linalg.LinAlgError as error:
        raise ValueError("a matrix is singular: it has no inverse") from error


def _inverse_gradient(call: Call, g: Expression) -> list[Expression | None]:
    turned = transpose(call.y, [*range(call.y.ndim - 2), call.y.ndim - 1, call.y.ndim - 2])
    return [-(turned @ g @ turned)]


def _infer_inverse(inputs: Sequence[TensorType | None], _: Any, __: Any) -> list[TensorType]:
    x = inputs[0]
    assert x is not None
    if len(x[1]) < 2 or x[1][-1] != x[1][-2]:
        raise ValueError(f"the last two axes must hold square matrices, got the shape {x[1]}")
    return [x]


def _unique(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each value once, in the order of first occurrence; which one each element is; how often each occurs."""
    values, first, inverse, counts = np.unique(x, return_index=True, return_inverse=True, return_counts=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return values[order], rank[inverse.reshape(-1)].astype(np.int64), counts[order].astype(np.int64)


def _is_all_finite(*inputs: np.ndarray, isinf_only: int = 0, isnan_only: int = 0) -> np.ndarray:
    """Whether no input holds infinity or NaN, or none of the one that is looked for."""
    test = np.isinf if isinf_only else np.isnan if isnan_only else lambda x: ~np.isfinite(x)
    return np.asarray(~reduce(np.logical_or, (test(item).any() for item in inputs)), like=inputs[0])


composed("Trilu", _as_onnx("Trilu"), domain=MICROSOFT, host_inputs=(1,))
composed("GatherND", _as_onnx("GatherND"), domain=MICROSOFT)
composed("GridSample", _as_onnx("GridSample", 16), domain=MICROSOFT)
composed("ExpandDims", _expand_dims, domain=MICROSOFT, host_inputs=(1,))
composed("Pad", _pad, domain=MICROSOFT, host_inputs=(1, 3))
composed(
    "Range",
    _range,
    domain=MICROSOFT,
    gradient=not_differentiable("its length does not change smoothly"),
    host_inputs=(0, 1, 2),
)
composed("UnfoldTensor", _unfold, domain=MICROSOFT)
composed("TorchEmbedding", _torch_embedding, domain=MICROSOFT)
composed("ComplexMul", _complex_product(False), domain=MICROSOFT)
composed("ComplexMulConj", _complex_product(True), domain=MICROSOFT)
composed("Rfft", _rfft, domain=MICROSOFT)
composed("Irfft", _irfft, domain=MICROSOFT)
composed("CDist", _cdist, domain=MICROSOFT)
operator("Inverse", domain=MICROSOFT, reference=_inverse, gradient=_inverse_gradient, infer=_infer_inverse)
operator(
    "Unique",
    domain=MICROSOFT,
    reference=_unique,
    gradient=not_differentiable("which values differ does not change smoothly"),
    infer=data_dependent("how many values differ"),
)
operator(
    "IsAllFinite",
    domain=MICROSOFT,
    reference=_is_all_finite,
    gradient=not_differentiable("it answers with a truth value"),
    infer=lambda types, attributes, constants: [(np.dtype(np.bool_), ())],
)
