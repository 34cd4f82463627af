"""Sites: the layers that can take an adapter, what their weight is, and where a low-rank branch reads and adds.

- MatMul, Gemm, Conv and their relatives with a float weight, computed from the file's tensors or stored
- the same with a quantised weight behind DequantizeLinear, and MatMulNBits, MatMulBnb4: the branch stands beside them
- MatMulInteger and ConvInteger: the branch reads what was quantised for them and adds where their sums are scaled
- QLinearMatMul, QLinearConv, QGemm: the branch reads dequantised, and its sum is quantised again
- com.microsoft Attention and whatever has an activation inside: the branch adds to the weight

Everything else is refused with the reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from toolkit.compiler.bind import bind
from toolkit.errors import GraphError, ToolkitError
from toolkit.graph.layer import Graph, Leaf
from toolkit.graph.network import Network
from toolkit.graph.parameter import is_trainable_dtype
from toolkit.graph.surgery import ancestors, data_values
from toolkit.graph.value import Value

MICROSOFT = "com.microsoft"
FLOAT_PRODUCTS = {"MatMul", "Gemm", "Conv", f"{MICROSOFT}::FusedMatMul", f"{MICROSOFT}::FusedGemm"}
INSIDE_ONLY = {f"{MICROSOFT}::Attention", f"{MICROSOFT}::FusedConv"}
PACKED = {f"{MICROSOFT}::MatMulNBits": 2, f"{MICROSOFT}::MatMulBnb4": 2}  # and the input that holds the scales
FLOAT_ENDS = {f"{MICROSOFT}::DynamicQuantizeMatMul": 2, f"{MICROSOFT}::MatMulIntegerToFloat": 3}
INTEGER_SUMS = {"MatMulInteger", "ConvInteger"}
REQUANTISED = {"QLinearMatMul": 6, "QLinearConv": 6, f"{MICROSOFT}::QGemm": 7}  # and where the result's scale is
OPERATORS = [*FLOAT_PRODUCTS, *INSIDE_ONLY, *PACKED, *FLOAT_ENDS, *INTEGER_SUMS, *REQUANTISED]


@dataclass(frozen=True, slots=True)
class Grid:
    """A scale and a zero point, by the names of their values (``""`` for no zero point)."""

    scale: str
    zero_point: str = ""

    @property
    def inputs(self) -> list[str]:
        return [self.scale, self.zero_point] if self.zero_point else [self.scale]


@dataclass(eq=False, slots=True)
class Site:
    """Where an adapter works on ``leaf``.

    - ``shape``: of the weight as the layer has it; (in, out), (out, in) where ``is_transposed``, or
      (out, in / ``group``, k1, ...) where ``is_convolution``
    - ``weight``: the input that holds it in floats, -1 where it is quantised inside of the layer
    - ``x``, ``end``: the value that the branch reads, and the leaf whose first output it adds to; ``x_grid`` and
      ``y_grid`` where these are integers
    - ``is_inside``: the branch can only add to the weight, not to the output
    - ``factor``: what the layer multiplies its product by
    """

    leaf: Leaf
    shape: tuple[int, ...]
    dtype: np.dtype
    weight: int
    x: str
    end: Leaf
    x_grid: Grid | None = None
    y_grid: Grid | None = None
    is_transposed: bool = False
    is_convolution: bool = False
    is_inside: bool = False
    group: int = 1
    factor: float = 1.0
    geometry: dict[str, Any] = field(default_factory=dict)

    @property
    def path(self) -> str:
        return self.leaf.path

    @property
    def columns(self) -> int:
        """How many features the weight reads, those of one group."""
        if self.is_convolution:
            return int(np.prod(self.shape[1:]))
        return self.shape[1] if self.is_transposed else self.shape[0]

    @property
    def rows(self) -> int:
        """How many features the weight gives."""
        return self.shape[0] if self.is_convolution or self.is_transposed else self.shape[1]


class Surroundings:
    """What the sites of a network are judged by: who reads and makes each value, and the types of its weights."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.data = data_values(network.graph)
        self.producers, self.consumers = network.graph.producers(), network.graph.consumers()
        self._types: dict[str, tuple[tuple[int, ...], np.dtype]] = {}

    def learn(self, names: Iterable[str]) -> None:
        """Find out the types of weights that leaves compute from the file's tensors, all in one go."""
        graph = self.network.graph
        wanted = [name for name in names if name not in graph.parameters and name not in self.data and name]
        if not wanted:
            return
        inside = Graph(graph.name, {}, {name: Value(name) for name in wanted}, ancestors(graph, wanted))
        inside.parameters, inside.values = graph.parameters, graph.values
        program = bind(Network(inside, self.network.opsets, self.network.functions), None)
        self._types.update((name, (item.shape, item.dtype)) for name, item in program.outputs.items())

    def type_of(self, name: str) -> tuple[tuple[int, ...], np.dtype] | None:
        """Shape and element type of a value that does not depend on data, ``None`` for others."""
        item = self.network.graph.parameters.get(name)
        return self._types.get(name) if item is None else (item.shape, item.dtype)

    def only_consumer(self, name: str, *op_types: str) -> Leaf:
        """The one leaf that reads a value. Raises ``GraphError`` when there are others, or it is another operator."""
        found = self.consumers.get(name, [])
        if len(found) != 1 or found[0].op_type not in op_types or name in self.network.outputs:
            listed = ", ".join(leaf.op_type for leaf in found) or "nobody"
            raise GraphError(f"its integer sums must be read by {' or '.join(op_types)} alone, they are by {listed}")
        return found[0]


def find_sites(network: Network, leaves: Iterable[Leaf]) -> tuple[list[Site], dict[str, str]]:
    """The sites among ``leaves``, and why each other leaf of an operator with a weight is none, by its path."""
    known = Surroundings(network)
    candidates = [leaf for leaf in leaves if leaf.operator in OPERATORS]
    refused: dict[str, str] = {}
    try:
        known.learn(name for leaf in candidates for name in leaf.inputs)
    except ToolkitError as error:
        refused["weights"] = str(error)
    sites = []
    for leaf in candidates:
        try:
            sites.append(_site(leaf, known))
        except GraphError as error:
            refused[leaf.path] = str(error)
    return sites, refused


def _site(leaf: Leaf, known: Surroundings) -> Site:
    operator = leaf.operator
    if operator in PACKED:
        return _packed(leaf, known)
    if operator in INTEGER_SUMS:
        return _integer_sums(leaf, known)
    if operator in REQUANTISED:
        return _requantised(leaf, known)
    if operator in FLOAT_ENDS:
        return _float_end(leaf, known)
    return _plain(leaf, known)


def _plain(leaf: Leaf, known: Surroundings) -> Site:
    """A product with a weight in floats."""
    constant = [index for index, name in enumerate(leaf.inputs[:2]) if name and name not in known.data]
    if len(constant) != 1:
        raise GraphError("it has no weight: both factors come from data, or none does")
    index = constant[0]
    found = known.type_of(leaf.inputs[index])
    if found is None or not is_trainable_dtype(found[1]):
        raise GraphError(f"its weight {leaf.inputs[index]!r} is not of floating-point numbers of a known shape")
    shape, dtype = found
    site = Site(leaf, shape, dtype, index, leaf.inputs[0], leaf)
    if leaf.op_type in ("Conv", "FusedConv"):
        _describe_convolution(site)
    elif len(shape) != 2:
        raise GraphError(f"its weight {leaf.inputs[index]!r} must be a matrix, it is {shape}")
    else:
        site.is_transposed = bool(leaf.attributes.get("transB", 0)) if index == 1 else True
    alpha = float(leaf.attributes.get("alpha", 1.0)) if leaf.op_type != "Attention" else 1.0
    moves_data = any(leaf.attributes.get(name, 0) for name in ("transA", "transBatchA", "transBatchB"))
    site.is_inside = index == 0 or moves_data or leaf.operator in INSIDE_ONLY or "activation" in leaf.attributes
    site.factor = alpha
    return site


def _describe_convolution(site: Site) -> None:
    leaf = site.leaf
    if len(site.shape) < 3:
        raise GraphError(f"its weight must have spatial axes, it is {site.shape}")
    site.is_convolution, site.group = True, int(leaf.attributes.get("group", 1))
    kept = ("auto_pad", "dilations", "pads", "strides")
    site.geometry = {name: leaf.attributes[name] for name in kept if name in leaf.attributes}
    if site.shape[1] == 1 and site.group > 1:
        raise GraphError("it is a depthwise convolution, whose weight is smaller than an adapter of it")


def _packed(leaf: Leaf, known: Surroundings) -> Site:
    """A product with a weight packed into few bits; its shape is an attribute."""
    scales = known.type_of(leaf.inputs[PACKED[leaf.operator]])
    if scales is None:
        raise GraphError("its scales come from data")
    n, k = int(leaf.attributes["N"]), int(leaf.attributes["K"])
    dtype = known.network.inputs[leaf.inputs[0]].dtype if leaf.inputs[0] in known.network.inputs else None
    return Site(leaf, (k, n), dtype or scales[1], -1, leaf.inputs[0], leaf)


def _integer_sums(leaf: Leaf, known: Surroundings) -> Site:
    """DynamicQuantizeLinear, MatMulInteger, Cast, Mul: the branch goes from before the first to behind the last."""
    x, grid = _origin_of(leaf.inputs[0], leaf.inputs[2] if len(leaf.inputs) > 2 else "", known)
    cast = known.only_consumer(leaf.outputs[0], "Cast")
    end = known.only_consumer(cast.outputs[0], "Mul")
    return _quantised(leaf, 1, x, end, grid, None, known)


def _requantised(leaf: Leaf, known: Surroundings) -> Site:
    given = [*leaf.inputs, "", ""]
    scale = REQUANTISED[leaf.operator]
    y_grid = Grid(given[scale], given[scale + 1]) if len(leaf.inputs) > scale and given[scale] else None
    if leaf.attributes.get("transA", 0):
        raise GraphError("it turns its first factor around")
    site = _quantised(leaf, 3, leaf.inputs[0], leaf, Grid(leaf.inputs[1], leaf.inputs[2]), y_grid, known)
    site.is_transposed = bool(leaf.attributes.get("transB", 0))
    return site


def _float_end(leaf: Leaf, known: Surroundings) -> Site:
    if leaf.op_type == "DynamicQuantizeMatMul":
        return _quantised(leaf, 1, leaf.inputs[0], leaf, None, None, known)
    zero_point = leaf.inputs[4] if len(leaf.inputs) > 4 else ""
    x, grid = _origin_of(leaf.inputs[0], zero_point, known, leaf.inputs[2])
    return _quantised(leaf, 1, x, leaf, grid, None, known)


def _quantised(
    leaf: Leaf, index: int, x: str, end: Leaf, x_grid: Grid | None, y_grid: Grid | None, known: Surroundings
) -> Site:
    found = known.type_of(leaf.inputs[index])
    if found is None or leaf.inputs[0] not in known.data:
        raise GraphError("it has no weight as its second factor")
    site = Site(leaf, found[0], np.dtype(np.float32), -1, x, end, x_grid, y_grid)
    if "Conv" in leaf.op_type:
        _describe_convolution(site)
    elif len(found[0]) != 2:
        raise GraphError(f"its weight {leaf.inputs[index]!r} must be a matrix, it is {found[0]}")
    return site


def _origin_of(quantised: str, zero_point: str, known: Surroundings, scale: str = "") -> tuple[str, Grid | None]:
    """The floats that were quantised, or how to get floats of the integers."""
    maker = known.producers.get(quantised)
    if maker is not None and maker.op_type in ("DynamicQuantizeLinear", "QuantizeLinear"):
        return maker.inputs[0], None
    if not scale:
        raise GraphError("what was quantised for it is not in the graph (no DynamicQuantizeLinear before it)")
    return quantised, Grid(scale, zero_point)


def weights_of(network: Network, sites: Sequence[Site]) -> dict[int, np.ndarray]:
    """The weight of each site in floats, computed where the file has it in another form."""
    graph = network.graph
    names = {id(site): site.leaf.inputs[site.weight] for site in sites}
    computed = [name for name in dict.fromkeys(names.values()) if name not in graph.parameters]
    arrays: dict[str, np.ndarray] = {}
    if computed:
        inside = Graph(graph.name, {}, {name: Value(name) for name in computed}, ancestors(graph, computed))
        inside.parameters, inside.values = graph.parameters, graph.values
        arrays = Network(inside, network.opsets, network.functions).run({})
    return {key: arrays[name] if name in arrays else graph.parameters[name].array for key, name in names.items()}
