"""The binder: appends the leaves of a graph to a program, one after the other, and keeps those that have to wait.

What depends on nothing but constants is computed on the way. Functions, branches that are known, loops whose length is
known, and sequences leave no trace: what is inside them is bound as if it stood in the graph itself.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from math import prod
from typing import Any

import numpy as np

from toolkit.compiler import plumbing, unrolling
from toolkit.compiler.decisions import Decision, Decisions
from toolkit.compiler.folding import fold
from toolkit.compiler.program import Program, Variable
from toolkit.compiler.rebatch import Rebatch, Shapes
from toolkit.compiler.segment import Deferred, Item, Scope, Segment, Unknown, close
from toolkit.errors import DataDependentShapeError, GraphError, ShapeError, malformed, naming
from toolkit.graph.layer import AttributeReference, Graph, Leaf, reads
from toolkit.graph.network import Network
from toolkit.graph.parameter import Parameter
from toolkit.operators.guards import check_form
from toolkit.operators.inference import CONSTANT_LIMIT, explicit_attributes, since_version
from toolkit.operators.record import TensorType
from toolkit.operators.standard.preview_gradient import GRADIENT

# What training moves without learning it, and steps of quantisation, by which integers become large tensors of floats.
LIVING = frozenset(("BatchNormalization", "DequantizeLinear", "QuantizeLinear"))


class Binder:
    """Binds one segment.

    ``decisions`` tell what the data decided in a run that is to be bound as it was executed. ``most_leaves`` limits how
    far loops are unrolled.
    """

    def __init__(
        self,
        network: Network,
        *,
        rebatch: Rebatch | None = None,
        decisions: Decisions | None = None,
        most_leaves: int = unrolling.MOST_LEAVES,
    ) -> None:
        self.network = network
        self.rebatch = rebatch
        self.decisions = decisions
        self.most_leaves = most_leaves
        self.iterations: tuple[int, ...] = ()  # of the bodies around the leaf at hand, from the outside in
        self.program = Program()
        self.deferred: list[Deferred] = []
        self.takes: list[Variable | Unknown] = []
        self.shapes: dict[str, Shapes] = {}  # what every layer was given and gave, by its path
        self._parameters: dict[Parameter, Variable] = {}
        self._constants: dict[Parameter, Variable] = {}
        self._differentiated: set[Item | None] = set()  # what a Gradient leaf asks for

    def open(self, types: Mapping[str, TensorType | None]) -> Scope:
        """A scope with the inputs of a graph."""
        return {name: self.enter(Unknown(name), known, name) for name, known in types.items()}

    def enter(self, item: Variable | Unknown, known: TensorType | None, key: str | None = None) -> Variable | Unknown:
        """Take a value into the segment: as an input of the program if it is a tensor; returns what stands for it."""
        entered = item
        if known is not None:
            key = f"{len(self.takes)}: {item.name}" if key is None else key
            entered = self.program.inputs[key] = Variable(item.name, *known)
        self.takes.append(entered)
        return entered

    def segment(self, graph: Graph, scope: Scope, wanted: Sequence[str], prefix: str) -> Segment:
        """Bind a graph as far as it goes."""
        self.bind_graph(graph, scope, wanted, prefix)
        for name in wanted:
            if name not in scope:
                raise GraphError(f"Output {name!r} is produced by no layer.")
        outputs = {name: scope[name] for name in wanted}
        return close(self.program, self.deferred, outputs, self.takes)

    def bind_graph(self, graph: Graph, scope: Scope, wanted: Sequence[str], prefix: str) -> None:
        """Append the leaves that ``wanted`` needs, in order; ``scope`` maps names to values and is extended."""
        for name, parameter in graph.parameters.items():
            if parameter not in self._parameters:
                self._parameters[parameter] = self._parameter_variable(prefix + name, parameter)
            scope[name] = self._parameters[parameter]
        for leaf in needed(graph, wanted):
            if (leaf.domain, leaf.op_type) == GRADIENT:
                self.bind_gradient(graph, leaf, scope, prefix)
            else:
                self.bind_leaf(leaf, scope, prefix)

    def bind_gradient(self, graph: Graph, leaf: Leaf, scope: Scope, prefix: str) -> None:
        """Bind once more what leads from the inputs of a Gradient leaf to its ``y``, and a node that asks for it."""
        layer = prefix + leaf.path
        given = [self.read(name, scope, layer) for name in leaf.inputs]
        check_form(leaf.domain, leaf.op_type, leaf.version, _typed(given), leaf.attributes, layer)
        y, by, fixed = leaf.attributes["y"], leaf.attributes["xs"], leaf.attributes.get("zs", ())
        inner = {**scope, **{name: item for name, item in zip((*by, *fixed), given, strict=True) if item is not None}}
        self._differentiated.update(given)
        for child in needed(graph, [y], stop={*by, *fixed}):
            self.bind_leaf(child, inner, f"{layer}/")
        operands = [item for item in (self.read(name, inner, layer) for name in (*by, y)) if isinstance(item, Variable)]
        if len(operands) <= len(by):
            raise DataDependentShapeError(
                f"Gradient {layer!r}: what leads from {list(by)} to {y!r} depends on the data. Only a part of the "
                "graph whose shapes are known can be differentiated."
            )
        names = [name and f"{layer}:{name}" for name in leaf.outputs]
        node = self.program.append(
            leaf.op_type, operands, leaf.attributes, domain=leaf.domain, outputs=names, layer=layer
        )
        scope.update((name, made) for name, made in zip(leaf.outputs, node.outputs, strict=True) if made is not None)

    def bind_leaf(self, leaf: Leaf, scope: Scope, prefix: str) -> None:
        """Bind a leaf, or defer it to a later segment. Raises ``ShapeError`` naming it when it is malformed."""
        layer = prefix + leaf.path
        with naming(lambda why: malformed(f"{leaf.operator}-{leaf.version}", layer, why)):
            self._bind_leaf(leaf, scope, prefix, layer)

    def _bind_leaf(self, leaf: Leaf, scope: Scope, prefix: str, layer: str) -> None:
        decision = None if self.decisions is None else self.decisions.made.get((self.iterations, layer))
        inputs = [self.read(name, scope, layer) for name in leaf.inputs]
        if decision is not None:
            inputs = [_decided(item, seen) for item, seen in zip(inputs, decision.contents, strict=False)]
        function = self.network.functions.get((leaf.domain, leaf.op_type, leaf.overload))
        if function is not None:
            self.bind_function(function, leaf, inputs, scope, layer)
            return
        found: Sequence[Item] | None
        resolved = plumbing.resolve(self.program, leaf.domain, leaf.op_type, inputs, leaf.attributes, layer)
        if resolved is not None:
            found = [resolved]
        elif any(leaf.bodies):
            check_form(leaf.domain, leaf.op_type, leaf.version, _typed(inputs), leaf.attributes, layer)
            found = self.bind_bodies(leaf, inputs, decision, scope, layer)
            if found is None:
                what = f"{leaf.operator} {layer!r}: what it executes depends on the data."
                self.defer(leaf, scope, prefix, what)
                return
        else:
            operands = [item for item in inputs if item is None or isinstance(item, Variable)]
            if len(operands) < len(inputs):
                self.defer(leaf, scope, prefix, f"{leaf.operator} {layer!r}: what it reads depends on the data.")
                return
            try:
                operands = [self._as_number(leaf, item) for item in operands]
                found = self.bind_with_content(leaf, operands, decision, layer)
            except DataDependentShapeError as error:
                self.defer(leaf, scope, prefix, str(error))
                return
        scope.update((name, item) for name, item in zip(leaf.outputs, found, strict=False) if name)

    def read(self, name: str, scope: Scope, layer: str) -> Item | None:
        if not name:
            return None
        if name not in scope:
            raise GraphError(f"Layer {layer!r} reads {name!r}, which no input, parameter or earlier layer provides.")
        return scope[name]

    def defer(self, leaf: Leaf, scope: Scope, prefix: str, reason: str) -> None:
        """Leave a leaf to a later segment."""
        around = {name: self.read(name, scope, prefix + leaf.path) for name in reads(leaf)}
        known = {name: item for name, item in around.items() if item is not None}
        outputs = {name: Unknown(name) for name in leaf.outputs if name}
        self.deferred.append(Deferred(leaf, prefix, known, outputs, reason, self.iterations))
        scope.update(outputs)

    def bind_with_content(
        self, leaf: Leaf, inputs: list[Variable | None], decision: Decision | None, layer: str
    ) -> Sequence[Variable]:
        """Bind a leaf; parameters that decide a shape (the scales of Resize) count as constants."""
        try:
            return self.bind_operator(leaf, inputs, layer)
        except DataDependentShapeError:
            settled = [self._as_constant(item) for item in inputs]
            if any(item is not given for item, given in zip(settled, inputs, strict=True)):
                return self.bind_with_content(leaf, settled, decision, layer)
            found = () if decision is None else decision.types[: len(leaf.outputs)]  # of Unique, only some may be named
            types = [known for known in found if known is not None]
            if not types or len(types) < len(found):
                raise
            return self.bind_operator(leaf, inputs, layer, types)

    def _as_number(self, leaf: Leaf, item: Variable | None) -> Variable | None:
        """One number that nobody trains as a constant, so that formulas are known; anything else as it is."""
        if item is None or item.parameter is None or item.size != 1 or item.parameter.requires_grad:
            return item
        if leaf.op_type in LIVING or "QLinear" in leaf.op_type or item in self._differentiated:
            return item
        return self._settled(item.name, item.parameter)

    def _as_constant(self, item: Variable | None) -> Variable | None:
        """A small parameter as a constant; anything else as it is."""
        if item is None or item.parameter is None or item.size > CONSTANT_LIMIT:
            return item
        return self._settled(item.name, item.parameter)

    def _parameter_variable(self, name: str, parameter: Parameter) -> Variable:
        """Floating-point tensors stay parameters; integers, booleans and strings are constants of the program."""
        if parameter.dtype.kind in "iubOSU":
            return self._settled(name, parameter)
        return Variable(name, parameter.dtype, parameter.shape, parameter=parameter)

    def _settled(self, name: str, parameter: Parameter) -> Variable:
        """One constant for all who read a parameter."""
        if parameter not in self._constants:
            content = self.program.settled.take(parameter)
            self._constants[parameter] = Variable(name, parameter.dtype, parameter.shape, constant=content)
        return self._constants[parameter]

    def bind_operator(
        self, leaf: Leaf, inputs: list[Variable | None], layer: str, types: Sequence[TensorType] | None = None
    ) -> Sequence[Variable]:
        """Append a node, or compute it where all is known; ``types`` of its outputs are inferred unless given."""
        attributes = explicit_attributes(leaf.op_type, inputs, leaf.attributes, len(leaf.outputs))
        version = since_version(leaf.domain, leaf.op_type, leaf.version) or leaf.version
        if self.rebatch is not None:
            inputs, attributes = self.rebatch.adapt(leaf, version, inputs, attributes, self.program, layer)
        given = [None if item is None else item.shape for item in inputs]
        folded = fold(leaf, version, inputs, attributes)
        if folded is not None:
            self.shapes[layer] = (given, [array.shape for array in folded])
            pairs = zip(leaf.outputs, folded, strict=False)
            return [Variable(name, array.dtype, array.shape, constant=array) for name, array in pairs]
        node = self.program.append(
            leaf.op_type,
            inputs,
            attributes,
            domain=leaf.domain,
            version=version,
            outputs=[name and f"{layer}:{name}" if layer != leaf.path else name for name in leaf.outputs],
            layer=layer,
            types=types,
        )
        self.shapes[layer] = (given, [None if made is None else made.shape for made in node.outputs])
        return node.outputs  # type: ignore[return-value]  # None only where the leaf has no name for the output

    def bind_function(self, body: Graph, leaf: Leaf, inputs: list[Item | None], scope: Scope, layer: str) -> None:
        """Bind what a call of an ONNX function stands for."""
        inner = {name: item for name, item in zip(body.inputs, inputs, strict=False) if item is not None}
        given = {**{name: value for name, value in body.attributes.items() if value is not None}, **leaf.attributes}
        leaves = [_resolve(child, given) for child in body.leaves]
        resolved = Graph(body.name, body.inputs, body.outputs, leaves, body.parameters)
        self.bind_graph(resolved, inner, list(body.outputs), prefix=f"{layer}/")
        scope.update((outer, inner[name]) for outer, name in zip(leaf.outputs, body.outputs, strict=False) if outer)

    def bind_bodies(
        self, leaf: Leaf, inputs: list[Item | None], decision: Decision | None, scope: Scope, layer: str
    ) -> Sequence[Item] | None:
        """The outputs of a branch or loop of which it is known what it executes, else ``None``."""
        if leaf.domain:
            return None
        program, bind_body = self.program, partial(self.bind_body, scope, layer)
        match leaf.op_type:
            case "If":
                return self.bind_branch(leaf, inputs, layer, bind_body)
            case "Scan" if self.can_unroll(leaf, inputs):
                return self.attempt(lambda: unrolling.unroll_scan(program, leaf, inputs, layer, bind_body))
            case "Loop":
                times = None if decision is None else decision.times
                most = self.most_leaves // unrolling.size(leaf.attributes["body"])
                return self.attempt(lambda: unrolling.unroll_loop(program, leaf, inputs, layer, bind_body, times, most))
            case "SequenceMap":
                return self.attempt(lambda: unrolling.unroll_map(program, leaf, inputs, layer, bind_body))
        return None

    def bind_branch(
        self, leaf: Leaf, inputs: list[Item | None], layer: str, bind_body: unrolling.BindBody
    ) -> Sequence[Item] | None:
        condition = inputs[0] if inputs else None
        if not isinstance(condition, Variable) or condition.constant is None:
            return None
        if condition.constant.size != 1:
            raise ShapeError(f"If {layer!r}: its condition must have one element, got shape {condition.shape}.")
        taken = "then_branch" if bool(condition.constant.reshape(-1)[0]) else "else_branch"
        return bind_body(leaf.attributes[taken], [], 0)

    def bind_body(
        self, scope: Scope, layer: str, body: Graph, given: Sequence[Item | None], iteration: int
    ) -> list[Item]:
        """Bind one execution of a body inside ``scope``; returns its outputs."""
        if len(given) != len(body.inputs):
            raise ShapeError(
                f"The body of {layer!r} must take {len(given)} inputs, it takes {len(body.inputs)}. "
                "Export the model again."
            )
        inner = dict(scope)
        inner.update((name, item) for name, item in zip(body.inputs, given, strict=True) if item is not None)
        around, self.iterations = self.iterations, (*self.iterations, iteration)
        self.bind_graph(body, inner, list(body.outputs), prefix=f"{layer}/")
        self.iterations = around
        return [inner[name] for name in body.outputs]

    def can_unroll(self, leaf: Leaf, inputs: Sequence[Item | None]) -> bool:
        """Whether a Scan is short enough."""
        last, axes = inputs[-1], leaf.attributes.get("scan_input_axes", ())
        if not isinstance(last, Variable) or not last.shape:
            return False
        is_batched = leaf.version < unrolling.SCAN_WITHOUT_BATCHES
        length = prod(last.shape[:2]) if is_batched else last.shape[axes[-1] if axes else 0]
        return length * unrolling.size(leaf.attributes["body"]) <= self.most_leaves

    def attempt(self, unroll: Callable[[], list[Item] | None]) -> list[Item] | None:
        """What ``unroll`` gives; where it gives up, what it has appended is taken back."""
        nodes, deferred, around = len(self.program.nodes), len(self.deferred), self.iterations
        found = unroll()
        if found is None or any(isinstance(item, Unknown) for item in found):
            del self.program.nodes[nodes:], self.deferred[deferred:]
            self.iterations = around
            return None
        return found


def _typed(inputs: Sequence[Item | None]) -> list[Variable | None]:
    """Inputs as far as they have a type; those that have none only count."""
    nothing = Variable("value", np.dtype(object), ())
    return [item if item is None or isinstance(item, Variable) else nothing for item in inputs]


def _decided(item: Item | None, seen: np.ndarray | None) -> Item | None:
    """An input with the content that it had in the run that is bound."""
    if seen is None or not isinstance(item, Variable) or item.constant is not None:
        return item
    return Variable(item.name, seen.dtype, seen.shape, constant=seen)


def needed(graph: Graph, wanted: Sequence[str], stop: Collection[str] = ()) -> list[Leaf]:
    """The leaves that lead to ``wanted``, in order; what lies before the values ``stop`` is not among them."""
    needed = set(wanted)
    kept = []
    for leaf in reversed(graph.leaves):
        if any(name in needed for name in leaf.outputs if name):
            kept.append(leaf)
            needed.update(name for name in reads(leaf) if name not in stop)
    return kept[::-1]


def _resolve(child: Leaf, given: Mapping[str, Any]) -> Leaf:
    """A leaf of a function body, bodies of its own included, with attribute references replaced by what is given."""
    attributes = {}
    for name, value in child.attributes.items():
        if isinstance(value, AttributeReference):
            if value.name in given:
                attributes[name] = given[value.name]
        elif isinstance(value, Graph):
            attributes[name] = replace(value, leaves=[_resolve(leaf, given) for leaf in value.leaves])
        else:
            attributes[name] = value
    return Leaf(
        child.op_type, child.inputs, child.outputs, attributes, child.domain, child.version, child.name, child.path
    )
