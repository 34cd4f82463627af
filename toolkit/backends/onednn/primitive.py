"""Primitives: what oneDNN computes, described once, created once, bound to addresses and executed ever after.

``describe`` asks the library for an implementation, ``PrimitiveKernel`` turns the answer into a kernel of the backend
protocol. All scratch memory comes from the plan (oneDNN's user scratchpad mode), none is allocated while running.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from toolkit.backends.onednn.library import STATUS, SUCCESS, UNIMPLEMENTED, Handle, load
from toolkit.backends.onednn.memory import Descriptor
from toolkit.backends.protocol import Buffer, Kernel, Layout, NativeCall, Step
from toolkit.compiler.memory import align
from toolkit.errors import BackendError

FORWARD_TRAINING, FORWARD_INFERENCE, BACKWARD, BACKWARD_DATA = 64, 96, 128, 160
SRC, SRC_1, DST, WEIGHTS, BIAS = 1, 2, 17, 33, 41
MEAN, VARIANCE, SCALE, SHIFT, WORKSPACE, SCRATCHPAD = 49, 50, 51, 52, 64, 80
DIFF_SRC, DIFF_DST, DIFF_WEIGHTS, DIFF_BIAS, DIFF_SCALE, DIFF_SHIFT = 129, 145, 161, 169, 255, 256
MULTIPLE_SRC = 1024
SCALES, ZERO_POINTS = 4096, 8192  # together with the argument that they are of
ADD, MULTIPLY, MAXIMUM, MINIMUM, DIVIDE, SUBTRACT = range(0x1FFF0, 0x1FFF6)  # binary algorithms
LINEAR, LOGISTIC = 38, 41  # elementwise algorithms that are links of longer chains; ``activation`` has the others
_IMPLEMENTATION = 8
_MD_WORKSPACE, _MD_SCRATCHPAD, _MD_ARGUMENT = 135, 136, 255
_USER_SCRATCHPAD = 1


def post_operand(index: int) -> int:
    """The argument that carries the second operand of the binary post-op at ``index``."""
    return 32768 * (index + 1) | SRC_1


class Sum(NamedTuple):
    """Post-op: add ``scale`` times what lies in the destination already."""

    scale: float = 1.0


class Eltwise(NamedTuple):
    """Post-op, or primitive of its own: an elementwise function by its algorithm number and two parameters."""

    algorithm: int
    alpha: float = 0.0
    beta: float = 0.0


class Binary(NamedTuple):
    """Post-op: combine with a tensor that broadcasts to the destination."""

    algorithm: int
    descriptor: Descriptor


PostOp = Sum | Eltwise | Binary


def attributes(
    post_ops: Sequence[PostOp] = (), scale_masks: Mapping[int, int] | None = None, above_zero: Sequence[int] = ()
) -> Handle:
    """Primitive attributes: user scratchpad, the post-ops in order, and for integer kernels scales by argument.

    The arguments ``above_zero`` have a zero point, which is given when the primitive is executed.
    """
    library = load()
    pointer = ctypes.c_void_p()
    library.primitive_attr_create(ctypes.byref(pointer))
    handle = Handle(pointer.value, library.primitive_attr_destroy)
    library.primitive_attr_set_scratchpad_mode(handle, _USER_SCRATCHPAD)
    for argument, mask in (scale_masks or {}).items():
        library.primitive_attr_set_scales_mask(handle, argument, mask)
    for argument in above_zero:
        library.primitive_attr_set_zero_points_mask(handle, argument, 0)
    if post_ops:
        chain = ctypes.c_void_p()
        library.post_ops_create(ctypes.byref(chain))
        owned = Handle(chain.value, library.post_ops_destroy)
        for item in post_ops:
            _append(owned, item)
        library.primitive_attr_set_post_ops(handle, owned)
    return handle


def _append(chain: Handle, item: PostOp) -> None:
    library = load()
    if isinstance(item, Sum):
        library.post_ops_append_sum(chain, item.scale, 0, 0)
    elif isinstance(item, Eltwise):
        library.post_ops_append_eltwise(chain, item.algorithm, item.alpha, item.beta)
    else:
        library.post_ops_append_binary(chain, item.algorithm, item.descriptor.handle)


class PrimitiveDescriptor:
    """An implementation that the library chose, with the layouts it wants."""

    def __init__(self, handle: Handle) -> None:
        self.handle = handle

    @property
    def implementation(self) -> str:
        """The library's name for it: ``jit:avx512_core``, ``brg:avx512_core``, ``ref:any``."""
        found = ctypes.c_char_p()
        load().primitive_desc_query(self.handle, _IMPLEMENTATION, 0, ctypes.byref(found))
        return (found.value or b"").decode()

    @property
    def is_reference(self) -> bool:
        """Whether it is one of the library's plain loops, which anything else outruns."""
        return self.implementation.startswith("ref")

    def argument(self, number: int) -> Descriptor:
        """The layout of an execution argument (``SRC``, ``WEIGHTS``, ...)."""
        return self._descriptor(_MD_ARGUMENT, number)

    @property
    def workspace(self) -> Descriptor | None:
        """What a forward primitive hands to its backward one, ``None`` for nothing."""
        return self._optional(_MD_WORKSPACE)

    @property
    def scratchpad(self) -> Descriptor | None:
        """Scratch memory of one execution, ``None`` for none."""
        return self._optional(_MD_SCRATCHPAD)

    def _optional(self, what: int) -> Descriptor | None:
        address = load().primitive_desc_query_md(self.handle, what, 0)
        return Descriptor.copy(address) if address and load().memory_desc_get_size(address) else None

    def _descriptor(self, what: int, index: int) -> Descriptor:
        address = load().primitive_desc_query_md(self.handle, what, index)
        if not address or not load().memory_desc_get_size(address):
            raise BackendError(f"oneDNN's primitive {self.implementation!r} has no argument {index}.")
        return Descriptor.copy(address)


def try_describe(kind: str, *arguments: Any, attribute: Handle | None = None) -> PrimitiveDescriptor | None:
    """The best implementation of a primitive, ``None`` where the library has none.

    ``kind`` is the name in oneDNN's C interface (``convolution_forward``); ``arguments`` are those between the engine
    and the attributes, descriptors and hints as themselves.
    """
    library = load()
    pointer = ctypes.c_void_p()
    raw = [item.handle if isinstance(item, (Descriptor, PrimitiveDescriptor)) else item for item in arguments]
    engine = () if kind == "reorder" else (library.engine,)
    settings = attributes() if attribute is None else attribute
    status = getattr(library, f"describe_{kind}")(ctypes.byref(pointer), *engine, *raw, settings)
    if status == UNIMPLEMENTED:
        return None
    if status != SUCCESS:
        raise BackendError(
            f"oneDNN cannot describe {kind}: {STATUS.get(status, status)}; its operands were {arguments}."
        )
    return PrimitiveDescriptor(Handle(pointer.value, library.primitive_desc_destroy))


def describe(kind: str, *arguments: Any, attribute: Handle | None = None) -> PrimitiveDescriptor:
    """As ``try_describe``; raises ``BackendError`` where the library has no implementation."""
    found = try_describe(kind, *arguments, attribute=attribute)
    if found is None:
        operands = [item for item in arguments if isinstance(item, Descriptor)]
        raise BackendError(f"oneDNN has no implementation of {kind} for {operands}; choose the backend 'numpy' for it.")
    return found


def later_implementation(described: PrimitiveDescriptor, name: str) -> PrimitiveDescriptor | None:
    """``described`` moved on to the implementation called ``name``; ``None`` where none of those behind it is."""
    while described.implementation != name:
        if load().next_implementation(described.handle) != SUCCESS:
            return None
    return described


class _Argument(ctypes.Structure):
    _fields_ = [("number", ctypes.c_int), ("memory", ctypes.c_void_p)]


Place = tuple[Descriptor, int]  # a layout and an address


class Primitive:
    """A primitive ready to run on any memory that fits its layouts."""

    def __init__(self, described: PrimitiveDescriptor) -> None:
        library = load()
        pointer = ctypes.c_void_p()
        library.primitive_create(ctypes.byref(pointer), described.handle)
        self.handle = Handle(pointer.value, library.primitive_destroy)
        self.implementation = described.implementation
        self.scratchpad = described.scratchpad

    @property
    def scratch_nbytes(self) -> int:
        return 0 if self.scratchpad is None else self.scratchpad.nbytes

    def bind(self, places: Mapping[int, Place], scratch_address: int = 0) -> NativeCall:
        """A call that executes the primitive on fixed addresses; ``places`` are keyed by argument number."""
        library = load()
        complete = dict(places)
        if self.scratchpad is not None:
            complete[SCRATCHPAD] = (self.scratchpad, scratch_address)
        arguments = (_Argument * len(complete))()
        memories = []
        for slot, (number, (descriptor, address)) in zip(arguments, complete.items(), strict=True):
            memory = memory_at(descriptor, address)
            memories.append(memory)
            slot.number, slot.memory = number, memory.value
        kept = (arguments, memories, self.handle)
        words = address_of(self.handle), address_of(library.stream), len(complete), ctypes.addressof(arguments)
        return NativeCall(library.execute, *words, kept=kept)


def address_of(handle: ctypes.c_void_p) -> int:
    """Where the object of a handle lies."""
    assert handle.value is not None, "a handle points to an object"
    return handle.value


def memory_at(descriptor: Descriptor, address: int) -> Handle:
    """A memory object of the library over bytes that somebody else owns."""
    library = load()
    pointer = ctypes.c_void_p()
    library.memory_create(ctypes.byref(pointer), descriptor.handle, library.engine, address)
    return Handle(pointer.value, library.memory_destroy)


@dataclass(slots=True)
class Operand:
    """Which buffer an execution argument lies in: ``source`` is ``input`` or ``output``, ``index`` its position."""

    argument: int
    source: str
    index: int
    descriptor: Descriptor


def reads(argument: int, index: int, descriptor: Descriptor) -> Operand:
    """An argument that lies in input ``index`` of the node."""
    return Operand(argument, "input", index, descriptor)


def writes(argument: int, index: int, descriptor: Descriptor) -> Operand:
    """An argument that lies in output ``index`` of the node."""
    return Operand(argument, "output", index, descriptor)


class PrimitiveKernel(Kernel):
    """A node done by one primitive: its layouts on one side, the primitive's arguments on the other.

    The descriptors of ``operands`` may view a tensor with other sizes than its layout does (groups split off, batch
    axes collapsed), as long as the bytes are the same. ``fixed`` are arguments in arrays that the kernel owns,
    ``unread`` what the primitive writes though nobody wants it: it lands in the workspace.
    """

    def __init__(
        self,
        described: PrimitiveDescriptor,
        inputs: Sequence[Layout | None],
        outputs: Sequence[Layout | None],
        operands: Sequence[Operand],
        *,
        in_place: Sequence[tuple[int, int]] = (),
        accumulates: tuple[int, int] | None = None,
        fixed: Mapping[int, tuple[Descriptor, Any]] | None = None,
        unread: Mapping[int, Descriptor] | None = None,
    ) -> None:
        self.inputs, self.outputs = inputs, outputs
        self.in_place, self.accumulates = in_place, accumulates
        self.operands = operands
        self.fixed = dict(fixed or {})
        self.primitive = Primitive(described)
        self.name = self.primitive.implementation
        self.is_shared = not self.fixed
        self.workspace = self.primitive.scratch_nbytes
        self._unread: dict[int, tuple[Descriptor, int]] = {}
        for argument, descriptor in (unread or {}).items():
            offset = align(self.workspace)
            self._unread[argument] = (descriptor, offset)
            self.workspace = offset + descriptor.nbytes

    def bind(self, inputs: Sequence[Buffer | None], outputs: Sequence[Buffer | None], workspace: Buffer | None) -> Step:
        places: dict[int, Place] = {}
        for operand in self.operands:
            buffer = (inputs if operand.source == "input" else outputs)[operand.index]
            assert buffer is not None, f"argument {operand.argument} has no buffer"
            places[operand.argument] = (operand.descriptor, buffer.address)
        for argument, (descriptor, array) in self.fixed.items():
            places[argument] = (descriptor, array.ctypes.data)
        scratch = 0 if workspace is None else workspace.address
        for argument, (descriptor, offset) in self._unread.items():
            places[argument] = (descriptor, scratch + offset)
        step = self.primitive.bind(places, scratch)
        return step if not self.fixed else _keeping(step, self)


def _keeping(step: Step, owner: Kernel) -> Step:
    """``step``, holding on to the kernel whose arrays it reads."""
    assert isinstance(step, NativeCall)
    step.kept = (*step.kept, owner)
    return step


def keeping(step: Step, *owned: Any) -> Step:
    """``step``, holding on to arrays whose addresses it uses."""

    def run() -> Any:
        return step()

    run.owned = owned  # type: ignore[attr-defined]
    return run


def chain(steps: Sequence[Step]) -> Step:
    """Several steps as one; stops at the first error code and returns it."""

    def run() -> Any:
        for step in steps:
            status = step()
            if status:
                return status
        return None

    return run
