"""Discrete Fourier transforms: DFT of whole axes, STFT of frames. The last axis holds real (and imaginary) parts.

Both are linear, so their gradients are transforms too: the adjoint of a forward transform of length n is n times the
inverse one. The one-sided inverse takes no notice of the imaginary parts of its first and (n even) middle bin.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from toolkit.operators.axes import given, known, normalised
from toolkit.operators.derivative import element_count, filled
from toolkit.operators.expression import Expression, emit, indices, reduce_sum, reshape, transpose
from toolkit.operators.precision import in_float32
from toolkit.operators.record import Call, TensorType, operator


@in_float32
def discrete_fourier_transform(
    x: np.ndarray,
    dft_length: np.ndarray | None = None,
    axis: np.ndarray | None = None,
    *,
    inverse: int = 0,
    onesided: int = 0,
) -> np.ndarray:
    """The transform along ``axis``, by default the last but one; the signal is cut or padded to ``dft_length``."""
    return _transform(x, dft_length, -2 if axis is None else axis, bool(inverse), bool(onesided))


@in_float32
def discrete_fourier_transform_17(
    x: np.ndarray, dft_length: np.ndarray | None = None, *, axis: int = 1, inverse: int = 0, onesided: int = 0
) -> np.ndarray:
    """DFT before version 20: ``axis`` is an attribute, by default the first behind the batch."""
    return _transform(x, dft_length, axis, bool(inverse), bool(onesided))


def _transform(
    x: np.ndarray, dft_length: np.ndarray | None, axis: np.ndarray | int, inverse: bool, onesided: bool
) -> np.ndarray:
    place = _signal_axis(x.shape, axis)
    length = _length(dft_length, x.shape[place], inverse and onesided)
    if inverse and onesided:
        if x.shape[-1] != 2:
            raise ValueError("the one-sided inverse transform takes a complex spectrum: the last axis must be 2 long")
        return np.fft.irfft(_as_complex(x), length, axis=place)[..., None].astype(x.dtype)
    if inverse:
        return _as_parts(np.fft.ifft(_as_complex(x), length, axis=place), x.dtype)
    return _spectrum(_as_complex(x), length, place, onesided, x.dtype)


def _signal_axis(shape: tuple[int, ...], axis: np.ndarray | int) -> int:
    if not shape or shape[-1] not in (1, 2):
        raise ValueError(f"the last axis must hold 1 (real) or 2 (real, imaginary) numbers, got shape {shape}")
    (place,) = normalised(axis, len(shape))
    if place == len(shape) - 1:
        raise ValueError(f"axis {place} holds real and imaginary parts: choose one before it")
    return place


def _length(dft_length: np.ndarray | None, size: int, is_half: bool) -> int:
    """The length of the transform; by default that of the signal, which ``is_half`` says to be a half spectrum."""
    default = 2 * (size - 1) if is_half else size
    length = default if dft_length is None else int(np.asarray(dft_length).reshape(-1)[0])
    if length < 1:
        raise ValueError(f"the length of the transform must be positive, got {length}")
    return length


def _as_complex(x: np.ndarray) -> np.ndarray:
    """Complex numbers from pairs, or the real numbers that ``x`` consists of."""
    if x.shape[-1] == 1:
        return x[..., 0]
    return np.ascontiguousarray(x, like=x).view(np.result_type(x.dtype, np.complex64))[..., 0]


def _as_parts(z: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Pairs of real and imaginary part."""
    return np.stack([z.real, z.imag], axis=-1).astype(dtype, copy=False)


def _spectrum(z: np.ndarray, length: int, axis: int, onesided: bool, dtype: np.dtype) -> np.ndarray:
    if onesided and np.iscomplexobj(z):
        raise ValueError("a one-sided spectrum exists for real signals only: set onesided to 0, or drop the last axis")
    return _as_parts((np.fft.rfft if onesided else np.fft.fft)(z, length, axis=axis), dtype)


@in_float32
def short_time_fourier_transform(
    signal: np.ndarray,
    frame_step: np.ndarray,
    window: np.ndarray | None = None,
    frame_length: np.ndarray | None = None,
    *,
    onesided: int = 1,
) -> np.ndarray:
    """Spectra (batch, frames, bins, 2) of windowed frames that start ``frame_step`` samples apart."""
    length, starts = _frames(signal.shape, frame_step, None if window is None else window.shape, frame_length)
    frames = _as_complex(signal)[:, np.asarray(starts[:, None] + np.arange(length), like=signal)]
    windowed = frames if window is None else frames * window
    return _spectrum(windowed, length, 2, bool(onesided), signal.dtype)


def _frames(
    shape: tuple[int, ...], frame_step: np.ndarray, window: tuple[int, ...] | None, frame_length: np.ndarray | None
) -> tuple[int, np.ndarray]:
    """How long the frames are, and where they start."""
    length = shape[1] if window is None else window[0]
    if frame_length is not None:
        length = int(np.asarray(frame_length).reshape(-1)[0])
    step = int(np.asarray(frame_step).reshape(-1)[0])
    if window is not None and window[0] != length:
        raise ValueError(f"the window must be as long as a frame: {length}, got {window[0]}")
    if step < 1 or not 1 <= length <= shape[1]:
        raise ValueError(f"frames must be 1 to {shape[1]} long and 1 or more apart, got {length} and {step}")
    return length, np.arange(0, shape[1] - length + 1, step)


def infer_short_time_fourier_transform(
    types: Sequence[TensorType | None], attributes: dict[str, Any], constants: Sequence[np.ndarray | None]
) -> list[TensorType]:
    """Batch, frames, bins of the whole or the one-sided spectrum, and two parts."""
    signal, _, window, asked = (*types, None, None)[:4]
    assert signal is not None
    dtype, shape = signal
    if len(shape) != 3 or shape[2] not in (1, 2):
        raise ValueError(f"the signal must be (batch, samples, 1 or 2), got {shape}")
    step, frame_length = (
        known(constants[1], "frame_step"),
        None if asked is None else known(constants[3], "frame_length"),
    )
    length, starts = _frames(shape, step, None if window is None else window[1], frame_length)
    bins = length // 2 + 1 if attributes.get("onesided", 1) else length
    return [(dtype, (shape[0], len(starts), bins, 2))]


def _fourier_gradient(call: Call, g: Expression, default_axis: int = -2) -> list[Expression | None]:
    x, inverse, onesided = call.x, call.attribute("inverse", 0), call.attribute("onesided", 0)
    axis = given(call, "axis", 2)
    place = _signal_axis(x.shape, default_axis if axis is None else axis)
    given_length = call.inputs[1] if len(call.inputs) > 1 else None
    asked = None if given_length is None else known(given_length.value, "dft_length")
    length = _length(asked, x.shape[place], bool(inverse and onesided))
    if not inverse:
        adjoint = _transformed(g, length, place, inverse=1) * length
    elif not onesided:
        adjoint = _transformed(g, length, place) / length
    else:
        bins = np.full(length // 2 + 1, 2 / length)
        bins[0] = 1 / length
        if length % 2 == 0:
            bins[-1] = 1 / length
        weight = bins.astype(g.dtype).reshape([-1 if number == place else 1 for number in range(x.ndim)])
        adjoint = _transformed(g, length, place, onesided=1) * weight
    return [_fitted(_fitted(adjoint, place, x.shape[place]), x.ndim - 1, x.shape[-1]), *[None] * (len(call.inputs) - 1)]


def _transformed(x: Expression, length: int, axis: int, *, inverse: int = 0, onesided: int = 0) -> Expression:
    return emit("DFT", x, np.asarray(length), np.asarray(axis), inverse=inverse, onesided=onesided)


def _fitted(x: Expression, axis: int, size: int) -> Expression:
    """``x`` cut, or filled up with zeros, to ``size`` along ``axis``."""
    missing = size - x.shape[axis]
    if missing < 0:
        return emit("Slice", x, indices(x, [0]), indices(x, [size]), indices(x, [axis]))
    pads = [0] * (2 * x.ndim)
    pads[axis + x.ndim] = missing
    return emit("Pad", x, indices(x, pads)) if missing else x


def _short_time_gradient(call: Call, g: Expression) -> list[Expression | None]:
    signal, step = call.x, call.inputs[1]
    window, given_length = (*call.inputs[2:], None, None)[:2]
    assert step is not None
    asked = None if given_length is None else known(given_length.value, "frame_length")
    size = None if window is None else window.shape
    length, starts = _frames(signal.shape, known(step.value, "frame_step"), size, asked)
    positions = (starts[:, None] + np.arange(length)).reshape(-1)
    spread = _fitted(_transformed(g, length, 2, inverse=1) * length, 3, signal.shape[2])  # (batch, frame, sample, part)
    in_signal = in_window = None
    if call.wants[0]:
        weighted = spread if window is None else spread * reshape(window, (1, 1, length, 1))
        in_signal = _added_up(weighted, positions, signal)
    if window is not None and call.wants[2]:
        frames = reshape(emit("Gather", signal, positions, axis=1), spread.shape)
        in_window = reduce_sum(frames * spread, [0, 1, 3], keepdims=False)
    return [in_signal, None, in_window, None][: len(call.inputs)]


def _added_up(frames: Expression, positions: np.ndarray, signal: Expression) -> Expression:
    """The sum of the frames where they lie in the signal."""
    batch, samples, parts = signal.shape
    rows = transpose(reshape(frames, (batch, element_count(frames) // (batch * parts), parts)), [1, 0, 2])
    zeros = filled(frames, (samples, batch, parts))
    summed = emit("ScatterND", zeros, positions.reshape(-1, 1), rows, reduction="add")
    return transpose(summed, [1, 0, 2])


operator(
    "DFT",
    since=17,
    reference=discrete_fourier_transform_17,
    gradient=partial(_fourier_gradient, default_axis=1),
    host_inputs=(1, 2),
)
operator("DFT", since=20, reference=discrete_fourier_transform, gradient=_fourier_gradient, host_inputs=(1, 2))
operator(
    "STFT",
    since=17,
    reference=short_time_fourier_transform,
    gradient=_short_time_gradient,
    infer=infer_short_time_fourier_transform,
    host_inputs=(1, 3),
)
