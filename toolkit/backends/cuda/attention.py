"""Attention and its gradient on cuDNN's flash engines, for float16 and bfloat16.

Heads and positions are read in either order through strides. Refused, and so left in products and a softmax: float32,
sizes of heads that are no multiple of 8 or above 128, masks that say the same of all keys, weights that are dropped. A
device for which cuDNN has no engine computes the reference.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from toolkit.backends.cuda.arrays import ReferenceKernel
from toolkit.backends.cuda.cudnn.attention import Scored, attention, attention_gradient
from toolkit.backends.cuda.cudnn.builder import Builder
from toolkit.backends.cuda.cudnn.descriptors import NoEngineError
from toolkit.backends.cuda.cudnn.graph import DATA_TYPES, Tensor, row_major
from toolkit.backends.cuda.cudnn.graph_constants import DataType
from toolkit.backends.cuda.cudnn.session import session_of
from toolkit.backends.cuda.layouts import on_device
from toolkit.backends.cuda.parts import GraphPart, PartsKernel, Place, Scratch, reads, writes
from toolkit.backends.cuda.registry import kernel
from toolkit.backends.protocol import Kernel, Layout, Resources
from toolkit.compiler.program import Node, Variable
from toolkit.operators.expression import TOOLKIT_DOMAIN
from toolkit.operators.precision import HALF_WIDTH
from toolkit.operators.standard.fused_attention import ATTENTION, ATTENTION_GRADIENT

LIBRARY = "cuDNN"

SIZE_STEP, LARGEST_SIZE = 8, 128
FIRST = {ATTENTION: 0, ATTENTION_GRADIENT: 1}  # where the queries are among the inputs
MASK = {ATTENTION: 3, ATTENTION_GRADIENT: 6}


def serves(node: Node) -> bool:
    """Whether attention, or its gradient, is computed here."""
    if node.op_type not in FIRST or node.attributes.get("ratio"):
        return False
    first = FIRST[node.op_type]
    q, _, v = operands = node.inputs[first : first + 3]
    assert q is not None and v is not None
    tensors = [item for item in (*operands, *node.inputs[:first], *_narrow_results(node)) if item is not None]
    sizes = q.shape[-1], v.shape[-1]
    fits = all(size % SIZE_STEP == 0 and 0 < size <= LARGEST_SIZE for size in sizes)
    alike = all(item.dtype == q.dtype and item.size for item in tensors)
    return q.dtype in HALF_WIDTH and alike and fits and _fits(_optional(node, MASK[node.op_type]), node)


def _narrow_results(node: Node) -> list[Variable | None]:
    return node.outputs[:1] if node.op_type == ATTENTION else node.outputs


def _fits(mask: Variable | None, node: Node) -> bool:
    keys = node.inputs[FIRST[node.op_type] + 1]
    assert keys is not None
    length = keys.shape[-3 if node.attributes.get("swapK") else -2]
    return mask is None or (mask.dtype in DATA_TYPES and mask.shape[-1:] == (length,))


def _optional(node: Node, index: int) -> Variable | None:
    return node.inputs[index] if len(node.inputs) > index else None


class _Graph:
    """A graph under construction; ``places`` says where its tensors lie."""

    def __init__(self, node: Node) -> None:
        self.node, self.builder, self.memory = node, Builder(), Scratch()
        self.places: dict[int, Place] = {}

    def given(self, variable: Variable | None, letter: str, place: Place, *, is_turned: bool = False) -> Tensor:
        """A tensor with heads, seen as (batch, heads, length, size) or, turned, as (batch, heads, size, length)."""
        assert variable is not None
        shape = (1,) * (4 - len(variable.shape)) + variable.shape
        order, strides = [0, 1, 2, 3], row_major(shape)
        if self.node.attributes.get(f"swap{letter}"):
            order = [0, 2, 1, 3]
        if is_turned:
            order[2:] = order[:1:-1]
        made = self.builder.tensor(
            DATA_TYPES[variable.dtype], [shape[axis] for axis in order], [strides[axis] for axis in order]
        )
        self.places[made.uid] = place
        return made

    def scored(self) -> Scored:
        """Queries, keys and mask."""
        node, first, at = self.node, FIRST[self.node.op_type], MASK[self.node.op_type]
        q = self.given(node.inputs[first], "Q", reads(first))
        k = self.given(node.inputs[first + 1], "K", reads(first + 1), is_turned=True)
        mask = _optional(node, at)
        added = None if mask is None else self.given(mask, "", reads(at))
        scale = float(node.attributes.get("scale", 1.0))
        return Scored(q, k, added, scale, bool(node.attributes.get("is_causal", 0)))

    def rows(self, scored: Scored, place: Place) -> Tensor:
        """One float32 number for each query."""
        made = self.builder.tensor(DataType.FLOAT, scored.rows)
        self.places[made.uid] = place
        return made

    def kernel(self, resources: Resources) -> Kernel:
        """Raises ``NoEngineError`` where cuDNN does not have all of it in one engine."""
        session = session_of(resources)
        part = GraphPart(session, session.plan(self.builder.graph()), self.places)
        return PartsKernel([part], _layouts(self.node.inputs), _layouts(self.node.outputs), self.memory)


def _layouts(variables: Sequence[Variable | None]) -> list[Layout | None]:
    return [None if item is None else on_device(item.dtype, item.shape) for item in variables]


@kernel(TOOLKIT_DOMAIN, ATTENTION, accepts=serves)
def forward(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """The logarithm is written in any case."""
    graph = _Graph(node)
    scored = graph.scored()
    v = graph.given(node.inputs[2], "V", reads(2))
    y = graph.given(node.y, "Y", writes(0))
    is_kept = len(node.outputs) > 1 and node.outputs[1] is not None
    logarithm = graph.rows(scored, writes(1) if is_kept else graph.memory.take(4 * prod(scored.rows)))
    attention(graph.builder, scored, v, y, logarithm)
    return _kernel(graph, resources)


@kernel(TOOLKIT_DOMAIN, ATTENTION_GRADIENT, accepts=serves)
def backward(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """Gradients that nobody wants are written to scratch memory."""
    graph = _Graph(node)
    scored = graph.scored()
    v = graph.given(node.inputs[3], "V", reads(3), is_turned=True)
    y, g = (graph.given(node.inputs[index], "Y", reads(index)) for index in (4, 0))
    logarithm = graph.rows(scored, reads(5))
    into = []
    for index, letter in enumerate("QKV"):
        wanted, like = (*node.outputs, None, None)[index], node.inputs[1 + index]
        assert like is not None
        into.append(graph.given(like, letter, graph.memory.take(like.nbytes) if wanted is None else writes(index)))
    attention_gradient(graph.builder, scored, v, y, logarithm, g, tuple(into))
    return _kernel(graph, resources)


def _kernel(graph: _Graph, resources: Resources) -> Kernel:
    try:
        return graph.kernel(resources)
    except NoEngineError:
        return ReferenceKernel(graph.node, resources)
