"""How tensors lie on the device: dense in row-major order, or with their channels last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from toolkit.backends.protocol import Layout, plain

DEVICE = "cuda"


@dataclass(frozen=True, slots=True)
class ChannelsLast:
    """Dense, the channels innermost: NWC, NHWC, NDHWC in memory. The shape stays logical: (batch, channels, ...)."""


CHANNELS_LAST = ChannelsLast()


def on_device(dtype: np.dtype, shape: Sequence[int]) -> Layout:
    """The dense row-major layout on the device."""
    return plain(dtype, shape, DEVICE)


def channels_last(dtype: np.dtype, shape: Sequence[int]) -> Layout:
    """The layout with channels last; row-major where there is no axis behind the channels."""
    rows = on_device(dtype, shape)
    return rows if len(shape) < 3 else Layout(rows.dtype, rows.shape, rows.nbytes, CHANNELS_LAST, DEVICE)


def is_channels_last(layout: Layout | None) -> bool:
    return layout is not None and isinstance(layout.opaque, ChannelsLast)


def like(layout: Layout, dtype: np.dtype, shape: Sequence[int]) -> Layout:
    """The layout of another tensor that lies in memory as ``layout`` does."""
    return channels_last(dtype, shape) if is_channels_last(layout) else on_device(dtype, shape)


def memory_order(layout: Layout) -> tuple[int, ...]:
    """The logical axes in the order in which they lie in memory, outermost first."""
    axes = tuple(range(len(layout.shape)))
    return (0, *axes[2:], 1) if is_channels_last(layout) else axes


def strides(layout: Layout) -> tuple[int, ...]:
    """How many elements lie between neighbours, for each logical axis."""
    found = [0] * len(layout.shape)
    step = 1
    for axis in reversed(memory_order(layout)):
        found[axis] = step
        step *= layout.shape[axis]
    return tuple(found)
