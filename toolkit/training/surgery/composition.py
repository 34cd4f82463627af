"""Networks made of networks: one behind the other, or side by side.

The parts stay as they are. The result has parameters of its own, which begin with the same numbers.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from toolkit.errors import GraphError
from toolkit.graph.class_names import CLASSES_KEY, class_names
from toolkit.graph.copying import renamed
from toolkit.graph.layer import Graph, reads
from toolkit.graph.network import Network
from toolkit.graph.parameter import Parameter
from toolkit.graph.value import Dim, Value
from toolkit.operators.inference import since_version


@dataclass
class _Part:
    """A network to be joined: ``prefix`` precedes its names, except the inputs in ``fed``, which get other ones."""

    network: Network
    prefix: str
    fed: dict[str, str] = field(default_factory=dict)


def connect(
    first: Network,
    second: Network,
    wires: Mapping[str, str] | None = None,
    *,
    prefixes: tuple[str, str] = ("", ""),
    keep: Sequence[str] = (),
) -> Network:
    """A network that feeds outputs of ``first`` to inputs of ``second``.

    - ``wires``: {output of the first: input of the second}; by default by name, or the one output to the one input
    - ``prefixes``: what the names of everything in either network begin with in the result (``"encoder/"``)
    - ``keep``: wired outputs that stay outputs

    Raises ``GraphError`` when types or shapes do not fit, names collide, or the networks are written in opsets in which
    their operators mean different things.
    """
    chosen = _wires(first, second, wires)
    for output, name in chosen.items():
        _require_fit(first.outputs[output], second.inputs[name])
    parts = [_Part(first, prefixes[0]), _Part(second, prefixes[1])]
    parts[1].fed = {name: prefixes[0] + output for output, name in chosen.items()}
    dropped = {prefixes[0] + output for output in chosen if output not in keep}
    return _joined(parts, dropped, f"{first.name}_{second.name}")


def side_by_side(networks: Mapping[str, Network], *, shared_inputs: Sequence[str] = ()) -> Network:
    """One network that computes several, each with its name and ``/`` before its names.

    ``shared_inputs`` are inputs of equal names and types that become one. Raises ``GraphError`` as ``connect`` does.
    """
    parts = [_Part(network, f"{name}/", {}) for name, network in networks.items()]
    for name in shared_inputs:
        holders = [part for part in parts if name in part.network.inputs]
        if not holders:
            raise GraphError(f"shared_inputs names {name!r}, which is an input of none of {list(networks)}.")
        for part in holders:
            _require_fit(holders[0].network.inputs[name], part.network.inputs[name])
            part.fed[name] = name
    return _joined(parts, set(), "_".join(networks))


def _wires(first: Network, second: Network, wires: Mapping[str, str] | None) -> dict[str, str]:
    outputs, inputs = first.outputs, second.inputs
    if wires is None:
        found = {name: name for name in outputs if name in inputs}
        if not found and len(outputs) == len(inputs) == 1:
            found = dict(zip(outputs, inputs, strict=True))
    else:
        found = dict(wires)
    wrong = [pair for pair in found.items() if pair[0] not in outputs or pair[1] not in inputs]
    if wrong or not found or len(set(found.values())) < len(found):
        raise GraphError(
            f"connect requires wires from outputs of the first network {list(outputs)} to different inputs of the "
            f"second {list(inputs)}, got {found}. Pass wires={{output: input}}."
        )
    return found


def _require_fit(given: Value, taken: Value) -> None:
    one, other = given.shape, taken.shape
    fits = (given.kind, given.dtype) == (taken.kind, taken.dtype)
    if fits and one is not None and other is not None:
        sizes = [pair for pair in zip(one, other, strict=False) if all(isinstance(dim, int) for dim in pair)]
        fits = len(one) == len(other) and all(first == second for first, second in sizes)
    if not fits:
        raise GraphError(
            f"Input {taken.name!r} requires {taken.describe()}, got {given.describe()} from {given.name!r}. Put a "
            "layer between them that converts it."
        )


def _joined(parts: Sequence[_Part], dropped: Collection[str], name: str) -> Network:
    made = Network(Graph(name), _opsets(parts), ir_version=max(part.network.ir_version for part in parts))
    classes: dict[str, list[str]] = {}
    batch = next((dim for part in parts if (dim := _batch(part.network)) is not None), None)
    for part in parts:
        graph = _renamed(part, batch)
        _require_apart(made.graph, graph, part)
        made.graph.inputs.update({key: value for key, value in graph.inputs.items() if key not in part.fed.values()})
        made.graph.inputs.update({key: graph.inputs[key] for key in part.fed.values() if _is_new(made.graph, key)})
        for mine, theirs in (
            (made.graph.outputs, graph.outputs),
            (made.graph.parameters, graph.parameters),
            (made.graph.values, graph.values),
        ):
            mine.update(theirs)  # type: ignore[arg-type]
        made.graph.leaves += graph.leaves
        _take_functions(made, part.network)
        made.metadata = {**part.network.metadata, **made.metadata}
        for output in part.network.outputs:
            names = class_names(part.network, output)
            if names is not None:
                classes[part.prefix + output] = names
    for key in dropped:
        value = made.graph.outputs.pop(key)
        made.graph.values[key] = value
    for leaf in made.graph.walk():
        leaf.version = made.opsets.get(leaf.domain, leaf.version)
    made.metadata.pop(CLASSES_KEY, None)
    kept = {key: names for key, names in classes.items() if key in made.graph.outputs}
    if kept:
        made.metadata[CLASSES_KEY] = json.dumps(kept, ensure_ascii=False)
    return made


def _is_new(graph: Graph, name: str) -> bool:
    """Whether a value that a part is fed with comes from nowhere yet: an input that parts share."""
    return name not in graph.inputs and name not in graph.producers()


def _renamed(part: _Part, batch: Dim) -> Graph:
    """A copy with other names, without what a file noted about how it was written, and with the batch called alike."""
    network, prefix = part.network, part.prefix
    graph = network.graph
    names = {*graph.inputs, *graph.outputs, *graph.values, *graph.parameters}
    names.update(name for leaf in graph.leaves for name in (*leaf.outputs, *reads(leaf)))
    new = {name: part.fed.get(name, prefix + name) for name in names if name}
    parameters = {}
    for name, item in graph.parameters.items():
        fresh = parameters[new[name]] = Parameter(new[name], item.array, requires_grad=item.requires_grad)
        fresh.role, fresh.learning_rate = item.role, item.learning_rate
    made = renamed(graph, new, parameters, prefix)
    made.origin = None
    made.leaves = [replace(leaf, origin=None) for leaf in made.leaves]
    own = _batch(network)
    for values in (made.inputs, made.outputs, made.values):
        for key, value in values.items():
            shape = value.shape and tuple(batch if dim == own and isinstance(own, str) else dim for dim in value.shape)
            values[key] = replace(value, shape=shape, origin=None)
    return made


def _batch(network: Network) -> Dim:
    for value in network.inputs.values():
        if value.batch_axis is not None and value.shape is not None:
            return value.shape[value.batch_axis]
    return None


def _require_apart(graph: Graph, other: Graph, part: _Part) -> None:
    taken = {*graph.inputs, *graph.parameters, *graph.producers()} - set(part.fed.values())
    clash = [name for name in (*other.inputs, *other.parameters, *other.producers()) if name in taken]
    paths = {leaf.path for leaf in graph.leaves}
    clash += [leaf.path for leaf in other.leaves if leaf.path in paths]
    if clash:
        raise GraphError(
            f"Both networks have something called {clash[0]!r} ({len(clash)} names in all). Pass prefixes=('first/', "
            "'second/') to tell them apart."
        )


def _opsets(parts: Sequence[_Part]) -> dict[str, int]:
    """One version of each domain in which every operator means what it means in its own network."""
    opsets: dict[str, int] = {}
    for part in parts:
        for domain, version in part.network.opsets.items():
            opsets[domain] = max(version, opsets.get(domain, version))
    for part in parts:
        bodies = [part.network.graph, *part.network.functions.values()]
        for leaf in (leaf for body in bodies for leaf in body.walk()):
            wanted = opsets.get(leaf.domain, leaf.version)
            if since_version(leaf.domain, leaf.op_type, leaf.version) != since_version(
                leaf.domain, leaf.op_type, wanted
            ):
                raise GraphError(
                    f"{leaf.operator} {leaf.path!r} is written in opset {leaf.version}, and means something else in "
                    f"opset {wanted} of the other network. Export both in the same opset."
                )
    return opsets


def _take_functions(made: Network, network: Network) -> None:
    for key, body in network.functions.items():
        if made.functions.setdefault(key, body) is not body:
            raise GraphError(f"Both networks define a function {'::'.join(part for part in key if part)}. Rename one.")
