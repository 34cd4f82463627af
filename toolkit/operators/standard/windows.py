"""Geometry of sliding windows: what convolution and pooling share, for any number of spatial axes.

Owns explicit padding, output sizes, the strided view of all windows and its transpose, the scattering sum. Knows
nothing of weights or of what is done inside a window. ``pads`` are always (begin..., end...).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from toolkit.errors import ShapeError

Sizes = Sequence[int]


def span(kernel: Sizes, dilations: Sizes) -> list[int]:
    """How many elements a dilated window covers per axis."""
    return [(size - 1) * dilation + 1 for size, dilation in zip(kernel, dilations, strict=True)]


def explicit_geometry(attributes: Mapping[str, Any], spatial: Sizes, kernel: Sizes) -> dict[str, list[int]]:
    """``strides``, ``pads`` and ``dilations`` with defaults and ``auto_pad`` worked out for concrete ``spatial`` sizes.

    Raises ``ShapeError`` where a list has the wrong length or an entry is out of range.
    """
    rank = len(spatial)
    strides = per_axis(attributes, "strides", rank)
    dilations = per_axis(attributes, "dilations", rank)
    mode = auto_pad(attributes)
    if mode == "NOTSET":
        pads = [int(pad) for pad in attributes.get("pads") or [0] * (2 * rank)]
        if len(pads) != 2 * rank or min(pads, default=0) < 0:
            raise ShapeError(f"pads must be {2 * rank} numbers of 0 or more (begins, then ends), got {pads}")
    elif mode == "VALID":
        pads = [0] * (2 * rank)
    else:
        pads = _pads_that_keep_size(spatial, strides, span(kernel, dilations), mode == "SAME_UPPER")
    return {"strides": strides, "pads": pads, "dilations": dilations}


def per_axis(attributes: Mapping[str, Any], name: str, rank: int, default: int = 1) -> list[int]:
    """An attribute with one positive number per spatial axis; ``default`` fills in a missing one."""
    values = [int(value) for value in attributes.get(name) or [default] * rank]
    if len(values) != rank or min(values, default=1) < 1:
        raise ShapeError(f"{name} must be {rank} positive numbers, one per spatial axis, got {values}")
    return values


def auto_pad(attributes: Mapping[str, Any]) -> str:
    """The padding mode as text."""
    mode = attributes.get("auto_pad") or "NOTSET"
    mode = mode.decode() if isinstance(mode, bytes) else mode
    if mode not in ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"):
        raise ShapeError(f"auto_pad must be NOTSET, VALID, SAME_UPPER or SAME_LOWER, got {mode!r}")
    return mode


def _pads_that_keep_size(spatial: Sizes, strides: Sizes, spans: Sizes, more_at_end: bool) -> list[int]:
    begins, ends = [], []
    for size, stride, covered in zip(spatial, strides, spans, strict=True):
        total = max((-(-size // stride) - 1) * stride + covered - size, 0)
        less, more = total // 2, total - total // 2
        begins.append(less if more_at_end else more)
        ends.append(more if more_at_end else less)
    return begins + ends


def output_sizes(
    spatial: Sizes, kernel: Sizes, strides: Sizes, pads: Sizes, dilations: Sizes, ceil_mode: int = 0
) -> tuple[int, ...]:
    """How many windows there are per axis; ``ceil_mode`` adds one that overhangs, if it starts inside the padded begin.

    Raises ``ShapeError`` where not even one window fits.
    """
    rank, sizes = len(spatial), []
    for axis, covered in enumerate(span(kernel, dilations)):
        size, stride, begin = spatial[axis], strides[axis], pads[axis]
        room = size + begin + pads[rank + axis] - covered
        if room < 0:
            raise ShapeError(
                f"a window of {covered} does not fit spatial axis {axis} of {room + covered} elements, padding included"
            )
        count = (-(-room // stride) if ceil_mode else room // stride) + 1
        if ceil_mode and (count - 1) * stride >= size + begin:
            count -= 1
        sizes.append(count)
    return tuple(sizes)


def overhang(spatial: Sizes, kernel: Sizes, strides: Sizes, pads: Sizes, dilations: Sizes, output: Sizes) -> list[int]:
    """``pads`` with ends so large that all ``output`` windows lie inside (``ceil_mode`` needs more)."""
    rank = len(spatial)
    ends = [
        max(pads[rank + axis], (output[axis] - 1) * strides[axis] + covered - spatial[axis] - pads[axis])
        for axis, covered in enumerate(span(kernel, dilations))
    ]
    return [*pads[:rank], *ends]


def padded(x: np.ndarray, pads: Sizes, value: Any = 0) -> np.ndarray:
    """``x`` (batch, channels, spatial...) with ``value`` around it; ``x`` itself where nothing is added."""
    if not any(pads):
        return x
    rank = x.ndim - 2
    inner = tuple(slice(pads[axis], pads[axis] + x.shape[2 + axis]) for axis in range(rank))
    sizes = [x.shape[2 + axis] + pads[axis] + pads[rank + axis] for axis in range(rank)]
    around = np.full((*x.shape[:2], *sizes), value, x.dtype, like=x)
    around[(slice(None), slice(None), *inner)] = x
    return around


def cropped(x: np.ndarray, pads: Sizes, spatial: Sizes) -> np.ndarray:
    """The inverse of ``padded``: the part of ``x`` that lies inside the padding."""
    inner = tuple(slice(pads[axis], pads[axis] + size) for axis, size in enumerate(spatial))
    return x[(slice(None), slice(None), *inner)]


def all_windows(x: np.ndarray, kernel: Sizes, strides: Sizes, dilations: Sizes, output: Sizes) -> np.ndarray:
    """A view of padded ``x``: (batch, channels, kernel..., output...)."""
    rank = len(kernel)
    view = sliding_window_view(x, span(kernel, dilations), axis=tuple(range(2, 2 + rank)))
    steps = [slice(0, (count - 1) * stride + 1, stride) for count, stride in zip(output, strides, strict=True)]
    taps = [slice(None, None, dilation) for dilation in dilations]
    view = view[(slice(None), slice(None), *steps, *taps)]
    return view.transpose(0, 1, *range(2 + rank, 2 + 2 * rank), *range(2, 2 + rank))


def positions(
    kernel: Sizes, strides: Sizes, dilations: Sizes, output: Sizes
) -> Iterator[tuple[tuple[int, ...], tuple[slice, ...]]]:
    """Every position in a window, with the slices of a padded tensor that hold this element of all windows."""
    for position in product(*map(range, kernel)):
        yield (
            position,
            tuple(
                slice(place * dilation, place * dilation + (count - 1) * stride + 1, stride)
                for place, dilation, count, stride in zip(position, dilations, output, strides, strict=True)
            ),
        )


def scattered(windows: np.ndarray, sizes: Sizes, strides: Sizes, dilations: Sizes) -> np.ndarray:
    """Transpose of ``all_windows``: (batch, channels, kernel..., output...) added up in (batch, channels, sizes...)."""
    rank = len(sizes)
    kernel, output = windows.shape[2 : 2 + rank], windows.shape[2 + rank :]
    total = np.zeros((*windows.shape[:2], *sizes), windows.dtype, like=windows)
    for position, place in positions(kernel, strides, dilations, output):
        everywhere = (slice(None), slice(None))
        total[everywhere + place] += windows[everywhere + position]
    return total
