"""Binding: a static network and the sizes of one context become a program in which every shape is concrete.

What depends on nothing but constants is computed on the way, because shape arithmetic (Shape, Gather, Concat, Reshape)
has to be known before the next shape can be inferred. Only what the wanted outputs need is bound. ONNX functions are
expanded, and If is replaced by its branch when the condition is known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from toolkit.compiler.folding import fold
from toolkit.compiler.program import Program, Variable
from toolkit.compiler.rebatch import Rebatch
from toolkit.compiler.sizes import frozen_batch, input_shapes
from toolkit.errors import GraphError, UnsupportedOperatorError
from toolkit.graph.layer import AttributeReference, Graph, Leaf, reads
from toolkit.graph.network import Network
from toolkit.graph.parameter import Parameter
from toolkit.operators.inference import explicit_attributes, since_version
from toolkit.operators.long_tail import reference_for
from toolkit.operators.record import lookup


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
    every operator that cannot run, ``ShapeError`` from inference.
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
        original = _Binder(network, None).run(input_shapes(network, frozen, dims or {}), wanted)
        rebatch = Rebatch(frozen, batch_size, original.variables)
    return _Binder(network, rebatch).run(shapes, wanted).program


def require_supported(network: Network) -> None:
    """Raise one ``UnsupportedOperatorError`` that lists every operator without a kernel and where it stands."""
    missing: dict[str, list[str]] = {}
    bodies = [network.graph, *network.functions.values()]
    for leaf in (leaf for body in bodies for leaf in body.walk()):
        if (leaf.domain, leaf.op_type, leaf.overload) in network.functions:
            continue
        if leaf.op_type in ("If", "Constant") and not leaf.domain:
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


@dataclass
class Bound:
    """The result of one binding: the program, and every variable by the name of its value."""

    program: Program
    variables: dict[str, Variable]


@dataclass
class _Binder:
    network: Network
    rebatch: Rebatch | None
    program: Program = field(default_factory=Program)

    def run(self, shapes: Mapping[str, tuple[int, ...]], wanted: Sequence[str]) -> Bound:
        graph = self.network.graph
        scope: dict[str, Variable] = {}
        for name, value in self.network.inputs.items():
            assert value.dtype is not None
            scope[name] = self.program.inputs[name] = Variable(name, value.dtype, shapes[name])
        self.bind_graph(graph, scope, wanted, prefix="")
        for name in wanted:
            if name not in scope:
                raise GraphError(f"Output {name!r} is produced by no layer.")
            self.program.outputs[name] = scope[name]
        return Bound(self.program, scope)

    def bind_graph(self, graph: Graph, scope: dict[str, Variable], wanted: Sequence[str], prefix: str) -> None:
        """Append the leaves that ``wanted`` needs, in order; ``scope`` maps names to variables and is extended."""
        for name, parameter in graph.parameters.items():
            scope[name] = _parameter_variable(prefix + name, parameter)
        for leaf in _needed(graph, wanted):
            self.bind_leaf(leaf, scope, prefix)

    def bind_leaf(self, leaf: Leaf, scope: dict[str, Variable], prefix: str) -> None:
        layer = prefix + leaf.path
        inputs = [self.read(name, scope, layer) for name in leaf.inputs]
        function = self.network.functions.get((leaf.domain, leaf.op_type, leaf.overload))
        if function is not None:
            self.bind_function(function, leaf, inputs, scope, layer)
        elif leaf.op_type == "If" and not leaf.domain:
            self.bind_branch(leaf, inputs, scope, layer)
        else:
            self.bind_operator(leaf, inputs, scope, layer)

    def read(self, name: str, scope: Mapping[str, Variable], layer: str) -> Variable | None:
        if not name:
            return None
        if name not in scope:
            raise GraphError(f"Layer {layer!r} reads {name!r}, which no input, parameter or earlier layer provides.")
        return scope[name]

    def bind_operator(self, leaf: Leaf, inputs: list[Variable | None], scope: dict[str, Variable], layer: str) -> None:
        attributes = explicit_attributes(leaf.op_type, inputs, leaf.attributes, len(leaf.outputs))
        version = since_version(leaf.domain, leaf.op_type, leaf.version) or leaf.version
        if self.rebatch is not None:
            inputs, attributes = self.rebatch.adapt(leaf, version, inputs, attributes, self.program)
        folded = fold(leaf, version, inputs, attributes)
        if folded is not None:
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
        scope.update((name, made) for name, made in zip(leaf.outputs, node.outputs, strict=True) if made is not None)

    def bind_function(
        self, body: Graph, leaf: Leaf, inputs: list[Variable | None], scope: dict[str, Variable], layer: str
    ) -> None:
        inner = {name: item for name, item in zip(body.inputs, inputs, strict=False) if item is not None}
        given = {**{name: value for name, value in body.attributes.items() if value is not None}, **leaf.attributes}
        resolved = Graph(body.name, body.inputs, body.outputs, [_resolve(child, given) for child in body.leaves])
        self.bind_graph(resolved, inner, list(body.outputs), prefix=f"{layer}/")
        scope.update((outer, inner[name]) for outer, name in zip(leaf.outputs, body.outputs, strict=False) if outer)

    def bind_branch(self, leaf: Leaf, inputs: list[Variable | None], scope: dict[str, Variable], layer: str) -> None:
        condition = inputs[0].constant if inputs and inputs[0] is not None else None
        if condition is None:
            raise UnsupportedOperatorError(
                f"If {layer!r}: the condition depends on the data. Only conditions that are known once all sizes are "
                "bound can be run so far."
            )
        branch = leaf.attributes["then_branch" if bool(condition.reshape(-1)[0]) else "else_branch"]
        inner = dict(scope)
        self.bind_graph(branch, inner, list(branch.outputs), prefix=f"{layer}/")
        scope.update((outer, inner[name]) for outer, name in zip(leaf.outputs, branch.outputs, strict=True) if outer)


def _parameter_variable(name: str, parameter: Parameter) -> Variable:
    """Floating-point tensors stay parameters; integers, booleans and strings are constants of the program."""
    if parameter.dtype.kind in "iubOSU":
        return Variable(name, parameter.dtype, parameter.shape, constant=parameter.array)
    return Variable(name, parameter.dtype, parameter.shape, parameter=parameter)


def _needed(graph: Graph, wanted: Sequence[str]) -> list[Leaf]:
    needed = set(wanted)
    kept = []
    for leaf in reversed(graph.leaves):
        if any(name in needed for name in leaf.outputs if name):
            kept.append(leaf)
            needed.update(reads(leaf))
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
