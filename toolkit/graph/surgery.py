"""Surgery: pure edits of a static graph. What an edit does not touch stays as the file has it.

Nothing here runs or infers anything; the caller supplies what must be known about shapes, and counts the revision.
"""

from __future__ import annotations

from collections.abc import Iterable

from toolkit.errors import GraphError
from toolkit.graph.layer import Graph, Leaf, reads
from toolkit.graph.network import Network

LINEAR_OPERATORS = ("Gemm", "MatMul")


def rename_value(graph: Graph, old: str, new: str) -> None:
    """Give a computed value another name wherever the graph's own leaves mention it."""
    for leaf in graph.leaves:
        leaf.inputs = [new if name == old else name for name in leaf.inputs]
        leaf.outputs = [new if name == old else name for name in leaf.outputs]
    if old in graph.values:
        value = graph.values.pop(old)
        value.name = new
        graph.values[new] = value


def data_values(graph: Graph) -> set[str]:
    """The names of all values that depend on an input of the graph, these included."""
    found = set(graph.inputs) - set(graph.parameters)
    for leaf in graph.leaves:
        if any(name in found for name in reads(leaf)):
            found.update(name for name in leaf.outputs if name)
    return found


def ancestors(graph: Graph, names: Iterable[str]) -> list[Leaf]:
    """The leaves that ``names`` are computed from, in execution order."""
    needed, kept = set(names), []
    for leaf in reversed(graph.leaves):
        if any(name in needed for name in leaf.outputs if name):
            kept.append(leaf)
            needed.update(reads(leaf))
    return kept[::-1]


def head_input(graph: Graph, output: str) -> str:
    """The value that the last linear layer before ``output`` reads: where a head usually begins.

    A linear layer is a Gemm or MatMul with one operand that does not depend on the data. Raises ``GraphError`` when
    none leads to the output.
    """
    data = data_values(graph)
    for leaf in reversed(ancestors(graph, [output])):
        moving = [name for name in leaf.inputs[:2] if name in data]
        if leaf.op_type in LINEAR_OPERATORS and not leaf.domain and len(moving) == 1:
            return moving[0]
    raise GraphError(
        f"No linear layer (Gemm, or MatMul with a weight) leads to output {output!r}, so where its head begins cannot "
        "be told. Name a layer or a value: replace_head(network, head, at='...')."
    )


def value_at(graph: Graph, at: str, output: str) -> str:
    """The value at which ``at`` cuts: the value of that name, or what the layer or scope of that path reads first.

    Raises ``GraphError`` when there is no such thing, when it does not depend on the data, or when ``output`` does not
    depend on it.
    """
    data = data_values(graph)
    leads = ancestors(graph, [output])
    if at in graph.inputs or at in graph.producers():
        cut = at
    else:
        path = at.strip("/")
        found = [leaf for leaf in graph.leaves if leaf.path.strip("/") == path or leaf.name.strip("/") == path]
        found = found or [leaf for leaf in graph.leaves if leaf.path.strip("/").startswith(path + "/")]
        moving = [name for leaf in found for name in reads(leaf) if name in data]
        if not moving:
            examples = ", ".join(repr(leaf.path) for leaf in leads[-3:])
            raise GraphError(
                f"The network has no layer or value {at!r} that data reaches. The last layers before output "
                f"{output!r} are {examples}."
            )
        cut = moving[0]
    if cut not in data or not (cut == output or any(cut in reads(leaf) for leaf in leads)):
        raise GraphError(
            f"Output {output!r} is not computed from data through {cut!r}, so it cannot be cut there. Name a layer or "
            "value between an input and that output."
        )
    return cut


def prune(graph: Graph, live_before: Iterable[Leaf]) -> None:
    """Drop the leaves of ``live_before`` that no output needs any more, and the parameters that only they read.

    What was dead before the edit stays, as the file has it, unless it reads something that is dropped.
    """
    live = {id(leaf) for leaf in ancestors(graph, graph.outputs)}
    dropped = {id(leaf): leaf for leaf in live_before if id(leaf) not in live}
    gone = {name for leaf in dropped.values() for name in leaf.outputs if name}
    for leaf in graph.leaves:
        if id(leaf) not in dropped and any(name in gone for name in reads(leaf)):
            dropped[id(leaf)] = leaf
            gone.update(name for name in leaf.outputs if name)
    graph.leaves = [leaf for leaf in graph.leaves if id(leaf) not in dropped]
    still_read = {name for leaf in graph.leaves for name in reads(leaf)} | set(graph.outputs)
    for leaf in dropped.values():
        for name in reads(leaf):
            if name in graph.parameters and name not in still_read:
                del graph.parameters[name]
                graph.inputs.pop(name, None)  # old files list initializers among the inputs
                graph.values.pop(name, None)  # what is declared of a Constant node
    produced = set(graph.producers()) | set(graph.parameters) | set(graph.inputs)
    for name in [name for name in graph.values if name in gone and name not in produced]:
        del graph.values[name]


def set_batch_statistics(network: Network, *, learning: bool) -> None:
    """Let every BatchNormalization learn from the statistics of its batch (training form), or use the running ones.

    Files exported for inference use the running statistics, and fine-tuning keeps them so. Raises ``GraphError`` for
    ``learning`` in an opset before 14, which has no training form.
    """
    graph = network.graph
    taken = set(graph.producers()) | set(graph.parameters) | set(graph.inputs)
    for leaf in graph.leaves:
        if leaf.op_type != "BatchNormalization" or leaf.domain:
            continue
        if not learning:
            leaf.attributes.pop("training_mode", None)
            leaf.outputs = leaf.outputs[:1]
            continue
        if leaf.version < 14:
            raise GraphError(
                f"BatchNormalization {leaf.path!r} is written in opset {leaf.version}, whose form for training is not "
                "usable. Fine-tune with the running statistics, or export the model with opset 14 or newer."
            )
        leaf.attributes["training_mode"] = 1
        moved = [name for name in (f"{leaf.path}/moved_mean", f"{leaf.path}/moved_var") if name not in taken]
        leaf.outputs = leaf.outputs[:3] if len(leaf.outputs) >= 3 else [leaf.outputs[0], *moved]
    network.revision += 1
