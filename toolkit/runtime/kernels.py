"""Kernels that are made once: nodes that look the same to a backend, in all contexts of a network, share one.

Layers repeat, and so do contexts; choosing an implementation, writing its code and asking a library for it takes most
of the time that it takes to make a plan. Shared is what says that it may be (``Kernel.is_shared``) and belongs to the
forward pass, where no kernel depends on how another one was made. A table holds its kernels weakly: they last as long
as a plan uses them.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

from toolkit.backends.protocol import HOST, Backend, Kernel, Layout, Resources
from toolkit.compiler.passes.common_subexpressions import attribute_key
from toolkit.compiler.program import Node, Variable

LARGEST_COMPARED = 1024  # bytes of a constant


def kernel_for(backend: Backend, node: Node, layouts: Sequence[Layout | None], resources: Resources) -> Kernel:
    """The kernel of a node whose inputs lie in ``layouts``; what cannot be lowered raises as ``Backend.lower`` does."""

    def make() -> Kernel:
        return backend.lower(node, layouts, resources)

    if backend.device != HOST or node.role != "forward":
        return make()
    settings = tuple(sorted((name, attribute_key(value)) for name, value in node.attributes.items()))
    operands, results = tuple(map(_seen, node.inputs)), tuple(map(_seen, node.outputs))
    kind = node.domain, node.op_type, node.version
    return _shared((*kind, settings, operands, results, tuple(layouts)), make, backend, resources)


def conversion_for(backend: Backend, source: Layout, target: Layout, resources: Resources) -> Kernel:
    """The kernel that converts between two layouts of a tensor."""

    def make() -> Kernel:
        return backend.reorder(source, target, resources)

    if backend.device != HOST or HOST not in (source.device, target.device):
        return make()
    return _shared((source, target), make, backend, resources)


def _shared(likeness: Hashable, make: Callable[[], Kernel], backend: Backend, resources: Resources) -> Kernel:
    key = backend.name, resources.threads, resources.training, resources.strict, likeness
    found = resources.kernels.get(key)
    if found is None:
        found = make()
        if found.is_shared:
            resources.kernels[key] = found
    return found


def _seen(variable: Variable | None) -> Hashable:
    """What a backend may look at of an input or output. Content counts where it is known.

    Large content is known by where it lies: whoever uses a kernel holds the nodes that it was made for.
    """
    if variable is None:
        return None
    known = variable.constant
    content = known if known is None else attribute_key(known) if known.nbytes <= LARGEST_COMPARED else id(known)
    return variable.dtype, variable.shape, content, variable.producer is None, variable.parameter is None
