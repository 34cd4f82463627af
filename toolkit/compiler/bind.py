"""Binding: a static network and the sizes of one context become a program in which every shape is concrete.

Only what the wanted outputs need is bound. What only the data can tell is left to later segments (``segment``), or was
told by a run before (``decisions``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from toolkit.compiler.binder import Binder
from toolkit.compiler.decisions import Decisions
from toolkit.compiler.program import Program, Variable
from toolkit.compiler.rebatch import Rebatch, may_hold_batch
from toolkit.compiler.segment import Item, Scope, Segment, Unknown, close, replaced
from toolkit.compiler.sizes import frozen_batch, input_shapes
from toolkit.compiler.unrolling import MOST_LEAVES, MOST_LEAVES_TRAINING
from toolkit.errors import GraphError, ShapeError, UnsupportedOperatorError
from toolkit.graph.layer import Graph, Leaf
from toolkit.graph.network import Network
from toolkit.operators.inference import since_version
from toolkit.operators.long_tail import reference_for
from toolkit.operators.record import TensorType, lookup

Types = Sequence[TensorType | None]  # None for a value that is no tensor


def bind(
    network: Network,
    batch_size: int | None,
    dims: Mapping[str, int] | None = None,
    *,
    outputs: Sequence[str] | None = None,
    decisions: Decisions | None = None,
) -> Program:
    """Bind ``network`` for ``batch_size`` items and the sizes ``dims`` of its other symbolic dimensions.

    ``batch_size=None`` keeps the batch the file fixed. A model whose batch was frozen at export is rebatched (see
    ``rebatch``). Raises ``InputError`` for sizes that are missing or do not fit, ``UnsupportedOperatorError`` with
    every operator that cannot run, ``ShapeError`` from inference, ``DataDependentShapeError`` naming the layer when the
    wanted outputs cannot be bound without data. Loops are unrolled; ``decisions`` of a run bind the network as it was
    executed then.
    """
    segment = first_segment(
        network, batch_size, dims, outputs=outputs, decisions=decisions, most_leaves=MOST_LEAVES_TRAINING
    )
    return segment.require_static()


def first_segment(
    network: Network,
    batch_size: int | None,
    dims: Mapping[str, int] | None = None,
    *,
    outputs: Sequence[str] | None = None,
    types: Mapping[str, TensorType | None] | None = None,
    decisions: Decisions | None = None,
    most_leaves: int = MOST_LEAVES,
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
        original = Binder(network)
        scope = original.open(_types(network, input_shapes(network, frozen, dims or {})))
        original.bind_graph(network.graph, scope, wanted, prefix="")
        rebatch = Rebatch(frozen, batch_size, original.shapes)
    binder = Binder(network, rebatch=rebatch, decisions=decisions, most_leaves=most_leaves)
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
    binder = Binder(network)
    scope = binder.open(types)
    return binder.segment(body, {**captured, **scope}, list(body.outputs), prefix)


def next_segment(network: Network, last: Segment, types: Types) -> Segment:
    """Bind what ``last`` had to leave, now that the values it carries have these ``types``, in that order."""
    binder = Binder(network)
    carried = zip(last.carried(), types, strict=True)
    now: dict[Variable | Unknown, Item] = {item: binder.enter(item, known) for item, known in carried}
    for waiting in last.rest:
        scope = {name: replaced(item, now) for name, item in waiting.scope.items()}
        binder.iterations = waiting.inside
        binder.bind_leaf(waiting.leaf, scope, waiting.prefix)
        now.update((item, scope[name]) for name, item in waiting.outputs.items())
    outputs = {name: replaced(item, now) for name, item in last.outputs.items()}
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
