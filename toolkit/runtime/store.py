"""The store: what outlives a run in a training session, shared by the plans of all its batch sizes.

Parameters live here in the layout that the first plan's kernels chose, their gradients and the optimizer's slots beside
them. Within one update group the tensors of each kind lie at the same offsets of one contiguous region, so an optimizer
step is one elementwise sweep over flat memory whatever the layouts are.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence

import numpy as np

from toolkit.backends.host import HostBuffer, aligned
from toolkit.backends.protocol import Backend, Layout, Resources, plain
from toolkit.compiler.memory import align
from toolkit.graph.parameter import Parameter

Converter = Callable[[HostBuffer, HostBuffer], None]


class Store:
    """Kept tensors by key: a ``Parameter``, or (slot name, ``Parameter``) for what an optimizer remembers."""

    def __init__(self) -> None:
        self.layouts: dict[Hashable, Layout] = {}
        self.buffers: dict[Hashable, HostBuffer] = {}
        self.gradients: dict[Hashable, HostBuffer] = {}
        self.gradient_regions: list[np.ndarray] = []
        self._seen: dict[Parameter, int] = {}

    def imitation(self) -> Store:
        """A store with the same layouts and nothing in it, to plan with."""
        made = Store()
        made.layouts.update(self.layouts)
        return made

    def layout(self, key: Hashable, default: Layout) -> Layout:
        """The layout of a kept tensor, ``default`` while none has been adopted."""
        return self.layouts.get(key, default)

    def adopt(self, key: Hashable, layout: Layout) -> Layout:
        """Decide the layout of a kept tensor, once; returns the decision."""
        return self.layouts.setdefault(key, layout)

    def allocate_group(self, parameters: Sequence[Parameter], slots: Sequence[str]) -> None:
        """Place the parameters of one update group, their gradients and slots at equal offsets of their regions."""
        if not parameters or parameters[0] in self.buffers:
            return
        offsets = np.cumsum([0] + [align(self.layouts[item].nbytes) for item in parameters])
        for kind in ("", "gradient", *slots):
            region = aligned(int(offsets[-1]))
            if kind == "gradient":
                self.gradient_regions += _without_padding(region, parameters, self.layouts)
            for item, offset in zip(parameters, offsets, strict=False):
                buffer = HostBuffer(self.layouts[item], region, int(offset))
                if kind == "gradient":
                    self.gradients[item] = buffer
                else:
                    self.buffers[(kind, item) if kind else item] = buffer

    def allocate(self, key: Hashable) -> None:
        """Place a kept tensor that no optimizer updates (running statistics)."""
        if key not in self.buffers:
            layout = self.layouts[key]
            self.buffers[key] = HostBuffer(layout, aligned(layout.nbytes))

    def pull(self, convert: Converter) -> None:
        """Load every parameter that was written elsewhere since it was last seen here."""
        for key in self.buffers:
            if isinstance(key, Parameter) and self._seen.get(key) != key.version:
                self.write(key, key.array, convert)
                self._seen[key] = key.version

    def mark_written(self, keys: Sequence[Parameter], convert: Converter) -> None:
        """Tell the parameters that their newest content is here; it is fetched when somebody asks."""
        for key in keys:
            key.written_to(lambda key=key: self.read(key, convert))  # type: ignore[misc]
            self._seen[key] = key.version

    def read(self, key: Hashable, convert: Converter) -> np.ndarray:
        """The content of a kept tensor as a new host array."""
        return to_host(self.buffers[key], convert)

    def write(self, key: Hashable, array: np.ndarray, convert: Converter) -> None:
        """Replace the content of a kept tensor."""
        dense = np.ascontiguousarray(array)
        convert(HostBuffer(plain(dense.dtype, dense.shape), dense.reshape(-1).view(np.uint8)), self.buffers[key])


def _without_padding(
    region: np.ndarray, parameters: Sequence[Parameter], layouts: Mapping[Hashable, Layout]
) -> list[np.ndarray]:
    """The tensors that follow each other in a region as arrays, as few as there are gaps between them."""
    runs: list[list[int]] = []
    offset = 0
    for item in parameters:
        nbytes = layouts[item].nbytes
        if runs and runs[-1][1] == offset:
            runs[-1][1] += nbytes
        else:
            runs.append([offset, offset + nbytes])
        offset += align(nbytes)
    return [region[start:end].view(parameters[0].dtype) for start, end in runs]


def to_host(buffer: HostBuffer, convert: Converter) -> np.ndarray:
    """A new row-major array with the content of ``buffer``."""
    result = np.empty(buffer.layout.shape, buffer.layout.dtype)
    flat = result.reshape(-1).view(np.uint8)
    convert(buffer, HostBuffer(plain(result.dtype, result.shape), flat))
    return result


def converter(backend: Backend, resources: Resources) -> Converter:
    """A function that copies a tensor from one buffer to another of a different layout."""

    def convert(source: HostBuffer, target: HostBuffer) -> None:
        backend.enter(resources)
        kernel = backend.reorder(source.layout, target.layout, resources)
        scratch = HostBuffer(plain(np.dtype(np.uint8), (kernel.workspace,)), aligned(kernel.workspace))
        kernel.bind([source], [target], scratch)()

    return convert
