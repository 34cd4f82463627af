"""Sums around normalisation by the statistics of a batch become part of it, and a Relu behind such a sum.

A residual network adds what goes around a block to what its last normalisation gives, and rectifies the sum; going
back, the gradients of both ways meet in a sum. Forward the residual is added while elements are normalised. Backward
what meets is added, and what the Relu does not let through taken out, while sums are gathered; the result is kept, for
it is the gradient of the residual too. Each saves passes over images that the caches do not hold.
"""

from __future__ import annotations

import numpy as np

from toolkit.compiler.program import Node, Program, Variable
from toolkit.operators.expression import TOOLKIT_DOMAIN

FORWARD, BACKWARD = "BatchNormalizationTraining", "BatchNormalizationGradient"
BYTE = np.dtype(np.uint8)


def take_in_sums(program: Program, backend: str) -> None:
    """Let the normalisations of one backend add, and rectify what they add; their gradients likewise."""
    _Sums(program, backend).take_in()


class _Sums:
    """A program, of whose nodes some are gone and some stand where another one was."""

    def __init__(self, program: Program, backend: str) -> None:
        self._program, self._backend = program, backend
        self._readers, self._roots = program.consumers(), set(program.roots())
        self._position = {node: position for position, node in enumerate(program.nodes)}
        self._instead: dict[Node, Node | None] = {}

    def take_in(self) -> None:
        for node in self._program.nodes:
            if self._adds(node) and node.role == "forward":
                self._take_in_residual(node)
        for node in self._program.nodes:
            if self._is(node, BACKWARD) and node.x is not None:
                self._take_in_mask(node)
                self._take_in_more(node)
        if self._instead:
            order = [self._instead.get(node, node) for node in self._program.nodes]
            self._program.nodes = [node for node in order if node is not None]

    def _is(self, node: Node | None, operator: str) -> bool:
        return (
            node is not None
            and (node.op_type, node.domain, node.backend) == (operator, TOOLKIT_DOMAIN, self._backend)
            and node not in self._instead
        )

    def _adds(self, node: Node | None) -> bool:
        """Whether a node of the backend adds two tensors of one shape and type."""
        if node is None or (node.op_type, node.domain, node.backend) != ("Add", "", self._backend):
            return False
        return all(
            item is not None and (item.shape, item.dtype) == (node.y.shape, node.y.dtype) for item in node.inputs
        )

    def _is_inner(self, item: Variable, reader: Node) -> bool:
        """Whether nobody but one node reads a tensor."""
        return item not in self._roots and self._readers.get(item) == [reader]

    def _moves(self, node: Node, place: Node) -> None:
        """Let a node stand where another one was, which is gone."""
        self._instead[node], self._instead[place] = None, node
        self._position[node] = self._position[place]

    # forward ---------------------------------------------------------------------------------------------------------

    def _take_in_residual(self, add: Node) -> None:
        one, other = add.inputs
        assert one is not None
        assert other is not None
        pairs = [(made.producer, made, rest) for made, rest in ((one, other), (other, one))]
        found = [(node, rest) for node, made, rest in pairs if node is not None and self._may_add(node, made, add)]
        if one is other or not found:
            return
        normal, residual = max(found, key=lambda pair: self._position[pair[0]])
        readers = self._readers.get(add.y, [])
        relus = [node for node in readers if node.op_type == "Relu" and not node.domain]
        last = add
        if relus and self._is_inner(add.y, relus[0]) and relus[0].backend == self._backend:
            last = relus[0]
            self._instead[add] = None
            normal.attributes = {**normal.attributes, "activation": "Relu"}
        normal.inputs = [*normal.inputs, residual]
        normal.outputs = [last.y, *normal.outputs[1:5]]
        normal.fused = (*normal.fused, *dict.fromkeys((add.layer, last.layer)))
        last.y.producer = normal
        self._moves(normal, last)

    def _may_add(self, normal: Node, made: Variable, add: Node) -> bool:
        if not self._is(normal, FORWARD) or normal.attributes.get("activation", "") or len(normal.inputs) != 5:
            return False
        if normal.y is not made or not self._is_inner(made, add) or normal.is_recomputed != add.is_recomputed:
            return False
        others = [node for item in normal.outputs[1:] if item is not None for node in self._readers.get(item, ())]
        return normal.role == add.role and all(node.role != "forward" for node in others)

    # backward --------------------------------------------------------------------------------------------------------

    def _take_in_mask(self, gradient: Node) -> None:
        """Take in the gradient of a Relu that a normalisation has taken in."""
        slope = gradient.x.producer
        if slope is None or slope.op_type != "ActivationGradient" or slope.backend != self._backend:
            return
        rectified = slope.inputs[1]
        normal = None if rectified is None else rectified.producer
        if normal is None or normal.op_type != FORWARD or len(normal.inputs) != 6 or len(normal.outputs) != 5:
            return
        given, known = gradient.inputs[1:], [normal.x, normal.inputs[1], *normal.outputs[3:5]]
        is_its = normal.y is rectified and given == known and slope.role == gradient.role
        if slope.attributes.get("activation") != "Relu" or normal.attributes.get("activation") != "Relu" or not is_its:
            return
        name = self._program.fresh(f"{normal.layer}/mask")
        mask = Variable(name, BYTE, normal.y.shape, producer=normal)
        normal.outputs = [*normal.outputs, mask]
        gradient.attributes = {**gradient.attributes, "activation": "Relu"}
        gradient.inputs = [slope.x, *gradient.inputs[1:], mask]
        self._keep(gradient, slope)

    def _take_in_more(self, gradient: Node) -> None:
        """Take in a sum that gives what is the gradient of the result."""
        add = gradient.x.producer
        if not self._adds(add) or add is None or add in self._instead or add.role != gradient.role:
            return
        is_masked = len(gradient.inputs) > 5
        if is_masked and not (add.y not in self._roots and len(self._readers[add.y]) == 1):
            return
        gradient.inputs = [add.inputs[0], *gradient.inputs[1:], *([] if is_masked else [None]), add.inputs[1]]
        if is_masked:
            self._instead[add] = None
        else:
            self._keep(gradient, add)

    def _keep(self, gradient: Node, place: Node) -> None:
        """Let the gradient give what another node gave, in its place."""
        gradient.outputs = [*gradient.outputs, place.y]
        place.y.producer = gradient
        self._moves(gradient, place)
