"""Heads: the last layers of a network make way for new ones, or get company; the body keeps what it has learnt.

The shape of the value at the cut comes from binding the body, because imported files often do not declare it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from toolkit.compiler.bind import bind
from toolkit.compiler.sizes import frozen_batch
from toolkit.errors import GraphError
from toolkit.graph.class_names import name_classes
from toolkit.graph.insertion import LISTED, Names, opset_of
from toolkit.graph.layer import Graph
from toolkit.graph.network import Network
from toolkit.graph.surgery import ancestors, data_values, head_input, prune, rename_value, value_at
from toolkit.graph.value import Dim, Shape, Value
from toolkit.layers.builder import Builder
from toolkit.layers.definition import Definition
from toolkit.layers.sequential import append_named
from toolkit.training.adapters.adapter import registry_of


def replace_head(
    network: Network,
    head: Definition,
    at: str | None = None,
    output: str | None = None,
    *,
    classes: Sequence[str] | None = None,
    seed: int = 0,
    dims: Mapping[str, int] | None = None,
) -> Network:
    """Replace what lies between ``at`` and ``output`` by ``head``, in place; returns the network.

    - ``at``: a value, which the head then reads, or a layer (or scope) path, from which on everything is replaced. By
      default the last linear layer before the output, with all that follows it.
    - ``output``: the name of the output that gets the new head, needed where there are several. It keeps its name.
    - ``classes``: what its classes are called, noted in the model's metadata (``surgery.class_names``).
    - ``seed`` decides the fresh weights; ``dims`` are sizes of symbolic dimensions other than the batch.

    Leaves and parameters that nothing needs any more are dropped; everything else stays as the file has it. Raises
    ``GraphError`` when the cut cannot be made there and ``ShapeError`` when the head does not fit; the network is then
    as before.
    """
    with registry_of(network).without():
        _replace(network, head, at, output, classes, seed, dims)
    network.revision += 1
    return network


def append_head(
    network: Network,
    head: Definition,
    at: str,
    output: str,
    *,
    classes: Sequence[str] | None = None,
    seed: int = 0,
    dims: Mapping[str, int] | None = None,
) -> Network:
    """Add ``head`` behind ``at`` as one more output, called ``output``, in place; returns the network.

    Everything that is there stays. ``at``, ``classes``, ``seed`` and ``dims`` as for ``replace_head``; the path
    of a layer or scope means what that gives. Raises ``GraphError`` when the name is taken or no head can begin there.
    """
    graph = network.graph
    if output in Names(graph).taken or not output:
        raise GraphError(f"append_head requires a name for its output that nothing has yet, got {output!r}.")
    with registry_of(network).without():
        cut = _value_behind(graph, at)
        trial, y, fresh = _built(network, head, _value_at_cut(network, cut, dims), seed)
        rename_value(trial, fresh, output)
        trial.values.pop(output, None)
        trial.outputs[output] = Value(output, y.dtype, y.shape, y.batch_axis)
        checked = replace(network, graph=trial, metadata=dict(network.metadata))
        if classes is not None:
            name_classes(checked, classes, output)
        _list_among_inputs(network, graph, trial)
        graph.leaves, graph.parameters, graph.values = trial.leaves, trial.parameters, trial.values
        graph.outputs, network.metadata = trial.outputs, checked.metadata
    network.revision += 1
    return network


def _replace(
    network: Network,
    head: Definition,
    at: str | None,
    output: str | None,
    classes: Sequence[str] | None,
    seed: int,
    dims: Mapping[str, int] | None,
) -> None:
    graph = network.graph
    name = _output_name(network, output)
    cut = head_input(graph, name) if at is None else value_at(graph, at, name)
    x = _value_at_cut(network, cut, dims)
    live = ancestors(graph, graph.outputs)
    trial, y, fresh = _built(network, head, x, seed)
    value = Value(name, y.dtype, y.shape, y.batch_axis)
    trial.outputs[name] = value
    checked = replace(network, graph=trial, metadata=dict(network.metadata))
    name_classes(checked, classes, name)  # names of former classes mean nothing any more
    _list_among_inputs(network, graph, trial)
    _take_over(graph, trial, name, fresh, value)
    network.metadata = checked.metadata
    prune(graph, live)


def _built(network: Network, head: Definition, x: Value, seed: int) -> tuple[Graph, Value, str]:
    """The graph with the head behind ``x``, what the head gives, and under which name."""
    graph = network.graph
    trial = Graph(graph.name, dict(graph.inputs), dict(graph.outputs), list(graph.leaves), dict(graph.parameters))
    trial.values = dict(graph.values)
    builder = Builder(trial, opset=opset_of(network), seed=seed)
    with builder.scope(head.name or "head"):
        y = append_named(head, builder, x, fresh := builder.name("output"))
    return trial, y, fresh


def _list_among_inputs(network: Network, graph: Graph, trial: Graph) -> None:
    """Files of the first versions list every initializer among the inputs."""
    if network.ir_version < LISTED:
        for key, item in trial.parameters.items():
            if key not in graph.parameters:
                graph.inputs.setdefault(key, Value(key, item.dtype, item.shape))


def _value_behind(graph: Graph, at: str) -> str:
    """The value of that name, or what the layer of that path gives. Raises ``GraphError``."""
    data = data_values(graph)
    path = at.strip("/")
    given = [leaf for leaf in graph.leaves if path in (leaf.path.strip("/"), leaf.name.strip("/"))]
    given = given or [leaf for leaf in graph.leaves if leaf.path.strip("/").startswith(f"{path}/")]
    cut = at if at in data else next((leaf.outputs[0] for leaf in given[::-1] if leaf.outputs[0] in data), None)
    if cut is None:
        examples = ", ".join(repr(leaf.path) for leaf in graph.leaves[-3:])
        raise GraphError(
            f"append_head(at={at!r}): the network has no such layer or value that data reaches. Its last layers are "
            f"{examples}."
        )
    return cut


def _output_name(network: Network, output: str | None) -> str:
    names = list(network.outputs)
    if output is None and len(names) == 1:
        return names[0]
    if output not in names:
        raise GraphError(
            f"replace_head(output={output!r}): the network has the outputs {names}. Name one of them with output=."
        )
    return output


def _value_at_cut(network: Network, cut: str, dims: Mapping[str, int] | None) -> Value:
    """The value at the cut with the shape that binding the body gives, and the symbols that the file declares."""
    graph = network.graph
    if cut in graph.inputs:
        return graph.inputs[cut]
    declared = graph.values.get(cut) or graph.outputs.get(cut) or Value(cut)
    batch = frozen_batch(network) or 1
    body = Graph(graph.name, graph.inputs, {cut: declared}, ancestors(graph, [cut]), graph.parameters, graph.values)
    bound = bind(Network(body, network.opsets, network.functions), batch, dims).outputs[cut]
    if not bound.shape or bound.shape[0] != batch:
        raise GraphError(
            f"A head cannot begin at {cut!r}: its shape {bound.shape} at batch size {batch} does not start with the "
            "batch axis. Cut at another value: replace_head(network, head, at='...')."
        )
    return Value(cut, bound.dtype, _symbolic(bound.shape, declared.shape, _batch_dim(network)), batch_axis=0)


def _batch_dim(network: Network) -> Dim:
    for value in network.inputs.values():
        if value.batch_axis is not None and value.shape is not None:
            return value.shape[value.batch_axis]
    return None


def _symbolic(bound: tuple[int, ...], declared: Shape | None, batch: Dim) -> Shape:
    if declared is None or len(declared) != len(bound):
        return (batch, *bound[1:])
    known = [size if not isinstance(dim, str) else dim for size, dim in zip(bound, declared, strict=True)]
    return (batch, *known[1:])


def _take_over(graph: Graph, trial: Graph, name: str, fresh: str, value: Value) -> None:
    """Make the head's result ``fresh`` the output ``name``; what bore the name before gets another where still read."""
    aside = f"{fresh}_before"
    graph.leaves, graph.parameters, graph.values = trial.leaves, trial.parameters, trial.values
    rename_value(graph, name, aside)
    rename_value(graph, fresh, name)
    graph.outputs[name] = value
