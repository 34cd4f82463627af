"""What an adapted network becomes for those who run it: better weights, or optional inputs for adapters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from toolkit.errors import GraphError
from toolkit.graph.adapter_tensors import FIRST, MAGNITUDE, SECOND
from toolkit.graph.copying import copied
from toolkit.graph.layer import Graph
from toolkit.graph.network import Network
from toolkit.graph.parameter import Parameter
from toolkit.graph.value import Dim, Shape, Value
from toolkit.training.adapters.adapter import Adapter, registry_of
from toolkit.training.adapters.branches import Branch, difference, norms, shapes
from toolkit.training.adapters.installation import Active, install
from toolkit.training.adapters.sites import weights_of

NEUTRAL_RANK = 1  # of the zeros that stand for no adapter: every engine multiplies them


def activate(network: Network, *names: str) -> None:
    """Let exactly the adapters ``names`` be active, in that order; without names the network is as it was before them.

    Raises ``GraphError`` for a name that no adapter has.
    """
    registry = registry_of(network)
    for name in names:
        registry.chosen(name)
    registry.switch(list(dict.fromkeys(names)))


def installed(network: Network) -> dict[str, Adapter]:
    """The adapters of a network by name, those that are switched off included."""
    return dict(registry_of(network).adapters)


def merged(network: Network) -> Network:
    """A copy of the network with its active adapters taken into the weights: the file's own graph with better weights.

    The network stays as it is, and the copy shares every parameter that no adapter changes. Raises ``GraphError`` for
    layers whose weight is quantised, computed, or read by other layers too: keep the adapter apart there.
    """
    registry = registry_of(network)
    with registry.without():
        weights = _changed(network, [registry.adapters[name] for name in registry.active])
        made = copied(network)
    for name, array in weights.items():
        old = made.graph.parameters[name]
        fresh = Parameter(name, array, requires_grad=old.requires_grad, origin=old.origin)
        fresh.role, fresh.learning_rate = old.role, old.learning_rate
        made.graph.parameters[name] = fresh
    return made


def merge(network: Network, name: str | None = None) -> None:
    """Take one adapter into the weights for good, in place; by default the one that is active. See ``merged``."""
    registry = registry_of(network)
    adapter = registry.chosen(name)
    with registry.without():
        weights = _changed(network, [adapter])
    adapter.remove()
    for key, array in weights.items():
        network.graph.parameters[key].assign(array)


def exposed(network: Network, name: str | None = None) -> Network:
    """A copy of the network whose layers take the matrices of an adapter as optional inputs, neutral by default.

    It has the inputs ``LAYER/lora_A``, ``LAYER/lora_B`` (and ``LAYER/lora_magnitude_vector``) at the layers of the
    adapter ``name``, by default the active one, for adapters of any rank: what ``exporters.save_adapter`` writes as
    ``.onnx_adapter`` fits them. Without an adapter it computes what the network computes without adapters.
    """
    registry = registry_of(network)
    adapter = registry.chosen(name)
    with registry.without():
        made = copied(network)
        twins = dict(zip(map(id, network.graph.leaves), made.graph.leaves, strict=True))
        present = [item for item in adapter.branches if id(item.site.leaf) in twins and id(item.site.end) in twins]
        weights = weights_of(network, [branch.site for branch in present if branch.magnitude is not None])
        neutral = [_neutral(branch, network, weights.get(id(branch.site))) for branch in present]
    for branch in neutral:
        site = branch.site
        branch.site = replace(site, leaf=twins[id(site.leaf)], end=twins[id(site.end)])
    wanted = [Active(branch, branch.site.path.strip("/"), None) for branch in neutral]
    install(made, wanted)
    made.ir_version = max(made.ir_version, 4)  # before it, initializers were no defaults of inputs
    for item in wanted:
        for parameter in item.branch.parameters:
            made.graph.inputs[parameter.name] = Value(
                parameter.name, parameter.dtype, _open_shape(item.branch, parameter)
            )
    return made


def _neutral(branch: Branch, network: Network, weight: np.ndarray | None) -> Branch:
    """A branch of zeros at the site of another; with the norms of ``weight`` for DoRA."""
    site = branch.site
    a, b = (
        _exact(network, site.path, kind, np.zeros(shape, site.dtype))
        for kind, shape in zip((FIRST, SECOND), shapes(site, NEUTRAL_RANK), strict=True)
    )
    return Branch(site, a, b, None if weight is None else _exact(network, site.path, MAGNITUDE, norms(site, weight)))


def _exact(network: Network, path: str, kind: str, array: np.ndarray) -> Parameter:
    name = f"{path.strip('/')}/{kind}"
    if name in network.graph.parameters or name in network.graph.inputs:
        raise GraphError(f"The network has a tensor {name!r} already, which is what an input for adapters is called.")
    return Parameter(name, array)


def _open_shape(branch: Branch, parameter: Parameter) -> Shape:
    """The declared shape of an input for adapters: the rank is open."""
    if parameter is branch.magnitude:
        return parameter.shape
    axis = 1 if parameter is branch.b and branch.site.is_convolution else 0
    if not branch.site.is_convolution:
        axis = 1 if parameter is branch.a else 0
    rank: Dim = "lora_rank" if branch.site.group == 1 or parameter is branch.b else f"lora_rank x {branch.site.group}"
    return tuple(rank if place == axis else size for place, size in enumerate(parameter.shape))


def _changed(network: Network, adapters: Sequence[Adapter]) -> dict[str, np.ndarray]:
    """The new content of each parameter that adapters change, in a network without their leaves."""
    arrays: dict[str, np.ndarray] = {}
    present = {id(leaf) for leaf in network.graph.leaves}
    pairs = [(branch, adapter.scale) for adapter in adapters for branch in adapter.branches]
    for branch, scale in sorted(pairs, key=lambda pair: not pair[0].is_inside):  # norms are taken before what is beside
        if id(branch.site.leaf) not in present:
            continue
        parameter, order = _stored(network.graph, branch)
        old = arrays.get(parameter.name, parameter.array)
        arrays[parameter.name] = _merged(branch, scale, old.transpose(order)).transpose(np.argsort(order))
    return {name: np.ascontiguousarray(array, network.graph.parameters[name].dtype) for name, array in arrays.items()}


def _merged(branch: Branch, scale: float, weight: np.ndarray) -> np.ndarray:
    site = branch.site
    change = scale * difference(site, branch.a.array, branch.b.array)
    if not branch.is_inside:
        change = change / site.factor
    exact = weight.astype(np.float64) + change
    if branch.magnitude is None:
        return exact
    return exact * (branch.magnitude.array.astype(np.float64) / norms(site, exact))


def _stored(graph: Graph, branch: Branch) -> tuple[Parameter, list[int]]:
    """The parameter behind the weight of a site, and how its axes are turned on the way. Raises ``GraphError``."""
    site, producers, consumers = branch.site, graph.producers(), graph.consumers()
    if site.weight < 0:
        raise _apart(branch, "its weight is quantised, and would have to be rounded again")
    name, order = site.leaf.inputs[site.weight], list(range(len(site.shape)))
    while True:
        if len(consumers.get(name, ())) > 1 or name in graph.outputs:
            raise _apart(branch, f"other layers read {name!r} as well and would change with it")
        if name in graph.parameters:
            return graph.parameters[name], order
        maker = producers[name]
        if maker.op_type == "Transpose" and not maker.domain:
            given = maker.attributes.get("perm", list(range(len(order)))[::-1])
            order = [given[axis] for axis in order]
        elif maker.op_type != "Identity":
            raise _apart(branch, f"its weight comes from {maker.operator} {maker.path!r}")
        name = maker.inputs[0]


def _apart(branch: Branch, why: str) -> GraphError:
    site = branch.site
    return GraphError(
        f"{site.leaf.operator} {site.path!r} cannot take its adapter into the weight: {why}. Save the network with the "
        "adapter kept apart, or with inputs for it (adapters.exposed)."
    )
