"""The store: what outlives a run in a training session, shared by the plans of all its batch sizes.

Parameters live here in the layout that the first plan's kernels chose, their gradients and the optimizer's slots beside
them. Within one update group the tensors of each kind lie at the same offsets of one contiguous region, so an optimizer
step is one elementwise sweep over flat memory whatever the layouts are. A layout names its device: there is a region
for each kind on each device.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from toolkit.backends.host import HostBuffer
from toolkit.backends.protocol import Layout, plain
from toolkit.compiler.memory import align
from toolkit.graph.parameter import Parameter
from toolkit.runtime.devices import Devices
from toolkit.runtime.tensors import AnyBuffer

GRADIENT = "gradient"


class GradientBlock(NamedTuple):
    """The memory of the gradients of a group on a device: ``nbytes``, and at which offset each lies, by its key.

    ``block`` is ``None`` in an imitation of a store.
    """

    device: str
    nbytes: int
    offsets: dict[Hashable, int]
    block: Any


class Nowhere(NamedTuple):
    """What an imitation of a store has in the place of a buffer."""

    layout: Layout


class Store:
    """Kept tensors by key: a ``Parameter``, or (slot name, ``Parameter``) for what an optimizer remembers.

    ``gradient_regions`` are the gradients of all parameters as flat buffers, as few as possible; ``gradient_blocks``
    are the memory that they lie in.
    """

    def __init__(self, devices: Devices, *, is_imitation: bool = False) -> None:
        self.devices = devices
        self.layouts: dict[Hashable, Layout] = {}
        self.buffers: dict[Hashable, AnyBuffer] = {}
        self.gradients: dict[Hashable, AnyBuffer] = {}
        self.gradient_regions: list[AnyBuffer] = []
        self.gradient_blocks: list[GradientBlock] = []
        self._is_imitation = is_imitation
        self._seen: dict[Parameter, int] = {}

    def imitation(self) -> Store:
        """A store with the same layouts and no memory, to plan with."""
        made = Store(self.devices, is_imitation=True)
        made.layouts.update(self.layouts)
        return made

    def layout(self, key: Hashable, default: Layout) -> Layout:
        """The layout of a kept tensor, ``default`` while none has been adopted."""
        return self.layouts.get(key, default)

    def adopt(self, key: Hashable, layout: Layout) -> Layout:
        """Decide the layout of a kept tensor, once; returns the decision."""
        return self.layouts.setdefault(key, layout)

    def allocate_group(
        self, parameters: Sequence[Parameter], slots: Sequence[str], gradients: Mapping[Hashable, Layout]
    ) -> None:
        """Place the parameters of one update group, their gradients and slots at equal offsets of their regions.

        ``gradients`` are the layouts in which the gradients are read.
        """
        if not parameters or parameters[0] in self.buffers:
            return
        for kind in ("", GRADIENT, *slots):
            rows = [(item, self._laid(kind, item, gradients)) for item in parameters]
            for device in dict.fromkeys(layout.device for _, layout in rows):
                self._place(kind, [row for row in rows if row[1].device == device], device)

    def _laid(self, kind: str, item: Parameter, gradients: Mapping[Hashable, Layout]) -> Layout:
        laid = gradients.get(item) if kind == GRADIENT else self.layouts.get((kind, item) if kind else item)
        return self.layouts[item] if laid is None else laid

    def _place(self, kind: str, rows: Sequence[tuple[Parameter, Layout]], device: str) -> None:
        """Give the tensors of one kind a region of a device."""
        alignment = self.devices.alignment(device)
        offsets = [0, *np.cumsum([align(layout.nbytes, alignment) for _, layout in rows]).tolist()]
        region = None if self._is_imitation else self.devices.block(device, offsets[-1])
        for (item, layout), offset in zip(rows, offsets, strict=False):
            buffer = Nowhere(layout) if region is None else self.devices.buffer(layout, region, offset)
            if kind == GRADIENT:
                self.gradients[item] = buffer
            else:
                self.buffers[(kind, item) if kind else item] = buffer
        if kind != GRADIENT:
            return
        keys: dict[Hashable, int] = {item: offset for (item, _), offset in zip(rows, offsets, strict=False)}
        self.gradient_blocks.append(GradientBlock(device, offsets[-1], keys, region))
        if region is not None:
            for start, end in _without_padding([layout.nbytes for _, layout in rows], alignment):
                flat = plain(rows[0][1].dtype, ((end - start) // rows[0][1].dtype.itemsize,), device)
                self.gradient_regions.append(self.devices.buffer(flat, region, start))

    def allocate(self, key: Hashable) -> None:
        """Place a kept tensor that no optimizer updates (running statistics)."""
        if key not in self.buffers:
            layout = self.layouts[key]
            self.buffers[key] = Nowhere(layout) if self._is_imitation else self.devices.fresh(layout)

    def pull(self) -> None:
        """Load every parameter that was written elsewhere since it was last seen here."""
        for key in self.buffers:
            if isinstance(key, Parameter) and self._seen.get(key) != key.version:
                self.write(key, key.borrowed())
                self._seen[key] = key.version

    def mark_written(self, keys: Sequence[Parameter]) -> None:
        """Tell the parameters that their newest content is here; it is fetched when somebody asks."""
        for key in keys:
            key.written_to(lambda key=key: self.read(key))  # type: ignore[misc]
            self._seen[key] = key.version

    def read(self, key: Hashable) -> np.ndarray:
        """The content of a kept tensor as a new host array."""
        return self.devices.to_host(self.buffers[key])

    def write(self, key: Hashable, array: np.ndarray) -> None:
        """Replace the content of a kept tensor."""
        dense = np.ascontiguousarray(array)
        given = HostBuffer(plain(dense.dtype, dense.shape), dense.reshape(-1).view(np.uint8))
        self.devices.convert(given, self.buffers[key])


def _without_padding(sizes: Sequence[int], alignment: int) -> list[tuple[int, int]]:
    """Where tensors of so many bytes lie that follow each other in a region, as few runs as there are gaps."""
    runs: list[tuple[int, int]] = []
    offset = 0
    for nbytes in sizes:
        if runs and runs[-1][1] == offset:
            runs[-1] = (runs[-1][0], offset + nbytes)
        else:
            runs.append((offset, offset + nbytes))
        offset += align(nbytes, alignment)
    return runs
