"""Softmax and log-softmax along one axis, and their gradient, on row-major tensors.

cuDNN has no graph for them on any layout, so its older functions do it: the axis becomes the channels of an image whose
batch are the axes before, and whose places are those behind.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from math import prod

from toolkit.backends.cuda.cudnn.graph import DATA_TYPES
from toolkit.backends.cuda.cudnn.legacy import ONE, ZERO, call, tensor
from toolkit.backends.cuda.cudnn.legacy_constants import SoftmaxAlgorithm, SoftmaxMode
from toolkit.backends.cuda.cudnn.session import Session, session_of
from toolkit.backends.cuda.images import is_float
from toolkit.backends.cuda.layouts import on_device
from toolkit.backends.cuda.parts import Addresses, CallPart, PartsKernel, reads, writes
from toolkit.backends.cuda.registry import kernel
from toolkit.backends.protocol import Kernel, Layout, Resources, Step
from toolkit.compiler.program import Node
from toolkit.operators.expression import TOOLKIT_DOMAIN
from toolkit.operators.standard.softmax import matrix_shape

LIBRARY = "cuDNN"

FIRST_WITH_ONE_AXIS = 13
Shape = tuple[int, ...]


def _accepts(node: Node) -> bool:
    kinds = {item.dtype for item in (*node.inputs, *node.outputs) if item is not None}
    return is_float(node) and len(kinds) == 1 and bool(node.y.shape)


def shown(node: Node) -> Shape:
    """(batch, classes, places, 1); before version 13 all axes from the given one on are one."""
    shape = node.y.shape
    if not node.domain and node.version < FIRST_WITH_ONE_AXIS:
        return (*matrix_shape(shape, int(node.attributes.get("axis", 1))), 1, 1)
    axis = int(node.attributes.get("axis", -1)) % len(shape)
    return prod(shape[:axis]), shape[axis], prod(shape[axis + 1 :]), 1


@kernel("", "Softmax", "LogSoftmax", accepts=_accepts)
def softmax(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """In place where nobody reads the input later."""
    session, layout = session_of(resources), on_device(node.y.dtype, node.y.shape)
    algorithm = SoftmaxAlgorithm.LOG if node.op_type == "LogSoftmax" else SoftmaxAlgorithm.ACCURATE
    part = CallPart("cudnnSoftmaxForward", partial(_forward, session, node, algorithm))
    return PartsKernel([part], [layout], [layout], in_place=[(0, 0)])


def _forward(session: Session, node: Node, algorithm: SoftmaxAlgorithm, address: Addresses, workspace: int) -> Step:
    functions = session.functions
    at = tensor(functions, DATA_TYPES[node.y.dtype], shown(node))
    x, y = address(reads(0)), address(writes(0))
    how = session.handle, algorithm, SoftmaxMode.CHANNEL
    return call(functions.SoftmaxForward, *how, ONE, at, x, ZERO, at, y)


@kernel(TOOLKIT_DOMAIN, "SoftmaxGradient", accepts=_accepts)
def softmax_gradient(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """From the gradient of the result and the result."""
    session, layout = session_of(resources), on_device(node.y.dtype, node.y.shape)
    algorithm = SoftmaxAlgorithm.LOG if node.attributes.get("log", 0) else SoftmaxAlgorithm.ACCURATE
    part = CallPart("cudnnSoftmaxBackward", partial(_backward, session, node, algorithm))
    return PartsKernel([part], [layout, layout], [layout], in_place=[(0, 0)])


def _backward(session: Session, node: Node, algorithm: SoftmaxAlgorithm, address: Addresses, workspace: int) -> Step:
    functions = session.functions
    at = tensor(functions, DATA_TYPES[node.y.dtype], shown(node))
    dy, y, dx = address(reads(0)), address(reads(1)), address(writes(0))
    how = session.handle, algorithm, SoftmaxMode.CHANNEL
    return call(functions.SoftmaxBackward, *how, ONE, at, y, at, dy, ZERO, at, dx)
