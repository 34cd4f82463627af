"""Recurrent layers that stand on each other become one: a call of cuDNN walks through all of them side by side.

Cases: a layer whose sequence the next one reads, and nobody else, both of one kind, direction, size and length, from
zero; neither hands on its last states. In training both learn, and the gradient goes from one to the other. What moves
the numbers in between must leave each where it was, as the axes do that ONNX adds and its readers take away.
The joint node has the inputs of the lower layer and the outputs of the upper one, and the weights of both, packed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any

import numpy as np

from toolkit.backends.cuda.recurrent_weights import BIAS, WEIGHT_COUNT, packing_of, weights_of
from toolkit.compiler.program import Node, Program, Variable
from toolkit.operators.standard.recurrent_layer import INPUTS, STATES

LAYER, GRADIENT = "Recurrent", "RecurrentGradient"
X, FIRST_STATE = 0, 4
VIEWS = ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity")
Serves = Callable[[Node], bool]
Readers = dict[Variable, list[Node]]


def stack_layers(program: Program, backend: str, serves: Serves) -> None:
    """Join neighbours of a backend, among the nodes that ``serves`` accepts, until there are none left to join."""
    for node in program.nodes:  # a schedule that was measured before may have left others there
        for item in node.outputs:
            if item is not None:
                item.producer = node
    while any(_Pair(program, upper, backend, serves).join() for upper in program.nodes if upper.op_type == LAYER):
        pass


class _Pair:
    """A layer with the one below it, and their gradients where there are such."""

    def __init__(self, program: Program, upper: Node, backend: str, serves: Serves) -> None:
        self.program, self.upper = program, upper
        source, self.between = _origin(upper.x)
        below = source.producer
        self.lower = below if below is not None and below.op_type == LAYER and source is below.y else upper
        self.states = STATES[upper.attributes["kind"]]
        self._is_mine: Serves = lambda node: node.backend == backend and serves(node)
        self._roots = set(program.roots())

    def join(self) -> bool:
        """Put one node in the place of both layers, and one in that of both gradients, if that may be."""
        if self.lower is self.upper or not self._fit():
            return False
        consumers = self.program.consumers()
        gradients = [self._gradient(node, consumers) for node in (self.lower, self.upper)]
        if not self._are_alone(consumers, gradients):
            return False
        lower, upper = gradients
        if lower is not None and upper is not None:
            between = self._flow(upper, lower, consumers)
            if between is None:
                return False
            self._replace(upper, (lower, *between), self._joint_gradient(lower, upper))
        elif lower is not upper:
            return False
        self._replace(self.upper, (self.lower, *self.between), self._joint_layer())
        return True

    # whether ----------------------------------------------------------------------------------------------------------

    def _fit(self) -> bool:
        """Whether the layers are alike and begin from zero."""
        pair = self.lower, self.upper
        if not all(map(self._is_mine, pair)) or _nature(self.lower) != _nature(self.upper):
            return False
        if not _stays(self.lower.y, self.between):
            return False
        return all(_is_nothing(item) for node in pair for item in node.inputs[FIRST_STATE:INPUTS])

    def _gradient(self, layer: Node, consumers: Readers) -> Node | None:
        """The gradient that reads what a layer keeps."""
        kept = self._kept(layer)
        readers = [] if kept is None else consumers.get(kept, [])
        return next((node for node in readers if node.op_type == GRADIENT and self._is_mine(node)), None)

    def _kept(self, layer: Node) -> Variable | None:
        place = 1 + self.states
        return layer.outputs[place] if len(layer.outputs) > place else None

    def _are_alone(self, consumers: Readers, gradients: list[Node | None]) -> bool:
        """Whether nobody else reads what the joint layer does not give."""
        lower, upper = gradients
        inside = [self.lower.y, *(item for node in self.between for item in node.outputs)]
        return (
            self._is_read_by(inside, (self.upper, *self.between, lower, upper), consumers)
            and self._is_read_by(self.lower.outputs[1:], (lower,), consumers)
            and self._is_read_by(self.upper.outputs[1:], (upper,), consumers)
        )

    def _is_read_by(
        self, items: Iterable[Variable | None], readers: Collection[Node | None], consumers: Readers
    ) -> bool:
        """Whether nobody else reads them."""
        present = [item for item in items if item is not None]
        return not self._roots & {*present} and all(
            node in readers for item in present for node in consumers.get(item, ())
        )

    def _flow(self, upper: Node, lower: Node, consumers: Readers) -> list[Node] | None:
        """What lies between the gradients, if that of the upper layer's input enters the lower one as it is."""
        wrt, seeds = list(upper.attributes["wrt"]), INPUTS + 2 + self.states
        seed = lower.inputs[seeds]
        if X not in wrt or {FIRST_STATE, FIRST_STATE + 1} & {*wrt, *lower.attributes["wrt"]} or seed is None:
            return None
        source, between = _origin(seed)
        inside = [source, *(item for node in between for item in node.outputs)]
        if source is not upper.outputs[wrt.index(X)] or not _stays(source, between):
            return None
        last = [item for node in (lower, upper) for item in node.inputs[seeds + 1 : seeds + 1 + self.states]]
        alike = (lower.role, lower.is_recomputed) == (upper.role, upper.is_recomputed)
        is_alone = self._is_read_by(inside, (lower, *between), consumers)
        return between if is_alone and alike and all(map(_is_nothing, last)) else None

    # joining ----------------------------------------------------------------------------------------------------------

    def _joint_layer(self) -> Node:
        lower, upper = self.lower, self.upper
        outputs = [upper.y, *[None] * self.states, *upper.outputs[1 + self.states :]]
        return self._made(upper, lower, [], outputs, dict(upper.attributes))

    def _joint_gradient(self, lower: Node, upper: Node) -> Node:
        sequence, seeds = INPUTS, INPUTS + 2 + self.states
        nothing: list[Variable | None] = [None] * self.states
        kept, dy = upper.inputs[sequence + 1 + self.states], upper.inputs[seeds]
        more = [upper.inputs[sequence], *nothing, kept, dy, *nothing]
        shift = INPUTS * (len(weights_of(self.lower)) // WEIGHT_COUNT)
        pairs = zip(upper.attributes["wrt"], upper.outputs, strict=True)
        above = {index + shift: item for index, item in pairs if index != X}
        wrt = [*lower.attributes["wrt"], *above]
        return self._made(upper, lower, more, [*lower.outputs, *above.values()], {**upper.attributes, "wrt": wrt})

    def _made(
        self, upper: Node, lower: Node, more: list[Variable | None], outputs: list[Variable | None], attributes: Any
    ) -> Node:
        """A node with the lower one's X and weights; its last input stands for the weights of both, packed."""
        weights = [*weights_of(self.lower), *weights_of(self.upper)]
        inputs = [*lower.inputs[: BIAS + 1], *[None] * INPUTS][:INPUTS]
        inputs += [*more, packing_of(self.program, upper, weights).y]
        made = Node(upper.op_type, upper.domain, upper.version, inputs, outputs, attributes, upper.layer)
        made.fused = (*upper.fused, lower.layer, *lower.fused)
        made.role, made.backend, made.is_recomputed = upper.role, upper.backend, upper.is_recomputed
        return made

    def _replace(self, first: Node, rest: Collection[Node], made: Node) -> None:
        """``made`` stands where ``first`` did; the ``rest`` is gone."""
        self.program.nodes = [made if node is first else node for node in self.program.nodes if node not in rest]
        for item in made.outputs:
            if item is not None:
                item.producer = made


def _nature(layer: Node) -> tuple[Any, ...]:
    """In what layers must be alike."""
    w, *_, bias = [*layer.inputs[1 : BIAS + 1], None][:WEIGHT_COUNT]
    assert w is not None
    settings = sorted((name, str(value)) for name, value in layer.attributes.items())
    return w.shape[0], w.shape[3], bias is None, settings, len(layer.outputs), layer.role, layer.is_recomputed


def _origin(item: Variable) -> tuple[Variable, list[Node]]:
    """From which tensor the numbers come, and what moves them on their way, first to last."""
    between: list[Node] = []
    node = item.producer
    while node is not None and not node.domain and node.op_type in (*VIEWS, "Transpose"):
        between.insert(0, node)
        item, node = node.x, node.x.producer
    return item, between


def _stays(source: Variable, between: Collection[Node]) -> bool:
    """Whether every number is in its place again behind what moves them."""
    if all(node.op_type in VIEWS for node in between):
        return True
    moved = before = np.arange(source.size, dtype=np.int32).reshape(source.shape)
    for node in between:
        moved = moved.transpose(node.attributes.get("perm")) if node.op_type == "Transpose" else moved
        moved = moved.reshape(node.y.shape)
    return bool((moved.reshape(-1) == before.reshape(-1)).all())


def _is_nothing(item: Variable | None) -> bool:
    """Whether a tensor that stands for zeros if it is left out is left out, or all zeros."""
    return item is None or (item.constant is not None and not item.constant.any())
