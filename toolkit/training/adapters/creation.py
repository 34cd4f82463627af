"""New adapters: LoRA (Hu et al. 2021) and DoRA (Liu et al. 2024) on the layers that patterns name, or from a file."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from toolkit.errors import GraphError
from toolkit.graph.adapter_tensors import FIRST, MAGNITUDE, SECOND, AdapterTensors
from toolkit.graph.insertion import Names
from toolkit.graph.layer import Graph, Leaf, reads
from toolkit.graph.network import Network
from toolkit.graph.parameter import Parameter
from toolkit.graph.selection import is_pattern, matches, select
from toolkit.graph.surgery import data_values
from toolkit.training.adapters.adapter import Adapter, registry_of
from toolkit.training.adapters.branches import Branch, magnitude_shape, norms, shapes
from toolkit.training.adapters.modules import leaf_of
from toolkit.training.adapters.sites import OPERATORS, Site, find_sites, weights_of

LEAST_OPSET = 7  # before it, Add and Mul did not broadcast by themselves
SHOWN = 3


def lora(
    network: Network,
    *patterns: str,
    rank: int = 8,
    alpha: float | None = None,
    dropout: float = 0.0,
    name: str = "default",
    exclude: Sequence[str] = (),
    freeze_base: bool = True,
    seed: int = 0,
) -> Adapter:
    """Add an adapter to the layers that ``patterns`` name, and switch it on, in place; returns the adapter.

    - ``patterns``: of layers, or of their weights; what they meet that cannot take an adapter is left out and told in
      ``Adapter.left_out``, unless it is named exactly. ``exclude``: patterns of layers to leave out.
    - ``rank``, ``alpha``: weights change by A B * alpha / rank; ``alpha`` is ``rank`` by default. A starts at random
      (``seed``), B at zero: nothing changes before training.
    - ``dropout``: the share of what a branch reads that is zeroed while training.
    - ``freeze_base``: train nothing but adapters; unfreeze a new head afterwards.

    Layers are MatMul, Gemm, Conv, attention with packed projections, and their quantised forms, which stay quantised;
    train those with ``Trainer(straight_through=True)``. Raises ``GraphError`` when no layer can take it.
    """
    return _created(network, "lora", patterns, rank, alpha, dropout, name, exclude, freeze_base, seed)


def dora(
    network: Network,
    *patterns: str,
    rank: int = 8,
    alpha: float | None = None,
    name: str = "default",
    exclude: Sequence[str] = (),
    freeze_base: bool = True,
    seed: int = 0,
) -> Adapter:
    """Like ``lora``, with the magnitude of each output learnt apart from its direction.

    The gradient of the norm is exact, not cut off. There is no dropout, and the weight of a layer must be there in
    floating-point numbers (behind DequantizeLinear is fine). Costs a product and a norm of each weight in every step.
    """
    return _created(network, "dora", patterns, rank, alpha, 0.0, name, exclude, freeze_base, seed)


def attach(network: Network, tensors: AdapterTensors, *, name: str | None = None, freeze_base: bool = True) -> Adapter:
    """Add an adapter that a file holds (``importers.read_adapter``), and switch it on; returns the adapter.

    Raises ``GraphError`` when the network lacks one of its layers, or matrices do not fit.
    """
    registry, name = registry_of(network), tensors.name if name is None else name
    _require_free(network, name)
    with registry.without():
        candidates = [leaf for leaf in network.graph.leaves if leaf.operator in OPERATORS]
        leaves = {key: _named(key, candidates) for key in tensors.layers}
        sites, refused = find_sites(network, leaves.values())
        by_leaf = {id(site.leaf): site for site in sites}
        names, branches = Names(network.graph), []
        for key, leaf in leaves.items():
            site = by_leaf.get(id(leaf))
            if site is None:
                raise GraphError(f"{leaf.operator} {leaf.path!r} cannot take an adapter: {refused.get(leaf.path)}.")
            branches.append(_filled(site, tensors.layers[key], tensors, name, names))
    return _registered(
        Adapter(name, tensors.kind, network, tensors.rank, tensors.alpha, tensors.dropout, branches), freeze_base
    )


def _created(
    network: Network,
    kind: str,
    patterns: Sequence[str],
    rank: int,
    alpha: float | None,
    dropout: float,
    name: str,
    exclude: Sequence[str],
    freeze_base: bool,
    seed: int,
) -> Adapter:
    _require_numbers(rank, alpha, dropout)
    _require_free(network, name)
    with registry_of(network).without():
        chosen, exact = _chosen(network.graph, patterns or ("*",), exclude)
        sites, refused = find_sites(network, chosen)
        if kind == "dora":
            refused |= {site.path: "DoRA needs a weight in floating-point numbers" for site in sites if site.weight < 0}
            sites = [site for site in sites if site.weight >= 0]
        _require_sites(sites, refused, exact, patterns)
        weights = weights_of(network, sites) if kind == "dora" else {}
        random, names = np.random.default_rng(seed), Names(network.graph)
        branches = [_fresh(site, rank, name, names, random, weights.get(id(site))) for site in sites]
    made = Adapter(name, kind, network, rank, float(rank if alpha is None else alpha), dropout, branches, refused)
    return _registered(made, freeze_base)


def _registered(adapter: Adapter, freeze_base: bool) -> Adapter:
    registry = registry_of(adapter.network)
    registry.adapters[adapter.name] = adapter
    if freeze_base:
        registry.freeze()
    return adapter.enable()


def _require_numbers(rank: int, alpha: float | None, dropout: float) -> None:
    if not isinstance(rank, int) or isinstance(rank, bool) or rank < 1:
        raise GraphError(f"An adapter requires a rank that is a whole number of at least 1, got {rank!r}.")
    if alpha is not None and not (math.isfinite(alpha) and alpha > 0):
        raise GraphError(f"An adapter requires a positive alpha, got {alpha!r}. Weights change by A B * alpha / rank.")
    if not 0 <= dropout < 1:
        raise GraphError(f"An adapter requires a dropout in [0, 1), got {dropout!r}.")


def _require_free(network: Network, name: str) -> None:
    taken = registry_of(network).adapters
    if not name or "/" in name or name in taken:
        raise GraphError(
            f"An adapter requires a name without '/' that no other one has, got {name!r} beside {list(taken)}. "
            "Pass name=, or remove the other one."
        )
    if network.opsets.get("", network.opsets.get("ai.onnx", LEAST_OPSET)) < LEAST_OPSET:
        raise GraphError(
            f"Adapters need opset {LEAST_OPSET}, where Add broadcasts; the network is written in opset "
            f"{network.opsets.get('')}. Export the model again in a newer opset."
        )


def _chosen(graph: Graph, patterns: Sequence[str], exclude: Sequence[str]) -> tuple[list[Leaf], list[Leaf]]:
    """The leaves that may be meant, and those of them that are named exactly."""
    meant = select(graph, *patterns)
    data = data_values(graph)
    weights = {name for name in graph.parameters if any(matches(name, pattern.strip("/")) for pattern in patterns)}
    found = {id(leaf) for leaf in meant.layers}
    for leaf in graph.leaves:
        if weights.isdisjoint(reads(leaf)):
            continue
        if any(name in data for name in reads(leaf)):
            found.add(id(leaf))
        else:
            weights.update(leaf.outputs)  # a weight on its way through Transpose or DequantizeLinear
    named = {pattern.strip("/") for pattern in patterns if not is_pattern(pattern)}
    dropped = {id(leaf) for pattern in exclude for leaf in select(graph, pattern).layers}
    kept = [leaf for leaf in graph.leaves if id(leaf) in found and id(leaf) not in dropped]
    return kept, [leaf for leaf in kept if leaf.path.strip("/") in named]


def _require_sites(
    sites: Sequence[Site], refused: dict[str, str], exact: Sequence[Leaf], patterns: Sequence[str]
) -> None:
    able = {id(site.leaf) for site in sites}
    for leaf in exact:
        if id(leaf) not in able:
            why = refused.get(leaf.path, f"adapters work on {', '.join(sorted(OPERATORS))}")
            raise GraphError(
                f"{leaf.operator} {leaf.path!r} cannot take an adapter: {why}. Name a layer with a weight of its own."
            )
    if not sites:
        listed = "; ".join(f"{path!r}: {why}" for path, why in list(refused.items())[:SHOWN])
        raise GraphError(
            f"None of the layers that {list(patterns)} meets can take an adapter ({listed or 'none has a weight'}). "
            f"Adapters work on {', '.join(sorted(OPERATORS))}."
        )


def _fresh(
    site: Site, rank: int, name: str, names: Names, random: np.random.Generator, weight: np.ndarray | None
) -> Branch:
    first, second = shapes(site, rank)
    bound = 1.0 / math.sqrt(max(site.columns, 1))
    a = random.uniform(-bound, bound, first).astype(site.dtype)
    magnitude = None if weight is None else norms(site, weight)
    return _branch(site, name, names, a, np.zeros(second, site.dtype), magnitude)


def _filled(site: Site, matrices: dict[str, np.ndarray], tensors: AdapterTensors, name: str, names: Names) -> Branch:
    wanted = dict(zip((FIRST, SECOND), shapes(site, tensors.rank), strict=True))
    if tensors.kind == "dora":
        wanted[MAGNITUDE] = magnitude_shape(site)
        if site.weight < 0:
            raise GraphError(f"{site.leaf.operator} {site.path!r}: DoRA needs a weight in floating-point numbers.")
    given = {key: array.shape for key, array in matrices.items()}
    fits = given.keys() == wanted.keys() and all(given[key] == wanted[key] for key in (FIRST, SECOND))
    if not fits or any(matrices[key].size != math.prod(shape) for key, shape in wanted.items()):
        raise GraphError(
            f"{site.leaf.operator} {site.path!r} with a weight {site.shape} requires the matrices {wanted} for rank "
            f"{tensors.rank}, got {given}. The adapter belongs to another network."
        )
    arrays = [matrices[key].reshape(shape).astype(site.dtype) for key, shape in wanted.items()]
    return _branch(site, name, names, *arrays)


def _branch(
    site: Site, name: str, names: Names, a: np.ndarray, b: np.ndarray, magnitude: np.ndarray | None = None
) -> Branch:
    scope = f"{site.path.strip('/')}/{name}"
    items = [
        None if array is None else Parameter(names.fresh(f"{scope}/{kind}"), np.ascontiguousarray(array))
        for kind, array in ((FIRST, a), (SECOND, b), (MAGNITUDE, magnitude))
    ]
    assert items[0] is not None and items[1] is not None
    for item in items:
        if item is not None:
            item.array.flags.writeable = False
    return Branch(site, items[0], items[1], items[2])


def _named(key: str, candidates: Sequence[Leaf]) -> Leaf:
    leaf = leaf_of(key, candidates)
    if leaf is None:
        examples = ", ".join(repr(item.path) for item in candidates[:SHOWN])
        raise GraphError(
            f"The adapter changes {key!r}, which means no layer of this network, or several. Layers that can take an "
            f"adapter are named like {examples or '(none)'}."
        )
    return leaf
