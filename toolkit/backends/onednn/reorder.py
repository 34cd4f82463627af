"""Conversions between any two layouts of a tensor."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from toolkit.backends.onednn.library import load
from toolkit.backends.onednn.memory import DATA_TYPES, Descriptor, dense, descriptor_of
from toolkit.backends.onednn.primitive import (
    DST,
    SRC,
    Primitive,
    PrimitiveDescriptor,
    PrimitiveKernel,
    chain,
    describe,
    reads,
    writes,
)
from toolkit.backends.protocol import Buffer, Kernel, Layout, Resources, Step
from toolkit.compiler.memory import ALIGNMENT


def reorder_kernel(source: Layout, target: Layout, resources: Resources) -> Kernel:
    """A kernel that copies its input to its output, converting the layout (and the element type where oneDNN can)."""
    if source.is_plain and target.is_plain and (source.dtype == target.dtype or source.dtype not in DATA_TYPES):
        return _Copy(source, target)
    pair = _same_view(source, target)
    if pair is None:
        return _TwoStep(source, target)
    described = _describe(*pair)
    operands = [reads(SRC, 0, pair[0]), writes(DST, 0, pair[1])]
    return PrimitiveKernel(described, [source], [target], operands)


def _describe(source: Descriptor, target: Descriptor) -> PrimitiveDescriptor:
    engine = load().engine
    return describe("reorder", source, engine, target, engine)


def _same_view(source: Layout, target: Layout) -> tuple[Descriptor, Descriptor] | None:
    """Descriptors of both sides over the same sizes, ``None`` where no such view exists."""
    given = descriptor_of(source, None if target.opaque is None else target.opaque.shape)
    wanted = descriptor_of(target, given.shape)
    if given.shape == wanted.shape:
        return given, wanted
    viewed = given.reshaped(wanted.shape)
    if viewed is not None:
        return viewed, wanted
    viewed = wanted.reshaped(given.shape)
    return None if viewed is None else (given, viewed)


class _Copy(Kernel):
    """A plain copy, a cast included."""

    name = "copy"
    is_shared = True

    def __init__(self, source: Layout, target: Layout) -> None:
        self.inputs, self.outputs = [source], [target]

    def bind(self, inputs: Sequence[Buffer | None], outputs: Sequence[Buffer | None], workspace: Buffer | None) -> Step:
        source, target = inputs[0], outputs[0]
        assert source is not None
        assert target is not None
        return partial(np.copyto, target.array, source.array, casting="unsafe")


class _TwoStep(Kernel):
    """Through row-major order in scratch memory, where the two sides group axes differently."""

    name = "reorder twice"
    is_shared = True

    def __init__(self, source: Layout, target: Layout) -> None:
        self.inputs, self.outputs = [source], [target]
        given, wanted = descriptor_of(source), descriptor_of(target)
        self._given, self._wanted = given, wanted
        self._unpacked, self._repacked = dense(source.dtype, given.shape), dense(source.dtype, wanted.shape)
        self._unpack = Primitive(_describe(given, self._unpacked))
        self._pack = Primitive(_describe(self._repacked, wanted))
        self._middle = -(-self._unpacked.nbytes // ALIGNMENT) * ALIGNMENT
        self.workspace = self._middle + max(self._unpack.scratch_nbytes, self._pack.scratch_nbytes)

    def bind(self, inputs: Sequence[Buffer | None], outputs: Sequence[Buffer | None], workspace: Buffer | None) -> Step:
        source, target = inputs[0], outputs[0]
        assert source is not None
        assert target is not None
        assert workspace is not None
        middle, scratch = workspace.address, workspace.address + self._middle
        first = self._unpack.bind({SRC: (self._given, source.address), DST: (self._unpacked, middle)}, scratch)
        second = self._pack.bind({SRC: (self._repacked, middle), DST: (self._wanted, target.address)}, scratch)
        return chain([first, second])
