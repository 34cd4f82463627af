"""Binding: a static network and the sizes of one context become a program in which every shape is concrete.

What depends on nothing but constants is computed on the way, because shape arithmetic (Shape, Gather, Concat, Reshape)
has to be known before the next shape can be inferred. Only what the wanted outputs need is bound. ONNX functions are
expanded, and If is replaced by its branch when the condition is known. What only the data can tell is deferred
(``segment``).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from toolkit.compiler.folding import fold
from toolkit.compiler.program import Program, Variable
from toolkit.compiler.rebatch import Rebatch, Shapes, may_hold_batch
from toolkit.compiler.segment import Deferred, Item, Scope, Segment, Unknown, close
from toolkit.compiler.sizes import frozen_batch, input_shapes
from toolkit.errors import DataDependentShapeError, GraphError, ShapeError, UnsupportedOperatorError
from toolkit.graph.layer import AttributeReference, Graph, Leaf, reads
from toolkit.graph.network import Network
from toolkit.graph.parameter import Parameter
from toolkit.operators.inference import CONSTANT_LIMIT, explicit_attributes, since_version
from toolkit.operators.long_tail import reference_for
from toolkit.operators.preview_gradient import GRADIENT
from toolkit.operators.record import TensorType, lookup

Types = Sequence[TensorType | None]  # None for a value that is no tensor


def bind(
    network: Network,
    batch_size: int | None,
    dims: Mapping[str, int] | None = None,
    *,
    outputs: Sequence[str] | None = None,
) -> Program:
    """Bind ``network`` for ``batch_size`` items and the sizes ``dims`` of its other symbolic dimensions.

    ``batch_size=None`` keeps the batch the file fixed. A model whose batch was frozen at export is rebatched (see
    ``rebatch``). Raises ``InputError`` for sizes that are missing or do not fit, ``UnsupportedOperatorError`` with
    every operator that cannot run, ``ShapeError`` from inference, ``DataDependentShapeError`` naming the layer when the
    wanted outputs cannot be bound without data.
    """
    return first_segment(network, batch_size, dims, outputs=outputs).require_static()


def first_segment(
    network: Network,
    batch_size: int | None,
    dims: Mapping[str, int] | None = None,
    *,
    outputs: Sequence[str] | None = None,
    types: Mapping[str, TensorType | None] | None = None,
) -> Segment:
    """Like ``bind``, for networks that may need data to be bound to the end.

    ``types`` gives the types of the inputs that declare none or no rank, ``None`` for those that are no tensors.
    """
    wanted = list(network.outputs) if outputs is None else list(outputs)
    for name in wanted:
        if name not in network.outputs:
            raise GraphError(f"The network has no output {name!r}; its outputs are {list(network.outputs)}.")
    require_supported(network)
    shapes = input_shapes(network, batch_size, dims or {})
    frozen = frozen_batch(network)
    rebatch = None
    if frozen is not None and batch_size not in (None, frozen):
        assert batch_size is not None
        original = _Binder(network)
        scope = original.open(_types(network, input_shapes(network, frozen, dims or {})))
        original.bind_graph(network.graph, scope, wanted, prefix="")
        rebatch = Rebatch(frozen, batch_size, original.shapes)
    binder = _Binder(network, rebatch)
    scope = binder.open(_types(network, shapes, types))
    try:
        segment = binder.segment(network.graph, scope, wanted, prefix="")
    except ShapeError as error:
        raise error if rebatch is None else ShapeError(f"{error} {_without_batch(network, frozen)}".strip()) from error
    waiting = [item for item in (*segment.calls, *segment.rest) if may_hold_batch(item.leaf)]
    if rebatch is not None and waiting:
        raise ShapeError(
            f"The batch size {frozen} is baked into this model, and from {waiting[0].leaf.operator} "
            f"{waiting[0].layer!r} on only data tells the shapes, so it cannot be changed to {batch_size}. "
            f"Run the model at batch_size={frozen}."
        )
    return segment


def _without_batch(network: Network, frozen: int | None) -> str:
    """A hint for models with inputs (states, caches) in which another axis may count the items."""
    axes = {
        name: value.shape.index(frozen)
        for name, value in network.inputs.items()
        if value.batch_axis is None and value.shape is not None and frozen in value.shape
    }
    if not axes:
        return ""
    listed = ", ".join(f"{name!r} {network.inputs[name].describe()}" for name in axes)
    return (
        f"Other inputs may hold items too: {listed}. If so, say which axis counts them: load(..., batch_axis={axes})."
    )


def _types(
    network: Network,
    shapes: Mapping[str, tuple[int, ...] | None],
    known: Mapping[str, TensorType | None] | None = None,
) -> dict[str, TensorType | None]:
    found: dict[str, TensorType | None] = {}
    for name, value in network.inputs.items():
        shape = shapes[name]
        if shape is None or value.dtype is None:
            found[name] = None if known is None else known[name]
        else:
            found[name] = (value.dtype, shape)
    return found


def body_segment(
    network: Network, body: Graph, captured: Scope, types: Mapping[str, TensorType | None], prefix: str
) -> Segment:
    """The first segment of a body (of If, Loop, Scan) for inputs of ``types``.

    ``captured`` holds what the body reads from outside that every segment knows: constants and parameters; what it
    reads besides is among ``types``.
    """
    binder = _Binder(network)
    scope = binder.open(types)
    return binder.segment(body, {**captured, **scope}, list(body.outputs), prefix)


def next_segment(network: Network, last: Segment, types: Types) -> Segment:
    """Bind what ``last`` had to leave, now that the values it carries have these ``types``, in that order."""
    binder = _Binder(network)
    now: dict[Item, Item] = {}
    for item, known in zip(last.carried(), types, strict=True):
        now[item] = binder.enter(item, known)

    def current(item: Item) -> Item:
        return now.get(item, item)

    for waiting in last.rest:
        scope = {name: current(item) for name, item in waiting.scope.items()}
        binder.bind_leaf(waiting.leaf, scope, waiting.prefix)
        now.update((item, scope[name]) for name, item in waiting.outputs.items())
    outputs = {name: current(item) for name, item in last.outputs.items()}
    return close(binder.program, binder.deferred, outputs, binder.takes)


def require_supported(network: Network) -> None:
    """Raise one ``UnsupportedOperatorError`` that lists every operator without a kernel and where it stands."""
    missing: dict[str, list[str]] = {}
    bodies = [network.graph, *network.functions.values()]
    for leaf in (leaf for body in bodies for leaf in body.walk()):
        if (leaf.domain, leaf.op_type, leaf.overload) in network.functions:
            continue
        if leaf.op_type == "Constant" and not leaf.domain:
            continue
        if not _has_kernel(leaf):
            missing.setdefault(f"{leaf.operator}-{leaf.version}", []).append(leaf.path)
    if missing:
        listed = "; ".join(f"{name} ({len(paths)}x, first in {paths[0]!r})" for name, paths in sorted(missing.items()))
        raise UnsupportedOperatorError(
            f"No backend can run {len(missing)} of the model's operators: {listed}. "
            "Register them with toolkit.operator(...), or run a part of the network with outputs=[...]."
        )


def _has_kernel(leaf: Leaf) -> bool:
    version = since_version(leaf.domain, leaf.op_type, leaf.version)
    record = lookup(leaf.domain, leaf.op_type, leaf.version)
    if record is not None and record.reference is not None:
        return True
    return version is not None and reference_for(leaf.domain, leaf.op_type, version, leaf.attributes) is not None


class _Binder:
    """Appends leaves to the program of one segment, and keeps the ones that have to wait."""

    def __init__(self, network: Network, rebatch: Rebatch | None = None) -> None:
        self.network = network
        self.rebatch = rebatch
        self.program = Program()
        self.deferred: list[Deferred] = []
        self.takes: list[Item] = []
        self.shapes: dict[str, Shapes] = {}  # what every layer was given and gave, by its path

    def open(self, types: Mapping[str, TensorType | None]) -> Scope:
        """A scope with the inputs of a graph."""
        return {name: self.enter(Unknown(name), known, name) for name, known in types.items()}

    def enter(self, item: Item, known: TensorType | None, key: str | None = None) -> Item:
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
            scope[name] = _parameter_variable(prefix + name, parameter)
        for leaf in _needed(graph, wanted):
            if (leaf.domain, leaf.op_type) == GRADIENT:
                self.bind_gradient(graph, leaf, scope, prefix)
            else:
                self.bind_leaf(leaf, scope, prefix)

    def bind_gradient(self, graph: Graph, leaf: Leaf, scope: Scope, prefix: str) -> None:
        """Bind once more what leads from the inputs of a Gradient leaf to its ``y``, and a node that asks for it."""
        layer, y = prefix + leaf.path, leaf.attributes["y"]
        by, fixed = leaf.attributes["xs"], leaf.attributes.get("zs", ())
        given = [self.read(name, scope, layer) for name in leaf.inputs]
        inner = {**scope, **{name: item for name, item in zip((*by, *fixed), given, strict=True) if item is not None}}
        for child in _needed(graph, [y], stop={*by, *fixed}):
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
        layer = prefix + leaf.path
        inputs = [self.read(name, scope, layer) for name in leaf.inputs]
        function = self.network.functions.get((leaf.domain, leaf.op_type, leaf.overload))
        if function is not None:
            self.bind_function(function, leaf, inputs, scope, layer)
        elif leaf.op_type == "If" and not leaf.domain and _is_known(inputs):
            self.bind_branch(leaf, inputs, scope, layer)
        elif any(leaf.bodies):
            self.defer(leaf, scope, prefix, f"{leaf.operator} {layer!r}: what it executes depends on the data.")
        else:
            operands = [item for item in inputs if not isinstance(item, Unknown)]
            if len(operands) < len(inputs):
                self.defer(leaf, scope, prefix, f"{leaf.operator} {layer!r}: what it reads depends on the data.")
                return
            try:
                self.bind_with_content(leaf, operands, scope, layer)
            except DataDependentShapeError as error:
                self.defer(leaf, scope, prefix, str(error))

    def read(self, name: str, scope: Scope, layer: str) -> Item | None:
        if not name:
            return None
        if name not in scope:
            raise GraphError(f"Layer {layer!r} reads {name!r}, which no input, parameter or earlier layer provides.")
        return scope[name]

    def defer(self, leaf: Leaf, scope: Scope, prefix: str, reason: str) -> None:
        """Leave a leaf to a later segment."""
        for name in reads(leaf):
            self.read(name, scope, prefix + leaf.path)
        outputs = {name: Unknown(name) for name in leaf.outputs if name}
        self.deferred.append(Deferred(leaf, prefix, {name: scope[name] for name in reads(leaf)}, outputs, reason))
        scope.update(outputs)

    def bind_with_content(self, leaf: Leaf, inputs: list[Variable | None], scope: Scope, layer: str) -> None:
        """Bind a leaf; parameters that decide a shape (the scales of Resize) count as constants."""
        try:
            self.bind_operator(leaf, inputs, scope, layer)
        except DataDependentShapeError:
            settled = [_as_constant(item) for item in inputs]
            if all(item is given for item, given in zip(settled, inputs, strict=True)):
                raise
            self.bind_operator(leaf, settled, scope, layer)

    def bind_operator(self, leaf: Leaf, inputs: list[Variable | None], scope: Scope, layer: str) -> None:
        attributes = explicit_attributes(leaf.op_type, inputs, leaf.attributes, len(leaf.outputs))
        version = since_version(leaf.domain, leaf.op_type, leaf.version) or leaf.version
        if self.rebatch is not None:
            inputs, attributes = self.rebatch.adapt(leaf, version, inputs, attributes, self.program, layer)
        given = [None if item is None else item.shape for item in inputs]
        folded = fold(leaf, version, inputs, attributes)
        if folded is not None:
            self.shapes[layer] = (given, [array.shape for array in folded])
            for name, array in zip(leaf.outputs, folded, strict=False):
                if name:
                    scope[name] = Variable(name, array.dtype, array.shape, constant=array)
            return
        node = self.program.append(
            leaf.op_type,
            inputs,
            attributes,
            domain=leaf.domain,
            version=version,
            outputs=[name and f"{layer}:{name}" if layer != leaf.path else name for name in leaf.outputs],
            layer=layer,
        )
        self.shapes[layer] = (given, [None if made is None else made.shape for made in node.outputs])
        scope.update((name, made) for name, made in zip(leaf.outputs, node.outputs, strict=True) if made is not None)

    def bind_function(self, body: Graph, leaf: Leaf, inputs: list[Item | None], scope: Scope, layer: str) -> None:
        inner = {name: item for name, item in zip(body.inputs, inputs, strict=False) if item is not None}
        given = {**{name: value for name, value in body.attributes.items() if value is not None}, **leaf.attributes}
        resolved = Graph(body.name, body.inputs, body.outputs, [_resolve(child, given) for child in body.leaves])
        self.bind_graph(resolved, inner, list(body.outputs), prefix=f"{layer}/")
        scope.update((outer, inner[name]) for outer, name in zip(leaf.outputs, body.outputs, strict=False) if outer)

    def bind_branch(self, leaf: Leaf, inputs: list[Item | None], scope: Scope, layer: str) -> None:
        condition = inputs[0]
        assert isinstance(condition, Variable)
        assert condition.constant is not None
        branch = leaf.attributes["then_branch" if bool(condition.constant.reshape(-1)[0]) else "else_branch"]
        inner = dict(scope)
        self.bind_graph(branch, inner, list(branch.outputs), prefix=f"{layer}/")
        scope.update((outer, inner[name]) for outer, name in zip(leaf.outputs, branch.outputs, strict=False) if outer)


def _as_constant(item: Variable | None) -> Variable | None:
    """A small parameter as a constant; anything else as it is."""
    if item is None or item.parameter is None or item.size > CONSTANT_LIMIT:
        return item
    return Variable(item.name, item.dtype, item.shape, constant=item.parameter.array)


def _is_known(inputs: Sequence[Item | None]) -> bool:
    return bool(inputs) and isinstance(inputs[0], Variable) and inputs[0].constant is not None


def _parameter_variable(name: str, parameter: Parameter) -> Variable:
    """Floating-point tensors stay parameters; integers, booleans and strings are constants of the program."""
    if parameter.dtype.kind in "iubOSU":
        return Variable(name, parameter.dtype, parameter.shape, constant=parameter.array)
    return Variable(name, parameter.dtype, parameter.shape, parameter=parameter)


def _needed(graph: Graph, wanted: Sequence[str], stop: Collection[str] = ()) -> list[Leaf]:
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
